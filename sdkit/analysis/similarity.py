"""How alike two networks see the same images: CKA and Procrustes distance of their features (beside Self-Guidance's Fig. 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import checked


@checked
def cka(a: Tensor, b: Tensor) -> float:
    """Linear centred kernel alignment in [0, 1], 1: alike up to rotation and scale. a [N, D1], b [N, D2].

    Kornblith et al. 2019: |B^T A|_F^2 / (|A^T A|_F |B^T B|_F), columns centred; in float64. Blind to a rotation, a scale
    and a shift of either side, not to a general linear map. With fewer images than features (N < D)
    even unrelated features come out alike: compare it between pairs, not with 1. nan where one side does not vary.

    Examples:
        >>> a = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0]])
        >>> round(cka(a, 5 * a.flip(1) + 1), 6)  # mirrored, larger, moved
        1.0
    """
    a, b = _centred(a, b)
    if not a.any() or not b.any():
        return float("nan")
    if len(a) < max(a.shape[1], b.shape[1]):  # the same numbers by the smaller matrices
        ka, kb = a @ a.T, b @ b.T
        return float((ka * kb).sum() / (ka.norm() * kb.norm()))
    return float((b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))


@checked
def procrustes(a: Tensor, b: Tensor) -> float:
    """What no rotation takes away between two sets of features. a [N, D1], b [N, D2] -> distance in [0, sqrt(2)].

    min over orthogonal Q of |A - B Q|_F = sqrt(2 - 2 |B^T A|_*), with A and B centred and of norm 1 (the narrower one
    padded with zeros); |.|_* is the nuclear norm. 0: alike up to rotation and scale. It is a metric (Williams et al. 2021).
    In float64, accurate to about 1e-8. nan where one side does not vary.

    Examples:
        >>> a = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0]])
        >>> procrustes(a, 5 * a.flip(1) + 1) < 1e-6
        True
    """
    a, b = _centred(a, b)
    if not a.any() or not b.any():
        return float("nan")
    common = torch.linalg.matrix_norm((b / b.norm()).T @ (a / a.norm()), "nuc")
    return float((2 - 2 * common).clamp_min(0).sqrt())


def _centred(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the mean image taken out, in float64 on the CPU."""
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < 2:
        raise ValueError(
            f"features [N, D1] and [N, D2] are of the same N >= 2 images in one order, got {list(a.shape)} and {list(b.shape)}"
        )
    return _less_mean(a), _less_mean(b)


def _less_mean(f: Tensor) -> Tensor:
    """Columns centred; exactly 0 where nothing but rounding is left."""
    f = f.detach().double().cpu()
    centred = f - f.mean(0)
    return centred if centred.norm() > 1e-12 * f.norm() else torch.zeros_like(f)
