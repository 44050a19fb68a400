"""The precision of training: its default is measured, and hardware that lacks it is refused."""

import os
import threading
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from itertools import cycle
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

import designspace as ds
from designspace.arch import Model
from designspace.errors import InputError
from designspace.networks import build
from designspace.runs import Recipe, load_recipe
from designspace.training import device_setup, devices
from designspace.training.train_runs import train_runs

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
RECIPE = Recipe("tiny", epochs=1, batch_size=8, lr=0.1)


def cosine_with_float64(model: Model, zero_init: bool, autocast: torch.dtype | None) -> float:
    """Cosine of a new network's gradient in a precision with the one in float64."""
    gradients = []
    for dtype in (torch.float64, torch.float32):
        torch.manual_seed(0)
        network = build(model, zero_init).to(dtype)
        generator = torch.Generator().manual_seed(1)
        coarse = torch.randn(32, 3, 8, 8, generator=generator)
        images = functional.interpolate(coarse, size=32, mode="bilinear").to(dtype)
        labels = torch.randint(0, 10, (32,), generator=generator)
        enabled = autocast is not None and dtype is torch.float32
        with torch.autocast("cpu", dtype=autocast, enabled=enabled):
            loss = functional.cross_entropy(network(images), labels)
        loss.backward()
        gradients.append(torch.cat([p.grad.double().flatten() for p in network.parameters()]))
    return functional.cosine_similarity(*gradients, dim=0).item()


def test_first_gradients_in_bf16_need_zero_init_residual():
    """So TF32 is the default on CUDA (32 images, AnyNetXA at 32)."""
    model = ds.sample("AnyNetXA@32", n=1, flops="5M:15M", seed=0)[0]
    assert cosine_with_float64(model, False, None) > 0.98
    assert cosine_with_float64(model, False, torch.bfloat16) < 0.8
    assert cosine_with_float64(model, True, torch.bfloat16) > 0.995


@pytest.mark.parametrize(
    ("capability", "precision", "zero_init", "chosen"),
    [
        ((9, 0), None, True, "tf32"),
        ((9, 0), None, False, "tf32"),
        ((7, 5), None, True, "fp16"),
        ((7, 5), None, False, "fp32"),
        ((9, 0), "fp32", True, "fp32"),
        ((7, 5), "fp16", False, "fp16"),
    ],
)
def test_precision_on_cuda(monkeypatch, capability, precision, zero_init, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    recipe = replace(RECIPE, precision=precision, zero_init_residual=zero_init)
    assert device_setup.choose_precision(CUDA, recipe) == chosen
    assert device_setup.choose_precision(CPU, replace(recipe, precision=None)) == "fp32"


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_that_the_hardware_lacks(monkeypatch, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(InputError, match=f"precision is '{precision}', which Tesla T4 lacks"):
        device_setup.check_precision(CUDA, precision)
    with pytest.raises(InputError, match=f"precision is '{precision}'; cpu computes in fp32"):
        device_setup.check_precision(CPU, precision)


@pytest.mark.parametrize(
    ("precision", "autocast", "tf32"),
    [("fp32", None, False), ("tf32", None, True), ("bf16", torch.bfloat16, True)],
)
def test_preparation_of_a_process(monkeypatch, precision, autocast, tf32):
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        for exact in (False, True):
            assert device_setup.prepare(CUDA, exact, precision=precision) is autocast
            assert torch.backends.cuda.matmul.allow_tf32 == tf32
            assert torch.backends.cudnn.allow_tf32 == tf32
            assert torch.backends.cudnn.benchmark != exact
            assert torch.are_deterministic_algorithms_enabled() == exact
            assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if exact else None)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cuda.matmul.allow_tf32 = False
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_runs_that_share_processes_need_the_same_settings(
    make_run, request_of, recipe, observer, monkeypatch
):
    exact = replace(recipe, precision="fp32")
    pairs = [(make_run("a"), request_of()), (make_run("b"), request_of(recipe=exact))]
    monkeypatch.setattr(devices, "resolve_devices", lambda device: ("cuda:0",))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.raises(InputError, match="some that train in fp32 or exactly"):
        train_runs(pairs, observer)


def test_unavailable_precision_is_refused_before_training(
    make_run, train_one, request_of, recipe, observer
):
    folder = make_run()
    with pytest.raises(InputError, match="precision is 'bf16'; cpu computes in fp32"):
        train_one(folder, request_of(recipe=replace(recipe, precision="bf16")), observer)
    assert not folder.recipe_file.exists()


def test_an_unset_precision_is_not_written():
    recipe = load_recipe("quick")
    assert "precision" not in recipe.to_dict()
    assert recipe.override(precision="fp32").to_dict()["precision"] == "fp32"
    assert recipe.differences(recipe.override(precision="fp32")) == ["precision: None, fp32"]
    assert recipe.override(precision="fp32").differences(recipe) == ["precision: fp32, None"]
    with pytest.raises(InputError, match="precision"):
        recipe.override(precision="fp8")


def test_models_of_a_process_have_different_streams(monkeypatch):
    """torch hands out its 32 streams in turns, whether they are in use or not."""
    numbers = cycle(range(32))

    def stream(device):
        return SimpleNamespace(cuda_stream=next(numbers))

    monkeypatch.setattr(torch.cuda, "Stream", stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    gpu, used = torch.device("cuda:0"), device_setup._STREAMS_IN_USE
    with device_setup.own_stream(gpu):
        for _ in range(31):  # models that end before the first
            with device_setup.own_stream(gpu):
                pass
        with ExitStack() as stack:
            for _ in range(31):
                stack.enter_context(device_setup.own_stream(gpu))
            assert len(used) == 32
            one_more = device_setup.own_stream(gpu)
            late = threading.Thread(target=one_more.__enter__)
            late.start()
            late.join(0.05)
            assert late.is_alive()  # as none is free
        late.join(10)
        assert len(used) == 2
    one_more.__exit__(None, None, None)
    assert not used
