"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): fetched on request, checked, read by torchvision, then held in memory.

Pickled files are opened only after their md5 has been found right. The statistics are the published ones of the training set.
The images are a labelled part of the 80 Million Tiny Images, which their makers withdrew in 2020; no licence is given.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .base import Data, whole_set
from .fetch import Archive, fetch, unpack
from .options import data_set
from .pixels import Images

SUPERCLASS = (  # of every class of CIFAR-100 in alphabetical order, as its files have it under coarse_labels
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip


@data_set
def cifar10(*, root: Path, download: bool) -> Data:
    """CIFAR-10 from `root`. FileNotFoundError where it is missing, ValueError where a file is damaged, each with the mend."""
    return _load("cifar10", "CIFAR10", root, download, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


@data_set
def cifar100(*, root: Path, download: bool) -> Data:
    """CIFAR-100 from `root`, its 20 superclasses as `groups`. Errors as those of `cifar10`."""
    return _load("cifar100", "CIFAR100", root, download, mean=(0.5071, 0.4865, 0.4409), std=(0.2673, 0.2564, 0.2762),
                 groups=SUPERCLASS)  # fmt: skip


def _load(name: str, kind: str, root: Path, download: bool, **more: Any) -> Data:
    from ..vision import ensure

    ensure()
    import torchvision

    published = getattr(torchvision.datasets, kind)
    if download:
        _fetch(published, root)
    _check(published, name, root)
    sets = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's about how the published files were pickled
        for train in (True, False):
            raw = published(str(root), train=train, download=False)
            sets.append(Images(torch.from_numpy(raw.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(raw.targets)))
    return whole_set(name, raw.classes, *sets, **more)


def _fetch(published: type, root: Path) -> None:
    """Download and unpack, unless every file is there. Errors as those of `fetch` and `unpack`."""
    folder = root / published.base_folder
    if all((folder / file).is_file() for file, _ in _files(published)):
        return
    archive = fetch(Archive(published.filename, published.url, published.tgz_md5), root)
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=root) as aside:
        for file in unpack(archive, Path(aside), published.base_folder).iterdir():
            os.replace(file, folder / file.name)


def _files(published: type) -> Iterator[tuple[str, str]]:
    """Name and md5 of every file of the set."""
    yield from (*published.train_list, *published.test_list, (published.meta["filename"], published.meta["md5"]))


def _check(published: type, name: str, root: Path) -> None:
    """Every file of the set is there and has the published md5."""
    folder = root / published.base_folder
    for file, expected in _files(published):
        path = folder / file
        if not path.is_file():
            raise FileNotFoundError(
                f"{name} is expected in {folder}, where {file} is missing: get it with `sdkit train --data {name} --download`, "
                f"or unpack {published.filename} (md5 {published.tgz_md5}) in {root} by hand"
            )
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} is damaged: its md5 should be {expected} and is {found} ({path.stat().st_size:,} bytes); "
                f"delete it and fetch it again with `sdkit train --data {name} --download`"
            )
