"""pycls sweep configs, as its CIFAR examples are: converted, sampled and run, shortened."""

import shlex

import numpy as np
import pytest
import yaml

import designspace as ds

BASE = {
    "OPTIM": {
        **{"BASE_LR": 0.8, "LR_POLICY": "cos", "MAX_EPOCH": 40, "MOMENTUM": 0.9, "NESTEROV": True},
        **{"WARMUP_EPOCHS": 4, "WEIGHT_DECAY": 4e-4, "EMA_ALPHA": 2e-4, "EMA_UPDATE_PERIOD": 16},
    },
    "BN": {"USE_CUSTOM_WEIGHT_DECAY": True},
    "TRAIN": {
        **{"DATASET": "cifar10", "SPLIT": "train", "BATCH_SIZE": 512, "IM_SIZE": 32},
        **{"LABEL_SMOOTHING": 0.1, "MIXUP_ALPHA": 0.4},
    },
    "TEST": {"DATASET": "cifar10", "SPLIT": "test"},
    "NUM_GPUS": 1,
}
STEM = {"STEM_TYPE": "res_stem_cifar", "STEM_W": 16}
STAGES = {"REGNET": {"NUM_STAGES": [2, 2]}}
LR = {
    "TYPE": "float_sampler",
    "RAND_TYPE": "log_uniform",
    "RANGE": [0.2, 4.0],
    "QUANTIZE": 1.0e-10,
}
REGNET = {
    "NAME": "small/regnets",
    "DESC": "RegNets for small images.",
    "SETUP": {
        "NUM_CONFIGS": 6,
        "SAMPLERS": {"REGNET": {"TYPE": "regnet_sampler", "DEPTH": [4, 12], "GROUP_W": [1, 16]}},
        "CONSTRAINTS": {"CX": {"FLOPS": [5e6, 6e7], "PARAMS": [0, 2e6]}, **STAGES},
        "BASE_CFG": {
            **BASE,
            "MODEL": {"TYPE": "regnet", "NUM_CLASSES": 10},
            "REGNET": {**STEM, "SE_ON": True},
        },
    },
    "LAUNCH": {"PARTITION": "gpus"},
}
OPTIM = {
    "NAME": "small/optim",
    "SETUP": {
        "NUM_CONFIGS": 6,
        "SAMPLERS": {
            "OPTIM.BASE_LR": LR,
            "OPTIM.WEIGHT_DECAY": {**LR, "RANGE": [4e-5, 8e-4]},
        },
        "BASE_CFG": {
            **BASE,
            "MODEL": {"TYPE": "anynet", "NUM_CLASSES": 10},
            "ANYNET": {
                **STEM,
                "BLOCK_TYPE": "res_basic_block",
                "DEPTHS": [2, 2, 2],
                "WIDTHS": [8, 16, 32],
                "STRIDES": [1, 2, 2],
            },
        },
    },
}
BEST = {
    "NAME": "small/best",
    "SETUP": {
        "NUM_CONFIGS": 4,
        "SAMPLERS": {
            "OPTIM.MAX_EPOCH": {"TYPE": "value_sampler", "VALUES": [40, 80]},
            "RNG_SEED": {"TYPE": "int_sampler", "RAND_TYPE": "uniform", "RANGE": [1, 3]},
        },
        "CONSTRAINTS": STAGES,
        "BASE_CFG": {
            **BASE,
            "MODEL": {"TYPE": "regnet", "NUM_CLASSES": 10},
            "REGNET": {**STEM, "DEPTH": 8, "W0": 64, "WA": 14.0, "WM": 2.9, "GROUP_W": 8},
        },
    },
}
SWEEPS = {"regnets": REGNET, "optim": OPTIM, "best": BEST}


def write(folder, data):
    file = folder / "sweep.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def shortened(folder):
    """Let a converted study train at 8 pixels on digits for one epoch."""
    space = yaml.safe_load((folder / "space.yaml").read_text())
    space["input"]["resolution"] = 8
    if "epochs" in space.get("recipe", {}):
        space["recipe"]["epochs"]["values"] = [1, 2]
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe |= {"epochs": 1, "batch_size": 64, "warmup_epochs": 0.2}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study |= {"data": "digits", "val": "held-out", "n": 2, "budget": {}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return ds.Study.load(folder / "study.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_converts_samples_and_runs(cli, tmp_path, name):
    sweep = SWEEPS[name]
    outcome = cli("convert", write(tmp_path, sweep), "--out", tmp_path / "sweep")
    assert outcome.code == 0, outcome
    n = sweep["SETUP"]["NUM_CONFIGS"]
    assert f"{n} models" in outcome.out
    population = ds.sample(tmp_path / "sweep" / "space.yaml", n=n)
    assert len(population) == n
    study = shortened(tmp_path / "sweep")
    study.run(jobs=1, progress=False)
    trials = ds.load_run(tmp_path / "sweep" / name).trials()
    assert [trial.state for trial in trials] == ["complete"] * 2


def test_the_recipe_is_pycls(tmp_path):
    ds.convert_sweep(write(tmp_path, REGNET), tmp_path)
    recipe = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert recipe["nesterov"]
    assert not recipe["decay_norms"]
    assert (recipe["mixup"], recipe["label_smoothing"], recipe["ema_period"]) == (0.4, 0.1, 16)
    # pycls: alpha * batch / epochs * period.
    assert recipe["ema_decay"] == pytest.approx(1 - 2e-4 * 512 / 40 * 16)
    study = yaml.safe_load((tmp_path / "study.yaml").read_text())
    assert study["budget"] == {"flops": "5M:60M", "params": "1:2M"}


def test_a_sweep_of_one_network_draws_its_settings(tmp_path):
    ds.convert_sweep(write(tmp_path, OPTIM), tmp_path / "sweep")
    population = ds.sample(tmp_path / "sweep" / "space.yaml", n=6)
    assert len(set(population.ids)) == 1
    assert population.bodies.widths[0].tolist() == [8, 16, 32]
    frame = population.to_frame()
    assert frame["lr"].between(0.2, 4.0).all()
    assert frame["lr"].is_unique


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MODEL": {"TYPE": "effnet"}}, "MODEL.TYPE is 'effnet'"),
        ({"OPTIM": {"LR_POLICY": "steps"}}, "only cos can be converted"),
        ({"OPTIM": {"OPTIMIZER": "adamw"}}, "OPTIMIZER is 'adamw'; only sgd can be converted"),
        ({"REGNET": {"STEM_TYPE": "res_stem"}}, "STEM_TYPE is 'res_stem'; did you mean"),
        ({"MODEL": {"TYPE": "regnet", "ACTIVATION_FUN": "tanh"}}, "ACTIVATION_FUN is 'tanh'"),
    ],
)
def test_what_has_no_counterpart_is_refused(refused, tmp_path, change, message):
    setup = REGNET["SETUP"]
    data = {**REGNET, "SETUP": {**setup, "BASE_CFG": {**setup["BASE_CFG"], **change}}}
    assert message in refused("convert", write(tmp_path, data), "--out", tmp_path / "sweep")


def test_defaults_and_choices_of_the_network_are_those_of_pycls(tmp_path):
    net = {
        **{"STEM_TYPE": "res_stem_in", "HEAD_W": 96, "BLOCK_TYPE": "vanilla_block", "SE_ON": True},
        **{"DEPTHS": [2, 2], "WIDTHS": [8, 16], "STRIDES": [1, 2]},
    }
    base = {"MODEL": {"TYPE": "anynet", "ACTIVATION_FUN": "swish"}, "ANYNET": net}
    data = changed(OPTIM, "SETUP/BASE_CFG", base)
    lr = {key: value for key, value in LR.items() if key != "QUANTIZE"}
    data = changed(data, "SETUP/SAMPLERS", {"OPTIM.BASE_LR": lr})
    ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    population = ds.sample(tmp_path / "sweep/space.yaml", n=12)
    around = population.skeleton
    assert (around.stem, around.stem_stride, around.head_width) == ("conv7_pool", 4, 96)
    assert around.classes == 10
    assert population[0].body.activation == "silu"
    # QUANTIZE of a float_sampler is 1e-5, so that its values differ.
    assert population.to_frame()["lr"].nunique() == 12


def test_group_widths_are_powers_of_2_below_8_and_multiples_of_8_above(tmp_path):
    data = changed(REGNET, "SETUP/SAMPLERS/REGNET/GROUP_W", [1, 32])
    ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    axis = ds.load_space(tmp_path / "sweep/space.yaml").axes["g"]
    assert axis.values.tolist() == [1, 2, 4, 8, 16, 24, 32]
    assert axis.probabilities[:3] == pytest.approx([1 / 6] * 3)
    # The other half is log-uniform from 4, as the step is 8.
    assert axis.probabilities[3:] == pytest.approx(np.log([2, 2, 3 / 2, 4 / 3]) / np.log(8) / 2)


def test_regnets_that_pycls_refuses_are_refused(tmp_path):
    """pycls' check_regnet_constraints: as many stages as steps up to the last block's."""
    sampler = {"REGNET": {"TYPE": "regnet_sampler"}}
    data = changed(changed(REGNET, "SETUP/SAMPLERS", sampler), "SETUP/CONSTRAINTS", {})
    ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    space = ds.load_space(tmp_path / "sweep/space.yaml")
    assert not space.skipped_steps
    regnets = ds.sample(space, n=100).regnets
    last = np.log(1 + regnets.w_a * (regnets.d - 1) / regnets.w_0) / np.log(regnets.w_m)
    assert (np.rint(last) == 3).all()  # four stages: steps 0 to 3
    free = space.narrow(name="free", reason="r", skipped_steps=True)
    regnets = ds.sample(free, n=100).regnets
    last = np.log(1 + regnets.w_a * (regnets.d - 1) / regnets.w_0) / np.log(regnets.w_m)
    assert (np.rint(last) > 3).mean() > 0.05


def test_lists_of_several_values_are_fixed_beside_what_is_sampled(tmp_path):
    width = {"TYPE": "int_sampler", "RAND_TYPE": "log_uniform", "RANGE": [16, 64], "QUANTIZE": 8}
    net = {
        **{**STEM, "BLOCK_TYPE": "res_bottleneck_block", "DEPTHS": [3, 4, 6, 3]},
        **{"STRIDES": [1, 2, 2, 2], "BOT_MULS": [0.5, 1, 0.5, 0.5], "GROUP_WS": [8, 8, 8, 8]},
    }
    widths = {"TYPE": "list_sampler", "LENGTH": 4, "ITEM_SAMPLER": width}
    data = changed(OPTIM, "SETUP/BASE_CFG/ANYNET", net)
    data = changed(data, "SETUP/SAMPLERS", {"ANYNET.WIDTHS": widths})
    ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    space = yaml.safe_load((tmp_path / "sweep/space.yaml").read_text())
    assert space["axes"]["d"] == {"distribution": "fixed", "values": [3, 4, 6, 3]}
    assert space["axes"]["b"] == {"distribution": "fixed", "values": [2, 1, 2, 2]}
    assert space["axes"]["g"] == {"distribution": "choice", "values": [8]}
    assert (space["share"], space["monotone"]) == (["g"], {})
    population = ds.sample(tmp_path / "sweep/space.yaml", n=20)
    assert (population.bodies.depths == [3, 4, 6, 3]).all()
    assert (population.bodies.bottleneck_ratios == [2, 1, 2, 2]).all()
    assert np.ptp(population.bodies.widths, axis=0).all()


@pytest.mark.parametrize(
    ("norms", "biases", "expected"),
    [
        ({}, {}, True),
        ({"USE_CUSTOM_WEIGHT_DECAY": True, "CUSTOM_WEIGHT_DECAY": 0.0}, {}, False),
        (
            {"USE_CUSTOM_WEIGHT_DECAY": True},
            {"BIAS_USE_CUSTOM_WEIGHT_DECAY": True, "BIAS_CUSTOM_WEIGHT_DECAY": 0.0},
            False,
        ),
        ({}, {"BIAS_USE_CUSTOM_WEIGHT_DECAY": False, "BIAS_CUSTOM_WEIGHT_DECAY": 0.1}, True),
    ],
    ids=["all", "norms", "norms-and-biases", "off"],
)
def test_weight_decay_of_norms_and_biases(tmp_path, norms, biases, expected):
    optim = {**BASE["OPTIM"], **biases}
    data = changed(changed(OPTIM, "SETUP/BASE_CFG/BN", norms), "SETUP/BASE_CFG/OPTIM", optim)
    about = ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep").file.about
    recipe = yaml.safe_load((tmp_path / "sweep/recipe.yaml").read_text())
    assert recipe["decay_norms"] is expected
    # Newer pycls decays biases unless that key is set; a recipe can't.
    exact = expected or bool(biases)
    assert ("decay_norms: false leaves biases without weight decay too" in about) is not exact


@pytest.mark.parametrize(
    ("norms", "biases", "message"),
    [
        (
            {},
            {"BIAS_USE_CUSTOM_WEIGHT_DECAY": True},
            "OPTIM.BIAS_USE_CUSTOM_WEIGHT_DECAY: a recipe's decay_norms exempts biases and",
        ),
        (
            {"USE_CUSTOM_WEIGHT_DECAY": True},
            {"BIAS_USE_CUSTOM_WEIGHT_DECAY": True, "BIAS_CUSTOM_WEIGHT_DECAY": 1e-5},
            "OPTIM.BIAS_CUSTOM_WEIGHT_DECAY is 1e-05; only 0 can be converted",
        ),
        (
            {"USE_CUSTOM_WEIGHT_DECAY": True, "CUSTOM_WEIGHT_DECAY": 1e-5},
            {},
            "BN.CUSTOM_WEIGHT_DECAY is 1e-05; only 0 can be converted",
        ),
    ],
    ids=["biases-alone", "biases-by-another", "norms-by-another"],
)
def test_weight_decay_that_a_recipe_cannot_have(refused, tmp_path, norms, biases, message):
    optim = {**BASE["OPTIM"], **biases}
    data = changed(changed(OPTIM, "SETUP/BASE_CFG/BN", norms), "SETUP/BASE_CFG/OPTIM", optim)
    assert message in refused("convert", write(tmp_path, data), "--out", tmp_path / "sweep")


@pytest.mark.parametrize("block", ["vanilla_block", "res_basic_block"])
def test_regnets_of_blocks_without_groups(tmp_path, block):
    data = changed(REGNET, "SETUP/BASE_CFG/REGNET", {**STEM, "BLOCK_TYPE": block})
    study = ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    assert "REGNET.GROUP_W (pycls fits widths" in study.file.about
    population = ds.sample(tmp_path / "sweep/space.yaml", n=2)
    assert list(population.space.axes) == ["d", "w_0", "w_a", "w_m"]


def test_a_drawn_slope_as_fine_as_pycls_default_is_accepted(tmp_path):
    slope = {"TYPE": "float_sampler", "RAND_TYPE": "log_uniform", "RANGE": [8.0, 64.0]}
    data = changed(REGNET, "SETUP/SAMPLERS", {"REGNET.WA": slope})
    ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    assert len(ds.load_space(tmp_path / "sweep/space.yaml").axes["w_a"]) > 10_000


DEPTH = {"TYPE": "int_uniform", "RAND_TYPE": "uniform", "RANGE": [6, 16], "QUANTIZE": 1}
FLOPS = {"FLOPS": [5e6, 6e7]}
LIST = {"TYPE": "list_sampler", "LENGTH": 3}


def changed(data, path, value):
    """Return a sweep with another value at a path; None removes the key."""
    first, *rest = path.split("/")
    new = changed(data.get(first, {}), "/".join(rest), value) if rest else value
    return {key: v for key, v in {**data, first: new}.items() if v is not None}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("SETUP/SAMPLERS/REGNET/DEPTH", DEPTH, "SETUP.SAMPLERS.REGNET.DEPTH: must be [low, high]"),
        ("SETUP/SAMPLERS/REGNET/DEPTH", {"LOW": 6, "HIGH": 16}, "REGNET.DEPTH: must be [low, high"),
        ("SETUP/SAMPLERS/REGNET/DEPTH", [16, 6], "REGNET.DEPTH: must be [low, high]"),
        ("SETUP/SAMPLERS/REGNET/GROUPW", [1, 16], "GROUPW: unknown key; did you mean GROUP_W"),
        ("SETUP/SAMPLERS/REGNET/TYPE", "regnett_sampler", "did you mean regnet_sampler"),
        ("SETUP/SAMPLERS/REGNET/BOT_MUL", [0, 1], "must be above 0"),
        ("SETUP/SAMPLERS/OPTIM.BASE_LR", {**LR, "RANGES": [1, 2]}, "OPTIM.BASE_LR.RANGES: unknown"),
        ("SETUP/SAMPLERS/OPTIM.BASE_LR", {**LR, "RANGE": [0, 2]}, "begins at 0; log_uniform needs"),
        ("SETUP/SAMPLERS/OPTIM.BASE_LR", {"TYPE": "float_sampler"}, "OPTIM.BASE_LR.RANGE: missing"),
        ("SETUP/SAMPLERS/OPTIM.BASE_LR", LIST, "OPTIM.BASE_LR.ITEM_SAMPLER: missing"),
        ("SETUP/SAMPLERS/OPTIM.BASE_LR", [0.1, 0.2], "OPTIM.BASE_LR: must be a map"),
        ("SETUP/SAMPLER", {}, "SETUP.SAMPLER: unknown key; did you mean SAMPLERS"),
        ("SETUP/CONSTRAINTS/COMPLEXITY", FLOPS, "COMPLEXITY: unknown key; known: CX, REGNET"),
        ("SETUP/CONSTRAINTS/FLOPS", [5e6, 6e7], "SETUP.CONSTRAINTS.FLOPS: unknown key"),
        ("SETUP/CONSTRAINTS/CX", {"FLOP": [5e6, 6e7]}, "CX.FLOP: unknown key; did you mean FLOPS"),
        ("SETUP/CONSTRAINTS/REGNET/NUM_STAGES", 4, "NUM_STAGES: must be [low, high], two whole"),
        ("SETUP/BASE_CFG/TRAIN/IM_SIZE", "small", "TRAIN.IM_SIZE: must be a whole number"),
        ("SETUP/BASE_CFG/TRAIN", 3, "SETUP.BASE_CFG.TRAIN: must be a map"),
        ("SETUP/BASE_CFG/OPTIM/LR", 0.1, "OPTIM.LR: unknown key; did you mean"),
        ("SETUP/NUM_CONFIGS", -3, "SETUP.NUM_CONFIGS: must be a whole number from 0 to 10,000,000"),
        ("SETUP/BASE_CFG/OPTIM/WARMUP_EPOCHS", 40, "warmup_epochs is 40; it must be below epochs"),
        ("SETUPS", {}, "SETUPS: unknown key; did you mean SETUP"),
    ],
)
def test_mistakes_are_refused_with_the_key_and_what_is_right(
    refused, tmp_path, path, value, message
):
    data = changed(REGNET, path, value)
    refusal = refused("convert", write(tmp_path, data), "--out", tmp_path / "sweep")
    assert message in refusal
    assert "sweep.yaml" in refusal
    assert "ArgsKwargs" not in refusal
    assert not (tmp_path / "sweep").exists()


def test_a_study_that_can_not_be_loaded_is_not_written(refused, tmp_path):
    epochs = {"TYPE": "value_sampler", "VALUES": [2, 20]}
    sweep = write(tmp_path, changed(BEST, "SETUP/SAMPLERS/OPTIM.MAX_EPOCH", epochs))
    message = refused("convert", sweep, "--out", tmp_path / "sweep")
    assert f"sweep: {sweep}: populations.best: recipe: best" in message
    assert "warmup_epochs is 4; it must be below epochs, 2" in message
    assert not (tmp_path / "sweep").exists()


def test_networks_without_depths_are_refused(refused, tmp_path):
    data = changed(OPTIM, "SETUP/BASE_CFG/ANYNET/DEPTHS", [])
    message = refused("convert", write(tmp_path, data), "--out", tmp_path / "sweep")
    assert "ANYNET.DEPTHS: missing; give the value of each stage" in message


def test_keys_that_are_left_out_are_listed_once(cli, tmp_path):
    data = changed(REGNET, "SETUP/BASE_CFG/OPTIM/MIN_LR", 0.001)
    out = cli("convert", write(tmp_path, data), "--out", tmp_path / "sweep").out
    assert out.count("Not converted: ") == 1
    for key in ("LAUNCH", "SETUP.BASE_CFG.TEST", "OPTIM.MIN_LR (0.001)", "NUM_GPUS (1)"):
        assert out.count(key) == 1, key


def test_numbers_that_yaml_reads_as_text_and_open_limits_count(tmp_path):
    data = changed(REGNET, "SETUP/CONSTRAINTS/CX", {"FLOPS": ["5e6", "6e7"], "ACTS": [1000, 0]})
    study = ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    assert study.file.budget.flops == "5M:60M"
    assert study.file.budget.acts.startswith("1K:")
    assert len(ds.sample(tmp_path / "sweep/space.yaml", n=2, acts=study.file.budget.acts)) == 2


# Keys that pycls' own sweeps have beside those that are converted, and all others of its top level.
RUN = {
    **{"VERBOSE": False, "LOG_PERIOD": 20, "DATA_LOADER": {"NUM_WORKERS": 2}, "DESC": "a base"},
    **{"NUM_GPUS_PER_NODE": 4, "OUT_DIR": "out", "CFG_DEST": "config.yaml", "RNG_SEED": 2},
    **{"LOG_DEST": "file", "DIST_BACKEND": "gloo", "HOST": "localhost", "PORT_RANGE": [1, 9]},
    **{"DOWNLOAD_CACHE": "cache", "CUDNN": {"BENCHMARK": True}, "PREC_TIME": {"NUM_ITER": 9}},
    **{"RESNET": {"NUM_GROUPS": 1}, "EN": {"STEM_W": 16}},
    "TEST": {"DATASET": "cifar10", "SPLIT": "test", "BATCH_SIZE": 500, "IM_SIZE": 32},
}
PLOTS = {
    **{"PLOT_METRIC_VALUES": True, "PLOT_COMPLEXITY_VALUES": False, "PLOT_CURVES_BEST": 2},
    **{"PLOT_CURVES_WORST": 0, "PLOT_MODELS_BEST": 4, "PLOT_MODELS_WORST": 0},
    **{"METRICS": ["lr"], "COMPLEXITY": ["flops", "params"], "PRE_FILTERS": {"done": [0, 1, 1]}},
    "SPLIT_FILTERS": {"epochs=040": {"cfg.OPTIM.MAX_EPOCH": [40, 40, 40]}},
}
LAUNCH = {"PARTITION": "gpus", "NUM_GPUS": 1, "PARALLEL_JOBS": 8, "TIME_LIMIT": 90}


@pytest.mark.parametrize("name", SWEEPS)
def test_every_key_of_pycls_own_sweeps_is_accepted(tmp_path, name):
    base = SWEEPS[name]["SETUP"]["BASE_CFG"]
    base = {**base, **RUN, "TRAIN": {**base["TRAIN"], "MIXED_PRECISION": True}}
    data = {**changed(SWEEPS[name], "SETUP/BASE_CFG", base), "LAUNCH": LAUNCH, "ANALYZE": PLOTS}
    about = ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep").file.about
    for key in ("VERBOSE (False)", "NUM_GPUS_PER_NODE (4)", "TRAIN.MIXED_PRECISION (True)"):
        assert f"SETUP.BASE_CFG.{key}" in about


def test_what_is_not_converted_exactly_is_stated(tmp_path):
    about = ds.convert_sweep(write(tmp_path, BEST), tmp_path / "best").file.about
    assert "Not converted exactly: ema_decay is 0.95904 for every model" in about
    assert "right for epochs = 40; pycls computes it for each model from the drawn epochs." in about
    assert "SETUP.SAMPLERS.RNG_SEED (every trial has a seed of its own)" in about
    recipe = yaml.safe_load((tmp_path / "best/recipe.yaml").read_text())
    assert recipe["about"] == "Converted from sweep.yaml, the pycls sweep small/best."
    # Without an average, or with one number of epochs, nothing depends on it.
    plain = changed(BEST, "SETUP/BASE_CFG/OPTIM/EMA_UPDATE_PERIOD", 0)
    assert "ema_decay" not in ds.convert_sweep(write(tmp_path, plain), tmp_path / "a").file.about
    assert "ema_decay" not in ds.convert_sweep(write(tmp_path, OPTIM), tmp_path / "b").file.about


def test_the_printed_command_samples_the_population_of_the_study(cli, tmp_path):
    """Without its limits, the models of the space have up to ten times the sweep's flops."""
    folder = tmp_path / "a sweep"
    out = cli("convert", write(tmp_path, REGNET), "--out", folder).out
    (command,) = [line for line in out.splitlines() if "designspace sample" in line]
    words = shlex.split(command.partition(": designspace ")[2])
    comment = (folder / "space.yaml").read_text().splitlines()[1]
    limits = "-n 6 --flops 5M:60M --params 1:2M --seed 0 --out"
    call = "designspace.sample('space.yaml', n=6, flops='5M:60M', params='1:2M', seed=0)"
    assert comment == f"# The study samples it by {call}."
    assert words == ["sample", f"{folder}/space.yaml", *limits.split(), f"{folder}/regnets"]
    assert cli(*words).code == 0
    flops = ds.load_run(folder / "regnets").population().cost.flops
    assert len(flops) == 6
    assert ((flops >= 5e6) & (flops <= 6e7)).all()
    # The study goes on with them; it would refuse models of another sample.
    ds.Study.load(folder / "study.yaml").run(only="report", progress=False)


def test_copies_of_a_few_settings_are_a_population_each(cli, tmp_path, train):
    """pycls trains no config twice: six are two numbers of epochs with three seeds."""
    data = changed(BEST, "SETUP/NUM_CONFIGS", 6)
    out = cli("convert", write(tmp_path, data), "--out", tmp_path / "best").out
    assert "6 models: designspace study" in out
    assert "designspace sample" not in out
    assert "sample(" not in (tmp_path / "best/space.yaml").read_text()
    study = ds.Study.load(tmp_path / "best/study.yaml")
    assert "trains one setting 3 times, each time with another seed." in study.file.about
    assert "is random" not in study.file.about
    assert {row.name: row.models for row in study.plan().rows} == {"epochs-40": 3, "epochs-80": 3}
    study = shortened(tmp_path / "best")
    study.run(jobs=1, only="train", progress=False)
    runs = [ds.load_run(study.folder / name) for name in ("epochs-40", "epochs-80")]
    assert [len(trial.curve) for run in runs for trial in run.trials()] == [40, 40, 80, 80]
    assert len({body for run in runs for body in run.population().ids}) == 1


@pytest.mark.parametrize(
    ("samplers", "n", "populations"),
    [
        pytest.param({"OPTIM.BASE_LR": [0.5, 1]}, 8, ["lr-0.5", "lr-1"], id="lr"),
        pytest.param(
            {"OPTIM.BASE_LR": [0.5, 1], "OPTIM.MAX_EPOCH": [40, 80]},
            12,
            ["lr-0.5-epochs-40", "lr-0.5-epochs-80", "lr-1-epochs-40", "lr-1-epochs-80"],
            id="both",
        ),
        pytest.param({}, 9, ["best"], id="seeds"),
    ],
)
def test_settings_of_copies_are_named(tmp_path, samplers, n, populations):
    values = {k: {"TYPE": "value_sampler", "VALUES": listed} for k, listed in samplers.items()}
    seeds = {"RNG_SEED": {"TYPE": "value_sampler", "VALUES": [1, 2, 3]}}
    data = changed(changed(BEST, "SETUP/SAMPLERS", {**values, **seeds}), "SETUP/NUM_CONFIGS", n)
    study = ds.convert_sweep(write(tmp_path, data), tmp_path / "sweep")
    assert {row.name: row.models for row in study.plan().rows} == dict.fromkeys(populations, 3)


def test_settings_that_are_drawn_are_called_random(tmp_path):
    """Four configs of the six that there are, and bodies that are drawn with a seed."""
    about = ds.convert_sweep(write(tmp_path, BEST), tmp_path / "best").file.about
    assert "draws epochs for each model anew, so that how many models have each" in about
    seeds = BEST["SETUP"]["SAMPLERS"]["RNG_SEED"]
    data = changed(REGNET, "SETUP/SAMPLERS/RNG_SEED", seeds)
    about = ds.convert_sweep(write(tmp_path, data), tmp_path / "regnets").file.about
    assert "is random" not in about
    assert "for copies, add a population of {same_as: regnets, seed: 1} to study.yaml" in about
    about = ds.convert_sweep(write(tmp_path, REGNET), tmp_path / "plain").file.about
    assert "copies" not in about
