"""Replayed and compiled steps are the steps. A recording is here the step's own code, its clock stopped as a CUDA graph's."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from joblib import parallel_config
from tiny import COMBINATIONS, build

from sdkit import cli, runs
from sdkit.core import FEW, Progress, one_thread
from sdkit.experiment import Experiment, run_all
from sdkit.methods import METHODS, Combined, Vanilla
from sdkit.runs import folder
from sdkit.train import EACH_STEP, Epoch, Recipe, Training, device, graphs, summable

RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, schedule="one cycle")


def trained(name, how=None, train_size=100):
    """Three epochs, of 100 images 7 steps each, of 72 5, the last smaller. -> terms, weights, and what replayed."""
    training, own = Training(*build(name, train_size=train_size, quick=True), RECIPE, on="cpu"), None
    training.own_rng = False  # as where steps are replayed
    if how == "graphs":
        own = graphs.Replayed(training._work, training.method, training.device, record=lambda work, side: work)
        work = training._step

        def step(batch, progress):
            training.replayed, kept = None, training._work
            training._work = own
            try:
                return work(batch, progress)
            finally:
                training._work = kept

        own.step, training._step = training._work, step
    terms = [e.terms for e in training.iterate() if isinstance(e, Epoch)]
    return terms, [p.detach().clone() for p in (*training.model.parameters(), *training.method.parameters())], own


@pytest.mark.parametrize("name", [*METHODS, *COMBINATIONS])
def test_replayed_training_is_the_training_to_the_bit(name):
    """Whatever a recording freezes - the progress, knobs, what is remembered - must not matter, or the step is not replayed."""
    (terms, weights, _), (again, same, _) = trained(name, train_size=72), trained(name, "graphs", train_size=72)
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


class Ramp(Vanilla):
    """A weight that follows the training, by one of the ways to ask where that stands."""

    knobs = {}

    def __init__(self, way):
        super().__init__()
        self.way = way

    def terms(self, model, out, batch, progress):
        return super().terms(model, out, batch, progress) | {"ramp": self.way(progress) * out.logits.square().mean() * 0.01}


@pytest.mark.parametrize(
    "way",
    [lambda p: p.fraction, lambda p: p.step, lambda p: p._replace(epoch=0).step, lambda p: p._asdict()["step"], lambda p: p[1]],
)
def test_a_step_that_reads_how_far_training_is_is_never_replayed(way, monkeypatch):
    monkeypatch.setitem(METHODS, "ramp", lambda: Ramp(way))
    (terms, _, _), (again, _, own) = trained("ramp", train_size=72), trained("ramp", "graphs", train_size=72)
    assert terms == again and own.replays == 0


def test_what_a_progress_is_watched_for_is_what_it_has():
    assert EACH_STEP <= graphs.ASKED and all(hasattr(Progress(0, 0, 1, 1), name) for name in graphs.ASKED)


class Swapping(Vanilla):
    """Remembers the last two batches' logits; what is new takes the older one's place, by exchanging names."""

    def remember(self, out, batch, progress):
        z = out.logits.sum().view(1)
        self.memory |= {"last": z, "before": self.memory.get("last", z)}

    def terms(self, model, out, batch, progress):
        known = [self.memory[k] for k in ("last", "before") if k in self.memory]
        return super().terms(model, out, batch, progress) | {"known": sum(known, out.logits.new_zeros(1)).sum() * 0.001}


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
    replayed = graphs.Replayed(training._work, training.method, training.device, record=fails)
    training.first = False
    batch = next(iter(training.loader))
    out = [replayed(batch, Progress(0, i, 3, 100)) for i in range(6)]
    assert len(out) == 6 and capsys.readouterr().err.count("run one by one, they cannot be recorded") == 1


def test_a_pass_that_cannot_be_compiled_runs_as_it_is_written(monkeypatch, capsys):
    def broken(forward_features):
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
        graphs.mode()


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


# what a run keeps


@pytest.fixture
def two(monkeypatch):
    """PyTorch has two threads, and nobody says how many a run takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("SDKIT_THREADS", raising=False)
    yield
    torch.set_num_threads(before)


TINY = Experiment(data="digits", network={"width": 8}, dataset={"train_size": 100}, recipe=replace(RECIPE, batch_size=32))


@pytest.mark.parametrize(
    ("begun", "later", "kept"),
    [({"idle": 1}, {"idle": 2}, "CPU, 1 thread"), ({"idle": 2}, {"idle": 1, "SDKIT_THREADS": "1"}, "CPU, 2 threads"),
     ({"SDKIT_PRECISION": "bfloat16"}, {"SDKIT_PRECISION": "float32"}, "CPU, 2 threads, bfloat16"),
     ({"SDKIT_PRECISION": "float32"}, {"SDKIT_PRECISION": "bfloat16"}, "CPU, 2 threads")],
    ids=["begun beside a busy process", "begun at rest", "begun in bfloat16", "begun in float32"],
)  # fmt: skip
@pytest.mark.parametrize("way", ["resumed", "forked"])
def test_a_run_keeps_the_threads_and_the_precision_it_began_with(way, begun, later, kept, tmp_path, monkeypatch, two, capsys):
    """Whatever is busy and asked for when it goes on: the same bits as the straight run's. A fork keeps what its parent had."""

    def world(place, idle=2, **said):
        monkeypatch.setenv("SDKIT_HOME", str(tmp_path / place))
        monkeypatch.setattr(device, "idle_cores", lambda: idle)
        for name in ("SDKIT_THREADS", "SDKIT_PRECISION"):
            monkeypatch.setenv(name, said.get(name, ""))

    monkeypatch.setattr(folder, "CHECKPOINT_EVERY", 0.0)
    world("straight", **begun)
    straight = TINY.run(progress=False)
    world("stopped", **begun)
    place = TINY.stored if way == "resumed" else runs.Run(runs.root() / "parent")
    walk = place.follow(TINY.config, TINY.training, keep=way == "forked")
    for event in walk:
        if isinstance(event, Progress) and event.step == 6:  # amid the second epoch
            break
    walk.close()
    world("stopped", **later)
    again = TINY.run(progress=False)  # from its checkpoint, or from what the other run kept
    assert torch.get_num_threads() == 2
    assert [e.record() | {"seconds": 0} for e in straight.history] == [e.record() | {"seconds": 0} for e in again.history]
    assert all(torch.equal(v, again.run.weights()["model"][k]) for k, v in straight.run.weights()["model"].items())
    assert torch.equal(straight.run.outputs()[1], again.run.outputs()[1])
    assert again.run.environment["device"] == straight.run.environment["device"] == kept
    cli.show(again.run.key)
    assert re.search(rf"device +{re.escape(kept)}\n", capsys.readouterr().out)


def test_a_run_takes_as_many_threads_as_cores_are_idle_and_no_more_than_pytorch(monkeypatch, two):
    found = []
    monkeypatch.setattr(device, "idle_cores", lambda: found.pop(0))
    for idle, number in (([2], 2), ([7], 2), ([None], 2), ([0, 1, 2], 2), ([1, 1, 1], 1), ([0, 0, 0], 1)):
        found += idle
        assert device.threads() == number and not found, "it looks again only where something was busy"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert device.threads() == 2
    monkeypatch.setenv("SDKIT_THREADS", "5")
    assert device.threads() == 5
    for wrong in ("0", "two", "-1"):
        monkeypatch.setenv("SDKIT_THREADS", wrong)
        with pytest.raises(ValueError, match="the number of threads of a run, 1 or more, got"):
            device.threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("SDKIT_THREADS")
    torch.set_num_threads(1)
    assert device.threads() == 1


def test_idle_cores_are_those_that_had_nothing_to_do_for_others(monkeypatch):
    """Four cores for ten seconds: 20 s of others' work, 2 s of low priority, 3 s of our own. The fifth is not ours to use."""
    psutil, progress = pytest.importorskip("psutil"), iter((0.0, 10.0))

    def cores(*times):
        return [SimpleNamespace(idle=idle, iowait=disk, nice=nice) for idle, disk, nice in times]

    then = [cores(*[(0, 0, 0)] * 5), cores((10, 0, 0), (4, 1, 2), (0, 0, 0), (0, 0, 0), (10, 0, 0))]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: then.pop(0))
    own = iter((1.0, 4.0))
    times = {"monotonic": lambda: next(progress), "process_time": lambda: next(own), "sleep": float}
    monkeypatch.setattr(device, "time", SimpleNamespace(**times))
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(device.os, "nice", lambda more: 0, raising=False)
    assert device.idle_cores() == 2


def test_between_steps_the_caller_has_the_threads_and_the_precision_that_it_had(monkeypatch, two):
    training = Training(*build("vanilla"), RECIPE, on="cpu", threads=1)
    training.precision, within, work = "bfloat16", [], training._step

    def step(batch, progress):
        within.append((torch.get_num_threads(), device.half(torch.device("cpu"))))
        return training.fake

    batch, progress = next(iter(training.loader)), Progress(0, 0, 3, 7)
    training.fake, training._step = work(batch, progress), step
    walk, others = training.iterate(), []
    for event in walk:
        assert torch.get_num_threads() == 2 and device.half(torch.device("cpu")) is None
        if isinstance(event, Epoch):
            break
        other = threading.Thread(target=lambda: others.append(torch.get_num_threads()))
        other.start()
        other.join()
    assert set(within) == {(1, torch.bfloat16)} and set(others) == {2}
    training.stepper()()
    assert torch.get_num_threads() == 2 and within[-1] == (1, torch.bfloat16)


def test_a_thread_that_begins_beside_a_run_does_not_take_its_number_for_its_own(two):
    found = []

    def other():
        found.append(device.own_number())
        with device.working(3, "float32"):
            found.append(torch.get_num_threads())
        found.append(torch.get_num_threads())

    with device.working(1, "float32"):
        beside = threading.Thread(target=other)
        beside.start()
        beside.join()
        assert torch.get_num_threads() == 1
    assert (found, torch.get_num_threads()) == ([2, 3, 2], 2)


def test_runs_side_by_side_are_told_their_threads(tmp_path, monkeypatch, two):
    """Two jobs of two cores: one thread each, whatever else is busy; nobody looks."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    monkeypatch.setattr(device, "idle_cores", None)
    short = replace(TINY, recipe=replace(RECIPE, epochs=1))
    for said, jobs, kept, seeds in (("", None, 1, (0, 1)), ("2", 2, 2, (2, 3))):
        monkeypatch.setenv("SDKIT_THREADS", said)
        with parallel_config(backend="threading"):
            trained = run_all([replace(short, seed=seed) for seed in seeds], jobs=jobs, progress=False)
        assert [t.run.environment["threads"] for t in trained] == [kept, kept]


def test_the_last_one_that_is_left_of_several_has_the_threads_of_those_beside_it(tmp_path, monkeypatch, two):
    """A class that is edited and trained again beside a run that is found: another number of threads sums otherwise."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    monkeypatch.setattr(device, "idle_cores", lambda: 2)
    found, edited, alone = (replace(TINY, recipe=replace(RECIPE, epochs=1), seed=seed) for seed in range(3))
    found.run(progress=False, threads=1)
    pair, (single,) = run_all([found, edited], progress=False), run_all([alone], progress=False)
    assert [t.run.environment["threads"] for t in (*pair, single)] == [1, 1, 2]


def test_a_method_may_ask_for_float32(monkeypatch):
    class Careful(Vanilla):
        full_precision = True

    monkeypatch.setenv("SDKIT_PRECISION", "bfloat16")
    model, _, data = build("vanilla")
    for method, kept in ((Vanilla(), "bfloat16"), (Careful(), "float32"), (Combined(Vanilla(), Careful()), "float32")):
        assert Training(model, method, data, RECIPE, on="cpu").precision == kept


def test_small_images_are_trained_on_in_float32_where_nobody_says_otherwise(monkeypatch):
    """In 16 bits the digits take longer."""
    monkeypatch.setattr(device, "has_bfloat16", lambda on: True)
    model, method, data = build("vanilla")
    for said, kinds in (("auto", ("float32", "bfloat16")), ("bfloat16", ("bfloat16", "bfloat16"))):
        monkeypatch.setenv("SDKIT_PRECISION", said)
        sizes = (replace(data, train=data.train._replace(x=torch.zeros(len(data.train.y), 3, n, n))) for n in (8, 16))
        assert tuple(Training(model, method, d, RECIPE, on="cpu").precision for d in sizes) == kinds
