"""What every method costs, counted in the code: `python3 start.py test tests/methods/test_method_cards.py -s` prints it."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
import torch
from tiny import RECIPE, build

from sdkit.analysis import flop_counter
from sdkit.core import Progress
from sdkit.methods import METHODS
from sdkit.methods.base import Method
from sdkit.models import parameters
from sdkit.train import Training


class Card(NamedTuple):
    """One method on the four-stage network of width 8, batches of 32 digits of 10 classes, 100 training images."""

    terms: tuple[str, ...]
    passes: float  # FLOPs of a training step, an image
    extra: int  # trained parameters beside the network's
    memory: int  # bytes that a step hands to the next, buffers of shadows included


def card(name: str) -> Card:
    model, method, data = build(name)
    training = Training(model, method, data, RECIPE, on="cpu")
    model.train(), method.train()
    steps = iter(training.loader)
    training._step(next(steps), Progress(0, 0, 2, 3))
    torch.manual_seed(0)
    batch = next(steps)
    with flop_counter() as counter:
        terms, _ = training._step(batch, Progress(1, 4, 2, 3))
    kept = [t for m in method.modules() if isinstance(m, Method) for t in m.memory.values()] + list(method.buffers())
    return Card(
        tuple(terms),
        counter.get_total_flops() / len(batch.y),
        parameters(method),
        sum(t.numel() * t.element_size() for t in kept),
    )


@pytest.fixture(scope="module")
def cards():
    return {name: card(name) for name in METHODS}


def test_every_method_has_a_card(cards):
    plain = cards["vanilla"]
    assert plain.terms == ("task",) and plain.extra == plain.memory == 0
    print(f"\n{'method':18}{'passes':>8}{'extra parameters':>18}{'memory, bytes':>15}   terms")
    for name, c in cards.items():
        print(f"{name:18}{c.passes / plain.passes:8.2f}{c.extra:18,}{c.memory:15,}   {', '.join(c.terms)}")
        assert "task" in c.terms and c.passes >= plain.passes
    assert all(cards[name].extra == 0 for name in ("dsr", "ddgsd", "self-guidance", "kd", "lsr", "ps-kd", "dlb", "cs-kd"))
    assert cards["ddgsd"].passes == pytest.approx(2 * plain.passes, rel=0.01), "two views, one network"
    assert 1 < cards["drg"].passes / plain.passes < cards["byot"].passes / plain.passes
    assert cards["dsr"].memory == 32 * 10 * 4, "the last batch's ranked logits"
    assert cards["ps-kd"].memory == 100 * 10 * 4, "every image's last answer"


@pytest.mark.parametrize("name", [n for n in METHODS if n != "vanilla"])
def test_a_docstring_is_a_card(name):
    """What it does and where that is from, what it costs, what it keeps, when it helps."""
    text = METHODS[name].__doc__
    for word in ("Costs", "Helps", "emory"):
        assert word in text, f"{name} does not say: {word}"
    assert re.search(r"\(.*\d{4}.*\)|paper 00\d|Sec\.|Eq\.", text, re.S), f"{name} names no source"
