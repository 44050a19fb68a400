"""Runs pycls' own `sweep_setup` or its count of cost, from the checkout ROOT given to it.

What to do comes as JSON on standard input; the last line printed is the answer. Where pycls'
`submitit` is not installed an empty stand-in is loaded: it only sends jobs to a cluster.
"""

import importlib.util
import json
import os
import sys
import tempfile
import types
from pathlib import Path
from time import perf_counter

import yaml


def settings(asked: dict) -> dict:
    """Return pycls' setting names for a frame."""
    skeleton = asked["frame"]
    return {
        "MODEL": {"TYPE": "anynet", "NUM_CLASSES": skeleton["classes"]},
        "TRAIN": {"IM_SIZE": skeleton["resolution"]},
        "ANYNET": {
            "STEM_TYPE": "simple_stem_in",
            "STEM_W": skeleton["stem_width"],
            "BLOCK_TYPE": "res_bottleneck_block",
            "STRIDES": skeleton["strides"],
        },
    }


def sampler(item: dict, stages: int) -> dict:
    """Return a list of independent draws, one a stage."""
    return {"TYPE": "list_sampler", "LENGTH": stages, "ITEM_SAMPLER": item}


def log_uniform(values: list[float]) -> dict:
    """Return a sampler over an evenly spaced axis."""
    low, after, high = int(values[0]), int(values[1]), int(values[-1])
    return {
        "TYPE": "int_sampler",
        "RAND_TYPE": "log_uniform",
        "RANGE": [low, high],
        "QUANTIZE": after - low,
    }


def sweep_file(asked: dict, home: str) -> dict:
    """Return the sweep's configuration: one chunk a process, all candidates tried."""
    axes, stages = asked["axes"], len(asked["frame"]["strides"])
    processes = asked["processes"]
    chunk = -(-asked["candidates"] // processes)
    samplers = {
        "ANYNET.DEPTHS": log_uniform(axes["d"]),
        "ANYNET.WIDTHS": log_uniform(axes["w"]),
        "ANYNET.BOT_MULS": {"TYPE": "value_sampler", "VALUES": [1 / b for b in axes["b"]]},
        "ANYNET.GROUP_WS": {"TYPE": "value_sampler", "VALUES": [int(g) for g in axes["g"]]},
    }
    return {
        "ROOT_DIR": home,
        "NAME": "bench",
        "NUM_PROC": processes,
        "SETUP": {
            "NUM_CONFIGS": asked["candidates"] + 1,
            "NUM_SAMPLES": chunk * processes,
            "CHUNK_SIZE": chunk,
            "RNG_SEED": asked["seed"],
            "SAMPLERS": {name: sampler(item, stages) for name, item in samplers.items()},
            "CONSTRAINTS": {"CX": {"FLOPS": [float(edge) for edge in asked["budget"]]}},
            "BASE_CFG": settings(asked),
        },
    }


def sweep(root: Path, asked: dict) -> dict:
    """Run `sweep_setup`; return its seconds and the configurations that it kept."""
    spec = importlib.util.spec_from_file_location("sweep_setup", root / "tools/sweep_setup.py")
    setup = importlib.util.module_from_spec(spec)
    sys.modules["sweep_setup"] = setup
    spec.loader.exec_module(setup)
    from pycls.sweep.config import load_cfg, sweep_cfg

    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "sweep.yaml"
        wanted = sweep_file(asked, home)
        file.write_text(yaml.safe_dump(wanted))
        load_cfg(str(file))
        sweep_cfg.freeze()
        began = perf_counter()
        setup.sweep_setup()
        seconds = perf_counter() - began
        found = [yaml.safe_load(f.read_text()) for f in sorted(Path(home).glob("bench/cfgs/*"))]
    kept = []
    for net in (config["ANYNET"] for config in found):
        body = {"depths": net["DEPTHS"], "widths": net["WIDTHS"], "groups": net["GROUP_WS"]}
        kept.append({**body, "ratios": [1 / b for b in net["BOT_MULS"]]})
    costs = count(asked, kept)
    kept = [{**body, "cost": cost} for body, cost in zip(kept, costs, strict=True)]
    return {"seconds": seconds, "tried": wanted["SETUP"]["NUM_SAMPLES"], "kept": kept}


def count(asked: dict, models: list[dict]) -> list[list[int]]:
    """Return pycls' cost of models."""
    import pycls.core.builders as builders
    from pycls.core import net
    from pycls.core.config import cfg, reset_cfg
    from yacs.config import CfgNode

    costs = []
    for model in models:
        reset_cfg()
        cfg.merge_from_other_cfg(CfgNode(settings(asked)))
        cfg.ANYNET.DEPTHS, cfg.ANYNET.WIDTHS = list(model["depths"]), list(model["widths"])
        cfg.ANYNET.BOT_MULS = [1 / b for b in model["ratios"]]
        cfg.ANYNET.GROUP_WS = list(model["groups"])
        counted = net.complexity(builders.get_model())
        costs.append([int(counted[key]) for key in ("flops", "params", "acts")])
    return costs


def main() -> None:
    """Answer one question."""
    root, asked = Path(sys.argv[1]).resolve(), json.load(sys.stdin)
    os.environ.setdefault("CONDA_PREFIX", "none")  # pycls wants it, to launch jobs with
    sys.path.insert(0, str(root))
    if importlib.util.find_spec("submitit") is None:
        stand_in = types.ModuleType("submitit")
        stand_in.helpers = types.SimpleNamespace(Checkpointable=object)
        sys.modules["submitit"] = stand_in
    answer = (
        sweep(root, asked) if "candidates" in asked else {"costs": count(asked, asked["models"])}
    )
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
