"""How others would sample and cost networks: twins in plain Python, and pycls' way of a sweep.

All for networks without squeeze-and-excitation, since AnyNetX has none.
"""

import json
import math
import multiprocessing
import os
import subprocess
import sys
from bisect import bisect_right
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

LAYERS = ("flops", "params", "acts")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Body:
    """The stages of one network, and what a side says that it costs: flops, params, acts."""

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    ratios: tuple[float, ...]
    groups: tuple[int, ...]
    cost: tuple[int, int, int] | None = None


def bodies(stages, rows) -> list[Body]:
    """Return some models of a population."""
    bodies = (stages.body(int(i)) for i in rows)
    return [Body(a.depths, a.widths, a.bottleneck_ratios, a.group_widths) for a in bodies]


# A careful loop over the closed form.


def compatible(width: int, ratio: float, group: int) -> tuple[int, int]:
    """Return width and group width, adjusted so that groups divide the inner width; ratio >= 1."""
    inner = max(1, int(width / ratio))
    group = min(group, inner)
    return round(max(1, round(inner / group)) * group * ratio), group


def closed_form(body: Body, skeleton) -> tuple[int, int, int]:
    """Count flops, params and acts of one network, stage by stage."""
    sides = skeleton.stage_resolutions()
    before, area = skeleton.stem_width, sides[0] ** 2
    flops, params, acts = 27 * before * area, 29 * before, before * area
    stages = zip(body.depths, body.widths, body.ratios, body.groups, sides[1:], strict=True)
    for stride, (depth, width, ratio, group, side) in zip(skeleton.strides, stages, strict=True):
        inner, larger, area = round(width / ratio), area, side**2
        each = inner * (9 * group + width)
        rest = (depth - 1) * inner * width
        flops += inner * before * larger + (rest + depth * each) * area
        params += inner * before + rest + depth * (each + 4 * inner + 2 * width)
        acts += inner * (larger + (depth - 1) * area) + depth * (inner + width) * area
        if stride != 1 or before != width:
            flops += before * width * area
            params += before * width + 2 * width
            acts += width * area
        before = width
    last = (before + 1) * skeleton.classes
    return flops + last, params + last, acts + skeleton.classes


def plain_sample(space, n: int, low: int, high: int, seed: int) -> tuple[list[Body], int]:
    """Sample an AnyNet of free axes by a loop that gives up on a candidate as early as it can.

    From the very numbers that `designspace.space.sample` uses, so that the outcome is the same.

    Returns:
        The models and how many candidates were tried.
    """
    axes = [
        (axis.values.tolist(), np.cumsum(axis.probabilities).tolist())
        for axis in (space.axes[name] for name in "dwbg")
    ]
    (depths, d_sums), (widths, w_sums), (ratios, b_sums), (groups, g_sums) = axes
    depths, widths, groups = ([int(v) for v in values] for values in (depths, widths, groups))
    ends = [len(values) - 1 for values in (depths, widths, ratios, groups)]
    skeleton = space.skeleton
    areas = [side**2 for side in skeleton.stage_resolutions()]
    stem, classes, stages = skeleton.stem_width, skeleton.classes, len(skeleton.strides)
    strided = [stride != 1 for stride in skeleton.strides]
    key = np.random.SeedSequence([seed, int(space.hash, 16)])
    stream = np.random.Generator(np.random.Philox(key))
    found: list[Body] = []
    seen: set[tuple] = set()
    tried = 0
    while True:
        for row in stream.random((4096, space.columns)).tolist():
            tried += 1
            flops, before, chosen = 27 * stem * areas[0], stem, []
            for i in range(stages):
                depth = depths[min(bisect_right(d_sums, row[i]), ends[0])]
                width = widths[min(bisect_right(w_sums, row[stages + i]), ends[1])]
                ratio = ratios[min(bisect_right(b_sums, row[2 * stages + i]), ends[2])]
                group = groups[min(bisect_right(g_sums, row[3 * stages + i]), ends[3])]
                width, group = compatible(width, ratio, group)
                inner, area = round(width / ratio), areas[i + 1]
                rest = (depth - 1) * inner * width + depth * inner * (9 * group + width)
                flops += inner * before * areas[i] + rest * area
                if strided[i] or before != width:
                    flops += before * width * area
                if flops > high:
                    break
                chosen.append((depth, width, ratio, group))
                before = width
            else:
                flops += (before + 1) * classes
                model = tuple(chosen)
                if not low <= flops <= high or model in seen:
                    continue
                seen.add(model)
                found.append(Body(*zip(*chosen, strict=True)))
                if len(found) == n:
                    return found, tried


# pycls' way: a configuration for each candidate, its cost layer by layer, and most thrown away.


@dataclass(frozen=True)
class Sweep:
    """What a sweep over some candidates found, and its seconds."""

    seconds: float
    tried: int
    kept: list[Body]


def layer_by_layer(body: Body, skeleton) -> tuple[int, int, int]:
    """Count by walking through all layers, as pycls' classes do."""
    total = dict.fromkeys(LAYERS, 0)

    def convolution(w_in: int, w_out: int, kernel: int, groups: int, side: int) -> None:
        weights = kernel * kernel * w_in * w_out // groups
        total["params"] += weights + 2 * w_out  # with its BatchNorm
        total["flops"] += weights * side * side
        total["acts"] += w_out * side * side

    sides = skeleton.stage_resolutions()
    convolution(3, skeleton.stem_width, 3, 1, sides[0])
    before = skeleton.stem_width
    stages = zip(body.depths, body.widths, body.ratios, body.groups, strict=True)
    for i, (depth, width, ratio, group) in enumerate(stages):
        stride, side = skeleton.strides[i], sides[i]
        inner = round(width / ratio)
        for _ in range(depth):
            after = sides[i + 1]
            if before != width or stride != 1:
                convolution(before, width, 1, 1, after)
            convolution(before, inner, 1, 1, side)
            convolution(inner, inner, 3, inner // group, after)
            convolution(inner, width, 1, 1, after)
            before, stride, side = width, 1, after
    total["params"] += (before + 1) * skeleton.classes
    total["flops"] += (before + 1) * skeleton.classes
    total["acts"] += skeleton.classes
    return total["flops"], total["params"], total["acts"]


class Restated:
    """pycls' algorithm in our own words, for where there is no checkout of it.

    Each candidate gets a configuration of some 150 settings (yacs, as pycls' are), its numbers one
    draw at a time, its cost layer by layer, in as many processes as there are cores.
    """

    name = "pycls' algorithm restated (PYCLS names no checkout)"

    def __init__(self, space, low: int, high: int) -> None:
        self.space, self.low, self.high = space, low, high

    def sweep(self, candidates: int, seed: int) -> Sweep:
        """Go through candidates."""
        cores = os.cpu_count() or 1
        began = perf_counter()
        with multiprocessing.get_context("fork").Pool(cores) as pool:
            share = math.ceil(candidates / cores)
            parts = pool.starmap(self._chunk, [(share, seed * cores + i) for i in range(cores)])
        seconds = perf_counter() - began
        return Sweep(seconds, share * cores, [body for part in parts for body in part])

    def count(self, models: list[Body]) -> list[tuple[int, int, int]]:
        """Return the cost of models."""
        return [layer_by_layer(body, self.space.skeleton) for body in models]

    def _chunk(self, candidates: int, seed: int) -> list[Body]:
        from yacs.config import CfgNode

        random = np.random.RandomState(seed)
        stages = len(self.space.skeleton.strides)
        defaults = CfgNode({f"S{i}": {f"K{j}": float(j) for j in range(10)} for i in range(15)})
        defaults.NET = CfgNode({"D": [0], "W": [0], "B": [0.0], "G": [0]})
        base = defaults.clone()
        kept: dict[str, Body] = {}
        for _ in range(candidates):
            drawn = [[self._draw(random, axis) for _ in range(stages)] for axis in "dwbg"]
            key = str(drawn)
            if key in kept:
                continue
            config = defaults.clone()
            config.merge_from_other_cfg(base)
            names = ("NET.D", "NET.W", "NET.B", "NET.G")
            config.merge_from_list([x for pair in zip(names, drawn, strict=True) for x in pair])
            net = config.NET
            fitting = zip(net.W, net.B, net.G, strict=True)
            widths, groups = zip(*(compatible(*three) for three in fitting), strict=True)
            body = Body(tuple(net.D), widths, tuple(net.B), groups)
            cost = layer_by_layer(body, self.space.skeleton)
            if self.low <= cost[0] <= self.high:
                config.clone()
                kept[key] = Body(body.depths, widths, body.ratios, groups, cost)
        return list(kept.values())

    def _draw(self, random, name: str) -> float | int:
        values = self.space.axes[name].values
        if name in "bg":
            value = values[random.randint(len(values))]
            return float(value) if name == "b" else int(value)
        low, high, step = values[0], values[-1], values[1] - values[0]
        start = math.log(low - min(step, low / 2))
        drawn = math.exp(random.uniform(start, math.log(high)))
        return int(math.ceil(drawn / step) * step)


class Checkout:
    """pycls itself, from a folder; its `sweep_setup` runs in a process of its own."""

    name = "pycls sweep_setup"

    def __init__(self, root: Path, space, low: int, high: int) -> None:
        self.root, self.space, self.low, self.high = root, space, low, high

    def sweep(self, candidates: int, seed: int) -> Sweep:
        """Go through candidates."""
        told = self._ask({"candidates": candidates, "seed": seed})
        kept = [Body(**{k: tuple(v) for k, v in body.items()}) for body in told["kept"]]
        return Sweep(told["seconds"], told["tried"], kept)

    def count(self, models: list[Body]) -> list[tuple[int, int, int]]:
        """Return the cost of models."""
        return [tuple(cost) for cost in self._ask({"models": [asdict(m) for m in models]})["costs"]]

    def _ask(self, what: dict) -> dict:
        skeleton = self.space.skeleton
        about = {
            "frame": {**skeleton.to_dict()},
            "axes": {name: self.space.axes[name].values.tolist() for name in "dwbg"},
            "budget": [self.low, self.high],
            "processes": os.cpu_count(),
        }
        argv = [sys.executable, str(HERE / "pycls_sweep.py"), str(self.root)]
        done = subprocess.run(
            argv, input=json.dumps({**about, **what}), stdout=subprocess.PIPE, text=True, check=True
        )
        return json.loads(done.stdout.splitlines()[-1])


def checkout() -> Path | None:
    """Return the checkout of pycls that PYCLS names, or None where it names none.

    Raises:
        ValueError: What it names is none.
    """
    named = os.environ.get("PYCLS")
    if not named:
        return None
    root = Path(named)
    for needed in ("tools/sweep_setup.py", "pycls/sweep/config.py"):
        if not (root / needed).is_file():
            raise ValueError(
                f"PYCLS={named} is no checkout of pycls: it has no {needed}; name a folder that "
                "`git clone` made of it, or leave PYCLS out, and its algorithm is restated"
            )
    return root


def sweep_peer(space, low: int, high: int) -> Restated | Checkout:
    """Return pycls from the checkout that PYCLS names, or its algorithm restated."""
    root = checkout()
    return Checkout(root, space, low, high) if root else Restated(space, low, high)
