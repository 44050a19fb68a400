"""Label-free measures of collapse from the spectrum of features: RankMe, α-ReQ and LiDAR.

A representation that uses few of its dimensions is of low rank, whatever its loss says. All three
are computed in float64 from eigenvalues of the smaller Gram matrix. Of values that are not finite
RankMe and LiDAR are NaN, and α-ReQ is None.
"""

import math

import torch
from torch import Tensor

from designspace.pretraining.float64 import as_float64

# RankMe's and LiDAR's constant in p_k, and LiDAR's ridge δ (Garrido et al. 2023, equation 2; Thilak
# et al. 2024, equation 5).
_EPSILON = 1e-7
_RIDGE = 1e-4
# Ranks of the eigenvalues that α-ReQ's power law is fitted to, as in its authors' code.
_FIRST, _LAST = 11, 100
# Fewer eigenvalues than this are all fitted.
_FEW = 30
# Eigenvalues below this fraction of the largest are rounding.
_ZERO = 1e-12


def rankme(features: Tensor) -> float:
    """Return the effective rank of features (n, d), not centered (Garrido et al. 2023, eq. 2).

    It is the exponential of the entropy of the normalized singular values. Features of more
    dimensions than images have at most rank n: compare it with min(n, d).
    """
    return _effective_rank(_gram_eigenvalues(as_float64(features)).sqrt())


def alpha_req(features: Tensor) -> float | None:
    """Return the exponent α of the eigenvalues' decay, λ_k ∝ k^-α (Agrawal et al. 2022).

    As in the authors' code: eigenvalues of the covariance of centered features (n, d), a straight
    line through log λ against log k for k from 11 to 100, weighted by 1/k. Of fewer than 30
    nonzero eigenvalues all are fitted; None if there are fewer than 3.
    """
    values = as_float64(features)
    eigenvalues = _gram_eigenvalues(values - values.mean(0)) / max(1, len(values) - 1)
    eigenvalues = eigenvalues[eigenvalues > _ZERO * eigenvalues[0]].cpu()
    if len(eigenvalues) < 3:
        return None
    first = _FIRST if len(eigenvalues) >= _FEW else 1
    rank = torch.arange(first, min(_LAST, len(eigenvalues)) + 1, dtype=torch.float64)
    y, x, weight = eigenvalues[first - 1 : _LAST].log(), rank.log(), 1 / rank
    x_mean, y_mean = ((weight * v).sum() / weight.sum() for v in (x, y))
    slope = (weight * (x - x_mean) * (y - y_mean)).sum() / (weight * (x - x_mean) ** 2).sum()
    return -slope.item()


def lidar(embeddings: Tensor) -> float:
    """Return the effective rank of the linear discriminant analysis of views (Thilak et al. 2024).

    Args:
        embeddings: Of several augmented views of each image, (images, views, d). Each image is a
            class: the between-class covariance is whitened by the within-class covariance plus
            1e-4 on its diagonal (equations 4 to 7). The rank is at most min(images - 1, d).
    """
    values = as_float64(embeddings)
    if not values.isfinite().all():
        return math.nan
    images, views, width = values.shape
    means = values.mean(1)
    centered, residuals = means - means.mean(0), (values - means[:, None]).reshape(-1, width)
    within = residuals.T @ residuals / (images * views)
    within += _RIDGE * torch.eye(width, dtype=within.dtype, device=within.device)
    scale, vectors = torch.linalg.eigh(within)
    whitened = centered @ vectors / scale.sqrt() / math.sqrt(images)
    return _effective_rank(_gram_eigenvalues(whitened))


def _gram_eigenvalues(values: Tensor) -> Tensor:
    """Return the min(n, d) eigenvalues of the Gram matrix of (n, d), descending, at least 0."""
    if len(values) < values.shape[1]:
        values = values.T
    if not values.isfinite().all():  # LAPACK raises an error
        return values.new_full((values.shape[1],), math.nan)
    eigenvalues: Tensor = torch.linalg.eigvalsh(values.T @ values)
    return eigenvalues.flip(0).clamp_min(0)


def _effective_rank(values: Tensor) -> float:
    """Return the exponential of the entropy of values that are normalized to a sum of 1."""
    total = values.sum()
    if total <= 0:
        return 1.0
    p = values / total + _EPSILON
    return math.exp(-(p * p.log()).sum().item())
