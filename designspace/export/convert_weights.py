"""Read checkpoints of other libraries, convert them, and write them as safetensors.

The keys tell which library wrote a checkpoint. Every array has one name in each library, so that
conversion only renames. Unknown, missing or misshapen arrays are errors, never dropped silently.
"""

import argparse
import json
import pathlib
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from designspace.arch import Model
from designspace.arch.published_names import timm_name
from designspace.errors import InputError
from designspace.export.state_keys import classifier_keys, key_map, key_names, styles_of
from designspace.export.target import block_ships
from designspace.export.timm_regnet import has_final_activation

if TYPE_CHECKING:
    import torch

# What training scripts wrap a state dict in, outermost first.
_WRAPPERS = (
    "state_dict", "model_state", "model_state_dict", "model", "classy_state_dict",
    "model_ema", "state_dict_ema",
    "base_model", "model", "trunk", "network", "base_model", "model", "trunk", "network",
)  # fmt: skip
# Averages of the weights that timm, torchvision and pycls save beside them.
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state")
# Libraries that load images by OpenCV, whose channels are in the order blue, green, red.
_BGR_STYLES = ("pycls", "mmpretrain")
_FIRST_CONVOLUTION = "stem.0.weight"
_CLASSIFIERS = ("fc.", "head.", "classifier.")
_PREFIX = re.compile(r"^(?:module|model|net|network|backbone|trunk|_orig_mod)\.")
# Heads that pretraining keeps beside a trunk.
_HEADS = ("projection_head.", "prototypes.", "heads.")
# VISSL's sharded trunks group blocks: res4.block3-part0.block3-0.
_PARTS = re.compile(r"\.block\d+-part\d+(?=\.)")
# torch's messages about a pickle that contains more than arrays.
_OBJECTS = re.compile(r"GLOBAL|Unsupported class|allowed global|reduce", re.IGNORECASE)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_LISTED = 8
_STEM_KEYS = 6


@dataclass(frozen=True, eq=False)
class Weights:
    """A checkpoint in torchvision's names, which are our own.

    Attributes:
        state: Arrays by name; floating-point arrays are float32.
        style: The library that wrote it.
        classifier: Whether `state` has the classifier.
        path: The file or folder.
        notes: What was converted or left out.
    """

    state: "Mapping[str, torch.Tensor]"
    style: str
    classifier: bool
    path: Path
    notes: tuple[str, ...] = ()


def read_weights(
    path: Path, model: Model, *, trunk_only: bool = False, bgr: bool = False
) -> Weights:
    """Read a checkpoint of a model from any of the libraries.

    Args:
        path: A .safetensors file, a torch file (read with `weights_only=True`), or a folder with
            model.safetensors or pytorch_model.bin, whole or in shards.
        model: The network, which the checkpoint must fit key by key and shape by shape.
        trunk_only: Leave out the classifier, whatever its size.
        bgr: The checkpoint expects BGR images; flip its first convolution, so that the result takes
            RGB.

    Returns:
        The arrays in our names and shapes, with notes.

    Raises:
        InputError: It can't be read, keys are unknown, missing or of another shape, values are not
            finite, or outputs would differ from those of the library.
    """
    state, notes = _find_state(_load(path), path, model)
    style = _find_style(state, model, path)
    if style == "timm" and has_final_activation(model):
        raise InputError(
            f"{path} is of timm's {model.name}, which has an activation behind the last stage; the "
            "network here has none, so that outputs would differ"
        )
    if style == "timm" and (name := timm_name(model)).startswith("tf_"):
        raise InputError(
            f"{path}: timm runs {name} with TensorFlow's padding and a BatchNorm epsilon of 1e-3, "
            "the network here with PyTorch's padding and 1e-5, so that outputs would differ; use "
            f"the model {name[3:]} with timm's weights of that name"
        )
    names = key_map(model, style, "torchvision")
    own_classifier = classifier_keys(model)
    classifier = {key for key, own in names.items() if own in own_classifier}
    if trunk_only:
        # timm's ConvNeXts have a trunk's last normalization in their head.
        trunk = names.keys() - classifier
        state = {
            key: value
            for key, value in state.items()
            if key in trunk or not (key in classifier or key.startswith(_CLASSIFIERS))
        }
    _check_keys(state, names, classifier, model, style, path)
    ours = {own: state[key] for key, own in names.items() if key in state}
    ours = _in_our_shapes(ours, model, path)
    ours, converted = _to_float32(ours, path)
    if bgr:
        ours[_FIRST_CONVOLUTION] = _flipped(ours, path)
        converted.append("the first convolution was flipped from BGR to RGB")
    elif style in _BGR_STYLES and model.skeleton.channels == 3:
        converted.append(
            f"ImageNet checkpoints of {style} expect BGR images; an export with bgr=True flips the "
            "first convolution, so that the network takes RGB"
        )
    return Weights(
        ours, style, not ours.keys().isdisjoint(own_classifier), path, (*notes, *converted)
    )


def _flipped(state: "Mapping[str, torch.Tensor]", path: Path) -> "torch.Tensor":
    """Return the weights of the first convolution for images of the reverse channel order."""
    weight = state.get(_FIRST_CONVOLUTION)
    if weight is None or weight.shape[1] != 3:
        raise InputError(
            f"bgr is True; it flips a first convolution of 3 channels, which {path} lacks", "bgr"
        )
    return weight.flip(1)


def write_safetensors(state: "Mapping[str, torch.Tensor]", path: Path, about: str) -> None:
    """Write arrays whole or not at all.

    Raises:
        InputError: safetensors is not installed, or the folder can't be written.
    """
    try:
        from safetensors import SafetensorError
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
    except SafetensorError as error:  # such as a full disk
        raise InputError(f"cannot write {path}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _load(path: Path) -> Any:
    if not path.is_dir():
        return _load_file(path)
    arrays: dict[str, Any] = {}
    files = weight_files(path)
    if not files:
        raise InputError(f"weights: no model.safetensors or pytorch_model.bin in {path}")
    for file in files:
        arrays |= _load_file(file)
    return arrays


def weight_files(folder: Path) -> list[Path]:
    """Return the weights of a saved transformers model: one file, its shards, or none.

    Raises:
        InputError: The index of its shards is damaged.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
                return [folder / Path(shard).name for shard in shards]
            except (ValueError, KeyError, TypeError, AttributeError):
                raise InputError(f"weights: {index} is not an index of shards") from None
        if (folder / name).is_file():
            return [folder / name]
    return []


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"weights: no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        # Training scripts of torchvision and timm save their options along.
        options: list[Any] = [argparse.Namespace, pathlib.PosixPath]
        with warnings.catch_warnings(), torch.serialization.safe_globals(options):
            warnings.simplefilter("ignore")  # about pickles; `_unreadable` explains failures
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # files of torch before 1.6 can't be mapped
                return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError:
        raise InputError(
            f"reading {path} needs safetensors: pip install 'designspace-regnet[export]'"
        ) from None
    except Exception as error:  # torch and safetensors raise a dozen types for a damaged file
        reason = _unreadable(path, error)
        raise InputError(f"weights: {path} is not a readable checkpoint: {reason}") from None


def _unreadable(path: Path, error: Exception) -> str:
    """Explain why a file can't be read; torch's own messages advise to unpickle it anyway."""
    if isinstance(error, PermissionError):
        return "permission denied"
    if path.suffix == ".safetensors":
        return "not a safetensors file, or damaged"
    remedy = "save only arrays, with torch.save(model.state_dict(), FILE) or as safetensors"
    if _OBJECTS.search(str(error)):
        return f"it contains Python objects, which could run code and are never loaded; {remedy}"
    with path.open("rb") as file:
        pickled = _PICKLE.match(file.read(2)) is not None
    if pickled:
        return f"a pickle that torch.save did not write, or damaged, is never loaded; {remedy}"
    return "neither a file of torch.save nor a .safetensors file, or damaged"


def _find_state(data: Any, path: Path, model: Model) -> "tuple[dict[str, torch.Tensor], list[str]]":
    """Return the trunk's arrays from what libraries wrap them in, without prefixes, and notes."""
    import torch

    heads, averages = False, ""
    for key in _WRAPPERS:
        inner = data.get(key) if isinstance(data, Mapping) else None
        if isinstance(inner, Mapping) and inner:
            beside = [n for n in _AVERAGES if n != key and isinstance(data.get(n), Mapping)]
            averages = averages or "".join(beside[:1])
            heads = heads or (key == "trunk" and bool(data.get("heads")))
            data = inner
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise InputError(f"weights: {path} has no map of names to arrays")
    state = {key: value for key, value in data.items() if isinstance(value, torch.Tensor)}
    state.pop("n_averaged", None)  # torch.optim.swa_utils.AveragedModel counts its updates
    if not state:
        raise InputError(f"weights: {path} has no arrays")
    trunk = _without_wrappers(state, model)
    notes = []
    if heads or len(trunk) < len(state):
        notes.append("pretraining heads are not part of the trunk and were left out")
    if averages:
        notes.append(
            f"averaged weights ({averages}) are in the file too and were not used; to use them, "
            "write that entry alone to a file with torch.save"
        )
    for first, prefix in (("encoder.stages.", "regnet."), ("conv1.stem.", "_feature_blocks.")):
        if block_ships(model) and any(key.startswith(first) for key in trunk):
            trunk = {prefix + key: value for key, value in trunk.items()}
    return trunk, notes


def _without_wrappers(state: "dict[str, torch.Tensor]", model: Model) -> "dict[str, torch.Tensor]":
    """Return the trunk's arrays, without the prefixes of what contains it.

    A plugin may call its own modules by such a prefix: what leaves most of its keys is taken.
    """
    levels = [state]
    while (inner := _without_wrapper(levels[-1])).keys() != levels[-1].keys():
        levels.append(inner)
    own = set() if block_ships(model) else set(key_names(model, "torchvision"))
    return max(reversed(levels), key=lambda level: len(own & level.keys()))


def _without_wrapper(state: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Return arrays without one prefix, and without heads."""
    # Where a trunk has a name, arrays beside it are heads.
    named = [key for key in state if key.startswith("trunk.")]
    return {
        _PARTS.sub("", _PREFIX.sub("", key)): state[key]
        for key in named or state
        if not key.startswith(_HEADS)
    }


def _find_style(state: "Mapping[str, torch.Tensor]", model: Model, path: Path) -> str:
    """Return the style with most of the checkpoint's keys, ignoring the stem's, as in ResNets."""
    styles = styles_of(model)
    ignored = _STEM_KEYS if len(styles) > 1 else 0
    shared = {style: len(set(key_names(model, style)[ignored:]) & set(state)) for style in styles}
    best = max(shared, key=shared.__getitem__)
    if not shared[best]:
        regnet = "a RegNet" if model.is_regnet_network else f"{model.name}, in names"
        raise InputError(
            f"{path}: none of its keys is one of {regnet} of {', '.join(shared)}; it starts with "
            f"{_list('keys', list(state))}"
        )
    return best


def _check_keys(
    state: "Mapping[str, torch.Tensor]",
    names: dict[str, str],
    classifier: set[str],
    model: Model,
    style: str,
    path: Path,
) -> None:
    """Raise on unknown and missing keys; only a whole classifier may be absent (a trunk)."""
    optional = set() if classifier & set(state) else classifier
    # Some checkpoints lack BatchNorm's step counter, which does not affect outputs.
    missing = [
        key
        for key in names
        if key not in state and key not in optional and not key.endswith("num_batches_tracked")
    ]
    unknown = [key for key in state if key not in names]
    if missing or unknown:
        lists = (_list("missing keys", missing), _list("unknown keys", unknown))
        raise InputError(
            f"{path} does not fit {model.name} (read as {style}): {'; '.join(filter(None, lists))}"
        )


def _in_our_shapes(
    state: "Mapping[str, torch.Tensor]", model: Model, path: Path
) -> "dict[str, torch.Tensor]":
    """Return arrays in our shapes: linear layers become 1x1 convolutions; others must fit."""
    from designspace.networks import build_on_meta

    expected = {key: array.shape for key, array in build_on_meta(model).state_dict().items()}
    result = {
        key: tensor[..., None, None] if (*tensor.shape, 1, 1) == expected[key] else tensor
        for key, tensor in state.items()
    }
    wrong = [
        f"{key} {tuple(tensor.shape)} for {tuple(expected[key])}"
        for key, tensor in result.items()
        if tensor.shape != expected[key]
    ]
    if wrong:
        raise InputError(f"{path} does not fit {model.name}: {_list('shapes differ', wrong)}")
    return result


def _to_float32(
    state: "Mapping[str, torch.Tensor]", path: Path
) -> "tuple[dict[str, torch.Tensor], list[str]]":
    """Convert other floating-point types to float32, and raise on NaN and infinite values."""
    import torch

    result, types = {}, set()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            if tensor.dtype != torch.float32:
                types.add(str(tensor.dtype).removeprefix("torch."))
            tensor = tensor.float()
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"weights: {path}: {key} has values that are NaN or infinite")
        result[key] = tensor
    notes = [f"converted from {' and '.join(sorted(types))} to float32"] if types else []
    return result, notes


def _list(what: str, keys: Iterable[str]) -> str:
    names = list(keys)
    if not names:
        return ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} {what}: {', '.join(names[:_LISTED])}{more}"
