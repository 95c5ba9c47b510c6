"""What of a class a network has found: each of its known factors alone (multi-view learning, Allen-Zhu and Li 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Found(NamedTuple):
    """How well a factor is told by what a network says of classes."""

    right: Tensor  # [N] bool
    accuracy: float  # in [0, 1]
    chance: float  # of guessing among the factor's values
    spread: float  # standard error of the accuracy because the images are a sample


class SeenByTwo(NamedTuple):
    """Which of the same images two networks answer right. Shares that sum to 1."""

    both: float
    first: float  # the first alone
    second: float  # the second alone
    neither: float


def factors(logits: Tensor, y: Tensor, values: Sequence[int]) -> Found:
    """Whether a network tells one factor of the class, whatever it says of the others.

    A factor's value is as likely as all classes that have it: their probabilities are added up, and the likeliest value is the
    answer. On images where another factor is none that the network knows, what it still tells it has found by itself.

    Args:
        logits: [N, K] of K classes.
        y: [N] the factor's value of every image, from 0.
        values: [K] the factor's value of every class; the class itself for the whole.

    Returns:
        Image by image, and the accuracy.

    Raises:
        ValueError: logits that are no numbers, or shapes that do not fit together.

    References:
        Towards Understanding Ensemble, Knowledge Distillation and Self-Distillation in Deep Learning. Z. Allen-Zhu and Y. Li,
        ICLR 2023.

    Examples:
        >>> found = factors(torch.tensor([[2.6, 2.5, 3.0, -5.0]]), torch.tensor([0]), [0, 0, 1, 1])
        >>> found.accuracy  # the third class is the likeliest, but the first two together are likelier
        1.0
    """
    if logits.ndim != 2 or y.shape != logits.shape[:1] or len(values) != logits.shape[1] or not len(y):
        raise ValueError(
            f"logits are [N, K], the factor's values [N] of N >= 1 images and [K] of the classes, got {list(logits.shape)}, "
            f"{list(y.shape)} and {len(values)}"
        )
    if not logits.isfinite().all():
        raise ValueError("logits hold NaN or infinity: the training that made them has diverged")
    place = torch.as_tensor(values)
    chances = logits.double().softmax(1)
    added = torch.stack([chances[:, place == v].sum(1) for v in range(int(place.max()) + 1)], 1)
    right = added.argmax(1) == y
    accuracy = float(right.double().mean())
    return Found(right, accuracy, 1 / added.shape[1], (accuracy * (1 - accuracy) / len(y)) ** 0.5)


def seen_by_two(first: Tensor, second: Tensor) -> SeenByTwo:
    """What two networks, of two seeds for example, find of the same images, and what only one of them finds.

    Args:
        first: [N] bool, which images one answers right.
        second: [N] bool, the same of the other.

    Returns:
        The four shares.

    Raises:
        ValueError: two different numbers of images, or none.

    Examples:
        >>> seen_by_two(torch.tensor([True, True, False, False]), torch.tensor([True, False, False, False]))
        SeenByTwo(both=0.25, first=0.25, second=0.0, neither=0.5)
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"both are [N] of the same N >= 1 images, got {list(first.shape)} and {list(second.shape)}")
    a, b = first.bool(), second.bool()
    return SeenByTwo(*(float(s.double().mean()) for s in (a & b, a & ~b, ~a & b, ~a & ~b)))
