"""A block of one's own without a cost, and one whose cost is wrong."""

from dataclasses import replace

import numpy as np
import pytest

import designspace as ds
from designspace.arch import Cost
from designspace.blocks.mbconv import BLOCK
from designspace.networks import count_cost

SPACE = {
    "name": "own",
    "reason": "r",
    "family": "anynet",
    "block": "own",
    "input": {"resolution": 8, "classes": 10, "stem_width": 8, "stem_stride": 1, "strides": [1, 2]},
    "axes": {
        "d": {"distribution": "uniform", "low": 1, "high": 3, "step": 1},
        "w": {"distribution": "uniform", "low": 8, "high": 32, "step": 8},
        "t": {"distribution": "choice", "values": [1, 2, 3]},
        "k": {"distribution": "choice", "values": [3, 5]},
    },
    "share": [],
    "monotone": {},
    "tie": {},
    "caps": {},
    "se_ratio": 0,
}
OWN = replace(BLOCK, name="own")


@pytest.fixture
def use():
    yield lambda **changes: ds.register_block(replace(OWN, **changes))
    ds.arch.unregister_block("own")


def test_networks_without_a_cost_are_counted_as_built(use):
    use()
    closed = ds.sample(SPACE, 5, flops="200K:2M", seed=1)
    use(cost=None)
    counted = ds.sample(SPACE, 5, flops="200K:2M", seed=1)
    assert counted.ids == closed.ids
    for measure in ("flops", "params", "acts"):
        values = [getattr(p.cost, measure) for p in (counted, closed)]
        assert np.array_equal(*values)


def test_few_networks_are_built_to_derive_one(use, monkeypatch):
    use()
    (parent,) = ds.sample(SPACE, 1, flops="200K:2M", seed=1)
    closed = ds.derive(source=parent, flops=2 * parent.flops, rule="depth")
    built = []
    counted = count_cost.measured_cost
    monkeypatch.setattr(
        count_cost, "measured_cost", lambda *of: [built.append(of[1]), counted(*of)][1]
    )
    use(cost=None)
    assert ds.derive(source=parent, flops=2 * parent.flops, rule="depth").body == closed.body
    assert max(max(body.depths) for body in built) <= 16 * max(parent.body.depths)


@pytest.mark.parametrize("measure", ["flops", "params", "acts"])
def test_a_wrong_cost_is_refused_in_sample(use, measure):
    def doubled(bodies, skeleton):
        right = OWN.cost(bodies, skeleton)
        counts = {name: getattr(right, name) for name in ("flops", "params", "acts")}
        return Cost(**{**counts, measure: 2 * counts[measure]})

    use(cost=doubled)
    with pytest.raises(ds.InputError, match=rf"block own, model 0 .* {measure}, its cost counts"):
        ds.sample(SPACE, 3)


def test_other_blocks_are_derived_by_their_own_rules():
    parent = ds.load_model("EfficientNet-B0")
    model = ds.derive(source=parent, flops="800M")
    assert model.flops == pytest.approx(800e6, rel=0.02)
    assert (model.body.block, model.body.activation) == ("mbconv", "silu")
    assert model.body.extras == parent.body.extras
    vanilla = ds.derive(source="V-56", scale=2).body
    assert vanilla.group_widths == (1, 1, 1)
    resnet = ds.derive(source="ResNet-50", flops="2G", rule="width").body
    assert [w // 4 for w in resnet.widths] == list(resnet.group_widths)
    regnetz = ds.derive(source="RegNetZ-4.0GF", flops="2G")
    assert regnetz.regnet is not None
    assert regnetz.body.block == "linear-bottleneck"
    assert regnetz.flops == pytest.approx(2e9, rel=0.02)
