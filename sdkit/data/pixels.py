"""Images as they lie in memory, and what is computed of them: scale, statistics, choices that keep classes in proportion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Images(NamedTuple):
    """Images as they lie in memory."""

    x: Tensor  # [N, 3, H, W] uint8
    y: Tensor  # [N] int64
    mask: Tensor | None = None  # [N, H, W] bool: where the object is, where that is known
    camera: Tensor | None = None  # [N] int64: what took it, where that is known
    kind: Tensor | None = None  # [N] int64: how hard it is, a place in `Data.kinds`, where that is known


def take(images: Images, places: Tensor) -> Images:
    """The images at `places` [M]. Those on disk stay there."""
    return Images(*(None if t is None else t.index_select(0, places) for t in images))


def none_of(images: Images) -> Images:
    """A split without images, of the same form."""
    return take(images, torch.arange(0))


def scale(mean: tuple[float, ...], std: tuple[float, ...], device: str | torch.device) -> tuple[Tensor, Tensor]:
    """What to subtract from and multiply with a uint8 image: two [1, 3, 1, 1]."""
    if not all(std):
        raise ValueError(
            f"a colour has the deviation 0, got {tuple(std)}: images without contrast cannot be normalised by it, say another, "
            "norm='imagenet' for example"
        )
    m, s = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) * 255 for v in (mean, std))
    return m.float().to(device), (1 / s).float().to(device)


def normalise(x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """[B, 3, H, W] uint8 -> float32 in channels_last, (x - mean) * inverse."""
    x = x.to(torch.float32, memory_format=torch.channels_last)
    rows = x.permute(0, 2, 3, 1).view(len(x), x.shape[2], 3 * x.shape[3])  # numbers in a line, as a processor takes them
    rows.sub_(mean.flatten().repeat(x.shape[3])).mul_(inverse.flatten().repeat(x.shape[3]))
    return x


def statistics(x: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """[N, 3, H, W] uint8 -> mean and standard deviation of every channel in [0, 1], exact (from the histogram of values)."""
    mean, std = [], []
    values = np.arange(256) / 255
    for c in range(3):
        share = np.bincount(x[:, c].numpy().ravel(), minlength=256) / x[:, c].numel()
        mean.append(float((share * values).sum()))
        std.append(float(np.sqrt((share * (values - mean[-1]) ** 2).sum())))
    return tuple(mean), tuple(std)


def stratified(y: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """labels [N] -> the places of `size` random images, ascending, every class in proportion and none left out.

    From the same generator a smaller choice is part of a larger one, so a sweep over sizes grows one set.
    """
    labels = y.numpy()
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)  # place within the shuffled class
    key = np.where(rank == 0, -1, (rank + 0.5) / np.repeat(counts, counts))
    return torch.from_numpy(np.sort(by_class[np.argsort(key, kind="stable")[:size]]))


def parted(y: Tensor, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """labels [N] -> the places of `size` images as `stratified` chooses them, and those of all the others."""
    chosen = stratified(y, size, rng)
    left = torch.ones(len(y), dtype=torch.bool)
    left[chosen] = False
    return chosen, left.nonzero()[:, 0]
