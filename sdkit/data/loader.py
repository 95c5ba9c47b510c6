"""The training loader: the whole set lies on the device as padded uint8 and a batch is made by batched tensor code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Batch
from .base import normalise, scale
from .distort import cut_out, distorted

if TYPE_CHECKING:
    from .base import Data

PAIRS = ("same image", "same class")


class Loader:
    """Iterating it is one epoch: every training image once, in a new order, randomly cropped and mirrored.

    The crop is a window of the image padded with black (zeros before normalisation), as torchvision's RandomCrop(padding=pad)
    makes of a PIL image. pair: "same image" adds a second, independent augmentation of the image (DDGSD), "same class" an
    augmented random other image of its class (CS-KD); a class of one image is its own partner. After crop and mirror come the
    data's own distortions and, after normalisation, its Cutout, in both views: each draws afresh.

    The last, smaller batch is kept, but a last batch of one image joins the batch before it (BatchNorm cannot take it).
    It draws from its own generators only: one on the host for the order, one on the device for everything else.
    """

    def __init__(
        self, data: Data, batch_size: int, *, pair: str | None = None, device: str | torch.device = "cpu", seed: int = 0
    ) -> None:
        if pair is not None and pair not in PAIRS:
            raise ValueError(f"a pair is None, {' or '.join(map(repr, PAIRS))}, got {pair!r}")
        n, (height, width) = len(data.train.y), data.train.x.shape[2:]
        if batch_size < 2 or n < 2:
            raise ValueError(f"a batch has at least 2 images (BatchNorm), got batch_size={batch_size} and {n} training images")
        self.batch_size, self.pair, self.device = batch_size, pair, torch.device(device)
        self.pad, self.mirror, self.scale = data.pad, data.mirror, scale(data.mean, data.std, device)
        self.distort, self.cutout = data.distort, data.cutout
        padded = F.pad(data.train.x.to(device), (data.pad,) * 4)
        self.windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # [N, 3, 2 pad + 1, 2 pad + 1, H, W], a view
        self.y = data.train.y.to(device)
        if pair == "same class":
            counts = torch.bincount(data.train.y, minlength=data.num_classes)
            first, by_class = counts.cumsum(0) - counts, data.train.y.argsort(stable=True)
            rank = torch.empty_like(by_class)
            rank[by_class] = torch.arange(n) - first[data.train.y[by_class]]  # each image's place within its class
            self.by_class, self.rank, self.first, self.counts = (
                t.to(device) for t in (by_class, rank, first[data.train.y], counts[data.train.y])
            )
        self.host = torch.Generator().manual_seed(seed)
        self.own = torch.Generator(self.device).manual_seed(seed)

    def __len__(self) -> int:
        """Steps of an epoch."""
        full, left = divmod(len(self.y), self.batch_size)
        return max(full + (left > 1), 1)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.y), generator=self.host).to(self.device, non_blocking=True)
        for k in range(len(self)):
            index = order[k * self.batch_size : (k + 1) * self.batch_size if k < len(self) - 1 else None]
            x = self.augmented(index)
            pair = None
            if self.pair == "same image":
                pair = self.augmented(index)
            elif self.pair == "same class":
                pair = self.augmented(self.partners(index))
            yield Batch(x, self.y[index], index, pair)

    def augmented(self, index: Tensor) -> Tensor:
        """places [B] -> [B, 3, H, W] float32, channels_last: one random view of each image."""
        n = len(index)
        dy, dx = torch.randint(2 * self.pad + 1, (2, n), generator=self.own, device=self.device)
        x = self.windows[index, :, dy, dx]
        if self.mirror:
            flip = torch.rand(n, 1, 1, 1, generator=self.own, device=self.device) < 0.5
            x = torch.where(flip, x.flip(-1), x)
        if self.distort:
            x = distorted(x, self.distort, self.own)
        x = normalise(x, *self.scale)
        return cut_out(x, self.cutout, self.own) if self.cutout else x

    def partners(self, index: Tensor) -> Tensor:
        """places [B] -> the place of another image of the same class for each, all others equally likely."""
        counts = self.counts[index]
        others = (counts - 1).clamp(min=1)
        step = (torch.rand(len(index), generator=self.own, device=self.device) * others).long()
        step = 1 + torch.minimum(step, others - 1)  # rounding must not come full circle
        return self.by_class[self.first[index] + (self.rank[index] + step) % counts]

    def state_dict(self) -> dict[str, Tensor]:
        """Its place between two epochs: the states of both generators."""
        return {"host": self.host.get_state(), "device": self.own.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on where `state_dict` was taken. ValueError for the state of another kind of device."""
        if set(state) != {"host", "device"} or len(state["device"]) != len(self.own.get_state()):
            raise ValueError(f"this is not the state of a loader on {self.device}: resume on the kind of device that saved it")
        self.host.set_state(state["host"].cpu())
        self.own.set_state(state["device"].cpu())
