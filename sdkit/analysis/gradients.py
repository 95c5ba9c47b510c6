"""Gradients layer by layer: does the loss reach the early layers? (BYOT's analysis of vanishing gradients.)"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..rng import LocalRNG
from .base import ProgressBar, checked, preserve_state


class GradientStatistics(NamedTuple):
    """Mean size of the gradient of every convolution, shallow to deep."""

    layers: tuple[str, ...]  # [L] names
    stage: tuple[int, ...]  # [L] 0-based, from a name like "stages.1.0.branch.0"; -1 for the stem and all else
    magnitude: Tensor  # [L] float64, mean |dL/dW| of the layer's weights, averaged over the batches
    share: Tensor  # [L] float64, of the layers' sum: comparable between losses with more and with fewer terms


@checked
def gradient_statistics(
    model: nn.Module,
    batches: Iterable[Any],
    loss: Callable[[nn.Module, Any], Tensor],
    modules: Iterable[nn.Module] = (),
    train: bool = True,
    seed: int = 0,
    progress: ProgressBar = iter,
) -> GradientStatistics:
    """Mean |dL/dW| of every convolution of `model` over the batches, at its present weights. BYOT, gradient statistic.

    loss: called as loss(model, batch), a scalar: cross entropy, or the sum of a method's terms. A convolution that the
    loss does not reach has magnitude 0. The magnitude falls with the batch size: compare at one size, on the same batches.
    modules: what else the loss calls (a method with heads): put into the same mode and left as found, too.
    train: BatchNorm on the batch's own statistics, so that the gradient is the one that training follows; the running
    statistics are put back. False: eval mode. seed: of what the loss draws, such as a sub-network.
    """
    found = [(name, m.weight) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no convolution")
    names, weights = zip(*found, strict=True)
    total, n = torch.zeros(len(weights), dtype=torch.float64), 0
    with preserve_state(model, *modules, train=train), LocalRNG(seed), torch.enable_grad():
        for w in weights:
            w.requires_grad_(True)
        for batch in progress(batches):
            value = loss(model, batch)
            if value.ndim:
                raise ValueError(f"the loss of a batch is one number, got a tensor of shape {list(value.shape)}")
            total += _sizes(torch.autograd.grad(value, weights, allow_unused=True))
            n += 1
    if not n:
        raise ValueError("gradient statistics need at least one batch, got none")
    magnitude = total / n
    return GradientStatistics(names, tuple(map(stage_of, names)), magnitude, magnitude / magnitude.sum())


def _sizes(gradients: tuple[Tensor | None, ...]) -> Tensor:
    """Mean absolute value of each, 0 for None. -> [L] float64 on the CPU."""
    return torch.stack([torch.zeros(()) if g is None else g.abs().mean().float().cpu() for g in gradients]).double()


def stage_of(name: str) -> int:
    """The stage that a layer's name puts it in, -1 for none."""
    match = re.search(r"(?:^|\.)stages\.(\d+)\.", name)
    return int(match[1]) if match else -1
