"""The head of a report: three to five cards, each one verdict in one sentence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from designspace.analysis.compare_pairs import PairComparison, signed
from designspace.analysis.findings import (
    Findings,
    PopulationFindings,
    compared,
    lowest_mean,
    neighbors,
)
from designspace.analysis.trade_off import TradeOff
from designspace.analysis.trade_off_text import best_text, middle, pair_sentence, searches
from designspace.arch import format_quantity

Tone = Literal["better", "worse", "equal", "undecided", "neutral"]
_MAX_CARDS = 5
# Verdicts by which one of a pair is better.
_DECIDED = ("better", "worse")


@dataclass(frozen=True)
class Card:
    """One verdict: what is better than what, by how much, and how sure that is.

    Attributes:
        title: The verdict in a few words.
        sentence: Its numbers.
        tone: Which color and mark it has.
    """

    title: str
    sentence: str
    tone: Tone = "neutral"


def verdict_cards(findings: Findings) -> tuple[Card, ...]:
    """Return the cards of a report, the most important first."""
    best = lowest_mean(findings)
    if best is None:
        return (Card("No model has an error", "Every trial failed; see the warnings.", "worse"),)
    trade_offs = tuple(map(_trade_off, findings.trade_offs))
    if len(findings.populations) == 1:
        return (*_quality(best), *trade_offs, *_parameter(best), *_shared(best))
    cards = [_best(best, findings), *_equal(findings.comparisons)]
    rest = [*_undecided(findings), *_claims(findings), *_parameter(best)]
    if len(cards) + len(rest) < _MAX_CARDS:
        cards += _step(best, findings)
    return (*cards, *trade_offs, *rest)


def difference(pair: PairComparison) -> str:
    """Return a pair's difference of mean error with its interval."""
    mean = pair.comparison.mean
    return f"{signed(mean.value)} points, 95 % interval {signed(mean.low)} to {signed(mean.high)}"


def verdict(pair: PairComparison) -> str:
    """Return a pair's verdict in words: which is better, equal within the margin, or undecided."""
    return {
        "better": f"{pair.second} better",
        "worse": f"{pair.first} better",
        "equivalent": f"equal within {points(pair.equivalence.margin)}",
        "undecided": "undecided",
    }[pair.verdict]


def points(value: float) -> str:
    """Format a number of percentage points."""
    return f"{value:g} point" + ("" if value == 1 else "s")


def _best(best: PopulationFindings, findings: Findings) -> Card:
    """Say which population has the lowest mean error, and whether that is shown."""
    there = [pair for pair in findings.comparisons if best.name in (pair.first, pair.second)]
    # A better error at another cost says little about the space.
    involved = [pair for pair in there if not pair.unequal]
    beaten = [pair for pair in involved if pair.verdict in _DECIDED]
    mean = f"mean error {best.edf.mean:.1f} %, n = {best.edf.n}"
    title = "No space is shown to be better"
    if not involved:
        why = "the others differ in cost" if there else "nothing could be compared"
        sentence = f"{best.name} has the lowest mean ({mean}); {why}."
        return Card(title, sentence, "undecided")
    among = " of equal cost" if len(involved) < len(there) else ""
    if not beaten:
        others = _other(involved[0], best)
        if len(involved) > 1:
            others = _others(f"the {len(involved)}", len(there), findings, among)
        if any(pair.verdict in _DECIDED for pair in findings.comparisons):
            title = f"{best.name}'s lead is not shown"
        sentence = f"{best.name} has the lowest mean ({mean}); its lead over {others} is not shown."
        return Card(title, sentence, "undecided")
    nearest = min(beaten, key=lambda pair: abs(pair.comparison.mean.value))
    size, interval = _size(nearest)
    if len(beaten) == 1:
        title = f"{best.name} is better than {_other(nearest, best)}"
        only = f"; no other is{among}" if among and len(involved) == 1 else ""
        return Card(title, f"By {size} of mean error ({interval}); {mean}{only}.", "better")
    count = f"{len(beaten)} of {len(involved)}"
    if len(beaten) == len(involved):
        count = "both" if len(beaten) == 2 else f"all {len(beaten)}"
    return Card(
        f"{best.name} is better than {_others(count, len(there), findings, among)}",
        f"By {size} over the nearest, {_other(nearest, best)} ({interval}); {mean}.",
        "better",
    )


def _others(count: str, of: int, findings: Findings, among: str) -> str:
    """Say which populations the best one is compared with: `of` of them, two or more."""
    if of < len(compared(findings)) - 1:
        which = f"{count} neighbors{among}" if among else f"its {of} neighbors"
        return f"{which} (the only ones compared)"
    # A population of a single model is compared with none.
    all_compared = len(compared(findings)) == len(findings.populations)
    return f"{count} others{among}" + ("" if all_compared else " that could be compared")


def _other(pair: PairComparison, population: PopulationFindings) -> str:
    return pair.first if pair.second == population.name else pair.second


def _step(best: PopulationFindings, findings: Findings) -> list[Card]:
    """Show the largest decided difference between neighbors other than the best population."""
    steps = [
        pair
        for pair in neighbors(findings)
        if pair.verdict in _DECIDED
        and best.name not in (pair.first, pair.second)
        and not pair.unequal
    ]
    if not steps:
        return []
    pair = max(steps, key=lambda pair: abs(pair.comparison.mean.value))
    better, worse = pair.second, pair.first
    if pair.verdict == "worse":
        better, worse = worse, better
    size, interval = _size(pair)
    return [Card(f"{better} is better than {worse}", f"By {size} ({interval}).", "better")]


def _size(pair: PairComparison) -> tuple[str, str]:
    """Return how much better one of a pair is, and the interval."""
    mean = pair.comparison.mean
    sign = -1 if mean.value < 0 else 1
    low, high = sorted((sign * mean.low, sign * mean.high))
    return f"{abs(mean.value):.2f} points", f"95 % interval {_plain(low)} to {_plain(high)}"


def _plain(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _equal(comparisons: Sequence[PairComparison]) -> list[Card]:
    pairs = [pair for pair in comparisons if pair.verdict == "equivalent"]
    if not pairs:
        return []
    margin = points(pairs[0].equivalence.margin)
    first = f"{pairs[0].second} and {pairs[0].first} ({difference(pairs[0])})"
    if len(pairs) == 1:
        title = f"{pairs[0].second} equals {pairs[0].first} within {margin}"
        return [Card(title, f"{difference(pairs[0])}.", "equal")]
    return [Card(f"{len(pairs)} pairs are equal within {margin}", f"Among them {first}.", "equal")]


def _undecided(findings: Findings) -> list[Card]:
    pairs = [pair for pair in findings.comparisons if pair.verdict == "undecided"]
    if not pairs:
        return []
    near = [pair for pair in neighbors(findings) if pair.verdict == "undecided"] or pairs
    example = "" if len(pairs) == 1 else ", for example"
    verb = "is" if len(pairs) == 1 else "are"
    title = f"{len(pairs)} of {len(findings.comparisons)} comparisons {verb} undecided"
    if len(findings.comparisons) == 1:
        title = "The comparison is undecided"
    words = f"{near[0].second} against {near[0].first}{example}: {difference(near[0])}."
    return [Card(title, words, "undecided")]


def _claims(findings: Findings) -> list[Card]:
    if findings.claims is None:
        return []
    verdicts = [claim.verdict for claim in findings.claims.claims]
    counts = {word: verdicts.count(word) for word in ("supported", "contradicted", "undecided")}
    contradicted = [c.claim for c in findings.claims.claims if c.verdict == "contradicted"]
    sentence = f"{counts['contradicted']} contradicted, {counts['undecided']} undecided"
    sentence += f": “{contradicted[0]}” is contradicted." if contradicted else "."
    verb = "is" if counts["supported"] == 1 else "are"
    title = f"{counts['supported']} of {len(verdicts)} claims {verb} supported"
    if len(verdicts) == 1:
        title = f"The claim is {verdicts[0]}"
        sentence = f"{findings.claims.claims[0].claim}."
    return [Card(title, sentence, "worse" if contradicted else "neutral")]


def _quality(p: PopulationFindings) -> list[Card]:
    half = p.quantiles[2]
    interval = f"95 % interval {half.low:.1f} to {half.high:.1f} %; "
    if not math.isfinite(half.low + half.high):
        interval = "too few models for an interval; "
    best = int(p.best_rows[0])
    costs = ", ".join(
        f"{format_quantity(values[best])} {name}"
        for name, values in p.results.costs.items()
        if math.isfinite(values[best])
    )
    return [
        Card(
            f"Half of {p.name}'s models are below {half.value:.1f} % error",
            f"{interval}mean {p.edf.mean:.1f} %, n = {p.edf.n}.",
        ),
        Card(
            f"The best model has {p.edf.minimum:.1f} % error",
            f"Model {best} of {len(p.results)}" + (f": {costs}." if costs else "."),
        ),
    ]


def _trade_off(trade_off: TradeOff) -> Card:
    """Say which population has the better trade-off, or what random models reach."""
    place, k = middle(trade_off), searches(trade_off)
    if not trade_off.pairs:
        part = trade_off.populations[0]
        shown = f"{len(part.rows)} of {part.n} models are on the front of the sample."
        reached = np.flatnonzero(np.isfinite(part.best.errors))
        if not len(reached):
            title = f"Too few models for the best error within {trade_off.cost}"
            return Card(title, shown, "undecided")
        place = max(place, int(reached[0]))
        within = f"{trade_off.cost} {trade_off.format(float(part.best.costs[place]))}"
        title = f"Within {within}: {best_text(part, place)}"
        return Card(title, f"Half of all searches reach it, {k} (95 % band). {shown}")
    decided = [pair for pair in trade_off.pairs if pair.better is not None]
    title = f"No space is shown to be better against {trade_off.cost}"
    if not decided:
        pair = max(trade_off.pairs, key=lambda pair: abs(pair.hypervolume.value))
        return Card(title, f"{pair_sentence(trade_off, pair)}.", "undecided")
    best = max(trade_off.populations, key=lambda part: part.hypervolume.value).name
    lead = [pair for pair in decided if pair.better == best]
    if not lead:
        title = f"{best}'s lead against {trade_off.cost} is not shown"
        return Card(title, f"{pair_sentence(trade_off, decided[0])}.", "undecided")
    others = len(trade_off.populations) - 1
    beaten = lead[0].first if lead[0].second == best else lead[0].second
    over = beaten if others == 1 else f"{len(lead)} of {others} others"
    nearest = min(lead, key=lambda pair: abs(pair.hypervolume.value))
    return Card(
        f"Against {trade_off.cost}, {best} has more hypervolume than {over}",
        f"{pair_sentence(trade_off, nearest)} ({k}).",
        "better",
    )


def _parameter(p: PopulationFindings) -> list[Card]:
    """Name the parameter that explains most of the error within a population."""
    if not p.trends:
        return []
    leading = p.trends[0]
    value, low, high = (
        f"{100 * share:.0f}"
        for share in (leading.importance.value, leading.importance.low, leading.importance.high)
    )
    share = f"{value} % of the variation of the error (95 % interval {low} to {high})"
    if leading.importance.low <= 0:
        title = f"Within {p.name}, no parameter is shown to matter"
        return [Card(title, f"{leading.name} leads with {share}.", "undecided")]
    title = f"Within {p.name}, {leading.name} matters"
    lead = "It leads: it explains" if len(p.trends) > 1 else "It explains"
    return [Card(title, f"{lead} {share}.")]


def _shared(p: PopulationFindings) -> list[Card]:
    shared = [constraint for constraint in p.constraints if constraint.shared]
    if not shared:
        return []
    first = shared[0]
    return [
        Card(
            f"The best quarter satisfies {first.name} more often",
            f"{100 * first.best.value:.0f} % of the best satisfy it, {100 * first.others.value:.0f}"
            " % of the others.",
        )
    ]
