"""What a data set is here: images, their labels, and where known the object's mask; their statistics; how they are varied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import as_declared, declared, pick
from .distort import checked
from .loader import SPLITS, Evaluation, Loader
from .pixels import Images, none_of, normalise, scale, statistics, stratified


@dataclass(frozen=True, eq=False)
class Data:
    """A data set with its splits, its statistics and the augmentation that suits it.

    `val` may have no images. `mean` and `std` are those of the whole training set, per channel, in [0, 1].
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    val: Images
    test: Images
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pad: int = 4  # black pixels around an image before a random crop of its size; 0: no crop
    mirror: bool = True
    groups: tuple[int, ...] | None = None  # [K] the superclass of every class, where there is one
    kinds: tuple[str, ...] = ()  # names of `Images.kind`
    distort: tuple[str, ...] = ()  # of `distort.DISTORTIONS`, besides crop and mirror
    cutout: int = 0  # side of the hole in every training image, pixels; 0: none
    mixup: float = 0.0  # alpha of the Beta that the shares of mixed training images come from; 0: none are mixed
    query: Images | None = None  # images to look for, of classes that nobody was trained on; labels are theirs alone
    gallery: Images | None = None  # images to look through, of the query's classes

    def __post_init__(self) -> None:
        for name, kind in declared(Data).items():
            if name not in ("distort", "cutout", "mixup"):  # which have sentences of their own
                object.__setattr__(self, name, as_declared(f"{self.name}'s {name}", getattr(self, name), kind))
        for name in ("mean", "std"):
            if not all(0 <= value <= 1 for value in getattr(self, name)):
                raise ValueError(
                    f"{self.name}'s {name} is three numbers in [0, 1], one a colour, got {getattr(self, name)}: "
                    "where pixels are counted from 0 to 255, divide by 255"
                )
        for split in SPLITS if self.num_classes > 1 else ():
            in_range(getattr(self, split).y, self.num_classes, f"{split} of {self.name}")
        side = min(self.train.x.shape[2:])
        object.__setattr__(self, "distort", checked(self.distort, self.cutout, side))
        if not 0 <= self.pad <= side:
            raise ValueError(
                f"{self.name}'s pad is black pixels around an image, 0 to its own side of {side}, got {self.pad}: say pad=4"
            )
        number = isinstance(self.mixup, int | float) and not isinstance(self.mixup, bool)
        if not number or not 0 <= self.mixup <= 1000:
            raise ValueError(
                f"mixup is the alpha of Beta(alpha, alpha), a number from 0 (off) to 1000, 0.2 for example, got {self.mixup!r}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def batches(
        self, batch_size: int, *, pair: str | None = None, samples_per_class: int | None = None,
        device: str | torch.device = "cpu", seed: int = 0,
    ) -> Loader:  # fmt: skip
        """The training loader: iterating it is one epoch of augmented batches. `seed` is that of order and augmentation."""
        return Loader(self, batch_size, pair=pair, samples_per_class=samples_per_class, device=device, seed=seed)

    def retrieval(self) -> tuple[Images, Images | None]:
        """Query and gallery. (test, None) where the set has none of its own: every test image then asks all the others."""
        return (self.query, self.gallery) if self.query is not None else (self.test, None)

    def normalised(self, x: Tensor, device: str | torch.device = "cpu") -> Tensor:
        """[B, 3, H, W] uint8 -> float32, channels_last, mean 0 and deviation 1 over the training set. No augmentation."""
        return normalise(x.to(device), *scale(self.mean, self.std, device))

    def evaluation(
        self, split: str = "test", batch_size: int = 512, device: str | torch.device = "cpu", part: Tensor | None = None
    ) -> Evaluation:
        """The clean images of a split, in order, as often as it is iterated. part: their places [M], None for all."""
        return Evaluation(self, split, batch_size, device, part)

    def watched(self, split: str, images: int) -> Tensor | None:
        """The places of so many images of a split, every class in proportion; None where it has no more. Always the same."""
        y = getattr(self, pick(split, SPLITS, "split")).y
        return stratified(y, images, np.random.Generator(np.random.PCG64(0))) if images < len(y) else None


def in_range(y: Tensor, num_classes: int, of: str) -> None:
    """ValueError, with the mend, where a label is none of the classes: -100 and the like would train in silence."""
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < num_classes:
        wrong = int(y.min()) if y.min() < 0 else int(y.max())
        raise ValueError(
            f"{of} has the label {wrong}, expected are 0 to {num_classes - 1}, one for each of its {num_classes} classes: "
            "leave out images without a label, and number the labels of all splits alike"
        )


def whole_set(name: str, classes: Iterable[str], train: Images, test: Images, val: Images | None = None, **more: Any) -> Data:
    """A set in memory, its training images whole; mean and deviation are their own unless said."""
    if "mean" not in more:
        more["mean"], more["std"] = statistics(train.x)
    return Data(name, tuple(classes), train, none_of(train) if val is None else val, test, **more)
