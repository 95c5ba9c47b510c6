"""Tiny networks, methods built around them, and outputs by hand: what several files of tests share."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from sdkit.core import Batch, Features, Progress
from sdkit.data import DATASETS, Data
from sdkit.data.pixels import take
from sdkit.methods import METHODS, SFR, Combined
from sdkit.models import four_stage, vgg_tiny
from sdkit.train import Recipe

RECIPE = Recipe(epochs=2, batch_size=32, lr=0.05)


COMBINATIONS = ["drg+dsr", "ps-kd+drg+dsr", "byot+dsr", "drg+lsr", "ddgsd+dsr", "self-guidance+drg", "sfr+byot"]


@cache
def digits(train_size: int) -> Data:
    """Some digits to train on, and 100 that tell how well it went: an epoch is over sooner than with all 797."""
    data = DATASETS["digits"](train_size=train_size)
    return replace(data, test=take(data.test, torch.arange(100)))


def build(name: str, width: int = 8, train_size: int = 100, quick: bool = False):
    """A small network, the method and the data. Seeded. quick: half as many layers, where none is sampled."""
    torch.manual_seed(0)
    data = digits(train_size)
    sampled = "self-guidance" in name
    kind = vgg_tiny if quick and not sampled else four_stage
    model, teacher = kind(10, width=width, **({"survival": 0.5} if sampled else {})), kind(10, width=width)
    methods = []
    for part in name.split("+"):
        wanted = inspect.signature(METHODS[part]).parameters
        offer = {"teacher": teacher, "train_size": len(data.train.y)}
        methods.append(
            METHODS[part](*([model] if "model" in wanted else []), **{k: v for k, v in offer.items() if k in wanted})
        )
    return model, methods[0] if len(methods) == 1 else Combined(*methods), data


def second_step(model, method, data):
    """Runs one step so that memories fill, then returns the second step's pieces."""
    first, second, *_ = data.batches(32, pair=method.pair, samples_per_class=method.samples_per_class)
    out = model.forward_features(method.view(first))
    method.terms(model, out, first, Progress(0, 0, 2, 1))
    with torch.no_grad():
        method.remember(out, first, Progress(0, 0, 2, 1))
    second = second._replace(index=first.index)  # images that the last epoch has seen
    return model.forward_features(method.view(second)), second, Progress(1, 1, 2, 1)


def case(b=6, k=5, d=7, seed=0):
    g = np.random.default_rng(seed)
    return g.normal(size=(b, k)) * 2, g.integers(0, k, b), g.normal(size=(b, d))


def terms_of(method, logits, embedding, y):
    """The method's terms for given outputs of a network whose stages nobody looks at."""
    out = Features(logits, embedding, (None,) * 4)
    return method.terms(None, out, Batch(None, torch.as_tensor(y), None), Progress(0, 0, 1, 1))


class Given(torch.nn.Module):
    """A head whose logits and features are given, whatever the stage."""

    def __init__(self, logits, features):
        super().__init__()
        self.given = logits, features

    def forward(self, stage):
        return self.given


def bare(kind, heads, **knobs):
    """The method with its heads replaced by given numbers."""
    method = kind(four_stage(5, width=8), **knobs)
    method.heads = torch.nn.ModuleList(Given(*h) for h in heads)
    return method


def agree(terms, printed):
    assert terms.keys() == printed.keys()
    for name, value in printed.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-9, abs=1e-12), name


def leaves(*arrays):
    return [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def taps(maps=(), embedding=None):
    embedding = torch.zeros(1, dtype=torch.float64) if embedding is None else embedding
    return Features(torch.zeros(1, dtype=torch.float64), embedding, tuple(maps))


def built(kind, **options):
    torch.manual_seed(0)
    student, teacher = four_stage(5, width=8), four_stage(5, width=16)
    offer = {"train_size": 20} if issubclass(kind, SFR) else {}
    method = kind(student, teacher=teacher, **offer, **options)
    batch = Batch(torch.randn(6, 3, 16, 16), torch.arange(6) % 5, torch.arange(6))
    return student.train(), method.train(), batch


def sfr(**options):
    torch.manual_seed(0)
    model = four_stage(5, width=8)
    return model, SFR(model, train_size=20, **options)
