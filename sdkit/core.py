"""The small things that every part of sdkit passes around: a batch, what a pass left, where training stands, a knob."""

from __future__ import annotations

import contextlib
import difflib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One mini-batch, already augmented and on the device."""

    x: Tensor  # [B, 3, H, W] normalised images
    y: Tensor  # [B] int64 labels
    index: Tensor  # [B] int64, each image's place in the training set
    pair: Tensor | None = None  # [B, 3, H, W] a partner per image, when the method asks for one
    mix: tuple[Tensor, Tensor] | None = None  # under mixup: the labels [B] of what is mixed in, and the share [] of x's own


class Features(NamedTuple):
    """What one forward pass leaves behind for a method or an analysis to look at."""

    logits: Tensor  # [B, K]
    embedding: Tensor  # [B, D] the vector that the classifier reads
    stages: tuple[Tensor, ...]  # S feature maps, [B, C_s, H_s, W_s], shallow to deep
    blocks: tuple[Tensor, ...] = ()  # every residual block's map, where a method asked the network for them


class Progress(NamedTuple):
    """Where training stands."""

    epoch: int  # 0-based
    step: int  # 0-based, over the whole run
    epochs: int
    steps_per_epoch: int

    @property
    def fraction(self) -> float:
        """The fraction of training done, in [0, 1)."""
        return self.step / (self.epochs * self.steps_per_epoch)

    @property
    def ends_epoch(self) -> bool:
        """Whether this step is its epoch's last."""
        return (self.step + 1) % self.steps_per_epoch == 0


class Moment(NamedTuple):
    """A training held at one place of its way, for an analysis of its loss."""

    model: Any
    method: Any
    batches: Sequence[Batch]  # that follow each other: the first fills the method's memory
    progress: Progress  # of the first batch
    earlier: Sequence[Batch] = ()  # the same images as the last epoch saw them


class Knob(NamedTuple):
    """A hyperparameter as a reader meets it: its symbol in the paper, the range worth exploring, what both ends mean."""

    symbol: str
    low: float  # of a slider
    high: float
    at_low: str = ""  # what the method becomes at the low end
    at_high: str = ""
    least: float = 0.0  # of any value that makes sense at all
    most: float = math.inf

    def check(self, name: str, value: float) -> float:
        """`value` as a float. ValueError outside [least, most], TypeError where it is no number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} ({self.symbol}) is a number in [{self.least:g}, {self.most:g}], got {value!r}")
        if not self.least <= value <= self.most:
            raise ValueError(
                f"{name} ({self.symbol}) must lie in [{self.least:g}, {self.most:g}], got {value:g}: "
                f"values worth trying are {self.low:g} to {self.high:g}"
            )
        return float(value)


def temperature(symbol: str = "T", high: float = 10.0) -> Knob:
    """The knob of a softmax temperature."""
    return Knob(symbol, 1, high, "the outputs as they are", "nearly uniform: only the order of the classes is left", least=0.05)


MANY = 16
"""More names than a sentence should list."""


def pick(name: str, known: Iterable[str], what: str, lister: str = "sdkit list") -> str:
    """`name` if it is known; otherwise a KeyError that suggests the nearest ones."""
    known = list(known)
    if name in known:
        return name
    near = difflib.get_close_matches(str(name).lower(), known, n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    listed = f"known are {', '.join(known) or 'none'}" if len(known) <= MANY else f"`{lister}` names all {len(known)}"
    raise KeyError(Sentence(f"no {what} is called {name!r}: {hint}{listed}"))


class Sentence(str):
    """A message that a KeyError prints as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def home() -> Path:
    """The folder that holds `data/`, `runs/` and `figures/`: $SDKIT_HOME, else the checkout above here, else here."""
    if os.environ.get("SDKIT_HOME"):
        return Path(os.environ["SDKIT_HOME"]).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").exists() and (folder / "sdkit").is_dir():
            return folder
    return here


FEW = 2**20
"""Numbers that one thread is through with before others have begun: those that waited for long sleep."""


@contextlib.contextmanager
def one_thread(numbers: int, device: torch.device) -> Iterator[None]:
    """Within, a CPU works with one thread where there are but FEW numbers to work on. For what adds up nothing: bits stay."""
    before = torch.get_num_threads()
    if device.type != "cpu" or numbers > FEW or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
