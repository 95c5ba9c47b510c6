"""Weight noise: how flat the minimum is (BYOT's analysis; Keskar et al. 2017 for the idea)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import WEIGHTED, Progress, check_images, check_labels, scores, untouched


class NoiseCurve(NamedTuple):
    """Accuracy and loss under weight noise."""

    sigma: Tensor  # [S]
    accuracy: Tensor  # [S, R] in [0, 1], R draws of the noise
    loss: Tensor  # [S, R] mean cross entropy, nats
    relative: bool  # sigma is in units of each weight tensor's standard deviation


def noise_tolerance(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    sigmas: Sequence[float],
    draws: int = 5,
    relative: bool = False,
    seed: int = 0,
    batch_size: int = 256,
    progress: Progress = iter,
) -> NoiseCurve:
    """Accuracy and cross entropy with Gaussian noise of each sigma on the weights. BYOT, flat minima.

    theta' = theta + sigma xi on the weights of every convolution and linear layer; biases and BatchNorm untouched.
    model: images -> logits. x [N, 3, H, W] normalised, y [N]. relative: theta' = theta + sigma std(theta) xi, per tensor;
    absolute noise alone is confounded by the weights' scale, of which BatchNorm makes the function independent.

    The same `draws` noises xi serve every sigma, and depend on `seed` alone. The weights come back bit for bit.
    """
    check_images(x)
    check_labels(y, len(x))
    if draws < 1 or not len(sigmas) or not all(0 <= s < float("inf") for s in sigmas):
        raise ValueError(f"noise needs at least one draw and finite sigmas >= 0, got draws={draws}, sigmas={list(sigmas)}")
    weights = list({m.weight: None for m in model.modules() if isinstance(m, WEIGHTED)})  # a shared weight once
    if not weights:
        raise ValueError(f"{type(model).__name__} has no convolution or linear layer to put noise on")
    # one seed a draw: its noise is drawn anew at every sigma, so that only one layer of it is held at a time
    seeds = torch.randint(2**62, (draws,), generator=torch.Generator().manual_seed(seed)).tolist()
    accuracy, loss = torch.zeros(2, len(sigmas), draws, dtype=torch.float64)
    with torch.no_grad(), untouched(model):
        saved = [w.detach().clone() for w in weights]
        scale = [float(w.std(correction=0)) if relative else 1.0 for w in saved]
        try:
            for s, r in progress(list(itertools.product(range(len(sigmas)), range(draws)))):
                if r and not sigmas[s]:  # without noise all draws are the network itself
                    accuracy[s, r], loss[s, r] = accuracy[s, 0], loss[s, 0]
                    continue
                g = torch.Generator().manual_seed(seeds[r])
                for w, before, unit in zip(weights, saved, scale, strict=True):
                    xi = torch.randn(w.shape, generator=g).to(w)
                    w.copy_(before).add_(xi, alpha=float(sigmas[s]) * unit)
                accuracy[s, r], loss[s, r] = scores(model, x, y, batch_size)
        finally:
            for w, before in zip(weights, saved, strict=True):
                w.copy_(before)
    return NoiseCurve(torch.tensor([float(s) for s in sigmas], dtype=torch.float64), accuracy, loss, relative)


def tolerance(curve: NoiseCurve) -> float:
    """The share of its accuracy that a network keeps, on average over the range of sigma: 1 is no loss at all.

    Area under the mean accuracy over sigma (trapezoids), divided by the range of sigma and by the accuracy at the first sigma.
    """
    if len(curve.sigma) < 2 or not (curve.sigma.diff() > 0).all():
        raise ValueError(f"tolerance needs a curve over two or more rising sigmas, got {curve.sigma.tolist()}")
    mean = curve.accuracy.mean(1)
    return float(torch.trapezoid(mean, curve.sigma) / (curve.sigma[-1] - curve.sigma[0]) / mean[0])
