"""Loaders: the whole set lies on the device as padded uint8, and a batch is made by batched tensor code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Batch, as_declared, one_thread
from .distort import cut_out, distorted
from .pixels import Images, normalise, scale, take

Pair = Literal["same image", "same class"]
PAIRS = get_args(Pair)
SPLITS = ("train", "val", "test")


class Source(Protocol):
    """What loaders read of a data set: `Data` says what each is."""

    name: str
    train: Images
    val: Images
    test: Images
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pad: int
    mirror: bool
    distort: tuple[str, ...]
    cutout: int
    mixup: float
    num_classes: int


class Loader:
    """Iterating it is one epoch: every training image once, in a new order, randomly cropped and mirrored.

    The crop is a window of the image padded with black (zeros before normalisation), as torchvision's RandomCrop(padding=pad)
    makes of a PIL image. pair: "same image" adds a second, independent augmentation of the image (DDGSD), "same class" an
    augmented random other image of its class (CS-KD); a class of one image is its own partner. After crop and mirror come the
    data's own distortions and, after normalisation, its Cutout, in both views: each draws afresh.

    Last comes the data's mixup (Zhang et al. 2018): every image is mixed with that at its place in a shuffled batch, at times
    itself, in one share for the batch; `mix` says that image's label and the share that is the own. Both views of a pair have
    the same partner and share, so a pair "same image" shows one mixture twice, and a pair "same class" two mixtures of the same
    two classes.

    The last, smaller batch is kept, but a last batch of one image joins the batch before it (BatchNorm cannot take it).

    samples_per_class: K images each of P classes make a batch, P = batch_size // K (12 classes of 3 images where it is 36);
    where there are fewer classes, all of them with as many images more as fit. Every step draws P classes anew, none twice. A
    class's images come in an order that is shuffled every epoch, and again from its start when all have come, so that an image
    comes twice in a batch only where its class has fewer than K. An epoch has as many such batches as the training set could
    fill once over; some images come more than once in it, and some not at all. A batch lists class after class.

    It draws from its own generators only: one on the host for the order, one on the device for everything else.
    """

    def __init__(
        self, data: Source, batch_size: int, *, pair: str | None = None, samples_per_class: int | None = None,
        device: str | torch.device = "cpu", seed: int = 0,
    ) -> None:  # fmt: skip
        batch_size, seed = as_declared("batch_size", batch_size, int), as_declared("a loader's seed", seed, int)
        if seed < 0:
            raise ValueError(f"a loader's seed is a whole number from 0, got {seed}: say seed=0, for example")
        samples_per_class = as_declared("samples_per_class", samples_per_class, int | None)
        pair = as_declared("a loader's pair", pair, Pair | None)
        n = len(data.train.y)
        if batch_size < 2 or n < 2:
            raise ValueError(f"a batch has at least 2 images (BatchNorm), got batch_size={batch_size} and {n} training images")
        self.batch_size, self.pair, self.device = batch_size, pair, torch.device(device)
        self.pad, self.mirror, self.scale = data.pad, data.mirror, scale(data.mean, data.std, device)
        self.distort, self.cutout, self.mixup = data.distort, data.cutout, data.mixup
        self.hold(data.train.x)
        self.y = data.train.y.to(device)
        if pair == "same class":
            counts = torch.bincount(data.train.y, minlength=data.num_classes)
            first, by_class = counts.cumsum(0) - counts, data.train.y.argsort(stable=True)
            rank = torch.empty_like(by_class)
            rank[by_class] = torch.arange(n) - first[data.train.y[by_class]]  # each image's place within its class
            self.by_class, self.rank, self.first, self.counts = (
                t.to(device) for t in (by_class, rank, first[data.train.y], counts[data.train.y])
            )
        self.labels, self.classes, self.samples_per_class = data.train.y, 0, samples_per_class
        if samples_per_class is not None:
            present = len(data.train.y.unique())
            self.classes = min(batch_size // samples_per_class, present) if samples_per_class > 0 else 0
            if self.classes < 2:
                raise ValueError(
                    f"a batch of {batch_size} with samples_per_class={samples_per_class} cannot hold two of the {present} "
                    "classes: "
                    f"take batch_size >= {2 * max(samples_per_class, 1)}"
                )
            self.samples_per_class = batch_size // present if self.classes == present else samples_per_class
        self.host = torch.Generator().manual_seed(seed)
        self.own = torch.Generator(self.device).manual_seed(seed)

    def hold(self, x: Tensor) -> None:
        """Keeps the training images where batches are made of them: padded, pixel by pixel, so that a row is one copy."""
        padded = F.pad(x.to(self.device), (self.pad,) * 4).permute(0, 2, 3, 1).contiguous()  # [N, H + 2 pad, W + 2 pad, 3]
        (self.high, self.wide), (h, w) = padded.shape[1:3], x.shape[2:]
        self.rows = padded.view(-1).unfold(0, 3 * w, 3)  # from each pixel on W pixels, a view
        self.below = self.wide * torch.arange(h, device=self.device)  # of a window's rows: pixels after its first

    def __len__(self) -> int:
        """Steps of an epoch."""
        if self.samples_per_class is not None:
            return max(len(self.y) // (self.classes * self.samples_per_class), 1)
        full, left = divmod(len(self.y), self.batch_size)
        return max(full + (left > 1), 1)

    def __iter__(self) -> Iterator[Batch]:
        order, size = self.order()
        order = order.to(self.device, non_blocking=True)
        shares = self.shares() if self.mixup else None
        for k in range(len(self)):
            index = order[k * size : (k + 1) * size if k < len(self) - 1 else None]
            x = self.augmented(index)
            pair = None
            if self.pair == "same image":
                pair = self.augmented(index)
            elif self.pair == "same class":
                pair = self.augmented(self.partners(index, self.own))
            batch = Batch(x, self.y[index], index, pair)
            yield batch if shares is None else self.mixture(batch, shares[k])

    def order(self) -> tuple[Tensor, int]:
        """The places of a new epoch in the order they come in, on the host, and how many make a batch."""
        order = torch.randperm(len(self.y), generator=self.host)
        if self.samples_per_class is None:
            return order, self.batch_size
        return self.by_classes(order).flatten(), self.classes * self.samples_per_class

    def augmented(self, index: Tensor) -> Tensor:
        """places [B] -> [B, 3, H, W] float32, channels_last: one random view of each image."""
        n, h = len(index), len(self.below)
        with one_thread(n * h * self.rows.shape[1], self.device):
            dy, dx = torch.randint(2 * self.pad + 1, (2, n), generator=self.own, device=self.device)
            first = (index * self.high + dy) * self.wide + dx  # the window's first pixel, of all
            rows = self.rows.index_select(0, (first[:, None] + self.below).flatten())
            return self.varied(rows.view(n, h, -1, 3).permute(0, 3, 1, 2))

    def varied(self, x: Tensor) -> Tensor:
        """Windows [B, 3, H, W] uint8 -> float32, channels_last: mirrored, distorted, normalised and cut out at random."""
        if self.mirror:
            flip = torch.rand(len(x), 1, 1, 1, generator=self.own, device=self.device) < 0.5
            x = x + flip.to(torch.uint8) * (x.flip(-1) - x)  # modulo 256; a fifth of the time of a `where`
        if self.distort:
            x = distorted(x.contiguous(), self.distort, self.own)
        x = normalise(x, *self.scale)
        return cut_out(x, self.cutout, self.own) if self.cutout else x

    def partners(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """places [B] -> the place of another image of the same class for each, all others equally likely."""
        counts = self.counts[index]
        others = (counts - 1).clamp(min=1)
        step = (torch.rand(len(index), generator=generator, device=index.device) * others).long()
        step = 1 + torch.minimum(step, others - 1)  # rounding must not come full circle
        return self.by_class[self.first[index] + (self.rank[index] + step) % counts]

    def by_classes(self, order: Tensor) -> Tensor:
        """All places in a random order [N] -> those of every batch of P classes, K images each, [steps, P K]. On the host."""
        images = order[self.labels[order].argsort(stable=True)]  # class by class, each in random order
        classes, counts = self.labels.unique(return_counts=True)
        first = counts.cumsum(0) - counts
        drawn = torch.rand(len(self), len(classes), generator=self.host).argsort(1)[:, : self.classes]  # [steps, P]
        taken = torch.zeros(len(self), len(classes), dtype=torch.long).scatter_(1, drawn, 1)
        before = (taken.cumsum(0) - taken).gather(1, drawn)  # how often the class was drawn earlier in the epoch
        rank = before[..., None] * self.samples_per_class + torch.arange(self.samples_per_class)
        return images[(first[drawn][..., None] + rank % counts[drawn][..., None])].flatten(1)

    def shares(self) -> Tensor:
        """How much of each image is its own, for every batch of an epoch: [steps], in [1/2, 1], from Beta(alpha, alpha).

        A draw below 1/2 is folded to its complement, so that an image's own label is the one that counts for more. As every
        partner is as likely, this changes only which of the two comes first, not which mixtures there are.
        """
        seed = int(torch.randint(2**62, (), generator=self.host))  # on the host: no step waits for the device
        share = np.random.Generator(np.random.PCG64(seed)).beta(self.mixup, self.mixup, len(self))
        return torch.from_numpy(np.maximum(share, 1 - share)).float().to(self.device)

    def mixture(self, batch: Batch, share: Tensor) -> Batch:
        """The batch with every image, and its partner of a pair, mixed with those of another place. share: []."""
        other = torch.rand(len(batch.y), generator=self.own, device=self.device).argsort()
        x, pair = (v if v is None else share * v + (1 - share) * v[other] for v in (batch.x, batch.pair))
        return batch._replace(x=x, pair=pair, mix=(batch.y[other], share))

    def state_dict(self) -> dict[str, Tensor]:
        """Its place between two epochs: the states of both generators."""
        return {"host": self.host.get_state(), "device": self.own.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where `state_dict` was taken. ValueError for the state of another kind of device."""
        if set(state) != {"host", "device"} or len(state["device"]) != len(self.own.get_state()):
            raise ValueError(f"this is not the state of a loader on {self.device}: resume on the kind of device that saved it")
        self.host.set_state(state["host"].cpu())
        self.own.set_state(state["device"].cpu())


class Evaluation:
    """Clean batches of one split, in order; re-iterable, its uint8 images stay on the device. `index` is within the split."""

    def __init__(
        self, data: Source, split: str, batch_size: int, device: str | torch.device, part: Tensor | None = None
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"a split is one of {', '.join(SPLITS)}, got {split!r}")
        if as_declared("batch_size", batch_size, int) < 1:
            raise ValueError(f"batch_size is at least 1, got {batch_size}: say batch_size=128, for example")
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
