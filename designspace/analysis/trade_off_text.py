"""Trade-offs in cautious sentences."""

import math

import numpy as np

from designspace.analysis.compare_pairs import signed
from designspace.analysis.trade_off import PopulationTradeOff, TradeOff, TradeOffPair

_MOST_PAIRS = 6


def trade_off_sentences(trade_off: TradeOff) -> list[str]:
    """Return what a trade-off shows: each population, then every two of them."""
    where = f" ({trade_off.setting})" if trade_off.setting else ""
    sentences = [
        f"error against {trade_off.cost}{where}: {searches(trade_off)}, "
        f"{trade_off.format(trade_off.box.low)} to {trade_off.format(trade_off.box.high)}"
    ]
    sentences += [f"  {population_sentence(trade_off, part)}" for part in trade_off.populations]
    sentences += [f"  {text}" for text in equal_cost_sentence(trade_off)]
    sentences += [f"  {pair_sentence(trade_off, pair)}" for pair in trade_off.pairs[:_MOST_PAIRS]]
    if len(trade_off.pairs) > _MOST_PAIRS:
        sentences.append(f"  and {len(trade_off.pairs) - _MOST_PAIRS} further pairs in the report")
    return [*sentences, *(f"  note: {note}" for note in trade_off.notes)]


def searches(trade_off: TradeOff) -> str:
    """Return what is compared: the best of k random models of each."""
    return "one random model" if trade_off.k == 1 else f"the best of {trade_off.k} random models"


def middle(trade_off: TradeOff) -> int:
    """Return which limit of cost lies in the middle of the range, on its logarithmic axis."""
    return len(trade_off.populations[0].best.costs) // 2


def best_text(part: PopulationTradeOff, place: int) -> str:
    """Return the best error within one limit of cost, with its band."""
    best = part.best
    if not np.isfinite(best.errors[place]):
        return "too few models"
    ends = (
        f"{end:.1f}" if math.isfinite(end) else "?" for end in (best.low[place], best.high[place])
    )
    return f"{best.errors[place]:.1f} % ({' to '.join(ends)})"


def population_sentence(trade_off: TradeOff, part: PopulationTradeOff) -> str:
    """Return a population's front, and its best error within the middle of the range."""
    place = middle(trade_off)
    within = trade_off.format(float(part.best.costs[place]))
    return (
        f"{part.name}: {len(part.rows)} of {part.n} models on the front; "
        f"{best_text(part, place)} within {within}"
    )


def pair_sentence(trade_off: TradeOff, pair: TradeOffPair) -> str:
    """Return a pair's difference of hypervolume, and where the curves are shown to differ."""
    value = pair.hypervolume
    size = f"{abs(value.value):.2f} points (95 % interval {_ends(pair)}, {_p(pair.p)})"
    if pair.better is None:
        head = f"{pair.second} against {pair.first}: undecided, {signed(value.value)} points of "
        text = f"{head}hypervolume (95 % interval {signed(value.low)} to {signed(value.high)})"
    else:
        worse = pair.first if pair.better == pair.second else pair.second
        text = f"{pair.better} has more hypervolume than {worse}, by {size}"
    return f"{text}; {regions_text(trade_off, pair) or 'at no single cost is either shown better'}"


def regions_text(trade_off: TradeOff, pair: TradeOffPair) -> str:
    """Return the ranges of cost in which each of a pair is shown to be better."""
    ranges: dict[str, list[str]] = {}
    for region in pair.regions:
        low, high = trade_off.format(region.low), trade_off.format(region.high)
        name = pair.second if region.better == "second" else pair.first
        ranges.setdefault(name, []).append(low if low == high else f"{low} to {high}")
    return "; ".join(f"{name} is better within {', '.join(r)}" for name, r in ranges.items())


def equal_cost_sentence(trade_off: TradeOff) -> list[str]:
    """Return the mean errors at equal cost, one sentence, or none where no range is shared."""
    edfs = trade_off.edfs
    if edfs is None or len(edfs.edfs) < 2:
        return []
    named = zip(trade_off.populations, edfs.edfs, strict=True)
    means = ", ".join(f"{part.name} {function.mean:.1f} %" for part, function in named)
    low, high = trade_off.format(edfs.low), trade_off.format(edfs.high)
    return [f"mean error at equal {trade_off.cost} ({low} to {high}, {edfs.bins} bins): {means}"]


def _ends(pair: TradeOffPair) -> str:
    low, high = sorted((abs(pair.hypervolume.low), abs(pair.hypervolume.high)))
    return f"{low:.2f} to {high:.2f}"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
