"""Replayed and compiled steps are the steps. A recording is here the step's own code, its clock stopped as a CUDA graph's."""

from __future__ import annotations

import pytest
import torch
from test_methods import COMBINATIONS, build

from sdkit import fast
from sdkit.core import FEW, Clock, one_thread
from sdkit.methods import METHODS, Vanilla
from sdkit.train import Epoch, Recipe, Training, summable

RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, schedule="one cycle")


def trained(name, how=None, train_size=100):
    """Three epochs, of 100 images 7 steps each, the last smaller. -> terms, weights, and what replayed."""
    training, own = Training(*build(name, train_size=train_size), RECIPE, on="cpu"), None
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
    return terms, [p.detach().clone() for p in (*training.model.parameters(), *training.method.parameters())], own


@pytest.mark.parametrize("name", [*METHODS, *COMBINATIONS])
def test_replayed_training_is_the_training_to_the_bit(name):
    """Whatever a recording freezes - the clock, knobs, what is remembered - must not matter, or the step is not replayed."""
    (terms, weights, _), (again, same, _) = trained(name), trained(name, "graphs")
    assert terms == again and all(torch.equal(a, b) for a, b in zip(weights, same, strict=True))


@pytest.mark.parametrize("name", ["vanilla", "drg", "dsr", "drg+dsr", "byot", "ddgsd", "lsr", "cs-kd", "dml", "kd"])
def test_the_methods_of_the_papers_are_replayed(name):
    *_, own = trained(name, "graphs")
    assert own.replays >= 6  # of 18 steps of full size: 3 to warm up, the last of an epoch never, one after it to remember anew


@pytest.mark.parametrize("name", ["sfr", "ols"])
def test_a_method_whose_memories_change_form_is_recorded_anew(name):
    """SFR has no past in its first epoch: its later ones need a recording of their own, and keep it."""
    *plain, _ = trained(name, train_size=400)
    *replayed, own = trained(name, "graphs", train_size=400)  # 25 steps an epoch
    assert plain[0] == replayed[0] and all(torch.equal(a, b) for a, b in zip(plain[1], replayed[1], strict=True))
    assert (own.recordings, own.replays >= 45) == ({"sfr": 2, "ols": 1}[name], True)


@pytest.mark.parametrize("name", ["self-guidance", "mean-teacher", "dkd"])
def test_a_method_that_reads_the_steps_number_or_draws_on_the_host_is_not(name):
    *_, own = trained(name, "graphs")
    assert own.replays == 0


class Swapping(Vanilla):
    """Remembers the last two batches' logits; what is new takes the older one's place, by exchanging names."""

    def remember(self, out, batch, clock):
        z = out.logits.sum().view(1)
        self.memory |= {"last": z, "before": self.memory.get("last", z)}

    def terms(self, model, out, batch, clock):
        known = [self.memory[k] for k in ("last", "before") if k in self.memory]
        return super().terms(model, out, batch, clock) | {"known": sum(known, out.logits.new_zeros(1)).sum() * 0.001}


def test_memories_that_take_each_others_places_keep_their_values(monkeypatch):
    monkeypatch.setitem(METHODS, "swapping", Swapping)
    (terms, weights, _), (again, same, own) = trained("swapping"), trained("swapping", "graphs")
    assert terms == again and own.replays >= 12 and all(map(torch.equal, weights, same))


def test_an_epochs_mean_of_a_term_in_bfloat16_is_the_mean():
    """390 batches: a sum in bfloat16 stands still from its 256th on."""
    term, total = torch.tensor(1.0, dtype=torch.bfloat16), 0
    for _ in range(390):
        total = total + summable(term) * 128
    assert float(total) / (390 * 128) == 1


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


def test_few_numbers_are_worked_on_by_one_thread_and_the_others_come_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError), one_thread(10, torch.device("cpu")):
            assert torch.get_num_threads() == 1
            raise ValueError
        assert torch.get_num_threads() == 2
        for numbers, on in ((FEW + 1, "cpu"), (10, "cuda")):
            with one_thread(numbers, torch.device(on)):
                assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
