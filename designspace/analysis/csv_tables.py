"""Findings as tables, one per result, for CSV files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from designspace.analysis.findings import Findings
from designspace.analysis.summary import summarize
from designspace.analysis.trade_off import TradeOff
from designspace.stats.edf import Band, Edf


def tables(findings: Findings) -> dict[str, pd.DataFrame]:
    """Return the tables of a report by name; those of what was not analyzed are empty."""
    populations, numbers = findings.populations, summarize(findings).to_dict()
    frames = {
        "populations": _populations_frame(numbers["populations"]),
        "edf": _edf_frame((p.name, p.edf, p.band) for p in populations),
        "bootstrap": _frame(
            {"population": name, "parameter": parameter, **interval}
            for name, intervals in numbers["bootstrap"].items()
            for parameter, interval in intervals.items()
        ),
        "best_of_k": _concat(
            pd.DataFrame(
                {
                    "population": p.name,
                    "k": p.best_of_k.k,
                    "expected": p.best_of_k.expected,
                    "unbiased": p.best_of_k.unbiased,
                    "low": p.best_of_k.low,
                    "high": p.best_of_k.high,
                }
            )
            for p in populations
        ),
        "comparisons": _frame(numbers["comparisons"]),
        "trends": _trends_frame(numbers),
        "controls": _controls_frame(numbers["comparisons"]),
        "constraints": _frame(
            {"population": name, **constraint}
            for name, constraints in numbers["shared_constraints"].items()
            for constraint in constraints
        ),
        "fits": _concat(
            pd.DataFrame(
                {
                    "population": p.name,
                    "index": p.widths.rows,
                    "rank": p.widths.ranks,
                    "w_0": p.widths.fits.w_0.astype(int),
                    "w_a": p.widths.fits.w_a,
                    "w_m": p.widths.fits.w_m,
                    "e_fit": p.widths.fits.error,
                }
            )
            for p in populations
            if p.widths is not None
        ),
        "models": findings.models_frame(),
        **trade_off_tables(findings.trade_offs),
    }
    # The claims file has what each claim states; the table does without it.
    frames["claims"] = _frame(
        {key: value for key, value in row.items() if key != "stated"}
        for row in numbers["claims"] or ()
    )
    names, normalized = [p.name for p in populations], findings.normalized
    rows = zip(names, normalized.edfs, normalized.bands, strict=True) if normalized else ()
    frames["edf_normalized"] = _edf_frame(rows)
    return frames


def trade_off_tables(trade_offs: Sequence[TradeOff]) -> dict[str, pd.DataFrame]:
    """Return the tables of trade-offs: populations, models on fronts, curves, pairs."""
    every = [(_about(one), part) for one in trade_offs for part in one.populations]
    return {
        "trade_offs": _frame(
            {
                **about,
                "population": part.name,
                "n": part.n,
                "on_front": len(part.rows),
                "k": part.best.k,
                "hypervolume": vars(part.hypervolume.estimate()),
            }
            for about, part in every
        ),
        "trade_off_fronts": _concat(
            pd.DataFrame(
                {
                    **about,
                    "population": part.name,
                    "index": part.rows,
                    "cost": part.costs,
                    "error": part.errors,
                    "frequency": part.frequency,
                }
            )
            for about, part in every
        ),
        "trade_off_curves": _concat(
            pd.DataFrame(
                {
                    **about,
                    "population": part.name,
                    "cost": part.best.costs,
                    "error": part.best.errors,
                    "low": part.best.low,
                    "high": part.best.high,
                }
            )
            for about, part in every
        ),
        "trade_off_pairs": _frame(
            {
                **_about(one),
                "first": pair.first,
                "second": pair.second,
                "hypervolume": vars(pair.hypervolume),
                "p": pair.p,
                "better": pair.better,
            }
            for one in trade_offs
            for pair in one.pairs
        ),
    }


def _about(trade_off: TradeOff) -> dict[str, str]:
    """The columns that tell trade-offs apart."""
    setting = trade_off.setting
    return {"against": trade_off.measure, "setting": "" if setting is None else str(setting)}


def to_csv(frame: pd.DataFrame) -> str:
    """Return CSV text in which no spreadsheet takes a cell for a formula: such text is quoted."""
    texts = frame.select_dtypes(["object", "string"]).columns
    escaped = frame.assign(**{name: frame[name].map(escape_formula) for name in texts})
    return escaped.rename(columns=escape_formula).to_csv(
        index=False, lineterminator="\n", float_format="%.12g"
    )


def escape_formula(value: Any) -> Any:
    """Quote text that a spreadsheet would take for a formula; other values stay."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _populations_frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Each population's numbers, but for those of its parameters."""
    return _frame({k: v for k, v in record.items() if k != "at_equal_cost"} for record in records)


def _trends_frame(numbers: Mapping[str, Any]) -> pd.DataFrame:
    return _frame(
        {
            "population": p["name"],
            **{key: entry for key, entry in trend.items() if not isinstance(entry, list)},
            "importance": numbers["importance"][p["name"]][trend["name"]],
            "at_equal_cost": p["at_equal_cost"].get(trend["name"]),
        }
        for p in numbers["populations"]
        for trend in numbers["trends"][p["name"]]
    )


def _controls_frame(pairs: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    return _frame(
        {"first": pair["first"], "second": pair["second"], **control}
        for pair in pairs
        for control in pair["controls"]
    )


def _edf_frame(rows: Iterable[tuple[str, Edf, Band]]) -> pd.DataFrame:
    return _concat(
        pd.DataFrame(
            {
                "population": name,
                "error": function.errors,
                "share_up_to": function.cumulative,
                "band_low": band.low,
                "band_high": band.high,
            }
        )
        for name, function, band in rows
    )


def _concat(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    parts = list(frames)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _frame(records: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([_flatten(record) for record in records], dtype=object)


def _flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """One column per number: `mean: {value, low, high}` becomes mean, mean_low, mean_high.

    One or two numbers become columns `_first` and `_second`, texts a list in one cell; longer lists
    of numbers have no place in a row, nor have lists of maps.
    """
    flat: dict[str, Any] = {}
    for key, entry in record.items():
        if isinstance(entry, dict):
            inner = _flatten(entry)
            flat |= {key if name == "value" else f"{key}_{name}": v for name, v in inner.items()}
        elif not isinstance(entry, list | tuple):
            flat[key] = entry
        elif all(isinstance(item, str) for item in entry):
            flat[key] = "; ".join(entry)
        elif len(entry) <= 2 and not isinstance(entry[0], dict):
            names = f"{key}_first", f"{key}_second"
            flat |= dict(zip(names, [*entry, None], strict=False))
    return flat
