"""The head of a pretraining page: cards of one result each, and the words for tasks and data."""

from collections.abc import Sequence

from designspace.analysis.pretraining_findings import PretrainingFindings, ScoreGroup, ScoreRow
from designspace.errors import counted
from designspace.report.verdict_cards import Card

_MAX_SCORES = 2
_TASKS = {
    "knn": "k-NN",
    "linear": "Linear probe",
    "finetune": "Fine-tuning",
    "detect": "Object detection",
    "labelfree": "Without labels",
}


def pretraining_cards(findings: PretrainingFindings) -> tuple[Card, ...]:
    """Return the cards of a pretraining, what evaluations measured first."""
    scores = [_score(group) for group in _first_metrics(findings.scores)[:_MAX_SCORES]]
    return (*scores, *_training(findings))


def group_title(group: ScoreGroup) -> str:
    """Return what a group of scores measures: `1 % of the labels, top-1 accuracy`."""
    return f"{task_title(group)}, {group.metric}"


def task_title(group: ScoreGroup) -> str:
    """Return the task of a group of scores: `k-NN`, `1 % of the labels`."""
    share = f"{100 * group.share:g} % of the labels"
    if group.task == "lowshot":
        return share
    task = _TASKS.get(group.task, group.task)
    return task if group.share == 1 else f"{task}, {share}"


def score_text(row: ScoreRow) -> str:
    """Return the mean with its unit: `93.1 %`, `6.82`."""
    return f"{row.mean:.1f} %" if row.unit == "%" else f"{row.mean:.2f}"


def _score(group: ScoreGroup) -> Card:
    best: dict[str, ScoreRow] = {}
    for line in group.rows:
        if line.kind not in best or line.mean > best[line.kind].mean:
            best[line.kind] = line
    own = score_text(best["pretrained"]) if "pretrained" in best else "not measured"
    others = [
        f"{score_text(best[kind])} {words}"
        for kind, words in (("random", "from random weights"), ("scratch", "supervised"))
        if kind in best
    ]
    metric = f"{group.metric} on {group.data_name}"
    sentence = f"{metric}, against {' and '.join(others)}." if others else f"{metric}."
    title = task_title(group) + (" accuracy" if group.task == "knn" else "")
    return Card(f"{title}: {own}", sentence[0].upper() + sentence[1:], "equal")


def _training(findings: PretrainingFindings) -> list[Card]:
    curves, k = findings.curves, int(findings.recipe["prototypes"])
    cards = [
        Card(
            f"Loss {curves.epoch_loss[-1]:.3f} after {curves.epoch[-1]:.0f} of "
            f"{counted(findings.recipe['epochs'], 'epoch')}",
            f"It stays at ln {k} = {findings.chance:.3f} if the codes carry no information.",
        )
    ]
    if len(curves.knn) > 1:
        cards.append(
            Card(
                f"k-NN accuracy {curves.knn[-1]:.1f} % on training images",
                f"It was {curves.knn[0]:.1f} % after epoch {curves.knn_epoch[0]:.0f}.",
            )
        )
    cards.append(
        Card(
            f"{curves.prototypes_used[-1]:.0f} of {k} prototypes are in use",
            f"Std of the embeddings: {curves.feature_std[-1]:.2f}; 1 is even, 0 is collapse.",
        )
    )
    return cards


def _first_metrics(groups: Sequence[ScoreGroup]) -> list[ScoreGroup]:
    """Return the first metric of each task, data set and share of labels."""
    first: dict[tuple[str, str, float], ScoreGroup] = {}
    for group in groups:
        first.setdefault((group.task, group.data, group.share), group)
    return list(first.values())
