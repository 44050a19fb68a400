"""The schema of a study file."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from designspace.analysis.claims import ClaimsFile, ComparisonClaim
from designspace.errors import InputError, nearest
from designspace.io.validation import FilePart, validate
from designspace.io.yaml_files import read_yaml
from designspace.space.recipe_axis import RecipeAxes
from designspace.space.sampler import MAX_MODELS

# A folder below the study's own: `anynetxa`, `long/anynetxa`.
_Place = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")
]


def _yaml(place: str) -> str:
    """Refuse the place of a file that would not be read as YAML."""
    if not place.endswith((".yaml", ".yml")):
        raise ValueError("must end in .yaml or .yml")
    return place


_Count = Annotated[int, Field(ge=1, le=MAX_MODELS)]
_Seed = Annotated[int, Field(ge=0, lt=2**63)]
_Val = Literal["held-out", "test"]


class Budget(FilePart):
    """Ranges of cost, such as `flops: 1M±10%`."""

    flops: str | None = None
    params: str | None = None
    acts: str | None = None


class Subset(FilePart):
    """Which models of a population are trained: listed, or chosen by a rule.

    Attributes:
        indices: Indices and ranges, such as `0-63,70`.
        spread: So many models at even steps of the error that `same_as` measured.
        random: So many models, drawn with `seed`.
        seed: Seed of `random`.
        among: Only the first so many models take part.
    """

    indices: str | None = None
    spread: _Count | None = None
    random: _Count | None = None
    seed: _Seed = 0
    among: _Count | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "Subset":
        if sum(rule is not None for rule in (self.indices, self.spread, self.random)) != 1:
            raise ValueError("give one of indices, spread and random")
        return self


class PopulationEntry(FilePart):
    """One run folder of a study.

    Attributes:
        space: The space to sample, or
        same_as: another population, whose models are trained again.
        toggle: Of `same_as`: the same models with one setting changed, such as `{se_ratio: 0.25}`.
        recipe_axes: In place of the study's.
        budget: In place of the study's.
        n: Models, in place of the study's number; a step may train fewer or more.
        epochs: In place of the study's.
        seed: Seed of the training.
        val: Validation images, in place of the study's.
        models: Which models to train; by default all.
    """

    space: str | None = None
    same_as: _Place | None = None
    toggle: dict[str, float | str] | None = None
    recipe_axes: RecipeAxes | None = None
    budget: Budget | None = None
    n: _Count | None = None
    epochs: int | None = Field(default=None, ge=1)
    seed: _Seed = 0
    val: _Val | None = None
    models: Subset | None = None

    @model_validator(mode="after")
    def _check(self) -> "PopulationEntry":
        if (self.space is None) == (self.same_as is None):
            raise ValueError("give space or same_as")
        if self.toggle is not None and (self.same_as is None or len(self.toggle) != 1):
            raise ValueError("toggle changes one setting of same_as")
        if self.same_as is not None:
            for key in ("budget", "recipe_axes"):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f"{key} has no effect beside same_as, whose models are trained again; "
                        f"leave it out, or set it for {self.same_as}"
                    )
        if self.models is not None and self.models.spread is not None and self.same_as is None:
            raise ValueError("models.spread needs same_as, whose errors it spreads over")
        return self


class StepEntry(FilePart):
    """Populations that take turns in training, before the next step begins.

    Attributes:
        about: What the step is for.
        populations: Their names.
        n: Models of each by the end of the step, in place of their own number.
    """

    about: str = ""
    populations: list[_Place] = Field(min_length=1)
    n: _Count | None = None


def _listed(value: Any) -> Any:
    """Read a plain list as the claims of a claims file."""
    return {"claims": value} if isinstance(value, list) else value


class ReportEntry(FilePart):
    """A report: the populations that it compares, and the claims that it tests.

    Attributes:
        populations: Their names.
        n: Only the first so many models of each; the report is written once all have a trial.
        claims: A claims file beside the study, its content, or a list of claims.
        margin: Difference in mean error, in percent, that counts as none.
    """

    populations: list[_Place] = Field(min_length=1)
    n: _Count | None = None
    claims: Annotated[str | ClaimsFile | None, BeforeValidator(_listed)] = None
    margin: float = Field(default=1.0, gt=0, le=100)

    @property
    def by_claim_name(self) -> dict[str, str]:
        """The populations by the names that its claims use: the full one, or its last part."""
        last_parts = {name.rpartition("/")[2]: name for name in self.populations}
        return last_parts | {name: name for name in self.populations}

    def ambiguous(self, name: str) -> list[str]:
        """Return the populations that a claim's name may mean, if there are several."""
        alike = [whole for whole in self.populations if whole.rpartition("/")[2] == name]
        return alike if len(alike) > 1 and name not in self.populations else []


class RefinementEntry(FilePart):
    """One round of the loop: analyze a population, narrow its space, sample and train that.

    The models of the narrower space have the budget and the schedule of the population.

    Attributes:
        population: The population that is analyzed, or the run of an earlier round.
        findings: Folder of the analysis.
        space: File of the narrower space; its run folder has the file's name without the suffix.
        n: Models of either; by default the study's number, or the population's if it has fewer.
    """

    population: _Place
    findings: _Place
    space: Annotated[_Place, AfterValidator(_yaml)]
    n: _Count | None = None

    @property
    def run(self) -> str:
        """The run folder of the narrower space."""
        return self.space.rsplit(".", 1)[0]


class DerivedEntry(FilePart):
    """A derived model: the arguments of `designspace.derive`.

    Attributes:
        source: A published name, a file beside the study, `POPULATION:best`, or a report's folder.
        trained: Whether it is among the models that are trained and tested.
        export: Targets to export it to.
    """

    family: Literal["regnetx", "regnety"] | None = None
    source: str | None = None
    population: _Place | None = None
    flops: str | None = None
    params: str | None = None
    acts: str | None = None
    scale: float | None = Field(default=None, gt=0)
    rule: str = "width"
    search: _Count | None = None
    imagenet: bool = False
    trained: bool = True
    export: list[str] = Field(default_factory=list)


class ExportEntry(FilePart):
    """The best models of a population, exported."""

    population: _Place
    best: _Count
    to: list[str] = Field(min_length=1)


def _sentence(value: Any) -> Any:
    """Read `report: sentence`, which YAML takes for a map, as text."""
    if isinstance(value, dict) and len(value) == 1:
        ((report, sentence),) = value.items()
        return f"{report}: {sentence}"
    return value


_Sentence = Annotated[str, BeforeValidator(_sentence)]


class FigureEntry(FilePart):
    """A figure of the paper, and the claims that answer it.

    Attributes:
        figure: Its number.
        shows: What it shows.
        claims: Sentences of claims of the reports, `report: sentence` where two reports have it.
            The figure is shown here if all are supported, contradicted here if one is. Of a list of
            claims that ask the same of ever more models, the last that is judged counts.
        partly: Whether the claims say less than the figure, which is shown in part at most.
        note: What the claims leave out, or why there are none.
    """

    figure: Annotated[str, Field(min_length=1, max_length=40, coerce_numbers_to_str=True)]
    shows: Annotated[str, Field(min_length=1, max_length=300)]
    claims: list[_Sentence | list[_Sentence]] = Field(default_factory=list)
    partly: bool = False
    note: str = ""

    @property
    def alternatives(self) -> list[list[str]]:
        """The claims, each with those that ask the same."""
        return [[claim] if isinstance(claim, str) else claim for claim in self.claims]

    @model_validator(mode="after")
    def _check(self) -> "FigureEntry":
        if not self.claims and not self.note:
            raise ValueError("give claims, or a note that says why there are none")
        if self.partly and not self.note:
            raise ValueError("partly: true needs a note that says what the claims leave out")
        if [] in self.claims:
            raise ValueError("claims: an empty list")
        return self


class TrainEntry(FilePart):
    """How models are trained on this machine; errors of different devices differ slightly.

    Attributes:
        device: auto, cpu, cuda, cuda:N or mps.
        precision: fp32, tf32, bf16 or fp16; by default the device's.
        jobs: Trials at once.
        exact: On CUDA, choose deterministic algorithms.
        compile: Use torch.compile.
    """

    device: str = "auto"
    precision: Literal["fp32", "tf32", "bf16", "fp16"] | None = None
    jobs: int | None = Field(default=None, ge=1)
    exact: bool = False
    compile: bool = False


class ExtensionEntry(FilePart):
    """How far `until="decided"` may extend populations.

    Attributes:
        core_hours: Stop once populations and refinements have trained for so many.
        n: Models of a population at most.
        batch: Models that are added to a population at once.
    """

    core_hours: float | None = Field(default=None, gt=0)
    n: _Count = 500
    batch: _Count = 16


class StudyFile(FilePart):
    """A whole study; `results/reference/study.yaml` is an example.

    Attributes:
        name: The study's name.
        about: What it is, and what it can't say.
        data: As of `designspace.train`, a relative path from the study file or the working folder;
            may be passed when it is run.
        val: Validation images of all populations.
        recipe: A shipped recipe, or a file beside the study.
        epochs: In place of the recipe's.
        recipe_axes: Settings that are drawn for each model, as in a space file's `recipe`.
        train: Device and number of trials at once.
        n: Models of each population.
        budget: Of each population.
        seed: Seed of the samples.
        populations: Run folders by name.
        steps: The order of training; populations in no step come last, together.
        extension: Limits of `until="decided"`.
        refinements: Rounds of the loop.
        reports: Reports by folder.
        figures: Figures of the paper, and the claims that answer them.
        agreements: Files of `designspace.rank_agreement`, with the populations compared.
        derived: Models by name.
        derived_seeds: Seeds with which the derived models are trained.
        derived_val: Images that they are tested on: every choice is made by then.
        exports: Folders of exported models.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")
    about: str = ""
    data: str | None = None
    val: _Val = "held-out"
    recipe: str = "quick"
    epochs: int | None = Field(default=None, ge=1)
    recipe_axes: RecipeAxes = Field(default_factory=dict)
    train: TrainEntry = TrainEntry()
    n: _Count = 500
    budget: Budget = Budget()
    seed: _Seed = 0
    populations: dict[_Place, PopulationEntry] = Field(min_length=1)
    steps: list[StepEntry] = Field(default_factory=list)
    extension: ExtensionEntry = ExtensionEntry()
    refinements: list[RefinementEntry] = Field(default_factory=list)
    reports: dict[_Place, ReportEntry] = Field(default_factory=dict)
    figures: list[FigureEntry] = Field(default_factory=list)
    agreements: dict[_Place, list[_Place]] = Field(default_factory=dict)
    derived: dict[str, DerivedEntry] = Field(default_factory=dict)
    derived_seeds: list[_Seed] = Field(default_factory=list)
    derived_val: _Val = "test"
    exports: dict[_Place, ExportEntry] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_names(self) -> "StudyFile":
        names_of_runs = self.runs
        in_steps = [(f"steps[{i}]", n) for i, s in enumerate(self.steps) for n in s.populations]
        for where, name in in_steps:
            if name in names_of_runs and name not in self.populations:
                raise ValueError(
                    f"{where}: {name} is the run of a refinement, which is trained as soon as its "
                    "population is; leave it out"
                )
        named = [
            *in_steps,
            *(("refinements", entry.population) for entry in self.refinements),
            *((f"reports.{p}", name) for p, r in self.reports.items() for name in r.populations),
            *((f"agreements.{p}", n) for p, names in self.agreements.items() for n in names),
            *((f"exports.{p}", entry.population) for p, entry in self.exports.items()),
        ]
        for name, entry in self.populations.items():
            if entry.same_as is None:
                continue
            named.append((f"populations.{name}.same_as", entry.same_as))
            refined = next((one for one in self.refinements if one.run == entry.same_as), None)
            if refined is not None:
                raise ValueError(
                    f"populations.{name}.same_as: {entry.same_as} is the run of a refinement; "
                    f"write space: {refined.space}, which gives the same models, in a later step"
                )
            base = self.populations.get(entry.same_as)
            if base is not None and base.space is None:
                raise ValueError(
                    f"populations.{name}.same_as: {entry.same_as} has no space of its own; name "
                    "the population that it repeats"
                )
        for where, name in named:
            if name not in names_of_runs:
                raise ValueError(f"{where}: no population {name}; {nearest(name, names_of_runs)}")
        for i, refinement in enumerate(self.refinements):
            earlier = [*self.populations, *(one.run for one in self.refinements[:i])]
            if refinement.population not in earlier:
                raise ValueError(
                    f"refinements[{i}].population: {refinement.population} is the run of this or a "
                    "later refinement; list that one before"
                )
        for place, names in self.agreements.items():
            if len(names) < 2:
                raise ValueError(f"agreements.{place}: compares two or more populations")
        return self

    @property
    def runs(self) -> list[str]:
        """The names of all run folders: those of populations, then those of refinements."""
        return [*self.populations, *(entry.run for entry in self.refinements)]

    def entry(self, name: str) -> PopulationEntry:
        """Return the entry of a population.

        That of a refinement's run has the budget and the schedule of the population that is
        refined.
        """
        if name in self.populations:
            return self.populations[name]
        refined = next(entry for entry in self.refinements if entry.run == name)
        parent, base = self.entry(refined.population), self.base(refined.population)
        return PopulationEntry(
            space=refined.space,
            recipe_axes=base.recipe_axes,
            budget=base.budget,
            n=self.size(name),
            epochs=parent.epochs,
            seed=parent.seed,
            val=parent.val,
        )

    @property
    def derived_runs(self) -> dict[str, PopulationEntry]:
        """The run folders of the derived models that are trained, one a seed."""
        if not any(entry.trained for entry in self.derived.values()):
            return {}
        return {
            f"derived/seed-{seed}": PopulationEntry(space="-", seed=seed, val=self.derived_val)
            for seed in self.derived_seeds
        }

    def base(self, name: str) -> PopulationEntry:
        """Return the entry whose space a population is sampled from."""
        entry = self.entry(name)
        return entry if entry.same_as is None else self.entry(entry.same_as)

    def epochs_of(self, entry: PopulationEntry) -> int | None:
        """Return the epochs of an entry, or None for the recipe's."""
        return entry.epochs or self.epochs

    def val_of(self, entry: PopulationEntry) -> str:
        """Return the validation images of an entry."""
        return entry.val or self.val

    def budget_of(self, entry: PopulationEntry) -> dict[str, str]:
        """Return the ranges of cost of an entry with a space, by measure."""
        return (entry.budget or self.budget).model_dump(exclude_none=True)

    def axes_of(self, entry: PopulationEntry) -> RecipeAxes:
        """Return the settings that are drawn for each model of an entry with a space."""
        return self.recipe_axes if entry.recipe_axes is None else entry.recipe_axes

    def size(self, name: str) -> int:
        """Return how many models of a population there are after all steps of the study."""
        if name not in self.populations:
            refined = next(entry for entry in self.refinements if entry.run == name)
            return refined.n or min(self.n, self.size(refined.population))
        own = self.own_size(name)
        sizes = [step.n or own for step in self.steps if name in step.populations]
        return max(sizes, default=own)

    def own_size(self, name: str) -> int:
        """Return how many models of a population a step without a number has."""
        return self.entry(name).n or self.base(name).n or self.n

    def ordered_steps(self) -> list[StepEntry]:
        """Return the steps, and one of all populations that no step names.

        Those of them in spaces of refinements, which are yet to be written, have one of their own.
        """
        named = {name for step in self.steps for name in step.populations}
        refined = {entry.space for entry in self.refinements}
        rest: dict[bool, list[str]] = {False: [], True: []}
        for name in [name for name in self.populations if name not in named]:
            rest[str(self.base(name).space).partition("@")[0] in refined].append(name)
        return [*self.steps, *(StepEntry(populations=names) for names in rest.values() if names)]


def comparisons(claims: ClaimsFile) -> list[ComparisonClaim]:
    """Return the claims about two populations."""
    return [claim for claim in claims.claims if isinstance(claim, ComparisonClaim)]


def load_study_file(path: Path) -> StudyFile:
    """Read a study file.

    Raises:
        InputError: The file can't be read, or a key is unknown, missing or out of range.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"study: {path} must end in .yaml")
    data: dict[str, Any] = read_yaml(path, "study")
    return validate(StudyFile, data, path, "study")
