"""What every analysis keeps to: the network is looked at, and left as it was found."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import check_arguments

P = ParamSpec("P")
T = TypeVar("T")

ProgressBar = Callable[[Iterable], Iterable]
"""Wraps what a long analysis iterates over; `iter` shows nothing, `tqdm` shows a bar."""


def checked(measure: Callable[P, T]) -> Callable[P, T]:
    """An analysis that looks at its arguments first: of their declared types, its tensors and networks without NaN.

    Args:
        measure: the analysis.

    Returns:
        The same, which refuses other arguments with a sentence: of what is no number, no result is one.

    Raises:
        TypeError: when it is called: an argument of another type.
        ValueError: when it is called: NaN or infinity in a tensor or in a network's weights.
    """

    @functools.wraps(measure)
    def call(*parts: P.args, **said: P.kwargs) -> T:
        given = inspect.signature(measure).bind(*parts, **said)
        given.arguments.update(check_arguments(measure, given.arguments, measure.__name__))
        for name, value in given.arguments.items():
            if name == "seed" and not 0 <= value < 2**32:
                raise ValueError(f"seed of {measure.__name__} is a whole number from 0, below 2^32, got {value}: say seed=0")
            if name == "batch_size" and value < 1:
                raise ValueError(f"batch_size of {measure.__name__} is 1 image or more, got {value}: say batch_size=64")
            for part in value.values() if isinstance(value, Mapping) else [value]:
                _finite(part, f"{name} of {measure.__name__}")
        return measure(*given.args, **given.kwargs)

    return call


def _finite(thing: Any, what: str) -> None:
    """ValueError where a tensor, or the weights of a network, are not all numbers. One wait for the device."""
    held = [*thing.parameters(), *thing.buffers()] if isinstance(thing, nn.Module) else [thing]
    held = [t.detach() for t in held if isinstance(t, Tensor) and (t.is_floating_point() or t.is_complex()) and not t.is_meta]
    if held and not torch.stack([t.isfinite().all() for t in held]).all():
        raise ValueError(
            f"{what} hold NaN or infinity, expected are numbers: the training that made them has diverged, take another"
        )
    if any(t.is_complex() for t in held):
        raise ValueError(f"{what} are complex, expected are real numbers: take their .real")


@contextmanager
def preserve_state(*modules: nn.Module, train: bool = False) -> Iterator[None]:
    """Modules in eval mode, or train mode; afterwards everything as it was, also after an exception.

    What comes back: the mode of every submodule, buffers, `requires_grad` and `.grad` of every parameter. Inside, no parameter
    has a `.grad`. Parameters' values are the caller's to restore. Where random numbers are drawn inside, as in train mode,
    `rng.LocalRNG` leaves the global generators alone.
    """
    modes = [(m, m.training) for top in modules for m in top.modules()]
    parameters = [(p, p.requires_grad, p.grad) for top in modules for p in top.parameters()]
    buffers = [(b, b.clone()) for top in modules for b in top.buffers()]
    try:
        for top in modules:
            top.train(train)
        for p, _, _ in parameters:
            p.grad = None
        yield
    finally:
        for m, training in modes:
            m.training = training  # not .train(): modes may differ from child to child
        for p, requires_grad, grad in parameters:
            p.requires_grad_(requires_grad)
            p.grad = grad
        with torch.no_grad():
            for b, before in buffers:
                b.copy_(before)


def device_of(module: nn.Module) -> torch.device:
    """Where the module's first parameter lies; the CPU if it has none."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def check_images(x: Tensor) -> None:
    """ValueError unless x is a batch of normalised float images [N, 3, H, W] with N >= 1."""
    if x.ndim != 4 or not x.numel() or x.shape[1] != 3:
        raise ValueError(f"images are [N, 3, H, W] with N >= 1, got {list(x.shape)}")
    if not x.is_floating_point():
        raise ValueError(f"images are normalised floats, got {x.dtype}: pass them through data.normalised(...) first")


def check_logits(logits: Tensor, y: Tensor | None = None) -> None:
    """ValueError unless logits are [N, K] with N >= 1, K >= 2 and y, if given, is N labels in 0..K-1."""
    if logits.ndim != 2 or not len(logits) or logits.shape[1] < 2:
        raise ValueError(f"logits are [N, K] with N >= 1 and K >= 2, got {list(logits.shape)}")
    if y is not None:
        check_labels(y, len(logits))
        check_classes(y, logits.shape[1])


def check_classes(y: Tensor, k: int) -> None:
    """ValueError unless the labels y are some of k classes."""
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= k:
        raise ValueError(f"labels of {k} logits lie in 0..{k - 1}, got {low} to {high}")


def check_labels(y: Tensor, n: int) -> None:
    """ValueError unless y is [n] whole numbers."""
    if y.shape != (n,) or y.dtype != torch.int64:
        raise ValueError(f"labels are [{n}] whole numbers, one for each image, got {list(y.shape)} of {y.dtype}")


WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
"""The layers whose weights are disturbed; biases and batch norms stay as they are."""


def weights_of(model: nn.Module) -> list[Tensor]:
    """The weights of every convolution and linear layer, a shared one once."""
    weights = list({m.weight: None for m in model.modules() if isinstance(m, WEIGHTED)})
    if not weights:
        raise ValueError(f"{type(model).__name__} has no convolution or linear layer, whose weights could be disturbed")
    return weights


@contextmanager
def restored(values: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Copies of the values, which are put back at the end, also after an exception."""
    saved = [v.detach().clone() for v in values]
    try:
        yield saved
    finally:
        with torch.no_grad():
            for v, before in zip(values, saved, strict=True):
                v.copy_(before)


def scores(model: nn.Module, x: Tensor, y: Tensor, batch_size: int) -> tuple[float, float]:
    """Accuracy and mean cross entropy, both nan where logits are. ValueError where a label is no output of the network."""
    device = device_of(model)
    total = torch.zeros(2, dtype=torch.float64, device=device)
    for place, (part, label) in enumerate(zip(x.split(batch_size), y.split(batch_size), strict=True)):
        label = label.to(device)
        logits = model(part.to(device)).double()
        if not place:
            check_classes(y, logits.shape[1])
        total += torch.stack([(logits.argmax(1) == label).sum(), F.cross_entropy(logits, label, reduction="sum")])
    right, loss = (total / len(x)).tolist()
    return math.nan if math.isnan(loss) else right, loss  # the largest of NaN is always the first
