"""Import results that were measured elsewhere: pycls sweeps, NDS summaries, tables.

All are text; a pickle is never opened. Errors become percent, states and column roles those of this
package. What was recognized, left out or is unknown is in the notes of the result.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from designspace.analysis.imported_folder import (
    IMPORT_FILE,
    ImportedResults,
    ImportInfo,
    listed,
    write_imported,
)
from designspace.analysis.network_columns import DescribedNetworks, is_network_column, read_networks
from designspace.analysis.population_results import MISSING, STATES
from designspace.arch import Skeleton
from designspace.arch.blocks import BOTTLENECK, block_axes
from designspace.arch.cost import cost
from designspace.errors import InputError, check_types, counted, nearest, shortened
from designspace.importing.column_roles import assign_columns
from designspace.importing.sweep_files import format_of, parse_sweep
from designspace.importing.table_files import (
    ParsedFile,
    parse_records,
    parse_table,
    read_any_text,
)
from designspace.io.atomic_write import check_output_folder
from designspace.io.serialization import readable
from designspace.runs import TrialState
from designspace.runs.folder_kind import is_pretraining
from designspace.space import load_space
from designspace.space.load import shipped_settings
from designspace.stats.arrays import FloatArray

FORMATS = ("pycls", "nds", "json", "csv")
Scale = Literal["percent", "fraction"]
_COMPLETE, _DIVERGED, _FAILED = (state.value for state in TrialState)
# States of Optuna, W&B, Ray Tune, SLURM and others.
_WORDS = {
    _COMPLETE: "complete completed finished done success succeeded successful ok terminated",
    _FAILED: "failed fail failure error errored crash crashed killed pruned stopped cancelled "
    "canceled timeout timed-out aborted oom out-of-memory preempted node-fail",
    _DIVERGED: "diverged diverged-nan diverged-inf nan nan-loss loss-nan exploded",
    MISSING: "missing running run pending queued waiting scheduled unfinished in-progress started "
    "created paused suspended preempting",
}
_FOREIGN_STATES = {word: state for state, words in _WORDS.items() for word in words.split()}


@check_types
def import_results(
    file: str | Path,
    out: str | Path,
    *,
    error: str | None = None,
    accuracy: str | None = None,
    id: str | None = None,
    scale: str | None = None,
    classes: int | None = None,
    name: str | None = None,
    format: str | None = None,
    parameters: Sequence[str] | None = None,
    costs: Mapping[str, str] | Sequence[str] | None = None,
    metrics: Sequence[str] = (),
    labels: Sequence[str] = (),
    states: Mapping[str, str] | Sequence[str] | None = None,
    decimal: str | None = None,
    input: str | None = None,
    block: str | None = None,
    force: bool = False,
) -> ImportedResults:
    """Import results that were measured elsewhere into a folder that `analyze` reads.

    Args:
        file: A pycls sweep.json, an NDS JSON, a JSON list or JSON Lines with a map per model, or a
            table (CSV, TSV).
        out: The folder to write: import.yaml and models.csv.
        error: Column (or dotted JSON key) of the error; by default it is found.
        accuracy: Column (or dotted JSON key) of the accuracy; the error is 100 % minus it.
        id: Column (or dotted JSON key) of the models' names; by default it is detected.
        scale: "percent" or "fraction" of errors or accuracies; by default it is found.
        classes: Number of classes, for chance error; by default chance is 100 %.
        name: Name of the space; by default the file's.
        format: "pycls", "nds", "json" or "csv"; by default it is found.
        parameters: Columns that are design parameters; by default all numbers that are neither
            costs nor usual names of metrics.
        costs: Columns of flops, params and acts, such as {"flops": "GMACs"} or "flops=GMACs"; by
            default they are found.
        metrics: Further columns that are metrics, not parameters.
        labels: Further columns that are labels, not parameters.
        states: Meaning of states that are unknown, such as {"halted": "failed"} or "halted=failed".
        decimal: Decimal mark, "." or ","; by default it is found.
        input: Input, stem and strides of the models: "imagenet", or a setting such as "@32".
        block: What the stages of the models are made of, such as "vanilla"; by default what the
            file records, or bottleneck.
        force: Replace what the folder has.

    Returns:
        The models as imported, with notes in `.about.notes`.

    Raises:
        InputError: The file can't be read, is ambiguous, or has no errors.

    Example:
        >>> import designspace as ds
        >>> text = "model,error,d1,w1\\na,31.5,1,16\\nb,30.5,2,16\\nc,29.9,2,24\\n"
        >>> pathlib.Path("table.csv").write_text(text) > 0
        True
        >>> len(ds.import_results("table.csv", "results/theirs").ids)
        3
    """
    path, folder = Path(file), Path(out)
    parameters = None if parameters is None else _names(parameters, "parameters")
    metrics, labels = _names(metrics, "metrics"), _names(labels, "labels")
    costs, states = _pairs(costs or {}, "costs"), _pairs(states or {}, "states")
    _check_arguments(folder, error, accuracy, scale, classes, format, decimal, block, force)
    parsed = _parse(path, format, error, accuracy, id, decimal)
    parsed = parsed if block is None else replace(parsed, block=block)
    notes = list(parsed.notes)
    chance = 100.0 if classes is None else 100 * (1 - 1 / classes)
    trial_states, errors = _interpret(parsed, path, scale, chance, states, notes)
    columns, chosen, column_notes = assign_columns(
        parsed.columns, parameters, costs, metrics, labels, parsed.names
    )
    notes += column_notes
    own = {name: columns[name] for name in chosen}
    networks = None
    if any(map(is_network_column, own)):
        networks = read_networks(own, parsed.block or BOTTLENECK, parsed.activation)
    if networks is not None and parsed.block is None:
        notes.append("no block is stated: bottleneck is assumed, that of RegNet")
    skeleton = _input_of(parsed, input, columns, networks, notes)
    ids = _distinct_ids(parsed.ids, notes)
    imported = ImportedResults(
        about=ImportInfo(
            name=readable(name or path.stem)[:200] or "imported",
            source=readable(path.name),
            error=readable(parsed.metric),
            chance=chance,
            split="as imported",
            parameters=chosen,
            input=None if skeleton is None else skeleton.to_dict(),
            block=parsed.block,
            activation=parsed.activation,
            notes=[readable(note) for note in notes],
        ),
        ids=ids,
        states=trial_states,
        errors=errors,
        columns=columns,
    )
    write_imported(imported, folder)
    return imported


def _names(value: Any, argument: str) -> list[str]:
    """Return one or several names as a list."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, Sequence) and all(isinstance(name, str) for name in names):
        return list(names)
    raise InputError(
        f"{argument} is {shortened(repr(value))}; it must be names of columns, such as ['a', 'b']",
        argument,
    )


def _pairs(value: Any, argument: str) -> dict[str, str]:
    """Return a map of text to text, which may be written KEY=VALUE."""
    if not isinstance(value, Mapping):
        words = _names(value, argument)
        value = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    if all(isinstance(text, str) and text for pair in value.items() for text in pair):
        return dict(value)
    raise InputError(
        f"{argument} is {shortened(repr(value))}; it must be a map of text, or KEY=VALUE", argument
    )


def _check_arguments(
    folder: Path,
    error: str | None,
    accuracy: str | None,
    scale: str | None,
    classes: int | None,
    format: str | None,
    decimal: str | None,
    block: str | None,
    force: bool,
) -> None:
    if error is not None and accuracy is not None:
        raise InputError("error= and accuracy= exclude each other; pass one", "error")
    for name, value, choices in (
        ("format", format, FORMATS),
        ("scale", scale, ("percent", "fraction")),
        ("decimal", decimal, (".", ",")),
    ):
        if value is not None and value not in choices:
            raise InputError(f"{name} is {value!r}; {nearest(value, list(choices))}", name)
    if classes is not None and classes < 2:
        raise InputError(f"classes is {classes}; it must be at least 2", "classes")
    axes = ", ".join(axis.name for axis in block_axes(block or BOTTLENECK))
    if axes:
        raise InputError(
            f"block {block!r} has axes of its own ({axes}), which imports can't state", "block"
        )
    check_output_folder(folder)
    if is_pretraining(folder):
        raise InputError(f"out: {folder} holds a pretraining; choose another folder", "out")
    if (folder / IMPORT_FILE).exists() and not force:
        raise InputError(
            f"out: {folder} already holds an import; choose another, or pass force=True", "out"
        )


def _parse(
    path: Path,
    format: str | None,
    error: str | None,
    accuracy: str | None,
    id: str | None,
    decimal: str | None,
) -> ParsedFile:
    text, notes = read_any_text(path)
    is_json = format in ("pycls", "nds", "json")
    if not is_json and (format == "csv" or text.lstrip()[:1] not in ("[", "{")):
        parsed = parse_table(text, path, error, accuracy, id, decimal)
    else:
        records = _json_records(text, path)
        form = format or format_of(records[0]) or "json"
        if form == "json":
            parsed = parse_records(records, path, error, accuracy, id, decimal)
        elif id is not None:
            raise InputError("id has no effect on pycls sweeps and NDS files: leave it out", "id")
        else:
            parsed = parse_sweep(records, path, form, error, accuracy)
    return replace(parsed, notes=[*notes, *parsed.notes])


def _json_records(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        data = _load_json(text)
    except ValueError as error:
        data = _json_lines(text, path)
        if data is None:
            raise InputError(f"import: {path}: not JSON: {error}") from None
    if isinstance(data, dict):  # NDS keeps some populations as {"top": [...], "mid": [...]}
        data = [entry for part in data.values() if isinstance(part, list) for entry in part]
    if not isinstance(data, list) or not data or not all(isinstance(r, dict) for r in data):
        raise InputError(f"import: {path}: must be a list of models, each a map")
    return data


def _load_json(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _json_lines(text: str, path: Path) -> list[Any] | None:
    """Return the value of each line of JSON Lines, or None where the first holds no value."""
    values: list[Any] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append(_load_json(line))
        except ValueError as error:
            if not values:
                return None
            raise InputError(f"import: {path}: line {number}: not JSON: {error}") from None
    return values


def _interpret(
    parsed: ParsedFile,
    path: Path,
    scale: str | None,
    chance: float,
    meanings: Mapping[str, str],
    notes: list[str],
) -> tuple[NDArray[np.str_], FloatArray]:
    """Return state and error in percent of each model."""
    states = _translate_states(parsed, path, meanings, notes)
    values = np.where(np.isin(states, (_COMPLETE, _DIVERGED)), parsed.values, np.nan)
    diverged = (states == _DIVERGED) | ((states == _COMPLETE) & np.isinf(values))
    values[np.isinf(values)] = np.nan
    silent = (states == _COMPLETE) & np.isnan(values) & ~diverged
    states = np.where(silent, _FAILED, np.where(diverged, _DIVERGED, states))
    if diverged.any():
        notes.append(
            f"{counted(int(diverged.sum()), 'diverged model')}: counted with the error of chance, "
            f"{chance:g} %" + ("" if chance < 100 else ", as the number of classes is not stated")
        )
    if silent.any() and any(parsed.states):
        notes.append(
            f"{counted(int(silent.sum()), 'model')} finished without an error: counted as failed"
        )
    measured = values[states == _COMPLETE]
    if not len(measured):
        counts = ", ".join(f"{n} {state}" for state, n in Counter(states.tolist()).items())
        raise InputError(f"import: {path}: no model has an error ({parsed.metric}): {counts}")
    if scale is None:
        scale = _find_scale(parsed, measured, path, notes)
    if scale == "fraction" and (measured > 1).any():
        raise InputError(
            f"import: {path}: {parsed.metric} has {measured.max():g}, so that it holds no "
            "fractions; leave scale out, or pass scale='percent'",
            "scale",
        )
    factor = 100.0 if scale == "fraction" else 1.0
    errors = values * factor
    if parsed.accuracy:
        errors = 100.0 - errors
    errors[states == _DIVERGED] = chance
    outside = np.flatnonzero((errors < 0) | (errors > 100))
    if len(outside):
        rows = listed([f"model {i}: {errors[i]:g}" for i in outside.tolist()], ", ")
        raise InputError(f"import: {path}: errors must be 0 to 100 percent; {rows}")
    return states.astype("U8"), errors


def _translate_states(
    parsed: ParsedFile, path: Path, meanings: Mapping[str, str], notes: list[str]
) -> NDArray[np.str_]:
    bad = {word: state for word, state in meanings.items() if state not in STATES}
    if bad:
        raise InputError(f"states: {bad}; a state is one of {', '.join(STATES)}", "states")
    own = {_state_word(word): state for word, state in meanings.items()}
    words = [_state_word(word) for word in parsed.states]
    table = {**_FOREIGN_STATES, **own, "": _COMPLETE}
    unknown = Counter(word for word in words if word not in table)
    if unknown:
        known = ", ".join(sorted(_FOREIGN_STATES))
        counts = listed([f"{shortened(repr(w), 30)} ({n})" for w, n in unknown.items()], ", ")
        raise InputError(
            f"import: {path}: unknown states {counts}; known: {known}; say with states= which of "
            f"{', '.join(STATES)} each of them means",
            "states",
        )
    pruned = words.count("pruned")
    if pruned:
        notes.append(f"{pruned} pruned models count as failed: their errors are not final")
    # A model without a state has failed where it has no error.
    states = np.array([table[word] for word in words], dtype="U8")
    return np.where([word == "" for word in words] & np.isnan(parsed.values), _FAILED, states)


def _state_word(text: str) -> str:
    return re.sub(r"[\s_]+", "-", text.strip().lower()).removeprefix("trialstate.")


def _find_scale(parsed: ParsedFile, measured: FloatArray, path: Path, notes: list[str]) -> Scale:
    if parsed.percent or measured.max() > 1:
        return "percent"
    if parsed.accuracy:
        notes.append("accuracies are fractions, as all are at most 1")
        return "fraction"
    raise InputError(
        f"import: {path}: scale is unclear, as all errors are at most 1; pass scale='fraction' or "
        "scale='percent'",
        "scale",
    )


def _input_of(
    parsed: ParsedFile,
    input: str | None,
    columns: Mapping[str, FloatArray],
    networks: DescribedNetworks | None,
    notes: list[str],
) -> Skeleton | None:
    """Return input, stem and strides: as stated, as recorded, or as the flops show."""
    candidates = {"imagenet": Skeleton()}
    candidates |= {f"@{s}": load_space(f"RegNetX@{s}").skeleton for s in shipped_settings()}
    if input is not None:
        key = input.lower() if input.lower() in candidates else f"@{input}"
        if key not in candidates:
            raise InputError(f"input is {input!r}; {nearest(input, list(candidates))}", "input")
        if networks is not None and networks.bodies.num_stages > candidates[key].num_stages:
            raise InputError(
                f"input is {input!r}, for {candidates[key].num_stages} stages; these networks "
                f"have {networks.bodies.num_stages}, so that their strides are unknown; leave "
                "it out",
                "input",
            )
        return candidates[key]
    if parsed.input is not None:
        strides = list(parsed.input["strides"])
        if len(strides) == 1:
            strides *= 4 if networks is None else networks.bodies.num_stages
        try:
            return Skeleton.from_dict({**parsed.input, "strides": strides})
        except InputError:
            return None
    if networks is None or "flops" not in columns:
        return None
    rows = networks.described & np.isfinite(columns["flops"])
    for key, skeleton in candidates.items():
        if skeleton.num_stages != networks.bodies.num_stages or not rows.any():
            continue
        try:
            flops = cost(networks.bodies.take(rows), skeleton).flops
        except InputError:  # too large to count
            continue
        if np.median(np.abs(flops / np.maximum(columns["flops"][rows], 1) - 1)) < 0.005:
            notes.append(f"the flops are those of input {key}: {skeleton.resolution} pixels")
            return skeleton
    return None


def _distinct_ids(names: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Return a distinct name of each model: its number where it has none."""
    seen: Counter[str] = Counter()
    ids: list[str] = []
    taken = {readable(name) for name in names}
    repeated = 0
    for i, name in enumerate(names):
        label = readable(name).strip() or str(i)
        seen[label] += 1
        repeated += seen[label] == 2
        while seen[label] > 1 and f"{label} ({seen[label]})" in taken:
            seen[label] += 1
        ids.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    if repeated:
        notes.append(f"repeated: {counted(repeated, 'name')}; later ones are numbered")
    return tuple(ids)
