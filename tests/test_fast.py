"""Replayed and compiled steps are the steps. A recording is here the step's own code, its clock stopped as a CUDA graph's."""

from __future__ import annotations

import pytest
import torch
from test_methods import COMBINATIONS, build

from sdkit import fast
from sdkit.core import Clock
from sdkit.methods import METHODS
from sdkit.train import Epoch, Recipe, Training

RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, schedule="one cycle")


def trained(name, how=None, replays=None):
    """Three epochs of 7 steps, the last of each smaller. -> terms, weights, and the training."""
    training = Training(*build(name), RECIPE, on="cpu")
    if how == "graphs":
        own = fast.Replayed(training._work, training.method, training.device, record=lambda work, side: work)
        work = training._step

        def step(batch, clock):
            training.replayed, kept = None, training._work
            training._work = own
            try:
                return work(batch, clock)
            finally:
                training._work = kept

        own.step, training._step = training._work, step
    terms = [e.terms for e in training.walk() if isinstance(e, Epoch)]
    if replays is not None:
        replays.append(own.replays)
    return terms, [p.detach().clone() for p in (*training.model.parameters(), *training.method.parameters())], training


@pytest.mark.parametrize("name", [*METHODS, *COMBINATIONS])
def test_replayed_training_is_the_training_to_the_bit(name):
    """Whatever a recording freezes - the clock, knobs, what is remembered - must not matter, or the step is not replayed."""
    (terms, weights, _), (again, same, _) = trained(name), trained(name, "graphs")
    assert terms == again and all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))


@pytest.mark.parametrize("name", ["vanilla", "drg", "dsr", "drg+dsr", "byot", "ddgsd", "lsr", "cs-kd", "dml", "kd"])
def test_the_methods_of_the_papers_are_replayed(name):
    replays = []
    trained(name, "graphs", replays=replays)
    assert replays[0] >= 6  # of 18 steps of full size: 3 to warm up, the last of an epoch never, one after it to remember anew


@pytest.mark.parametrize("name", ["self-guidance", "mean-teacher", "sfr"])
def test_a_method_that_reads_the_steps_number_or_draws_on_the_host_is_not(name):
    replays = []
    trained(name, "graphs", replays=replays)
    assert replays == [0]


def test_a_step_that_cannot_be_recorded_runs_as_it_is_written(capsys):
    def fails(work, side):
        raise RuntimeError("operation not permitted when stream is capturing")

    training = Training(*build("dsr"), RECIPE, on="cpu")
    replayed = fast.Replayed(training._work, training.method, training.device, record=fails)
    training.first = False
    batch = next(iter(training.loader))
    out = [replayed(batch, Clock(0, i, 3, 100)) for i in range(6)]
    assert len(out) == 6 and capsys.readouterr().err.count("run one by one, they cannot be recorded") == 1


def test_a_pass_that_cannot_be_compiled_runs_as_it_is_written(monkeypatch, capsys):
    def broken(tap):
        def run(x):
            raise RuntimeError("no compiler here\nmore")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setenv("SDKIT_FAST", "compile")
    terms, weights, _ = trained("drg")
    assert capsys.readouterr().err == "sdkit: Backbone runs as it is written, it could not be compiled: no compiler here\n"
    monkeypatch.delenv("SDKIT_FAST")
    plain, same, _ = trained("drg")
    assert terms == plain and all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))


def test_a_wrong_way_is_one_sentence(monkeypatch):
    monkeypatch.setenv("SDKIT_FAST", "graph")
    with pytest.raises(KeyError, match="no way to run a step .* is called 'graph': did you mean 'graphs'"):
        fast.mode()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")
@pytest.mark.parametrize("name", METHODS)
def test_on_a_card_replayed_training_follows_the_training(name, monkeypatch):
    def run():
        training = Training(*build(name), RECIPE, on="cuda")
        return [e.terms for e in training.walk() if isinstance(e, Epoch)], training

    written, _ = run()
    monkeypatch.setenv("SDKIT_FAST", "graphs")
    replayed, training = run()
    assert training.replayed.refused or training.replayed.replays >= 6
    for a, b in zip(written, replayed, strict=True):
        assert a == pytest.approx(b, rel=0.1, abs=0.02)
