"""The table of `make bench`: jobs side by side with a peer, with spread, goal and agreement."""

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from rows import Row


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        rounds: Rounds of what takes less than a few seconds.
        few: Rounds of what takes long.
        models: Sizes of the sampled populations.
        candidates: Candidates that a sweep of the peers goes through.
        costed: Models whose cost is counted; a quarter and less are its smaller sizes.
        built: Models that fvcore counts.
        trained: Models that each side trains in a round.
        epochs: Epochs of each.
        images: Images to train on, and to validate on.
        loaders: Numbers of loader processes that other loops choose the best of.
        steps: Pretraining steps a round.
        batch: Images of a step.
        report: Models of each of the six populations of the report.
        large: Models of the largest population whose report is timed.
        redraws: Redraws that the bootstrap's twin does of 10,000, at 500 models.
    """

    rounds: int = 5
    few: int = 3
    models: tuple[int, ...] = (500, 10_000)
    candidates: int = 4_000
    costed: int = 10_000
    built: int = 20
    trained: int = 6
    epochs: int = 2
    images: tuple[int, int] = (4000, 400)
    loaders: tuple[int, ...] = (0, 1, 2)
    steps: int = 2
    batch: int = 128
    report: int = 500
    large: int = 50_000
    redraws: int = 10_000


QUICK = Sizes(
    rounds=2,
    few=1,
    models=(100, 1_000),
    candidates=400,
    costed=2_000,
    built=3,
    trained=2,
    epochs=1,
    images=(640, 160),
    loaders=(0,),
    steps=1,
    batch=32,
    report=40,
    large=2_000,
    redraws=2_000,
)


@dataclass(frozen=True)
class Goal:
    """What is wanted of a row's median: of the ratio, or of this project's own figure."""

    of: str
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        assert self.of in ("ratio", "ours")
        assert (self.least is None) != (self.most is None)

    def met(self, value: float) -> bool:
        """Whether the median keeps it."""
        return value >= self.least if self.least is not None else value <= self.most

    def __str__(self) -> str:
        sign, bound = (">=", self.least) if self.least is not None else ("<=", self.most)
        return f"{self.of} {sign} {bound:,g}"


@dataclass(frozen=True)
class Agreement:
    """Whether both sides' outputs agree (None where they can't be compared), and how it is told."""

    agree: bool | None
    how: str

    @staticmethod
    def all(checks: dict[str, bool]) -> "Agreement":
        """Agree where every check holds; say which don't."""
        wrong = [what for what, holds in checks.items() if not holds]
        return Agreement(not wrong, "; ".join(f"not: {w}" for w in wrong) or "; ".join(checks))


@dataclass(frozen=True)
class Comparison:
    """One row: a job done by this project and by a peer, in rounds that lie side by side.

    Attributes:
        job: What is done.
        unit: Of the figures: `s`, or a rate such as `models/h`, or nothing for an exponent.
        ours: This project's figure in each round.
        peer: What it is held against, or nothing.
        theirs: The peer's figures, as many as ours.
        agreement: Whether the outputs agree.
        goal: What is wanted, or None.
        note: What must be known beside it, such as that a part was timed and scaled up.
        skipped: Why there are no figures, where there are none.
    """

    job: str
    unit: str = ""
    ours: tuple[float, ...] = ()
    peer: str = ""
    theirs: tuple[float, ...] = ()
    agreement: Agreement = Agreement(None, "")
    goal: Goal | None = None
    note: str = ""
    skipped: str = ""

    def __post_init__(self) -> None:
        assert bool(self.ours) != bool(self.skipped)
        assert len(self.theirs) in (0, len(self.ours))

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times as fast this project was as the peer, round by round."""
        pairs = zip(self.ours, self.theirs, strict=False)
        return tuple(b / a if self.unit == "s" else a / b for a, b in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing was measured."""
        if self.goal is None or self.skipped:
            return None
        return self.goal.met(
            statistics.median(self.ratios if self.goal.of == "ratio" else self.ours)
        )

    def to_dict(self) -> dict:
        """Return plain data with what follows from it."""
        data = {
            **asdict(self),
            "ratios": self.ratios,
            "goal": str(self.goal or ""),
            "met": self.met,
        }
        return {**data, "n": len(self.ours)}

    def cells(self) -> list[str]:
        """Return the row as text: job, both figures, ratio, n, goal, met, agreement."""
        if self.skipped:
            return [self.job, "skipped", self.skipped, "", "", str(self.goal or ""), "", ""]
        theirs = f"{self.peer}: {spread(self.theirs, self.unit)}" if self.theirs else self.peer
        ratio = spread(self.ratios, "times") if self.ratios else ""
        agree, how = word(self.agreement.agree), self.agreement.how
        return [
            self.job + (f" ({self.note})" if self.note else ""),
            spread(self.ours, self.unit),
            theirs,
            ratio,
            str(len(self.ours)),
            str(self.goal or ""),
            word(self.met),
            f"{agree}: {how}" if agree and how else agree or how,
        ]


HEADER = [
    "job",
    "this project",
    "the other",
    "times as fast",
    "n",
    "goal (median)",
    "met",
    "outputs agree",
]


def compared(rows: list[Row], job: str, peer: str, agreement: Agreement, **more) -> Comparison:
    """Make a comparison of two of a benchmark's rows, ours and the peer's; ms become seconds."""
    ours, theirs = rows[:2]
    assert ours.unit == theirs.unit
    scale, unit = (1e-3, "s") if ours.unit == "ms" else (1.0, ours.unit)
    mine, other = (tuple(value * scale for value in row.values) for row in (ours, theirs))
    return Comparison(job, unit, mine, peer, other, agreement, **more)


def side_by_side(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int, times: int = 1
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time both alternately, ours the mean of several calls; after a first call of each.

    Returns the seconds of both in each round.
    """
    ours()
    theirs()
    pairs = []
    for _ in range(rounds):
        began = perf_counter()
        for _ in range(times):
            ours()
        middle = perf_counter()
        theirs()
        pairs.append(((middle - began) / times, perf_counter() - middle))
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def word(verdict: bool | None) -> str:
    """Return a verdict as it stands in the table."""
    return {None: "", True: "yes", False: "NO"}[verdict]


def spread(values: tuple[float, ...], unit: str) -> str:
    """Return the median with the least and the greatest, in a readable unit."""
    middle = statistics.median(values)
    scale = 1.0
    if unit == "s":
        scale, unit = next(
            ((s, u) for s, u in ((1.0, "s"), (1e3, "ms")) if middle * s >= 1), (1e6, "us")
        )
    low, middle, high = (f"{v * scale:,.4g}" for v in (min(values), middle, max(values)))
    return f"{middle} {unit}".strip() + ("" if len(values) == 1 else f" ({low} to {high})")


def write(groups: dict[str, list[Comparison]], machine: dict, folder: Path) -> str:
    """Write bench.json and bench.md; return the latter's text."""
    rows = [{"group": group, **row.to_dict()} for group, rows in groups.items() for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine, "rows": rows}, indent=1)
    (folder / "bench.json").write_text(text + "\n")
    lines = [
        "# Side by side",
        "",
        "Written by `make bench` in one run. Figures are medians of n rounds (least to greatest);",
        "both sides take turns within a round, and a ratio is of figures of the same round.",
        "",
        *(f"- {key}: {_plain(value)}" for key, value in machine.items()),
    ]
    for group, comparisons in groups.items():
        lines += ["", f"## {group}", "", *_markdown([HEADER, *(c.cells() for c in comparisons)])]
    page = "\n".join(lines) + "\n"
    (folder / "bench.md").write_text(page)
    return page


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _markdown(rows: list[list[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    head, *body = (f"| {' | '.join(row)} |" for row in escaped)
    return [head, "|" + " --- |" * len(rows[0]), *body]
