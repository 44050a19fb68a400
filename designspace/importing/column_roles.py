"""Decide what the columns of imported results are: costs, design parameters, metrics or labels."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from designspace.analysis.imported_folder import COSTS, listed, usable_name
from designspace.errors import InputError, nearest
from designspace.importing.table_files import COST_NAMES, UNITS, in_units, normalized
from designspace.stats.arrays import FloatArray

_METRIC = re.compile(
    r"(?:^|_)(?:top\d+|acc\d*|accuracy|err|error|loss|auc|auroc|f1|map|ap\d*|precision|recall|m?iou"
    r"|mse|rmse|mae|bleu|perplexity|ppl|nll|score|reward|value|time|seconds|duration|runtime|latency"
    r"|throughput|timestamp|memory|samples_per_sec)(?:_|$)"
)
# Networks of images have more multiply-adds, parameters and activations.
_LEAST_COST = 1000
_LABEL = re.compile(r"(?:^|_)(?:seed|number|rank|trial|step|job|job_id|run_id|row)$")


def assign_columns(
    columns: Mapping[str, FloatArray],
    parameters: Sequence[str] | None = None,
    costs: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    labels: Sequence[str] = (),
    names: Sequence[str] = (),
) -> tuple[dict[str, FloatArray], list[str], list[str]]:
    """Return columns under usable names, the names of those that are parameters, and notes.

    Costs come first, in single multiply-adds, parameters and activations. `names` are those of all
    columns of the file; the other arguments are those of `import_results`.

    Raises:
        InputError: An argument names a column that is not there, or, but for labels, not numeric.
    """
    _check_names(columns, parameters, costs, metrics)
    for name in labels:
        if name not in (*columns, *names):
            hint = nearest(name, list(dict.fromkeys((*columns, *names))))
            raise InputError(f"labels: no column {name!r}; {hint}", "labels")
    notes: list[str] = []
    drawn = _optuna_parameters(names or list(columns))
    cost_of = _find_costs(columns, (*(parameters or ()), *drawn), costs or {})
    result: dict[str, FloatArray] = {}
    for cost_name in COSTS:
        if cost_name in cost_of:
            name, factor = cost_of[cost_name]
            result[cost_name] = in_units(columns[name], factor)
            if name != cost_name:
                unit = f" in units of {factor:g}" if factor != 1 else ""
                notes.append(f"{cost_name}: column {name!r}{unit}")
            largest = np.nanmax(result[cost_name])
            if largest < _LEAST_COST:
                notes.append(
                    f"{cost_name}: at most {largest:g}; where the unit is another, rename the "
                    f"column, such as {name}_M or {name}_G"
                )
    chosen, others = [], []
    for place, (name, values) in enumerate(columns.items()):
        if name in {column for column, _ in cost_of.values()}:
            continue
        short = _distinct(usable_name(_without_prefix(name, columns), place), result, name, notes)
        result[short] = values
        word = normalized(name)
        if parameters is not None:
            is_parameter = name in parameters
        elif name in drawn:
            is_parameter = name not in (*metrics, *labels)
        elif _METRIC.search(word) or _LABEL.search(word) or _cost_and_unit(word):
            is_parameter = False
            others.append(short)
        else:
            is_parameter = name not in (*metrics, *labels)
        chosen += [short] if is_parameter else []
    if others:
        notes.append(
            f"not design parameters, judging by their names: {listed(others, ', ')}; name those "
            "that are"
        )
    return result, chosen, notes


def _check_names(
    columns: Mapping[str, FloatArray],
    parameters: Sequence[str] | None,
    costs: Mapping[str, str] | None,
    metrics: Sequence[str],
) -> None:
    named = {"parameters": parameters or (), "costs": (costs or {}).values(), "metrics": metrics}
    for argument, names in named.items():
        for name in names:
            if name not in columns:
                hint = nearest(name, list(columns))
                raise InputError(f"{argument}: no numeric column {name!r}; {hint}", argument)
    for name in costs or {}:
        if name not in COSTS:
            raise InputError(f"costs: {name!r}; {nearest(name, list(COSTS))}", "costs")


def _find_costs(
    columns: Mapping[str, FloatArray], parameters: Sequence[str], costs: Mapping[str, str]
) -> dict[str, tuple[str, float]]:
    """Return the column of each cost, and the factor of its unit."""
    result: dict[str, tuple[str, float]] = {}
    for name, values in columns.items():
        cost_name, factor = _cost_and_unit(normalized(name)) or ("", 1.0)
        if normalized(name) == "param_count" and np.nanmax(values) < 1e4:
            factor = 1e6  # timm counts in millions
        stated = [cost for cost, column in costs.items() if column == name]
        result.update(dict.fromkeys(stated, (name, factor)))
        is_free = not stated and cost_name not in costs and name not in parameters
        if cost_name and is_free and np.nanmin(values) >= 0:
            result.setdefault(cost_name, (name, factor))
    return result


def _optuna_parameters(names: Sequence[str]) -> list[str]:
    """Return the columns that are parameters by Optuna's prefix, in a table of its trials."""
    if "number" not in names or not any(re.fullmatch(r"value|values_.+", n) for n in names):
        return []
    return [name for name in names if name.startswith("params_")]


def _cost_and_unit(word: str) -> tuple[str, float] | None:
    """Return the cost that a normalized name means, and the factor of its unit, or None."""
    word = word.removeprefix("infer_")
    if word in COST_NAMES:
        return COST_NAMES[word], 1.0
    before, after = re.fullmatch(r"([kmgbt])_?(\w+)", word), re.fullmatch(r"(\w+?)_([kmgbt])", word)
    for match, unit, name in ((before, 1, 2), (after, 2, 1)):
        if match and match[name] in COST_NAMES:
            return COST_NAMES[match[name]], UNITS[match[unit]]
    return None


def _distinct(short: str, taken: Mapping[str, FloatArray], name: str, notes: list[str]) -> str:
    """Return a name that no cost and no earlier column has."""
    distinct = short
    while distinct in COSTS or distinct in taken:
        distinct = f"{distinct} (imported)"
    if distinct != short:
        notes.append(f"column {name!r} is called {distinct!r} here")
    return distinct


def _without_prefix(name: str, columns: Mapping[str, FloatArray]) -> str:
    """Remove Optuna's prefix of a parameter, where the rest is distinct."""
    short = name.removeprefix("params_").removeprefix("user_attrs_")
    return name if short in columns or not short else short
