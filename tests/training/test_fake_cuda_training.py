"""A step of `train` on fake CUDA tensors: nothing waits for the device, and nothing is copied."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from fake_cuda import CUDA, DeviceCounter, fake_cuda, hand_out_gradients
from small import SMALL

from designspace.data import batches as module
from designspace.data.augmentation import Normalizer
from designspace.data.batches import Arrays, Batches
from designspace.data.decode import geometries
from designspace.runs import load_recipe
from designspace.training import device_setup, static_step
from designspace.training.ema import WeightAverage
from designspace.training.static_step import StaticEpoch
from designspace.training.trainer import Trainer

N, VAL = 1024, 700


def make_batches(recipe, where):
    """Batches of 64 of fake images that lie on the device, or elsewhere."""
    train, val = geometries(recipe)
    batches = Batches.__new__(Batches)
    batches._recipe, batches._device, batches._side = recipe, CUDA, 16
    batches._geometry, batches._batch, batches._chunked, batches._window = train, 64, False, 128
    batches._rows = None
    batches._arrays = Arrays(
        torch.zeros(N, train.side, train.side, 3, dtype=torch.uint8, device=where),
        torch.zeros(N, dtype=torch.int64, device=CUDA),
        torch.zeros(VAL, val.side, val.side, 3, dtype=torch.uint8, device=where),
        torch.zeros(VAL, dtype=torch.int64, device=CUDA),
    )
    batches._normalize = Normalizer((1.0,) * 3, (2.0,) * 3, 16, CUDA)
    return batches


@pytest.fixture
def cuda(monkeypatch):
    """Fake CUDA; the fused optimizer and the reading thread, which it lacks, are stand-ins."""

    class Inline:
        def __init__(self, *args):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def submit(self, function, *args):
            result = function(*args)
            return type("Done", (), {"result": lambda self: result})()

    def fused(params, gradients, momenta, *args, **kwargs):
        assert all(t.device == CUDA for t in (*params, *gradients, *momenta) if t is not None)

    monkeypatch.setattr(torch, "_fused_sgd_", fused)
    monkeypatch.setattr(module, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: None)
    return lambda: fake_cuda(monkeypatch)


def make_recipe(augmentation, ema):
    recipe = replace(load_recipe("cifar"), augmentation=augmentation, ema_decay=ema, batch_size=64)
    return recipe.at(16)


@pytest.mark.parametrize("where", [CUDA, torch.device("cpu")], ids=["resident", "streamed"])
@pytest.mark.parametrize("ema", [0.0, 0.99])
@pytest.mark.parametrize("augmentation", ["none", "crop-flip", "resized-crop-flip"])
def test_a_step_neither_copies_nor_waits(cuda, monkeypatch, augmentation, ema, where):
    with cuda():
        recipe = make_recipe(augmentation, ema)
        autocast = device_setup.prepare(CUDA, precision=device_setup.choose_precision(CUDA, recipe))
        trainer = Trainer(SMALL, recipe, 0, CUDA, autocast)
        hand_out_gradients(monkeypatch, trainer.network)
        trainer.network.train()
        steps = make_batches(recipe, where).epoch(1, 0)
        with DeviceCounter() as group:
            images, labels = next(steps)
        assert (group.waits, group.blocking) == ({}, {})
        assert (images.device, labels.device) == (CUDA, CUDA)
        assert images.is_contiguous(memory_format=torch.channels_last)
        trainer._step(images, labels, 0.1)
        with DeviceCounter() as counter:
            images, labels = next(steps)
            trainer._step(images, labels, 0.1)
        assert (counter.waits, counter.blocking, counter.copies) == ({}, {}, {})
        assert counter.launches["_foreach_lerp_"] == (1 if ema else 0)
        assert counter.launches["lerp_"] == 0


def test_a_weight_average_with_a_period_takes_few_launches(cuda):
    with cuda():
        network = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(9))).to(CUDA)
        average, share = WeightAverage(network, 0.9), torch.zeros((), device=CUDA)
        with DeviceCounter() as counter:
            average.update(network, share)
        assert sum(counter.launches.values()) == 3


@pytest.mark.parametrize("static", [True, False], ids=["static", "eager"])
def test_a_step_in_float16_does_not_wait_either(cuda, monkeypatch, static):
    """The scale of the loss and the skipped steps stay on the device."""
    monkeypatch.setattr(static_step, "wait", lambda tensor: None)
    with cuda():
        recipe = replace(make_recipe("crop-flip", 0.0), precision="fp16")
        autocast = device_setup.prepare(CUDA, precision="fp16")
        trainer = Trainer(SMALL, recipe, 0, CUDA, autocast)
        assert trainer._scaler.is_enabled()
        hand_out_gradients(monkeypatch, trainer.network)
        trainer.network.train()
        batches = make_batches(recipe, CUDA)
        if static:
            epoch = StaticEpoch(batches, CUDA, trainer._train_static)
            trainer._optimizer.param_groups[0]["lr"] = epoch.rate
            epoch.load(1, 0, [0.1] * batches.steps_per_epoch)
            step = epoch.step
        else:
            images, labels = next(batches.epoch(1, 0))
            step = partial(trainer._step, images, labels, 0.1)
        step()
        with DeviceCounter() as counter:
            step()
        assert (counter.waits, counter.blocking, counter.copies) == ({}, {}, {})
        assert counter.launches["_amp_update_scale_"] == 1


@pytest.mark.parametrize("augmentation", ["none", "crop-flip", "resized-crop-flip"])
def test_a_static_step_neither_copies_nor_waits(cuda, monkeypatch, augmentation):
    """So a CUDA graph can hold it; an epoch begins with copies that do not wait."""
    waits = []
    monkeypatch.setattr(static_step, "wait", waits.append)
    with cuda():
        recipe = make_recipe(augmentation, 0.99)
        trainer = Trainer(SMALL, recipe, 0, CUDA, None)
        hand_out_gradients(monkeypatch, trainer.network)
        trainer.network.train()
        batches = make_batches(recipe, CUDA)
        epoch = StaticEpoch(batches, CUDA, trainer._train_static)
        trainer._optimizer.param_groups[0]["lr"] = epoch.rate
        with DeviceCounter() as begin:
            epoch.load(1, 0, [0.1] * batches.steps_per_epoch)
        assert (begin.waits, begin.blocking) == ({}, {})
        epoch.step()
        with DeviceCounter() as counter:
            epoch.step()
        assert (counter.waits, counter.blocking, counter.copies) == ({}, {}, {})
    assert len(waits) == 1  # for the buffers of the epoch before


def test_all_of_a_trainers_state_is_on_the_device(cuda):
    with cuda():
        recipe = make_recipe("crop-flip", 0.99)
        trainer = Trainer(SMALL, recipe, 0, CUDA, torch.bfloat16)
        state = trainer.state()
        tensors = [t for t in torch.utils._pytree.tree_leaves(state) if isinstance(t, torch.Tensor)]
        assert {t.device for t in tensors} == {CUDA}
        trainer.restore(state)


def test_validation_batches_have_one_shape(cuda, monkeypatch):
    """Each shape costs a search for cuDNN's fastest algorithms, for each of 500 networks."""
    with cuda():
        batches = make_batches(make_recipe("crop-flip", 0.0), CUDA)
        with DeviceCounter() as counter:
            parts = list(batches.validation())
        assert len({images.shape for images, _ in parts}) == 1
        assert counter.waits == {}
        assert [len(labels) for _, labels in parts] == [350, 350]
    monkeypatch.setattr(module, "_VAL_BATCH_GPU", 300)
    with cuda():
        parts = list(make_batches(make_recipe("none", 0.0), torch.device("cpu")).validation())
    assert [len(labels) for _, labels in parts] == [234, 234, 234]
