"""What a study would cost and what it could show, before it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.claims import ClaimsFile, ComparisonClaim
from designspace.runs import Run, TrialState
from designspace.stats.power import difference_power, equivalence_power
from designspace.studies.study_file import StudyFile
from designspace.studies.subset import models_to_train

# Standard deviation of errors, in percent, where nothing is measured yet.
DEFAULT_SD = 1.5
# Of the difference of a pair: of two seeds of one model, about, in the reference study.
DEFAULT_PAIR_SD = 0.9
_MIN_MODELS = 8


@dataclass(frozen=True)
class PopulationPlan:
    """How far one population of a study is.

    Attributes:
        name: Its folder.
        models: Models to train.
        trained: Models with a trial.
        seconds: Core-seconds per model: the median measured here, else that of the other
            populations, per epoch; None where nothing is measured.
        sd: Standard deviation of the errors measured, in percent; None below eight models.
        budget: Ranges of cost that it is sampled within, by measure.
    """

    name: str
    models: int
    trained: int
    seconds: float | None
    sd: float | None
    budget: Mapping[str, str]

    @property
    def hours(self) -> float | None:
        """Core-hours left."""
        missing = max(0, self.models - self.trained)
        return None if self.seconds is None else missing * self.seconds / 3600


@dataclass(frozen=True)
class ClaimPlan:
    """The power of a claim at its n.

    Attributes:
        claim: Its sentence.
        report: The report that tests it.
        n: Models of each population.
        power: Probability that the test supports the claim: of a difference one point beyond the
            margin (half a point for pairs), or of equal means; None for claims about a best value.
        sd: Standard deviations that it rests on, in percent; of pairs their difference's, and 0.
        assumed: Whether a standard deviation is assumed, as too few models are measured.
    """

    claim: str
    report: str
    n: int | None
    power: float | None
    sd: tuple[float, float] | None
    assumed: bool


@dataclass(frozen=True)
class StudyPlan:
    """All populations and claims of a study."""

    populations: tuple[PopulationPlan, ...]
    claims: tuple[ClaimPlan, ...]

    @property
    def models(self) -> int:
        """Models to train in all."""
        return sum(population.models for population in self.populations)

    @property
    def trained(self) -> int:
        """Models that have a trial."""
        return sum(min(p.trained, p.models) for p in self.populations)

    @property
    def hours(self) -> float | None:
        """Core-hours left, or None where nothing is measured yet."""
        hours = [population.hours for population in self.populations]
        return None if None in hours else sum(hour for hour in hours if hour is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "models": self.models,
            "trained": self.trained,
            "core_hours_left": self.hours,
            "populations": [
                {
                    **{"name": p.name, "models": p.models, "trained": p.trained},
                    **{"core_hours": p.hours, "budget": dict(p.budget)},
                }
                for p in self.populations
            ],
            "claims": [vars(claim) for claim in self.claims],
        }

    def text(self) -> str:
        """Return the plan as lines for a terminal."""
        width = max(len(p.name) for p in self.populations)
        lines = [f"{'population':{width}}  models  trained  core-hours left  budget"]
        lines += [
            f"{p.name:{width}}  {p.models:6}  {p.trained:7}  {_hours(p.hours):>15}  {_budget(p)}"
            for p in self.populations
        ]
        total = f"{'in all':{width}}  {self.models:6}  {self.trained:7}  {_hours(self.hours):>15}"
        lines += [total, "", "power      n  claim"]
        for claim in self.claims:
            power = "    -" if claim.power is None else f"{claim.power:5.2f}"
            note = " (sd assumed)" if claim.assumed else ""
            lines.append(f"{power}  {claim.n or '':>5}  {claim.report}: {claim.claim}{note}")
        return "\n".join(lines)


def plan_study(file: StudyFile, folder: Path, claims: Mapping[str, ClaimsFile]) -> StudyPlan:
    """Compute the plan of a study from its file and what is trained already.

    Args:
        file: The study.
        folder: Its results.
        claims: The claims of each report.
    """
    measured = {name: _measure(folder / name) for name in file.populations}
    rates = [s / epochs for s, epochs, *_ in measured.values() if s is not None and epochs]
    rate = float(np.median(rates)) if rates else None
    plans = {}
    for name, entry in file.populations.items():
        seconds, _, trained, errors = measured[name]
        epochs = entry.epochs or file.epochs
        if seconds is None and rate is not None and epochs:
            seconds = rate * epochs
        sd = float(np.std(errors, ddof=1)) if len(errors) >= _MIN_MODELS else None
        budget = (file.base(name).budget or file.budget).model_dump(exclude_none=True)
        models = models_to_train(file, name)
        plans[name] = PopulationPlan(name, models, trained, seconds, sd, budget)
    rows = [
        _claim(claim, place, file, plans, of) for place, of in claims.items() for claim in of.claims
    ]
    return StudyPlan(tuple(plans.values()), tuple(rows))


def _measure(folder: Path) -> tuple[float | None, int, int, list[float]]:
    """Return the median seconds of a complete trial, its epochs, all trials, and the errors."""
    if not (folder / "trials.jsonl").is_file():
        return None, 0, 0, []
    trials = Run.open(folder).trials()
    errors = [float(trial.error) for trial in trials if trial.error is not None]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        return None, 0, len(trials), errors
    seconds = float(np.median([trial.seconds for trial in complete]))
    return seconds, max(len(trial.curve) for trial in complete), len(trials), errors


def _claim(
    claim: Any, place: str, file: StudyFile, plans: Mapping[str, PopulationPlan], of: ClaimsFile
) -> ClaimPlan:
    if not isinstance(claim, ComparisonClaim):
        return ClaimPlan(claim.claim, place, claim.n, None, None, False)
    named = file.reports[place].by_claim_name
    names = [named[name] for name in (claim.first, claim.second)]
    pair = [plans.get(name) for name in names]  # a refinement's run has no plan of its own
    first = min((n for n in (claim.n, file.reports[place].n) if n is not None), default=None)
    n = min(models_to_train(file, name, first) for name in names)
    measured = [p.sd if p is not None else None for p in pair]
    sd = (measured[0] or DEFAULT_SD, measured[1] or DEFAULT_SD)
    if claim.paired:  # the populations' own sd says nothing about that of a difference
        measured, sd = [None, None], (DEFAULT_PAIR_SD, 0.0)
    level = of.alpha / (len(of.claims) + of.untested)  # the least that Holm's method requires
    if n < 2:
        power = 0.0
    elif claim.kind == "equivalent":
        power = equivalence_power(claim.margin, sd, n, level)
    else:  # by one-sided tests, of twice the level of the two-sided one
        beyond = 0.5 if claim.paired else 1.0
        difference = beyond if claim.kind == "better" else claim.margin
        power = difference_power(difference, sd, n, min(2 * level, 1 - 1e-9))
    return ClaimPlan(claim.claim, place, n, round(power, 3), sd, None in measured)


def _budget(plan: PopulationPlan) -> str:
    return ", ".join(f"{measure} {text}" for measure, text in plan.budget.items()) or "none"


def _hours(hours: float | None) -> str:
    return "not measured" if hours is None else f"{hours:.1f}"
