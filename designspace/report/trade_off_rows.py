"""The page's tables of a trade-off, as text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from designspace.analysis.findings import Findings
from designspace.analysis.trade_off import PopulationTradeOff, TradeOff, TradeOffPair
from designspace.analysis.trade_off_text import regions_text
from designspace.stats.intervals import Estimate

# Where in the range of cost the table says what is reached: half, three quarters, all of it.
_PLACES = (0.5, 0.75, 1.0)


@dataclass(frozen=True)
class PopulationRow:
    """One population's row of the table.

    Attributes:
        index: Its number in the report, by which it has its color.
        name: Its name.
        n: Models whose cost is known.
        front: Number of models on the sample's front.
        hypervolume: Expected hypervolume with its interval.
        best: Best error within each of the table's costs.
    """

    index: int
    name: str
    n: int
    front: int
    hypervolume: Estimate
    best: Sequence[str]


@dataclass(frozen=True)
class TradeOffRows:
    """The tables of one trade-off.

    Attributes:
        title: The cost in words.
        setting: What it was measured on, or "".
        costs: The costs at which the table says what is reached.
        populations: One row each.
        pairs: Every two of them, with where one is shown to be better.
        front: Population's index and name, model, cost, error and frequency of each front's models.
        notes: What limits the results.
        note: How to read the table.
    """

    title: str
    setting: str
    costs: Sequence[str]
    populations: Sequence[PopulationRow]
    pairs: Sequence[tuple[TradeOffPair, str]]
    front: Sequence[tuple[Any, ...]]
    notes: Sequence[str]
    note: str

    @staticmethod
    def of(trade_off: TradeOff, findings: Findings) -> "TradeOffRows":
        """Return the tables of a trade-off of a report."""
        index = {p.name: number for number, p in enumerate(findings.populations)}
        limits = trade_off.populations[0].best.costs
        places = [round(share * (len(limits) - 1)) for share in _PLACES]
        setting = trade_off.setting
        return TradeOffRows(
            title=trade_off.cost,
            setting="" if setting is None else f"Measured on {setting}.",
            costs=[trade_off.format(float(limits[place])) for place in places],
            populations=[
                PopulationRow(
                    index[part.name],
                    part.name,
                    part.n,
                    len(part.rows),
                    part.hypervolume.estimate(),
                    [_best(part, place) for place in places],
                )
                for part in trade_off.populations
            ],
            pairs=[(pair, regions_text(trade_off, pair) or "neither") for pair in trade_off.pairs],
            front=[row for part in trade_off.populations for row in _front(trade_off, part, index)],
            notes=trade_off.notes,
            note=_note(trade_off),
        )


def _best(part: PopulationTradeOff, place: int) -> str:
    best = part.best
    if not np.isfinite(best.errors[place]):
        return "–"
    ends = (f"{v:.1f}" if math.isfinite(v) else "…" for v in (best.low[place], best.high[place]))
    return f"{best.errors[place]:.1f} ({'–'.join(ends)})"


def _front(
    trade_off: TradeOff, part: PopulationTradeOff, index: dict[str, int]
) -> list[tuple[Any, ...]]:
    rows = zip(part.rows.tolist(), part.costs, part.errors, part.frequency, strict=True)
    return [
        (index[part.name], part.name, row, trade_off.format(float(cost)), error, frequency)
        for row, cost, error, frequency in rows
    ]


def _note(trade_off: TradeOff) -> str:
    box, k = trade_off.box, trade_off.k
    models, reach = (f"{k} random models", "reach") if k > 1 else ("one random model", "reaches")
    return (
        f"With 95 % intervals. All but the fronts is what {models} of each space {reach}, the same "
        "number for all: a twelfth of the smallest sample. Error within a cost: half "
        f"of such searches reach it. Hypervolume: expected area between the front of {models} and "
        f"the reference point ({box.error:.1f} % error, {trade_off.format(box.high)}) from "
        f"{trade_off.format(box.low)} on, with {trade_off.cost} on a logarithmic axis. Divided by "
        "the length of that axis, it is how many points the best error within a cost lies below "
        "the reference, on average, 0 where no model is within it; larger is better. The range "
        "holds 98 % of each sample."
    )
