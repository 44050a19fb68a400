"""Blocks of other packages that are wrong: a message names the block, what it gave, the rule."""

import dataclasses
import sys

import inverted_residual
import numpy as np
import pytest
import torch
from packages import bring
from torch import nn

from designspace.arch import Block, BlockAxis, Body, Cost, Model, Skeleton, cost, find_block
from designspace.arch.blocks import _installed_block, installed_blocks
from designspace.arch.body import BodyBatch
from designspace.errors import InputError
from designspace.networks import build
from designspace.training.device_setup import is_out_of_memory

RIGHT = inverted_residual.BLOCK
SKELETON = Skeleton(resolution=8, classes=10, stem_width=8, stem_stride=1, strides=(1, 2))
ARCH = Body(
    (1, 2), (8, 16), (1.0, 1.0), (1, 1), 0.0, RIGHT.name, (("t", (2.0, 3.0)), ("k", (3.0, 3.0)))
)
MODEL = Model("m", ARCH, SKELETON)


@pytest.fixture
def use(monkeypatch):
    """Make a changed block the installed one."""

    def make(**changes):
        block = dataclasses.replace(RIGHT, **changes)
        for room in ("designspace.arch.cost", "designspace.networks.build"):
            monkeypatch.setattr(sys.modules[room], "find_block", lambda name: block)

    return make


def counting(change):
    """A cost that is right but for what is made of it."""
    return lambda stages, skeleton: change(inverted_residual.cost(stages, skeleton))


def stop(*_):
    raise SystemExit(3)


def fail(*_):
    raise KeyError("t")


def overwrite(stages, skeleton):
    stages.depths[:] = 1
    return inverted_residual.cost(stages, skeleton)


def overwrite_extras(stages, skeleton):
    stages.extras["t"][:] = 1
    return inverted_residual.cost(stages, skeleton)


def with_flops(change):
    return counting(lambda c: Cost(change(c.flops), c.params, c.acts))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (fail, "its cost failed: KeyError: 't'"),
        (stop, "its cost failed: SystemExit: 3"),
        (overwrite, "its cost failed: ValueError: .*read-only"),
        (overwrite_extras, "its cost failed: ValueError: .*read-only"),
        (lambda *_: None, r"gave None for 1 networks; it must give .*Cost of three integer arrays"),
        (
            counting(lambda c: (c.flops, c.params, c.acts)),
            r"gave \(array.* for 1 networks; it must",
        ),
        (with_flops(lambda f: f[:0]), r"gave flops as an array \(0,\) of int64 for 1 networks"),
        (with_flops(lambda f: f * np.nan), r"gave flops as an array \(1,\) of float64 .* \(1,\)"),
        (with_flops(lambda f: -f), "gave flops as numbers from -[0-9]+ to -[0-9]+ for 1 networks"),
        (with_flops(lambda f: f.astype(np.uint64) + np.uint64(2**63)), "gave flops as numbers"),
        (with_flops(lambda f: f.tolist()), r"gave flops as \[[0-9]+\] for 1 networks"),
    ],
)
def test_a_cost_that_is_none(use, wrong, message):
    use(cost=wrong)
    with pytest.raises(InputError, match=f"^block inverted-residual: .*{message}"):
        _ = MODEL.flops


def test_what_a_package_keeps_of_its_counts_is_its_own(use):
    kept = np.full(1, 7)
    use(cost=lambda stages, skeleton: Cost(kept, kept, kept))
    found = cost(BodyBatch.from_bodies([ARCH]), SKELETON)
    kept[:] = 9
    assert found.flops.tolist() == [7]


def building(change):
    """A network that is right but for what is made of it."""
    return lambda model, zero: change(inverted_residual.network(model, zero))


def out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (fail, "its network failed: KeyError: 't'"),
        (stop, "its network failed: SystemExit: 3"),
        (lambda *_: None, r"its network must be a torch\.nn\.Module; found None"),
        (building(lambda n: n[:-1]), r"into \(1, 16\); they must become logits \(1, 10\)"),
        (building(lambda n: n[:-2]), r"images \(1, 3, 8, 8\) into \(1, 16, 1, 1\)"),
        (building(lambda n: n[:-1].append(nn.LazyLinear(3))), r"into \(1, 3\)"),
        (
            building(lambda n: n.append(nn.Linear(10, 10))),
            "has 4,104 parameters, .* counts 3,994",
        ),
        (building(lambda n: n.append(nn.Linear(9, 10))), "its network failed: RuntimeError: mat1"),
    ],
)
def test_a_network_that_is_not_what_was_counted(use, wrong, message):
    use(network=wrong)
    with pytest.raises(InputError, match=f"^block inverted-residual, model m: .*{message}"):
        build(MODEL)


def test_looking_at_a_network_changes_nothing(use):
    class Drawing(nn.Module):
        def forward(self, logits):
            return logits + torch.rand(1)

    use(network=inverted_residual.network)
    torch.manual_seed(0)
    inverted_residual.network(MODEL, False)
    after = torch.rand(3)
    for change in (lambda n: n, lambda n: n.append(Drawing())):
        use(network=building(change))
        torch.manual_seed(0)
        network = build(MODEL)
        assert torch.equal(torch.rand(3), after)
        assert network.training
        assert network[0][1].num_batches_tracked == 0
    assert build(MODEL, device="meta")[0][0].weight.is_meta


def test_a_network_without_memory_is_tried_again_alone(use):
    use(network=out_of_memory)
    with pytest.raises(InputError, match="out of memory") as caught:
        build(MODEL)
    assert is_out_of_memory(caught.value)


AXIS = {"name": "t", "about": "expansion", "low": 1, "high": 12}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "'' can't name an axis"),
        ({"name": "no word"}, "'no word' can't name an axis"),
        ({"name": "w"}, "'w' can't name an axis"),
        ({"name": "error"}, "'error' can't name an axis"),
        ({"name": "lr"}, "'lr' can't name an axis"),
        ({"name": "population"}, "'population' can't name an axis"),
        ({"name": "counted"}, "'counted' can't name an axis"),
        ({"name": "t2"}, "'t2' can't name an axis.* does not end with a digit"),
        ({"name": 3}, "3 can't name an axis"),
        ({"about": None}, "axis t: about is null; it must be text"),
        ({"low": float("nan")}, "axis t: low is NaN; it must be a finite number"),
        ({"high": float("inf")}, "axis t: high is Infinity; it must be a finite number"),
        ({"high": "12"}, 'axis t: high is "12"; it must be a number'),
        ({"low": True}, "axis t: low is true; it must be a number"),
        ({"low": 13}, "axis t: low 13 is above high 12"),
    ],
)
def test_an_axis_that_is_none(change, message):
    with pytest.raises(InputError, match=message):
        BlockAxis(**{**AXIS, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "bottleneck"}, "is that of RegNet's block; choose another"),
        ({"name": "a b"}, "'a b' can't name a block"),
        ({"name": "mine\n"}, "can't name a block"),
        ({"name": None}, "None can't name a block"),
        ({"about": 3}, "about is 3; it must be text"),
        ({"axes": [BlockAxis(**AXIS)]}, "axes is .*; it must be a valid tuple"),
        ({"axes": ("t",)}, r"axes\[0\] is .*; it must be an instance of BlockAxis"),
        ({"axes": (BlockAxis(**AXIS),) * 2}, "duplicate axis t"),
        ({"cost": "flops"}, 'cost is "flops"; it must be'),
        ({"network": "net"}, 'network is "net"; it must be callable'),
    ],
)
def test_a_block_that_is_none(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(RIGHT, **change)


MINE = """
from designspace.arch import Block
def BLOCK_OF(name):
    return Block(name, "", (), print, print)
mine, twice = BLOCK_OF("mine"), BLOCK_OF("twice")
"""


def test_packages_whose_names_clash(tmp_path, monkeypatch):
    """Each message names the entry points and their packages; the list has what can be used."""
    entries = {"mine": "first:mine", "twice": "first:twice", "bottleneck": "first:mine"}
    bring(tmp_path, "first", MINE, {**entries, "odd": "first:BLOCK_OF('bottleneck')"})
    bring(tmp_path, "second", MINE, {"twice": "second:twice", "text": "second:__name__"})
    bring(tmp_path, "third", "raise SystemExit('no')", {"ended": "third:BLOCK"})
    bring(tmp_path, "fourth", MINE + "BLOCK_OF('a b')", {"spaced": "fourth:mine"})
    monkeypatch.syspath_prepend(str(tmp_path))
    _installed_block.cache_clear()
    usable, problems = installed_blocks()
    assert usable[0] == "bottleneck"
    assert usable[-2:] == ["convnext", "mine"]
    said = dict(problem.removeprefix("block ").split(": ", 1) for problem in problems)
    assert said["bottleneck"].startswith("the entry point first:mine of first has the name of Reg")
    assert said["ended"] == "the entry point third:BLOCK of third can't be loaded: SystemExit: no"
    assert "'a b' can't name a block" in said["spaced"]
    assert "must be a Block; found 'second'" in said["text"]
    twice = "the entry point first:twice of first and second:twice of second have the same name"
    assert said["twice"].startswith(twice)
    with pytest.raises(InputError, match=r"twice.*uninstall all but one"):
        find_block("twice")
    assert isinstance(find_block("mine"), Block)
    _installed_block.cache_clear()
