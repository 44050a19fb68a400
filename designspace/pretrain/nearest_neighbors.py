"""What a trunk sees alike, as pictures: nearest neighbours, and the images of prototypes."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from designspace.data.batches import open_arrays
from designspace.data.cache import Cache
from designspace.errors import InputError
from designspace.pretrain.features import extract
from designspace.pretrain.pretrain_run import PretrainRun
from designspace.pretrain.swav_network import part_of, projection, trunk_of

Arrays = dict[str, NDArray[Any]]

# Training images that are looked through: they lie in a random order.
_IMAGES = 5000
# Queries (one a class, as far as it goes), and the neighbours of each.
_QUERIES, _NEIGHBOURS = 10, 10
# Prototypes shown, the ones with most images first, and images of each.
_PROTOTYPES, _OF_EACH = 16, 11
# Side of a picture in pixels, at most.
_SIDE = 64


@torch.no_grad()
def look(folder: PretrainRun, cache: Cache, device: torch.device) -> Arrays | None:
    """Look through training images with the newest whole checkpoint.

    Args:
        folder: Of the pretraining.
        cache: Its images.
        device: Where to compute.

    Returns:
        None where there is no checkpoint, else arrays by name: `iteration` and `searched` (how many
        images were looked through), as () int64; `pictures` (n, side, side, 3) uint8, which the
        others point into; `neighbours` (queries, 1 + neighbours), the query first; `same`
        (queries, neighbours) bool, whether a neighbour is of the query's class; `prototypes`
        (prototypes, images), -1 where a prototype has fewer; `sizes` (prototypes,), how many of the
        images are nearest to each prototype shown; `used` (), how many prototypes have any.
    """
    state, _ = folder.load(torch.device("cpu"))
    if state is None:
        return None
    recipe, data = folder.recipe(), folder.data()
    arrays = open_arrays(cache.path, device)
    records, labels = arrays.train[:_IMAGES], arrays.train_labels[:_IMAGES].cpu()
    trunk = trunk_of(folder.model())
    trunk.load_state_dict(part_of(state["network"], "trunk."))
    trunk.to(device=device, memory_format=torch.channels_last)
    mean, std = tuple(data.mean), tuple(data.std)
    features = extract(trunk, records, recipe.side, mean, std, device)
    head = projection(features.shape[1], recipe.head).eval()
    head.load_state_dict(part_of(state["network"], "head."))
    embeddings = functional.normalize(head.to(device)(features), dim=1)
    directions = functional.normalize(state["network"]["prototypes.weight"].to(device), dim=1)
    scores = (embeddings @ directions.T).cpu()
    shown = _shown(features.cpu(), labels, scores)
    rows = np.unique(np.concatenate([shown["neighbours"].ravel(), shown["prototypes"].ravel()]))
    rows = rows[rows >= 0]
    small = _small(records[torch.from_numpy(rows).to(records.device)].cpu())
    for name in ("neighbours", "prototypes"):
        places = np.searchsorted(rows, shown[name])
        shown[name] = np.where(shown[name] < 0, -1, places).astype(np.int64)
    counted = {"iteration": int(state["iteration"]), "searched": len(records)}
    return {**shown, "pictures": small} | {k: np.array(v, np.int64) for k, v in counted.items()}


def save_gallery(folder: PretrainRun, arrays: Arrays) -> None:
    """Keep what `look` returned.

    Raises:
        InputError: The folder can't be written.
    """
    path = gallery_file(folder)
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def read_gallery(folder: PretrainRun) -> Arrays | None:
    """Return what was kept, or None where nothing was, or it is damaged."""
    try:
        with np.load(gallery_file(folder), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None


def gallery_file(folder: PretrainRun) -> Path:
    """Return where the pictures of a pretraining are kept."""
    return folder.path / "gallery.npz"


def _shown(features: Tensor, labels: Tensor, scores: Tensor) -> Arrays:
    """Choose what is shown, as rows of the images that were looked through."""
    queries = _one_a_class(labels)[:_QUERIES]
    unit = functional.normalize(features, dim=1)
    near = unit[queries] @ unit.T
    near[torch.arange(len(queries)), queries] = -2.0  # an image is no neighbour of its own
    count = min(_NEIGHBOURS, len(labels) - 1)
    neighbours = near.topk(count, dim=1).indices
    winners = scores.argmax(dim=1)
    sizes = torch.bincount(winners, minlength=scores.shape[1])
    order = torch.argsort(sizes, descending=True, stable=True)[:_PROTOTYPES]
    order = order[sizes[order] > 0]
    grid = torch.full((len(order), _OF_EACH), -1)
    for row, prototype in enumerate(order.tolist()):
        own = torch.where(winners == prototype, scores[:, prototype], -2.0)
        best = own.topk(min(_OF_EACH, int(sizes[prototype]))).indices
        grid[row, : len(best)] = best
    return {
        "neighbours": torch.cat([queries[:, None], neighbours], dim=1).numpy(),
        "same": (labels[neighbours] == labels[queries][:, None]).numpy(),
        "prototypes": grid.numpy(),
        "sizes": sizes[order].numpy(),
        "used": np.array(int((sizes > 0).sum()), np.int64),
    }


def _one_a_class(labels: Tensor) -> Tensor:
    """The first image of each class, and then the second, and so on."""
    seen: dict[int, int] = {}
    rounds = []
    for row, label in enumerate(labels.tolist()):
        seen[label] = seen.get(label, 0) + 1
        rounds.append((seen[label], label, row))
    return torch.tensor([row for _, _, row in sorted(rounds)])


def _small(records: Tensor) -> NDArray[np.uint8]:
    """Shrink square images to the side that pictures have at most."""
    side = records.shape[1]
    if side <= _SIDE:
        return records.numpy()
    images = records.permute(0, 3, 1, 2).float()
    made = functional.interpolate(images, (_SIDE, _SIDE), mode="area")
    return made.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
