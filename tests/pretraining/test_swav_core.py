"""The parts of SwAV against obvious twins: the papers' code, written out slowly."""

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn import functional

from designspace.arch import Body, Model, Skeleton
from designspace.errors import InputError
from designspace.pretraining.dtensor import full_tensor
from designspace.pretraining.embedding_queue import EmbeddingQueue
from designspace.pretraining.larc import Larc, rescale, rescale_together
from designspace.pretraining.loss import swapped_prediction
from designspace.pretraining.lr_schedule import learning_rate
from designspace.pretraining.recipe import Head, load_recipe, parse_recipe
from designspace.pretraining.sinkhorn import codes
from designspace.pretraining.swav_network import SwavNetwork, projection
from designspace.pretraining.swav_trainer import _optimizer

SMALL = Model(
    "small",
    Body((1, 2), (16, 32), (1.0, 1.0), (8, 8), 0.25),
    Skeleton(resolution=16, classes=10, stem_width=8, stem_stride=1, strides=(1, 2)),
)


def scores(batch, k, seed, dim=16):
    g = torch.Generator().manual_seed(seed)
    z = functional.normalize(torch.randn(batch, dim, generator=g), dim=1)
    c = functional.normalize(torch.randn(k, dim, generator=g), dim=1)
    return z @ c.T


def slow_codes(scores, epsilon, iterations):
    """SwAV's distributed_sinkhorn on one process, in float64 and unstabilised."""
    q = torch.exp(scores.double() / epsilon).T
    k, b = q.shape
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(dim=1, keepdim=True)
        q /= k
        q /= q.sum(dim=0, keepdim=True)
        q /= b
    return (q * b).T


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(2, 40),
    k=st.integers(2, 50),
    epsilon=st.sampled_from([0.03, 0.05, 0.1]),
    iterations=st.integers(1, 10),
    seed=st.integers(0, 99),
)
def test_codes_equal_the_papers(batch, k, epsilon, iterations, seed):
    s = scores(batch, k, seed)
    made = codes(s, epsilon, iterations)
    assert made.dtype == torch.float32
    assert torch.allclose(made.double(), slow_codes(s, epsilon, iterations), atol=2e-6)
    assert torch.allclose(made.sum(1), torch.ones(batch), atol=1e-5)


def test_codes_share_prototypes_equally_after_many_iterations():
    made = codes(scores(64, 8, 0), 0.05, 200)
    assert torch.allclose(made.sum(0), torch.full((8,), 8.0), atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_codes_stay_finite_where_the_papers_code_overflows(dtype):
    s = scores(32, 100, 1).to(dtype)
    assert torch.isinf(torch.exp(torch.tensor(1 / 0.01)))  # what an exact match would give
    made = codes(s, 0.01, 3)
    assert torch.isfinite(made).all()
    assert torch.allclose(made.sum(1), torch.ones(32), atol=1e-4)


def slow_loss(scores, assigned, temperature):
    crops = len(scores)
    total = 0.0
    for i in range(len(assigned)):
        part = 0.0
        for v in range(crops):
            if v == i:
                continue
            log_p = functional.log_softmax(scores[v] / temperature, dim=1)
            part -= torch.mean(torch.sum(assigned[i] * log_p, dim=1))
        total += part / (crops - 1)
    return total / len(assigned)


def test_loss_and_gradient_equal_the_papers():
    s = torch.stack([scores(12, 20, seed) for seed in range(6)]).requires_grad_()
    q = torch.stack([codes(s[i], 0.05, 3) for i in range(2)])
    fast = swapped_prediction(s, q, 0.1)
    (gradient,) = torch.autograd.grad(fast, s)
    slow = slow_loss(s.double(), q.double(), 0.1)
    (twin,) = torch.autograd.grad(slow, s)
    assert abs(fast.item() - slow.item()) < 1e-6
    assert torch.allclose(gradient, twin, atol=1e-7)


def test_loss_equals_lightlys():
    lightly = pytest.importorskip("lightly.loss")
    s = torch.stack([scores(12, 20, seed) for seed in range(4)]).requires_grad_()
    q = torch.stack([codes(s[i], 0.05, 3) for i in range(2)])
    ours = swapped_prediction(s, q, 0.1)
    theirs = lightly.SwaVLoss()([s[0], s[1]], [s[2], s[3]])
    assert abs(ours.item() - theirs.item()) < 1e-6
    a, b = (torch.autograd.grad(loss, s)[0] for loss in (ours, theirs))
    assert torch.allclose(a, b, atol=1e-5)


def test_loss_of_uniform_scores_is_log_k():
    s = torch.zeros(3, 5, 7)
    assert swapped_prediction(s, codes(s[0], 0.05, 3)[None], 0.1).item() == pytest.approx(
        math.log(7), abs=1e-6
    )


def test_queue_is_used_once_full_and_keeps_the_newest():
    queue = EmbeddingQueue(2, 6, 1, torch.device("cpu"))
    for step in range(4):
        assert queue.full == (step >= 3)
        queue.push(torch.full((2, 2, 1), float(step + 1)))
    assert queue.rows(0)[:, 0].tolist() == [4, 4, 3, 3, 2, 2]
    again = EmbeddingQueue(2, 6, 1, torch.device("cpu"))
    again.restore(queue.state())
    assert again.full
    assert torch.equal(again.rows(1), queue.rows(1))


class SlowLarc:
    """apex's LARC with clipping off, around SGD with momentum, parameter by parameter."""

    def __init__(self, params, momentum, weight_decay, trust):
        self.params, self.decay, self.trust = params, weight_decay, trust
        self.sgd = torch.optim.SGD(params, lr=0.0, momentum=momentum, weight_decay=0)

    def step(self, lr):
        for p in self.params:
            norm, slope = torch.norm(p.data), torch.norm(p.grad)
            if norm != 0 and slope != 0:
                rate = self.trust * norm / (slope + norm * self.decay + 1e-8)
                p.grad = (p.grad + self.decay * p.data) * rate
        self.sgd.param_groups[0]["lr"] = lr
        self.sgd.step()


def test_larc_equals_apexs():
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    nn.init.zeros_(ours[2].bias)  # a norm of 0: its gradient stays as it is
    theirs = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    theirs.load_state_dict(ours.state_dict())
    fast = Larc(ours.parameters(), 0.9, 1e-2, 0.001)
    slow = SlowLarc(list(theirs.parameters()), 0.9, 1e-2, 0.001)
    for step in range(5):
        x = torch.randn(6, 4)
        for net in (ours, theirs):
            net.zero_grad()
            net(x).square().sum().backward()
        fast.param_groups[0]["lr"] = 0.5 + step
        fast.step()
        slow.step(0.5 + step)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_larc_rescales_small_tensors_in_one_buffer_to_the_same_bits():
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3, 3, 3), (7,), (5, 2), (0,), (1,)]
    params, gradients = (
        [torch.randn(shape, generator=generator) for shape in shapes] for _ in range(2)
    )
    for tensors in (params, gradients):
        tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
    ratio, decay = torch.rand(2, len(shapes), generator=generator)
    one, together = ([g.clone() for g in gradients] for _ in range(2))
    rescale(params, one, ratio, decay, list(range(len(shapes))))
    rows = [0, 2, 3, 4]
    owners = torch.repeat_interleave(
        torch.tensor(rows), torch.tensor([params[i].numel() for i in rows])
    )
    rescale_together(params, together, ratio[owners], decay[owners], rows)
    rescale(params, together, ratio, decay, [1])
    for a, b, before in zip(one, together, gradients, strict=True):
        assert torch.equal(a, b)
        assert a.numel() == 0 or not torch.equal(a, before)


def test_larc_leaves_alone_what_has_no_gradient():
    net = nn.Linear(3, 2)
    optimizer = Larc(net.parameters(), 0.9, 0.1, 0.001)
    net(torch.randn(4, 3)).sum().backward()
    net.weight.grad = None
    before = net.weight.clone()
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    assert torch.equal(net.weight, before)


@pytest.mark.parametrize("larc", [True, False])
@pytest.mark.parametrize("sharded", [True, False])
def test_the_optimizer_steps_all_tensors_together(tmp_path, monkeypatch, sharded, larc):
    """torch's default for sharded tensors is a loop over them."""
    monkeypatch.setattr(sys.modules["torch.optim.sgd"], "_single_tensor_sgd", None)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        tensors = [torch.full((4, 2), i + 1.0) for i in range(3)]
        if sharded:
            tensors = [distribute_tensor(t, mesh, [Shard(0)]) for t in tensors]
        network = nn.ParameterList(tensors)
        recipe = parse_recipe({**load_recipe("swav").to_dict(), "larc": larc}, "test")
        optimizer = _optimizer(network, recipe, scaled=False)
        optimizer.param_groups[0]["lr"] = 0.5
        for p in network:
            p.grad = torch.ones_like(p)
        optimizer.step()
        assert all(full_tensor(p).mean() < i + 1 for i, p in enumerate(network))
    finally:
        dist.destroy_process_group()


def test_rates_follow_the_papers():
    recipe = load_recipe("swav")
    per_epoch = 1_281_167 // recipe.batch_size
    rate = [learning_rate(recipe, i, per_epoch) for i in range(recipe.epochs * per_epoch)]
    # SwAV's main_swav.py: linspace over the warm-up, then the half cosine.
    warm = np.linspace(0.3, 4.8, per_epoch * 10)
    rest = np.arange(per_epoch * (recipe.epochs - 10))
    cosine = 0.0048 + 0.5 * (4.8 - 0.0048) * (1 + np.cos(math.pi * rest / len(rest)))
    assert np.allclose(rate, np.concatenate([warm, cosine]))


def test_rates_scale_with_the_batch():
    recipe = load_recipe("swav").override(batch_size=256)
    assert (recipe.lr, recipe.start_lr) == pytest.approx((0.3, 0.01875))
    assert load_recipe("swav").override(lr=2.4).final_lr == pytest.approx(0.0024)


def test_head_runs_once_and_prototypes_have_no_bias():
    recipe = load_recipe("quick")
    net = SwavNetwork(SMALL, recipe)
    calls = []
    net.head.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    embeddings, s = net([torch.randn(4, 3, 16, 16), torch.randn(4, 3, 12, 12)])
    assert calls == [8]
    assert net.prototypes.bias is None
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(8), atol=1e-6)
    net.normalize_prototypes()
    assert torch.allclose(net.prototypes.weight.norm(dim=1), torch.ones(s.shape[1]), atol=1e-6)


def test_head_with_and_without_batch_norm():
    kinds = [type(m).__name__ for m in projection(8, Head(hidden=(4, 4), dim=2))]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    plain = [type(m).__name__ for m in projection(8, Head(hidden=(4,), dim=2, batch_norm=False))]
    assert plain == ["Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("after", ["block", [[1], [1]], [[], [2]]])
def test_computing_activations_again_changes_nothing(after):
    recipe = load_recipe("quick")
    torch.manual_seed(0)
    plain = SwavNetwork(SMALL, recipe)
    again = SwavNetwork(SMALL, recipe.model_copy(update={"checkpoint_after": after}))
    again.load_state_dict(plain.state_dict())
    x = [torch.randn(6, 3, 16, 16)]
    for net in (plain, again):
        net(x)[1].square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name
    for (name, a), b in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_a_trunk_too_deep_for_the_crops_is_refused():
    deep = Model(
        "deep", Body((1,) * 4, (8,) * 4, (1.0,) * 4, (8,) * 4), Skeleton(16, 10, 8, 2, (2, 2, 2, 2))
    )
    with pytest.raises(InputError, match=r"deep is too deep for crops of 12 pixels.*32"):
        SwavNetwork(deep, load_recipe("quick"))


def test_wrong_block_numbers_are_refused():
    recipe = load_recipe("quick").model_copy(update={"checkpoint_after": [[1], [3]]})
    with pytest.raises(InputError, match="rising block numbers from 1 to 2"):
        SwavNetwork(SMALL, recipe)
