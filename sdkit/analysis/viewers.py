"""What the viewers read off: one epoch of the ranked outputs, the answer on one image, the point that is next to the mouse."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import ProgressBar, check_logits, checked
from .cam import check_mask, last_convolution, overlap
from .features import ENGINES, Projection, Separation, project_pca, project_tsne, separation
from .ranked import ranked_output_variance, sorted_outputs


class Answers(NamedTuple):
    """What a network says of each image."""

    label: Tensor  # [N] int64, the most probable class
    confidence: Tensor  # [N] its probability


class RankedProfile(NamedTuple):
    """The sorted outputs of many images, epoch by epoch, the largest first."""

    mean: Tensor  # [E, top] over the images
    sd: Tensor  # [E, top]
    variance: Tensor  # [E] of all K ranks' outputs, averaged: `ranked_output_variance`


@checked
def answers(logits: Tensor) -> Answers:
    """The most probable class of every image and its probability. logits [N, K]. In float64."""
    check_logits(logits)
    confidence, label = logits.double().softmax(1).max(1)
    return Answers(label, confidence)


@checked
def ranked_profile(outputs: Tensor, space: str = "probabilities", top: int = 10, progress: ProgressBar = iter) -> RankedProfile:
    """Mean and spread over the images of each of the `top` largest outputs, in every epoch. outputs: logits [E, N, K].

    space: one of `SPACES`, as in `ranked_output_variance`. All K ranks are kept where there are fewer than `top`.
    """
    if outputs.ndim != 3 or not outputs.numel() or top < 1:
        raise ValueError(f"ranked_profile takes logits [E, N, K] and top >= 1, got {list(outputs.shape)} and {top=}")
    mean, sd, variance = [], [], []
    for logits in progress(list(outputs)):
        variance.append(ranked_output_variance(logits, space))
        z = sorted_outputs(logits, space).flip(1)[:, :top]
        mean.append(z.mean(0))
        sd.append(z.std(0, correction=0))
    return RankedProfile(torch.stack(mean), torch.stack(sd), torch.stack(variance))


@checked
def project_epochs(outputs: Tensor, seed: int = 0) -> list[Projection]:
    """The outputs of every epoch on the two principal components that all epochs have in common. [E, N, K] -> E of [N, 2].

    One pair of axes for the whole training: a point's path is its own, not a turn of the axes.
    """
    if outputs.ndim != 3 or not outputs.numel():
        raise ValueError(f"outputs of several epochs are [E, N, K], got {list(outputs.shape)}")
    every = project_pca(outputs.flatten(0, 1), 2, seed)
    return [Projection(p, f"{every.engine}, one pair of axes", every.explained) for p in every.points.split(outputs.shape[1])]


def project(features: Tensor, engine: str = "PCA", seed: int = 0, progress: ProgressBar = iter) -> Projection:
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


@checked
def mask_iou(maps: Tensor, mask: Tensor) -> Tensor:
    """Intersection over union of the object and as many of the map's hottest pixels. maps, mask (bool) [B, H, W] -> [B].

    Of equally hot pixels the first ones count. nan for an image without an object.
    """
    check_mask(maps, mask)
    mask = mask.flatten(1)
    place = maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    hot = place < mask.sum(1, keepdim=True)
    return (hot & mask).sum(1) / (hot | mask).sum(1)


def layer_to_explain(stages: Sequence[nn.Module], heads: Mapping[str, nn.Module], exit: str = "final") -> nn.Module:
    """The layer whose maps Grad-CAM weights for an exit: its last convolution, or its stage where its head has none.

    stages: the network's. heads: exit -> head on the stage number `head.stage`, as a method's `auxiliary_heads()` gives them;
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
    return {(a, b): float(overlap(maps[a][None], maps[b][None], top)) for a, b in itertools.combinations(maps, 2)}


def chance_overlap(top: float) -> float:
    """About what `overlap` gives for two unrelated maps: top / (2 - top)."""
    return top / (2 - top)
