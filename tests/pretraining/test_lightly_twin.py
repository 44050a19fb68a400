"""A whole step against lightly's SwAV, written by others: losses to 1e-6, gradients to 1e-5."""

import pytest
import torch
from torch.nn import functional

from designspace.arch import Body, Model, Skeleton
from designspace.pretraining.distributed import ProcessGroupInfo
from designspace.pretraining.loss import swapped_prediction
from designspace.pretraining.recipe import load_recipe, parse_recipe
from designspace.pretraining.swav_network import SwavNetwork
from designspace.pretraining.swav_trainer import SwavTrainer

pytest.importorskip("lightly", reason="lightly, of the extra `dev`, is not installed")

BATCH = 16
SMALL = Model(
    "small",
    Body((1, 2), (16, 32), (1.0, 1.0), (8, 8), 0.25),
    Skeleton(resolution=16, classes=10, stem_width=8, stem_stride=1, strides=(1, 2)),
)


def recipe(**changes):
    """The papers' temperature, epsilon and three iterations of Sinkhorn, which lightly has too."""
    data = load_recipe("swav").to_dict() | {
        "crops": [
            {"count": 2, "size": 16, "scale": [0.14, 1.0]},
            {"count": 3, "size": 12, "scale": [0.05, 0.14]},
        ],
        "head": {"hidden": [24], "dim": 16},
        "prototypes": 40,
        "batch_size": BATCH,
        "freeze_prototypes": 0,
        "warmup_epochs": 0.0,
    }
    return parse_recipe({**data, **changes}, "test")


def crops(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(k * BATCH, 3, side, side, generator=g) for k, side in ((2, 16), (3, 12))]


class Lightly(torch.nn.Module):
    """lightly's head and prototypes on our trunk, with the weights of our network."""

    def __init__(self, ours):
        from lightly.models.modules import SwaVProjectionHead, SwaVPrototypes

        super().__init__()
        self.trunk = ours.trunk
        self.head = SwaVProjectionHead(32, 24, 16)
        self.prototypes = SwaVPrototypes(16, 40)
        linear, norm, _, last = self.head.layers
        assert linear.bias is None  # ours has one, which the BatchNorm after it takes away
        (k_linear,) = [m for m in self.prototypes.modules() if isinstance(m, torch.nn.Linear)]
        torch.nn.init.zeros_(k_linear.bias)  # the papers' has none
        self.pairs = [
            (linear.weight, ours.head[0].weight),
            (norm.weight, ours.head[1].weight),
            (norm.bias, ours.head[1].bias),
            (last.weight, ours.head[3].weight),
            (last.bias, ours.head[3].bias),
            (k_linear.weight, ours.prototypes.weight),
        ]
        with torch.no_grad():
            for theirs, mine in self.pairs:
                theirs.copy_(mine)

    def forward(self, images):
        features = torch.cat([self.trunk(part) for part in images])
        self.prototypes.normalize()
        embeddings = functional.normalize(self.head(features), dim=1)
        return embeddings, self.prototypes(embeddings)


@pytest.mark.parametrize("queued", [False, True])
def test_losses_and_gradients_are_lightlys(queued):
    from lightly.loss import SwaVLoss

    length = 2 * BATCH if queued else None
    training = SwavTrainer(
        SMALL,
        recipe(queue=length and {"length": length}),
        10,
        0,
        ProcessGroupInfo(torch.device("cpu")),
    )
    ours = training.network
    theirs = Lightly(ours)
    rows = functional.normalize(torch.randn(2, 2 * BATCH, 16), dim=2)
    if queued:
        training._queue.push(rows)
    ours.normalize_prototypes()
    images = crops(0)
    _, scores = ours(images)
    scores = scores.view(5, BATCH, -1)
    assigned = training._assign(scores)
    loss = swapped_prediction(scores, assigned, 0.1)
    loss.backward()
    trunk = {name: p.grad.clone() for name, p in ours.trunk.named_parameters()}

    ours.trunk.zero_grad()
    _, outputs = theirs(images)
    outputs = outputs.view(5, BATCH, -1)
    old = [theirs.prototypes(part).detach() for part in rows] if queued else None
    criterion = SwaVLoss(temperature=0.1, sinkhorn_iterations=3, sinkhorn_epsilon=0.05)
    twin = criterion(list(outputs[:2]), list(outputs[2:]), old)
    twin.backward()

    assert abs(loss.item() - twin.item()) < 1e-6
    for name, p in ours.trunk.named_parameters():
        assert torch.allclose(trunk[name], p.grad, atol=1e-5), name
    for their, mine in theirs.pairs:
        assert torch.allclose(mine.grad, their.grad, atol=1e-5)
    assert max(p.grad.abs().max() for _, p in theirs.pairs) > 1e-3


def test_losses_along_a_training_are_lightlys():
    """Ten steps with LARC, each with crops of its own; lightly takes up the weights of each."""
    from lightly.loss import SwaVLoss

    training = SwavTrainer(SMALL, recipe(), 10, 0, ProcessGroupInfo(torch.device("cpu")))
    criterion = SwaVLoss()
    losses = []
    for step in range(10):
        copy = SwavNetwork(SMALL, recipe())
        copy.load_state_dict(training.network.state_dict())
        _, outputs = Lightly(copy)(crops(step))
        outputs = outputs.view(5, BATCH, -1)
        twin = criterion(list(outputs[:2]), list(outputs[2:]))
        losses.append(training.step(crops(step))[0].item())
        # The trunk in training is fused for the CPU, and so rounds otherwise than the copy.
        assert abs(losses[-1] - twin.item()) < 1e-5
    assert losses[-1] != losses[0]
