"""What the viewers read off: one level of a noise curve, one epoch of the ranked outputs, the answer on one image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import WEIGHTED, Progress, check_images, check_logits, device_of, untouched
from .cam import last_convolution
from .features import ENGINES, Projection, Separation, project_pca, project_tsne, separation
from .noise import NoiseCurve
from .ranked import SPACES, ranked_output_variance


class NoiseLevel(NamedTuple):
    """A noise curve at one of its levels: mean and standard deviation over the draws."""

    sigma: float
    accuracy: float  # in [0, 1]
    accuracy_sd: float
    loss: float  # nats
    loss_sd: float


class Answers(NamedTuple):
    """What a network says of each image."""

    label: Tensor  # [N] int64, the most probable class
    confidence: Tensor  # [N] its probability


class RankedProfile(NamedTuple):
    """The sorted outputs of many images, epoch by epoch, the largest first."""

    mean: Tensor  # [E, top] over the images
    sd: Tensor  # [E, top]
    variance: Tensor  # [E] of all K ranks' outputs, averaged: `ranked_output_variance`


def noise_level(curve: NoiseCurve, level: int) -> NoiseLevel:
    """The curve at sigma[level]; nothing between the levels is made up."""
    if not 0 <= level < len(curve.sigma):
        raise ValueError(f"this curve has the levels 0 to {len(curve.sigma) - 1}, got {level}")
    a, b = curve.accuracy[level], curve.loss[level]
    means = (float(a.mean()), float(a.std(correction=0)), float(b.mean()), float(b.std(correction=0)))
    return NoiseLevel(float(curve.sigma[level]), *means)


def noisy_logits(
    model: nn.Module, x: Tensor, sigma: float, relative: bool = False, seed: int = 0, draw: int = 0, batch_size: int = 256
) -> Tensor:
    """Logits of the network under one draw of weight noise, [N, K] on the CPU. x [N, 3, H, W] normalised.

    The noise is that of draw number `draw` of `noise_tolerance` with the same seed. The weights come back bit for bit.
    """
    check_images(x)
    if not 0 <= sigma < math.inf or draw < 0:
        raise ValueError(f"noise has a finite sigma >= 0 and a draw counted from 0, got {sigma=}, {draw=}")
    weights = _weights(model)
    own = int(torch.randint(2**62, (draw + 1,), generator=torch.Generator().manual_seed(seed))[draw])
    with torch.no_grad(), untouched(model):
        saved = [w.detach().clone() for w in weights]
        g = torch.Generator().manual_seed(own)
        try:
            for w in weights:
                unit = float(w.std(correction=0)) if relative else 1.0
                w.add_(torch.randn(w.shape, generator=g).to(w), alpha=sigma * unit)
            return torch.cat([model(part.to(device_of(model))).float().cpu() for part in x.split(batch_size)])
        finally:
            for w, before in zip(weights, saved, strict=True):
                w.copy_(before)


def noise_step(model: nn.Module, relative: bool = False) -> float:
    """How long weight noise of sigma = 1 is, in the unit of `loss_slice`: the root of its mean squared length over |theta|.

    A filter-normalised direction is as long as the weights, so noise of sigma reaches as far as a step of
    sigma * noise_step. Relative noise of weights with mean 0 gives 1.
    """
    weights = [w.detach().double() for w in _weights(model)]
    noise = sum(w.numel() * (float(w.var(correction=0)) if relative else 1.0) for w in weights)
    return math.sqrt(noise / sum(float(w.square().sum()) for w in weights))


def answers(logits: Tensor) -> Answers:
    """The most probable class of every image and its probability. logits [N, K]. In float64."""
    check_logits(logits)
    confidence, label = logits.double().softmax(1).max(1)
    return Answers(label, confidence)


def ranked_profile(outputs: Tensor, space: str = "probabilities", top: int = 10, progress: Progress = iter) -> RankedProfile:
    """Mean and spread over the images of each of the `top` largest outputs, in every epoch. outputs: logits [E, N, K].

    space: one of `SPACES`, as in `ranked_output_variance`. All K ranks are kept where there are fewer than `top`.
    """
    if outputs.ndim != 3 or not outputs.numel() or top < 1:
        raise ValueError(f"ranked_profile takes logits [E, N, K] and top >= 1, got {list(outputs.shape)} and {top=}")
    if space not in SPACES:
        raise ValueError(f"outputs are ranked as {', '.join(map(repr, SPACES))}, got {space!r}")
    mean, sd, variance = [], [], []
    for logits in progress(list(outputs)):
        z = logits.double().sort(1, descending=True).values
        variance.append(ranked_output_variance(z, space))
        if space == "probabilities":
            z = z.softmax(1)
        elif space == "standardised":
            z = z - z.mean(1, keepdim=True)
            z = z / z.std(1, correction=0, keepdim=True).clamp_min(1e-300)
        z = z[:, :top]
        mean.append(z.mean(0))
        sd.append(z.std(0, correction=0))
    return RankedProfile(torch.stack(mean), torch.stack(sd), torch.stack(variance))


def project_epochs(outputs: Tensor, seed: int = 0) -> list[Projection]:
    """The outputs of every epoch on the two principal components that all epochs have in common. [E, N, K] -> E of [N, 2].

    One pair of axes for the whole training: a point's path is its own, not a turn of the axes.
    """
    if outputs.ndim != 3 or not outputs.numel():
        raise ValueError(f"outputs of several epochs are [E, N, K], got {list(outputs.shape)}")
    every = project_pca(outputs.flatten(0, 1), 2, seed)
    return [Projection(p, f"{every.engine}, one pair of axes", every.explained) for p in every.points.split(outputs.shape[1])]


def project(features: Tensor, engine: str = "PCA", seed: int = 0, progress: Progress = iter) -> Projection:
    """Features on the plane by "PCA" or one of the engines of `project_tsne`. features [N, D] -> [N, 2].

    The perplexity is 30, or (N - 1) / 3 where there are too few images for that.
    """
    if engine == "PCA":
        return project_pca(features, 2, seed)
    if engine not in ENGINES:
        raise ValueError(f"features are drawn by 'PCA', {', '.join(map(repr, ENGINES))}, got {engine!r}")
    return project_tsne(features, engine, min(30.0, (len(features) - 1) / 3), seed, progress)


def separation_of(features: Tensor, y: Tensor) -> Separation | None:
    """`separation` with 10 neighbours, or as many as there are; None where one class is left and nothing to separate."""
    return separation(features, y, min(10, len(y) - 1)) if 2 <= len(y.unique()) < len(y) else None


def of_classes(y: Tensor, classes: Sequence[int], limit: int | None = None) -> Tensor:
    """Places of the images of these classes, class by class in the order given, at most `limit` of each. y [N] -> [M]."""
    found = [(y == c).nonzero()[:limit, 0] for c in classes]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)


def nearest(places: Sequence[Tensor], x: float, y: float, aspect: float = 1.0) -> int:
    """The row of the place that is next to (x, y) in any of the panels. places: one or more [N, 2] of the same N points.

    x, y and places in fractions of a picture, of which `aspect` is width over height.
    """
    if not len(places) or any(p.ndim != 2 or p.shape[1] != 2 or len(p) != len(places[0]) for p in places) or not len(places[0]):
        raise ValueError(f"places are panels of [N, 2] with the same N >= 1, got {[list(p.shape) for p in places]}")
    away = [(p - torch.tensor([x, y], dtype=p.dtype)) * torch.tensor([aspect, 1.0], dtype=p.dtype) for p in places]
    return int(torch.stack([a.square().sum(1) for a in away]).amin(0).argmin())


def reach(points: Sequence[Tensor]) -> float:
    """How far axes go on both sides of 0 to hold all of these points [N, 2], with a little room."""
    return 1.05 * max(float(p.abs().max()) for p in points)


def mask_iou(maps: Tensor, mask: Tensor) -> Tensor:
    """Intersection over union of the object and as many of the map's hottest pixels. maps, mask (bool) [B, H, W] -> [B].

    Of equally hot pixels the first ones count. nan for an image without an object.
    """
    if maps.shape != mask.shape or maps.ndim != 3 or mask.dtype != torch.bool:
        raise ValueError(
            f"maps [B, H, W] go with a bool mask of their shape, got {list(maps.shape)} and {list(mask.shape)} of {mask.dtype}"
        )
    mask = mask.flatten(1)
    place = maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    hot = place < mask.sum(1, keepdim=True)
    return (hot & mask).sum(1) / (hot | mask).sum(1)


def layer_to_explain(stages: Sequence[nn.Module], heads: Mapping[str, nn.Module], exit: str = "final") -> nn.Module:
    """The layer whose maps Grad-CAM weights for an exit: its last convolution, or its stage where its head has none.

    stages: the network's. heads: exit -> head on the stage number `head.stage`, as a method's `placed()` gives them;
    any other exit, such as "final" or an ensemble, is explained at the last stage.
    """
    if exit not in heads:
        return last_convolution(stages[-1])
    try:
        return last_convolution(heads[exit])
    except ValueError:
        return stages[heads[exit].stage]


def overlaps(maps: Mapping[str, Tensor], top: float = 0.2) -> dict[tuple[str, str], float]:
    """`overlap` of every pair of heat maps of one image. name -> [H, W]."""
    from .cam import overlap

    return {(a, b): float(overlap(maps[a][None], maps[b][None], top)) for a, b in itertools.combinations(maps, 2)}


def chance_overlap(top: float) -> float:
    """About what `overlap` gives for two unrelated maps: top / (2 - top)."""
    return top / (2 - top)


def _weights(model: nn.Module) -> list[Tensor]:
    """The weights that noise is put on, a shared one once."""
    weights = list({m.weight: None for m in model.modules() if isinstance(m, WEIGHTED)})
    if not weights:
        raise ValueError(f"{type(model).__name__} has no convolution or linear layer to put noise on")
    return weights
