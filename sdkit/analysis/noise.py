"""Weight noise: how flat the minimum is (BYOT's analysis; Keskar et al. 2017 for the idea)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import ProgressBar, check_images, check_labels, checked, device_of, preserve_state, restored, scores, weights_of


class NoiseCurve(NamedTuple):
    """Accuracy and loss under weight noise."""

    sigma: Tensor  # [S]
    accuracy: Tensor  # [S, R] in [0, 1], R draws of the noise
    loss: Tensor  # [S, R] mean cross entropy, nats
    relative: bool  # sigma is in units of each weight tensor's standard deviation


class NoiseLevel(NamedTuple):
    """A noise curve at one of its levels: mean and standard deviation over the draws."""

    sigma: float
    accuracy: float  # in [0, 1]
    accuracy_sd: float
    loss: float  # nats
    loss_sd: float


@checked
def noise_tolerance(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    sigmas: Sequence[float],
    draws: int = 5,
    relative: bool = False,
    seed: int = 0,
    batch_size: int = 256,
    progress: ProgressBar = iter,
) -> NoiseCurve:
    """Accuracy and cross entropy with Gaussian noise of each sigma on the weights: how flat the minimum is. BYOT.

    theta' = theta + sigma xi on the weights of every convolution and linear layer; biases and BatchNorm untouched.
    model: images -> logits. x [N, 3, H, W] normalised, y [N]. relative: theta' = theta + sigma std(theta) xi, per tensor;
    absolute noise alone is confounded by the weights' scale, of which BatchNorm makes the function independent.

    The same `draws` noises xi serve every sigma, and depend on `seed` alone. The weights come back bit for bit.
    """
    check_images(x)
    check_labels(y, len(x))
    if draws < 1 or not len(sigmas) or not all(0 <= s < math.inf for s in sigmas):
        raise ValueError(f"noise needs at least one draw and finite sigmas >= 0, got draws={draws}, sigmas={list(sigmas)}")
    weights, seeds = weights_of(model), seeds_of(seed, draws)
    accuracy, loss = torch.zeros(2, len(sigmas), draws, dtype=torch.float64)
    with torch.no_grad(), preserve_state(model), restored(weights) as saved:
        units = units_of(saved, relative)
        for s, r in progress(list(itertools.product(range(len(sigmas)), range(draws)))):
            if r and not sigmas[s]:  # without noise all draws are the network itself
                accuracy[s, r], loss[s, r] = accuracy[s, 0], loss[s, 0]
                continue
            disturb(weights, saved, [float(sigmas[s]) * unit for unit in units], seeds[r])
            accuracy[s, r], loss[s, r] = scores(model, x, y, batch_size)
    return NoiseCurve(torch.tensor([float(s) for s in sigmas], dtype=torch.float64), accuracy, loss, relative)


@checked
def noisy_logits(
    model: nn.Module, x: Tensor, sigma: float, relative: bool = False, seed: int = 0, draw: int = 0, batch_size: int = 256
) -> Tensor:
    """Logits of the network under one draw of weight noise, [N, K] on the CPU. x [N, 3, H, W] normalised.

    The noise is that of draw number `draw` of `noise_tolerance` with the same seed. The weights come back bit for bit.
    """
    check_images(x)
    if not 0 <= sigma < math.inf or draw < 0:
        raise ValueError(f"noise has a finite sigma >= 0 and a draw counted from 0, got {sigma=}, {draw=}")
    weights = weights_of(model)
    with torch.no_grad(), preserve_state(model), restored(weights) as saved:
        disturb(weights, saved, [sigma * unit for unit in units_of(saved, relative)], seeds_of(seed, draw + 1)[draw])
        return torch.cat([model(part.to(device_of(model))).float().cpu() for part in x.split(batch_size)])


def noise_step(model: nn.Module, relative: bool = False) -> float:
    """How long weight noise of sigma = 1 is, in the unit of `loss_slice`: the root of its mean squared length over |theta|.

    A filter-normalised direction is as long as the weights, so noise of sigma reaches as far as a step of
    sigma * noise_step. Relative noise of weights with mean 0 gives 1.
    """
    weights = [w.detach().double() for w in weights_of(model)]
    noise = sum(w.numel() * (float(w.var(correction=0)) if relative else 1.0) for w in weights)
    return math.sqrt(noise / sum(float(w.square().sum()) for w in weights))


def noise_level(curve: NoiseCurve, level: int) -> NoiseLevel:
    """The curve at sigma[level]; nothing between the levels is made up."""
    if not 0 <= level < len(curve.sigma):
        raise ValueError(f"this curve has the levels 0 to {len(curve.sigma) - 1}, got {level}")
    a, b = curve.accuracy[level], curve.loss[level]
    means = (float(a.mean()), float(a.std(correction=0)), float(b.mean()), float(b.std(correction=0)))
    return NoiseLevel(float(curve.sigma[level]), *means)


def seeds_of(seed: int, draws: int) -> list[int]:
    """One seed a draw: its noise is drawn anew at every sigma, so that only one layer of it is held at a time."""
    return torch.randint(2**62, (draws,), generator=torch.Generator().manual_seed(seed)).tolist()


def units_of(weights: Sequence[Tensor], relative: bool) -> list[float]:
    """What sigma is measured in for each weight tensor: its standard deviation where relative, else 1."""
    return [float(w.std(correction=0)) if relative else 1.0 for w in weights]


def disturb(weights: Sequence[Tensor], saved: Sequence[Tensor], sigmas: Sequence[float], seed: int) -> None:
    """weights = saved + sigma xi, a sigma for each tensor and the noise of one draw."""
    g = torch.Generator().manual_seed(seed)
    for w, before, sigma in zip(weights, saved, sigmas, strict=True):
        w.copy_(before).add_(torch.randn(w.shape, generator=g).to(w), alpha=sigma)


def tolerance(curve: NoiseCurve) -> float:
    """The share of its accuracy that a network keeps, on average over the range of sigma: 1 is no loss at all.

    Area under the mean accuracy over sigma (trapezoids), divided by the range of sigma and by the accuracy at the first sigma.
    """
    if len(curve.sigma) < 2 or not (curve.sigma.diff() > 0).all():
        raise ValueError(f"tolerance needs a curve over two or more rising sigmas, got {curve.sigma.tolist()}")
    mean = curve.accuracy.mean(1)
    return float(torch.trapezoid(mean, curve.sigma) / (curve.sigma[-1] - curve.sigma[0]) / mean[0])
