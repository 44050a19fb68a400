"""Two gloo processes against one with the whole batch: codes, gradients, losses, going on."""

import copy
import os
import subprocess
import sys

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from designspace.arch import Arch, Frame, Model
from designspace.export.model_file import write_model
from designspace.pretrain.crops import CropMaker, draw_crops
from designspace.pretrain.folder import PretrainFolder
from designspace.pretrain.recipe import load_recipe, parse_recipe
from designspace.pretrain.sinkhorn import codes
from designspace.pretrain.training import Pretraining
from designspace.pretrain.world import World

SMALL = Model(
    "small",
    Arch((1, 1), (8, 16), (1.0, 1.0), (8, 8), 0.25),
    Frame(resolution=16, classes=10, stem_width=8, stem_stride=1, strides=(2, 2)),
)


def recipe(**changes):
    data = load_recipe("quick").to_dict()
    return parse_recipe({**data, "batch_size": 16, "queue": {"length": 32}, **changes}, "test")


def scores():
    return torch.rand(16, 10, generator=torch.Generator().manual_seed(3)) * 2 - 1


def train(world, steps, state=None):
    """Train from fixed images; return the losses, first gradients, and the state."""
    chosen = recipe(freeze_prototypes=0, warmup_iterations=0, lr=0.05)
    g = torch.Generator().manual_seed(0)
    records = torch.randint(0, 256, (steps, 16, 16, 16, 3), dtype=torch.uint8, generator=g)
    training = Pretraining(SMALL, chosen, 2, 0, world)
    if state is not None:
        training.restore(state)
    maker = CropMaker(chosen, (120.0,) * 3, (60.0,) * 3)
    share, losses, gradients = world.share(16), [], {}
    zero = training._optimizer.zero_grad

    def keep(set_to_none=True):
        if not gradients:
            gradients.update((n, p.grad.clone()) for n, p in training.network.named_parameters())
        zero(set_to_none)

    training._optimizer.zero_grad = keep
    for i in range(training.iteration, steps):
        drawn = [one.take(share) for one in draw_crops(chosen, 16, 16, 0, i)]
        losses.append(training.step(maker(records[i][share], drawn))[0].item())
    return losses, gradients, training.state(), training.watch.summary()


def work(rank, folder, half_way):
    os.environ.update(MASTER_ADDR="127.0.0.1", RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    world = World(torch.device("cpu"), rank, 2, dist.group.WORLD)
    own = codes(scores()[world.share(16)], 0.05, 3, world.group)
    whole = torch.cat(world.gather(own))
    made = train(world, 5)
    went_on = train(world, 5, copy.deepcopy(half_way))  # spawn shares its memory
    if rank == 0:
        torch.save({"codes": whole, "made": made, "went_on": went_on}, f"{folder}/two.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    torch.set_num_threads(1)
    alone = World(torch.device("cpu"))
    half_way = train(alone, 3)[2]
    one = train(alone, 5)
    mp.spawn(work, args=(str(folder), half_way), nprocs=2)
    return one, torch.load(folder / "two.pt", weights_only=True)


def test_codes_of_two_processes_are_those_of_one(both):
    assert torch.allclose(both[1]["codes"], codes(scores(), 0.05, 3), atol=1e-6)


def test_losses_and_gradients_of_two_processes_are_those_of_one(both):
    (losses, gradients, state, seen), two = both
    assert two["made"][0] == pytest.approx(losses, abs=2e-5)
    assert set(two["made"][1]) == set(gradients)
    for name, gradient in gradients.items():
        assert torch.allclose(two["made"][1][name], gradient, atol=1e-5), name
    # The queue is in one order whoever holds it, and running statistics are shared.
    assert torch.allclose(two["made"][2]["queue"]["rows"], state["queue"]["rows"], atol=1e-3)
    for key, tensor in state["network"].items():
        assert torch.allclose(two["made"][2]["network"][key], tensor, atol=1e-3), key
    assert two["made"][3]["loss"] == pytest.approx(seen["loss"], abs=2e-5)


def test_two_processes_go_on_where_one_was(both):
    (losses, _, _, _), two = both
    assert two["went_on"][0] == pytest.approx(losses[3:], abs=2e-5)


def test_torchrun_trains_as_one_process_does(tmp_path):
    write_model(SMALL, tmp_path / "model.yaml")
    words = [
        "pretrain", str(tmp_path / "model.yaml"), "--data", "digits", "--recipe", "quick",
        "--epochs", "1", "--cache", str(tmp_path / "cache"), "--threads", "1",
    ]  # fmt: skip
    one = [sys.executable, "-m", "designspace", *words, "--out", str(tmp_path / "one")]
    two = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
        "-m", "designspace", *words, "--out", str(tmp_path / "two"),
    ]  # fmt: skip
    for command in (one, two):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    a, b = (PretrainFolder(tmp_path / name).steps() for name in ("one", "two"))
    assert len(a) == len(b) == 11
    # Rounding grows from step to step.
    assert [s["loss"] for s in b[:3]] == pytest.approx([s["loss"] for s in a[:3]], abs=1e-4)
    assert [s["loss"] for s in b] == pytest.approx([s["loss"] for s in a], abs=5e-2)
    assert b[0]["loss"] == pytest.approx(a[0]["loss"], abs=1e-5)
