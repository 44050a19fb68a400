"""The keys of a pycls sweep config: those that are converted, and those that are left out.

They are those of pycls' `sweep/config.py` and `core/config.py`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from designspace.errors import InputError, nearest, shortened
from designspace.space.sampler import MAX_MODELS


def _number(value: Any) -> float:
    if isinstance(value, str):
        value = float(value)  # YAML reads 1e6 as text, pycls as a number
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e18:
        raise ValueError
    return value


def _whole(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError
    return int(number)


def _natural(value: Any) -> int:
    number = _whole(value)
    if number < 0:
        raise ValueError
    return number


def _range(value: Any) -> list[float]:
    low, high = _numbers(value)
    if low > high:
        raise ValueError
    return [low, high]


def _limits(value: Any) -> list[float]:
    low, high = _numbers(value)
    return [low, high] if high == 0 else _range(value)  # 0 is no limit


def _whole_range(value: Any) -> list[int]:
    low, high = _range(value)
    return [_whole(low), _whole(high)]


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list):
        raise ValueError
    return [_number(part) for part in value]


def _whole_numbers(value: Any) -> list[int]:
    return [_natural(number) for number in _numbers(value)]


def _count(value: Any) -> int:
    number = _natural(value)
    if number > MAX_MODELS:
        raise ValueError
    return number


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        raise ValueError
    return str(value)


_RULES: dict[Callable[[Any], Any], str] = {
    _number: "a number",
    _whole: "a whole number",
    _natural: "a whole number, 0 or more",
    _range: "[low, high], two numbers of which the first is not above the second",
    _limits: "[low, high], two numbers, where 0 is no limit",
    _whole_range: "[low, high], two whole numbers of which the first is not above the second",
    _numbers: "a list of numbers",
    _whole_numbers: "a list of whole numbers, 0 or more",
    _count: f"a whole number from 0 to {MAX_MODELS:,}",
    _switch: "true or false",
    _text: "a word",
}


def _left_out(keys: str) -> dict[str, Any]:
    return dict.fromkeys(keys.split())


# A key is a rule for its value, a map of keys, or None where it is left out.
_STEM = {"STEM_TYPE": _text, "STEM_W": _whole, "BLOCK_TYPE": _text, "HEAD_W": _whole}
_SE = {"SE_ON": _switch, "SE_R": _number}
_BASE = {
    "MODEL": {
        **{"TYPE": _text, "NUM_CLASSES": _whole, "ACTIVATION_FUN": _text},
        **_left_out("DEPTH LOSS_FUN ACTIVATION_INPLACE SCALING_TYPE SCALING_FACTOR"),
    },
    "REGNET": {
        **_STEM,
        **_SE,
        **dict.fromkeys(("STRIDE", "DEPTH"), _whole),
        **dict.fromkeys(("W0", "WA", "WM", "GROUP_W", "BOT_MUL"), _number),
    },
    "ANYNET": {
        **_STEM,
        **_SE,
        "STRIDES": _whole_numbers,
        **dict.fromkeys(("DEPTHS", "WIDTHS", "BOT_MULS", "GROUP_WS"), _numbers),
    },
    "BN": {
        **{"ZERO_INIT_FINAL_GAMMA": _switch, "USE_CUSTOM_WEIGHT_DECAY": _switch},
        **{"CUSTOM_WEIGHT_DECAY": _number},
        **_left_out("EPS MOM USE_PRECISE_STATS NUM_SAMPLES_PRECISE"),
    },
    "OPTIM": {
        **{"MAX_EPOCH": _whole, "EMA_UPDATE_PERIOD": _whole},
        **dict.fromkeys(
            ("BASE_LR", "MOMENTUM", "WEIGHT_DECAY", "WARMUP_EPOCHS", "EMA_ALPHA"), _number
        ),
        **{"BIAS_USE_CUSTOM_WEIGHT_DECAY": _switch, "BIAS_CUSTOM_WEIGHT_DECAY": _number},
        **{"NESTEROV": _switch, "LR_POLICY": _text, "OPTIMIZER": _text},
        **_left_out("MIN_LR GAMMA STEPS LR_MULT DAMPENING BETA1 BETA2 WARMUP_FACTOR"),
    },
    "TRAIN": {
        **{"DATASET": _text, "BATCH_SIZE": _whole, "IM_SIZE": _whole},
        **{"LABEL_SMOOTHING": _number, "MIXUP_ALPHA": _number},
        **_left_out("SPLIT EVAL_PERIOD CHECKPOINT_PERIOD AUTO_RESUME WEIGHTS MIXED_PRECISION"),
        **_left_out("AUGMENT PCA_STD"),
    },
    **_left_out("TEST RESNET EN VIT LN MEM CUDNN DATA_LOADER PREC_TIME NUM_GPUS OUT_DIR CFG_DEST"),
    **_left_out("RNG_SEED LOG_DEST LOG_PERIOD DIST_BACKEND HOST PORT PORT_RANGE DOWNLOAD_CACHE"),
    **_left_out("LAUNCH TASK DESC VERBOSE NUM_GPUS_PER_NODE"),
}
_SWEEP: dict[str, Any] = {
    **{"NAME": _text, "DESC": _text},
    **_left_out("ROOT_DIR NUM_PROC SWEEP_CFG_FILE LAUNCH COLLECT ANALYZE"),
    "SETUP": {
        **{"NUM_CONFIGS": _count, "RNG_SEED": _natural, "NUM_SAMPLES": None, "CHUNK_SIZE": None},
        "BASE_CFG": _BASE,
        "SAMPLERS": _text,  # checked by `_sampler`
        "CONSTRAINTS": {
            "CX": dict.fromkeys(("FLOPS", "PARAMS", "ACTS"), _limits),
            "REGNET": {"NUM_STAGES": _whole_range},
        },
    },
}
_SCALAR = {"TYPE": _text, "RAND_TYPE": _text, "RANGE": _range, "QUANTIZE": _number}
_REGNET_RANGES = dict.fromkeys(("W0", "WA", "WM", "GROUP_W", "BOT_MUL"), _range)
_SAMPLERS: dict[str, dict[str, Any]] = {
    "value_sampler": {"TYPE": _text, "VALUES": _numbers},
    "float_sampler": _SCALAR,
    "int_sampler": _SCALAR,
    "list_sampler": {"TYPE": _text, "LENGTH": _whole, "ITEM_SAMPLER": None},
    "regnet_sampler": {"TYPE": _text, "DEPTH": _whole_range, **_REGNET_RANGES},
}
_REQUIRED = {
    "value_sampler": ("VALUES",),
    "float_sampler": ("RANGE",),
    "int_sampler": ("RANGE",),
    "list_sampler": ("LENGTH", "ITEM_SAMPLER"),
}


def check_sweep(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check the keys and values of a pycls sweep config.

    Returns:
        The parts that are converted, and the keys that are left out, with short values.

    Raises:
        InputError: A key is unknown, or a value is not of its kind.
    """
    left_out: list[str] = []
    checked = _checked(data, _SWEEP, "", left_out)
    kind = checked["SETUP"]["BASE_CFG"].get("MODEL", {}).get("TYPE")
    other = {"regnet": "ANYNET", "anynet": "REGNET"}.get(kind)
    if other and checked["SETUP"]["BASE_CFG"].pop(other, None):
        left_out.append(f"SETUP.BASE_CFG.{other}")
    return checked, left_out


def _checked(data: Any, keys: Mapping[str, Any], where: str, left_out: list[str]) -> dict[str, Any]:
    checked = {}
    for key, value in _map(data, where.rstrip(".")).items():
        path = f"{where}{key}"
        if key not in keys:
            raise InputError(f"{shortened(path)}: unknown key; {nearest(key, list(keys))}")
        rule = keys[key]
        if path == "SETUP.SAMPLERS":
            samplers = _map(value or {}, path)
            checked[key] = {name: _sampler(s, f"{path}.{name}") for name, s in samplers.items()}
        elif rule is None:
            shown = "" if isinstance(value, dict | list) else f" ({shortened(str(value), 40)})"
            left_out.append(f"{path}{shown}")
        elif value is None:
            continue
        elif isinstance(rule, dict):
            checked[key] = _checked(value, rule, f"{path}.", left_out)
        else:
            checked[key] = _value(value, rule, path)
    return checked


def _sampler(data: Any, path: str) -> dict[str, Any]:
    """Check a sampler; an item sampler is checked likewise."""
    kind = _map(data, path).get("TYPE", "regnet_sampler" if path.endswith(".REGNET") else None)
    if kind is None:
        raise InputError(f"{path}.TYPE: missing; it may be {', '.join(_SAMPLERS)}")
    if kind not in (samplers := list(_SAMPLERS)):
        raise InputError(f"{path}.TYPE is {shortened(repr(kind))}; {nearest(str(kind), samplers)}")
    if (kind == "regnet_sampler") != path.endswith(".REGNET"):
        raise InputError(f"{path}.TYPE: regnet_sampler is for REGNET, and REGNET takes no other")
    own = dict(data)
    item = own.pop("ITEM_SAMPLER", None) if kind == "list_sampler" else None
    checked = _checked(own, _SAMPLERS[kind], f"{path}.", [])
    if item is not None:
        checked["ITEM_SAMPLER"] = _sampler(item, f"{path}.ITEM_SAMPLER")
    for key in _REQUIRED.get(kind, ()):
        if not checked.get(key):
            raise InputError(f"{path}.{key}: missing")
    if checked.get("QUANTIZE", 1) <= 0:
        raise InputError(f"{path}.QUANTIZE: must be above 0; found {checked['QUANTIZE']:g}")
    rand, low = checked.get("RAND_TYPE", "uniform"), checked.get("RANGE", [1])[0]
    if rand not in ("uniform", "normal") and low <= 0:
        raise InputError(f"{path}.RANGE: begins at {low:g}; {rand} needs numbers above 0")
    return checked


def _value(value: Any, rule: Callable[[Any], Any], path: str) -> Any:
    try:
        return rule(value)
    except ValueError:
        shown = shortened(json.dumps(value, default=str))
        raise InputError(f"{path}: must be {_RULES[rule]}; found {shown}") from None


def _map(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        shown = shortened(json.dumps(value, default=str))
        raise InputError(f"{path}: must be a map of keys to values; found {shown}")
    return value
