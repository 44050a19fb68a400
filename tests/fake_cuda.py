"""CUDA without a GPU: torch's fake tensors on cuda:0, and a count of what would reach the device.

Fake tensors have a device, a type and a shape, but no values: operations that mix devices fail, and
so do those that need values and would make the host wait.
"""

import contextlib
import copy
from collections import Counter

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda:0")
# They return views, or allocate: no kernel is launched.
_NO_LAUNCH = frozenset(
    (
        "view",
        "device",
        "scalar_tensor",
        "_unsafe_view",
        "expand",
        "permute",
        "transpose",
        "t",
        "slice",
        "select",
        "unbind",
        "detach",
        "alias",
        "as_strided",
        "squeeze",
        "unsqueeze",
        "split",
        "narrow",
        "split_with_sizes",
        "_reshape_alias",
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "set_",
        "reshape",
        "lift_fresh",
        "diagonal",
        "chunk",
        "unfold",
    )
)
_WAITS = ("_local_scalar_dense", "item", "nonzero", "equal", "is_nonzero", "bincount", "unique2")


class DeviceCounter(TorchDispatchMode):
    """Counts launches, and copies and waits by the line of designspace that causes them.

    Attributes:
        launches: Kernels by operation.
        blocking: Copies to the device that wait, by line.
        copies: Copies to the device that do not.
        waits: Copies to the host and values that the host needs, by line.
    """

    def __init__(self):
        super().__init__()
        self.launches, self.blocking = Counter(), Counter()
        self.copies, self.waits = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        outputs = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        on_gpu = any(x.device.type == "cuda" for x in inputs)
        if name in ("_to_copy", "copy_"):
            source = inputs[-1] if name == "copy_" else inputs[0]
            ways = (source.device.type, outputs[0].device.type)
            free = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
            if ways == ("cpu", "cuda"):
                (self.copies if free else self.blocking)[_line()] += 1
                return out
            if ways == ("cuda", "cpu"):
                self.waits[_line()] += 1
                return out
        if name in _WAITS and on_gpu:
            self.waits[_line()] += 1
        elif name not in _NO_LAUNCH and (on_gpu or any(x.device == CUDA for x in outputs)):
            self.launches[name] += 1
        return out


def _line():
    import traceback

    for frame in reversed(traceback.extract_stack()):
        if "/designspace/" in frame.filename and "/tests/" not in frame.filename:
            return f"{frame.filename.split('/designspace/')[-1]}:{frame.lineno} {frame.line}"
    return "elsewhere"


@contextlib.contextmanager
def fake_cuda(monkeypatch):
    """Make tensors fake, and answer as an H200 would."""
    for name, value in {
        "set_device": lambda device: None,
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_name": lambda device=None: "NVIDIA H200",
        "is_bf16_supported": lambda including_emulation=True: True,
        "mem_get_info": lambda device=None: (139 << 30, 140 << 30),
        "device_count": lambda: 1,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: tensor)
    monkeypatch.setattr(torch.nn.Module, "_apply", _replace_tensors)
    monkeypatch.setattr(torch.nn.Module, "__deepcopy__", _copy_module, raising=False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def _replace_tensors(module, change, recurse=True):
    """Apply a change such as a move to all tensors of a module; fake ones can't be swapped."""
    for child in module.children():
        _replace_tensors(child, change)
    for name, p in module._parameters.items():
        if p is not None:
            with torch.no_grad():
                module._parameters[name] = torch.nn.Parameter(change(p), p.requires_grad)
    for name, buffer in module._buffers.items():
        module._buffers[name] = None if buffer is None else change(buffer)
    return module


def _copy_module(module, memo):
    """Copy a module and clone its tensors; copying the memory of fake ones would crash."""
    for p in module.parameters():
        memo.setdefault(id(p), torch.nn.Parameter(p.detach().clone(), p.requires_grad))
    for buffer in module.buffers():
        memo.setdefault(id(buffer), buffer.clone())
    other = module.__class__.__new__(module.__class__)
    memo[id(module)] = other
    other.__dict__.update(copy.deepcopy(vars(module), memo))
    return other


def hand_out_gradients(monkeypatch, network):
    """Replace the backward pass, whose threads need a driver, by gradients for all parameters."""

    def backward(loss, *args, **kwargs):
        for p in network.parameters():
            p.grad = torch.empty_like(p)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
