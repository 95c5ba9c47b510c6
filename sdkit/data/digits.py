"""scikit-learn's handwritten digits: real, 8x8, 1,797 of them, no download."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .base import Data, Images, carve, statistics, stratified, take

TRAIN = 1000  # of the 1,797; the others are the test set


def digits(
    *, root: Path | None = None, validation: int = 0, train_size: int | None = None, download: bool = False, seed: int = 0,
    distort: Sequence[str] = (), cutout: int = 0, mixup: float = 0.0,
) -> Data:  # fmt: skip
    """The digits 0-9 in 8x8 grey, copied to three channels: 1,000 train, 797 test, a stratified split of `seed`.

    Never mirrored, padded by one pixel. They come with scikit-learn, so `root` and `download` do not matter.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = np.round(raw.images * (255 / 16)).astype(np.uint8)  # published as 0..16
    x = torch.from_numpy(grey)[:, None].repeat(1, 3, 1, 1)
    every = Images(x, torch.from_numpy(raw.target.astype(np.int64)))
    chosen = stratified(every.y, TRAIN, np.random.Generator(np.random.PCG64([seed, 0])))
    left = torch.ones(len(every.y), dtype=torch.bool)
    left[chosen] = False
    pool, test = take(every, chosen), take(every, left.nonzero()[:, 0])
    train, val = carve(pool, "digits", 10, validation, train_size, seed)
    mean, std = statistics(pool.x)
    return Data("digits", tuple(str(d) for d in range(10)), train, val, test, mean, std, pad=1, mirror=False,
                distort=distort, cutout=cutout, mixup=mixup)  # fmt: skip
