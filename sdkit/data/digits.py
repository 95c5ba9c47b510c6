"""scikit-learn's handwritten digits: real, 8x8, 1,797 of them, no download."""

from __future__ import annotations

import numpy as np
import torch

from .base import Data, whole_set
from .options import data_set
from .pixels import Images, parted, take

TRAIN = 1000  # of the 1,797; the others are the test set


@data_set
def digits(*, seed: int) -> Data:
    """The digits 0-9 in 8x8 grey, copied to three channels: 1,000 train, 797 test, a stratified split of `seed`.

    Never mirrored, padded by one pixel. They come with scikit-learn, so `root` and `download` do not matter.
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    grey = np.round(raw.images * (255 / 16)).astype(np.uint8)  # published as 0..16
    x = torch.from_numpy(grey)[:, None].repeat(1, 3, 1, 1)
    every = Images(x, torch.from_numpy(raw.target.astype(np.int64)))
    train, test = (take(every, part) for part in parted(every.y, TRAIN, np.random.Generator(np.random.PCG64([seed, 0]))))
    return whole_set("digits", map(str, range(10)), train, test, pad=1, mirror=False)
