"""A family of its own in one file: MobileNetV2's inverted residuals, from torchvision's parts.

Sandler et al. 2018 (arXiv 1801.04381), §3.3: a 1x1 convolution widens the input t times, a k x k
depthwise one follows, and a 1x1 without a ReLU narrows it again; the input is added where shapes
are equal. An entry point names it, and a space file says which t and k may be chosen:

    [project.entry-points."designspace.blocks"]
    inverted-residual = "inverted_residual:BLOCK"
"""

import numpy as np

from designspace.arch import Block, BlockAxis, Cost


def cost(stages, skeleton):
    """Multiply-adds, parameters and activations, of all bodies at once, as `body.cost` counts."""
    sides = skeleton.stage_resolutions()
    ones = np.ones(len(stages), dtype=np.int64)
    # Stem: 3x3 convolution of 3 channels without bias, BatchNorm.
    flops = 27 * skeleton.stem_width * sides[0] ** 2 * ones
    params = 29 * skeleton.stem_width * ones
    acts = skeleton.stem_width * sides[0] ** 2 * ones
    width_in = skeleton.stem_width * ones
    for i in range(skeleton.num_stages):
        area_in, area = sides[i] ** 2, sides[i + 1] ** 2
        depth, width = stages.depths[:, i], stages.widths[:, i]
        t, k = (stages.extras[axis][:, i].astype(np.int64) for axis in ("t", "k"))
        # The first block changes size and width, the others don't; t = 1 needs no widening.
        for blocks, inner, before, side_in in (
            (1, t * width_in, width_in, area_in),
            (depth - 1, t * width, width, area),
        ):
            widening = np.where(t > 1, before * inner, 0)
            flops += blocks * (widening * side_in + (k * k * inner + inner * width) * area)
            norms = np.where(t > 1, inner, 0) + inner + width
            params += blocks * (widening + k * k * inner + inner * width + 2 * norms)
            acts += blocks * (np.where(t > 1, inner, 0) * side_in + (inner + width) * area)
        width_in = width
    # Classifier: linear with bias, on the mean over the last map.
    flops += (width_in + 1) * skeleton.classes
    params += (width_in + 1) * skeleton.classes
    return Cost(flops=flops, params=params, acts=acts + skeleton.classes)


def network(model, zero_init_residual):
    """Build the torch network of a model."""
    from functools import partial

    from torch import nn
    from torchvision.ops.misc import Conv2dNormActivation

    relu6 = partial(Conv2dNormActivation, activation_layer=nn.ReLU6)

    class InvertedResidual(nn.Module):
        def __init__(self, width_in, width, stride, t, k):
            super().__init__()
            inner = t * width_in
            parts = [] if t == 1 else [relu6(width_in, inner, 1)]
            parts.append(relu6(inner, inner, k, stride, groups=inner))
            parts.append(Conv2dNormActivation(inner, width, 1, activation_layer=None))
            self.branch = nn.Sequential(*parts)
            self.residual = stride == 1 and width_in == width
            if zero_init_residual and self.residual:
                nn.init.zeros_(parts[-1][1].weight)

        def forward(self, images):
            made = self.branch(images)
            return images + made if self.residual else made

    body, skeleton = model.body, model.skeleton
    kinds = dict(body.extras)
    layers = [relu6(3, skeleton.stem_width, 3, skeleton.stem_stride)]
    width_in = skeleton.stem_width
    for i, stride in enumerate(skeleton.strides):
        t, k = int(kinds["t"][i]), int(kinds["k"][i])
        for j in range(body.depths[i]):
            layers.append(InvertedResidual(width_in, body.widths[i], stride if j == 0 else 1, t, k))
            width_in = body.widths[i]
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width_in, skeleton.classes)]
    return nn.Sequential(*layers, *pooled)


BLOCK = Block(
    name="inverted-residual",
    about="MobileNetV2's inverted residual (Sandler et al. 2018)",
    axes=(
        BlockAxis("t", "how many times wider the block is inside", 1, 12),
        BlockAxis("k", "side of the depthwise kernel", 1, 11),
    ),
    cost=cost,
    network=network,
)
