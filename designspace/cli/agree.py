"""`designspace agree`: how well errors agree between schedules and seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from designspace.cli.options import Json

if TYPE_CHECKING:
    from designspace.analysis.rank_agreement import RankAgreement


def agree(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Runs of one population, trained differently."),
    ],
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    json_: Json = False,
) -> None:
    """Measure how far errors can be trusted: the same models trained longer, or with other seeds.

    Compares the models that all runs have finished. Runs that differ in their schedule give a rank
    correlation with the first run; runs that differ only in their seed split the variance of an
    error into models and seeds.

    Examples:

      designspace agree results/short results/long

      designspace agree results/seed0 results/seed1 results/seed2 --json
    """
    import json

    import designspace as ds

    agreement = ds.rank_agreement(runs, level)
    if json_:
        print(json.dumps(agreement.to_dict()))
    else:
        print("\n".join(_lines(agreement)))


def _lines(agreement: "RankAgreement") -> list[str]:
    lines = [
        f"{name}: {a.n} models, rank correlation with {agreement.first} {a.spearman:.2f} "
        f"({a.level:.0%} interval {a.low:.2f} to {a.high:.2f}; Kendall's tau {a.kendall:.2f}); "
        f"mean error {abs(a.shift):.2f} {'lower' if a.shift < 0 else 'higher'}"
        for name, a in agreement.schedules
    ]
    if agreement.seeds:
        s = agreement.seeds
        lines.append(
            f"{', '.join(agreement.repeated)}: {s.models} models with {s.seeds} seeds: standard "
            f"deviation {s.model_sd:.2f} % between models, {s.seed_sd:.2f} % between seeds; "
            f"models explain {s.share:.0%} of the variance of an error ({s.level:.0%} interval "
            f"{s.low:.0%} to {s.high:.0%})"
        )
    return lines
