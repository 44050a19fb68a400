"""Analysis: compare runs, draw and save what was found, narrow a space, read others' results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace import runs
from designspace.analysis import findings as core
from designspace.errors import InputError, check_types, shortened
from designspace.runs.run_list import check_run, list_runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from designspace.analysis.claims import ClaimsFile
    from designspace.analysis.rank_agreement import RankAgreement
    from designspace.refinement.refine import Refinement

_CoreRun = runs.Run
RunLike = _CoreRun | str | Path


@dataclass(frozen=True, eq=False, repr=False)
class Findings(core.Findings):
    """All results of an analysis: each population, and every two compared.

    Attributes:
        populations: Error distribution, bootstrap, fits and trends of each population.
        comparisons: Every two populations compared.
        normalized: Error distributions at equal complexity, or None.
        claims: Verdicts of claims that were written down beforehand, or None.
        area_range: Errors between which areas under the EDFs are taken, in percent.
        trade_offs: Pareto fronts, best error within a cost and hypervolumes, of each cost that
            `analyze` was to take errors against.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=6, flops="180K:220K", out="results/findings")
        >>> for i, error in enumerate([12.0, 11.0, 14.5, 10.5, 13.0, 12.5]):
        ...     run.record(i, error=error)
        >>> findings = ds.analyze([run])
        >>> findings.to_frame()["mean"].round(2).tolist()
        [12.25]
        >>> axes = findings.plot_edf()
        >>> findings.tables()["fits"].columns.tolist()[:3]
        ['population', 'index', 'rank']
    """

    def save(self, out: str | Path, figures: Sequence[str] = ("svg", "png")) -> Path:
        """Write the report: index.html, summary.json, tables and figures.

        Args:
            out: Folder of the report; an earlier report there is replaced.
            figures: Formats of the figures: svg, png, pdf.

        Returns:
            The path of index.html.
        """
        from designspace.report.write_report import write_report

        return write_report(self, Path(out), figures)

    def tables(self) -> "dict[str, pd.DataFrame]":
        """Return the tables of the report by name: populations, comparisons, claims and others.

        `tables()["comparisons"]` has a row for each two populations: difference of means with its
        95 % interval, tests and correction. Tables of what was not analyzed are empty.
        """
        from designspace.analysis.csv_tables import tables

        return tables(self)

    def plot_edf(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the error distribution of every population.

        Args:
            ax: Axes to draw on; by default new ones.
            **options: As of `designspace.plot_edf`: color, label, linestyle, style, band.

        Returns:
            The axes; `designspace.save_figure(ax, "edf.pdf")` saves the figure.
        """
        from designspace.report.plot import plot_edf

        return plot_edf(self, ax=ax, **options)

    def plot_best_of_k(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the expected best error of random searches.

        Args:
            ax: Axes to draw on; by default new ones.
            **options: As of `plot_edf`.

        Returns:
            The axes.
        """
        from designspace.report.plot import plot_best_of_k

        return plot_best_of_k(self, ax=ax, **options)

    def plot_differences(self, ax: "Axes | None" = None, **options: Any) -> "Axes":
        """Draw the difference of mean error of each two populations, with its 95 % interval.

        Args:
            ax: Axes to draw on; by default new ones.
            **options: label (a list, one a pair), color and style.

        Returns:
            The axes.
        """
        from designspace.report.plot import plot_differences

        return plot_differences(self, ax=ax, **options)

    def plot_trade_off(
        self, against: str | None = None, ax: "Axes | None" = None, **options: Any
    ) -> "Axes":
        """Draw the best error within a cost and the Pareto front of every population.

        Args:
            against: Which cost; by default the first of `trade_offs`.
            ax: Axes to draw on; by default new ones.
            **options: As of `designspace.plot_edf`: color, label, linestyle, style, band.

        Returns:
            The axes.

        Raises:
            InputError: The analysis was not against that cost.
        """
        from designspace.report.plot import plot_trade_off

        return plot_trade_off(self, against, ax=ax, **options)

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(border=0))


@check_types
def analyze(
    runs: "Sequence[RunLike] | RunLike",
    *,
    margin: float = 1.0,
    claims: "str | Path | Mapping[str, Any] | ClaimsFile | None" = None,
    all_finished: bool = False,
    first: int | None = None,
    against: str | Sequence[str] = (),
) -> Findings:
    """Compare populations by their error distributions.

    Args:
        runs: Runs, run folders, or folders of imported results.
        margin: Difference in mean error, in percent, that counts as none.
        claims: Path of a YAML file of claims that were written down beforehand, or its content: a
            mapping with the list `claims`, as a YAML reader returns it.
        all_finished: Count every finished trial of an unfinished population. By default trials
            after the first model without one are set aside, as fast models finish first.
        first: Only the first so many models of each population, in sampled order.
        against: Costs to set errors against: flops, params, acts; or latency, memory of runs that
            were measured, each setting on its own. One or several; see `Findings.trade_offs`.

    Returns:
        The findings: `to_frame()` and `plot_edf()` show them, `save(out)` writes the report.

    Raises:
        InputError: A folder can't be read or has no error yet, the claims are wrong, or a cost is
            unknown.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=4, flops="180K:220K", out="results/analyzed")
        >>> for i, error in enumerate([12.0, 11.0, 14.5, 10.5]):
        ...     run.record(i, error=error)
        >>> ds.analyze("results/analyzed").populations[0].edf.minimum
        10.5
    """
    from designspace.analysis.load_results import load_populations

    if not 0 < margin <= 100:
        raise InputError(f"margin is {margin:g}; it must be above 0 and at most 100", "margin")
    if first is not None and first < 1:
        raise InputError(f"first is {first}; it must be at least 1", "first")
    content, source = _claims(claims)
    populations = load_populations(runs, all_finished, first)
    findings = core.analyze(populations, margin, content, source, against)
    return Findings(**{name: getattr(findings, name) for name in findings.__dataclass_fields__})


@check_types
def refine(
    study: "Findings | RunLike",
    population: "RunLike | None" = None,
    *,
    name: str | None = None,
    alpha: float = 0.05,
    margin: float = 1.0,
    space: str | Path | None = None,
) -> "Refinement":
    """Propose a narrower space: the constraints that a study supports.

    Each candidate (sharing, monotone widths or depths, ranges, fixing b or g, the quantized linear
    rule) is accepted, rejected or left undecided by a test suited to it, with Holm's correction.

    Args:
        study: Findings, a folder of findings, or a run. Of findings, the models that they count are
            tested: those of their `first` and `all_finished`.
        population: Which population of the study: its name, its run, or the run's folder; by
            default its first.
        name: Name of the narrower space; by default the run's, with `-refined`.
        alpha: Probability of any wrong constraint among all that are proposed.
        margin: Percent of error that sharing may cost and still count as free.
        space: The space that imported or gathered models belong to; a sampled run records its own.

    Returns:
        `space`, the narrower space or None; `proposals` with their evidence; `text()`, the YAML.

    Raises:
        InputError: The study has no such population, or no errors yet.

    Example:
        >>> import designspace as ds
        >>> run = ds.sample("RegNetX@8", n=6, flops="180K:220K", out="results/refined")
        >>> for i in range(6):
        ...     run.record(i, error=10.0 + i)
        >>> ds.refine(run, name="narrower").space is None  # six models show nothing
        True
    """
    from designspace.refinement.refine import refine as propose
    from designspace.refinement.refine import studied_models

    place = study if isinstance(study, core.Findings) else _path(study, "study")
    chosen: str | Path | None
    if population is None or isinstance(population, str):
        chosen = population
    else:
        chosen = _path(population, "population")
    if name is None:
        name = f"{studied_models(place, chosen).run.resolve().name}-refined"
    return propose(
        place,
        chosen,
        name=name,
        alpha=alpha,
        margin=margin,
        space=None if space is None else str(space),
    )


@check_types
def rank_agreement(runs: "Sequence[RunLike]", level: float = 0.95) -> "RankAgreement":
    """Measure how well errors agree between runs of one population.

    Runs that differ in their schedule give a rank correlation with the first; runs that differ in
    their seed only split the variance into models and seeds.

    Args:
        runs: Two or more runs of the same models.
        level: Level of the intervals, between 0 and 1.

    Returns:
        `schedules`, how each run of another schedule agrees with the first; `seeds`, the shares of
        the variance, or None without a second seed; `to_dict()`, both as plain data.

    Raises:
        InputError: Fewer than two runs, or runs of different populations.

    Example:
        >>> import designspace as ds
        >>> short, long = (
        ...     ds.sample("RegNetX@8", n=6, flops="180K:220K", out=f"results/{name}")
        ...     for name in ("short", "long")
        ... )
        >>> for i in range(6):
        ...     short.record(i, error=20.0 + i, seed=1, split="held-out")
        ...     long.record(i, error=10.0 + i, seed=2, split="held-out")
        >>> ds.rank_agreement([short, long]).to_dict()["seeds"]["models"]
        6
    """
    from designspace.analysis.load_results import load_populations
    from designspace.analysis.rank_agreement import rank_agreement as measure

    listed = list_runs(runs)
    if len(listed) < 2:
        raise InputError("runs must be two or more runs of the same models", "runs")
    return measure(load_populations(listed, all_finished=True), level)


def _claims(
    claims: "str | Path | Mapping[str, Any] | ClaimsFile | None",
) -> "tuple[ClaimsFile | None, str]":
    """Return the content of claims, and what messages call it."""
    from designspace.analysis.claims import ClaimsFile, read_claims
    from designspace.io.validation import from_plain

    if isinstance(claims, str | Path):
        return read_claims(Path(claims)), str(claims)
    if isinstance(claims, Mapping):
        return from_plain(ClaimsFile, dict(claims), "claims: content"), "content"
    if claims is None or isinstance(claims, ClaimsFile):
        return claims, "content"
    raise InputError(
        f"claims is {shortened(repr(claims))}; it must be the path of a YAML file, or its content "
        "as a mapping",
        "claims",
    )


def _path(run: RunLike, argument: str) -> Path:
    check_run(run, argument)
    return run.path if isinstance(run, _CoreRun) else Path(run)
