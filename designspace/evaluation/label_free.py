"""Evaluation without labels: rank of features, agreement of augmented views, prototypes in use.

No labels are read, so the measures compare trunks on the same images, or checkpoints of one
pretraining; they do not replace accuracy where there are labels. RankMe and LiDAR are effective
ranks (Garrido et al. 2023; Thilak et al. 2024), α-ReQ is the decay of the eigenvalues (Agrawal et
al. 2022); retrieval of the same image from another view is the task of instance discrimination (Wu
et al. 2018), and perplexity is that of a codebook (van den Oord et al. 2017).
"""

import math
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from designspace.data.batches import open_arrays
from designspace.data.decode import Geometry
from designspace.data.prepare import prepare_images
from designspace.evaluation.backbone import Backbone
from designspace.evaluation.evaluation_options import EvaluationObserver, EvaluationOptions
from designspace.evaluation.scores import PERCENT, Score, ScoreBook, ScoreKey, ScoreKind, Task
from designspace.pretraining.crop_loader import select_images
from designspace.pretraining.features import extract_features
from designspace.pretraining.float64 import as_float64
from designspace.pretraining.images import is_stream, open_stream
from designspace.pretraining.multicrop import CropMaker, draw_crops, mixed_seed
from designspace.pretraining.recipe import SwavRecipe, load_recipe
from designspace.pretraining.spectrum import alpha_req, lidar, rankme
from designspace.pretraining.swav_network import trunk_of
from designspace.training.device_setup import prepare
from designspace.training.devices import available_cores, resolve_devices

# Images whose features are measured, and fraction of them that each seed draws.
_IMAGES, _DRAWN = 10_000, 0.9
# Images that are augmented, views of each, and images whose views pass through the trunk together.
_AUGMENTED, _VIEWS, _BATCH = 1000, 4, 64
# Views below this side are not blurred, which would hide all.
_BLUR_SIDE = 64
# Measures that are no percentages; the rest are.
RANKME, ALPHA, LIDAR, PERPLEXITY = "RankMe", "α-ReQ", "LiDAR", "prototype perplexity"
RETRIEVAL, USED, SAME = "same image retrieved", "prototypes in use", "same prototype of two views"


class LabelFree:
    """A trunk on images whose labels, if they have any, are not read."""

    def __init__(
        self, backbone: Backbone, options: EvaluationOptions, observer: EvaluationObserver
    ) -> None:
        """Decode the images; of shards, equally many from each.

        Raises:
            InputError: The options don't fit this machine, or there are no images.
        """
        self._device = torch.device(resolve_devices(options.device)[0])
        self._autocast = prepare(self._device, threads=options.threads or available_cores())
        self._backbone, self._options, self._observer = backbone, options, observer
        self._recipe = _view_recipe(backbone)
        channels = backbone.model.skeleton.channels
        if is_stream(options.data):
            recipe = self._recipe.model_copy(update={"record": backbone.side})
            stream = open_stream(options.data, recipe, channels, options.cache, observer)
            self._records, self._content = stream.sample(_IMAGES), stream.content
            mean, std = stream.mean, stream.std
        else:
            square = Geometry(backbone.side, backbone.side, channels=channels)
            cache = prepare_images(
                options.data,
                (square, square),
                options.cache,
                download=options.download,
                observer=observer,
            ).cache
            self._records = open_arrays(cache.path, self._device).train[:_IMAGES]
            self._content, mean, std = cache.content, cache.mean, cache.std
        note = rank_note(len(self._records), backbone.model.output_width)
        if note:
            observer.note(note)
        # The trunk sees images normalized as in pretraining, whatever the data.
        self._mean, self._std = backbone.mean or mean, backbone.std or std

    def scores(self, folder: Path) -> list[Score]:
        """Measure the pretrained trunk, and random ones; each seed draws images and views.

        Args:
            folder: Of the score journal.
        """
        book, backbone = (
            ScoreBook(folder, self._options.repetitions, self._observer.note),
            self._backbone,
        )
        scores: list[Score] = []
        for kind in (ScoreKind.PRETRAINED, ScoreKind.RANDOM):
            key = ScoreKey(
                task=Task.LABELFREE,
                data=self._options.data,
                share=1.0,
                labels=0,
                kind=kind,
                what=kind.label + backbone.side_words,
                images=len(self._records),
                split="training images",
                source=backbone.source,
            )
            pretrained = kind is ScoreKind.PRETRAINED
            network = backbone.digest if pretrained else backbone.network
            views = (self._recipe.crops, self._recipe.augment)
            scores += book.score(
                key,
                (key.task, network, self._content, backbone.side, views),
                partial(self._measure, kind),
                self._units(with_prototypes=pretrained and backbone.prototypes is not None),
            )
        book.save_table(scores)
        return scores

    def _units(self, with_prototypes: bool) -> dict[str, str]:
        """Unit of each measure."""
        own = {USED: PERCENT, PERPLEXITY: "", SAME: PERCENT} if with_prototypes else {}
        return {RANKME: "", ALPHA: "", LIDAR: "", RETRIEVAL: PERCENT, **own}

    def _measure(self, kind: ScoreKind, seed: int) -> dict[str, float]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trunk = trunk_of(self._backbone.model)
        pretrained = kind is ScoreKind.PRETRAINED
        if pretrained:
            trunk.load_state_dict(dict(self._backbone.weights))
        trunk.to(device=self._device, memory_format=torch.channels_last).eval()
        generator = torch.Generator().manual_seed(mixed_seed(seed, 4))
        count = _drawn(len(self._records))
        rows = torch.randperm(len(self._records), generator=generator)[:count]
        records = self._records[rows.to(self._records.device)]
        features = extract_features(
            trunk, records, self._backbone.side, self._mean, self._std, self._device, self._autocast
        )
        views = self._view_features(trunk, records[:_AUGMENTED], seed)
        scorer = self._backbone.prototypes if pretrained else None
        if scorer is None:
            return label_free_measures(features, views)
        winners, first, second = (
            torch.cat([scorer(chunk).argmax(1) for chunk in torch.split(part, _AUGMENTED)])
            for part in (features, views[:, 0], views[:, 1])
        )
        count = len(scorer.state["prototypes.weight"])
        own = prototype_measures(winners, first, second, count)
        return label_free_measures(features, views) | own

    @torch.no_grad()
    def _view_features(self, trunk: nn.Module, records: Tensor, seed: int) -> Tensor:
        """Features of augmented views of images, (images, views, width)."""
        maker = CropMaker(self._recipe, self._mean, self._std, self._device)
        draws = draw_crops(self._recipe, records.shape[1], len(records), seed, 0)
        parts = []
        for rows in torch.split(torch.arange(len(records)), _BATCH):
            chosen = select_images(records, rows, self._device)
            (crops,) = maker(chosen, [draw.take(rows) for draw in draws])
            with torch.autocast(
                self._device.type, dtype=self._autocast, enabled=self._autocast is not None
            ):
                features = trunk(crops).float()
            parts.append(features.view(_VIEWS, len(rows), -1).transpose(0, 1))
        return torch.cat(parts)


def _drawn(images: int) -> int:
    return max(1, round(_DRAWN * images))


def rank_note(images: int, width: int) -> str | None:
    """Say so where the number of images limits a rank, rather than the width of the features."""
    drawn = _drawn(images)
    classes = min(_AUGMENTED, drawn) - 1
    limits = {RANKME: drawn, LIDAR: classes}
    short = [f"{name} can't exceed {limit:,}" for name, limit in limits.items() if limit < width]
    if not short:
        return None
    return (
        f"{' and '.join(short)}, by the number of images: the features have {width:,} dimensions. "
        "Compare trunks of one width, on the same images"
    )


def _view_recipe(backbone: Backbone) -> SwavRecipe:
    """How views are cut: as the large crops of the trunk's pretraining, or as SwAV's."""
    recipe = backbone.recipe or load_recipe("swav")
    crop = recipe.crops[0].model_copy(update={"count": _VIEWS, "size": backbone.side})
    augment = recipe.augment
    if backbone.recipe is None and backbone.side < _BLUR_SIDE:
        augment = augment.model_copy(update={"blur": 0.0})
    return recipe.model_copy(update={"crops": (crop,), "assign": 2, "augment": augment})


def label_free_measures(features: Tensor, views: Tensor) -> dict[str, float]:
    """Return RankMe, LiDAR, retrieval and, unless features have too few dimensions, α-ReQ.

    Of features that are not finite, which overflow in 16 bits, there is no rank.

    Args:
        features: Of images, (n, width).
        views: Of augmented views of images, (m, views, width); LiDAR takes each image as a class.
    """
    alpha = alpha_req(features)
    measures = {
        RANKME: rankme(features),
        **({} if alpha is None else {ALPHA: alpha}),
        LIDAR: lidar(views),
        RETRIEVAL: retrieval_accuracy(views[:, 0], views[:, 1]),
    }
    return {name: value for name, value in measures.items() if math.isfinite(value)}


def retrieval_accuracy(queries: Tensor, bank: Tensor) -> float:
    """Return how often, in percent, the view in the bank nearest to another is of the same image.

    Args:
        queries: Features of one view of each image, (n, width); they are centered with the bank.
        bank: Features of another view of each, in the same order.
    """
    mean = torch.cat([queries, bank]).mean(0)
    own, other = (functional.normalize(part - mean, dim=1) for part in (queries, bank))
    similarity = own @ other.T
    # Strictly nearer than every other image: views that are all alike retrieve nothing.
    same = similarity.diagonal().clone()
    others = similarity.fill_diagonal_(-torch.inf).amax(1)
    return 100.0 * float(as_float64(same > others).mean())


def prototype_measures(
    winners: Tensor, first: Tensor, second: Tensor, count: int
) -> dict[str, float]:
    """Return prototypes in use and same prototype of two views, in percent, and perplexity.

    Perplexity is the exponential of the entropy of the share of each prototype: from 1, where all
    images are nearest to one, to their number, where each has equally many.

    Args:
        winners: Nearest prototype of each image.
        first: Nearest prototype of a view of each of some images.
        second: That of another view.
        count: Number of prototypes.
    """
    counts = as_float64(torch.bincount(winners, minlength=count))
    shares = counts[counts > 0] / len(winners)
    return {
        USED: 100.0 * len(shares) / count,
        PERPLEXITY: float(torch.exp(-(shares * shares.log()).sum())),
        SAME: 100.0 * float(as_float64(first == second).mean()),
    }
