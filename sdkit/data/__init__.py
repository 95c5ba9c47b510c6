"""Every data set by name, each a function to a `Data`.

All take the keywords `root` (the folder of data sets; default: `data` in `core.home()`), `validation` (images carved from
the training set), `train_size` (a subset of it), `download` (where there is anything to fetch) and `seed` (of every choice
made here, never of training). Of the training images: `distort` (names of DISTORTIONS), `cutout` (the side of a hole,
pixels) and `mixup` (mixtures of two images: the parameter of their share). `shapes` also takes `classes`, 12, 20 or 36; sets of
photographs take `size`, and those that are streamed from disk `crop`.
"""

from __future__ import annotations

from collections.abc import Callable

from .base import Data, Evaluation, Images
from .cifar import cifar10, cifar100
from .digits import digits
from .distort import DISTORTIONS
from .faces import faces
from .folder import image_folder
from .loader import PAIRS, Loader
from .published import caltech101, cub200, cub200_retrieval, dukemtmc, imagenet, stanford_dogs
from .reid import reid
from .shapes import shapes
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
    "ABOUT",
    "DATASETS",
    "DISTORTIONS",
    "PAIRS",
    "Data",
    "Evaluation",
    "Images",
    "Loader",
    "Streamed",
    "caltech101",
    "cifar10",
    "cifar100",
    "cub200",
    "cub200_retrieval",
    "digits",
    "dukemtmc",
    "faces",
    "fer2013",
    "image_folder",
    "imagenet",
    "rafdb",
    "reid",
    "shapes",
    "stanford_dogs",
    "tiny_imagenet",
]


def as_data(thing, **options):  # SHIM
    if isinstance(thing, str):
        thing = DATASETS[thing]
    return thing(**options) if callable(thing) else thing


def digest(data):  # SHIM
    import hashlib

    return hashlib.sha256(data.train.x.numpy().tobytes()).hexdigest()
