"""What a data set is here: uint8 images in memory, their labels, and where known the object's mask."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core import Batch
from .distort import checked

if TYPE_CHECKING:
    from .loader import Loader

SPLITS = ("train", "val", "test")


class Images(NamedTuple):
    """Images as they lie in memory."""

    x: Tensor  # [N, 3, H, W] uint8
    y: Tensor  # [N] int64
    mask: Tensor | None = None  # [N, H, W] bool: where the object is, where that is known
    camera: Tensor | None = None  # [N] int64: what took it, where that is known
    kind: Tensor | None = None  # [N] int64: how hard it is, a place in `Data.kinds`, where that is known


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
        side = min(self.train.x.shape[2:])
        object.__setattr__(self, "distort", checked(self.distort, self.cutout, side))
        number = isinstance(self.mixup, int | float) and not isinstance(self.mixup, bool)
        if not number or not 0 <= self.mixup < math.inf:
            raise ValueError(
                f"mixup is the alpha of Beta(alpha, alpha), a number from 0 (off), 0.2 for example, got {self.mixup!r}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def batches(
        self, batch_size: int, *, pair: str | None = None, samples_per_class: int | None = None,
        device: str | torch.device = "cpu", seed: int = 0,
    ) -> Loader:  # fmt: skip
        """The training loader: iterating it is one epoch of augmented batches. `seed` is that of order and augmentation."""
        from .loader import Loader

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
        y = getattr(self, split).y
        return stratified(y, images, np.random.Generator(np.random.PCG64(0))) if images < len(y) else None


class Evaluation:
    """Clean batches of one split, in order; re-iterable, its uint8 images stay on the device. `index` is within the split."""

    def __init__(self, data: Data, split: str, batch_size: int, device: str | torch.device, part: Tensor | None = None) -> None:
        if split not in SPLITS:
            raise ValueError(f"a split is one of {', '.join(SPLITS)}, got {split!r}")
        if batch_size < 1:
            raise ValueError(f"batch_size is at least 1, got {batch_size}")
        images: Images = getattr(data, split)
        if not len(images.y):
            raise ValueError(f"{data.name} was loaded without {split} images: load it with validation=500, say, to carve some")
        self.index = (torch.arange(len(images.y)) if part is None else part).to(device)
        images = images if part is None else take(images, part)
        self.x, self.y = self.hold(images.x, device), images.y.to(device)
        self.batch_size, self.scale = batch_size, scale(data.mean, data.std, device)

    def hold(self, x: Tensor, device: str | torch.device) -> Tensor:
        """The images where batches are taken from them."""
        return x.to(device)

    def __len__(self) -> int:
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for x, y, index in zip(*(t.split(self.batch_size) for t in (self.x, self.y, self.index)), strict=True):
            yield Batch(normalise(x, *self.scale), y, index)


def scale(mean: tuple[float, ...], std: tuple[float, ...], device: str | torch.device) -> tuple[Tensor, Tensor]:
    """What to subtract from and multiply with a uint8 image: two [1, 3, 1, 1]."""
    m, s = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) * 255 for v in (mean, std))
    return m.float().to(device), (1 / s).float().to(device)


def normalise(x: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """[B, 3, H, W] uint8 -> float32 in channels_last, (x - mean) * inverse."""
    x = x.to(torch.float32, memory_format=torch.channels_last)
    rows = x.permute(0, 2, 3, 1).view(len(x), x.shape[2], 3 * x.shape[3])  # numbers in a line, as a processor takes them
    rows.sub_(mean.flatten().repeat(x.shape[3])).mul_(inverse.flatten().repeat(x.shape[3]))
    return x


def statistics(x: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """[N, 3, H, W] uint8 -> mean and standard deviation of every channel in [0, 1], exact (from the histogram of values)."""
    mean, std = [], []
    values = np.arange(256) / 255
    for c in range(3):
        share = np.bincount(x[:, c].numpy().ravel(), minlength=256) / x[:, c].numel()
        mean.append(float((share * values).sum()))
        std.append(float(np.sqrt((share * (values - mean[-1]) ** 2).sum())))
    return tuple(mean), tuple(std)


def stratified(y: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """labels [N] -> the places of `size` random images, ascending, every class in proportion and none left out.

    From the same generator a smaller choice is part of a larger one, so a sweep over sizes grows one set.
    """
    labels = y.numpy()
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)  # place within the shuffled class
    key = np.where(rank == 0, -1, (rank + 0.5) / np.repeat(counts, counts))
    return torch.from_numpy(np.sort(by_class[np.argsort(key, kind="stable")[:size]]))


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
    rest = torch.arange(n)
    val = rest[:0]
    if validation:
        val = stratified(pool.y, validation, np.random.Generator(np.random.PCG64([seed, 1])))
        kept = torch.ones(n, dtype=torch.bool)
        kept[val] = False
        rest = rest[kept]
    if train_size is not None:
        rest = rest[stratified(pool.y[rest], train_size, np.random.Generator(np.random.PCG64([seed, 2])))]
    return take(pool, rest) if len(rest) < n else pool, take(pool, val)


def take(images: Images, places: Tensor) -> Images:
    """The images at `places` [M]."""
    return Images(*(None if t is None else t[places] for t in images))
