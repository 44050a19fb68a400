"""Bottleneck ratios below 1 (inverted bottlenecks) and g = 1 (depthwise convolution)."""

from pathlib import Path

import numpy as np
import pytest
import torch

import designspace as ds
from designspace.networks.count_cost import measure

CHANGES = {
    "inverted": {"b": [0.25, 0.5]},
    "depthwise": {"g": [1]},
    "both": {"b": [0.25, 0.5], "g": [1]},
}


@pytest.fixture(
    params=[f"{space} {name}" for space in ("AnyNetXA@8", "RegNetX@8") for name in CHANGES]
)
def population(request: pytest.FixtureRequest) -> ds.Population:
    name, change = request.param.split()
    space = ds.load_space(name).narrow(name="n", reason="A test.", **CHANGES[change])
    return ds.sample(space, n=24, flops="60K:2M", seed=3)


def test_sampled_bodies_are_whole(population: ds.Population) -> None:
    bodies = population.bodies
    inner = bodies.widths / bodies.bottleneck_ratios
    np.testing.assert_array_equal(inner, np.rint(inner))
    np.testing.assert_array_equal(inner % bodies.group_widths, 0)
    values = population.space.axes
    assert set(bodies.bottleneck_ratios.ravel()) <= set(values["b"].values)
    if len(values["g"]) == 1:
        assert (bodies.group_widths == 1).all()


def test_costs_are_those_of_the_built_networks(population: ds.Population) -> None:
    for i in range(3):
        built = measure(population[i].build(), 8, 3, "cpu")
        counted = [int(getattr(population.cost, name)[i]) for name in ("flops", "params", "acts")]
        assert [built.flops, built.params, built.acts] == counted


def test_a_step_of_training_lowers_the_loss(population: ds.Population) -> None:
    torch.manual_seed(0)
    network = population[0].build().train()
    images, labels = torch.randn(32, 3, 8, 8), torch.arange(32) % 10
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_exports_are_verified(population: ds.Population, tmp_path: Path) -> None:
    """`export` rebuilds the network of each target and compares it."""
    population[0].export(["torchvision", "onnx", "torchscript", "pycls"], tmp_path)
    assert (tmp_path / "manifest.json").is_file()
