"""Panels without a browser: training goes on while sliders move, forks share what came before, records say what was turned."""

from __future__ import annotations

import csv
import gc
import html
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
from filelock import FileLock
from PIL import Image

from sdkit import core, runs
from sdkit.analysis import shares_now
from sdkit.core import Knob
from sdkit.experiment import Experiment
from sdkit.figures import Course, Screen
from sdkit.runs import Run, recorder
from sdkit.train import Epoch, Recipe
from sdkit.widgets import App, TrainingPanel
from sdkit.widgets import live as live_module
from sdkit.widgets.app import opened
from sdkit.widgets.live import knobs_of, unfinished
from sdkit.widgets.parts import KEPT, CodeExport, LatestOnly, sentence, slider, with_ends

SMALL = {
    "model": "four-stage", "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 128},
    "recipe": Recipe(epochs=6, batch_size=32, lr=0.05, schedule="one cycle"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    yield tmp_path
    KEPT.clear()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.01)


def trained(panel, seconds=60):
    panel.live.wait(seconds)
    assert panel._drawing.wait(10)
    return panel.live


def turned(history):
    return [(t["step"], t["knob"], t["before"], t["after"]) for e in history for t in e.changes]


def numbers(history):
    """All of a history that is not time."""
    return [(e.epoch, e.lr, e.terms, e.accuracy, e.loss, e.changes) for e in history]


def copied(panel) -> dict[str, Experiment]:
    """The experiments of the panel's code, by the names in its picture."""
    runs = panel.code().partition("runs = ")[2].partition("\n}")[0].replace(".run(),", ",") + "}"
    return eval(runs, {"Experiment": Experiment, "Recipe": Recipe})


def same_weights(one: Run, other: Run) -> bool:
    a, b = one.weights(), other.weights()
    return all(a[part][k].equal(b[part][k]) for part in a for k in a[part]) and a["model"].keys() == b["model"].keys()


# ------------------------------------------------------------------------------------------------------------------ the parts


def test_of_five_hundred_values_only_the_last_is_left_and_none_waits():
    done, gate = [], threading.Event()
    latest = LatestOnly(lambda value: (gate.wait(5), done.append(value)))
    began = time.monotonic()
    for value in range(500):
        latest.ask(value)
    assert time.monotonic() - began < 0.5
    gate.set()
    assert latest.wait(5) and done[-1] == 499 and len(done) <= 2


def test_an_error_of_the_work_is_told_or_raised_and_the_next_value_is_worked_on():
    told, done = [], []

    def work(value):
        done.append(1 / value)

    latest = LatestOnly(work, told.append)
    latest.ask(0)
    latest.wait(5)
    latest.ask(2)
    latest.wait(5)
    assert isinstance(told[0], ZeroDivisionError) and done == [0.5]
    bare = LatestOnly(work)
    bare.ask(0)
    with pytest.raises(ZeroDivisionError):
        bare.wait(5)


def test_an_export_shows_the_code_and_saves_picture_and_numbers(home):
    from sdkit import figures

    export = CodeExport("noise", lambda: 'Experiment("a<b")', lambda: figures.new()[0], lambda: {"x": [1, 2], "y": [0.5]})
    export.copy.click()
    assert "Experiment(&#34;a&lt;b&#34;)" in export.shown.value and "clipboard" in export.shown.value
    first = export.shown.value
    export.copy.click()
    assert export.shown.value != first, "a second click copies again"
    export.save.click()
    export.save.click()
    folder = home / "figures" / "saved"
    assert {p.name for p in folder.iterdir()} == {f"noise-{n}.{s}" for n in (1, 2) for s in ("png", "pdf", "svg", "csv")}
    assert list(csv.reader((folder / "noise-1.csv").open())) == [["x", "y"], ["1", "0.5"], ["2", ""]]
    assert "noise-2" in export.saved.value


def test_what_fails_in_an_export_is_a_sentence():
    def nothing():
        raise ValueError("train something first")

    export = CodeExport("x", nothing, nothing)
    export.copy.click()
    export.save.click()
    assert "train something first" in export.shown.value and "train something first" in export.saved.value


def test_a_slider_shows_the_symbol_the_range_and_what_its_ends_mean():
    experiment = Experiment("drg+dsr", **SMALL)
    for name, knob in knobs_of(experiment).items():
        box = slider(knob, experiment.knobs[name])
        assert box.value == experiment.knobs[name] and (box.min, box.max) == (knob.low, knob.high)
        assert box.description == knob.symbol and knob.at_low in box.tooltip and knob.at_high in box.tooltip


# ------------------------------------------------------------------------------------------------------ plans in an experiment


def test_a_plan_of_turns_is_part_of_what_an_experiment_says():
    plain = Experiment("drg+dsr", **SMALL)
    planned = replace(plain, schedule={4: {"beta": 3.0}, 2.5: {"drg.alpha": 0.9}})
    assert planned.schedule == {2.5: {"drg.alpha": 0.9}, 4: {"dsr.beta": 3.0}} and planned.key != plain.key
    assert "schedule={2.5: {'drg.alpha': 0.9}, 4: {'dsr.beta': 3.0}}" in str(planned)
    assert eval(str(planned), {"Experiment": Experiment, "Recipe": Recipe}) == planned
    assert "schedule" not in plain.config and replace(plain, schedule={}).key == plain.key, "runs of before are still found"
    assert replace(plain, schedule={2: {"drg.alpha": 0.2}}).key == plain.key, "a turn to what the knob is already is none"
    assert replace(planned, schedule=planned.config["schedule"]).key == planned.key, "as the record spells it"


@pytest.mark.parametrize(
    ("plan", "error", "said"),
    [
        ({0: {"alpha": 0.3}}, ValueError, "between the start and the end of 6 epochs, got 0: what holds from the start"),
        ({6: {"alpha": 0.3}}, ValueError, "between the start and the end of 6 epochs, got 6"),
        ({2: {"alpho": 0.3}}, KeyError, "did you mean 'alpha'"),
        ({2: {"alpha": -1}}, ValueError, "must lie in"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan, error, said):
    with pytest.raises(error, match=said):
        Experiment("drg", **SMALL, schedule=plan)


def test_a_planned_turn_is_the_turn_that_a_caller_makes_at_that_step():
    plain = Experiment("drg", **SMALL)
    by_hand, got = plain.training(), []
    for event in by_hand.iterate():
        if hasattr(event, "step") and event.step == 9:  # the next step is the tenth: amid the third epoch of four steps
            by_hand.method.alpha = 0.9
        if hasattr(event, "terms"):
            got.append(event)
    planned = replace(plain, schedule={2.5: {"alpha": 0.9}}).run(progress=False)
    assert numbers(planned.history) == numbers(got)
    assert turned(planned.history) == [(10, "alpha", 0.2, 0.9)]


def test_a_planned_turn_survives_a_crash_at_its_very_epoch():
    planned = Experiment("dsr", **SMALL, schedule={3: {"beta": 3.0}})
    straight = numbers(planned.run(progress=False).history)
    planned.stored.folder.rename(planned.stored.folder.with_name("elsewhere"))
    walk = planned.stored.follow(planned.config, planned.training, checkpoint_every=0)
    while getattr(next(walk), "epoch", 0) != 2 or not planned.stored.history()[2:]:
        pass
    walk.close()
    assert numbers(planned.run(progress=False).history) == straight


# ------------------------------------------------------------------------------------------------------------------ the panel


def test_a_knob_whose_default_the_method_chooses_shows_that_choice():
    assert TrainingPanel(Experiment("ddgsd", **SMALL)).sliders["temperature"].value == 2.0


def test_a_method_without_knobs_trains_too():
    panel = TrainingPanel(Experiment("vanilla", **SMALL))
    assert not panel.sliders
    panel.start.click()
    assert trained(panel).state == "done" and len(panel.history) == 6


def test_a_panel_trains_in_a_thread_and_records_the_knobs_that_were_turned():
    panel = TrainingPanel(Experiment("drg+dsr", **SMALL))
    before = panel.picture.value
    panel.start.click()
    assert panel.start.disabled and not panel.stop.disabled
    until(lambda: len(panel.history) >= 2)
    panel.sliders["drg.alpha"].value = 0.9
    live = trained(panel)
    assert live.state == "done" and "done" in panel.says.value
    assert panel.picture.value[:8] == b"\x89PNG\r\n\x1a\n" and panel.picture.value != before
    assert panel.progress.value == panel.progress.max == 24
    record = Run(live.stored.folder)
    ((step, *move),) = turned(record.history())
    assert move == ["drg.alpha", 0.2, 0.9] and step >= 8
    assert [round(x * 4) for x, _ in live.course().changes] == [step], "marked on the curves at its step"
    assert record.status == "done" and "-live-" in record.key
    assert panel.experiment.stored.status == "new", "a steered run is never found as the plain experiment"


def test_the_copied_code_of_a_steered_training_repeats_it_bit_for_bit(home):
    panel = TrainingPanel(Experiment("drg", **SMALL))
    assert copied(panel) == {"live": panel.experiment}
    panel.start.click()
    until(lambda: panel.history)
    panel.sliders["alpha"].value = 0.9
    live = trained(panel)
    export = copied(panel)["live"]
    assert len(export.schedule) == 1 and export.key != panel.experiment.key
    for kept in live.stored.folder.glob("epochs/*.pt"):
        kept.unlink()  # else the export takes them over
    again = export.run(progress=False)
    assert numbers(again.history) == numbers(live.history) and same_weights(again.run, live.stored)
    panel.export.save.click()
    rows = list(csv.DictReader((home / "figures" / "saved" / "training-drg-1.csv").open()))
    assert [float(r["term task"]) for r in rows] == [e.terms["task"] for e in live.history]
    assert [r["changes"] != "" for r in rows] == [bool(e.changes) for e in live.history]


def test_a_panel_says_once_an_epoch_how_strongly_each_term_pulls_and_the_training_is_the_same(monkeypatch):
    asked = []

    def counted(*given):
        asked.append(given[3].epoch)
        return shares_now(*given)

    monkeypatch.setattr(live_module, "shares_now", counted)
    experiment = Experiment("drg+dsr", **SMALL | {"recipe": replace(SMALL["recipe"], epochs=2)})
    panel = TrainingPanel(experiment)
    panel.start.click()
    live = trained(panel)
    assert live.state == "done" and asked == [0, 1], "at the end of every epoch, and never else"
    said = re.search(r"rg ([\d.]+) %.*, sr ([\d.]+) %.* of the task's pull", html.unescape(panel.says.value))
    assert said and all(float(share) > 0 for share in said.groups())
    assert same_weights(live.stored, experiment.run(progress=False).run), "looking moves nothing"


def test_pause_holds_the_training_and_stop_keeps_whole_epochs():
    panel = TrainingPanel(Experiment("dsr", **SMALL))
    panel.start.click()
    until(lambda: panel.history)
    panel.pause.click()
    assert panel.pause.description == "Resume" and "paused" in panel.says.value
    time.sleep(0.3)
    held = panel.live.progress, len(panel.history)
    time.sleep(0.5)
    assert (panel.live.progress, len(panel.history)) == held
    panel.pause.click()
    until(lambda: len(panel.history) >= 2)
    began = time.monotonic()
    panel.stop.click()
    panel.live.wait(10)
    assert time.monotonic() - began < 1, "stop answers within a step"
    assert panel.live.state == "stopped" and panel.start.description == "Go on"
    kept = len(panel.history)
    panel.start.click()
    assert trained(panel).state == "done"
    assert [e.epoch for e in panel.history] == list(range(6)) and kept >= 2


def test_a_knob_turned_in_an_epoch_that_a_stop_gave_up_is_turned_when_it_goes_on():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.start.click()
    until(lambda: len(panel.history) == 1)
    panel.pause.click()
    panel.sliders["alpha"].value = 0.9
    panel.stop.click()
    panel.live.wait(10)
    panel.start.click()
    trained(panel)
    assert [t[1:] for t in turned(panel.history)] == [("alpha", 0.2, 0.9)]


def test_sliders_set_before_the_start_are_what_is_trained():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.sliders["temperature"].value = 4.0
    panel.start.click()
    trained(panel)
    assert panel.live.stored.config["knobs"]["temperature"] == 4.0
    assert not turned(panel.history)


def test_a_hand_that_slides_fast_leaves_one_turn_the_last():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.start.click()
    until(lambda: len(panel.history) >= 1)
    panel.pause.click()
    time.sleep(0.2)
    began = time.monotonic()
    for i in range(500):
        panel.sliders["alpha"].value = 0.3 + 0.001 * i
    assert time.monotonic() - began < 2
    panel.pause.click()
    trained(panel)
    assert [t[1:] for t in turned(panel.history)] == [("alpha", 0.2, pytest.approx(0.799))]


def test_a_training_that_fails_says_why():
    panel = TrainingPanel(Experiment("drg", **{**SMALL, "data": "cifar100", "dataset": {}}))
    panel.start.click()
    trained(panel, 30)
    assert "failed" in panel.says.value and "cifar-100" in panel.notice.value
    assert not panel.start.disabled


def test_a_start_that_fails_at_its_first_step_leaves_no_folder():
    panel = TrainingPanel(Experiment("drg", **{**SMALL, "model": "alexnet", "network": {}}))
    panel.start.click()
    trained(panel)
    assert "failed" in panel.says.value and "-live-" not in panel.says.value and "⚠" in panel.notice.value
    assert not [*runs.root().glob("*")] and not panel.start.disabled and panel.stop.disabled


def test_a_fork_before_anything_was_trained_says_what_to_do():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.fork.click()
    assert "press Start" in panel.notice.value and panel.live is None


def test_a_training_of_one_epoch_says_that_it_cannot_be_forked():
    panel = TrainingPanel(Experiment("drg", **SMALL | {"recipe": Recipe(epochs=1, batch_size=32, lr=0.05)}))
    panel.start.click()
    trained(panel)
    panel.fork.click()
    assert "before the last epoch" in panel.notice.value and "of 1 epoch" in panel.notice.value


def test_the_same_experiment_gives_the_same_panel_and_another_one_is_left_alone():
    one, two = TrainingPanel(Experiment("dsr", **SMALL)), TrainingPanel(Experiment("dsr", **SMALL, seed=1))
    one.start.click()
    two.start.click()
    until(lambda: one.history)
    again = TrainingPanel(Experiment("dsr", **SMALL))
    assert again is one and again.history, "a cell that runs again finds its training"
    one.sliders["beta"].value = 2.0
    trained(one), trained(two)
    assert turned(one.history) and not turned(two.history)
    alone = Experiment("dsr", **SMALL, seed=1).stored
    assert alone.status == "new"
    kept = [f.unlink() for f in runs.root().glob("*/epochs/*.pt")]
    assert kept and numbers(Experiment("dsr", **SMALL, seed=1).run(progress=False).history) == numbers(two.history)


KILLED = """
import os, time
from sdkit.core import Knob
from sdkit.experiment import Experiment
from sdkit.train import Recipe
from sdkit.widgets import TrainingPanel
panel = TrainingPanel({experiment})
panel.sliders["temperature"].value = 4.0
panel.start.click()
while not panel.history: time.sleep(0.001)
panel.sliders["alpha"].value = 0.9
while not any(e.changes for e in panel.history): time.sleep(0.001)
os._exit(9)
"""


def test_a_training_whose_kernel_died_goes_on_to_the_same_bits():
    experiment = Experiment("drg", **SMALL)
    died = subprocess.run([sys.executable, "-c", KILLED.format(experiment=experiment)], timeout=120, env=dict(os.environ))
    assert died.returncode == 9
    panel = TrainingPanel(experiment)
    before = panel.history
    assert 1 <= len(before) < 6 and panel.start.description == "Go on" and not panel.start.disabled
    assert (panel.sliders["temperature"].value, panel.sliders["alpha"].value) == (4.0, 0.9)
    panel.start.click()
    live = trained(panel)
    assert live.state == "done" and live.first.epoch == len(before), "what was there is not trained again"
    assert numbers(live.history[: len(before)]) == numbers(before) and len(runs.records()) == 1
    for kept in runs.root().glob("*/epochs/*.pt"):
        kept.unlink()
    straight = live.steered().run(progress=False)
    assert numbers(straight.history) == numbers(live.history) and same_weights(straight.run, live.stored)
    KEPT.clear()
    assert TrainingPanel(experiment).start.description == "Start", "it has ended: there is nothing to go on with"


def test_a_training_that_another_kernel_goes_on_with_is_not_offered():
    experiment = Experiment("drg", **SMALL)
    panel = TrainingPanel(experiment)
    panel.start.click()
    until(lambda: panel.history)
    panel.stop.click()
    panel.live.wait(10)
    with FileLock(panel.live.stored.folder / "lock"):
        assert unfinished(experiment) is None
    assert unfinished(experiment)[1].key == panel.live.stored.key
    assert unfinished(replace(experiment, seed=1)) is None and unfinished(Experiment("dsr", **SMALL)) is None


def test_a_picture_that_follows_is_the_picture_drawn_anew():
    history = [Epoch(i, 0.1, 1.0, terms={"task": 2 / (i + 1), "rg": 1 / (i + 1)}, accuracy={"final": i / 9}) for i in range(9)]
    screen, first = Screen(), Course(history[:6], [(5.2, {"task": 0.4, "rg": 0.2})])
    turned_ = first._replace(changes=[(5.1, "α 0.2→0.9")])
    later, fork = first._replace(history=history), Course(history[:3])
    seen = []
    for shown in ({"live": first}, {"live": turned_}, {"live": later}, {"live": later, "fork 1": fork}, {}, {"live": first}):
        seen.append(screen.png(shown))
        assert seen[-1] == Screen().png(shown)
    assert len(set(seen)) == 5 and seen[0] == seen[-1]


# --------------------------------------------------------------------------------------------------------------------- forks


def test_a_fork_takes_over_what_its_parent_trained_and_is_the_uninterrupted_training_bit_for_bit():
    panel = TrainingPanel(Experiment("dsr", **SMALL))
    panel.start.click()
    parent = trained(panel)
    panel.fork_at.value, panel.sliders["beta"].value = 4, 3.0
    panel.fork.click()
    fork = trained(panel)
    assert fork is not parent and fork.experiment.schedule == {4: {"beta": 3.0}}
    assert fork.first.epoch == 4, "the first four epochs were not trained again"
    assert numbers(fork.history[:4]) == numbers(parent.history[:4]) and fork.history[5].terms != parent.history[5].terms
    name = "fork 1: β 3 after epoch 4"
    assert list(panel._courses()) == ["live", name] == [*panel.trainings] and panel.target.value == name
    for kept in runs.root().glob("*/epochs/*.pt"):
        kept.unlink()
    straight = Experiment("dsr", **SMALL, schedule={4: {"beta": 3.0}}).run(progress=False)
    assert numbers(straight.history) == numbers(fork.history) and same_weights(straight.run, fork.stored)
    assert len(fork.stored.outputs()[0]) == 6
    panel.target.value = "live"
    assert panel.sliders["beta"].value == 1.0 and panel.live is parent, "the sliders show what they turn"


def test_a_fork_with_unturned_knobs_is_its_parent():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.start.click()
    parent = trained(panel)
    panel.fork_at.value = 3
    panel.fork.click()
    fork = trained(panel)
    assert numbers(fork.history) == numbers(parent.history) and same_weights(fork.stored, parent.stored)


def test_a_recorded_run_is_shown_and_forked_though_no_state_of_it_was_kept():
    recorded = Experiment("dsr", **SMALL).run(progress=False)
    panel = TrainingPanel(Experiment("dsr", **SMALL))
    assert list(panel.trainings) == ["recorded"] and numbers(panel.history) == numbers(recorded.history)
    panel.fork_at.value, panel.sliders["beta"].value = 2, 0.5
    panel.fork.click()
    fork = trained(panel)
    assert numbers(fork.history[:2]) == numbers(recorded.history[:2]) and turned(fork.history) == [(8, "beta", 1.0, 0.5)]
    assert list(panel.trainings) == ["recorded", "fork 1: β 0.5 after epoch 2"]


def test_a_fork_of_a_steered_training_keeps_its_turns_until_the_fork():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.start.click()
    until(lambda: panel.history)
    panel.sliders["alpha"].value = 0.9
    parent = trained(panel)
    (first,) = turned(parent.history)
    panel.fork_at.value, panel.sliders["temperature"].value = 5, 6.0
    panel.fork.click()
    fork = trained(panel)
    assert turned(fork.history) == [first, (20, "temperature", parent.experiment.knobs["temperature"], 6.0)]
    assert numbers(fork.history[:5]) == numbers(parent.history[:5])


def test_the_next_fork_is_prepared_while_its_parent_trains_on_unturned():
    panel = TrainingPanel(Experiment("dsr", **SMALL))
    panel.start.click()
    parent = panel.live
    until(lambda: panel.history)
    panel.target.value = "the next fork"
    panel.sliders["beta"].value = 2.0
    panel.fork_at.value = 1
    panel.fork.click()
    fork = trained(panel)
    parent.wait(60)
    assert not turned(parent.history) and turned(fork.history) == [(4, "beta", 1.0, 2.0)]


def test_kept_states_stay_within_their_room(monkeypatch):
    panel = TrainingPanel(Experiment("vanilla", **SMALL))
    panel.start.click()
    parent = trained(panel)
    sizes = [f.stat().st_size for f in parent.stored.folder.glob("epochs/*.pt")]
    assert len(sizes) == 6
    monkeypatch.setattr(recorder, "ROOM", int(2.5 * max(sizes)))
    other = TrainingPanel(Experiment("vanilla", **SMALL, seed=1))
    other.start.click()
    trained(other)
    assert sorted(f.name for f in runs.root().glob("*/epochs/*.pt")) == ["0005.pt", "0006.pt"]
    assert runs.find_checkpoint(parent.experiment.config, 6) is None


# ------------------------------------------------------------------------------------------------------------------- the app


def test_the_app_says_what_to_do_where_no_run_has_finished():
    app = App("Loss inspector")
    assert "train one in the first tab" in app.panels["Loss inspector"].notice.value
    app.tabs.selected_index = list(app.makers).index("Viewers")
    viewers = app.panels["Viewers"]
    assert "train one in the first tab" in viewers.notice.value and not viewers.place.children


def test_the_app_asks_which_folder_holds_your_images(home):
    train = App().panels["Train"]
    assert train.folder.layout.display == "none"
    train.data.value = "image_folder"
    assert train.folder.layout.display is None and "which folder" in train.notice.value and not train.place.children
    for split in ("train", "test"):
        for label in ("a", "b"):
            (home / "mine" / split / label).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (8, 8), (40 * i, 20 * i + 9, 7 * i)).save(home / "mine" / split / label / f"{i}.png")
    train.folder.value = str(home / "mine")
    assert train.notice.value == "" and train.place.children


def test_the_app_shows_a_panels_training_on_the_bench_and_in_every_viewer():
    app = App("Viewers")
    plain = Experiment("vanilla", **SMALL).run(progress=False)
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.start.click()
    until(lambda: panel.history)
    panel.sliders["alpha"].value = 0.9
    live = trained(panel)
    app.tabs.selected_index = list(app.makers).index("Loss inspector")
    bench = app.panels["Loss inspector"]
    assert list(bench.found) == [live.stored.key, plain.run.key], "the newest first"
    assert "DRG" in bench.run.options[0][0] and "knobs turned" in bench.run.options[0][0]
    shown = bench.place.children
    bench.run.value = plain.run.key
    assert bench.place.children and bench.place.children != shown and not bench.notice.value

    app.tabs.selected_index = list(app.makers).index("Viewers")
    viewers = app.panels["Viewers"]
    assert viewers.run.value == live.stored.key, "opened again, a tab finds what has finished since"
    viewers.beside.value = plain.run.key
    made = {viewers.place.children}
    for kind in ("features", "Grad-CAM", "ranked outputs", "weight noise"):
        viewers.kind.value = kind
        assert not viewers.notice.value
        made.add(viewers.place.children)
    assert len(made) == 5


def test_a_panels_run_opens_with_its_own_weights_and_the_line_that_repeats_it():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.start.click()
    until(lambda: panel.history)
    panel.sliders["alpha"].value = 0.9
    live = trained(panel)
    (record,) = runs.records()
    run = opened(record)
    assert run.experiment == live.steered() and run.run.folder == live.stored.folder
    assert all(v.equal(run.model.state_dict()[k]) for k, v in live.stored.weights()["model"].items())
    assert opened(record) is run


def test_a_run_that_is_deleted_while_the_app_shows_it_is_missed_and_what_is_trained_in_its_place_is_shown():
    e = Experiment("vanilla", **SMALL | {"recipe": "smoke"})
    run = e.run(progress=False).run
    of = App("Loss inspector").panels["Loss inspector"]
    (row,), shown = runs.records(), of.place.children
    before = opened(row)
    run.delete()
    with pytest.raises(FileNotFoundError, match=f"run {e.key} was deleted meanwhile: Refresh"):
        opened(row)
    e.run(progress=False)
    of.refresh.click()
    assert opened(row) is not before and of.place.children != shown and not of.notice.value
    assert opened(row) is opened(row)


def test_a_run_that_this_sdkit_cannot_open_leaves_the_list_usable():
    good, bad = (Experiment("vanilla", **SMALL, seed=s).run(progress=False) for s in (0, 1))
    written = bad.run.folder / "experiment.json"
    written.write_text(written.read_text().replace('"four-stage"', '"of-tomorrow"'))
    of = App("Loss inspector").panels["Loss inspector"]
    assert bad.run.key not in [value for _, value in of.run.options]
    of.run.value = good.run.key
    assert not of.notice.value and of.place.children


def test_the_app_reads_the_runs_again_whenever_a_tab_is_opened():
    app = App("Recorded runs")
    app.tabs.selected_index = 0
    left = Experiment("vanilla", **SMALL).run(progress=False)
    app.tabs.selected_index = 1
    assert [r.run.key for r in app.panels["Recorded runs"].table] == [left.run.key]


def test_a_run_that_takes_a_deleted_ones_folder_is_another_run():
    first = TrainingPanel(Experiment("drg", **SMALL))
    first.start.click()
    until(lambda: first.history)
    first.sliders["alpha"].value = 0.9
    gone = trained(first).stored
    app = App("Loss inspector")
    of = app.panels["Loss inspector"]
    (before,) = of.found.values()
    old = opened(before)
    shutil.rmtree(gone.folder)
    KEPT.pop(("training", (str(core.home()), Experiment("drg", **SMALL).key)))
    again = TrainingPanel(Experiment("drg", **SMALL))
    again.start.click()
    until(lambda: again.history)
    again.sliders["alpha"].value = 0.1
    assert trained(again).stored.folder == gone.folder, "the folder's name is free again"
    shown = of.place.children
    of.look()
    (now,) = of.found.values()
    assert now is not before and opened(now) is not old and of.place.children != shown


def test_an_error_without_words_says_its_kind():
    assert "StopIteration" in sentence(StopIteration()) and "⚠ no" in sentence(ValueError("no"))


def test_an_end_that_a_value_moved_is_not_said_to_be_the_knobs_own():
    knob = Knob("T", 1, 10, "the outputs as they are", "nearly uniform", least=0.05)
    for value, words, others in ((0.5, "nearly uniform", "as they are"), (20, "as they are", "nearly uniform")):
        box = slider(knob, value)
        said = with_ends(box, knob, "temperature").children[1].value + box.tooltip
        assert words in said and others not in said, said


def test_the_app_lets_go_of_a_viewer_that_another_one_replaces():
    Experiment("vanilla", **SMALL).run(progress=False)
    viewers = App("Viewers").panels["Viewers"]
    gone = weakref.ref(viewers.panel)
    assert gone().wait(60)
    for kind in ("Grad-CAM", "ranked outputs"):
        viewers.kind.value = kind
        assert viewers.panel.wait(60)
    gc.collect()
    assert gone() is None, "its network, its frames and its widgets go with it"
    shown = viewers.panel
    viewers.look()
    assert viewers.panel is shown and viewers.panel.box in viewers.place.children


def test_the_app_keeps_the_networks_of_the_last_runs_alone(home, monkeypatch):
    monkeypatch.setattr("sdkit.widgets.app.repeated", lambda run: run)
    monkeypatch.setattr("sdkit.widgets.app.Trained", lambda experiment, run: object())
    records = [SimpleNamespace(run=Run(home / str(n))) for n in range(30)]
    for record in records:
        record.run.folder.mkdir()
        (record.run.folder / "experiment.json").touch()
    first = [opened(record) for record in records]
    assert opened(records[-1]) is first[-1], "loaded once"
    assert len([key for key in KEPT if key[0] == "opened"]) <= 8
    assert opened(records[0]) is not first[0]
