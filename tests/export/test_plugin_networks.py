"""Exports and checkpoints of plugins' networks, whose modules and forward pass may be any code."""

import json

import pytest
import torch
from torch import nn

import designspace as ds
from designspace.arch import Body, Model, Skeleton, register_block, unregister_block
from designspace.blocks.staged_block import staged_block
from designspace.export.convert_weights import read_weights
from designspace.export.export_model import export_model
from designspace.networks import build
from designspace.pretraining.swav_network import trunk_of

MODEL = Model("own", Body((1,), (8,), (1.0,), (1,), 0.0, "own"), Skeleton(8, 10, 8, 1, (2,)))


class Network(nn.Module):
    """A convolution and BatchNorm, in a module of any name; subclasses run them otherwise."""

    def __init__(self, name="net"):
        super().__init__()
        self.name = name
        self.add_module(name, nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)))
        self.register_buffer("scale", torch.tensor(0.5))
        self.fc = nn.Linear(8, 10)

    def forward(self, images):
        return self.fc(self.features(images).mean((2, 3)))

    def features(self, images):
        return self.scale * self.get_submodule(self.name)(images)


class Twice(Network):
    """Runs its convolution twice."""

    def features(self, images):
        return super().features(images) + super().features(images.flip(3))


class Computed(Network):
    """Has a convolution that never runs, and one whose weight is computed."""

    def features(self, images):
        weight = self.net[0].weight * self.scale
        return nn.functional.conv2d(images, weight.softmax(0), stride=2, padding=1)


class Valued(Network):
    """Runs with values, which `meta` tensors lack."""

    def features(self, images):
        return super().features(images) * float(self.scale.numpy())


class BuiltOfValues(Network):
    """Is built with values."""

    def __init__(self):
        super().__init__()
        self.rates = torch.linspace(0.5, 1, 3).tolist()


class Beside(Network):
    """Has a tensor beside its state."""

    def __init__(self):
        super().__init__()
        self.factor = torch.ones(8, 1, 1)

    def features(self, images):
        return self.factor * super().features(images)


class Random(Network):
    """Draws random numbers."""

    def features(self, images):
        return super().features(images) + torch.rand(())


@pytest.fixture
def use():
    def register(network):
        register_block(ds.Block("own", "", (), None, lambda model, zero: network()))

    yield register
    unregister_block("own")


@pytest.mark.parametrize("network", [Twice, Computed])
def test_graphs_are_verified_by_their_outputs(use, tmp_path, network):
    pytest.importorskip("onnxruntime")
    use(network)
    done = export_model(MODEL, ["onnx"], tmp_path, verify=True)
    assert not done.refused
    (report,) = done.verification
    assert [check.partition(" equal")[0] for check in report.checks] == ["outputs"]


def test_what_a_file_cannot_hold_is_refused_and_the_others_are_written(use, tmp_path):
    use(Random)
    done = export_model(MODEL, ["torchscript", "vissl", "torchvision", "model.yaml"], tmp_path)
    message = "torchscript: the file of own was removed, as its verification failed: RuntimeError"
    assert done.refused["torchscript"].startswith(message)
    assert done.refused["vissl"].endswith(". onnx, torchscript and model.yaml support it")
    assert "whose code is their own" in done.refused["torchvision"]
    (entry,) = json.loads((tmp_path / "manifest.json").read_text())["models"]
    assert [file["path"] for file in entry["files"]] == ["model.yaml"]
    assert not (tmp_path / "torchscript").exists()


@pytest.mark.parametrize("network", [Valued, BuiltOfValues, Beside])
@pytest.mark.parametrize("trunk", [False, True])
def test_networks_that_need_values_are_exported_with_their_weights(use, tmp_path, network, trunk):
    use(network)
    state = (trunk_of if trunk else build)(MODEL).state_dict()
    del state["net.1.num_batches_tracked"]
    torch.save(state, tmp_path / "w.pt")
    random = torch.get_rng_state()
    targets, out = ["torchscript", "model.yaml"], tmp_path / "x"
    done = export_model(MODEL, targets, out, weights=tmp_path / "w.pt")
    assert torch.equal(torch.get_rng_state(), random)
    assert not done.refused
    script = torch.jit.load(out / "torchscript" / "own.pt")
    assert script(torch.zeros(2, 3, 8, 8)).shape == (2, 8 if trunk else 10)


NAMES = ["net", "model", "network", "backbone", "trunk", "heads", "prototypes", "projection_head"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrapper", ["", "module.", "trunk.", "_orig_mod.module."])
def test_modules_that_are_called_as_wrappers_keep_their_names(use, tmp_path, name, wrapper):
    use(lambda: Network(name))
    state = build(MODEL).state_dict()
    wrapped = {f"{wrapper}{key}": array for key, array in state.items()}
    if wrapper == "trunk.":
        wrapped |= {"prototypes.weight": torch.ones(1), "head.0.weight": torch.ones(1)}
    torch.save({"model": wrapped}, tmp_path / "w.pt")
    weights = read_weights(tmp_path / "w.pt", MODEL)
    assert weights.classifier
    assert weights.state.keys() == state.keys()
    assert all(torch.equal(weights.state[key], array) for key, array in state.items())


def test_a_key_that_a_checkpoint_lacks_is_listed_by_its_own_name(use, tmp_path):
    use(Network)
    state = build(MODEL).state_dict()
    del state["net.0.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(
        ds.InputError, match=r"\(read as torchvision\): 1 missing keys: net\.0\.bias$"
    ):
        read_weights(tmp_path / "w.pt", MODEL)


class Doubled(nn.Conv2d):
    def forward(self, images):
        return 2 * super().forward(images)


class Branch(nn.Sequential):
    def forward(self, images):
        return images + super().forward(images)


def conv(**options):
    return lambda width: nn.Conv2d(width, width, **options)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lambda width: nn.Hardswish(), None),
        (lambda width: Doubled(width, width, 1), None),
        (lambda width: Branch(nn.ReLU()), None),
        (lambda width: nn.Sequential(*[nn.Sigmoid()] * 2), "nn.Sigmoid()"),
        (conv(kernel_size=(3, 1), padding="same", dilation=2, padding_mode="reflect"),
         "(8, 8, (3, 1), 1, 'same', dilation=(2, 2), padding_mode='reflect')"),
        (conv(kernel_size=1, bias=False), "nn.Conv2d(8, 8, 1, 1, 0, bias=False)"),
        (lambda width: nn.BatchNorm2d(width, eps=1e-3), "nn.BatchNorm2d(8, eps=0.001)"),
    ],
)  # fmt: skip
def test_code_has_the_layers_of_a_staged_block_or_is_refused(tmp_path, layer, text):
    def block(layers, shape):
        return layers.conv(shape.width_in, shape.width, 3, shape.stride).append(layer(shape.width))

    def count(total, shape):
        total.conv(shape.width_in, shape.width, 3, shape.side)

    register_block(ds.Block(**{**vars(staged_block("own", "", count, block)), "cost": None}))
    try:
        done = export_model(MODEL, ["torchvision"], tmp_path, verify=True)
    finally:
        unregister_block("own")
    if text is None:
        assert "torchvision: own is made of own blocks" in done.refused["torchvision"]
    else:
        assert "outputs equal" in done.verification[0].checks[-1]
        assert text in (tmp_path / "torchvision" / "own.py").read_text()
