"""Every verb on every block: what one block can do, all can."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from marks import quick_share

import designspace as ds

SPACES: dict[str, str | dict[str, Any]] = {
    "convnext": "ConvNeXt-like@8",
    "residual-basic, RegNet": "RegNetVR@8",
    "vanilla": "AnyNetVA@8",
    "vanilla, RegNet": "RegNetV@8",
    "residual-basic": "AnyNetVRE@8",
    "bottleneck without groups": "AnyNetRE@8",
    "linear-bottleneck": "AnyNetZA@8",
    "linear-bottleneck, RegNet": "RegNetZ@8",
    "mbconv of MobileNetV2": {
        "name": "mbconv",
        "parent": "MobileNetV2-like@8",
        "reason": "A stride less, for the crops of pretraining.",
        "input": {"strides": [1, 1, 2, 2, 1, 2, 1]},
    },
    "mbconv of EfficientNet": {
        "name": "mbconv",
        "parent": "EfficientNet-like@8",
        "reason": "A stride less, for the crops of pretraining.",
        "input": {"strides": [1, 1, 2, 2, 1, 2, 1]},
    },
    "inverted bottleneck": {
        "name": "inverted",
        "parent": "RegNetX@8",
        "reason": "b below 1.",
        "axes": {"b": {"distribution": "choice", "values": [0.25, 0.5]}},
    },
    "depthwise": {
        "name": "depthwise",
        "parent": "AnyNetXA@8",
        "reason": "g = 1.",
        "axes": {"g": {"distribution": "choice", "values": [1]}},
    },
}
# The quick share takes a block with LayerNorm that is no RegNet, and a RegNet of another block.
QUICK = ("convnext", "residual-basic, RegNet")
EVERY = quick_share(SPACES, QUICK)


@dataclass
class Studied:
    """A population of a space whose errors fall with depth, one model trained, and its findings."""

    run: ds.Run
    findings: Path


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Studied]:
    return {}


def study(name: str, studied: dict[str, Studied], tmp: pytest.TempPathFactory) -> Studied:
    if name not in studied:
        folder = tmp.mktemp("block")
        run = ds.sample(ds.load_space(SPACES[name]), n=16, flops="60K:400K", out=folder / "run")
        run.train(data="digits", recipe="quick", epochs=1, only="0", progress=False)
        split = run.trials()[0].split
        depths = run.population().bodies.depths.sum(axis=1)
        for i in range(1, 16):
            run.record(i, error=float(60 - depths[i] + i % 3), split=split)
        ds.analyze([run]).save(folder / "findings")
        studied[name] = Studied(run, folder / "findings")
    return studied[name]


def shallowest(run: ds.Run) -> ds.Model:
    """Return the model that takes the least time; the best one takes the most."""
    return min(run, key=lambda model: sum(model.body.depths))


@pytest.mark.parametrize("name", EVERY)
def test_sample_train_analyze_refine_and_derive(
    name: str, studied: dict[str, Studied], tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = study(name, studied, tmp_path_factory)
    first = one.run.to_frame()["error"][0]
    assert 0 < first < 100
    model = one.run.model("best")
    refined = ds.refine(one.findings, one.run)
    if refined.space is not None:
        assert refined.space.block == ds.load_space(SPACES[name]).block
        ds.sample(refined.space, n=2, flops="60K:400K")
    for rule in ("width", "dw"):
        derived = ds.derive(source=one.findings, flops=1.5e6, rule=rule)
        assert derived.flops == pytest.approx(1.5e6, rel=0.3)
        assert (derived.body.block, derived.body.activation) == (
            model.body.block,
            model.body.activation,
        )
        assert derived.body.num_stages == model.body.num_stages
        for axis, values in derived.body.extras:
            seen = one.run.population().bodies.extras[axis]
            assert set(values) <= set(seen.ravel().tolist())
        with torch.no_grad():
            assert derived.build()(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    scaled = ds.derive(source=f"{one.run.path}:best", scale=2)
    assert scaled.body.block == model.body.block


@pytest.mark.parametrize("name", EVERY)
def test_export(
    name: str,
    studied: dict[str, Studied],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """ONNX, TorchScript and model.yaml of all; each is verified against the network."""
    model = shallowest(study(name, studied, tmp_path_factory).run)
    model.export(["onnx", "torchscript", "model.yaml"], tmp_path)
    network = ds.load_model(tmp_path / "model.yaml").build()
    script = torch.jit.load(str(next(tmp_path.rglob("*.pt"))))
    network.load_state_dict(script.state_dict())
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        np.testing.assert_allclose(network.eval()(images), script.eval()(images), atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_pretrain_and_evaluate(
    name: str,
    studied: dict[str, Studied],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    model = shallowest(study(name, studied, tmp_path_factory).run)
    ds.pretrain(
        model, data="digits", out=tmp_path / "trunk", epochs=1, batch_size=256, progress=False
    )
    scores = ds.evaluate(tmp_path / "trunk", task="knn", seeds=1, progress=False)
    assert scores.scores
