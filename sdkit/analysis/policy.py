"""Leaving early: fixed exits against a confidence threshold (BYOT's scalable inference; SCAN, NeurIPS 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .base import check_logits, checked


class PolicyCurve(NamedTuple):
    """What a sweep of the threshold buys and costs."""

    threshold: Tensor  # [T]
    accuracy: Tensor  # [T] in [0, 1]
    cost: Tensor  # [T] mean over the images, in the unit of the costs
    share: Tensor  # [T, E] of the images that leave at each exit, rows sum to 1
    exits: tuple[str, ...]  # [E] names, shallow to deep


class FixedPolicy(NamedTuple):
    """All images through one and the same exit."""

    exits: tuple[str, ...]  # [E] names, shallow to deep
    accuracy: Tensor  # [E] in [0, 1]
    cost: Tensor  # [E]


@checked
def threshold_policy(
    logits: Mapping[str, Tensor], y: Tensor, costs: Mapping[str, float], thresholds: Sequence[float]
) -> PolicyCurve:
    """Every image leaves at the first exit whose largest probability is >= the threshold; the last exit takes the rest.

    logits: exit -> [N, K] of the same images, shallow to deep. y [N]. costs: exit -> FLOPs or seconds up to and with it:
    an image that leaves there has paid that and no more, so a cost must hold the heads of the exits passed, where these
    count. A threshold of 0 takes all at the first exit, one above 1 sends all to the last. In float64.
    """
    names, right, price, y = _check(logits, y, costs)
    if not len(thresholds) or not all(math.isfinite(t) for t in thresholds):
        raise ValueError(f"thresholds are one or more finite probabilities, got {list(thresholds)}")
    sure = torch.stack([logits[name].detach().double().softmax(1).amax(1).cpu() for name in names[:-1]] or [y.new_empty(0)])
    at = torch.tensor([float(t) for t in thresholds], dtype=torch.float64)
    leaves = torch.ones(len(at), len(names), len(y), dtype=torch.bool)  # the last exit takes whoever is left
    if len(names) > 1:
        leaves[:, :-1] = sure >= at[:, None, None]
    exit_ = leaves.byte().argmax(1)  # [T, N] the first that is True
    share = torch.stack([(exit_ == e).double().mean(1) for e in range(len(names))], 1)
    accuracy = right.T.gather(1, exit_.T).double().mean(0)
    return PolicyCurve(at, accuracy, share @ price, share, names)


@checked
def fixed_policy(logits: Mapping[str, Tensor], y: Tensor, costs: Mapping[str, float]) -> FixedPolicy:
    """Accuracy and cost of every exit, taken for all images: depth-scalable inference. Inputs as for `threshold_policy`.

    Examples:
        >>> early, late = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> fixed_policy({"1/2": early, "2/2": late}, torch.tensor([0, 1]), {"1/2": 1.0, "2/2": 2.0}).accuracy.tolist()
        [0.5, 1.0]
    """
    names, right, price, _ = _check(logits, y, costs)
    return FixedPolicy(names, right.double().mean(1), price)


def dominates(curve: PolicyCurve, fixed: FixedPolicy, within: float = 0.0) -> float:
    """The share of the fixed exits that some threshold matches or beats at no more cost. 1: no fixed exit is worth taking.

    within: an accuracy in [0, 1] that counts as no difference, for example the standard error sqrt(p (1 - p) / N).
    A threshold of 0 is the first exit and one above 1 is the last: a sweep that holds both matches these two by being them.
    """
    if within < 0:
        raise ValueError(f"within is an accuracy that counts as no difference, >= 0, got {within:g}")
    no_dearer = curve.cost[:, None] <= fixed.cost * (1 + 1e-12)  # a mean of equal costs may round upwards
    as_good = curve.accuracy[:, None] >= fixed.accuracy - within - 1e-12
    return float((no_dearer & as_good).any(0).double().mean())


def _check(
    logits: Mapping[str, Tensor], y: Tensor, costs: Mapping[str, float]
) -> tuple[tuple[str, ...], Tensor, Tensor, Tensor]:
    """Names [E], right answers [E, N] bool, costs [E] float64, labels [N]; all on the CPU."""
    names, y = tuple(logits), y.cpu()
    if not names:
        raise ValueError("a policy needs the logits of at least one exit, got none")
    for z in logits.values():
        check_logits(z, y.to(z.device))
    if missing := [name for name in names if name not in costs]:
        raise ValueError(f"costs names every exit of the logits ({', '.join(names)}), got none for {', '.join(missing)}")
    price = torch.tensor([float(costs[name]) for name in names], dtype=torch.float64)
    if not (price.isfinite() & (price >= 0)).all():  # not asked to rise: a wide shallow head may cost more than a deeper exit
        raise ValueError(f"costs are finite numbers >= 0, got {dict(zip(names, price.tolist(), strict=True))}")
    return names, torch.stack([logits[name].argmax(1).cpu() == y for name in names]), price, y
