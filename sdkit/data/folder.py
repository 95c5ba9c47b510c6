"""Any folder of class folders as a data set that is streamed from disk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .base import Data
from .content import cache_of, content, data_root
from .files import CROPS, Crop, Files, Framing, listed, measured
from .options import data_set
from .pixels import Images, none_of
from .stream import Decoded, Streamed


@data_set
def image_folder(*, root: Path, folder: str = "", size: int = 224, crop: Crop = "resized") -> Data:
    """Your own images: `folder`/train/<class>/* and `folder`/test/<class>/*, or val in place of test.

    folder: below `root`, or a path of its own. A run is known by it and by what lies in it: a folder with one image more or
    another is another set. size: pixels of a side
    that the network sees. crop: "resized", "window", "squashed" or "padded", see `files.Framing`. Where test and val both have
    class folders, val is the validation split unless `validation` carves one. There is nothing to download.
    """
    if not folder:
        raise ValueError(
            'image_folder takes the folder that holds train/<class>/ and test/<class>/: image_folder(folder="pets") is pets '
            f"in {root}; a full path does as well"
        )
    tree = root / Path(folder).expanduser()
    train, evaluated = tree / "train", [s for s in ("test", "val") if labelled(tree / s)]
    if not labelled(train) or not evaluated:
        lacks = "train" if not labelled(train) else "test (or val)"
        raise FileNotFoundError(
            f"no images by class in {tree / lacks.split()[0]}: image_folder expects {tree}/train/<class>/<image> and "
            f"{tree}/test/<class>/<image> (or val), and {lacks} has no class folder"
        )
    cache, frame = cache_of(root), framing(size, crop)
    names, y, classes = listed(train, cache)
    held = {}
    for split in evaluated:
        n, labels, found = listed(tree / split, cache)
        strange = sorted(set(found) - set(classes))
        if strange:
            raise ValueError(f"{tree / split} has the class {strange[0]}, which {train} has not: the folders name the classes")
        held[split] = on_disk(tree / split, n, torch.tensor([classes.index(c) for c in found])[labels], frame)
    val = held["val"] if len(held) == 2 else None
    return streamed(tree.name, classes, on_disk(train, names, y, frame), held[evaluated[0]], cache, val=val)


def content_of(name: str, *, root: Path | None = None, folder: str = "", **_: Any) -> str | None:
    """The digest of the images that a data set's options name, where these do not say what it is; None of every other set."""
    root = data_root() if root is None else Path(root)
    tree, cache, found = root / Path(folder).expanduser(), cache_of(root), hashlib.sha256()
    if name != "image_folder" or not folder or not labelled(tree / "train"):
        return None
    for split in (tree / s for s in ("train", "test", "val") if labelled(tree / s)):
        names = listed(split, cache)[0]
        found.update(f"{split.name} {content(Files(split, names), range(len(names)), cache)}\n".encode())
    return found.hexdigest()


def streamed(
    name: str, classes: Sequence[str], train: Images, test: Images, cache: Path, *, val: Images | None = None,
    norm: tuple | None = None, **more: Any,
) -> Streamed:  # fmt: skip
    """Images on disk -> a data set. norm: mean and deviation; computed over the training images where not given."""
    if len(classes) < 2:
        raise ValueError(f"{name} has one class, {', '.join(classes)}: a classifier needs two; put another folder beside it")
    mean, std = norm or measured(train.x.files, train.x.places, train.x.framing, cache)
    return Streamed(name, tuple(classes), train, val or none_of(train), test, mean, std, pad=0, **more)


def on_disk(folder: Path, names: Sequence[str], y: Tensor, frame: Framing) -> Images:
    """Image files by their names below a folder, with their labels [N]."""
    return Images(Decoded(Files(folder, names), torch.arange(len(y)), frame), y)


def labelled(folder: Path) -> bool:
    """Whether it has folders that are classes. A flat folder of images without labels has none."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(e.is_dir() and not e.name.startswith(".") for e in entries)


def framing(size: int, crop: str, width: int | None = None, side: int | None = None) -> Framing:
    """A square of `size` pixels cut from an image of 8/7 of it, as 224 from 256, or of `side`; or size x width."""
    if crop not in CROPS:
        raise ValueError(f"a crop is one of {', '.join(CROPS)}, got {crop!r}")
    if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 1024:
        raise ValueError(f"size is that of a network's images in pixels, 8 to 1024, got {size!r}")
    if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < size):
        raise ValueError(f"side is what images are resized to before {size} pixels are cut: {size} or more, got {side!r}")
    return Framing(size, width or size, round(size * 8 / 7) if side is None else side, crop)
