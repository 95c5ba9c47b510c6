"""What only a CUDA card can show: the same training, in bfloat16, resumed, and near its float32 self."""

from __future__ import annotations

import copy

import pytest
import torch

from sdkit.data import DATASETS
from sdkit.methods import METHODS, Vanilla
from sdkit.models import four_stage
from sdkit.train import Epoch, Recipe, Training, autocast, device, fit

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]
RECIPE = Recipe(epochs=2, batch_size=32, lr=0.05, schedule="one cycle")


def build(name):
    import inspect

    torch.manual_seed(0)
    data = DATASETS["digits"](train_size=200)
    model = four_stage(10, width=16, survival=0.5 if name == "self-guidance" else 1.0)
    wanted = inspect.signature(METHODS[name]).parameters
    offer = {"teacher": four_stage(10, width=16), "train_size": 200}
    arguments = [model] if "model" in wanted else []
    return model, METHODS[name](*arguments, **{k: v for k, v in offer.items() if k in wanted}), data


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_on_the_card(name):
    model, method, data = build(name)
    *_, last = fit(model, method, data, RECIPE)
    assert next(model.parameters()).is_cuda and device().type == "cuda"
    assert all(v == v for v in last.terms.values()) and last.accuracy["final"] > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_goes_on_where_it_stopped(name):
    stopped = Training(*build(name), RECIPE)
    for event in stopped.walk():
        if isinstance(event, Epoch):
            break
    state = copy.deepcopy(stopped.state_dict())
    rest = [e.terms for e in stopped.walk() if isinstance(e, Epoch)]
    resumed = Training(*build(name), RECIPE)
    resumed.load_state_dict(state)
    again = [e.terms for e in resumed.walk() if isinstance(e, Epoch)]
    assert rest[0] == pytest.approx(again[0], rel=1e-2)


def test_bfloat16_follows_float32(monkeypatch):
    import contextlib

    import sdkit.train

    def losses():
        torch.manual_seed(0)
        data = DATASETS["digits"](train_size=400)
        recipe = Recipe(epochs=4, batch_size=32, lr=0.05, schedule="one cycle")
        return [e.terms["task"] for e in fit(four_stage(10), Vanilla(), data, recipe)]

    half = losses()
    monkeypatch.setattr(sdkit.train, "autocast", lambda on: contextlib.nullcontext())
    assert half == pytest.approx(losses(), rel=0.15)


def test_logits_leave_autocast_in_float32():
    model = four_stage(10).cuda()
    with autocast("cuda"):
        assert model(torch.randn(2, 3, 32, 32, device="cuda")).dtype == torch.float32
