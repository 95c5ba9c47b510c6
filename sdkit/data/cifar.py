"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): fetched on request, checked, read by torchvision, then held in memory.

Pickled files are opened only after their md5 has been found right. The statistics are the published ones of the training set.
The images are a labelled part of the 80 Million Tiny Images, which their makers withdrew in 2020; no licence is given.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..core import home
from .base import Data, Images, carve
from .fetch import Archive, fetch, unpack

SUPERCLASS = (  # of every class of CIFAR-100 in alphabetical order, as its files have it under coarse_labels
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7,
    6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10,
    16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16,
    12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip

LEGACY = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
"""Mean and deviation in public code of BYOT, CS-KD and ONE, for both sets: CIFAR-10's means, the mean deviation in an image."""


def cifar10(
    *, root: Path | None = None, validation: int = 0, train_size: int | None = None, download: bool = False, seed: int = 0,
    distort: Sequence[str] = (), cutout: int = 0, mixup: float = 0.0, norm: str | None = None,
) -> Data:  # fmt: skip
    """CIFAR-10 from `root`. FileNotFoundError where it is missing, ValueError where a file is damaged, each with the mend.

    norm: None divides by the set's own statistics, "legacy" by `LEGACY`. A teacher wants the images as it was trained on them.
    """
    return _load("cifar10", "CIFAR10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), None, root, validation, train_size,
                 download, seed, distort, cutout, mixup, norm)  # fmt: skip


def cifar100(
    *, root: Path | None = None, validation: int = 0, train_size: int | None = None, download: bool = False, seed: int = 0,
    distort: Sequence[str] = (), cutout: int = 0, mixup: float = 0.0, norm: str | None = None,
) -> Data:  # fmt: skip
    """CIFAR-100 from `root`, its 20 superclasses as `groups`. Errors and `norm` as those of `cifar10`."""
    return _load("cifar100", "CIFAR100", (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), SUPERCLASS, root, validation,
                 train_size, download, seed, distort, cutout, mixup, norm)  # fmt: skip


def _load(
    name: str, kind: str, mean: tuple[float, ...], std: tuple[float, ...], groups: tuple[int, ...] | None,
    root: Path | None, validation: int, train_size: int | None, download: bool, seed: int, distort: Sequence[str], cutout: int,
    mixup: float, norm: str | None,
) -> Data:  # fmt: skip
    if norm not in (None, "legacy"):
        raise ValueError(f"norm is None, the set's own statistics, or 'legacy', those of public code, got {norm!r}")
    mean, std = LEGACY if norm else (mean, std)
    from ..vision import ensure

    ensure()
    import torchvision

    published = getattr(torchvision.datasets, kind)
    root = Path(home() / "data" if root is None else root)
    if download:
        _fetch(published, root)
    _check(published, name, root)
    sets = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's about how the published files were pickled
        for train in (True, False):
            raw = published(str(root), train=train, download=False)
            sets.append(Images(torch.from_numpy(raw.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(raw.targets)))
    pool, test = sets
    train, val = carve(pool, name, len(raw.classes), validation, train_size, seed)
    return Data(
        name, tuple(raw.classes), train, val, test, mean, std, groups=groups, distort=distort, cutout=cutout, mixup=mixup
    )


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
