"""Data sets by name, your own images, and how batches are made of them.

Every function of DATASETS gives a `Data` and takes, besides its own options, those that all share: `root` (the folder of data
sets; default: $SDKIT_DATA_ROOT, else `data` in `core.home()`), `download` (where there is anything to fetch), `validation`
(images carved from the training set), `train_size` (a subset of it), `seed` (of every choice made here, never of training) and
`norm` (what normalises). Of the training images: `distort` (names of DISTORTIONS), `cutout` (the side of a hole, pixels) and
`mixup` (mixtures of two images: the parameter of their share). `as_data` takes your own images with the same options.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ..core import pick
from .base import Data
from .cifar import cifar10, cifar100
from .digits import digits
from .distort import DISTORTIONS
from .faces import faces
from .folder import content_of, image_folder
from .loader import PAIRS, Evaluation, Loader
from .options import data_set
from .own import check, own
from .pixels import Images
from .published import caltech101, cub200, cub200_retrieval, dukemtmc, imagenet, stanford_dogs
from .reid import reid
from .shapes import FACTORS, alone, factors_of, shapes
from .small import fer2013, rafdb, tiny_imagenet
from .stream import Streamed

DATASETS: dict[str, Callable[..., Data]] = {
    "digits": digits,
    "shapes": shapes,
    "reid": reid,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "faces": faces,
    "fer2013": fer2013,
    "rafdb": rafdb,
    "tiny_imagenet": tiny_imagenet,
    "imagenet": imagenet,
    "caltech101": caltech101,
    "stanford_dogs": stanford_dogs,
    "cub200": cub200,
    "cub200_retrieval": cub200_retrieval,
    "dukemtmc": dukemtmc,
    "image_folder": image_folder,
}

ABOUT: dict[str, str] = {
    "digits": "scikit-learn's real digits, 8x8 grey, 10 classes, 1,000 train and 797 test images; nothing to download",
    "shapes": "coloured, textured shapes on clutter, 32x32, graded in difficulty, with the object's mask; drawn from a seed",
    "reid": "schematic figures to find again, 32x32, 60 to learn and 60 others to find, by 8 cameras; generated from a seed",
    "cifar10": "CIFAR-10: photographs, 32x32, 10 classes, 50,000 train and 10,000 test images; --download fetches 170 MB",
    "cifar100": "CIFAR-100: photographs, 32x32, 100 classes in 20 groups, 50,000 + 10,000 images; --download fetches 169 MB",
    "faces": "schematic faces of 7 expressions, 32x32, with the head's mask; generated from a seed",
    "fer2013": "FER-2013: photographed faces of 7 expressions, grey, 32x32, 28,709 + 3,589 images; put there by hand",
    "rafdb": "RAF-DB: photographed faces of 7 expressions, 32x32, 12,271 + 3,068 images; its authors give it on request",
    "tiny_imagenet": "Tiny ImageNet: photographs, 64x64, 200 classes, 100,000 + 10,000 images; --download fetches 248 MB",
    "imagenet": "ImageNet 2012: photographs, 1,000 classes, 1,281,167 + 50,000 images from disk; put there by hand",
    "caltech101": "Caltech-101: photographs, 101 classes, 8,677 images from disk, 80 % to train; --download fetches 137 MB",
    "stanford_dogs": "Stanford Dogs: photographs, 120 breeds, 12,000 + 8,580 images from disk; --download fetches 760 MB",
    "cub200": "CUB-200-2011: birds, 200 species, 5,994 + 5,794 images from disk; --download fetches 1.1 GB",
    "cub200_retrieval": "CUB-200-2011 for metric learning: species 1 to 100 to learn, 101 to 200 to find; as cub200",
    "dukemtmc": "DukeMTMC-reID: withdrawn in 2019; opens a copy that you hold only with your word that you know, else use reid",
    "image_folder": "your own images from disk: folder/train/<class>/* and folder/test/<class>/*; say which folder",
}

__all__ = [
    "ABOUT", "DATASETS", "DISTORTIONS", "Data", "Evaluation", "FACTORS", "Images", "Loader", "PAIRS", "Streamed", "alone",
    "as_data", "caltech101", "cifar10", "cifar100", "content_of", "cub200", "cub200_retrieval", "digest", "digits",
    "dukemtmc", "faces", "factors_of", "fer2013", "image_folder", "imagenet", "rafdb", "reader", "reid", "shapes",
    "stanford_dogs", "tiny_imagenet",
]  # fmt: skip


def as_data(thing: Any, **options: Any) -> Data:
    """Whatever can be trained on -> a data set, checked.

    Args:
        thing: a name of DATASETS; a `Data`; tensors, arrays or Datasets as `own.own` takes them; or the path of a folder with
            train/<class>/* and test/<class>/*, as `image_folder` reads it. A name wins over a folder of that name.
        options: those that all sets share, see `options.with_options`, and the thing's own, see `reader`.

    Raises:
        KeyError: an unknown name or option, with the nearest ones.
        TypeError: a thing of another kind.
        ValueError: images, labels or options that cannot be meant, each with the mend.
    """
    return reader(thing)(**options)


def reader(thing: Any) -> Callable[..., Data]:
    """The function that makes a data set of a thing: `inspect.signature` says which options it takes. See `as_data`."""
    if isinstance(thing, str | Path):
        path = Path(thing).expanduser()
        if str(thing) not in DATASETS and path.is_dir():
            return functools.partial(image_folder, folder=str(path.resolve()))
        return DATASETS[pick(str(thing), DATASETS, "data set (nor any folder)")]
    if isinstance(thing, Data):
        return data_set(lambda: check(thing), thing.name)
    return data_set(functools.partial(own, thing), "your data")


def digest(data: Data) -> str:
    """What makes a data set as hexadecimal digits: pixels, labels, classes, statistics and augmentation, but not its name.

    Of images on disk, their paths below their folder and their files' bytes count in place of pixels. What is as it is in every
    set is left out, so that digests outlive new fields.
    """
    content = hashlib.sha256()
    for f in fields(data):
        value = getattr(data, f.name)
        if isinstance(value, Images):
            for part, t in value._asdict().items():
                if t is not None:
                    content.update(f"{f.name}.{part} {t.dtype} {list(t.shape)}".encode())
                    content.update(t.contiguous().numpy() if isinstance(t, Tensor) else t.digest().encode())
        elif f.name != "name" and value != f.default:
            content.update(f"{f.name} {value!r}".encode())
    return content.hexdigest()
