"""Is a confidence of 80 % right 80 % of the time (Guo et al. 2017; beside paper 004's Fig. 5), and the surest the rightest?"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import check_logits, checked


class Calibration(NamedTuple):
    """The reliability diagram and its summaries."""

    ece: float  # expected calibration error: |accuracy - confidence| averaged over the images' bins
    mce: float  # the largest |accuracy - confidence| of a bin
    nll: float  # cross entropy, nats
    brier: float  # squared distance to the one-hot label, summed over classes, mean over images
    confidence: Tensor  # [bins] mean largest probability; nan where a bin is empty
    accuracy: Tensor  # [bins] share of right answers; nan where a bin is empty
    count: Tensor  # [bins] int64


@checked
def calibration(logits: Tensor, y: Tensor, bins: int = 15) -> Calibration:
    """Expected calibration error and reliability diagram of the largest probability. logits [N, K], y [N].

    The bins (a, b] of (0, 1] are equally wide. Computed in float64.

    Examples:
        >>> sure = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
        >>> round(float(calibration(sure, torch.tensor([0, 1])).ece), 2)  # sure, and right half the time
        0.5
    """
    check_logits(logits, y)
    if bins < 1:
        raise ValueError(f"a reliability diagram has at least one bin, got {bins}")
    p = logits.double().softmax(1)
    largest, answer = p.max(1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=p.device)
    place = torch.bucketize(largest, edges[1:-1])  # (a, b]: an edge belongs to the bin below it
    count = place.bincount(minlength=bins)
    confidence = place.bincount(largest, minlength=bins) / count
    accuracy = place.bincount((answer == y).double(), minlength=bins) / count
    gap = (accuracy - confidence).abs().nan_to_num()  # an empty bin has no gap
    return Calibration(
        float(gap @ count.double() / len(y)),
        float(gap.max()),
        float(F.cross_entropy(logits.double(), y)),
        float((p - F.one_hot(y, p.shape[1])).square().sum(1).mean()),
        confidence.cpu(),
        accuracy.cpu(),
        count.cpu(),
    )


class SelectiveRisk(NamedTuple):
    """What is wrong among the images that a network is surest of."""

    coverage: Tensor  # [N] share of the images that are answered, the surest first: 1/N ... 1
    risk: Tensor  # [N] share of wrong answers among them
    aurc: float  # area under the curve: the mean risk over the coverages; 0 is best
    e_aurc: float  # how much of it a better order of the same answers would save


@checked
def selective_risk(logits: Tensor, y: Tensor) -> SelectiveRisk:
    """Risk over coverage, its area (AURC) and the excess over the best order (E-AURC), by the largest probability.

    Images that are equally sure count with their mean risk, so that no order among them is preferred. Computed in float64.

    Args:
        logits: [N, K].
        y: Labels [N].

    Returns:
        The curve and its two areas, in [0, 1].

    Raises:
        ValueError: The labels do not fit the logits.

    References:
        Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, 2019: Eq. 1 and Sec. 3,
        https://arxiv.org/abs/1805.08206. The best area is counted out here, where the paper takes its limit for many images,
        r + (1 - r) ln (1 - r), r the share of wrong answers.
    """
    check_logits(logits, y)
    largest, answer = logits.double().softmax(1).max(1)
    wrong = (answer != y).double()
    _, group, size = (-largest).unique(return_inverse=True, return_counts=True)  # the surest first
    shared = (group.bincount(wrong) / size).repeat_interleave(size)
    answered = torch.arange(1, len(y) + 1, device=y.device, dtype=torch.float64)
    risk, best = shared.cumsum(0) / answered, wrong.sort().values.cumsum(0) / answered
    return SelectiveRisk((answered / len(y)).cpu(), risk.cpu(), float(risk.mean()), float((risk - best).mean()))
