"""Convert a pycls sweep config into a space, a recipe and a study.

The format is that of pycls' `sweep/config.py`: SETUP has samplers, constraints and a base config.
What a sweep launches and plots is left out; `about` of the study names it.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from designspace.arch import format_quantity, has_squeeze, parse_quantity
from designspace.arch.pycls_network import read_activation, read_block, read_input
from designspace.errors import InputError, check_types, nearest
from designspace.io.atomic_write import make_output_folder, write_text
from designspace.io.yaml_files import dump_yaml, read_yaml
from designspace.runs.recipe import parse_recipe
from designspace.space import load_space
from designspace.space.schema import MAX_VALUES, axes_of
from designspace.studies.pycls_samplers import choice, convert_sampler, inverse
from designspace.studies.study import Study
from designspace.studies.sweep_keys import check_sweep

# What is written.
_CONVERTED = ("space.yaml", "recipe.yaml", "study.yaml")
_RECIPE_KEYS = {
    "OPTIM.BASE_LR": "lr",
    "OPTIM.WEIGHT_DECAY": "weight_decay",
    "OPTIM.MAX_EPOCH": "epochs",
    "TRAIN.BATCH_SIZE": "batch_size",
    "TRAIN.LABEL_SMOOTHING": "label_smoothing",
}
_NO_LIMIT = 10**15
_REGNET_AXES = {"DEPTH": "d", "W0": "w_0", "WA": "w_a", "WM": "w_m", "GROUP_W": "g", "BOT_MUL": "b"}
_ANYNET_AXES = {"DEPTHS": "d", "WIDTHS": "w", "BOT_MULS": "b", "GROUP_WS": "g"}
_NORM_DECAY = "USE_CUSTOM_WEIGHT_DECAY"
_BIAS_DECAY = "BIAS_USE_CUSTOM_WEIGHT_DECAY"
# How pycls' regnet_sampler draws: RAND_TYPE and QUANTIZE.
_REGNET_RAND_TYPES = {
    **{"DEPTH": ("uniform", 1), "W0": ("log_uniform", 8), "WA": ("log_uniform", 0.1)},
    **{"WM": ("log_uniform", 0.001), "GROUP_W": ("power2_or_log_uniform", 8)},
    "BOT_MUL": ("power2_uniform", 1 / 128),
}
# Defaults of pycls' regnet_sampler.
_REGNET_DEFAULTS = {
    **{"DEPTH": [12, 28], "W0": [8, 256], "WA": [8.0, 256.0], "WM": [2.0, 3.0]},
    **{"GROUP_W": [8, 128], "BOT_MUL": [1.0, 1.0]},
}
# Defaults of pycls' core config, where ours differ or there are none.
_OPTIM = {
    **{"BASE_LR": 0.1, "MAX_EPOCH": 200, "MOMENTUM": 0.9, "NESTEROV": True, "WARMUP_EPOCHS": 0},
    **{"WEIGHT_DECAY": 5e-4, "EMA_ALPHA": 1e-5, "EMA_UPDATE_PERIOD": 0, "LR_POLICY": "cos"},
    "OPTIMIZER": "sgd",
}
_REGNET = {
    **{"STEM_TYPE": "simple_stem_in", "STEM_W": 32, "STRIDE": 2, "SE_ON": False, "SE_R": 0.25},
    "HEAD_W": 0,
    **{"BLOCK_TYPE": "res_bottleneck_block", "DEPTH": 10, "W0": 32, "WA": 5.0, "WM": 2.5},
    **{"GROUP_W": 16, "BOT_MUL": 1.0},
}
_ANYNET = {
    **{"STEM_TYPE": "simple_stem_in", "STEM_W": 32, "SE_ON": False, "SE_R": 0.25, "HEAD_W": 0},
    **{"BLOCK_TYPE": "res_bottleneck_block", "DEPTHS": [], "WIDTHS": [], "STRIDES": []},
    **{"BOT_MULS": [], "GROUP_WS": []},
}


@check_types
def convert_sweep(path: str | Path, out: str | Path, *, force: bool = False) -> Study:
    """Convert a pycls sweep config into space.yaml, recipe.yaml and study.yaml.

    Settings of the optimizer that a sweep draws become recipe axes of the space, and its limits of
    cost the budget of the study: pass them to `sample` too. A sampler of RNG_SEED is left out, as
    every trial has a seed of its own. Where a sweep trains one network with a few settings and all
    of the seeds, each setting becomes a population of so many models. `about` of the study says
    so, and what is not converted exactly.

    Args:
        path: The sweep config.
        out: Folder that the three files are written to.
        force: Replace those that are there.

    Returns:
        The study, which trains NUM_CONFIGS models within the sweep's constraints.

    Raises:
        InputError: The file can't be read, or states what has no counterpart; the key is named. Or
            one of the three files is there.

    Example:
        >>> import designspace as ds
        >>> sweep = '''
        ... NAME: cifar/regnet
        ... SETUP:
        ...   NUM_CONFIGS: 8
        ...   SAMPLERS: {REGNET: {TYPE: regnet_sampler, DEPTH: [6, 16], GROUP_W: [1, 32]}}
        ...   CONSTRAINTS: {CX: {FLOPS: [12.0e+7, 13.0e+7]}, REGNET: {NUM_STAGES: [2, 2]}}
        ...   BASE_CFG:
        ...     MODEL: {TYPE: regnet, NUM_CLASSES: 10}
        ...     REGNET: {STEM_TYPE: res_stem_cifar, STEM_W: 16}
        ...     TRAIN: {DATASET: cifar10, IM_SIZE: 32, BATCH_SIZE: 128}
        ... '''
        >>> pathlib.Path("sweep.yaml").write_text(sweep) > 0
        True
        >>> study = ds.convert_sweep("sweep.yaml", out="converted")
        >>> study.plan().models
        8
        >>> study.file.budget.flops
        '120M:130M'
        >>> len(ds.sample("converted/space.yaml", n=4, flops=study.file.budget.flops))
        4
    """
    data = read_yaml(Path(path), "sweep")
    setup = data.get("SETUP")
    if not isinstance(setup, dict) or not isinstance(setup.get("BASE_CFG"), dict):
        raise InputError(f"sweep: {path}: SETUP.BASE_CFG: missing; is it a pycls sweep config?")
    try:
        data, left_out = check_sweep(data)
        name = data.get("NAME", Path(path).stem).rpartition("/")[2]
        space, recipe, budget = _converted(data, name)
        recipe["about"] = (
            f"Converted from {Path(path).name}, the pycls sweep {data.get('NAME', name)}."
        )
        load_space(space)
        parse_recipe(recipe, name)
    except InputError as error:
        raise InputError(f"sweep: {path}: {error}") from None
    setup = data["SETUP"]
    about = _about(data)
    dataset = setup["BASE_CFG"].get("TRAIN", {}).get("DATASET", "").lower()
    if dataset not in ("cifar10", "cifar100"):
        left_out += [f"SETUP.BASE_CFG.TRAIN.DATASET ({dataset})"] if dataset else []
    if "RNG_SEED" in setup.get("SAMPLERS", {}):
        left_out.append("SETUP.SAMPLERS.RNG_SEED (every trial has a seed of its own)")
    if space["family"] == "regnet" and "g" not in space["axes"]:
        left_out.append("REGNET.GROUP_W (pycls fits widths to it even in blocks without groups)")
    ignored = f"Not converted: {', '.join(left_out)}." if left_out else ""
    n = setup.get("NUM_CONFIGS") or 500
    copies, populations = _copies(setup, space, recipe, name, n)
    notes = [*_inexact(setup["BASE_CFG"], space, recipe)]
    if populations:
        times = f"{copies} times, each time with another seed"
        about += f" Each population trains one setting {times}."
    else:
        notes += _drawn(setup, space, name)
    study: dict[str, Any] = {
        "name": name,
        "about": " ".join(filter(None, [about.strip(), *notes, ignored])),
        **({"data": dataset} if dataset in ("cifar10", "cifar100") else {}),
        "val": "test",  # as pycls measures errors
        "recipe": "recipe.yaml",
        "n": copies if populations else n,
        "budget": budget,
        "seed": setup.get("RNG_SEED", 0),
        "populations": populations or {name: {"space": "space.yaml"}},
        "reports": {"report": {"populations": list(populations or [name])}},
    }
    header = f"Converted from {Path(path).name}, a pycls sweep config."
    # Its limits are no part of a space, which `sample` would draw without them.
    limits = {"n": n, **budget, "seed": study["seed"]}
    call = ", ".join(["'space.yaml'", *(f"{key}={value!r}" for key, value in limits.items())])
    sampling = "" if populations else f"\nThe study samples it by designspace.sample({call})."
    texts = [dump_yaml(space, header + sampling), dump_yaml(recipe, header)]
    contents = dict(zip(_CONVERTED, [*texts, dump_yaml(study, header)], strict=True))
    _check(contents, path)
    return _written(contents, _output_folder(Path(out), force))


def _check(contents: Mapping[str, str], path: str | Path) -> None:
    """Raise for a study that can't be loaded, before anything is in the folder of the three."""
    with TemporaryDirectory() as folder:
        try:
            _written(contents, Path(folder))
        except InputError as error:
            text = str(error).removeprefix(f"study: {folder}/study.yaml: ")
            text = text.replace(f"{folder}/", "")
            raise InputError(f"sweep: {path}: {text}") from None


def _written(contents: Mapping[str, str], folder: Path) -> Study:
    for name, text in contents.items():
        write_text(folder / name, text)
    return Study.load(folder / "study.yaml")


def _output_folder(path: Path, force: bool) -> Path:
    """Make the folder of the three files, unless it has one of them and `force` is False."""
    there = [file for file in _CONVERTED if (path / file).exists()]
    if there and not force:
        raise InputError(
            f"out: {path} already has {', '.join(there)}; choose another folder, or pass "
            "force=True to replace them",
            "out",
        )
    return make_output_folder(path)


def _copies(
    setup: Mapping[str, Any],
    space: Mapping[str, Any],
    recipe: Mapping[str, Any],
    name: str,
    n: int,
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return how often a sweep trains each of its settings, and a population for each setting.

    None where it doesn't: pycls trains no config twice, so that it does where it draws a few
    settings and seeds only, and as many configs as there are.
    """
    sampler = setup.get("SAMPLERS", {}).get("RNG_SEED")
    if sampler is None or not _draws_few_settings(setup, space):
        return 0, {}
    seeds = convert_sampler(sampler, "SETUP.SAMPLERS.RNG_SEED")
    if "values" in seeds:
        copies = len(seeds["values"])
    else:
        copies = int((seeds["high"] - seeds["low"]) / seeds["step"]) + 1
    axes = {key: axis["values"] for key, axis in space.get("recipe", {}).items()}
    settings = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]
    if len(settings) == 1:
        copies = min(copies, n)
    elif n < copies * len(settings):
        return 0, {}
    populations = {}
    for setting in settings:
        # Bodies are distinct unless something is drawn beside them, if of one value.
        drawn = {key: value for key, value in setting.items() if key != "epochs"}
        values = "-".join(f"{key}-{value:.12g}" for key, value in setting.items())
        populations[values or name] = {
            "space": "space.yaml",
            "recipe_axes": {k: choice([v]) for k, v in (drawn or {"lr": recipe["lr"]}).items()},
            **({"epochs": int(setting["epochs"])} if "epochs" in setting else {}),
        }
    return copies, populations


def _draws_few_settings(setup: Mapping[str, Any], space: Mapping[str, Any]) -> bool:
    """Return whether a sweep draws nothing but listed values of the recipe, and seeds."""
    only_recipe = setup.get("SAMPLERS", {}).keys() <= {*_RECIPE_KEYS, "RNG_SEED"}
    return only_recipe and all(
        axis["distribution"] == "choice" for axis in space.get("recipe", {}).values()
    )


def _drawn(setup: Mapping[str, Any], space: Mapping[str, Any], name: str) -> Iterator[str]:
    """Say what a study draws that pycls trains once or several times, and how to get copies."""
    samplers = setup.get("SAMPLERS", {})
    if samplers and _draws_few_settings(setup, space):
        keys = " and ".join(space.get("recipe", {}))
        yield (
            f"Not converted exactly: pycls trains no config twice, but the study draws {keys} for "
            "each model anew, so that how many models have each value is random; for copies of one "
            "setting, add a population with n and recipe_axes of one value to study.yaml."
        )
    elif "RNG_SEED" in samplers:
        yield (
            "Not converted exactly: no model is trained with several seeds; for copies, add a "
            f"population of {{same_as: {name}, seed: 1}} to study.yaml."
        )


def _about(data: Mapping[str, Any]) -> str:
    text = " ".join(data.get("DESC", "").split())
    return f"{text}." if text and text[-1] not in ".!?" else text


def _inexact(
    base: Mapping[str, Any], space: Mapping[str, Any], recipe: Mapping[str, Any]
) -> Iterator[str]:
    """Say which settings a recipe can't have as pycls has them.

    A recipe has one decay of the average for all models; pycls computes that of each from its own
    settings. And it exempts normalization layers and biases from weight decay together.
    """
    drawn = [key for key in ("epochs", "batch_size") if key in space.get("recipe", {})]
    if drawn and recipe.get("ema_decay"):
        values = " and ".join(f"{key} = {recipe[key]}" for key in drawn)
        yield (
            f"Not converted exactly: ema_decay is {recipe['ema_decay']:g} for every model, which "
            f"is right for {values}; pycls computes it for each model from the drawn "
            f"{' and '.join(drawn)}."
        )
    if recipe.get("warmup_epochs"):
        yield (
            "Not converted exactly: the rate warms up from 0; pycls begins with a part of it, "
            "OPTIM.WARMUP_FACTOR, a tenth by default."
        )
    if not (recipe["decay_norms"] or (base.get("OPTIM") or {}).get(_BIAS_DECAY)):
        yield (
            "Not converted exactly: decay_norms: false leaves biases without weight decay too; "
            f"pycls decays those of the classifier and of SE unless OPTIM.{_BIAS_DECAY} is true."
        )


def _converted(
    data: Mapping[str, Any], name: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Return the space, the recipe and the budget of a checked sweep."""
    setup = data["SETUP"]
    base, samplers = setup["BASE_CFG"], dict(setup.get("SAMPLERS", {}))
    samplers.pop("RNG_SEED", None)
    constraints = setup.get("CONSTRAINTS", {})
    recipe_axes = {
        _RECIPE_KEYS[key]: _recipe_axis(samplers.pop(key), key)
        for key in list(samplers)
        if key in _RECIPE_KEYS
    }
    space = _space(base, samplers, constraints, name, _about(data))
    if recipe_axes:
        space["recipe"] = recipe_axes
    return space, _recipe(base, name), _budget(constraints.get("CX", {}))


def _space(
    base: Mapping[str, Any],
    samplers: dict[str, Any],
    constraints: Mapping[str, Any],
    name: str,
    about: str,
) -> dict[str, Any]:
    model = base.get("MODEL") or {}
    kind = str(model.get("TYPE", ""))
    if kind not in ("regnet", "anynet"):
        raise InputError(f"MODEL.TYPE is {kind!r}; it must be regnet or anynet")
    group = kind.upper()
    rules: dict[str, Any] = {}
    net = (_REGNET if kind == "regnet" else _ANYNET) | (base.get(group) or {})
    block = read_block(group, net)
    present = axes_of("regnet" if kind == "regnet" else "anynet", block)
    names = _REGNET_AXES if kind == "regnet" else _ANYNET_AXES
    own = {key: axis for key, axis in names.items() if axis in present}
    if kind == "regnet":
        axes = _regnet_axes(net, samplers, own)
        low, high = (constraints.get("REGNET") or {}).get("NUM_STAGES", [4, 4])
        if low < high:
            rules["stages"] = list(range(low, high + 1))
        rules["skipped_steps"] = False  # as pycls' `check_regnet_constraints`
        strides = [net["STRIDE"]] * high
    else:
        strides = list(net["STRIDES"])
        if not strides:
            raise InputError("ANYNET.STRIDES: missing; give the stride of each stage")
        axes, rules = _anynet_axes(net, samplers, len(strides), own)
    if samplers:
        key = next(iter(samplers))
        keys = [*_RECIPE_KEYS, "REGNET", *(f"{group}.{axis}" for axis in own)]
        raise InputError(f"SETUP.SAMPLERS.{key}: can't be converted; {nearest(key, keys)}")
    activation = read_activation(model)
    resolution = (base.get("TRAIN") or {}).get("IM_SIZE", 224)
    return {
        "name": name,
        "reason": about or "Converted from a pycls sweep config.",
        "family": kind,
        **({} if block == "bottleneck" else {"block": block}),
        "input": read_input(group, net, resolution, model.get("NUM_CLASSES", 10), strides),
        "axes": axes,
        **{"share": [], "monotone": {}, "tie": {}, "caps": {}, **rules},
        # In pycls too, SE_ON changes nothing in blocks without squeeze-and-excitation.
        "se_ratio": float(net["SE_R"]) if net["SE_ON"] and has_squeeze(block) else 0.0,
        **({} if activation == "relu" else {"activation": activation}),
    }


def _regnet_axes(
    net: Mapping[str, Any], samplers: dict[str, Any], own: Mapping[str, str]
) -> dict[str, Any]:
    drawn = samplers.pop("REGNET", None)
    ranges = {} if drawn is None else _REGNET_DEFAULTS | drawn
    axes = {}
    for key, axis in own.items():
        low, high = ranges.get(key, [net[key], net[key]])
        if f"REGNET.{key}" in samplers:
            axes[axis] = _body_axis(samplers.pop(f"REGNET.{key}"), f"REGNET.{key}")
        elif low == high:
            axes[axis] = choice(inverse([low], "BOT_MUL") if key == "BOT_MUL" else [low])
        else:
            kind, step = _REGNET_RAND_TYPES[key]
            sampler = {"RAND_TYPE": kind, "RANGE": [low, high], "QUANTIZE": step}
            axes[axis] = convert_sampler(sampler, f"SETUP.SAMPLERS.REGNET.{key}", key == "BOT_MUL")
    return axes


def _anynet_axes(
    net: Mapping[str, Any], samplers: dict[str, Any], stages: int, own: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    axes: dict[str, Any] = {}
    share = []
    for key, axis in own.items():
        where = f"ANYNET.{key}"
        if where in samplers:
            sampler = samplers.pop(where)
            if sampler["TYPE"] != "list_sampler" or sampler["LENGTH"] != stages:
                raise InputError(
                    f"SETUP.SAMPLERS.{where}: must be a list_sampler of {stages} stages"
                )
            axes[axis] = _body_axis(sampler["ITEM_SAMPLER"], where)
            continue
        values = list(net[key])
        if not values:
            raise InputError(f"{where}: missing; give the value of each stage, or a sampler")
        if len(values) != stages:
            raise InputError(f"{where} is {net[key]}; ANYNET.STRIDES has {stages} stages")
        if key == "BOT_MULS":
            values = inverse(values, where)
        if len(set(values)) == 1:
            axes[axis] = choice(values[:1])
            share.append(axis)
        else:
            axes[axis] = {"distribution": "fixed", "values": values}
    return axes, {"share": share}


def _body_axis(sampler: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Convert a sampler of a number of the network; pycls' bottleneck multiplier is 1 / b."""
    axis = convert_sampler(sampler, f"SETUP.SAMPLERS.{where}", "BOT_MUL" in where)
    # A step finer than spaces may have becomes the finest that they may.
    while "step" in axis and (axis["high"] - axis["low"]) / axis["step"] > MAX_VALUES:
        axis["step"] *= 10
    return axis


def _recipe_axis(sampler: Mapping[str, Any], where: str) -> dict[str, Any]:
    axis = convert_sampler(sampler, f"SETUP.SAMPLERS.{where}")
    if axis["distribution"] != "choice" and axis["step"] <= 1e-6:
        del axis["step"]  # finer than what is written
    return axis


def _recipe(base: Mapping[str, Any], name: str) -> dict[str, Any]:
    optim = _OPTIM | (base.get("OPTIM") or {})
    train, norms = base.get("TRAIN") or {}, base.get("BN") or {}
    for key, only in (("LR_POLICY", "cos"), ("OPTIMIZER", "sgd")):
        if optim[key] != only:
            raise InputError(f"OPTIM.{key} is {optim[key]!r}; only {only} can be converted")
    batch, period = int(train.get("BATCH_SIZE", 128)), int(optim["EMA_UPDATE_PERIOD"])
    # pycls scales alpha by batch size, epochs and period (`update_model_ema`).
    alpha = min(1.0, optim["EMA_ALPHA"] * batch / max(1, optim["MAX_EPOCH"]) * period)
    average = {"ema_decay": round(1 - alpha, 9), "ema_period": period} if period else {}
    return {
        "name": name,
        "epochs": int(optim["MAX_EPOCH"]),
        "batch_size": batch,
        "lr": float(optim["BASE_LR"]),
        "warmup_epochs": float(optim["WARMUP_EPOCHS"]),
        "momentum": float(optim["MOMENTUM"]),
        "nesterov": bool(optim["NESTEROV"]),
        "weight_decay": float(optim["WEIGHT_DECAY"]),
        "decay_norms": _decay_norms(norms, optim),
        "label_smoothing": float(train.get("LABEL_SMOOTHING", 0.0)),
        "mixup": float(train.get("MIXUP_ALPHA", 0.0)),
        **average,
        "zero_init_residual": bool(norms.get("ZERO_INIT_FINAL_GAMMA", False)),
        "augmentation": "crop-flip"
        if int(train.get("IM_SIZE", 224)) <= 64
        else "resized-crop-flip",
    }


def _decay_norms(norms: Mapping[str, Any], optim: Mapping[str, Any]) -> bool:
    """Return whether weight decay applies to normalization layers and biases."""
    exempt = norms.get(_NORM_DECAY, False)
    if optim.get(_BIAS_DECAY) and not exempt:
        raise InputError(
            f"OPTIM.{_BIAS_DECAY}: a recipe's decay_norms exempts biases and normalization layers "
            f"together; set BN.{_NORM_DECAY} too, or leave it out"
        )
    for place, part, key in (("BN", norms, _NORM_DECAY), ("OPTIM", optim, _BIAS_DECAY)):
        value = part.get(key.replace("USE_", ""), 0)
        if part.get(key) and value:
            raise InputError(
                f"{place}.{key.replace('USE_', '')} is {value:g}; only 0 can be converted"
            )
    return not exempt


def _budget(limits: Mapping[str, Any]) -> dict[str, str]:
    return {
        measure.lower(): f"{_quantity(max(1, low))}:{_quantity(high or _NO_LIMIT)}"
        for measure, (low, high) in limits.items()
        if low or high
    }


def _quantity(value: float) -> str:
    """Write a count with a suffix where that is exact."""
    short = format_quantity(value)
    return short if parse_quantity(short) == value else f"{value:.12g}"
