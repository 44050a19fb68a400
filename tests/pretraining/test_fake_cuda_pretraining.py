"""An iteration of SwAV on fake CUDA tensors: types, copies from the host, and waits for it."""

import pytest
import torch
from fake_cuda import CUDA, DeviceCounter, fake_cuda, hand_out_gradients
from small import SMALL

from designspace.pretraining import crop_loader, multicrop
from designspace.pretraining.crop_loader import CropLoader, make_ahead
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.features import extract_features
from designspace.pretraining.recipe import load_recipe, parse_recipe
from designspace.pretraining.swav_network import trunk_of
from designspace.pretraining.swav_trainer import SwavTrainer

GROUP = ProcessGroupInfo(CUDA)


def recipe(**changes):
    plain = load_recipe("swav-small-batch").to_dict()
    crops = [
        {"count": 2, "size": 32, "scale": [0.14, 1.0]},
        {"count": 4, "size": 16, "scale": [0.05, 0.14]},
    ]
    queue = {"length": 128, "from_epoch": 0}
    settings = {"crops": crops, "batch_size": 64, "queue": queue, "prototypes": 300}
    return parse_recipe({**plain, **settings, "freeze_prototypes": 0, **changes}, "test")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("changes", [{}, {"larc": False}, {"checkpoint_after": "block"}])
def test_a_step_neither_copies_nor_waits(monkeypatch, changes, dtype):
    # Fake tensors lack it.
    monkeypatch.setattr(torch, "_fused_sgd_", lambda *args, **kwargs: None)
    with fake_cuda(monkeypatch):
        trainer = SwavTrainer(SMALL, recipe(**changes), 10, 0, GROUP, dtype)
        assert trainer._scaler.is_enabled() == (dtype is torch.float16)
        hand_out_gradients(monkeypatch, trainer.network)
        trainer.network.train()
        crops = [
            torch.zeros(n * 64, 3, side, side, device=CUDA).to(memory_format=torch.channels_last)
            for n, side in ((2, 32), (4, 16))
        ]
        for _ in range(3):  # now the queue is full
            trainer.step(crops)
        with DeviceCounter() as counter:
            loss, _ = trainer.step(crops)
        assert trainer._queue.full
        assert loss.dtype == torch.float32
        with trainer._precision():
            embeddings, scores = trainer._forward(crops)
        assert (embeddings.dtype, scores.dtype) == (torch.float32, torch.float32)
    assert counter.waits == {}
    assert counter.blocking == {}
    assert counter.copies == {}
    # BatchNorm's counters are no launches.
    assert counter.launches["add_"] < 20


def test_the_optimizer_takes_as_many_launches_for_any_network(monkeypatch):
    counts = []
    for width in (1, 2):
        with fake_cuda(monkeypatch):
            trainer = SwavTrainer(SMALL, recipe(), 10, 0, GROUP, torch.bfloat16)
            network = torch.nn.ModuleList([trainer.network] * width)
            extra = [torch.nn.Parameter(torch.empty(8, device=CUDA)) for _ in range(30 * width)]
            trainer._optimizer.param_groups[0]["params"] += extra
            for p in [*network.parameters(), *extra]:
                p.grad = torch.empty_like(p)
            trainer._optimizer.step()
            with DeviceCounter() as counter:
                trainer._optimizer.step()
        counts.append(sum(counter.launches.values()))
        assert (counter.waits, counter.blocking) == ({}, {})
    assert counts[0] == counts[1] < 60


def test_crops_reach_the_device_in_two_copies_that_do_not_wait(monkeypatch):
    """All random numbers are one, the images (or their rows) the other."""
    chosen, copies = recipe(), []

    def copy_packed(tensors, device):
        assert all(tensor.device.type == "cpu" for tensor in tensors)
        copies.append(len(tensors))
        return [torch.empty(t.shape, dtype=t.dtype, device=device) for t in tensors]

    for module in (multicrop, crop_loader):
        monkeypatch.setattr(module, "copy_packed", copy_packed)
    draws = multicrop.draw_crops(chosen, 48, 64, 0, 0)
    monkeypatch.setattr(crop_loader, "draw_crops", lambda *args: draws)
    # Their numbers depend on values, which fake tensors have not.
    ops = [multicrop.color_ops(draw.colors, chosen.augment, draw.size) for draw in draws]
    with fake_cuda(monkeypatch):
        for where in (CUDA, torch.device("cpu")):
            loader = CropLoader.__new__(CropLoader)
            loader._recipe, loader._seed, loader._device = chosen, 0, CUDA
            loader._images = torch.zeros(200, 48, 48, 3, dtype=torch.uint8, device=where)
            loader._maker = multicrop.CropMaker(chosen, (1.0,) * 3, (1.0,) * 3, CUDA)
            loader._slice = slice(0, 64)
            copies.clear()
            ready = iter(ops)
            monkeypatch.setattr(multicrop, "color_ops", lambda *args, ready=ready: next(ready))
            with DeviceCounter() as counter:
                crops = loader._make(torch.arange(64), 0)
            assert len(copies) == 2
            assert (counter.waits, counter.blocking) == ({}, {})
            assert [tuple(c.shape) for c in crops] == [(128, 3, 32, 32), (256, 3, 16, 16)]
            assert all(c.is_contiguous(memory_format=torch.channels_last) for c in crops)


def test_features_are_extracted_in_the_type_of_autocast(monkeypatch):
    with fake_cuda(monkeypatch):
        trunk = trunk_of(SMALL).to(device=CUDA)
        seen = []
        trunk.stem[0].register_forward_hook(lambda module, args, out: seen.append(out.dtype))
        records = torch.zeros(10, 16, 16, 3, dtype=torch.uint8, device=CUDA)
        for autocast in (torch.bfloat16, None):
            features = extract_features(trunk, records, 16, (1.0,) * 3, (1.0,) * 3, CUDA, autocast)
            assert features.dtype == torch.float32
    assert seen == [torch.bfloat16, torch.float32]


class Stream:
    """An imitated stream, which remembers what it waits for."""

    def __init__(self, device=None):
        self.waited = []

    def wait_event(self, event):
        self.waited.append(event)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class Event:
    def record(self, stream):
        self.stream = stream


class Crops:
    def __init__(self, step):
        self.step, self.users = step, []

    def record_stream(self, stream):
        self.users.append(stream)


def test_crops_are_made_a_step_ahead_on_a_stream_of_their_own(monkeypatch):
    main, made = Stream(), []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)

    def make(step):
        made.append(step)
        return [Crops(step)]

    for step, (crops,) in zip(range(3, 7), make_ahead(make, range(3, 7), CUDA), strict=True):
        assert crops.step == step
        assert crops.users == [main]
        assert len(main.waited) == step - 2
        assert main.waited[-1].stream is not main
        assert set(made) <= set(range(3, step + 2))
    assert made == [3, 4, 5, 6]
    assert list(make_ahead(make, range(0), CUDA)) == []


def test_an_error_in_the_thread_is_raised_by_the_step_that_needs_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    with pytest.raises(ZeroDivisionError):
        next(make_ahead(lambda step: 1 // step, range(1), CUDA))
