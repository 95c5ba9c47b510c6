"""Data sets too large for memory: images stay files, and worker processes decode and crop them while the network trains.

Underneath is torch's DataLoader. What an epoch shows is drawn before it begins, from the loader's own generators, so that
neither the number of workers nor their speed changes a batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..core import Batch
from .base import Data
from .content import cache_of, content, data_root
from .files import Files, Framing, Unreadable, view, views, workers
from .loader import Evaluation, Loader
from .pixels import normalise


class Decoded:
    """Images on disk that are read like a uint8 tensor [N, 3, H, W]: what is asked for is decoded then, and not kept.

    `x[:100]`, `x[places]`, `x[mask]` are tensors of clean images; `x[5]` is one, [3, H, W].
    """

    dtype = torch.uint8

    def __init__(self, files: Files, places: Tensor, framing: Framing) -> None:
        self.files, self.places, self.framing = files, places, framing

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.places), 3, self.framing.height, self.framing.width))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Tensor:
        chosen = self.places[index]
        x = torch.from_numpy(views(self.files, chosen.reshape(-1).tolist(), self.framing)).permute(0, 3, 1, 2).contiguous()
        return x if chosen.ndim else x[0]

    def index_select(self, dim: int, places: Tensor) -> Decoded:
        """The images at `places` [M] of dimension 0, none of them read yet."""
        return Decoded(self.files, self.places.index_select(dim, places), self.framing)

    def digest(self) -> str:
        """Of the files' names below their folder and their content, in their order, and of how they are framed."""
        return f"{content(self.files, self.places.tolist(), cache_of(data_root()))} {self.framing}"

    def to(self, device: str | torch.device) -> Tensor:
        """All of them as a tensor on the device: for splits that fit."""
        return self[:].to(device)


class Streamed(Data):
    """A data set whose images are `Decoded`: the same surface as `Data`, and memory that does not grow with it."""

    def batches(
        self, batch_size: int, *, pair: str | None = None, samples_per_class: int | None = None,
        device: str | torch.device = "cpu", seed: int = 0,
    ) -> Stream:  # fmt: skip
        """The training loader. `seed` is that of order and augmentation; `SDKIT_WORKERS` says how many processes decode."""
        return Stream(self, batch_size, pair=pair, samples_per_class=samples_per_class, device=device, seed=seed)

    def evaluation(
        self, split: str = "test", batch_size: int = 128, device: str | torch.device = "cpu", part: Tensor | None = None
    ) -> StreamEvaluation:
        """The clean images of a split, in order, as often as it is iterated. part: their places [M], None for all."""
        return StreamEvaluation(self, split, batch_size, device, part)


class Stream(Loader):
    """Iterating it is one epoch, as of `Loader`, but random crop (that of the set's `Framing`) and mirror are the workers'.

    Distortions, Cutout and mixup come after it, on the device. Workers start with an epoch and end with it.
    """

    def hold(self, x: Decoded) -> None:
        self.x = x

    def __init__(self, data: Streamed, batch_size: int, **options: Any) -> None:
        super().__init__(data, batch_size, **options)
        self.flips, self.mirror = self.mirror, False  # workers do it while they copy
        if self.pair == "same class":
            self.by_class, self.rank, self.first, self.counts = (
                t.cpu() for t in (self.by_class, self.rank, self.first, self.counts)
            )

    def __iter__(self) -> Iterator[Batch]:
        order, size = self.order()
        seen = [order]
        if self.pair is not None:
            seen.append(order if self.pair == "same image" else self.partners(order, self.host))
        rows = []  # per view of an image its place and the seed of its crop
        for places in seen:
            rows += [self.x.places[places], torch.randint(2**62, (len(order),), generator=self.host)]
        ends = [*(k * size for k in range(len(self))), len(order)]
        plan = [torch.stack(rows, 1)[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        shares = self.shares() if self.mixup else None
        for k, made in enumerate(decoding(self.x, plan, self.device, self.flips)):
            index = order[ends[k] : ends[k + 1]].to(self.device, non_blocking=True)
            x, *pair = (self.varied(v) for v in made)
            batch = Batch(x, self.y[index], index, *pair)
            yield batch if shares is None else self.mixture(batch, shares[k])


class StreamEvaluation(Evaluation):
    """Clean batches of one split, in order; re-iterable."""

    def hold(self, x: Decoded, device: str | torch.device) -> Decoded:
        self.device = torch.device(device)
        return x

    def __iter__(self) -> Iterator[Batch]:
        rows = torch.stack([self.x.places, torch.full_like(self.x.places, CLEAN)], 1)
        made = decoding(self.x, list(rows.split(self.batch_size)), self.device)
        for (x,), y, index in zip(made, *(t.split(self.batch_size) for t in (self.y, self.index)), strict=True):
            yield Batch(normalise(x, *self.scale), y, index)


CLEAN = -1  # in place of a seed: the centre of the image


def decoding(x: Decoded, plan: list[Tensor], device: torch.device, mirror: bool = False) -> Iterator[list[Tensor]]:
    """plan: for every batch [B, 2 V] places and seeds -> V views [B, 3, H, W] uint8 on the device. `Unreadable` names a file.

    Worker processes are ahead by two batches each.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice on how many workers suit this machine
        loader = DataLoader(
            _Views(x.files, x.framing, mirror), batch_sampler=_Plan(plan), collate_fn=_as_it_is, num_workers=workers(),
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # of numbers that nobody uses; the global one is left alone
        )  # fmt: skip
    for made in loader:
        if isinstance(made, str):
            raise Unreadable(made)
        yield [v.to(device, non_blocking=True).permute(0, 3, 1, 2) for v in made]


class _Plan:
    """The batches of an epoch, as the DataLoader asks for them."""

    def __init__(self, plan: list[Tensor]) -> None:
        self.plan = plan

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[list[int]]]:
        return (rows.tolist() for rows in self.plan)


class _Views:
    """What a worker does, a batch at once. An unreadable file becomes its sentence: an exception would bring a traceback."""

    def __init__(self, files: Files, framing: Framing, mirror: bool) -> None:
        self.files, self.framing, self.mirror = files, framing, mirror

    def __len__(self) -> int:
        return len(self.files)

    def __getitems__(self, rows: list[list[int]]) -> list[Tensor] | str:
        h, w, *_ = self.framing
        out = [torch.empty(len(rows), h, w, 3, dtype=torch.uint8) for _ in range(len(rows[0]) // 2)]
        arrays = [t.numpy() for t in out]
        try:
            for k, row in enumerate(rows):
                for array, place, seed in zip(arrays, row[::2], row[1::2], strict=True):
                    array[k] = view(self.files[place], self.framing, None if seed == CLEAN else seed, self.mirror)
        except Unreadable as error:
            return str(error)
        return out


def _as_it_is(made: Any) -> Any:
    return made
