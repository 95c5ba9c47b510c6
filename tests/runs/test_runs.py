"""Runs are records: found again by content, continued after a kill, refused in a sentence when something is wrong."""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from sdkit import cli, runs
from sdkit.cli.stored import summary
from sdkit.core import Progress
from sdkit.experiment import Experiment, Trained, live_folder, run_all, sweep
from sdkit.experiment.sweep import _in_turn
from sdkit.methods import METHODS
from sdkit.runs import Run, folder
from sdkit.train import Diverged, Epoch, Recipe

RECIPE = Recipe(epochs=3, batch_size=32, lr=0.05, schedule="one cycle")
SMALL = {"model": "four-stage", "network": {"width": 6}, "data": "digits", "dataset": {"train_size": 100}, "recipe": RECIPE}
TEACHER = Experiment(**SMALL, seed=7)
ALL = [*METHODS, "drg+dsr"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    monkeypatch.setattr(folder, "CHECKPOINT_EVERY", 0.0)  # these runs last a second: every epoch leaves a checkpoint
    return tmp_path


def experiment(method="vanilla", **over):
    teaches = "teacher" in inspect.signature(METHODS[method.split("+")[0]]).parameters
    network = SMALL["network"] | ({"survival": 0.5} if method == "self-guidance" else {})
    return Experiment(method=method, teacher=TEACHER if teaches else None, **{**SMALL, "network": network, **over})


# the record


def test_the_time_of_a_training_counts_no_hour_in_which_the_process_was_stopped(monkeypatch, capsys):
    history = [Epoch(i, 0.1, seconds, accuracy={"final": 0.5}) for i, seconds in enumerate([2.0, 3601.0, 1.0, 2.0])]
    monkeypatch.setattr(Run, "history", lambda run: history)
    found = runs.measured_in([e.record() for e in history])
    assert (found["seconds"], found["seconds per epoch"]) == (8, 2)
    trained = Trained(Experiment(**SMALL))
    summary(trained.run)
    assert trained.seconds == 8 and "; 8 s of training" in capsys.readouterr().out
    assert runs.training_seconds([]) == 0


def test_a_run_is_recorded_and_found_again(home):
    first = experiment("drg").run(progress=False)
    assert [e.epoch for e in first.history] == [0, 1, 2]
    assert first.history[0].terms.keys() == {"task", "shallow ce", "rg"}
    assert first.exit_names() == ["final", "shallow 2"]
    written = (first.run.folder / "history.json").stat().st_mtime_ns
    again = experiment("drg", knobs={"alpha": 0.2}).run(progress=False)
    assert again.run.key == first.run.key, "saying a default aloud does not make another run"
    assert (again.run.folder / "history.json").stat().st_mtime_ns == written
    assert again.history == first.history
    assert sorted(p.name for p in again.run.folder.iterdir()) == [
        "experiment.json",
        "history.json",
        "lock",
        "logits.npy",
        "outputs",
        "weights.safetensors",
    ]


def test_another_number_is_another_run():
    base = experiment("drg+dsr")
    others = [
        replace(base, seed=1),
        replace(base, knobs={"alpha": 0.3}),
        replace(base, recipe=replace(RECIPE, lr=0.06)),
        replace(base, network={"width": 4}),
        replace(base, dataset={"train_size": 101}),
        experiment("drg"),
    ]
    assert len({base.key, *(o.key for o in others)}) == 7
    assert replace(base, knobs={"drg.alpha": 0.3}) == replace(base, knobs={"alpha": 0.3})


def test_the_line_that_an_experiment_prints_makes_it_again():
    from sdkit.train import Recipe  # noqa: F401  the line may name it

    for e in (
        experiment("drg+dsr", knobs={"alpha": 0.3}),
        experiment("kd", seed=3),
        Experiment("byot", "resnet20", "cifar100", "lab"),
    ):
        assert eval(str(e)) == e


RECORDED = {
    "a teacher": experiment("kd", seed=3),
    "two methods": experiment("drg+dsr", knobs={"drg.alpha": 0.5}),
    "a named recipe": Experiment("ddgsd", data="digits", dataset={"validation": 50, "distort": ("affine",)}),
    "a network's option": Experiment("self-guidance", model="four-stage", network={"survival": 0.5}),
    "a whole number and a flag": experiment("byot", knobs={"alpha": 1, "t_squared": True}),
    "places": experiment("drg", knobs={"stages": (0, 1)}),
    "turned knobs": experiment("drg", schedule={1: {"alpha": 1.0}, 1.5: {"alpha": 0.0}}),
}


@pytest.mark.parametrize("said", RECORDED)
def test_an_experiment_is_made_again_of_what_was_recorded(said):
    before = RECORDED[said]
    again = Experiment.of(json.loads(json.dumps(before.config)))
    assert again == before and again.key == before.key
    assert eval(str(again)).key == before.key, "its line makes the same run"
    assert str(again) == str(before), "and says no more than was said"


def test_what_another_sdkit_recorded_is_not_said_as_todays_line():
    config = json.loads(json.dumps(experiment("drg").config))
    for other, words in (
        ({"method": "my own"}, "no method is called 'my own'"),
        ({"model": "my own"}, "no network is called 'my own'"),
        ({"data": "Mine@12345678"}, "a part of your own that this process does not hold"),
        ({"knobs": config["knobs"] | {"gone": 1.0}}, "no knob of drg is called 'gone'"),
        ({"recipe": {"warmth": 1.0}}, "warmth"),
        ({"format": 0}, "another version"),
        ({"knobs": {}}, "another version"),
    ):
        with pytest.raises(ValueError, match=words):
            Experiment.of(config | other)


def test_defaults_of_joined_methods_go_without_saying():
    joined = experiment("drg+dsr")
    assert "knobs" not in str(joined) and joined.knobs["drg.temperature"] != joined.knobs["dsr.temperature"]
    other = replace(joined, knobs={"dsr.temperature": joined.knobs["drg.temperature"]})
    assert f"knobs={{'dsr.temperature': {joined.knobs['drg.temperature']!r}}}" in str(other)


def test_what_was_recorded_is_what_the_network_says():
    trained = experiment("byot").run(progress=False)
    x, y = trained.images()
    epochs, outputs = trained.run.outputs()
    places = trained.data.watched("test", 100)
    assert epochs.tolist() == [0, 1, 2] and outputs.shape == (3, 100, 10) and torch.equal(trained.watched, places)
    with torch.no_grad():
        z, shallow = trained.exit("final")(x), trained.exit("1/4")(x).argmax(1) == y
    right, last = z.argmax(1) == y, trained.history[-1]
    assert trained.accuracy == last.test["final"] == pytest.approx(right.float().mean().item())
    assert last.test["1/4"] == pytest.approx(shallow.float().mean().item())
    assert last.test_loss == pytest.approx(torch.nn.functional.cross_entropy(z, y).item(), rel=1e-4)
    assert torch.allclose(trained.run.logits(), z.cpu(), atol=0.02)
    assert last.accuracy["final"] == pytest.approx(right[places].float().mean().item()), "along the way a part is watched"
    assert last.loss == pytest.approx(torch.nn.functional.cross_entropy(z[places], y[places]).item(), rel=1e-4)
    assert torch.allclose(outputs[-1], z[places].cpu(), atol=0.02)
    assert trained.best_accuracy == max(e.accuracy["final"] for e in trained.history)
    assert not any(e.test for e in trained.history[:-1]), "the whole test set is for the end"


def test_the_watched_images_are_always_the_same_and_of_every_class_in_proportion():
    data = experiment().load_data()
    places = data.watched("test", 100)
    assert torch.equal(places, data.watched("test", 100)) and len(places.unique()) == 100
    counts = torch.bincount(data.test.y[places], minlength=10)
    assert counts.min() >= 8 and counts.max() <= 12
    assert data.watched("test", len(data.test.y)) is None, "all of them are no part"


def test_validation_images_are_scored_apart_where_some_were_set_aside():
    trained = experiment(dataset={"train_size": 100, "validation": 50}).run(progress=False)
    x, y = trained.images("val")
    with torch.no_grad():
        right = (trained.model(x).argmax(1) == y).float().mean().item()
    assert trained.history[-1].validation == {"final": pytest.approx(right)}
    assert experiment().run(progress=False).history[-1].validation == {}


def test_history_is_json_that_a_person_can_read():
    trained = experiment().run(progress=False)
    read = json.loads((trained.run.folder / "history.json").read_text())
    assert read["status"] == "done" and len(read["epochs"]) == 3
    about = json.loads((trained.run.folder / "experiment.json").read_text())
    assert about["config"]["recipe"]["epochs"] == 3 and about["environment"]["torch"] == torch.__version__


def test_the_global_random_state_of_the_caller_does_not_matter():
    torch.manual_seed(1)
    a = experiment("drg").run(progress=False)
    torch.manual_seed(2)
    np.random.seed(5)
    (a.run.folder / "history.json").rename(a.run.folder / "old.json")
    b = experiment("drg").run(progress=False)
    assert [e.terms for e in a.history] == [e.terms for e in b.history]


def test_a_teacher_is_trained_once_and_shared(home, capsys):
    one = experiment("kd").run(progress=False)
    assert not capsys.readouterr().err, "neither a bar of its own nor its teacher's"
    written = (TEACHER.stored.folder / "weights.safetensors").stat().st_mtime_ns
    experiment("kd", knobs={"alpha": 0.5}).run(progress=False)
    assert (TEACHER.stored.folder / "weights.safetensors").stat().st_mtime_ns == written
    assert not any("teacher" in k for k in one.run.weights()["method"])
    TEACHER.stored.delete()
    (again,) = run_all([experiment("kd")], progress=False)
    assert again.history == one.history and torch.equal(again.logits(), one.logits()) and TEACHER.stored.status == "new"
    first = next(iter(again.data.batches(32)))
    assert torch.allclose(again.method.loss(again.model, first), one.method.loss(one.model, first)), "of which its teacher is"
    assert TEACHER.stored.status == "done"


def test_a_sweep_is_a_list_of_experiments_and_jobs_change_nothing():
    listed = sweep(experiment("dsr"), seeds=(0, 1), beta=[0.5, 1.0])
    assert [(e.knobs["beta"], e.seed) for e in listed] == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = run_all(listed[:2], progress=False)
    finally:
        torch.set_num_threads(threads)
    kept = [t.history for t in alone]
    for t in alone:
        (t.run.folder / "history.json").unlink()
    together = run_all(listed[:2], jobs=2, progress=False)
    for a, b in zip(kept, together, strict=True):
        assert len(a) == len(b.history)
        assert all(x.terms == pytest.approx(y.terms, rel=1e-3) for x, y in zip(a, b.history, strict=True))


# knobs turned while it runs


def test_a_knob_turned_while_training_is_written_to_the_history():
    training = experiment("drg").training()
    records = []
    for event in training.iterate():
        if isinstance(event, Progress) and event.step == 4:
            training.method.alpha = 0.9
        if isinstance(event, Epoch):
            records.append(event)
            if event.epoch == 1:
                training.method.temperature = 4.0
    turned = [t for e in records for t in e.changes]
    assert turned == [
        {"step": 5, "knob": "alpha", "before": 0.2, "after": 0.9},
        {"step": 8, "knob": "temperature", "before": 1.0, "after": 4.0},
    ]


def test_nobody_waits_for_a_teacher_while_there_is_other_work():
    student, other = experiment("kd"), experiment("vanilla", seed=3)
    assert list(_in_turn([TEACHER, student, other])) == [TEACHER, other, student]
    TEACHER.run(progress=False)
    assert list(_in_turn([student, other])) == [student, other], "the longest way first"
    both = run_all({"student": student, "other": other}, jobs=2, progress=False)
    assert [t.run.status for t in both.values()] == ["done", "done"] and list(both) == ["student", "other"]


# kill and resume

CHILD = """
import os, signal, sys
from tests_child import experiment
from sdkit.core import Progress
from sdkit.runs import folder
folder.CHECKPOINT_EVERY = 0.0
for event in experiment({method!r}).iterate():
    if isinstance(event, Progress) and event.step == 6:      # the middle of the second epoch
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def taught(tmp_path_factory) -> Callable[[str], None]:
    """taught("kd"): the home of now has the teacher of that method, trained once for all tests and copied."""
    trained = tmp_path_factory.getbasetemp() / "teacher"

    def bring(method: str) -> None:
        if experiment(method).teacher is None:
            return
        place = TEACHER.stored.folder
        if not trained.exists():
            TEACHER.run(progress=False)
            shutil.copytree(place, trained)
        shutil.copytree(trained, place, dirs_exist_ok=True)

    return bring


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill -9")
@pytest.mark.parametrize("method", ["drg+dsr"])
def test_a_run_killed_in_mid_epoch_resumes_to_the_straight_run(method, taught, tmp_path, monkeypatch):
    """kill -9, then the same experiment again: history, weights and outputs equal the uninterrupted run's bit for bit.

    What each method remembers of the stopped run is the next test's.
    """
    (tmp_path / "tests_child.py").write_text(
        "from sdkit.experiment import Experiment\nfrom sdkit.train import Recipe\n"
        f"def experiment(method): return eval({ {m: str(experiment(m)) for m in [method]}!r}[method])\n"
    )
    taught(method)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    child = subprocess.run([sys.executable, "-c", CHILD.format(method=method)], env=env, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    killed = experiment(method).stored
    assert killed.status == "training" and len(killed.history()) == 1
    resumed = experiment(method).run(progress=False)

    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "straight"))
    taught(method)
    same_to_the_bit(experiment(method).run(progress=False), resumed)


def same_to_the_bit(straight: Trained, resumed: Trained) -> None:
    for a, b in zip(straight.history, resumed.history, strict=True):
        assert (a.terms, a.accuracy, a.loss, a.train_accuracy, a.lr) == (b.terms, b.accuracy, b.loss, b.train_accuracy, b.lr)
    for part, tensors in straight.run.weights().items():
        other = resumed.run.weights()[part]
        assert tensors.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in tensors.items()), part
    assert torch.equal(straight.run.outputs()[1], resumed.run.outputs()[1])


@pytest.mark.parametrize("method", ALL)
def test_a_run_stopped_between_steps_resumes_to_the_straight_run(method, taught, tmp_path, monkeypatch):
    """Closing the generator is stopping: what it had not finished is done again, to the same bits."""
    e = experiment(method) if method == "self-guidance" else experiment(method, model="vgg-tiny")  # which has fewer layers
    taught(method)
    walk = e.iterate()
    for event in walk:
        if isinstance(event, Progress) and event.step == 9:
            break
    walk.close()
    resumed = e.run(progress=False)
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "straight"))
    taught(method)
    same_to_the_bit(e.run(progress=False), resumed)


def test_a_run_that_another_process_is_training_is_waited_for(tmp_path):
    code = (
        "import time, sys\nfrom sdkit.experiment import Experiment\nfrom sdkit.train import Recipe\n"
        f"w = {experiment('dsr')}.iterate()\nnext(w)\nprint('holding', flush=True)\ntime.sleep(2)\nfor _ in w: pass\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "holding"
    began = time.time()
    trained = experiment("dsr").run(progress=False)
    assert time.time() - began > 1 and child.wait(30) == 0
    assert len(trained.history) == 3


def test_a_run_that_this_process_is_training_is_refused():
    walk = experiment("dsr").iterate()
    next(walk)
    with pytest.raises(RuntimeError, match="in this very process: stop that training first"):
        experiment("dsr").run(progress=False)
    walk.close()
    experiment("dsr").run(progress=False)


# bad input, each in one sentence


def one_sentence(error) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"method": "dgr"}, r"no method is called 'dgr': did you mean .*'drg'.*\? `sdkit list` names all \d+"),
        ({"method": "drg+dsx"}, "no method is called 'dsx': did you mean 'dsr'"),
        ({"model": "resnet23"}, r"no network is called 'resnet23': did you mean 'resnet\d\d' or 'resnet\d\d'\?"),
        ({"data": "cifar"}, "no data set is called 'cifar': did you mean 'cifar10"),
        ({"recipe": "quik"}, "no recipe is called 'quik': did you mean 'quick'"),
        ({"method": "drg", "knobs": {"alpa": 0.1}}, "no knob of drg is called 'alpa': did you mean 'alpha'"),
        ({"method": "drg+dsr", "knobs": {"temperature": 2}}, "several of drg.dsr: say drg.temperature or dsr.temperature"),
        ({"network": {"widht": 8}}, "no option of the network four-stage is called 'widht': did you mean 'width'"),
        ({"dataset": {"trainsize": 8}}, "no option of the data set shapes is called 'trainsize': did you mean 'train_size'"),
        ({"method": "kd"}, "kd learns from a trained network: say which, teacher="),
        ({"method": "drg", "teacher": TEACHER}, "drg learns from no teacher"),
        ({"method": "drg", "knobs": {"alpha": -1}}, r"alpha \(α\) must lie in \[0, inf\], got -1"),
        ({"method": "byot", "knobs": {"alpha": 2}}, r"alpha \(α\) must lie in \[0, 1\], got 2"),
        ({"method": "dsr", "knobs": {"beta": "much"}}, r"beta \(β\) is a number .* got 'much'"),
        ({"seed": -1}, "seed is a whole number from 0, got -1"),
    ],
)
def test_a_wrong_name_or_number_is_refused_at_the_door(config, sentence, home):
    with pytest.raises((KeyError, ValueError, TypeError), match=sentence) as error:
        Experiment(**config)
    assert one_sentence(error)
    assert not (home / "runs").exists(), "no half-written run"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"epochs": -1}, "epochs >= 0"),
        ({"lr": -1}, "lr is a positive"),
        ({"schedule": "stpe"}, "did you mean 'step'"),
        ({"milestones": (200,)}, "fractions"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(config, sentence):
    with pytest.raises((ValueError, KeyError), match=sentence):
        Recipe(**config)


def test_missing_data_is_refused_before_anything_is_written(home):
    with pytest.raises(FileNotFoundError, match="cifar100.*data") as error:
        experiment(data="cifar100", dataset={}).run(progress=False)
    assert one_sentence(error)
    assert experiment(data="cifar100", dataset={}).stored.status == "new"
    assert runs.all_runs() == []


def interrupted(method="dsr"):
    """A run with one finished epoch and a checkpoint."""
    walk = experiment(method).iterate()
    for event in walk:
        if isinstance(event, Epoch):
            next(walk)
            break
    walk.close()
    return experiment(method).stored


def test_a_run_too_short_to_spare_a_checkpoint_begins_again_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "CHECKPOINT_EVERY", 60.0)
    run = interrupted()
    assert run.status == "training" and run.history() and not (run.folder / "checkpoint.pt").exists()
    resumed = experiment("dsr").run(progress=False)
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "straight"))
    straight = experiment("dsr").run(progress=False)
    assert [e.terms for e in straight.history] == [e.terms for e in resumed.history]


def test_a_checkpoint_cut_in_half_is_named_and_its_epochs_are_trained_again(tmp_path, monkeypatch):
    run = interrupted()
    path = run.folder / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=f"{path} cannot be read .*. Run {run.key} goes on with epoch 1"):
        resumed = experiment("dsr").run(progress=False)
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "straight"))
    same_to_the_bit(experiment("dsr").run(progress=False), resumed)


def test_a_checkpoint_of_another_experiment_is_refused():
    run, other = interrupted("dsr"), interrupted("drg")
    (run.folder / "checkpoint.pt").write_bytes((other.folder / "checkpoint.pt").read_bytes())
    with pytest.raises(runs.Damaged, match=f"belongs to the experiment {other.key}, not to {run.key}") as error:
        experiment("dsr").run(progress=False)
    assert one_sentence(error)
    assert len(run.history()) == 1


def test_a_checkpoint_cannot_run_code():
    run = interrupted()

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(run.folder / "pwned"),))

    torch.save({"key": run.key, "training": Evil()}, run.folder / "checkpoint.pt")
    with pytest.warns(UserWarning, match="cannot be read") as said:
        assert len(experiment("dsr").run(progress=False).history) == 3
    assert not (run.folder / "pwned").exists() and "weights_only" not in str(said[0].message)


def test_damaged_records_and_weights_are_named():
    trained = experiment().run(progress=False)
    weights = trained.run.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(runs.Damaged, match="weights.safetensors is damaged .* run the experiment again"):
        _ = Trained(experiment()).model
    (trained.run.folder / "history.json").write_text('{"status": "do')
    with pytest.raises(runs.Damaged, match="history.json is not the JSON"):
        experiment().run(progress=False)


def test_a_loss_that_is_no_longer_a_number_stops_the_run_and_keeps_what_was_there():
    mad = experiment("byot", recipe=replace(RECIPE, lr=1e4, schedule="constant"), knobs={"lam": 1e6})
    with pytest.raises(Diverged, match=r"no longer a number in epoch \d .*: lower the learning rate") as error:
        mad.run(progress=False)
    assert one_sentence(error)
    assert mad.stored.status == "diverged" and repr(Trained(mad)) == f"<{mad}: diverged, run {mad.key}>"
    with pytest.raises(ValueError, match="is diverged, and not tested after its last epoch"):
        _ = Trained(mad).accuracy
    with pytest.raises(ValueError, match="is new, and has no epoch"):
        _ = Trained(experiment("byot")).validation_accuracy
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value), "a worker process can report it"
    read = json.loads((mad.stored.folder / "history.json").read_text())
    assert any(v is None for v in read["epochs"][-1]["terms"].values())
    assert not (mad.stored.folder / "checkpoint.pt").exists()
    assert not (mad.stored.folder / "weights.safetensors").exists()


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    runs.write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        runs.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_runs_are_found_by_the_start_of_their_key():
    trained = experiment().run(progress=False)
    assert runs.find(trained.run.key[:5]).key == trained.run.key
    with pytest.raises(FileNotFoundError, match=re.escape("no run begins with 'zzz'")):
        runs.find("zzz")
    shutil.copytree(trained.run.folder, runs.root() / f"{trained.run.key}-live-1")
    assert runs.find(trained.run.key).key == trained.run.key, "a panel's run of it is called by more"
    with pytest.raises(FileNotFoundError, match="several runs begin with"):
        runs.find(trained.run.key[:5])


# schedules


def rates(recipe, steps=10):
    return [recipe.rate(Progress(e, e * steps + s, recipe.epochs, steps)) for e in range(recipe.epochs) for s in range(steps)]


def test_the_papers_schedule_drops_to_a_fifth_at_60_120_and_160():
    per_epoch = rates(Recipe(), steps=1)
    expected = [0.1 * 0.2 ** sum(e >= m for m in (60, 120, 160)) for e in range(200)]
    assert per_epoch == pytest.approx(expected)


def test_one_cycle_climbs_then_falls_to_nothing():
    r = rates(Recipe(epochs=8, schedule="one cycle"))
    top = r.index(max(r))
    assert top == 20 and r[top] == pytest.approx(0.1)
    assert r[:top] == sorted(r[:top]) and r[top:] == sorted(r[top:], reverse=True) and r[-1] < 0.001


def test_what_a_panel_trained_to_its_end_is_taken_over_with_all_that_the_last_epoch_left():
    e = experiment("drg", seed=7)
    live = live_folder(e)
    for _ in live.follow(e.config, e.training, keep=True):
        pass
    found = e.run(progress=False)
    assert found.run.folder != live.folder and found.accuracy == live.history()[-1].test["final"]
    assert torch.equal(found.run.logits(), live.logits()) and torch.equal(found.run.outputs()[1], live.outputs()[1])


# an earlier sdkit's runs


def test_runs_of_an_earlier_sdkit_are_told_and_stand_in_nobodys_way(capsys):
    e = experiment("drg")
    old = Run(runs.root() / "0123456789ab")
    (old.folder / "epochs").mkdir(parents=True)
    (old.folder / "epochs" / "0001.pt").write_bytes(b"")
    (old.folder / "experiment.json").write_text('{"asked": {"method": "drg"}, "about": {}}')
    sentence = "run 0123456789ab is an earlier sdkit's: delete .*0123456789ab, and its experiment is trained again"
    with pytest.raises(runs.Damaged, match=sentence):
        old.config  # noqa: B018
    assert runs.find_checkpoint(e.config, 3) is None
    (row,) = runs.records()
    assert row.status == "damaged" and re.search(sentence, row.wrong)
    cli.main(["list"])
    assert re.search(sentence, capsys.readouterr().out)


# another optimiser

ADAMW = Recipe(epochs=2, batch_size=16, lr=0.002, weight_decay=0.05, optimizer="adamw", schedule="constant")


def test_adamw_takes_the_steps_of_torchs_adamw_and_resumes_to_the_same_bits():
    e = experiment("vanilla", recipe=ADAMW)
    straight = e.run(progress=False).run.weights()["model"]
    by_hand = e.training()
    optimiser = torch.optim.AdamW(by_hand.model.parameters(), 0.002, weight_decay=0.05)
    by_hand.model.train()
    for _ in range(ADAMW.epochs):
        for batch in by_hand.loader:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(by_hand.model(batch.x), batch.y).backward()
            optimiser.step()
    assert all(
        torch.allclose(straight[k], v, atol=1e-4) for k, v in by_hand.model.state_dict().items() if v.is_floating_point()
    )
    stopped = e.training()
    next(event for event in stopped.iterate() if isinstance(event, Epoch))
    resumed = e.training()
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    list(resumed.iterate())
    assert all(torch.equal(straight[k], v) for k, v in resumed.model.state_dict().items())


def test_an_optimiser_that_is_none_is_refused_and_one_and_the_same_number_is_one_recipe():
    with pytest.raises(KeyError, match="no optimizer is called 'adam': did you mean 'adamw'"):
        Recipe(optimizer="adam")
    assert experiment("vanilla", recipe=Recipe(lr=1)).key == experiment("vanilla", recipe=Recipe(lr=1.0)).key
