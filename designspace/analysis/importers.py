"""Reading what others measured: pycls sweeps, the summaries of NDS, CSV tables.

All are text; a pickle is never opened. The error is always that after the last epoch where a file
has it, as everywhere here, although pycls' own analysis takes the least over epochs.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.imported_folder import COSTS, About, Imported, read_table
from designspace.arch.body import group_compatible
from designspace.errors import InputError, nearest, shortened
from designspace.io.serialization import readable
from designspace.io.text_files import read_text
from designspace.runs import TrialState

FORMATS = ("pycls", "nds", "csv")
_MOST_BYTES = 2 << 30
_ERRORS = (
    "error",
    "err",
    "top1_err",
    "top1_error",
    "test_error",
    "val_error",
    "test_err",
    "val_err",
)
_ACCURACIES = ("accuracy", "acc", "top1", "top1_acc", "test_acc", "val_acc", "test_accuracy")
_NAMES = ("id", "name", "arch", "model", "hash")
_REGNET_KEYS = {"d": "DEPTH", "w_0": "W0", "w_a": "WA", "w_m": "WM", "g": "GROUP_W"}


@dataclass(frozen=True)
class Reading:
    """How a file is to be read.

    Attributes:
        error: Column or dotted key of the error, percent; None finds it.
        accuracy: Column of an accuracy to take instead, error = 100 - accuracy.
        fraction: Whether errors or accuracies are 0 to 1.
        classes: Number of classes, for chance error; None takes 100 % for the worst case.
        name: What to call the population; None takes the file's name.
    """

    error: str | None = None
    accuracy: str | None = None
    fraction: bool = False
    classes: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class _Row:
    """One model as read: its error or None, its state, and numbers by name."""

    id: str
    state: str
    error: float | None
    numbers: Mapping[str, float]


def read_foreign(path: Path, reading: Reading, format: str | None = None) -> Imported:
    """Read a file of one of the formats, which is recognised by its content unless given.

    Raises:
        InputError: It is none of them, is a pickle, or has no error that can be read.
    """
    if format is not None and format not in FORMATS:
        raise InputError(f"--format is {format!r}; {nearest(format, list(FORMATS))}")
    text = _text(path)
    records = _json_records(text, path) if format in ("pycls", "nds") or _is_json(text) else None
    if records is None:
        rows, metric, notes = _from_csv(text, path, reading)
    else:
        form = format or _form_of(records[0], path)
        read: Callable[[dict[str, Any], str, Reading], _Row]
        read = _pycls_row if form == "pycls" else _nds_row
        rows = [
            _shaped(read, record, f"{path}: model {i}", reading) for i, record in enumerate(records)
        ]
        metric = reading.error or _JSON_METRICS[form]
        notes = []
    return _imported(rows, path, reading, metric, notes)


def _shaped(
    read: Callable[[dict[str, Any], str, Reading], _Row],
    record: dict[str, Any],
    where: str,
    reading: Reading,
) -> _Row:
    """Read one model; what is shaped otherwise than its format says is the file's fault."""
    try:
        with np.errstate(divide="raise", invalid="raise"):
            return read(record, where, reading)
    except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"import: {where}: not a model as this format writes it ({shortened(str(error))})"
        ) from None


def _text(path: Path) -> str:
    try:
        if path.is_file():
            if path.stat().st_size > _MOST_BYTES:
                raise InputError(f"import: {path} is larger than {_MOST_BYTES >> 30} GiB")
            with path.open("rb") as file:
                start = file.read(2)
            if start[:1] == b"\x80" or start == b"PK":
                raise InputError(
                    f"import: {path} is a pickle or an archive, which is never opened; "
                    "write its numbers to CSV or JSON where you trust it"
                )
    except OSError as error:
        raise InputError(f"import: cannot read {path}: {error.strerror}") from None
    return read_text(path, "import", _MOST_BYTES).removeprefix("\ufeff")


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{")


def _json_records(text: str, path: Path) -> list[dict[str, Any]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of too many digits, too
        raise InputError(f"import: {path}: not JSON: {error}") from None
    if isinstance(data, dict):  # NDS keeps some populations as {"top": [...], "mid": [...]}
        data = [entry for part in data.values() if isinstance(part, list) for entry in part]
    if not isinstance(data, list) or not data or not all(isinstance(r, dict) for r in data):
        raise InputError(f"import: {path}: must be a list of models, each a map")
    return data


def _form_of(record: dict[str, Any], path: Path) -> str:
    if "cfg" in record or "test_epoch" in record:
        return "pycls"
    if "net" in record or "min_test_top1" in record:
        return "nds"
    raise InputError(
        f"import: {path}: neither a pycls sweep (cfg, test_epoch) nor an NDS summary (net, "
        f"min_test_top1); its models have {shortened(', '.join(sorted(map(str, record))[:8]))}"
    )


_JSON_METRICS = {
    "pycls": "test_epoch.top1_err after the last epoch",
    "nds": "test_ep_top1 after the last epoch, min_test_top1 where that is not given",
}


def _pycls_row(record: dict[str, Any], where: str, reading: Reading) -> _Row:
    log = str(record.get("log_file") or "")
    identifier = log.rstrip("/").split("/")[-2] if log.count("/") > 0 else ""
    epochs = record.get("test_epoch") or {}
    error = _last(_dig(record, reading.error or "test_epoch.top1_err"), where)
    reached, planned = _last(epochs.get("epoch_ind"), where), _last(epochs.get("epoch_max"), where)
    state = TrialState.COMPLETE.value
    if error is None:
        state = TrialState.FAILED.value
    elif reached is not None and planned is not None and reached < planned:
        state, error = "missing", None
    cost = record.get("complexity") or {}
    found = {name: float(cost[name]) for name in COSTS if _is_number(cost.get(name))}
    return _Row(identifier, state, error, {**found, **_pycls_parameters(record.get("cfg") or {})})


def _pycls_parameters(cfg: dict[str, Any]) -> dict[str, float]:
    kind = str((cfg.get("MODEL") or {}).get("TYPE", ""))
    found: dict[str, float] = {}
    if kind == "regnet":
        part = cfg.get("REGNET") or {}
        found = {k: float(part[v]) for k, v in _REGNET_KEYS.items() if _is_number(part.get(v))}
        found["b"] = 1 / float(part.get("BOT_MUL") or 1.0)
    elif kind == "anynet":
        part = cfg.get("ANYNET") or {}
        depths, widths = part.get("DEPTHS") or [], part.get("WIDTHS") or []
        ratios = [1 / float(m) for m in part.get("BOT_MULS") or [1.0] * len(depths)]
        groups = part.get("GROUP_WS") or [1] * len(depths)
        if len(depths) == len(widths) == len(ratios) == len(groups):
            # pycls writes the widths that were asked for, and adjusts them when it builds.
            made, grouped = group_compatible(
                np.array(widths, np.int64), np.array(ratios), np.array(groups, np.int64)
            )
            found = _by_stage(depths, made.tolist(), ratios, grouped.tolist())
    optim = cfg.get("OPTIM") or {}
    names = {"lr": "BASE_LR", "weight_decay": "WEIGHT_DECAY"}
    return found | {k: float(optim[v]) for k, v in names.items() if _is_number(optim.get(v))}


def _nds_row(record: dict[str, Any], where: str, reading: Reading) -> _Row:
    error = _last(_dig(record, reading.error or "test_ep_top1"), where)
    if error is None and reading.error is None:
        error = _last(record.get("min_test_top1"), where)
    state = TrialState.FAILED.value if error is None else TrialState.COMPLETE.value
    found = {name: float(record[name]) for name in COSTS if _is_number(record.get(name))}
    identifier = str(record.get("job_id") or record.get("rng_seed") or "")
    return _Row(identifier, state, error, {**found, **_nds_parameters(record)})


def _nds_parameters(record: dict[str, Any]) -> dict[str, float]:
    """Stages where the net lists them (its first entry is the stem), and any plain numbers."""
    net = record.get("net") or {}
    if not isinstance(net, dict):
        return {}
    found = {str(k): float(v) for k, v in net.items() if _is_number(v)}
    depths, widths = net.get("ds") or [], net.get("ws") or []
    if len(depths) == len(widths) > 1:
        depths, widths = depths[1:], widths[1:]
        ratios, groups = [1.0] * len(depths), [1.0] * len(depths)
        muls, numbers = net.get("bot_muls") or [], net.get("num_gs") or []
        if len(muls) == len(numbers) == len(depths) + 1 and all(muls[1:]) and all(numbers[1:]):
            ratios = [1 / float(m) for m in muls[1:]]
            groups = [w / b / k for w, b, k in zip(widths, ratios, numbers[1:], strict=True)]
        found |= _by_stage(depths, widths, ratios, groups)
    optim = record.get("optim") or {}
    names = {"lr": "lr", "weight_decay": "wd"}
    return found | {k: float(optim[v]) for k, v in names.items() if _is_number(optim.get(v))}


def _by_stage(*lists: Sequence[float]) -> dict[str, float]:
    return {
        f"{letter}{i + 1}": float(value)
        for letter, values in zip("dwbg", lists, strict=True)
        for i, value in enumerate(values)
    }


def _table(text: str, path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows of a table whose columns are parted by commas, semicolons or tabs."""
    first = text.partition("\n")[0]
    header, rows = read_table(text, path, max(",;\t", key=first.count))
    if not rows:
        raise InputError(f"import: {path}: needs a header line and a model a line")
    twice = [name for i, name in enumerate(header) if name in header[:i]]
    if twice:
        raise InputError(f"import: {path}: column {shortened(repr(twice[0]))} is there twice")
    return header, rows


def _from_csv(text: str, path: Path, reading: Reading) -> tuple[list[_Row], str, list[str]]:
    header, rows = _table(text, path)
    column, sign = _metric(header, path, reading)
    known = {name.lower(): name for name in header}
    label = next((known[name] for name in _NAMES if name in known), None)
    state = known.get("state")
    rest = [name for name in header if name not in (column, label, state)]
    numeric = [name for name in rest if any(_parse(r[name]) is not None for r in rows)]
    numeric = [
        n for n in numeric if all(not r[n].strip() or _parse(r[n]) is not None for r in rows)
    ]
    dropped = [name for name in rest if name not in numeric]
    notes = [f"columns that are no numbers were left out: {', '.join(dropped)}"] if dropped else []
    found = []
    for i, row in enumerate(rows):
        where = f"import: {path}, line {i + 2}"
        value = _parse(row[column])
        if value is None and row[column].strip():
            raise InputError(
                f"{where}: {column} is {shortened(repr(row[column]))}; it must be a number or empty"
            )
        word = row[state].strip().lower() if state else ""
        measured = None if value is None else sign * value + (0 if sign > 0 else _scale(reading))
        numbers = {_short(n): v for n in numeric if (v := _parse(row[n])) is not None}
        default = TrialState.FAILED if measured is None else TrialState.COMPLETE
        found.append(_Row(row[label] if label else "", word or default.value, measured, numbers))
    metric = column if sign > 0 else f"100 - {column}"
    return found, metric, notes


def _metric(header: list[str], path: Path, reading: Reading) -> tuple[str, int]:
    """The column of the error, or of the accuracy with sign -1."""
    for wished, sign in ((reading.error, 1), (reading.accuracy, -1)):
        if wished is not None:
            if wished not in header:
                raise InputError(f"import: {path}: no column {wished!r}; {nearest(wished, header)}")
            return wished, sign
    known = {name.lower(): name for name in header}
    for names, sign in ((_ERRORS, 1), (_ACCURACIES, -1)):
        for name in names:
            if name in known:
                return known[name], sign
    raise InputError(
        f"import: {path}: no column of errors; name it with --error or --accuracy; "
        f"there are {shortened(', '.join(header[:12]))}"
    )


def _imported(
    rows: list[_Row], path: Path, reading: Reading, metric: str, notes: list[str]
) -> Imported:
    scale = 100 / _scale(reading)
    chance = 100.0 if reading.classes is None else 100 * (1 - 1 / reading.classes)
    states, errors = [], []
    for i, row in enumerate(rows):
        error = None if row.error is None else row.error * scale
        state = row.state
        if state == TrialState.DIVERGED.value or (error is not None and not math.isfinite(error)):
            state, error = TrialState.DIVERGED.value, chance
        if error is not None and not 0 <= error <= 100:
            raise InputError(
                f"import: {path}: model {i}: error is {error:g}; it is 0 to 100 percent"
            )
        if state in (TrialState.FAILED.value, "missing"):
            error = None
        states.append(state)
        errors.append(math.nan if error is None else error)
    counted = [e for e in errors if e == e]
    if not counted:
        raise InputError(f"import: {path}: no model has an error ({metric})")
    if not reading.fraction and max(counted) <= 1:
        raise InputError(
            f"import: {path}: all errors are at most 1; add --fraction if they are 0 to 1"
        )
    names = list(dict.fromkeys(name for row in rows for name in row.numbers))
    given = [readable(row.id) for row in rows]
    distinct = len(set(given)) == len(given) and all(given)
    about = About(
        name=readable(reading.name or path.stem),
        source=readable(path.name),
        error=metric,
        chance=chance,
        split="as imported",
        notes=notes,
    )
    return Imported(
        about=about,
        ids=tuple(given) if distinct else tuple(str(i) for i in range(len(rows))),
        states=np.array(states, dtype="U8"),
        errors=np.array(errors),
        columns={k: np.array([row.numbers.get(k, math.nan) for row in rows]) for k in names},
    )


def _scale(reading: Reading) -> float:
    return 1.0 if reading.fraction else 100.0


def _short(name: str) -> str:
    return name.lower() if name.lower() in COSTS else readable(name).strip()


def _dig(record: Any, key: str) -> Any:
    for part in key.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record


def _last(value: Any, where: str) -> float | None:
    """The last number of a list, or the number itself; None where there is none."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if value is None:
        return None
    if not _is_number(value):
        raise InputError(f"import: {where}: {shortened(repr(value))} is not a number")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parse(text: str | None) -> float | None:
    try:
        return float(text) if text is not None and text.strip() else None
    except ValueError:
        return None
