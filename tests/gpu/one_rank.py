"""DDP, FSDP2 and their checkpoints in a process group of one: `one_rank.py cuda:0 FOLDER`.

Prints "equal" if training resumed from each checkpoint goes on with the same loss.
"""

import os
import sys
from pathlib import Path

import torch
from small import SMALL
from torch import distributed as dist

from designspace.pretraining import distributed_checkpoint
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.recipe import load_recipe, parse_recipe
from designspace.pretraining.swav_trainer import SwavTrainer

CROPS = [
    {"count": 2, "size": 16, "scale": [0.2, 1.0]},
    {"count": 2, "size": 8, "scale": [0.05, 0.2]},
]


def check(group, shard, dtype, checkpoint_after, folder):
    """Train, write and read the state, and compare the next loss of both trainers."""
    settings = {"batch_size": 32, "queue": {"length": 64, "from_epoch": 0}, "crops": CROPS}
    settings |= {"head": {"hidden": [32], "dim": 16}, "prototypes": 20, "freeze_prototypes": 0}
    settings |= {"shard": shard, "checkpoint_after": checkpoint_after}
    recipe = parse_recipe({**load_recipe("quick").to_dict(), **settings}, "test")
    first, second = (SwavTrainer(SMALL, recipe, 10, 0, group, dtype) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    crops = [
        torch.randn(64, 3, side, side, generator=generator)
        .to(group.device)
        .to(memory_format=torch.channels_last)
        for side in (16, 8)
    ]
    for trainer in (first, second):
        trainer.network.train()
    for _ in range(3):
        first.step(crops)
    distributed_checkpoint.write(folder, "key", first.state(), group)
    state = distributed_checkpoint.read(folder, first.state(), group, group.device)
    second.restore(state)
    losses = [trainer.step(crops)[0].item() for trainer in (first, second)]
    print(shard, dtype, checkpoint_after, losses, flush=True)
    return losses[0] == losses[1]


def main(device, folder):
    """Check replicas and shards, in float32 and 16 bits, with and without checkpointing."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29713", RANK="0", WORLD_SIZE="1")
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    torch.backends.cudnn.deterministic = True
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    group = ProcessGroupInfo(device, 0, 1, dist.group.WORLD)
    dtypes = {False: (None, torch.bfloat16, torch.float16), True: (None, torch.bfloat16)}
    if not on_gpu:
        dtypes[False] = (None,)
    equal = [
        check(group, shard, dtype, after, folder / f"{shard}-{dtype}-{after}")
        for shard, types in dtypes.items()
        for dtype in types
        for after in (None, "block")
    ]
    dist.destroy_process_group()
    print("equal" if all(equal) else "differs")


if __name__ == "__main__":
    main(torch.device(sys.argv[1]), Path(sys.argv[2]))
