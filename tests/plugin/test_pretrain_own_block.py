"""Networks of a plugin's block as trunks: pretrained and evaluated as RegNets are."""

from pathlib import Path
from types import SimpleNamespace

import inverted_residual
import pytest
import torch
from torch import nn

from designspace.arch import Body, Model, Skeleton, register_block, unregister_block
from designspace.arch.model_file import write_model
from designspace.errors import InputError
from designspace.evaluation.detection.mask_rcnn import PyramidTrunk
from designspace.evaluation.evaluate_trunk import evaluate_trunk
from designspace.evaluation.finetune import FinetuneSchedule, train_network
from designspace.export.convert_weights import read_weights
from designspace.export.export_model import export_model
from designspace.networks import build
from designspace.networks.classifier import classifier_path
from designspace.pretraining.cost_plan import plan_pretraining
from designspace.pretraining.recipe import load_recipe
from designspace.pretraining.swav_network import SwavNetwork, trunk_of

BLOCK = inverted_residual.BLOCK
MODEL = Model(
    "own",
    Body((1, 1), (8, 12), (1.0,) * 2, (1,) * 2, 0.0, BLOCK.name, (("t", (1, 2)), ("k", (3, 3)))),
    Skeleton(resolution=8, classes=10, stem_width=8, stem_stride=1, strides=(2, 2)),
)
QUICK = load_recipe("quick")


@pytest.fixture(autouse=True)
def registered():
    register_block(BLOCK)
    yield
    unregister_block(BLOCK.name)


def test_a_trunk_is_the_network_without_its_classifier():
    whole = build(MODEL)
    assert classifier_path(whole, MODEL) == "5"
    trunk = trunk_of(MODEL).eval()
    assert trunk(torch.zeros(2, 3, 8, 8)).shape == (2, MODEL.output_width)
    assert set(whole.state_dict()) - set(trunk.state_dict()) == {"5.weight", "5.bias"}


class Nested(nn.Module):
    """Has linear layers of a classifier's shape before it."""

    def __init__(self, name):
        super().__init__()
        self.inside = nn.Sequential(nn.Linear(12, 10), nn.Linear(10, 12))
        setattr(self, name, nn.Sequential(nn.ReLU(), nn.Linear(12, 10)))
        self.other = nn.Linear(12, 11)


@pytest.mark.parametrize("name", ["head", "fc"])
def test_the_classifier_is_the_last_layer_of_its_shape(name):
    assert classifier_path(Nested(name), MODEL) == f"{name}.1"
    network = Nested(name)
    network.fc = nn.Linear(12, 10)
    assert classifier_path(network, MODEL) == "fc"


def test_a_network_without_a_classifier_is_no_trunk():
    with pytest.raises(InputError, match=r"must end with nn\.Linear\(12, 10\)"):
        classifier_path(nn.Sequential(nn.Linear(12, 11)), MODEL)


@pytest.mark.parametrize("option", [{"shard": True}, {"checkpoint_after": "block"}])
def test_what_takes_a_network_apart_refuses_one_without_stages(option):
    recipe = QUICK.model_copy(update=option)
    (name,) = option
    with pytest.raises(InputError, match=f"^{name} needs a network with .* inverted-residual"):
        SwavNetwork(MODEL, recipe, device="meta")


def test_a_detector_refuses_a_network_without_stages():
    with pytest.raises(InputError, match=r"^a detector needs a network with"):
        PyramidTrunk(MODEL, None, 8)


def test_memory_is_that_of_the_built_network():
    memory = plan_pretraining(MODEL, QUICK, images=1000).memory
    assert memory.activations == memory.activations_checkpointed > 0


def test_fine_tuning_trains_the_classifier_at_its_own_rate():
    weights = trunk_of(MODEL).state_dict()
    batch = (torch.randn(4, 3, 8, 8), torch.arange(4))
    batches = SimpleNamespace(steps_per_epoch=1, epoch=lambda seed, epoch: [batch])
    schedule = FinetuneSchedule(1, 4, 0.0, 0.1, 0.0, milestones=(0.5,))
    network = train_network(MODEL, weights, batches, schedule, 0, torch.device("cpu"))
    assert all(torch.equal(p, weights[k]) for k, p in network.named_parameters() if k in weights)
    torch.manual_seed(0)
    assert not torch.equal(network.get_parameter("5.weight"), build(MODEL).state_dict()["5.weight"])


def test_it_is_pretrained_and_evaluated(cli, tmp_path):
    write_model(MODEL, tmp_path / "model.yaml")
    run, cache = tmp_path / "run", tmp_path / "cache"
    done = cli(
        "pretrain", tmp_path / "model.yaml", "--data", "digits", "--epochs", 1, "--out", run,
        "--cache", cache, "--threads", 1, "--plugin", Path(inverted_residual.__file__),
    )  # fmt: skip
    assert done.code == 0, done.err
    options = {"threads": 1, "cache": cache}
    result = evaluate_trunk(
        run, "knn", seeds=2, supervised=False, supervised_pretraining=True, **options
    )
    assert [score.what for score in result.scores][1] == "supervised pretraining"
    assert result.scores[0].mean > 20  # ten classes
    features = evaluate_trunk(run, "features", **options).features
    assert features.width == MODEL.output_width


def test_weights_of_a_trunk_are_read_and_exported(tmp_path):
    torch.save(trunk_of(MODEL).state_dict(), tmp_path / "trunk.pt")
    weights = read_weights(tmp_path / "trunk.pt", MODEL)
    assert not weights.classifier
    done = export_model(MODEL, ["torchscript"], tmp_path / "x", weights=tmp_path / "trunk.pt")
    assert not done.refused
    network = torch.jit.load(tmp_path / "x" / "torchscript" / f"{MODEL.name}.pt")
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, MODEL.output_width)
    torch.save(build(MODEL).state_dict(), tmp_path / "whole.pt")
    assert read_weights(tmp_path / "whole.pt", MODEL).classifier
    assert not read_weights(tmp_path / "whole.pt", MODEL, trunk_only=True).classifier
