"""What else trains or draws in the same process changes nothing in a training, and a training disturbs nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from sdkit import Experiment, Recipe
from sdkit.data import DATASETS
from sdkit.methods import METHODS, Method
from sdkit.models import MODELS
from sdkit.train import Epoch, Training

RECIPE = Recipe(epochs=2, batch_size=24, lr=0.05, schedule="one cycle")
SMALL = {"data": "digits", "dataset": {"train_size": 50}, "recipe": RECIPE}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDKIT_HOME", str(tmp_path_factory.mktemp("beside")))
        patch.setenv("SDKIT_THREADS", "1")
        yield


def experiment(name, network=None):
    options = {"width": 4} | ({"survival": 0.5} if name == "self-guidance" else {}) | (network or {})
    kind = "four-stage" if "survival" in options else "vgg-tiny"  # the smallest; no block of it can be left out
    teacher = Experiment(model=kind, network={"width": 4}, **SMALL) if "teacher" in METHODS[name].handed_in() else None
    return Experiment(name, model=kind, network=options, teacher=teacher, **SMALL)


def ended(training, beside=lambda: None):
    """What a training ends with: the terms of every epoch and all weights. beside: what happens between two of its steps."""
    terms = []
    for event in training.iterate():
        if isinstance(event, Epoch):
            terms.append(event.terms)
        beside()
    return terms, {k: v.clone() for part in (training.model, training.method) for k, v in part.named_parameters()}


def disturber():
    """Another training, whose every step draws masks, and somebody who seeds and draws globally."""
    other = experiment("dropout-guidance").training(progress=False)
    other.recipe = Recipe(epochs=10**6, lr=1e-4)  # it goes on as long as anybody
    events = other.iterate()

    def disturb():
        next(events)
        torch.manual_seed(1)
        torch.rand(3)

    return disturb


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_beside_another_as_it_does_alone(name):
    before = torch.get_rng_state()
    alone, weights = ended(experiment(name).training(progress=False))
    assert torch.equal(torch.get_rng_state(), before), "a training draws from generators of its own"
    beside, same = ended(experiment(name).training(progress=False), disturber())
    assert alone == beside and all(torch.equal(weights[k], same[k]) for k in weights)


def test_a_network_with_dropout_and_one_that_samples_blocks_too():
    calm = SMALL | {"recipe": replace(RECIPE, lr=1e-3, batch_size=25)}
    for e in (experiment("vanilla", {"survival": 0.5}), Experiment(model="mobilenet-v2", **calm)):
        alone, _ = ended(e.training(progress=False))
        beside, _ = ended(e.training(progress=False), disturber())
        assert alone == beside
        other = Training(*e.build(progress=False), e.recipe, seed=1)
        assert ended(other)[0] != alone, "the seed moves what is drawn"


@pytest.mark.parametrize("turn", ["by a plan", "by hand"])
def test_a_method_that_draws_once_a_knob_is_turned_draws_from_its_own_generator(turn):
    """With nothing left out nothing is drawn, and listening for draws ends; it begins again with p."""
    plan = {1.5: {"p": 0.4}} if turn == "by a plan" else {}
    e = Experiment(
        "dropout-guidance", "four-stage", "digits", replace(RECIPE, epochs=3), {"p": 0.0}, {"width": 4}, {"train_size": 50},
        schedule=plan,
    )  # fmt: skip

    def train(seed):
        training, steps = e.training(progress=False), iter(range(10**6))

        def beside():
            torch.manual_seed(seed)
            if turn == "by hand" and next(steps) == 5:
                training.pending["p"] = 0.4

        return ended(training, beside), training.rng.drawn

    ((one, first), drawn), ((two, second), _) = train(1), train(2)
    assert drawn and one == two and all(torch.equal(first[k], second[k]) for k in first)


class Late(Method):
    """Draws in its second epoch alone, as a method of one's own may."""

    def __init__(self, model):
        super().__init__()

    def terms(self, model, out, batch, progress):
        noise = torch.rand(()) if progress.epoch else torch.zeros(())
        return {"task": nn.functional.cross_entropy(out.logits, batch.y) * (1 + noise)}


def test_a_method_of_ones_own_that_draws_late_is_undisturbed_and_resumes_to_the_same_bits():
    def training():
        torch.manual_seed(0)
        model = MODELS["four-stage"](num_classes=10, width=4)
        return Training(model, Late(model), DATASETS["digits"](train_size=50), RECIPE, seed=3)

    whole, weights = ended(training())
    first = training()
    next(e for e in first.iterate() if isinstance(e, Epoch))
    second = training()
    second.load_state_dict(first.state_dict())
    rest, same = ended(second, disturber())
    assert rest == whole[1:] and all(torch.equal(weights[k], same[k]) for k in weights)
