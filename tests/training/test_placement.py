"""Where trials and processes train on a machine with eight GPUs, which are pretended here."""

from types import SimpleNamespace

import pytest
import torch
from torch import distributed as dist

from designspace.errors import InputError
from designspace.pretraining.distributed import process_group
from designspace.training import dask_workers, devices
from designspace.training.dask_workers import local_cluster
from designspace.training.devices import physical_gpu, resolve_devices

GPUS = tuple(f"cuda:{i}" for i in range(8))


@pytest.fixture
def eight_gpus(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr("tempfile.tempdir", None)


def claim():
    """The claim of another process; file locks conflict within a process, too."""
    return devices._claim.__wrapped__(GPUS)


def test_workers_of_any_origin_spread_over_all_gpus(eight_gpus):
    assert resolve_devices("cuda") == resolve_devices("auto") == GPUS
    assert [claim() for _ in range(8)] == list(GPUS)
    assert claim() == "cuda:0"  # a second share


def test_a_worker_that_sees_its_own_gpu_first_claims_it(eight_gpus, monkeypatch):
    """dask-cuda rotates CUDA_VISIBLE_DEVICES for each of its workers."""
    for own in range(8):
        order = [str((own + i) % 8) for i in range(8)]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(order))
        assert claim() == "cuda:0"
        assert physical_gpu("cuda:0") == str(own)
    assert physical_gpu("cuda:7") == "6"


def test_visible_gpus_are_known_by_their_number_or_uuid(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-1b,")
    assert [physical_gpu(name) for name in GPUS[:3]] == ["3", "GPU-1b", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert physical_gpu("cuda:0") == "0"


@pytest.mark.parametrize("dask_cuda", [True, False])
@pytest.mark.parametrize(("jobs", "workers", "threads"), [(128, 8, 16), (8, 8, 1), (3, 3, 1)])
def test_dask_starts_a_process_for_each_gpu(monkeypatch, dask_cuda, jobs, workers, threads):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,6,5,4,3,2,1,0")
    started = []

    def cluster(**settings):
        started.append(settings)

    spec = object() if dask_cuda else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    modules = SimpleNamespace(LocalCUDACluster=cluster, LocalCluster=cluster)
    monkeypatch.setattr(dask_workers, "_import", lambda name: modules)
    local_cluster(jobs, GPUS)
    (settings,) = started
    assert settings["n_workers"] == workers
    assert settings["threads_per_worker"] == threads
    visible = ",".join("76543210"[:workers])
    assert settings.get("CUDA_VISIBLE_DEVICES") == (visible if dask_cuda else None)


def test_dask_starts_a_process_for_each_trial_on_the_cpu(monkeypatch):
    started = {}
    modules = SimpleNamespace(LocalCluster=lambda **settings: started.update(settings))
    monkeypatch.setattr(dask_workers, "_import", lambda name: modules)
    local_cluster(5)
    assert (started["n_workers"], started["threads_per_worker"]) == (5, 1)


@pytest.mark.parametrize("local_rank", [0, 5])
def test_torchrun_gives_a_process_the_gpu_of_its_local_rank(eight_gpus, monkeypatch, local_rank):
    """On the second of two machines."""
    calls = {}
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.update(current=device))
    monkeypatch.setattr(
        dist, "init_process_group", lambda *args, **kwargs: calls.update(kwargs, backend=args[0])
    )
    monkeypatch.setattr(dist, "new_group", lambda **kwargs: dist.ProcessGroup(0, 1))
    monkeypatch.setattr(dist, "get_rank", lambda: 8 + local_rank)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with process_group("auto") as group:
        assert group.device == torch.device(f"cuda:{local_rank}")
        assert (group.rank, group.size) == (8 + local_rank, 16)
    assert calls["current"] == calls["device_id"] == group.device
    assert calls["backend"] == "cpu:gloo,cuda:nccl"


def test_more_processes_than_gpus_are_refused(eight_gpus, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "9")
    monkeypatch.setenv("LOCAL_RANK", "8")
    refused = pytest.raises(InputError, match="9 processes or more on a machine with 8 GPUs")
    with refused, process_group("cuda"):
        pass
