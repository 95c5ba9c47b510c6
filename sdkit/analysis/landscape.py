"""The loss around and between trained networks (Li et al. 2018; beside BYOT's noise test)."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import ProgressBar, check_images, check_labels, checked, device_of, preserve_state, restored, scores, weights_of
from .noise import seeds_of


class LossSlice(NamedTuple):
    """Loss and accuracy along a line of weights, or on a square of a plane."""

    at: Tensor  # [P]; around a network -span..span in filter norms, between two 0 (the first) ..1 (the second)
    loss: Tensor  # [P] or [P, P] mean cross entropy, nats; [i, j] is at[i] along the first direction, at[j] along the second
    accuracy: Tensor  # like loss, in [0, 1]


@checked
def loss_slice(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    span: float = 1.0,
    points: int = 21,
    seed: int = 0,
    directions: int = 1,
    batch_size: int = 256,
    progress: ProgressBar = iter,
) -> LossSlice:
    """Cross entropy along one or two random, filter-normalised directions through the trained weights. Li et al. 2018, Sec. 4.

    theta' = theta + a d (+ b e), a and b in [-span, span]; in every filter (one output channel's weights, one row of a
    linear layer) d is Gaussian noise rescaled to that filter's norm, so that slices of networks whose weights differ in
    scale compare. Zero on biases and BatchNorm, whose running statistics stay too.
    model: images -> logits. x [N, 3, H, W] normalised, y [N]. points: odd, so that the middle one is the network itself.

    The directions' noise depends on `seed` and the shapes alone: networks of one architecture are cut along the same
    draws, and the first of two directions is that of `directions=1`. The weights come back bit for bit.
    """
    check_images(x)
    check_labels(y, len(x))
    if points < 3 or points % 2 == 0:
        raise ValueError(f"points is odd and at least 3, so that the middle one is the network itself, got {points}")
    if directions not in (1, 2):
        raise ValueError(f"a slice has directions=1 (a line) or 2 (a plane), got {directions}")
    if not 0 < span < float("inf"):
        raise ValueError(f"span is how far the slice reaches, in filter norms, > 0, got {span:g}")
    weights = weights_of(model)
    half = torch.arange(1, points // 2 + 1, dtype=torch.float64) * (span / (points // 2))
    at = torch.cat([-half.flip(0), torch.zeros(1, dtype=torch.float64), half])
    loss, accuracy = torch.zeros(2, *[points] * directions, dtype=torch.float64)
    with torch.no_grad(), preserve_state(model), restored(weights) as saved:
        ways = [_direction(saved, s) for s in seeds_of(seed, directions)]
        for place in progress(list(itertools.product(range(points), repeat=directions))):
            for i, (w, before) in enumerate(zip(weights, saved, strict=True)):
                w.copy_(before)
                for way, p in zip(ways, place, strict=True):
                    w.add_(way[i], alpha=float(at[p]))
            accuracy[place], loss[place] = scores(model, x, y, batch_size)
    return LossSlice(at, loss, accuracy)


@checked
def loss_between(
    first: nn.Module,
    second: nn.Module,
    x: Tensor,
    y: Tensor,
    points: int = 21,
    statistics: Tensor | None = None,
    batch_size: int = 256,
    progress: ProgressBar = iter,
) -> LossSlice:
    """Cross entropy on the straight line from one trained network to another of the same shape, ends included.

    Every parameter goes from the first's (at 0) to the second's (at 1). BatchNorm's running statistics do not belong to a
    mixture of weights, and there are two ways with them:
    statistics=None interpolates them like the parameters: the ends are exactly the two networks, but part of a barrier in
    the middle may be nothing but wrong statistics.
    statistics=[M, 3, H, W] normalised images re-estimates them at every point, ends included, as the mean over batches
    of `batch_size`: fair to the middle, while the ends are no longer exactly the networks as trained. Use training
    images, some hundreds.
    """
    check_images(x)
    check_labels(y, len(x))
    if points < 2:
        raise ValueError(f"a line between two networks has at least its 2 ends as points, got {points}")
    if statistics is not None:
        check_images(statistics)
    here, there = _values(first), _values(second)
    if odd := sorted({(k, v.shape) for k, v in here.items()} ^ {(k, v.shape) for k, v in there.items()}):
        odd = list(dict.fromkeys(k for k, _ in odd))
        raise ValueError(f"a line joins two networks of one shape, these differ in {', '.join(odd[:3])}: build both alike")
    at = torch.linspace(0, 1, points, dtype=torch.float64)
    loss, accuracy = torch.zeros(2, points, dtype=torch.float64)
    with torch.no_grad(), preserve_state(first, second), restored(list(here.values())) as saved:
        ends = [v.detach().to(here[k], copy=True) for k, v in there.items()]  # a copy: the two may share tensors
        for p in progress(range(points)):
            for value, start, end in zip(here.values(), saved, ends, strict=True):
                value.copy_(torch.lerp(start, end, float(at[p])))  # exact at both ends
            if statistics is not None:
                _estimate_statistics(first, statistics, batch_size)
            accuracy[p], loss[p] = scores(first, x, y, batch_size)
    return LossSlice(at, loss, accuracy)


def sharpness(around: LossSlice) -> float:
    """Mean rise of the loss over its value at the network, within the span, in nats. Lower is flatter, 0 is level.

    All points of the slice count alike, the middle one too. Negative where random steps lower the loss: not a minimum.
    """
    middle = len(around.at) // 2
    if len(around.at) % 2 == 0 or float(around.at[middle]):
        raise ValueError(f"sharpness needs a slice around a network (loss_slice), got one from {_ends(around)}")
    return float((around.loss - around.loss[(middle,) * around.loss.ndim]).mean())


def barrier(between: LossSlice) -> float:
    """How far the loss on the line rises above the straight line between its ends, at most, in nats. Frankle et al. 2020.

    About 0: the two networks lie in one basin, along this line.
    """
    if between.loss.ndim != 1 or float(between.at[0]) or float(between.at[-1]) != 1:
        raise ValueError(f"a barrier lies between two networks (loss_between), got a slice from {_ends(between)}")
    return float((between.loss - torch.lerp(between.loss[0], between.loss[-1], between.at)).max())


def _ends(s: LossSlice) -> str:
    return f"{float(s.at[0]):g} to {float(s.at[-1]):g} in {s.loss.ndim}-D"


def _direction(weights: list[Tensor], seed: int) -> list[Tensor]:
    """Gaussian noise, filter by filter of the weight's norm. A filter of zeros stays."""
    g = torch.Generator().manual_seed(seed)
    way = []
    for w in weights:
        xi = torch.randn(w.shape, generator=g).to(w)
        size = (-1, *[1] * (w.ndim - 1))
        scale = w.flatten(1).norm(dim=1) / xi.flatten(1).norm(dim=1).clamp_min(1e-30)
        way.append(xi * scale.view(size))
    return way


def _values(model: nn.Module) -> dict[str, Tensor]:
    """All that mixes: parameters and real-valued buffers by name, a shared one once."""
    return {k: v for k, v in (*model.named_parameters(), *model.named_buffers()) if v.is_floating_point()}


def _estimate_statistics(model: nn.Module, x: Tensor, batch_size: int) -> None:
    """BatchNorm's running statistics anew, as the mean over batches of about one size; all other modules in eval mode."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = [m.momentum for m in norms]
    try:
        for m in norms:
            m.reset_running_stats()
            m.momentum = None  # a plain mean over the batches
            m.train()
        for part in x.tensor_split(-(-len(x) // batch_size)):
            model(part.to(device_of(model)))
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
            m.eval()
