"""Methods that train together: no term is lost, and every knob has one name from the experiment to the history."""

from __future__ import annotations

import pytest
import torch

from sdkit.core import Batch, Progress
from sdkit.experiment import Experiment
from sdkit.methods import BYOT, KD, Combined, DropoutGuidance
from sdkit.models import four_stage
from sdkit.train import Recipe

CLOCK = Progress(0, 0, 1, 1)


def test_terms_of_one_name_each_count():
    """KD's and BYOT's "kd" are two terms; the task is KD's own."""
    torch.manual_seed(0)
    model = four_stage(10, width=4).train()
    kd, byot = KD(model, teacher=four_stage(10, width=4)), BYOT(model)
    batch = Batch(torch.randn(8, 3, 16, 16), torch.arange(8), torch.arange(8))
    out = model.forward_features(batch.x)
    alone = [m.terms(model, out, batch, CLOCK) for m in (kd, byot)]
    both = Combined(kd, byot).terms(model, out, batch, CLOCK)
    assert both.keys() == {"task", "kd kd", "byot kd", "head ce", "hint"}
    assert both["task"] == alone[0]["task"] and both["kd kd"] == alone[0]["kd"] and both["byot kd"] == alone[1]["kd"]
    total = sum(alone[0].values()) + sum(alone[1].values()) - alone[1]["task"]
    assert float(sum(both.values()).detach()) == pytest.approx(float(total.detach()))


def test_methods_are_called_as_whoever_joins_them_says():
    model = four_stage(10, width=4)
    plain = Combined(BYOT(model), DropoutGuidance(model))
    assert "byot.alpha" in plain.settings() and "dropoutguidance.p" in plain.settings()
    named = Combined(BYOT(model), DropoutGuidance(model), names=["byot", "dropout-guidance"])
    setattr(named, "dropout-guidance.p", 0.5)
    assert named.settings()["dropout-guidance.p"] == 0.5 == named.methods[1].p
    assert named.settings().keys() == named.knobs.keys()


def test_a_knob_of_joined_methods_has_one_name_from_the_experiment_to_the_history(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    small = {"network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64}}
    plain = Experiment("cs-kd+drg", recipe=Recipe(epochs=2, batch_size=32, lr=0.05), **small)
    steered = plain.fork(1, {"cs-kd.lam": 2.0, "alpha": 0.5})
    done = steered.run(progress=False)
    turned = [(t["step"], t["knob"], t["after"]) for e in done.history for t in e.changes]
    assert sorted(turned) == [(2, "cs-kd.lam", 2.0), (2, "drg.alpha", 0.5)]
    assert plain.as_steered(done.history, 2) == steered
