"""Read the JSON of pycls sweeps (`sweep.json`) and of NDS.

The error is always that after the last epoch where a file has it, although pycls' own analysis
takes the minimum over epochs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from designspace.analysis.imported_folder import COSTS, listed
from designspace.arch.activation import Activation
from designspace.arch.pycls_names import STEMS_OF_PYCLS
from designspace.arch.pycls_network import read_activation, read_block, read_input
from designspace.errors import InputError, shortened
from designspace.importing.table_files import ParsedFile
from designspace.runs import TrialState

_REGNET_KEYS = {"d": "DEPTH", "w_0": "W0", "w_a": "WA", "w_m": "WM", "g": "GROUP_W"}
_OPTIM_NAMES = {
    "OPTIM.BASE_LR": "lr",
    "OPTIM.WEIGHT_DECAY": "weight_decay",
    "OPTIM.MAX_EPOCH": "max_epoch",
    "RNG_SEED": "rng_seed",
}
_DEFAULT_METRICS = {
    "pycls": "test_epoch.top1_err after the last epoch",
    "nds": "test_ep_top1 after the last epoch, min_test_top1 where it is missing",
}


@dataclass(frozen=True)
class _Job:
    """One model of a sweep."""

    id: str
    state: str
    value: float
    numbers: Mapping[str, float]
    input: Mapping[str, Any] | None = None
    block: str | None = None
    activation: Activation = "relu"
    settings: Mapping[str, Any] = field(default_factory=dict)


def format_of(record: Mapping[str, Any]) -> str | None:
    """Return "pycls" or "nds", or None for other JSON."""
    if isinstance(record.get("cfg"), dict) or isinstance(record.get("test_epoch"), dict):
        return "pycls"
    return "nds" if isinstance(record.get("net"), dict) or "min_test_top1" in record else None


def parse_sweep(
    records: Sequence[dict[str, Any]],
    path: Path,
    form: str,
    error: str | None = None,
    accuracy: str | None = None,
) -> ParsedFile:
    """Read the models of a pycls sweep or an NDS summary.

    Args:
        records: One map per model.
        path: The file, for messages.
        form: "pycls" or "nds".
        error: Dotted key of the error; None takes the format's own.
        accuracy: Dotted key of an accuracy, to use in place of an error.

    Raises:
        InputError: Records are not as the format writes them, or none has the key.
    """
    key = error or accuracy
    if key is not None and all(_lookup(record, key) is None for record in records):
        argument = "error" if error else "accuracy"
        keys = ", ".join(sorted(_keys(records[0]))[:20])
        raise InputError(
            f"import: {path}: no model has {key!r}; keys of the first: {keys}", argument
        )
    read: Callable[[dict[str, Any], str | None], _Job] = _pycls_job if form == "pycls" else _nds_job
    jobs, problems = [], []
    for i, record in enumerate(records):
        try:
            with np.errstate(divide="raise", invalid="raise"):
                jobs.append(read(record, key))
        except (AttributeError, TypeError, ValueError, ArithmeticError, IndexError) as problem:
            problems.append(f"model {i}: {shortened(str(problem))}")
    if problems:
        raise InputError(f"import: {path}: not a model as {form} writes it: {listed(problems)}")
    notes: list[str] = []
    settings = _varying_settings(jobs, notes)
    names = list(dict.fromkeys(name for job in jobs for name in job.numbers))
    columns = {name: np.array([job.numbers.get(name, math.nan) for job in jobs]) for name in names}
    inputs, networks = [job.input for job in jobs], {(job.block, job.activation) for job in jobs}
    if len(networks) > 1:
        raise InputError(
            f"import: {path}: models differ in block or activation: "
            f"{listed([f'{block} with {activation}' for block, activation in networks], ', ')}; "
            "import each kind from a file of its own"
        )
    block, activation = networks.pop()
    return ParsedFile(
        ids=[job.id for job in jobs],
        states=[job.state for job in jobs],
        values=np.array([job.value for job in jobs]),
        metric=f"100 - {accuracy}" if accuracy else error or _DEFAULT_METRICS[form],
        accuracy=accuracy is not None,
        percent=key is None,
        columns={**columns, **settings},
        names=list(dict.fromkeys(name for job in jobs for name in job.settings)),
        notes=notes,
        input=inputs[0] if all(one == inputs[0] for one in inputs) else None,
        block=block,
        activation=activation,
    )


def _pycls_job(record: dict[str, Any], key: str | None) -> _Job:
    log = str(record.get("log_file") or "")
    epochs, cfg = record.get("test_epoch") or {}, record.get("cfg") or {}
    value = _last(_lookup(record, key or "test_epoch.top1_err"))
    reached, planned = _last(epochs.get("epoch_ind")), _last(epochs.get("epoch_max"))
    state = TrialState.COMPLETE.value
    if value is None or (reached is not None and planned is not None and reached < planned):
        # `err` is what the job wrote to stderr: it is empty while the job runs.
        state = TrialState.FAILED.value if str(record.get("err") or "").strip() else "missing"
    cost = record.get("complexity") or {}
    costs = {name: float(cost[name]) for name in COSTS if _is_number(cost.get(name))}
    return _Job(
        id=log.rstrip("/").split("/")[-2] if log.count("/") > 0 else "",
        state=state,
        value=math.nan if value is None else value,
        numbers={**costs, **_pycls_network(cfg)},
        input=_pycls_input(cfg),
        block=_pycls_block(cfg),
        activation=read_activation(cfg.get("MODEL") or {}),
        settings=_flat(
            {name: part for name, part in cfg.items() if name not in ("REGNET", "ANYNET")}
        ),
    )


def _pycls_network(cfg: dict[str, Any]) -> dict[str, float]:
    kind = str((cfg.get("MODEL") or {}).get("TYPE", ""))
    if kind not in ("regnet", "anynet"):
        return {}
    part = cfg.get(kind.upper()) or {}
    se_ratio = {"se_ratio": float(part.get("SE_R", 0.25))} if part.get("SE_ON") else {}
    if kind == "regnet":
        network = {k: float(part[v]) for k, v in _REGNET_KEYS.items() if _is_number(part.get(v))}
        return {**network, "b": 1 / float(part.get("BOT_MUL") or 1.0), **se_ratio}
    depths, widths = part.get("DEPTHS") or [], part.get("WIDTHS") or []
    muls, group_widths = part.get("BOT_MULS") or [], part.get("GROUP_WS") or []
    network = _by_stage("d", depths) | _by_stage("w", widths)
    if len(muls) == len(depths):
        network |= _by_stage("b", [1 / float(m) for m in muls])
    if len(group_widths) == len(widths) == len(depths):
        # AnyNet keeps its widths; a 3x3 of w_b channels has w_b // g groups.
        inner = [round(w * m) for w, m in zip(widths, muls or [1.0] * len(widths), strict=True)]
        groups = [max(1, wb // int(g)) for wb, g in zip(inner, group_widths, strict=True)]
        network |= _by_stage("g", [wb / k for wb, k in zip(inner, groups, strict=True)])
    return {**network, **se_ratio}


def _pycls_input(cfg: dict[str, Any]) -> dict[str, Any] | None:
    """Input, stem and strides, where they are those of simple networks; one stride for RegNets."""
    model, train = cfg.get("MODEL") or {}, cfg.get("TRAIN") or {}
    kind = str(model.get("TYPE", "")).upper()
    part = cfg.get(kind) or {}
    strides = part.get("STRIDES") or [part.get("STRIDE")]
    images: tuple[Any, Any] = (train.get("IM_SIZE"), model.get("NUM_CLASSES"))
    numbers = (*images, part.get("STEM_W"), *strides)
    if str(part.get("STEM_TYPE")) not in STEMS_OF_PYCLS or not all(map(_is_number, numbers)):
        return None
    return read_input(kind, part, *images, strides)


def _pycls_block(cfg: dict[str, Any]) -> str | None:
    kind = str((cfg.get("MODEL") or {}).get("TYPE", "")).upper()
    if kind not in ("REGNET", "ANYNET"):
        return None
    return read_block(kind, cfg.get(kind) or {})


def _varying_settings(jobs: Sequence[_Job], notes: list[str]) -> dict[str, Any]:
    """Numeric settings of the sweep that are usual or differ between models, as columns."""
    names = list(dict.fromkeys(name for job in jobs for name in job.settings))
    columns, left_out = {}, []
    for name in names:
        values = [job.settings.get(name) for job in jobs]
        varies = any(value != values[0] for value in values)
        if all(value is None or _is_number(value) for value in values):
            if varies or name in ("OPTIM.BASE_LR", "OPTIM.WEIGHT_DECAY"):
                short = _OPTIM_NAMES.get(name, name.lower())
                columns[short] = np.array([math.nan if v is None else float(v) for v in values])
        elif varies and not name.endswith(("DIR", "DEST", "DESC", "FILE")):
            left_out.append(name)
    if left_out:
        notes.append(
            f"settings that differ but are not numbers were left out: {listed(left_out, ', ')}"
        )
    return columns


def _nds_job(record: dict[str, Any], key: str | None) -> _Job:
    value = _last(_lookup(record, key or "test_ep_top1"))
    if value is None and key is None:
        value = _last(record.get("min_test_top1"))
    costs = {name: float(record[name]) for name in COSTS if _is_number(record.get(name))}
    return _Job(
        id=str(record.get("job_id") or record.get("rng_seed") or ""),
        state=TrialState.FAILED.value if value is None else TrialState.COMPLETE.value,
        value=math.nan if value is None else value,
        numbers={**costs, **_nds_network(record)},
    )


def _nds_network(record: dict[str, Any]) -> dict[str, float]:
    """Stages where the net lists them (its first entry is the stem), and any plain numbers."""
    net = record.get("net") or {}
    if not isinstance(net, dict):
        return {}
    network = {str(k): float(v) for k, v in net.items() if _is_number(v)}
    depths, widths = net.get("ds") or [], net.get("ws") or []
    if len(depths) == len(widths) > 1:
        network |= _by_stage("d", depths[1:]) | _by_stage("w", widths[1:])
        muls, counts = (net.get("bot_muls") or [])[1:], (net.get("num_gs") or [])[1:]
        # Networks without bottlenecks list neither: they have no groups.
        if len(muls) == len(counts) == len(depths) - 1 and all(muls) and all(counts):
            ratios = [1 / float(m) for m in muls]
            inner = [w / b for w, b in zip(widths[1:], ratios, strict=True)]
            network |= _by_stage("b", ratios)
            network |= _by_stage("g", [w / k for w, k in zip(inner, counts, strict=True)])
    optim = record.get("optim") or {}
    names = {"lr": "lr", "weight_decay": "wd"}
    return network | {k: float(optim[v]) for k, v in names.items() if _is_number(optim.get(v))}


def _by_stage(letter: str, values: Sequence[float]) -> dict[str, float]:
    return {f"{letter}{i + 1}": float(value) for i, value in enumerate(values)}


def _lookup(record: Any, key: str) -> Any:
    for part in key.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record


def _keys(record: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys of numbers and lists."""
    keys: list[str] = []
    for name, value in record.items():
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{name}.") if name != "cfg" else []
        else:
            keys.append(f"{prefix}{name}")
    return keys


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        key = f"{prefix}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat


def _last(value: Any) -> float | None:
    """The last number of a list, or the number itself; None where there is none."""
    if isinstance(value, list):
        value = value[-1] if value else None
    if value is None:
        return None
    if not _is_number(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value) if math.isfinite(value) else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
