"""Checkpoints between torchvision (our own names), timm, transformers and VISSL, as safetensors.

Whichever library a checkpoint is from is told by its keys. Every array has one name in each style,
so a conversion renames and nothing else; what is unknown, missing or of another shape is an error
with a list, never dropped.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.arch import Model
from designspace.errors import InputError
from designspace.export.state_keys import CLASSIFIER, STYLES, key_map, key_names

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model", "classy_state_dict")
_INSIDE = ("base_model", "model", "trunk", "network")
_PREFIXES = ("module.", "model.", "_orig_mod.", "trunk.")
_HEADS = ("projection_head.", "prototypes.")
_PARTS = re.compile(r"\.block\d+-part\d+(?=\.)")
# What torch says of a pickle that asks for more than arrays.
_OBJECTS = re.compile(r"GLOBAL|Unsupported class|allowed global|reduce", re.IGNORECASE)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_LISTED = 8


@dataclass(frozen=True, eq=False)
class Weights:
    """A checkpoint in our own (torchvision's) names.

    Attributes:
        state: Arrays by name.
        style: The library that it came from.
        classifier: Whether it has a classifier; trunks of VISSL have none.
        path: Where it was read.
        heads: Whether the checkpoint also holds pretraining heads, which are no part of the trunk.
    """

    state: "Mapping[str, torch.Tensor]"
    style: str
    classifier: bool
    path: Path
    heads: bool = False


def read_weights(path: Path, model: Model) -> Weights:
    """Read a checkpoint of a model from any of the libraries.

    Args:
        path: A .safetensors file, a torch file (read with weights only), or a folder with a
            model.safetensors.
        model: The network that it must fit, key by key and shape by shape.

    Raises:
        InputError: It can't be read, or keys are unknown, missing, or of another shape.
    """
    if path.is_dir():
        path = path / "model.safetensors"
    state, heads = _tensors(_load(path), path)
    style, names = _style(state, model, path)
    mapping = _mapping(model, style, "torchvision")
    # Classifiers may be absent (a trunk); nothing else may.
    theirs_of_classifier = {k for k, ours in mapping.items() if ours in CLASSIFIER}
    missing = [key for key in names if key not in state and key not in theirs_of_classifier]
    partly = theirs_of_classifier & set(state)
    if partly and partly != theirs_of_classifier:
        missing += sorted(theirs_of_classifier - partly)
    unknown = [key for key in state if key not in mapping]
    # BatchNorm's step counter is absent from some checkpoints; it plays no part in the output.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unknown:
        raise InputError(
            f"{path} does not fit {model.name} (read as {style}): "
            + "; ".join(
                text
                for text in (_list("missing keys", missing), _list("unknown keys", unknown))
                if text
            )
        )
    ours = {mapping[key]: tensor for key, tensor in state.items()}
    _check_shapes(ours, model, path)
    return Weights(ours, style, bool(partly), path, heads)


def converted(weights: Weights, model: Model, style: str) -> "dict[str, torch.Tensor]":
    """Return the arrays under a library's names; what its networks do not have is left out."""
    mapping = _mapping(model, "torchvision", style)
    return {mapping[key]: tensor for key, tensor in weights.state.items() if key in mapping}


def write_safetensors(state: "Mapping[str, torch.Tensor]", path: Path, about: str) -> None:
    """Write arrays whole or not at all.

    Raises:
        InputError: safetensors is not installed, or the folder can't be written.
    """
    try:
        from safetensors.torch import save_file
    except ImportError:
        raise InputError(
            "writing weights needs safetensors: pip install 'designspace-regnet[export]'"
        ) from None
    temporary = path.with_name(f".{path.name}.part")
    try:
        contiguous = {key: tensor.contiguous() for key, tensor in state.items()}
        save_file(contiguous, temporary, metadata={"format": "pt", "about": about})
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _mapping(model: Model, source: str, target: str) -> dict[str, str]:
    return key_map(model.body, model.skeleton.strides, model.skeleton.stem_width, source, target)


def _load(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"weights: no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles; what matters is said below
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # files of torch before 1.6 can't be mapped
                return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise InputError(
            f"reading {path} needs safetensors: pip install 'designspace-regnet[export]'"
        ) from None
    except Exception as error:  # torch and safetensors raise a dozen kinds for a damaged file
        raise InputError(
            f"weights: {path} is no checkpoint that can be read: {_unreadable(path, error)}"
        ) from None


def _unreadable(path: Path, error: Exception) -> str:
    """Say why in a person's words: torch's own speak of options that are not ours to give."""
    if isinstance(error, PermissionError):
        return "permission denied"
    if path.suffix == ".safetensors":
        return "no safetensors file, or a damaged one"
    saved = "save arrays alone, by torch.save(model.state_dict(), FILE) or as safetensors"
    if _OBJECTS.search(str(error)):
        return f"it holds Python objects, which could run code and are never opened; {saved}"
    with path.open("rb") as file:
        pickled = _PICKLE.match(file.read(2)) is not None
    if pickled:
        return f"a pickle that torch.save did not write, or a damaged one, is not opened; {saved}"
    return "neither a file of torch.save nor a .safetensors file, or a damaged one"


def _tensors(data: Any, path: Path) -> "tuple[dict[str, torch.Tensor], bool]":
    """Find the arrays in what libraries wrap them in, and whether pretraining heads lay beside.

    Names come without the wrappers' prefixes; a transformers model without its classifier's class
    gets its prefix back.
    """
    import torch

    heads = False
    for key in (*_WRAPPERS, *_INSIDE, *_INSIDE):
        inner = data.get(key) if isinstance(data, Mapping) else None
        if isinstance(inner, Mapping) and inner:
            heads = heads or (key == "trunk" and bool(data.get("heads")))
            data = inner
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise InputError(f"weights: {path} holds no map of names to arrays")
    state = {key: value for key, value in data.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise InputError(f"weights: {path} holds no arrays")
    state = _stripped(state)
    trunk = _without_heads(state)
    if trunk:
        heads = heads or len(trunk) < len(state)
        state = _stripped(trunk)
    if any(key.startswith("encoder.stages.") for key in state):
        state = {f"regnet.{key}": value for key, value in state.items()}
    # VISSL's sharded trunks group blocks: res4.block3-part0.block3-0.
    return {_PARTS.sub("", key): value for key, value in state.items()}, heads


def _stripped(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Return arrays under names without the prefixes that all of them have."""
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _without_heads(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Return the trunk's arrays where SwAV keeps its heads beside them: theirs by name, ours where
    the trunk has a name of its own.
    """
    named = {key: value for key, value in state.items() if key.startswith("trunk.")}
    return named or {k: v for k, v in state.items() if not k.startswith(_HEADS)}


def _style(state: "Mapping[str, torch.Tensor]", model: Model, path: Path) -> tuple[str, list[str]]:
    """Return the style with most of the checkpoint's keys, and the names it should have."""
    skeleton = model.skeleton
    names = {s: key_names(model.body, skeleton.strides, skeleton.stem_width, s) for s in STYLES}
    known = {style: len(set(keys) & set(state)) for style, keys in names.items()}
    best = max(known, key=lambda style: known[style])
    if not known[best]:
        raise InputError(
            f"{path}: none of its keys is of a RegNet of {', '.join(STYLES)}; it starts with "
            f"{_list('keys', list(state))}"
        )
    return best, names[best]


def _check_shapes(state: "Mapping[str, torch.Tensor]", model: Model, path: Path) -> None:
    from designspace.networks import build

    expected = build(model, device="meta").state_dict()
    wrong = [
        f"{key} {tuple(tensor.shape)} for {tuple(expected[key].shape)}"
        for key, tensor in state.items()
        if tensor.shape != expected[key].shape
    ]
    if wrong:
        raise InputError(f"{path} does not fit {model.name}: {_list('shapes differ', wrong)}")


def _list(what: str, keys: Iterable[str]) -> str:
    found = list(keys)
    if not found:
        return ""
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return f"{len(found)} {what}: {', '.join(found[:_LISTED])}{more}"
