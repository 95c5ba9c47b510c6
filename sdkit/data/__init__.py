"""Every data set by name, each a function to a `Data`.

All take the keywords `root` (the folder of data sets; default: `data` in `core.home()`), `validation` (images carved from
the training set), `train_size` (a subset of it), `download` (where there is anything to fetch) and `seed` (of every choice
made here, never of training), `distort` (names of DISTORTIONS, for training images) and `cutout` (the side of a
hole in them, pixels); `shapes` also takes `classes`, 20 or 36.
"""

from __future__ import annotations

from collections.abc import Callable

from .base import Data, Evaluation, Images
from .cifar import cifar10, cifar100
from .digits import digits
from .distort import DISTORTIONS
from .loader import PAIRS, Loader
from .shapes import shapes

DATASETS: dict[str, Callable[..., Data]] = {"digits": digits, "shapes": shapes, "cifar10": cifar10, "cifar100": cifar100}

ABOUT: dict[str, str] = {
    "digits": "scikit-learn's real digits, 8x8 grey, 10 classes, 1,000 train and 797 test images; nothing to download",
    "shapes": "coloured, textured shapes on clutter, 32x32, 20 or 36 classes, with the object's mask; generated from a seed",
    "cifar10": "CIFAR-10: photographs, 32x32, 10 classes, 50,000 train and 10,000 test images; --download fetches 170 MB",
    "cifar100": "CIFAR-100: photographs, 32x32, 100 classes in 20 groups, 50,000 + 10,000 images; --download fetches 169 MB",
}

__all__ = [
    "ABOUT",
    "DATASETS",
    "DISTORTIONS",
    "PAIRS",
    "Data",
    "Evaluation",
    "Images",
    "Loader",
    "cifar10",
    "cifar100",
    "digits",
    "shapes",
]
