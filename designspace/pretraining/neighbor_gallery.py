"""A gallery of what a trunk learned: nearest neighbors, and the images of prototypes."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from designspace.errors import InputError
from designspace.pretraining.features import extract_features
from designspace.pretraining.pretrain_run import PretrainRun
from designspace.pretraining.prototype_scorer import PrototypeScorer
from designspace.pretraining.swav_network import part_of, trunk_of

Gallery = dict[str, NDArray[Any]]

# Training images searched.
NUM_SEARCHED = 5000
# Queries (one per class in turn), and neighbors of each.
_QUERIES, _NEIGHBOURS = 10, 10
# Prototypes shown, those with most images first, and images of each.
_PROTOTYPES, _OF_EACH = 16, 11
# Largest side of a picture in pixels.
_SIDE = 64


@torch.no_grad()
def nearest_neighbor_gallery(
    run: PretrainRun, records: Tensor, labels: Tensor, device: torch.device
) -> Gallery | None:
    """Search training images with the newest checkpoint.

    Args:
        run: The pretraining.
        records: Training images in random order, (n, side, side, channels) uint8.
        labels: Their classes, (n,); -1 without labels.
        device: Where to compute.

    Returns:
        None if there is no checkpoint, else arrays by name: `iteration` and `searched` (number of
        images), () int64; `pictures` (n, side, side, 3) uint8, which the following index;
        `neighbours` (queries, 1 + neighbors), the query first; `same` (queries, neighbors) bool,
        whether a neighbor is of the query's class, (queries, 0) without labels; `prototypes`
        (prototypes, images), padded with -1; `sizes` (prototypes,), images nearest to each
        prototype shown; `used` (), number of prototypes with any image.
    """
    state, _ = run.load(torch.device("cpu"))
    if state is None:
        return None
    recipe, data = run.recipe(), run.data()
    trunk = trunk_of(run.model())
    trunk.load_state_dict(part_of(state["network"], "trunk."))
    trunk.to(device=device, memory_format=torch.channels_last)
    mean, std = tuple(data.mean), tuple(data.std)
    features = extract_features(trunk, records, recipe.side, mean, std, device)
    scores = PrototypeScorer(recipe.head, state["network"])(features).cpu()
    gallery = _neighbors_and_prototypes(features.cpu(), labels, scores)
    rows = np.unique(np.concatenate([gallery["neighbours"].ravel(), gallery["prototypes"].ravel()]))
    rows = rows[rows >= 0]
    pictures = _pictures(records[torch.from_numpy(rows).to(records.device)].cpu())
    for name in ("neighbours", "prototypes"):
        places = np.searchsorted(rows, gallery[name])
        gallery[name] = np.where(gallery[name] < 0, -1, places).astype(np.int64)
    counts = {"iteration": int(state["iteration"]), "searched": len(records)}
    return {**gallery, "pictures": pictures} | {k: np.array(v, np.int64) for k, v in counts.items()}


def save_gallery(run: PretrainRun, gallery: Gallery) -> None:
    """Save a gallery in the run's folder.

    Raises:
        InputError: The folder can't be written.
    """
    path = gallery_file(run)
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, **gallery)  # type: ignore[arg-type]
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def read_gallery(run: PretrainRun) -> Gallery | None:
    """Return the saved gallery; None if there is none, or it is damaged."""
    try:
        with np.load(gallery_file(run), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile):
        return None


def gallery_file(run: PretrainRun) -> Path:
    """Return the file of the gallery."""
    return run.path / "gallery.npz"


def _neighbors_and_prototypes(features: Tensor, labels: Tensor, scores: Tensor) -> Gallery:
    """Choose what is shown, as rows of the searched images."""
    queries = _cycle_classes(labels)[:_QUERIES]
    unit = functional.normalize(features, dim=1)
    near = unit[queries] @ unit.T
    near[torch.arange(len(queries)), queries] = -2.0  # exclude the query itself
    count = min(_NEIGHBOURS, len(labels) - 1)
    neighbours = near.topk(count, dim=1).indices
    same = labels[neighbours] == labels[queries][:, None]
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
        "same": same[:, : count if labels.min() >= 0 else 0].numpy(),
        "prototypes": grid.numpy(),
        "sizes": sizes[order].numpy(),
        "used": np.array(int((sizes > 0).sum()), np.int64),
    }


def _cycle_classes(labels: Tensor) -> Tensor:
    """Rows ordered by occurrence within their class: the first image of each class, ..."""
    seen: dict[int, int] = {}
    rounds = []
    for row, label in enumerate(labels.tolist()):
        seen[label] = seen.get(label, 0) + 1
        rounds.append((seen[label], label, row))
    return torch.tensor([row for _, _, row in sorted(rounds)])


def _pictures(records: Tensor) -> NDArray[np.uint8]:
    """Resize to at most the largest side of a picture; of other channels than RGB show three."""
    side, channels = records.shape[1], records.shape[3]
    records = records[..., [0, 1 % channels, 2 % channels]]
    if side <= _SIDE:
        return records.numpy()
    images = records.permute(0, 3, 1, 2).float()
    resized = functional.interpolate(images, (_SIDE, _SIDE), mode="area")
    return resized.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
