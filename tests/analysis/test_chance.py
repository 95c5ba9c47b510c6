"""Chance of one's own: seeded numbers for an analysis while a training in another thread draws from the global generators."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F

from sdkit.analysis import gradient_statistics
from sdkit.core import Progress
from sdkit.experiment import Experiment
from sdkit.methods.inspector import FrozenStep
from sdkit.models import MODELS
from sdkit.rng import LocalRNG
from sdkit.train import Recipe

DRAWS = {
    "rand": lambda: torch.rand(3, 2),
    "randn": lambda: torch.randn(()),
    "randint": lambda: torch.randint(2, 9, (5,)),
    "randperm": lambda: torch.randperm(20),
    "like": lambda: torch.randn_like(torch.ones(3)),
    "out": lambda: torch.rand(3, out=torch.empty(3)),
    "in place": lambda: torch.empty(7).normal_(1, 2),
    "bernoulli": lambda: torch.bernoulli(torch.full((9,), 0.5)),
    "multinomial": lambda: torch.multinomial(torch.ones(9), 3),
    "dropout": lambda: F.dropout(torch.ones(50)),
    "first weights": lambda: torch.nn.Conv2d(3, 4, 3).weight.detach(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_own_numbers_are_those_of_the_seed_and_the_global_ones_stand_still(name):
    torch.manual_seed(5)
    expected = [DRAWS[name]() for _ in range(3)]
    before = torch.get_rng_state()
    with LocalRNG(5) as chance:
        assert not chance.drawn
        found = [DRAWS[name]() for _ in range(3)]
        assert torch.equal(torch.get_rng_state(), before), "within, too"
    assert chance.drawn and all(map(torch.equal, found, expected))


def test_a_generator_that_is_handed_in_is_drawn_from():
    expected = torch.rand(3, generator=torch.Generator().manual_seed(1))
    with LocalRNG(5) as chance:
        assert torch.equal(torch.rand(3, generator=torch.Generator().manual_seed(1)), expected) and not chance.drawn


def test_the_dropout_of_a_gpu_keeps_the_mean_and_lets_gradients_through_where_it_keeps():
    x = torch.ones(10_000, requires_grad=True)
    with LocalRNG(0):
        y, kept = torch.native_dropout(x, 0.2, True)
        whole, all_kept = torch.native_dropout(x, 0.2, False)
        nothing = torch.native_dropout(x, 1.0, True)[0]
    y.sum().backward()
    assert torch.equal(y, kept / 0.8) and torch.equal(x.grad, kept / 0.8)
    assert float(kept.float().mean()) == pytest.approx(0.8, abs=0.02)
    assert torch.equal(whole, x) and all_kept.all() and not nothing.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")
def test_a_card_has_a_generator_of_its_own_too():
    x = torch.ones(1000, device="cuda")
    before = torch.cuda.get_rng_state()
    found = []
    for _ in range(2):
        with LocalRNG(5) as chance:
            found.append(F.dropout(x) + torch.rand(1000, device="cuda"))
        assert chance.drawn
    assert torch.equal(*found) and torch.equal(torch.cuda.get_rng_state(), before)


# a training in another thread

LIVE = Experiment(
    "self-guidance", network={"width": 4, "survival": 0.5}, data="digits", dataset={"train_size": 64},
    recipe=Recipe(epochs=3, batch_size=16, lr=0.05),
)  # fmt: skip


STEPS = 12


def in_gradients(step):
    model, method, data = LIVE.build()

    def loss(model, batch):
        found = method.loss(model, batch)
        step()
        return found

    gradient_statistics(model, list(data.batches(16)) * 3, loss, modules=[method])


def in_a_held_step(step):
    model, method, data = Experiment("dropout-guidance", network={"width": 4}, data="digits").build()
    batch, before, *_ = data.batches(16, pair="same image")
    held = FrozenStep(model, method, batch, before)
    terms = held.method.terms

    def amid(*args):
        found = terms(*args)
        step()
        return found

    held.method.terms = amid
    for draw in range(STEPS):
        held.terms(draw)
    assert held.draws


def in_first_weights(step, monkeypatch):
    make = MODELS["four-stage"]

    @functools.wraps(make)
    def amid(**options):
        model = make(**options)
        step()
        return model

    monkeypatch.setitem(MODELS, "four-stage", amid)
    for seed in range(STEPS):
        Experiment(data="digits", seed=seed).build()


@pytest.mark.parametrize("beside", [in_gradients, in_a_held_step, in_first_weights])
def test_a_live_training_that_samples_is_not_disturbed(beside, monkeypatch):
    """Every step of it falls into the midst of something that draws, in another thread."""
    straight = LIVE.training()
    for _ in straight.iterate():
        pass
    live = LIVE.training()
    walk = (event for event in live.iterate() if isinstance(event, Progress))
    with ThreadPoolExecutor(1) as thread:
        beside(lambda: thread.submit(next, walk).result(), *([monkeypatch] if beside is in_first_weights else []))
    assert next(walk, None) is None, "all steps were taken"
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, live.model.state_dict()[name]), name
