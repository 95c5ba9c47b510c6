"""Calibration: does a confidence of 80 % come true 80 % of the time? (Guo et al. 2017; beside paper 004's Fig. 5.)"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import check_logits


class Calibration(NamedTuple):
    """The reliability diagram and its summaries."""

    ece: float  # expected calibration error: |accuracy - confidence| averaged over the images' bins
    mce: float  # the largest |accuracy - confidence| of a bin
    nll: float  # cross entropy, nats
    brier: float  # squared distance to the one-hot label, summed over classes, mean over images
    confidence: Tensor  # [bins] mean largest probability; nan where a bin is empty
    accuracy: Tensor  # [bins] share of right answers; nan where a bin is empty
    count: Tensor  # [bins] int64


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
