"""Accumulation on two gloo processes: gradients of the parts' mean, exchanged once per step."""

import os

import pytest
import torch
from small import SMALL
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.dtensor import full_tensor
from designspace.pretraining.multicrop import CropMaker, draw_crops
from designspace.pretraining.recipe import load_recipe, parse_recipe
from designspace.pretraining.swav_trainer import SwavTrainer

CPU = torch.device("cpu")
START = "forkserver"
mp.set_forkserver_preload(["designspace.pretraining.pretrain"])
# Part k of two processes holds these images of 16; one process takes its parts in order.
IN_ORDER = [*range(4), *range(8, 12), *range(4, 8), *range(12, 16)]


class Traffic(TorchDispatchMode):
    """Counts the gradients that FSDP scatters."""

    scattered = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.scattered += "reduce_scatter" in str(op)
        return op(*args, **(kwargs or {}))


def first_step(group, rows, parts, shard=False):
    """Loss and gradients of a step on 16 images, and how often gradients were exchanged."""
    settings = {"batch_size": 16, "freeze_prototypes": 0, "accumulate": parts, "shard": shard}
    recipe = parse_recipe(load_recipe("quick").to_dict() | settings, "test")
    trainer = SwavTrainer(SMALL, recipe, 10, 0, group)
    g = torch.Generator().manual_seed(0)
    records = torch.randint(0, 256, (16, 16, 16, 3), dtype=torch.uint8, generator=g)
    rows = torch.tensor(rows)[group.batch_slice(16)]
    draws = [one.take(rows) for one in draw_crops(recipe, 16, 16, 0, 0)]
    crops = CropMaker(recipe, (120.0,) * 3, (60.0,) * 3)(records[rows], draws)
    gradients, calls = {}, []
    if isinstance(trainer._forward, DistributedDataParallel):

        def counted(state, bucket):
            calls.append(bucket.index())
            return allreduce_hook(None, bucket)

        trainer._forward.register_comm_hook(None, counted)

    def keep():
        named = trainer.network.named_parameters()
        gradients.update((name, full_tensor(p.grad).clone()) for name, p in named)

    trainer._optimizer.step = keep
    with Traffic() as traffic:
        loss = trainer.step(crops)[0].item()
    return {"loss": loss, "gradients": gradients, "exchanges": traffic.scattered + len(calls)}


def work(rank, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    torch.set_num_threads(1)
    name = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=name, rank=rank, world_size=2)
    group = ProcessGroupInfo(CPU, rank, 2, dist.group.WORLD)
    made = {
        f"{kind} {parts}": first_step(group, range(16), parts, shard)
        for kind, shard in (("ddp", False), ("fsdp", True))
        for parts in (1, 2, 4)
    }
    if rank == 0:
        torch.save(made, folder / "made.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("accumulate")
    mp.start_processes(work, args=(folder,), nprocs=2, start_method=START)
    return torch.load(folder / "made.pt", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_gradients_of_two_processes_are_those_of_one_with_the_same_parts(made, kind):
    one, two = first_step(ProcessGroupInfo(CPU), IN_ORDER, 2), made[f"{kind} 2"]
    assert two["loss"] == pytest.approx(one["loss"], abs=2e-6)
    assert set(two["gradients"]) == set(one["gradients"])
    for name, gradient in one["gradients"].items():
        assert torch.allclose(two["gradients"][name], gradient, atol=1e-5), name
    # Parts have codes and statistics of their own, so this is not the step without parts.
    whole = made[f"{kind} 1"]["gradients"]["head.0.weight"]
    assert not torch.allclose(two["gradients"]["head.0.weight"], whole, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_gradients_are_exchanged_once_per_step(made, kind):
    once = made[f"{kind} 1"]["exchanges"]
    assert once == {"ddp": 1, "fsdp": 5}[kind]  # FSDP: stem, two blocks, head, prototypes
    # FSDP scatters what earlier parts left in blocks as soon as the first crop size is through.
    again = {"ddp": 0, "fsdp": 2}[kind]
    assert made[f"{kind} 2"]["exchanges"] == made[f"{kind} 4"]["exchanges"] == once + again
