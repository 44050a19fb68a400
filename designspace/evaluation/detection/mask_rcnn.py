"""torchvision's Mask R-CNN with a feature pyramid network (FPN) on a RegNet trunk."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from designspace.arch import Model
from designspace.pretraining.swav_network import check_stages, trunk_of

# Levels of the pyramid that come from the trunk, at most.
_MAX_LEVELS = 4
# An anchor's side over the stride of its level, as 32 pixels at stride 4.
_ANCHOR = 8
# Cells of a region for the box head and for the mask head.
_BOX_CELLS, _MASK_CELLS = 7, 14


@dataclass(frozen=True)
class Detector:
    """Sizes of the detector around the trunk.

    Attributes:
        channels: Of the feature pyramid.
        hidden: Width of the box head's two layers.
        mask_layers: 3x3 convolutions of the mask head, of `channels` each.
        anchors: Anchors per image that the proposal network is trained on.
        regions: Regions per image that the heads are trained on.
        proposals: Proposals kept per image in training and in evaluation.
        detections: Largest number of detections per image.
        shorter: Shorter side of the images in pixels, sampled from these in training; the last one
            in evaluation.
        longest: Longest side in pixels.
    """

    channels: int
    hidden: int
    mask_layers: int
    anchors: int
    regions: int
    proposals: tuple[int, int]
    detections: int
    shorter: tuple[int, ...]
    longest: int


class PyramidTrunk(nn.Module):
    """A trunk with a feature pyramid; nothing is frozen.

    The last stage of each resolution is a level, up to four: all four stages of the published
    models. The pyramid has BatchNorm, as the trunk does.
    """

    def __init__(self, model: Model, weights: Mapping[str, Tensor] | None, channels: int) -> None:
        """Build the trunk; weights None initializes it randomly, with zero-init residual."""
        super().__init__()
        trunk = trunk_of(model, zero_init_residual=weights is None)
        check_stages(trunk, model, "a detector")
        if weights is not None:
            trunk.load_state_dict(dict(weights))
        self.stem = trunk.stem
        self.stages = nn.ModuleList(trunk.trunk_output.children())
        self._levels = levels(model)
        self.pyramid = FeaturePyramidNetwork(
            [model.body.widths[stage] for stage, _ in self._levels],
            channels,
            LastLevelMaxPool(),
            nn.BatchNorm2d,
        )
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature maps, finest first, named 0, 1, ... and pool."""
        x = self.stem(images)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        named = OrderedDict((str(i), maps[stage]) for i, (stage, _) in enumerate(self._levels))
        return self.pyramid(named)  # type: ignore[no-any-return]


def levels(model: Model) -> tuple[tuple[int, int], ...]:
    """Return stage and stride of each level of the pyramid, finest first."""
    stride = model.skeleton.stem_stride
    last: dict[int, int] = {}
    for stage, step in enumerate(model.skeleton.strides):
        stride *= step
        last[stride] = stage
    return tuple((stage, stride) for stride, stage in last.items())[-_MAX_LEVELS:]


def mask_rcnn(
    model: Model,
    weights: Mapping[str, Tensor] | None,
    size: Detector,
    classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> MaskRCNN:
    """Build the detector with fresh heads from torch's global random state.

    Args:
        model: The trunk.
        weights: Of the trunk; None for random weights.
        size: Of the detector.
        classes: Number of categories, without background.
        mean: Mean of each channel for normalization, 0 to 255.
        std: Standard deviation of each channel.
    """
    trunk = PyramidTrunk(model, weights, size.channels)
    strides = [stride for _, stride in levels(model)]
    names = [str(i) for i in range(len(strides))]
    # The pooled last level has twice its stride.
    sides = tuple((_ANCHOR * stride,) for stride in (*strides, 2 * strides[-1]))
    in_training, in_evaluation = size.proposals
    rest: dict[str, Any] = {"size_divisible": max(32, strides[-1])}
    return MaskRCNN(
        trunk,
        min_size=size.shorter,
        max_size=size.longest,
        image_mean=[value / 255 for value in mean],
        image_std=[value / 255 for value in std],
        rpn_anchor_generator=AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides)),
        rpn_pre_nms_top_n_train=in_training,
        rpn_pre_nms_top_n_test=in_evaluation,
        rpn_post_nms_top_n_train=in_training,
        rpn_post_nms_top_n_test=in_evaluation,
        rpn_batch_size_per_image=size.anchors,
        box_roi_pool=MultiScaleRoIAlign(names, _BOX_CELLS, sampling_ratio=2),
        box_head=TwoMLPHead(size.channels * _BOX_CELLS**2, size.hidden),
        box_predictor=FastRCNNPredictor(size.hidden, classes + 1),
        box_batch_size_per_image=size.regions,
        box_detections_per_img=size.detections,
        mask_roi_pool=MultiScaleRoIAlign(names, _MASK_CELLS, sampling_ratio=2),
        mask_head=MaskRCNNHeads(size.channels, (size.channels,) * size.mask_layers, 1),
        mask_predictor=MaskRCNNPredictor(size.channels, size.channels, classes + 1),
        **rest,
    )
