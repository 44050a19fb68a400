"""`designspace agree`: how far the errors of a short schedule can be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from designspace.analysis.rank_agreement import RankAgreement


def agree(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Runs of one population, trained differently."),
    ],
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell how far errors can be trusted: the same models trained longer, or with other seeds.

    Models that all of the runs have finished are compared. Where the runs differ in their schedule,
    it gives the rank correlation of each with the first; where only the seed differs, it parts the
    spread of errors into models and seeds.

    Examples:

      designspace agree results/short results/long

      designspace agree results/seed0 results/seed1 results/seed2 --json
    """
    import json

    from designspace.analysis.load_results import load_populations
    from designspace.analysis.rank_agreement import rank_agreement

    found = rank_agreement(load_populations(runs, all_finished=True), level)
    if json_:
        print(json.dumps(found.to_dict()))
    else:
        print("\n".join(lines(found)))


def lines(found: "RankAgreement") -> list[str]:
    """Return what was found as lines of text."""
    said = [
        f"{name} ranks {a.n} models of {found.first} with a rank correlation of {a.spearman:.2f} "
        f"({a.level:.0%} interval {a.low:.2f} to {a.high:.2f}; Kendall's tau {a.kendall:.2f}); its "
        f"mean error is {abs(a.shift):.2f} {'lower' if a.shift < 0 else 'higher'}"
        for name, a in found.schedules
    ]
    if found.seeds:
        s = found.seeds
        said.append(
            f"{', '.join(found.repeated)}: {s.models} models with {s.seeds} seeds: standard "
            f"deviation {s.model_sd:.2f} % between models, {s.seed_sd:.2f} % between seeds of one; "
            f"{s.share:.0%} of the variance of an error is the model's ({s.level:.0%} interval "
            f"{s.low:.0%} to {s.high:.0%})"
        )
    return said
