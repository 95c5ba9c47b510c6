"""Your own images, as tensors, arrays or Datasets, checked at the door: they become a `Data` as every other set is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .base import Data, whole_set
from .files import Bar, in_colour
from .loader import SPLITS
from .pixels import Images

LOOKED_AT = 8
"""Items of a Dataset that are read twice, to see whether its transform is random."""

FORMS = (
    "((x_train, y_train), (x_test, y_test)) of tensors or arrays, (train, test) of Datasets whose items are (image, label), or "
    'a dict of these with "train", "test" and perhaps "val"'
)
SHAPES = "[N, 3, H, W] or [N, H, W, 3], with one channel or none where they are grey (an item of a Dataset: without N)"


def own(
    thing: Any, *, classes: Sequence[str] | None = None, pad: int | None = None, mirror: bool = True, name: str = "your data"
) -> Data:
    """Tensors, arrays or Datasets with training and test images -> a data set in memory: uint8, and a copy.

    Args:
        thing: ((x_train, y_train), (x_test, y_test)); or (train, test), two map-style Datasets as torchvision's; or a dict of
            such things with "train", "test" and perhaps "val". Images are [N, 3, H, W] or [N, H, W, 3], with one channel or
            none where they are grey, uint8 or floats in [0, 1], which are rounded to 256 levels. A Dataset's are without N, or
            PIL images; its transform may resize and crop to one size, but draws nothing. Labels are whole numbers from 0.
        classes: names of the classes; None: those that a torchvision Dataset says, else "0", "1", ...
        pad: black pixels around an image before a random crop of its size; None: an eighth of its shorter side; 0: no crop.
        mirror: whether half of the training images are mirrored. False where that changes what an image is, as of letters.
        name: what figures and errors call it.

    Returns:
        The whole set, with the statistics of all its training images.

    Raises:
        TypeError: a thing of another kind.
        ValueError: images or labels that cannot be learned from: which, what was expected, and the mend.
    """
    parts = splits(thing)
    images = {split: read(part, split) for split, part in parts.items()}
    names = named(images["train"].y, said_by(parts["train"]) if classes is None else classes)
    pad = min(images["train"].x.shape[2:]) // 8 if pad is None else pad
    return check(whole_set(name, names, **images, pad=pad, mirror=mirror))


def check(data: Data) -> Data:
    """The same data set. ValueError, with the mend, where loaders could not read it or nothing could be learned from it."""
    size, k = tuple(data.train.x.shape[2:]), data.num_classes
    if k < 2:
        raise ValueError(f"{data.name} has one class, {', '.join(data.classes) or 'none'}: a classifier needs two at least")
    for split in SPLITS:
        x, y = getattr(data, split)[:2]
        if x.dtype != torch.uint8 or len(x.shape) != 4 or x.shape[1] != 3 or y.dtype != torch.int64 or y.shape != x.shape[:1]:
            raise ValueError(
                f"{split} of {data.name} has images {x.dtype} {list(x.shape)} and labels {y.dtype} {list(y.shape)}, expected "
                "are uint8 [N, 3, H, W] and int64 [N]: sdkit.data.as_data makes them of tensors, arrays and Datasets"
            )
        if split != "val":
            filled(y, f"{split} of {data.name}")
        if tuple(x.shape[2:]) != size:
            raise ValueError(
                f"{split} of {data.name} has images of {_by(x.shape[2:])}, and train of {_by(size)}: resize them to one size"
            )
    return data


def splits(thing: Any) -> dict[str, Any]:
    """The parts of a thing by the names of their splits."""
    if isinstance(thing, Mapping) and {"train", "test"} <= {*thing} <= {*SPLITS}:
        return dict(thing)
    if isinstance(thing, tuple | list) and len(thing) == 2 and not isinstance(thing[0], Tensor | np.ndarray):
        return dict(zip(("train", "test"), thing, strict=True))
    got = f"a dict with {', '.join(map(repr, thing)) or 'nothing'}" if isinstance(thing, Mapping) else _kind(thing)
    raise TypeError(f"own data are {FORMS}, got {got}: torch.utils.data.random_split makes two parts of one")


def read(part: Any, split: str) -> Images:
    """One split, as it was given -> uint8 images and their labels."""
    pair = isinstance(part, tuple | list) and (len(part) == 2 or isinstance(part, Images))
    if pair and isinstance(part[0], Tensor | np.ndarray):
        x, y, *more = pixels_of(part[0], split), labels_of(part[1], split), *part[2:]
    elif isinstance(part, Mapping | Tensor | np.ndarray | str) or not {"__getitem__", "__len__"} <= {*dir(part)}:
        raise TypeError(
            f"{split} is {_kind(part)}, expected is (images, labels), or a Dataset with a length and items (image, label): of "
            "an iterable one, list(dataset) is such a thing"
        )
    else:
        x, y, *more = items(part, split)
    if int(x.max()) <= 1:
        raise ValueError(
            f"{split} has images of 0 and 1 alone, expected are 0 to 255, or floats in [0, 1]: floats were cut to whole "
            "numbers, or divided by 255 twice; hand in the floats, or multiply by 255"
        )
    if len(x) != len(y):
        raise ValueError(f"{split} has {len(x)} images and {len(y)} labels: every image has one label")
    return Images(x, y, *more)


def items(dataset: Any, split: str) -> tuple[Tensor, Tensor]:
    """All items of a map-style Dataset, each read once: images [N, 3, H, W] uint8 and labels [N]."""

    def item(i: int) -> tuple[Tensor, Any]:
        got = dataset[i]
        if not isinstance(got, tuple | list) or len(got) != 2:
            raise ValueError(f"{split}[{i}] is {_kind(got)}: an item of a Dataset is (image, label), write one that gives this")
        return image_of(got[0], f"{split}[{i}]"), got[1]

    n, labels = filled(dataset, split), []
    first = item(0)[0]
    x, bar = torch.empty((n, *first.shape), dtype=torch.uint8), Bar(n, f"reading {split}")
    for i in range(n):
        image, label = item(i)
        if image.shape != first.shape:
            raise ValueError(
                f"{split}[{i}] is {_by(image.shape[1:])} pixels and {split}[0] {_by(first.shape[1:])}: a Dataset's images have "
                f"one size, put Resize({tuple(first.shape[1:])}) into its transform, or hand in a folder, where they may differ"
            )
        if i < LOOKED_AT and not torch.equal(image, item(i)[0]):
            raise ValueError(
                f"{split}[{i}] came differently the second time: its Dataset's transform is random, and it is read once alone. "
                "Leave random crops and flips out of it, sdkit draws its own for every batch (pad, mirror, distort, cutout)"
            )
        x[i] = image
        labels.append(label)
        bar.update()
    bar.close()
    return x, labels_of(labels, split)


def filled(images: Any, what: str) -> int:
    """How many images there are. ValueError where there is none."""
    if not len(images):
        raise ValueError(f"{what} has no images: to train on and to test on takes at least one of every class")
    return len(images)


def image_of(image: Any, what: str) -> Tensor:
    """A PIL image, a tensor or an array -> [3, H, W] uint8."""
    from PIL.Image import Image

    if isinstance(image, Image):
        try:
            image = np.asarray(in_colour(image))
        except ValueError as error:
            raise ValueError(f"{what} is {error}") from error
    if not isinstance(image, Tensor | np.ndarray):
        raise ValueError(f"{what} has {_kind(image)} for an image, expected is a PIL image, a tensor or an array")
    return pixels_of(image[None], what)[0]


def pixels_of(x: Tensor | np.ndarray, what: str) -> Tensor:
    """Images in any of the shapes and types that `own` takes -> [N, 3, H, W] uint8, a copy."""
    given = f"{x.dtype} {list(x.shape)}"
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in "uif":
            raise ValueError(
                f"{what} has images of {x.dtype}, expected are uint8 or floats in [0, 1]: np.stack makes one of many"
            )
        x = torch.tensor(x)
    x = x.detach().cpu()
    filled(x, what)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim == 4 and x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.permute(0, 3, 1, 2)
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.numel():
        raise ValueError(f"{what} has images {given}, expected are {SHAPES}: of four channels keep three, x[:, :3]")
    if x.is_floating_point():
        lost = ~x.isfinite().flatten(1).all(1)
        if lost.any():
            raise ValueError(
                f"{what} has {int(lost.sum())} images with NaN or infinity in them, the first at place "
                f"{int(lost.nonzero()[0])}: mend or drop them"
            )
        low, high = float(x.min()), float(x.max())
        if low < 0 or high > 1:
            mend = "leave Normalize out, sdkit normalises by the training set's own statistics" if low < 0 else "divide by 255"
            raise ValueError(f"{what} has images of floats from {low:g} to {high:g}, expected are floats in [0, 1]: {mend}")
        x = (x.float() * 255).round()
    elif x.dtype != torch.uint8:
        if x.dtype == torch.bool or x.is_complex() or x.min() < 0 or x.max() > 255:
            raise ValueError(f"{what} has images {given}, expected are uint8 from 0 to 255, or floats in [0, 1]: convert them")
    return torch.empty((len(x), 3, *x.shape[2:]), dtype=torch.uint8).copy_(x)


def labels_of(y: Any, what: str) -> Tensor:
    """Labels as a tensor, an array or a list -> [N] int64, a copy."""
    try:
        y = torch.as_tensor(y).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what} has labels that are no numbers ({error}): number the classes from 0, for example "
            "[sorted(set(labels)).index(label) for label in labels]"
        ) from error
    if y.ndim != 1:
        raise ValueError(
            f"{what} has labels {list(y.shape)}, expected is [N]: of one-hot rows take y.argmax(1), of a column y[:, 0]"
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"{what} has labels of {y.dtype}, expected are whole numbers from 0: of classes, y.long() makes them")
    return y.to(torch.int64, copy=True)


def named(y: Tensor, said: Sequence[str] | None) -> tuple[str, ...]:
    """The names of all classes: as said, else their numbers. ValueError where a class has no training image."""
    found = y.unique()
    names = tuple(map(str, range(len(found)) if said is None else said))
    if len(found) < 2:
        raise ValueError(
            f"all {len(y)} training images have the label {int(found[0])}: a classifier needs two classes at least"
        )
    if not torch.equal(found, torch.arange(len(names))):
        shown = ", ".join(map(str, found[:4].tolist())) + (f", ... {int(found[-1])}" if len(found) > 4 else "")
        raise ValueError(
            f"the training images have {len(found)} different labels, {shown}, expected are 0 to {len(names) - 1}, each at "
            f"least once{'' if said is None else f', for {len(names)} names of classes'}: number those of all splits anew, "
            "torch.unique(y, return_inverse=True)[1] does it"
        )
    return names


def said_by(part: Any) -> Sequence[str] | None:
    """The names of classes that a torchvision Dataset, or a part of one, knows."""
    while isinstance(part, Dataset) and not hasattr(part, "classes") and hasattr(part, "dataset"):
        part = part.dataset  # of a Subset
    return getattr(part, "classes", None) if isinstance(part, Dataset) else None


def _kind(thing: Any) -> str:
    """What a thing is, in few words."""
    if isinstance(thing, Tensor | np.ndarray):
        return f"{type(thing).__name__} {list(thing.shape)}"
    if isinstance(thing, tuple | list):
        return f"a {type(thing).__name__} of {len(thing)}"
    return f"{type(thing).__name__} {thing!r}" if isinstance(thing, str | int | float) else f"a {type(thing).__name__}"


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
