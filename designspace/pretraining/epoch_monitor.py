"""What is measured after an epoch: rank of the features, and accuracy where images have labels.

Training never sees labels; they serve for k-NN and the linear probe alone.
"""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.data.batches import Arrays, open_arrays
from designspace.data.cache import Cache
from designspace.data.shards import ShardStream
from designspace.pretraining.crop_loader import select_images
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.features import extract_features
from designspace.pretraining.float64 import as_float64
from designspace.pretraining.knn import knn_accuracy
from designspace.pretraining.multicrop import CropMaker, draw_crops
from designspace.pretraining.recipe import SwavRecipe
from designspace.pretraining.spectrum import alpha_req, lidar, rankme
from designspace.pretraining.swav_network import SwavNetwork

# Training images in the bank and among the queries of k-NN and the linear probe.
_BANK, _QUERIES = 10_000, 2_000
# Images for RankMe and α-ReQ, and for LiDAR, but at least twice as many as dimensions;
# the most that every process should decode and hold; and augmented views of each for LiDAR.
_SPECTRUM_IMAGES, _LIDAR_IMAGES, _MOST_IMAGES, _VIEWS = 512, 256, 8192, 4
# Images whose views pass through the network together.
_BATCH = 64
# The views are the same after every epoch: they are drawn for an iteration that training never has.
_VIEWS_ITERATION = 1 << 40
# Ridge of the linear probe, relative to the mean eigenvalue of the features' covariance.
_RIDGE = 1e-3


class EpochMonitor:
    """Measures a network on fixed training images.

    All images of a cache have a random order, so the first ones are a fair sample; of shards the
    first images of each are taken.
    """

    def __init__(
        self,
        recipe: SwavRecipe,
        images: Cache | ShardStream,
        seed: int,
        group: ProcessGroupInfo,
    ) -> None:
        """Open the images; a stream is decoded on first use."""
        self._recipe, self._images, self._seed, self._group = recipe, images, seed, group
        self._arrays: Arrays | None = None
        if isinstance(images, Cache):
            self._arrays = open_arrays(images.path, group.device)
        self._records: Tensor | None = None
        first = recipe.crops[0].model_copy(update={"count": _VIEWS})
        self._views = recipe.model_copy(update={"crops": (first,), "assign": 2})

    def measure(
        self, network: SwavNetwork, epoch: int, autocast: torch.dtype | None = None
    ) -> dict[str, float]:
        """Return rankme, alpha, lidar and rank_limit, and every few epochs knn and linear.

        Collective: each process passes its part of the images through the network, which is in
        training mode afterwards.

        Args:
            network: Trunk, head and prototypes.
            epoch: Epochs done.
            autocast: Type of autocast, or None for float32.
        """
        recipe = self._recipe
        record = self.spectrum(network, autocast)
        due = recipe.knn_every and (epoch % recipe.knn_every == 0 or epoch == recipe.epochs)
        if due and self._arrays is not None and int(self._arrays.train_labels.min()) >= 0:
            record |= self._accuracy(network.trunk, self._arrays, autocast)
        network.train()
        return record

    def spectrum(
        self, network: SwavNetwork, autocast: torch.dtype | None = None
    ) -> dict[str, float]:
        """Return rankme, alpha, lidar and rank_limit; collective, as `measure`.

        What is not defined is left out: α of few eigenvalues, and all of features that overflow.
        The features of trunks wider than 8192 are of fewer images than dimensions, so that their
        rank is at most 8192.
        """
        width = next(network.head.parameters()).shape[1]
        dim = self._recipe.head.dim
        n = min(max(_SPECTRUM_IMAGES, 2 * width), _MOST_IMAGES, self._images.train_images)
        views = min(max(_LIDAR_IMAGES, 2 * dim), n)
        if self._records is None:
            self._records = self._sample(max(n, views))
        # A sharded network must be called as a whole before its trunk is.
        embeddings = self._embeddings(network, self._records[:views], autocast)
        features = self._features(network.trunk, self._records[:n], autocast)
        alpha = alpha_req(features)
        record = {"rankme": rankme(features), "lidar": lidar(embeddings)}
        record |= {} if alpha is None else {"alpha": alpha}
        record = {name: value for name, value in record.items() if math.isfinite(value)}
        network.train()
        return record | {"rank_limit": min(features.shape)}

    def _sample(self, n: int) -> Tensor:
        if isinstance(self._images, ShardStream):
            return self._images.sample(n)
        assert self._arrays is not None
        return self._arrays.train[:n]

    def _own(self, n: int) -> Tensor:
        """Rows of this process: equally many in each, the last ones repeated."""
        part, rank = -(-n // self._group.size), self._group.rank
        return torch.arange(rank * part, (rank + 1) * part).clamp(max=n - 1)

    def _features(self, trunk: nn.Module, records: Tensor, autocast: torch.dtype | None) -> Tensor:
        images, group = self._images, self._group
        own = records[self._own(len(records)).to(records.device)]
        part = extract_features(
            trunk, own, self._recipe.side, images.mean, images.std, group.device, autocast
        )
        return torch.cat(group.gather(part))[: len(records)]

    @torch.no_grad()
    def _embeddings(
        self, network: SwavNetwork, records: Tensor, autocast: torch.dtype | None
    ) -> Tensor:
        """Embeddings of augmented views, (images, views, dim)."""
        group, recipe, n = self._group, self._views, len(records)
        maker = CropMaker(recipe, self._images.mean, self._images.std, group.device)
        draws = draw_crops(recipe, records.shape[1], n, self._seed, _VIEWS_ITERATION)
        precision = torch.autocast(group.device.type, dtype=autocast) if autocast else nullcontext()
        network.eval()
        parts = []
        for rows in torch.split(self._own(n), _BATCH):
            chosen = select_images(records, rows, group.device)
            crops = maker(chosen, [draw.take(rows) for draw in draws])
            with precision:
                embeddings, _ = network(crops)
            parts.append(embeddings.float().view(_VIEWS, len(rows), -1).transpose(0, 1))
        return torch.cat(group.gather(torch.cat(parts)))[:n]

    def _accuracy(
        self, trunk: nn.Module, arrays: Arrays, autocast: torch.dtype | None
    ) -> dict[str, float]:
        """Accuracy of k-NN and of a linear probe, in percent, on the first training images.

        Nothing of fewer than five images, a fifth of which are the queries.
        """
        queries = min(_QUERIES, len(arrays.train) // 5)
        if not queries:
            return {}
        rows = min(len(arrays.train), queries + _BANK)
        features = self._features(trunk, arrays.train[:rows], autocast)
        labels = arrays.train_labels[:rows].to(features.device)
        bank, classes = slice(queries, None), int(labels.max()) + 1
        split = (features[bank], labels[bank], features[:queries], labels[:queries], classes)
        return {"knn": knn_accuracy(*split), "linear": ridge_accuracy(*split)}


@torch.no_grad()
def ridge_accuracy(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, query_labels: Tensor, classes: int
) -> float:
    """Return the accuracy in percent of a linear probe: ridge regression on one-hot labels.

    It is solved exactly, within seconds, where training by SGD may take longer than an epoch of
    pretraining; `evaluate` trains the usual probe. Arguments as of `knn_accuracy`.
    """
    values, own = as_float64(bank), as_float64(queries)
    mean = values.mean(0)
    x, q = values - mean, own - mean
    y = as_float64(functional.one_hot(bank_labels, classes))
    gram = x.T @ x
    ridge = _RIDGE * gram.diagonal().mean().clamp(min=1e-12)
    gram.diagonal().add_(ridge)
    weight = torch.linalg.solve(gram, x.T @ (y - y.mean(0)))
    predicted = (q @ weight + y.mean(0)).argmax(1)
    hits = int((predicted == query_labels.to(predicted.device)).sum())
    return 100.0 * hits / len(queries)
