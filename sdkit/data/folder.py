"""Any folder of class folders as a data set that is streamed from disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core import home
from .base import Data, Images, carve
from .files import CROPS, Files, Framing, listed, measured
from .stream import Decoded, Streamed

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of ImageNet's training images


def image_folder(
    *, folder: str = "", root: Path | None = None, size: int = 224, crop: str = "resized", validation: int = 0,
    train_size: int | None = None, download: bool = False, seed: int = 0, distort: Sequence[str] = (), cutout: int = 0,
    mixup: float = 0.0,
) -> Data:  # fmt: skip
    """Your own images: `folder`/train/<class>/* and `folder`/test/<class>/*, or val in place of test.

    folder: below `root`, or a path of its own; a run is known by it, so it is what tells two sets apart. size: pixels of a side
    that the network sees. crop: "resized", "window", "squashed" or "padded", see `files.Framing`. Where test and val both have
    class folders, val is the validation split unless `validation` carves one. There is nothing to download.
    """
    if not folder:
        raise ValueError(
            'image_folder takes the folder that holds train/<class>/ and test/<class>/: image_folder(folder="pets") is pets '
            f"in {places(root)}; a full path does as well"
        )
    tree = places(root) / Path(folder).expanduser()
    train, evaluated = tree / "train", [s for s in ("test", "val") if labelled(tree / s)]
    if not labelled(train) or not evaluated:
        lacks = "train" if not labelled(train) else "test (or val)"
        raise FileNotFoundError(
            f"no images by class in {tree / lacks.split()[0]}: image_folder expects {tree}/train/<class>/<image> and "
            f"{tree}/test/<class>/<image> (or val), and {lacks} has no class folder"
        )
    cache = cached_in(root)
    names, y, classes = listed(train, cache)
    held = {}
    for split in evaluated:
        n, labels, found = listed(tree / split, cache)
        strange = sorted(set(found) - set(classes))
        if strange:
            raise ValueError(f"{tree / split} has the class {strange[0]}, which {train} has not: the folders name the classes")
        held[split] = (Files(tree / split, n), torch.tensor([classes.index(c) for c in found])[labels])
    test = held[evaluated[0]]
    val = held["val"] if len(held) == 2 and not validation else None
    return streamed(
        tree.name, classes, (Files(train, names), y), test, framing(size, crop), cache, val=val, validation=validation,
        train_size=train_size, seed=seed, distort=distort, cutout=cutout, mixup=mixup,
    )  # fmt: skip


def streamed(
    name: str, classes: Sequence[str], train: tuple[Files, Tensor], test: tuple[Files, Tensor], frame: Framing, cache: Path,
    *, validation: int, train_size: int | None, seed: int, statistics: tuple | None = None,
    val: tuple[Files, Tensor] | None = None, **more: Any,
) -> Streamed:  # fmt: skip
    """Files and labels -> a data set. statistics: mean and deviation; computed over the training images where not given."""
    if len(classes) < 2:
        raise ValueError(f"{name} has one class, {', '.join(classes)}: a classifier needs two; put another folder beside it")
    files, y = train
    kept, aside = carve(Images(torch.arange(len(y)), y), name, len(classes), validation, train_size, seed)
    splits = [Images(Decoded(files, part.x, frame), part.y) for part in (kept, aside)]
    if val is not None:
        splits[1] = whole(*val, frame)
    mean, std = statistics or measured(files, frame, cache)
    return Streamed(name, tuple(classes), *splits, whole(*test, frame), mean, std, pad=0, **more)


def whole(files: Files, y: Tensor, frame: Framing) -> Images:
    """All the files."""
    return Images(Decoded(files, torch.arange(len(y)), frame), y)


def places(root: Path | None) -> Path:
    """The folder of data sets."""
    return Path(home() / "data" if root is None else root)


def cached_in(root: Path | None) -> Path:
    """Where lists, statistics and decoded images are kept. Safe to delete."""
    return places(root) / "cache"


def labelled(folder: Path) -> bool:
    """Whether it has folders that are classes. A flat folder of images without labels has none."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(e.is_dir() and not e.name.startswith(".") for e in entries)


def framing(size: int, crop: str, width: int | None = None) -> Framing:
    """A square of `size` pixels cut from an image of 8/7 of it, as 224 from 256; or size x width."""
    if crop not in CROPS:
        raise ValueError(f"a crop is one of {', '.join(CROPS)}, got {crop!r}")
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 1024:
        raise ValueError(f"size is that of a network's images in pixels, 8 to 1024, got {size!r}")
    return Framing(size, width or size, round(size * 8 / 7), crop)
