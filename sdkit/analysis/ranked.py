"""Ranked outputs: how alike the sorted outputs of different images are (paper 004, Fig. 3, 5 and its Pearson r)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .base import ProgressBar, check_logits, checked

SPACES = ("probabilities", "standardised", "logits")
"""The three readings of "outputs". Paper 004 does not say which; of raw logits the claim reverses."""


class RankedAlong(NamedTuple):
    """Ranked-output variance beside accuracy, along one training."""

    progress: Tensor  # [E] of training, from 0 at the first epoch given to 1 at the last
    variance: dict[str, Tensor]  # space -> [E]
    accuracy: Tensor  # [E] in [0, 1]
    pearson: dict[str, float]  # space -> r of variance and accuracy over the epochs; nan where one of them is constant
    pearson_without_first: dict[str, float]  # the same without the first epoch
    spearman: dict[str, float]  # space -> rank correlation of epoch and variance


class RankedTop(NamedTuple):
    """Every image's largest probabilities, and where the ground truth stands among all K."""

    probability: Tensor  # [N, top] descending
    target_rank: Tensor  # [N] int64, 0: the label is the largest; a tie counts for the label
    entropy: Tensor  # [N] nats, over all K classes
    max_probability: Tensor  # [N]


@checked
def ranked_output_variance(logits: Tensor, space: str = "probabilities", root: bool = False) -> Tensor:
    """Variance over images of each rank's output, averaged over the K ranks. logits [N, K] -> [] float64. Paper 004, Fig. 3.

    space: "probabilities" is the softmax at temperature 1; "standardised" each image's logits less their mean over their
    standard deviation; "logits" as they are. Variances divide by N.
    root: the form of the released helper, the root of the mean squared distance to the mean ranked vector: sqrt(K v).

    Examples:
        >>> ranked_output_variance(torch.tensor([[1.0, 2.0], [2.0, 1.0]])).item()  # one shape, other classes
        0.0
    """
    check_logits(logits)
    v = sorted_outputs(logits, space).var(0, correction=0).mean()
    return (v * logits.shape[1]).sqrt() if root else v


@checked
def ranked_along(outputs: Tensor, accuracy: Tensor, epochs: Tensor | None = None, progress: ProgressBar = iter) -> RankedAlong:
    """Ranked-output variance of every epoch in all three spaces, and how it goes with accuracy. Paper 004, Fig. 3.

    outputs: logits [E, N, K] of the same N images after each of E epochs, in any float type (computed in float64).
    accuracy: [E], of the same epochs. epochs: [E] their numbers, rising; None where they are evenly spaced.
    """
    accuracy = torch.as_tensor(accuracy).double().cpu()
    if outputs.ndim != 3 or accuracy.shape != outputs.shape[:1] or not len(outputs):
        raise ValueError(
            "ranked_along takes outputs [E, N, K] and accuracy [E] of the same epochs, "
            f"got {list(outputs.shape)} and {list(accuracy.shape)}"
        )
    at = (torch.arange(len(outputs)) if epochs is None else torch.as_tensor(epochs).cpu()).double()
    if at.shape != accuracy.shape or not (at.diff() > 0).all():
        raise ValueError(f"epochs holds one rising number for each of the {len(outputs)} outputs, got {at.tolist()}")
    v = {space: torch.zeros(len(outputs), dtype=torch.float64) for space in SPACES}
    for e in progress(range(len(outputs))):
        # softmax and standardising keep the order, so that one sort serves all three spaces
        z = outputs[e].double().sort(1).values
        for space in SPACES:
            v[space][e] = ranked_output_variance(z, space).cpu()
    return RankedAlong(
        (at - at[0]) / (at[-1] - at[0]).clamp_min(1),
        v,
        accuracy,
        {s: pearson(v[s], accuracy) for s in SPACES},
        {s: pearson(v[s][1:], accuracy[1:]) for s in SPACES},
        {s: pearson(_ranks(at), _ranks(v[s])) for s in SPACES},
    )


@checked
def ranked_top(logits: Tensor, y: Tensor, top: int = 30) -> RankedTop:
    """The `top` largest probabilities of every image, all K where there are fewer. logits [N, K], y [N]. Paper 004, Fig. 5."""
    check_logits(logits, y)
    if top < 1:
        raise ValueError(f"top is the number of ranks to keep, at least 1, got {top}")
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    own = log_p.gather(1, y[:, None])
    kept = p.sort(1, descending=True).values[:, :top]
    return RankedTop(kept, (log_p > own).sum(1), -torch.special.xlogy(p, p).sum(1), kept[:, 0])


def pearson(a: Tensor, b: Tensor) -> float:
    """Pearson's r in float64. [E] x2 -> []; nan for fewer than two points and where one side does not vary.

    Examples:
        >>> pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([6.0, 4.0, 2.0]))
        -1.0
    """
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else math.nan


def sorted_outputs(logits: Tensor, space: str) -> Tensor:
    """Each image's outputs in ascending order, in one of `SPACES`. logits [N, K] -> [N, K] float64."""
    z = logits.double().sort(1).values
    if space == "probabilities":
        return z.softmax(1)
    if space == "standardised":
        z = z - z.mean(1, keepdim=True)
        return z / z.std(1, correction=0, keepdim=True).clamp_min(1e-300)  # a row of equal logits stays 0
    if space == "logits":
        return z
    raise ValueError(f"outputs are ranked as {', '.join(map(repr, SPACES))}, got {space!r}")


def _ranks(a: Tensor) -> Tensor:
    """[E] -> [E] float64, ranks from 0; ties share their mean rank."""
    return (a[:, None] > a).double().sum(1) + ((a[:, None] == a).double().sum(1) - 1) / 2
