"""`designspace status`: how far runs are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from designspace.cli.options import Json

if TYPE_CHECKING:
    from designspace.pretraining.status import PretrainingStatus
    from designspace.runs.status import RunStatus

_WIDTH = 60
_HEIGHT = 10
_SECONDS = 2.0
_MAX_NAMED = 20


def status(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs and pretrainings.")
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until training ends.")] = False,
    json_: Json = False,
) -> None:
    """Show how far runs are: finished, running, failed with reasons, rate, time left, errors.

    Of a pretraining it shows epochs, loss, k-NN accuracy and alarms.

    Examples:

      designspace status results/a

      designspace status results/a results/b --watch

      designspace status results/a --json
    """
    import json
    import time

    import designspace as ds
    from designspace.runs.folder_kind import is_pretraining

    if watch and json_:
        raise ds.InputError("--watch and --json exclude each other; --json prints one status")
    folders = [Path(run) if is_pretraining(run) else ds.load_run(run) for run in runs]
    statuses = ds.status(folders)
    if json_:
        records = [one.to_dict() for one in statuses]
        print(json.dumps(records if len(records) > 1 else records[0]))
        return
    if not watch:
        print(_text(statuses))
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            live.update(Text(_text(statuses)), refresh=True)
            if not any(one.running for one in statuses):
                return
            time.sleep(_SECONDS)
            statuses = ds.status(folders)


def _text(statuses: "list[RunStatus | PretrainingStatus]") -> str:
    from designspace.errors import printable
    from designspace.runs.status import RunStatus

    texts = [
        _lines(one) if isinstance(one, RunStatus) else map(printable, str(one).splitlines())
        for one in statuses
    ]
    return "\n\n".join("\n".join(lines) for lines in texts)


def _lines(status: "RunStatus") -> list[str]:
    from designspace.api.progress import duration
    from designspace.errors import counted, printable
    from designspace.runs import TrialState

    data, heartbeat = status.to_dict(), status.heartbeat
    lines = [f"{status.name}: {status.counts}"]
    if heartbeat is None:
        lines += _how_to_resume(status)
    elif heartbeat.seconds_left is not None:
        left = duration(heartbeat.seconds_left)
        lines.append(f"{heartbeat.per_hour:.0f} models an hour, {left} left")
    else:
        lines.append("training; no model has finished yet")
    lines += [f"{device} is lost: {why}" for device, why in data["lost_devices"].items()]
    if data["copied"]:
        copies = counted(data["copied"], "trial was", "trials were")
        lines.append(f"{copies} copied from other populations of the study")
    if status.torn:
        lines.append("the last line of trials.jsonl is incomplete; its model is trained again")
    lines += [
        f"  model {trial['index']} has trained for {duration(trial['seconds'])}"
        for trial in data["in_flight"][:_MAX_NAMED]
    ]
    ended = [trial for trial in status.trials if trial.state is not TrialState.COMPLETE]
    lines += [f"  model {t.index} {t.state}: {t.reason}" for t in ended[:_MAX_NAMED]]
    if len(ended) > _MAX_NAMED:
        lines.append(f"  and {len(ended) - _MAX_NAMED} more (--json has all)")
    return [*map(printable, lines), *edf_lines(status.errors)]


def _how_to_resume(status: "RunStatus") -> list[str]:
    """Return the state of a run that no process trains, and the command that trains the rest."""
    from shlex import quote

    from designspace.errors import counted
    from designspace.runs import TrialState

    waiting, failed = status.n - len(status.trials), status.count(TrialState.FAILED)
    if not waiting and not failed:
        return ["finished"]
    if not status.begun:
        return ["not running"]
    command = f"designspace train {quote(str(status.path))}"
    if not waiting:
        return [f"not running; `{command} --retry` trains the failed models again"]
    saved = ""
    if status.checkpoints:
        trials = counted(len(status.checkpoints), "model continues", "models continue")
        saved = f", and {trials} from a checkpoint"
    return [f"not running; `{command}` resumes{saved}"]


def edf_lines(errors: list[float]) -> list[str]:
    """Draw an EDF in characters; errors are in percent, ascending."""
    from bisect import bisect_left

    if not errors:
        return []
    low, high = errors[0], errors[-1]
    span = high - low or 1.0
    # The share below the right end of each column; the last column includes every model.
    ends = [low + span * (i + 1) / _WIDTH for i in range(_WIDTH)]
    shares = [bisect_left(errors, end) / len(errors) for end in ends[:-1]] + [1.0]
    blocks = " ▁▂▃▄▅▆▇█"
    rows = []
    for row in reversed(range(_HEIGHT)):
        levels = [max(0, min(8, round((share * _HEIGHT - row) * 8))) for share in shares]
        label = {_HEIGHT - 1: "1.0", _HEIGHT // 2 - 1: "0.5", 0: "0.0"}.get(row, "")
        rows.append(f"{label:>5} │{''.join(blocks[level] for level in levels)}")
    mean = sum(errors) / len(errors)
    left, right = f"{low:.1f}", f"{high:.1f}"
    return [
        "",
        f"share of models below each error, in percent; [{low:.1f} | {mean:.1f}], "
        f"n = {len(errors)}",
        *rows,
        f"      └{'─' * _WIDTH}",
        f"       {left}{right:>{_WIDTH - len(left)}}",
    ]
