"""k-NN accuracy during pretraining, the one use of labels; training itself never sees them."""

import torch
from torch import nn

from designspace.data.batches import Arrays
from designspace.data.cache import Cache
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.features import extract_features
from designspace.pretraining.knn import knn_accuracy

# Training images in the bank and among the queries.
_BANK, _QUERIES = 10_000, 2_000


def training_knn_accuracy(
    trunk: nn.Module,
    arrays: Arrays,
    side: int,
    images: Cache,
    group: ProcessGroupInfo,
    autocast: torch.dtype | None = None,
) -> float | None:
    """Return k-NN accuracy in percent on the first training images, whose order is random.

    None for images without labels. Collective: each process extracts the features of its part.

    Args:
        trunk: Put back into training mode.
        arrays: The images.
        side: Side at which the trunk sees them, in pixels.
        images: With the mean and std of the channels.
        group: The processes.
        autocast: Type of autocast, or None for float32.
    """
    total = len(arrays.train)
    if int(arrays.train_labels.min()) < 0:
        return None
    queries = min(_QUERIES, total // 5)
    rows = min(total, queries + _BANK)
    part = -(-rows // group.size)
    own = torch.arange(group.rank * part, (group.rank + 1) * part).clamp(max=rows - 1)
    records = arrays.train[own.to(arrays.train.device)]
    own_features = extract_features(
        trunk, records, side, images.mean, images.std, group.device, autocast
    )
    features = torch.cat(group.gather(own_features))[:rows]
    trunk.train()
    labels = arrays.train_labels[:rows].to(features.device)
    bank, classes = slice(queries, None), int(labels.max()) + 1
    return knn_accuracy(features[bank], labels[bank], features[:queries], labels[:queries], classes)
