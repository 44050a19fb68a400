"""What a study would cost and what it could show, before it runs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.claims import ClaimsFile, ComparisonClaim
from designspace.runs import Run, TrialState
from designspace.stats.power import difference_power, equivalence_power
from designspace.studies.study_file import StudyFile
from designspace.studies.subset import (
    chosen_indices,
    is_subset,
    models_to_train,
    pairs_to_train,
    trained_indices,
)

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
        seconds: Seconds of a core or a GPU per model: the median measured here, else that of the
            other populations, per epoch; None where nothing is measured.
        errors: Errors measured, in percent, by the index of the model.
        budget: Ranges of cost that it is sampled within, by measure.
        gpu: Whether its models trained on GPUs, or None where nothing is measured.
        shared: Models without a trial whose training an earlier population has, or will have.
    """

    name: str
    models: int
    trained: int
    seconds: float | None
    errors: Mapping[int, float]
    budget: Mapping[str, str]
    gpu: bool | None = None
    shared: int = 0

    @property
    def sd(self) -> float | None:
        """Standard deviation of the errors measured, in percent; None below eight models."""
        return _sd([*self.errors.values()])

    @property
    def hours(self) -> float | None:
        """Hours of cores or GPUs left."""
        missing = max(0, self.models - self.trained - self.shared)
        return None if self.seconds is None else missing * self.seconds / 3600


@dataclass(frozen=True)
class ClaimPlan:
    """The power of a claim at its n.

    Attributes:
        claim: Its sentence.
        report: The report that tests it.
        n: Models of each population.
        power: Probability that the test supports the claim: of a difference one point beyond the
            margin (half a point for pairs), or of equal means. It is not computed for claims about
            a parameter: for these it is what the file states, or None.
        sd: Standard deviations that it rests on, in percent; of pairs their difference's, and 0.
        assumed: Whether a standard deviation is assumed, as too few models are measured.
        stated: Whether the power is the file's.
    """

    claim: str
    report: str
    n: int
    power: float | None
    sd: tuple[float, float] | None
    assumed: bool
    stated: bool = False


@dataclass(frozen=True)
class StudyPlan:
    """What a study trains, and its claims.

    Attributes:
        populations: The populations of its file.
        claims: The claims of all reports.
        others: The runs of refinements, and the derived models, one row a seed.
    """

    populations: tuple[PopulationPlan, ...]
    claims: tuple[ClaimPlan, ...]
    others: tuple[PopulationPlan, ...] = ()

    @property
    def rows(self) -> tuple[PopulationPlan, ...]:
        """All that is trained."""
        return self.populations + self.others

    @property
    def models(self) -> int:
        """Models to train in all."""
        return sum(row.models for row in self.rows)

    @property
    def trained(self) -> int:
        """Models that have a trial."""
        return sum(min(row.trained, row.models) for row in self.rows)

    @property
    def hours(self) -> float | None:
        """Hours of cores or GPUs left, or None where nothing is measured yet."""
        hours = [row.hours for row in self.rows]
        return None if None in hours else sum(hour for hour in hours if hour is not None)

    @property
    def unit(self) -> str:
        """Of which devices the hours are: core-hours, GPU-hours, or hours where both trained."""
        on_gpus = {row.gpu for row in self.rows if row.gpu is not None} or {False}
        return "hours" if len(on_gpus) > 1 else "GPU-hours" if True in on_gpus else "core-hours"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "models": self.models,
            "trained": self.trained,
            "core_hours_left": self.hours,
            "unit": self.unit,
            "populations": [
                {
                    **{"name": p.name, "models": p.models, "trained": p.trained},
                    **{"shared": p.shared, "core_hours": p.hours, "budget": dict(p.budget)},
                }
                for p in self.rows
            ],
            "claims": [vars(claim) for claim in self.claims],
        }

    def text(self) -> str:
        """Return the plan as lines for a terminal."""
        width = max(len(p.name) for p in self.rows)
        lines = [f"{'population':{width}}  models  trained  {self.unit + ' left':>15}  budget"]
        lines += [
            f"{p.name:{width}}  {p.models:6}  {p.trained:7}  {_hours(p.hours):>15}  {_budget(p)}"
            for p in self.rows
        ]
        total = f"{'in all':{width}}  {self.models:6}  {self.trained:7}  {_hours(self.hours):>15}"
        lines += [total]
        if shared := sum(row.shared for row in self.rows):
            lines += [
                f"{shared} of the models are trained for an earlier population too; their trials "
                "are copied"
            ]
        if self.hours is None:
            lines += [
                f"{self.unit} are estimated from the first models that are trained: start the "
                "study, interrupt it once it has some (it resumes), and plan it again"
            ]
        lines += ["", "power      n  claim"]
        for claim in self.claims:
            power = "    -" if claim.power is None else f"{claim.power:5.2f}"
            note = " (sd assumed)" if claim.assumed else " (stated)" if claim.stated else ""
            if claim.power is None:
                note = " (power is not computed for claims about a parameter)"
            lines.append(f"{power}  {claim.n:5}  {claim.report}: {claim.claim}{note}")
        return "\n".join(lines)


def plan_study(
    file: StudyFile, folder: Path, claims: Mapping[str, ClaimsFile], epochs: int
) -> StudyPlan:
    """Compute the plan of a study from its file and what is trained already.

    Args:
        file: The study.
        folder: Its results.
        claims: The claims of each report.
        epochs: Of the recipe, where the file has none.
    """
    entries = {name: file.entry(name) for name in file.runs} | file.derived_runs
    chosen = {name: chosen_indices(file, name, folder) for name in file.runs}
    measured = {name: _measure(folder / name, chosen.get(name)) for name in entries}
    # Derived models may be of any size, so that they say nothing about the others.
    of_runs = [measured[name] for name in file.runs]
    rates = [s / length for s, length, *_ in of_runs if s is not None and length]
    rate = float(np.median(rates)) if rates else None
    plans, shared = {}, _shared(file, folder, chosen, epochs)
    for name, entry in entries.items():
        seconds, _, trained, errors, gpu = measured[name]
        if seconds is None and rate is not None:
            seconds = rate * (file.epochs_of(entry) or epochs)
        budget, models = {}, sum(derived.trained for derived in file.derived.values())
        if name not in file.derived_runs:
            budget, models = file.budget_of(file.base(name)), models_to_train(file, name)
        copied = shared.get(name, 0)
        plans[name] = PopulationPlan(name, models, trained, seconds, errors, budget, gpu, copied)
    rows = [
        _claim(claim, place, file, plans, of) for place, of in claims.items() for claim in of.claims
    ]
    populations = tuple(plans[name] for name in file.populations)
    others = tuple(plan for name, plan in plans.items() if name not in file.populations)
    return StudyPlan(populations, tuple(rows), others)


def _shared(
    file: StudyFile, folder: Path, chosen: Mapping[str, Sequence[int] | None], epochs: int
) -> dict[str, int]:
    """Count the models of each population that `share_trials` will copy from others of its base.

    Models that a toggle leaves as they are aren't counted: finding them needs the sampled models.
    """
    keys: dict[str, tuple[Any, ...]] = {}
    trained: dict[tuple[Any, ...], set[int]] = defaultdict(set)
    for name in file.populations:
        entry = file.entry(name)
        toggle = tuple((entry.toggle or {}).items())
        schedule = (file.epochs_of(entry) or epochs, entry.seed, file.val_of(entry))
        keys[name] = (entry.same_as or name, toggle, *schedule)
        trained[keys[name]] |= trained_indices(folder / name, complete=True)
    shared: dict[str, int] = {}
    for step in file.ordered_steps():
        # Whole populations of a step take turns; subsets come after them, one by one.
        whole = [name for name in step.populations if not is_subset(file, name)]
        subsets = [name for name in step.populations if name not in whole]
        for together in (whole, *([name] for name in subsets)):
            models = {name: set(chosen[name] or ()) for name in together}
            for name, own in models.items():
                own -= trained_indices(folder / name)
                shared.setdefault(name, len(own & trained[keys[name]]))
            for name in together:
                trained[keys[name]] |= models[name]
    return shared


def _measure(
    folder: Path, chosen: Sequence[int] | None
) -> tuple[float | None, int, int, dict[int, float], bool | None]:
    """Return the median seconds of a complete trial, its epochs, all trials, and the errors.

    Last, whether the complete trials, or some of them, are of a GPU; None without any.
    """
    if not (folder / "trials.jsonl").is_file():
        return None, 0, 0, {}, None
    trials = Run.open(folder).trials()
    if chosen is not None and not isinstance(chosen, range):  # a range may have been extended
        trials = tuple(trial for trial in trials if trial.index in chosen)
    errors = {trial.index: float(trial.error) for trial in trials if trial.error is not None}
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        return None, 0, len(trials), errors, None
    seconds = float(np.median([trial.seconds for trial in complete]))
    gpu = any(not _of_cpu(trial.versions.get("device", "cpu")) for trial in complete)
    return seconds, max(len(trial.curve) for trial in complete), len(trials), errors, gpu


def _sd(errors: Sequence[float]) -> float | None:
    return float(np.std(errors, ddof=1)) if len(errors) >= _MIN_MODELS else None


def _of_cpu(device: str) -> bool:
    """Whether a trial's device is a CPU, as `device_setup.device_name` names it."""
    return device.partition(" ")[0] == "cpu"


def _claim(
    claim: Any, place: str, file: StudyFile, plans: Mapping[str, PopulationPlan], of: ClaimsFile
) -> ClaimPlan:
    named = file.reports[place].by_claim_name
    names = [named[name] for name in claim.populations]
    limit = file.reports[place].n
    n = min(models_to_train(file, name, limit) for name in names)
    if not isinstance(claim, ComparisonClaim):
        stated = claim.power is not None
        n = min(n, claim.n or n)
        return ClaimPlan(claim.claim, place, n, claim.power, None, False, stated)
    measured = [plans[name].sd for name in names]
    sd = (measured[0] or DEFAULT_SD, measured[1] or DEFAULT_SD)
    if claim.paired:  # the populations' own sd says nothing about that of a difference
        n = pairs_to_train(file, names[0], names[1], limit)
        one, two = (plans[name].errors for name in names)
        measured = [_sd([two[i] - one[i] for i in sorted(one.keys() & two.keys())])]
        sd = (measured[0] or DEFAULT_PAIR_SD, 0.0)
    n = min(n, claim.n or n)
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
