"""Two gloo processes against one with the whole batch: whole networks (DDP) and parts (FSDP2)."""

import copy
import io
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import yaml
from torch import distributed as dist
from torch import multiprocessing as mp
from torch import nn
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, MetadataIndex

from designspace.arch import Body, Model, Skeleton
from designspace.arch.model_file import write_model
from designspace.pretraining import distributed_checkpoint as snapshot
from designspace.pretraining.distributed import ProcessGroupInfo, process_group, sync_batchnorm
from designspace.pretraining.dtensor import full_tensor
from designspace.pretraining.multicrop import CropMaker, draw_crops
from designspace.pretraining.pretrain import pretrain
from designspace.pretraining.pretrain_run import DataStamp, PretrainRun
from designspace.pretraining.recipe import load_recipe, parse_recipe
from designspace.pretraining.sinkhorn import codes
from designspace.pretraining.swav_trainer import SwavTrainer

SMALL = Model(
    "small",
    Body((1, 2), (8, 16), (1.0, 1.0), (8, 8), 0.25),
    Skeleton(resolution=16, classes=10, stem_width=8, stem_stride=1, strides=(2, 2)),
)
CPU = torch.device("cpu")
# Torch's threads forbid to fork a process that has trained; a server that has imported all may.
START = "forkserver"
mp.set_forkserver_preload(["designspace.pretraining.pretrain", "sklearn.datasets"])
SHARDED = {"shard": True, "checkpoint_after": [[], [2]]}
DATA = DataStamp(source="x", images=32, content="x", mean=[120.0] * 3, std=[60.0] * 3, seed=0)


def recipe(**changes):
    data = load_recipe("quick").to_dict()
    settings = {"batch_size": 16, "queue": {"length": 32}, "freeze_prototypes": 0}
    settings |= {"warmup_iterations": 0, "warmup_epochs": 0.0, "lr": 0.05}
    return parse_recipe({**data, **settings, **changes}, "test")


def scores():
    return torch.rand(16, 10, generator=torch.Generator().manual_seed(3)) * 2 - 1


def as_whole(state):
    """The state with every tensor whole."""
    if isinstance(state, dict):
        return {key: as_whole(value) for key, value in state.items()}
    return full_tensor(state).clone() if isinstance(state, torch.Tensor) else state


def train(group, steps, state=None, reduced=None, folder=None, **changes):
    """Train from fixed images; saving in a folder after each step, and going on there.

    Returns losses, the first step's gradients and momentum, the state, and what was seen.
    """
    chosen = recipe(**changes)
    g = torch.Generator().manual_seed(0)
    records = torch.randint(0, 256, (8, 16, 16, 16, 3), dtype=torch.uint8, generator=g)
    training = SwavTrainer(SMALL, chosen, 2, 0, group, reduced)
    if folder is not None:
        state, notes = folder.load(CPU, training.state(), group)
        assert notes == []
    if state is not None:
        training.restore(state)
    maker = CropMaker(chosen, (120.0,) * 3, (60.0,) * 3)
    share, losses, gradients = group.batch_slice(16), [], {}
    step = training._optimizer.step

    def keep():
        if not gradients:
            named = training.network.named_parameters()
            gradients.update((name, full_tensor(p.grad).clone()) for name, p in named)
        step()

    training._optimizer.step = keep
    moved = None
    for i in range(training.iteration, steps):
        drawn = [one.take(share) for one in draw_crops(chosen, 16, 16, 0, i)]
        losses.append(training.step(maker(records[i][share], drawn))[0].item())
        moved = moved or as_whole(training.state()["momentum"])
        if folder is not None:
            folder.save(training.state(), group)
    end = as_whole(training.state())
    return {
        "losses": losses,
        "gradients": gradients,
        "moved": moved,
        "state": end,
        "seen": training.metrics.summary(),
    }


def run_folder(path):
    folder = PretrainRun(path)
    folder.begin(SMALL, recipe(), DATA)
    return folder


def meet(rank, folder, size):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size))
    torch.set_num_threads(1)
    name = f"file://{folder}/meet{size}"
    dist.init_process_group("gloo", init_method=name, rank=rank, world_size=size)
    return ProcessGroupInfo(CPU, rank, size, dist.group.WORLD)


def work(rank, folder, half_way):
    group = meet(rank, folder, 2)
    half_way = copy.deepcopy(half_way)  # spawn shares its memory
    own = codes(scores()[group.batch_slice(16)], 0.05, 3, group.handle)
    made = {"codes": torch.cat(group.gather(own))}
    for name, changes in (("ddp", {}), ("fsdp", SHARDED)):
        made[name] = train(group, 5, **changes)
        made[f"{name} went on"] = train(group, 5, half_way, **changes)
        if rank == 0:
            run_folder(folder / name)
        group.barrier()
        there = PretrainRun(folder / name)
        train(group, 3, folder=there, **changes)
        if rank == 0:
            shutil.copytree(there.path, f"{folder}/{name} half way")
        group.barrier()
        made[f"{name} again"] = train(group, 5, folder=there, **changes)
    made["reduced"] = train(group, 3, reduced=torch.bfloat16, **SHARDED)
    if rank == 0:
        torch.save(made, f"{folder}/two.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    torch.set_num_threads(1)
    alone = ProcessGroupInfo(CPU)
    half_way = train(alone, 3)["state"]
    one = train(alone, 5)
    mp.start_processes(work, args=(folder, half_way), nprocs=2, start_method=START)
    return one, torch.load(folder / "two.pt", weights_only=True), folder


def test_codes_of_two_processes_are_those_of_one(both):
    assert torch.allclose(both[1]["codes"], codes(scores(), 0.05, 3), atol=1e-6)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_losses_and_gradients_of_two_processes_are_those_of_one(both, kind):
    one, two = both[0], both[1][kind]
    assert two["losses"][0] == pytest.approx(one["losses"][0], abs=2e-6)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)  # rounding grows
    assert set(two["gradients"]) == set(one["gradients"])
    for name, gradient in one["gradients"].items():
        assert torch.allclose(two["gradients"][name], gradient, atol=1e-5), name
        # LARC's step: by the norms of the whole tensors.
        step = one["moved"][name]
        assert (two["moved"][name] - step).norm() <= 1e-3 * step.norm() + 1e-9, name
    # The queue is in one order whoever holds it, and running statistics are shared.
    a, b = two["state"], one["state"]
    assert torch.allclose(a["queue"]["rows"], b["queue"]["rows"], atol=1e-3)
    assert a["queue"]["filled"] == b["queue"]["filled"] == 32
    assert set(a["network"]) == set(b["network"])
    for key, tensor in b["network"].items():
        assert torch.allclose(a["network"][key], tensor, atol=5e-3), key
    assert two["seen"]["loss"] == pytest.approx(one["seen"]["loss"], abs=1e-4)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_go_on_where_one_was(both, kind):
    one, two = both[0], both[1][f"{kind} went on"]
    assert two["losses"] == pytest.approx(one["losses"][3:], abs=1e-4)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_go_on_from_their_checkpoint_bit_for_bit(both, kind):
    whole_run, again = both[1][kind], both[1][f"{kind} again"]
    assert again["losses"] == whole_run["losses"][3:]
    for part in ("network", "momentum"):
        for key, tensor in whole_run["state"][part].items():
            assert torch.equal(again["state"][part][key], tensor), key
    assert torch.equal(again["state"]["queue"]["rows"], whole_run["state"]["queue"]["rows"])


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_one_process_resumes_a_run_of_two(both, kind, tmp_path):
    one, _, made = both
    shutil.copytree(made / f"{kind} half way", tmp_path / "run")
    folder = PretrainRun(tmp_path / "run")
    state, notes = folder.load(CPU)
    assert (state["iteration"], notes) == (3, [])
    alone = train(ProcessGroupInfo(CPU), 5, folder=folder)
    assert alone["losses"] == pytest.approx(one["losses"][3:], abs=1e-4)
    # Two checkpoints of one process are there now, so those of two are gone.
    kept = sorted(p.name for p in folder.path.glob("checkpoint*"))
    assert kept == ["checkpoint.before.pt", "checkpoint.pt"]
    assert folder.load(CPU)[0]["iteration"] == 5


def test_bfloat16_trains_as_float32_to_its_precision(both):
    one, two = both[0], both[1]["reduced"]
    assert two["losses"] == pytest.approx(one["losses"][:3], abs=0.05)
    assert two["losses"] != pytest.approx(one["losses"][:3], abs=1e-6)
    # Parts, momentum and statistics stay in float32.
    kinds = {t.dtype for t in [*two["state"]["network"].values(), *two["moved"].values()]}
    assert kinds == {torch.float32, torch.int64}


@pytest.mark.parametrize("harm", ["truncated", "file missing", "not finished", "described wrongly"])
def test_a_torn_checkpoint_of_two_is_reported_and_the_one_before_is_used(both, harm, tmp_path):
    shutil.copytree(both[2] / "fsdp half way", tmp_path / "run")
    folder = PretrainRun(tmp_path / "run")
    there = folder.path / "checkpoint"
    part = there / "__1_0.distcp"
    if harm == "truncated":
        part.write_bytes(part.read_bytes()[:-100])
    elif harm == "file missing":
        part.unlink()
    elif harm == "not finished":
        (there / "about.json").unlink()
    else:
        size = (there / ".metadata").stat().st_size
        (there / ".metadata").write_bytes(b"x" * size)
    state, notes = folder.load(CPU)
    assert state["iteration"] == 2
    assert notes == [f"{there} is damaged or of another pretraining; the previous one is used"]


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_cannot_run_what_it_names(both, tmp_path):
    shutil.copytree(both[2] / "fsdp half way" / "checkpoint", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / ".metadata").write_bytes(pickle.dumps(_Runs(tmp_path / "harm")))
    assert snapshot.read(tmp_path / "checkpoint", None, ProcessGroupInfo(CPU), CPU) is None
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_of_other_objects_than_tensors_is_not_read(tmp_path):
    group, state = ProcessGroupInfo(CPU), {"network": {"w": torch.ones(3)}, "iteration": 1}
    folder = tmp_path / "checkpoint"
    snapshot.write(folder, "key", state, group)
    assert snapshot.read(folder, state, group, CPU)["network"]["w"].tolist() == [1, 1, 1]
    # Torch would unpickle this value where a state is resumed.
    torch.save(_Runs(tmp_path / "harm"), folder / "harm.distcp")
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.state_dict_metadata["network/w"] = BytesStorageMetadata()
    size = (folder / "harm.distcp").stat().st_size
    place = _StorageInfo("harm.distcp", 0, size)
    metadata.storage_data = {MetadataIndex("network/w"): place}
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    assert snapshot.read(folder, state, group, CPU) is None
    assert snapshot.read(folder, None, group, CPU) is None
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_of_another_version_of_python_is_read():
    """Python 3.13 names the module of paths in another way."""
    path = Path("/checkpoint")
    plain = pickle.dumps(path, protocol=2)
    newer = plain.replace(b"cpathlib\n", b"cpathlib._local\n")
    older = plain.replace(b"cpathlib._local\n", b"cpathlib\n")
    for data in (newer, older):
        assert snapshot._SafeUnpickler(io.BytesIO(data)).load() == path


def norms(rank, folder):
    group = meet(rank, folder, 4)
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))[group.batch_slice(8)]
    network = sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)), group, 2)
    made = torch.cat(group.gather(network(x).detach()))
    means = group.gather(network[0].running_mean)
    if rank == 0:
        torch.save([made, *means], folder / "four.pt")
    dist.destroy_process_group()


def test_batch_norm_shares_statistics_in_groups(tmp_path):
    mp.start_processes(norms, args=(tmp_path,), nprocs=4, start_method=START)
    made, *means = torch.load(tmp_path / "four.pt", weights_only=True)
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for first, ranks in ((0, (0, 1)), (4, (2, 3))):
        alone = nn.BatchNorm2d(3)
        assert torch.allclose(made[first : first + 4], alone(x[first : first + 4]), atol=1e-5)
        for rank in ranks:
            assert torch.allclose(means[rank], alone.running_mean, atol=1e-6)
    assert not torch.allclose(means[0], means[2], atol=1e-3)


def run(out, options, environment=None):
    os.environ.update(environment or {})
    pretrain(SMALL, data="digits", out=out, **options)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def started(out, options):
    """Start two processes with the environment that torchrun gives them."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = [
        mp.get_context(START).Process(
            target=run, args=(out, options, {**shared, "RANK": str(r), "LOCAL_RANK": str(r)})
        )
        for r in range(2)
    ]
    for process in processes:
        process.start()
    return processes


def wait_for_a_slow_first(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    # torch's time-out is half an hour; decoding ImageNet takes longer.
    dist.distributed_c10d.default_pg_timeout = timedelta(seconds=3)
    with process_group("cpu") as group:
        if group.first:
            time.sleep(6)
        group.wait_for_first()


@pytest.mark.slow
def test_processes_wait_for_the_first_however_long_it_decodes():
    mp.start_processes(wait_for_a_slow_first, args=(free_port(),), nprocs=2, start_method=START)


@pytest.mark.slow
def test_torchrun_and_kill(tmp_path):
    """torchrun trains as one process does; kill -9 changes nothing, nor does going on alone."""
    write_model(SMALL, tmp_path / "model.yaml")
    # Few large batches: on busy cores two processes that wait for each other are slow.
    few = {"batch_size": 512, "queue": {"length": 512}, "epochs": 2}
    chosen = load_recipe("quick").to_dict() | few | SHARDED
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(chosen))
    words = [
        "pretrain", str(tmp_path / "model.yaml"), "--data", "digits", "--threads", "1",
        "--recipe", str(tmp_path / "recipe.yaml"), "--cache", str(tmp_path / "cache"),
    ]  # fmt: skip
    options = {
        "recipe": parse_recipe(chosen, "test"),
        "threads": 1,
        "cache": tmp_path / "cache",
    }
    run(tmp_path / "one", options)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command = [*torchrun, "--standalone", "-m", "designspace", *words]
    done = subprocess.run([*command, "--out", tmp_path / "two"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trunk in") == 1
    killed = PretrainRun(tmp_path / "killed")
    processes = started(killed.path, options)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and all(p.is_alive() for p in processes):
        if (killed.path / "checkpoint").is_dir():
            break
        time.sleep(0.01)
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    shutil.copytree(killed.path, tmp_path / "alone")
    for process in (again := started(killed.path, options)):
        process.join()
    assert [p.exitcode for p in again] == [0, 0]
    run(tmp_path / "alone", options)
    a, b, c, d = (
        [s["loss"] for s in PretrainRun(tmp_path / name).steps()]
        for name in ("one", "two", "killed", "alone")
    )
    assert len(a) == len(b) == len(d) == 4
    assert c == b
    # Rounding grows from step to step.
    assert b[0] == pytest.approx(a[0], abs=1e-5)
    assert b[:2] == pytest.approx(a[:2], abs=1e-3)
    assert d[:3] == pytest.approx(b[:3], abs=1e-3)
    for other in (b, d):
        assert other == pytest.approx(a, abs=5e-2)
    own = torch.load(tmp_path / "two" / "trunk.pt", weights_only=True)["state_dict"]
    for key, tensor in torch.load(killed.trunk_file, weights_only=True)["state_dict"].items():
        assert torch.equal(tensor, own[key]), key
