"""RankMe, α-ReQ and LiDAR on spectra that are planted."""

import math

import numpy as np
import pytest
import torch

from designspace.evaluation.label_free import prototype_measures, retrieval_accuracy
from designspace.pretraining.epoch_monitor import ridge_accuracy
from designspace.pretraining.spectrum import alpha_req, lidar, rankme


def planted(singular_values, n=400, seed=0):
    """Features (n, d) with these singular values, centered."""
    g = torch.Generator().manual_seed(seed)
    d = len(singular_values)
    left = torch.randn(n, d, generator=g, dtype=torch.float64)
    left = torch.linalg.qr(left - left.mean(0))[0]
    right = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]
    return left * torch.as_tensor(singular_values, dtype=torch.float64) @ right.T


@pytest.mark.parametrize("rank", [1, 5, 64])
def test_rankme_of_equal_singular_values_is_their_number(rank):
    values = [3.0] * rank + [0.0] * (64 - rank)
    assert rankme(planted(values)) == pytest.approx(rank, rel=1e-3)


def test_rankme_is_the_entropy_of_the_singular_values():
    """A slow twin, from the definition in the paper."""
    features = torch.randn(300, 40, generator=torch.Generator().manual_seed(1)) + 0.5
    s = np.linalg.svd(features.numpy().astype(np.float64), compute_uv=False)
    p = s / s.sum() + 1e-7
    assert rankme(features) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-9)
    # Fewer images than dimensions: the rank is at most their number.
    few = torch.randn(16, 512, generator=torch.Generator().manual_seed(2))
    assert 15 < rankme(few) <= 16.001


@pytest.mark.parametrize(("alpha", "d"), [(0.5, 128), (1.0, 128), (2.0, 128), (1.5, 20)])
def test_alpha_of_a_planted_power_law(alpha, d):
    eigenvalues = np.arange(1, d + 1) ** -alpha
    features = planted(np.sqrt(eigenvalues), n=600)
    assert alpha_req(features + 7.0) == pytest.approx(alpha, abs=1e-6)


def test_alpha_is_fitted_as_in_the_authors_code():
    """Stringer's fit, as α-ReQ uses it: ranks 11 to 100, weights 1/k, on no exact power law."""
    eigenvalues = np.exp(-np.arange(128) / 30)
    trange = np.arange(10, 100)
    y, k = np.log(eigenvalues[trange])[:, None], trange + 1
    x = np.concatenate((-np.log(k)[:, None], np.ones((len(k), 1))), axis=1)
    w = (1.0 / k)[:, None]
    expected = np.linalg.solve(x.T @ (x * w), (w * x).T @ y)[0, 0]
    assert alpha_req(planted(np.sqrt(eigenvalues))) == pytest.approx(expected, rel=1e-6)


def test_alpha_of_too_few_eigenvalues_is_none():
    assert alpha_req(torch.ones(10, 4)) is None
    assert alpha_req(torch.randn(100, 2)) is None


@pytest.mark.parametrize("rank", [3, 10])
def test_lidar_counts_the_directions_that_tell_images_apart(rank):
    """Images differ in `rank` directions equally; views differ in all, a little."""
    g = torch.Generator().manual_seed(0)
    images, views, d = 500, 4, 32
    centres = torch.zeros(images, d, dtype=torch.float64)
    centres[:, :rank] = planted([1.0] * rank, n=images) * math.sqrt(images)
    noise = 0.02 * torch.randn(images, views, d, generator=g, dtype=torch.float64)
    assert lidar(centres[:, None] + noise) == pytest.approx(rank, rel=0.05)
    # Directions along which views of one image differ as much as images do tell nothing apart.
    noise[..., rank:] *= 100
    assert lidar(centres[:, None] + noise) == pytest.approx(rank, rel=0.1)


def test_lidar_by_the_definition():
    """A slow twin: means and covariances image by image, and the whitened matrix itself."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(20, 5, 6, generator=g) * 0.3 + torch.randn(20, 1, 6, generator=g)
    z = x.numpy().astype(np.float64)
    total = z.reshape(-1, 6).mean(0)
    between = sum(np.outer(v.mean(0) - total, v.mean(0) - total) for v in z) / 20
    within = sum(np.outer(e - v.mean(0), e - v.mean(0)) for v in z for e in v) / 100
    values, vectors = np.linalg.eigh(within + 1e-4 * np.eye(6))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ between @ root)
    p = eigenvalues / np.abs(eigenvalues).sum() + 1e-7
    assert lidar(x) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-6)


def test_collapse_has_rank_one():
    constant = torch.ones(100, 16)
    assert rankme(constant) == pytest.approx(1, abs=1e-3)
    assert lidar(torch.ones(50, 4, 8)) == pytest.approx(1, abs=1e-3)


def test_features_that_are_not_finite_have_no_rank():
    features = torch.randn(20, 4)
    features[3, 2] = torch.nan
    assert math.isnan(rankme(features))
    assert math.isnan(lidar(features.view(10, 2, 4)))
    assert alpha_req(features) is None


class OnMps(torch.Tensor):
    """On an Apple GPU, as far as float64 goes: results of operations on it are there too."""

    @property
    def device(self):
        return torch.device("mps")

    def double(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_measures_of_features_on_a_device_without_float64():
    g = torch.Generator().manual_seed(0)
    features, views = torch.randn(60, 8, generator=g), torch.randn(30, 2, 8, generator=g)
    labels = torch.randint(0, 3, (60,), generator=g)
    calls = [
        (rankme, (features,)),
        (alpha_req, (features,)),
        (lidar, (views,)),
        (retrieval_accuracy, (views[:, 0], views[:, 1])),
        (ridge_accuracy, (features[:40], labels[:40], features[40:], labels[40:])),
        (prototype_measures, (labels, labels, labels.flip(0))),
    ]
    for measure, tensors in calls:
        more = (3,) if measure in (ridge_accuracy, prototype_measures) else ()
        there = [tensor.as_subclass(OnMps) for tensor in tensors]
        with pytest.raises(TypeError):
            there[0].double()
        assert measure(*there, *more) == measure(*tensors, *more), measure
