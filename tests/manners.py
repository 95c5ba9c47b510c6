"""What every analysis is tried on, and all that it must leave as it was."""

from __future__ import annotations

import copy
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from sdkit.core import Batch, Features, Moment, Progress
from sdkit.methods import BYOT, DRG, DSR, Exit
from sdkit.models import four_stage

K = 7


def network(kind: str) -> nn.Module:
    """A small network with statistics of its own: plain, or an exit of a method."""
    torch.manual_seed(3)
    model = four_stage(K, width=8)
    net = {
        "backbone": lambda: model,
        "byot 1/4": lambda: Exit(model, BYOT(model), "1/4"),
        "byot ensemble": lambda: Exit(model, BYOT(model), "ensemble"),
        "drg shallow 2": lambda: Exit(model, DRG(model), "shallow 2"),
    }[kind]()
    net.train()
    for _ in range(3):
        net(torch.randn(16, 3, 16, 16))
    return net


def images(n: int = 12, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(5)
    return torch.randn(n, 3, size, size, generator=g), torch.randint(K, (n,), generator=g)


def numbers(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ce(model, batch):
    return F.cross_entropy(model(batch.x), batch.y)


def batch_of(x, y):
    return Batch(x, y, torch.arange(len(y)))


def tangle(net: nn.Module) -> None:
    """A state that no sloppy restoration would hit by chance."""
    net.train()
    list(net.children())[0].eval()
    for i, p in enumerate(net.parameters()):
        p.requires_grad_(i % 3 != 0)
        p.grad = torch.full_like(p, 0.25) if i % 2 else None


def state(net: nn.Module) -> list:
    """All that an analysis must leave alone, the three global generators among it."""
    held = [(p.detach().clone(), p.requires_grad, id(p.grad), copy.deepcopy(p.grad)) for p in net.parameters()]
    modes = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in net.modules()]
    buffers = [b.clone() for b in net.buffers()]
    return [held, modes, buffers, torch.get_rng_state(), str(np.random.get_state()), random.getstate(), torch.is_grad_enabled()]


def same(a, b) -> bool:
    """Equal to the last bit; NaN equals NaN."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def exits(n: int = 30) -> tuple[dict, torch.Tensor, dict]:
    y = torch.randint(K, (n,), generator=torch.Generator().manual_seed(2))
    truth = F.one_hot(y, K)
    logits = {name: 2 * numbers(n, K, seed=i) + i * truth for i, name in enumerate(["1/3", "2/3", "full"], 1)}
    return logits, y, {"full": 9.0, "1/3": 2.0, "2/3": 5.0}


def first_convolution(net: nn.Module) -> nn.Conv2d:
    return next(m for m in net.modules() if isinstance(m, nn.Conv2d))


CLOCK = Progress(0, 0, 1, 10)


class Stands:
    """A training of a network that stands still: it learns from its labels and a little of the last batch's ranks."""

    def __init__(self, net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
        self.moment = Moment(Shown(net), DSR(net), [batch_of(x[:6], y[:6]), batch_of(x[6:], y[6:])], CLOCK)

    def moments(self, batches: int) -> dict[str, Moment]:
        return {"early": self.moment, "late": self.moment}


class Shown(nn.Module):
    """Any network that gives logits, as methods take it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward_features(self, x):
        logits = self.net(x)
        return Features(logits, logits, ())
