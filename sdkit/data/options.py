"""The options that all data sets share, said and applied in one place: a set's own function returns the whole set, as it is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..core import check_arguments, pick
from .base import Data
from .content import data_root
from .distort import DISTORTIONS, POLICIES
from .pixels import Images, parted, take

NORMS = {
    "legacy": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Means and deviations by name. "imagenet": of ImageNet's training images, which pretrained networks expect. "legacy": in
public code of BYOT, CS-KD and ONE for both CIFARs, which is CIFAR-10's means and the mean deviation within an image."""

Norm = str | tuple[tuple[float, float, float], tuple[float, float, float]]


def with_options(
    data: Data, *, validation: int = 0, train_size: int | None = None, seed: int = 0, distort: Sequence[str] = (),
    cutout: int = 0, mixup: float = 0.0, norm: Norm | None = None,
) -> Data:  # fmt: skip
    """A whole data set -> the same with the options that all share. What is left at its default stays as the set has it.

    Args:
        data: the set, all its training images in `train`.
        validation: images set aside from the training set as `val`; 0 leaves the set's own, where it has one.
        train_size: how many of the others to train on, every class in proportion; None: all.
        seed: of both choices, never of training.
        distort: names of DISTORTIONS, of every training image besides crop and mirror; or "autoaugment", a learned policy.
        cutout: the side of a hole in every training image, pixels; 0: none.
        mixup: alpha of the Beta(alpha, alpha) that shares of mixed images come from; 0: none are mixed.
        norm: what normalises images: None, the set's own statistics; a name of NORMS; or mean and deviation, three numbers
            in [0, 1] each. A teacher wants the images as it was trained on them.

    Raises:
        ValueError: images without contrast, a size that the set does not have, an unknown distortion, a number out of range.
    """
    mean, std = (data.mean, data.std) if norm is None else _norm(norm)
    if not all(std):
        raise ValueError(
            f"a colour of the training images of {data.name} has one value in all pixels: say what to normalise by, "
            "norm='imagenet' for example"
        )
    train, val = carve(data.train, data.name, data.num_classes, validation, train_size, seed)
    return replace(
        data, train=train, val=val if validation else data.val, mean=mean, std=std, distort=distort or data.distort,
        cutout=data.cutout if cutout == 0 else cutout, mixup=data.mixup if mixup == 0 else mixup,
    )  # fmt: skip


SAID = {"norm": Any, "distort": Sequence[Literal[(*DISTORTIONS, *POLICIES)]]}  # type: ignore[valid-type]
"""Types that a checker cannot read; of `norm` the sentence of its own says more than a type."""

COMMON = [
    p.replace(annotation=SAID.get(p.name, p.annotation))
    for p in inspect.signature(with_options, eval_str=True).parameters.values()
    if p.name != "data"
]


def data_set(make: Callable[..., Data], name: str = "") -> Callable[..., Data]:
    """A function to a whole set -> one that takes the options of `with_options` besides its own, and `root` and `download`.

    `root` is the folder of data sets (None: `content.data_root()`), `download` whether to fetch what is missing: sets that
    need neither take them, too. What `make` itself asks for of these, it gets, `root` as a Path.
    """
    own = inspect.signature(make, eval_str=True).parameters
    root, download = (inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v, annotation=a)
                      for k, v, a in (("root", None, Path | None), ("download", False, bool)))  # fmt: skip
    every = {"root": root} | {**own} | {p.name: p for p in (root, download, *COMMON)}
    name = name or make.__name__

    @functools.wraps(make)
    def load(**options: Any) -> Data:
        for option in options:
            pick(option, every, f"option of the data set {name}")
        said = {k: p.default for k, p in every.items()} | check_arguments(load, options, f"{name}'s")
        seed, root = said["seed"], said["root"]
        if seed < 0:
            raise ValueError(f"the seed of {name} is a whole number from 0, got {seed!r}")
        said["root"] = data_root() if root is None else Path(root)
        return with_options(make(**{k: said[k] for k in own}), **{p.name: said[p.name] for p in COMMON})

    load.__signature__ = inspect.Signature([*every.values()], return_annotation="Data")
    return load


def carve(
    pool: Images, name: str, num_classes: int, validation: int, train_size: int | None, seed: int
) -> tuple[Images, Images]:
    """All training images -> (train, val): `validation` images set aside first, then `train_size` of the others (None: all).

    Both choices are stratified and depend on `seed` alone; the validation images are the same for every `train_size`.
    """
    n = len(pool.y)
    for what, size in (("validation", validation), ("train_size", train_size)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, int)):
            raise ValueError(f"{what} is a whole number of images, got {size!r}")
    if validation and not num_classes <= validation <= n - num_classes:
        raise ValueError(
            f"validation is 0 or takes {num_classes} (one image of every class) to {n - num_classes} of the {n} training "
            f"images of {name}, got {validation}"
        )
    if train_size is not None and not num_classes <= train_size <= n - validation:
        beside = f" beside {validation} for validation" if validation else ""
        raise ValueError(
            f"train_size takes {num_classes} (one image of every class) to {n - validation} of the {n} training images of "
            f"{name}{beside}, got {train_size}"
        )
    lots = [np.random.Generator(np.random.PCG64([seed, k])) for k in (1, 2)]
    val, rest = parted(pool.y, validation, lots[0]) if validation else (torch.arange(0), torch.arange(n))
    if train_size is not None:
        rest = rest[parted(pool.y[rest], train_size, lots[1])[0]]
    return take(pool, rest) if len(rest) < n else pool, take(pool, val)


def _norm(norm: Norm) -> tuple:
    """Mean and deviation, each three numbers."""
    if isinstance(norm, str) and norm in NORMS:
        return NORMS[norm]
    try:
        mean, std = (tuple(map(float, part)) for part in norm)
        if len(mean) == len(std) == 3 and all(0 <= m <= 1 for m in mean) and all(0 < s <= 1 for s in std):
            return mean, std
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"norm is None, the set's own statistics, or {' or '.join(map(repr, NORMS))}, or mean and deviation as three numbers "
        f"in [0, 1] each, ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)) for example, got {norm!r}"
    )
