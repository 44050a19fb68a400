"""Read tables of results as people have them: any delimiter, encoding and decimal mark.

What is certain is recognized; what is ambiguous is an error that names the argument to pass.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.imported_folder import csv_rows, listed
from designspace.arch.activation import Activation
from designspace.errors import InputError, counted, nearest, shortened
from designspace.io.text_files import check_regular_file
from designspace.stats.arrays import FloatArray

_MAX_BYTES = 2 << 30
# First bytes of a zip, empty and split ones too.
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_UNKNOWN = {"", "-", "–", "—", "?", "na", "n/a", "n.a.", "none", "null", "<na>", "#n/a"}
_DECIMAL = {
    mark: re.compile(
        rf"[+-]?(?:\d*[{mark}](?!\d{{3}}$)\d+|\d{{1,3}}(?:[{other}]\d{{3}})+[{mark}]\d+)(?:e[+-]?\d+)?",
        re.IGNORECASE,
    )
    for mark, other in (".,", ",.")
}
_COMMA_AND_3_DIGITS = re.compile(r"[+-]?\d{1,3},\d{3}")
_SPACES = " '\u00a0\u202f"
_GROUPED = {
    mark: re.compile(rf"[+-]?\d{{1,3}}(?:[{other}{_SPACES}]\d{{3}})+(?:[{mark}]\d+)?")
    for mark, other in (".,", ",.")
}
_NUMERIC = re.compile(rf"[+-]?[\d.,{_SPACES}]*\d[\d.,]*(?:e[+-]?\d+)?", re.IGNORECASE)
# Normalized names; the first that a table has is taken.
_ERRORS = (
    *("error", "err", "top1_err", "top1_error", "test_error", "val_error", "test_err", "val_err"),
    *("error_rate", "top1_error_rate", "test_top1_err", "test_top1_error", "val_top1_err"),
)
_ACCURACIES = (
    *("accuracy", "acc", "top1", "top1_acc", "top1_accuracy", "test_acc", "val_acc", "valid_acc"),
    *("test_accuracy", "val_accuracy", "validation_accuracy", "test_top1", "val_top1", "acc1"),
)
_PERCENT = re.compile(r"%|percent|pct")
_LABELS = (
    *("id", "name", "arch", "model", "hash", "run", "model_name", "architecture", "arch_name"),
    *("network", "network_name", "net", "model_id"),
)
_STATES = ("state", "status", "trial_state")
_COST_WORDS = {
    "flops": "flops macs multiply_adds mult_adds madds",
    "params": "params parameters n_params num_params nparams param_count parameter_count",
    "acts": "acts activations",
}
COST_NAMES = {word: name for name, words in _COST_WORDS.items() for word in words.split()}
UNITS = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
# A cost as people write it: 400MF, 5.2 M, 1.6 GFLOPs.
_COST_CELL = re.compile(r"(.*\d)\s*([kmgbt])(?:f|flops?|macs?|params?)?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class ParsedFile:
    """Results as a file has them, before their states and scale are interpreted.

    Attributes:
        ids: Name of each model, "" where it has none.
        states: State of each, "" where the file has none.
        values: Error or accuracy of each, NaN where there is none, inf where it is no finite
            number, (n,).
        metric: The error in words.
        accuracy: Whether the values are accuracies.
        percent: Whether the values are certainly in percent.
        columns: All other numbers, each (n,), NaN where unknown.
        names: All columns or settings of the file, also those that are no numbers.
        notes: What the user should know about the reading.
        input: Input, stem and strides, where the file records them; RegNets have one stride for all
            stages.
        block: What the stages of all models are made of, where the file records it.
        activation: The nonlinearity of all models, likewise.
    """

    ids: Sequence[str]
    states: Sequence[str]
    values: FloatArray
    metric: str
    accuracy: bool
    percent: bool
    columns: Mapping[str, FloatArray]
    names: Sequence[str] = ()
    notes: Sequence[str] = ()
    input: Mapping[str, Any] | None = None
    block: str | None = None
    activation: Activation = "relu"


def read_any_text(path: Path) -> tuple[str, list[str]]:
    """Return the text of a file in UTF-8, UTF-16 or Windows-1252, and notes on it.

    Raises:
        InputError: The file is missing, too large, a pickle or a workbook.
    """
    check_regular_file(path, "import")
    try:
        if path.is_file() and path.stat().st_size > _MAX_BYTES:
            raise InputError(f"import: {path} is larger than {_MAX_BYTES >> 30} GiB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"import: no file {path}") from None
    except OSError as error:
        raise InputError(f"import: cannot read {path}: {error.strerror}") from None
    if data[:1] == b"\x80" or data[:4] in _ARCHIVES:
        raise InputError(
            f"import: {path} is a pickle, a workbook or an archive, which is never opened; save "
            "its numbers as CSV or JSON, if you trust it"
        )
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        encodings = ["utf-16"] if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        old = encoding == "cp1252"
        return text, ["the file is not UTF-8; it was read as Windows-1252"] if old else []
    raise InputError(f"import: {path} is not text in UTF-8 or UTF-16; save it as CSV or JSON")


def normalized(name: str) -> str:
    """Return a column's name in lower case, with words joined by one underscore."""
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return re.sub(r"\btop_([15])(?=_|$)", r"top\1", words.removeprefix("user_attrs_"))


def parse_table(
    text: str,
    path: Path,
    error: str | None = None,
    accuracy: str | None = None,
    id: str | None = None,
    decimal: str | None = None,
) -> ParsedFile:
    """Read a table with one model per row.

    Args:
        text: Its text, with columns separated by commas, semicolons or tabs.
        path: The file, for messages.
        error: Column of the error; None finds it.
        accuracy: Column of the accuracy, to use in place of an error.
        id: Column of the models' names; None finds it.
        decimal: Decimal mark, "." or ","; None finds it.

    Raises:
        InputError: The text is no table, or has no column of errors.
    """
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    (header, *rows), lines = csv_rows(text, path, delimiter)
    places = [f"line {line}" for line in lines[1:]]
    return parse_rows(header, rows, places, path, error, accuracy, id, decimal, delimiter)


def parse_records(
    records: Sequence[Mapping[str, Any]],
    path: Path,
    error: str | None,
    accuracy: str | None,
    id: str | None = None,
    decimal: str | None = None,
) -> ParsedFile:
    """Read a list of JSON maps, one per model, nested keys joined by dots; see `parse_table`."""
    records = [dict(_flat(record)) for record in records]
    header = list(dict.fromkeys(str(key) for record in records for key in record))
    mark = decimal or "."

    def cell(value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        return json.dumps(value).replace(".", mark)

    rows = [[cell(record.get(key)) for key in header] for record in records]
    places = [f"model {i}" for i in range(len(rows))]
    return parse_rows(header, rows, places, path, error, accuracy, id, mark, ",")


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested maps by dotted keys."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def parse_rows(
    header: list[str],
    rows: list[list[str]],
    places: Sequence[str],
    path: Path,
    error: str | None,
    accuracy: str | None,
    id: str | None,
    decimal: str | None,
    delimiter: str,
) -> ParsedFile:
    """Read rows of text cells, each from its place in the file; see `parse_table`."""
    notes: list[str] = []
    blank = sum(not any(row) for row in rows)
    if blank:
        notes.append(f"skipped: {counted(blank, 'empty row')}")
    places = [place for place, row in zip(places, rows, strict=True) if any(row)]
    rows = [row + [""] * (len(header) - len(row)) for row in rows if any(row)]
    if not rows:
        raise InputError(f"import: {path}: needs a header line, and a model per line")
    cells = {
        name: list(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)
    }
    if decimal is None:
        decimal = _find_decimal(list(cells.values()), delimiter, path)
    metric, is_accuracy = _find_metric(header, path, error, accuracy, notes)
    if id is not None and id not in header:
        raise InputError(f"import: {path}: no column {id!r}; {nearest(id, header)}", "id")
    _drop_row_index(cells, metric, id, notes)
    by_name = {normalized(name): name for name in reversed(list(cells)) if name != metric}
    label = id if id is not None else next((by_name[n] for n in _LABELS if n in by_name), None)
    state = next((by_name[name] for name in _STATES if name in by_name), None)
    if label is None and numbers(cells.get("", []), decimal)[1]:
        label = ""  # names without a header, as R and pandas write them
    values, odd = numbers(cells[metric], decimal)
    if odd:
        lines = listed([f"{places[i]}: {shortened(repr(cells[metric][i]))}" for i in odd])
        raise InputError(f"import: {path}: {metric} must be a number or empty; {lines}")
    columns = _numeric_columns(cells, (metric, label, state), decimal, notes)
    named_percent = "%" in metric or re.search(r"percent|pct", metric.lower()) is not None
    return ParsedFile(
        ids=cells[label] if label is not None else [""] * len(rows),
        states=cells[state] if state else [""] * len(rows),
        values=values,
        metric=f"100 - {metric}" if is_accuracy else metric,
        accuracy=is_accuracy,
        percent=named_percent or any(cell.endswith("%") for cell in cells[metric]),
        columns=columns,
        names=header,
        notes=notes,
    )


def numbers(cells: Sequence[str], decimal: str) -> tuple[FloatArray, list[int]]:
    """Return the numbers in cells, and the rows of those that are neither a number nor unknown.

    Unknown is NaN; a cell that states a value that is not finite, such as "nan", is inf.
    """
    values, odd = np.full(len(cells), math.nan), []
    for i, cell in enumerate(cells):
        text = cell.strip().removesuffix("%").strip()
        if text.lower() in _UNKNOWN:
            continue
        if _GROUPED[decimal].fullmatch(text):
            text = re.sub(r"[^\d+.-]" if decimal == "." else r"[^\d+,-]", "", text)
        try:
            value = float(text.replace(",", ".") if decimal == "," else text)
        except ValueError:
            odd.append(i)
            continue
        values[i] = value if math.isfinite(value) else math.inf
    return values, odd


def _find_decimal(columns: Sequence[Sequence[str]], delimiter: str, path: Path) -> str:
    """Return the decimal mark of the columns that hold nothing but numbers."""
    cells: list[str] = []
    for column in columns:
        texts = [cell.removesuffix("%").strip() for cell in column]
        if all(_NUMERIC.fullmatch(text) or text.lower() in _UNKNOWN for text in texts):
            cells += texts
    point, comma = (any(map(_DECIMAL[mark].fullmatch, cells)) for mark in ".,")
    if comma and not point:
        return ","
    example = next((cell for cell in cells if _COMMA_AND_3_DIGITS.fullmatch(cell)), None)
    if delimiter != "," and ((comma and point) or (example and not point)):
        example = example or next(filter(_DECIMAL[","].fullmatch, cells))
        raise InputError(
            f"import: {path}: decimal is unclear: {example!r} could be either; pass decimal=',' or "
            "decimal='.'",
            "decimal",
        )
    return "."


def _find_metric(
    header: list[str], path: Path, error: str | None, accuracy: str | None, notes: list[str]
) -> tuple[str, bool]:
    """Return the column of the error, or of the accuracy with True."""
    for name, is_accuracy in ((error, False), (accuracy, True)):
        if name is not None:
            if name not in header:
                argument = "accuracy" if is_accuracy else "error"
                raise InputError(
                    f"import: {path}: no column {name!r}; {nearest(name, header)}", argument
                )
            if name == error and normalized(_PERCENT.sub("", name.lower())) in _ACCURACIES:
                notes.append(
                    f"error: column {name!r} has the name of an accuracy; if it is one, import it "
                    f"again with accuracy={name!r}"
                )
            return name, is_accuracy
    by_name = {normalized(_PERCENT.sub("", name.lower())): name for name in header}
    for names, is_accuracy in ((_ERRORS, False), (_ACCURACIES, True)):
        for name in names:
            if name in by_name:
                return by_name[name], is_accuracy
    raise InputError(
        f"import: {path}: no column of errors was recognized; name it with error= or accuracy=; "
        f"the columns are {shortened(', '.join(header[:12]))}"
    )


def _drop_row_index(
    cells: dict[str, list[str]], metric: str, id: str | None, notes: list[str]
) -> None:
    """Remove columns that only number the rows, as `DataFrame.to_csv` writes them, but the ids."""
    n = len(cells[metric])
    counts = [[str(i + start) for i in range(n)] for start in (0, 1)]
    for name in [name for name in cells if re.fullmatch(r"(Unnamed: \d+|index)?", name)]:
        if name != id and cells[name] in counts:
            del cells[name]
            which = "column 'index'" if name == "index" else "a column without a name"
            notes.append(f"{which} that only numbers the rows was left out")


def _is_cost(name: str) -> bool:
    return normalized(name).removeprefix("infer_") in COST_NAMES


def _costs(cells: Sequence[str], decimal: str) -> tuple[FloatArray, list[int]]:
    """Return the numbers in cells that may have units; see `numbers`."""
    matches = [_COST_CELL.fullmatch(cell.strip()) for cell in cells]
    bare = [match[1] if match else cell for match, cell in zip(matches, cells, strict=True)]
    values, odd = numbers(bare, decimal)
    factors = [UNITS[match[2].lower()] if match else 1.0 for match in matches]
    return in_units(values, np.array(factors)), odd


def in_units(values: FloatArray, factors: FloatArray | float) -> FloatArray:
    """Return costs in units of the factors as whole costs; those in units of 1 as they are."""
    # 4.1 * 1e6 is 4099999.9999999995 in float64.
    return np.where(np.equal(factors, 1), values, np.rint(values * factors))


def _numeric_columns(
    cells: Mapping[str, list[str]], others: Sequence[str | None], decimal: str, notes: list[str]
) -> dict[str, FloatArray]:
    """Return the columns of numbers; note what was left out or is unknown."""
    columns, left_out, partial = {}, [], []
    for name, column in cells.items():
        if name in others:
            continue
        values, odd = _costs(column, decimal) if _is_cost(name) else numbers(column, decimal)
        values[np.isinf(values)] = math.nan
        known = int(np.isfinite(values).sum())
        if known <= len(odd):
            left_out += [name] if odd else []
            continue
        columns[name] = values
        unknown = len(column) - known
        if unknown:
            example = f", such as {shortened(repr(column[odd[0]]), 20)}" if odd else ""
            partial.append(f"{name} ({unknown} of {len(column)}{example})")
    if left_out:
        notes.append(f"columns that are not numeric were left out: {listed(left_out, ', ')}")
    if partial:
        notes.append(f"unknown values: {listed(partial, ', ')}")
    return columns
