"""A panel lives as long as its kernel; the training that it began does not."""

from __future__ import annotations

import gc
import time

import pytest
from ipywidgets.widgets.widget import _instances

from sdkit import Experiment, Recipe
from sdkit.train import Training
from sdkit.widgets import NoiseViewer, TrainingPanel, parts

SMALL = {"network": {"width": 4}, "data": "digits", "dataset": {"train_size": 60}}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))


def trainings() -> int:
    gc.collect()
    return sum(isinstance(thing, Training) for thing in gc.get_objects())


def until(what, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_panels_let_go_of_their_trainings_when_these_end():
    before, panels = trainings(), []
    for seed in range(3):
        panel = TrainingPanel(Experiment("dsr", seed=seed, recipe=Recipe(epochs=2, batch_size=30, lr=0.02), **SMALL))
        panel.start.click()
        panel.live.wait(60)
        panels.append(panel)
    assert trainings() == before
    for panel in panels:
        assert panel.live.state == "done" and len(panel.history) == 2 and "dsr" in panel.code() and panel.figure()
        assert all(e.outputs is None and e.test_outputs is None for e in panel.history), "which lie on the disk"


def test_a_stopped_panel_keeps_its_knobs_and_goes_on():
    panel = TrainingPanel(Experiment("dsr", recipe=Recipe(epochs=4000, batch_size=30, lr=0.02), **SMALL))
    before = trainings()
    panel.start.click()
    until(lambda: panel.history)
    panel.sliders["beta"].value = 2.5
    until(lambda: any(e.changes for e in panel.history))
    panel.stop.click()
    panel.live.wait(60)
    epochs, again = len(panel.history), panel.live.steered()
    assert trainings() == before and panel.live.settings["beta"] == 2.5
    assert [*again.schedule.values()] == [{"beta": 2.5}] and again.knobs["beta"] != 2.5
    panel.start.click()
    until(lambda: len(panel.history) > epochs)
    assert panel.live.settings["beta"] == 2.5
    panel.stop.click()
    panel.live.wait(60)


def test_what_was_kept_of_a_run_goes_when_the_run_is_trained_anew():
    """A notebook whose cells train anew for an hour grew by what every former run's viewers had computed."""
    e = Experiment("vanilla", recipe=Recipe(epochs=1, batch_size=30, lr=0.02), **SMALL)

    def seen() -> int:
        viewer = NoiseViewer({"plain": e.run(progress=False, fresh=True)})
        assert viewer.wait(60)
        viewer.close()
        return len(parts.KEPT)

    first = seen()
    time.sleep(0.01)  # a clock's tick: runs are told apart by when they began
    assert [seen(), seen()] == [first, first]
    e.stored.delete()
    parts.kept("noise", "another", dict)
    assert not any(str(e.stored.folder) in str(key) for key in parts.KEPT), "nor of one that was deleted"


def test_a_closed_viewer_leaves_no_widget_behind():
    """Layouts and styles are widgets, too, which the kernel keeps until they are closed."""
    run = Experiment("vanilla", recipe=Recipe(epochs=1, batch_size=30, lr=0.02), **SMALL).run(progress=False)
    before = {*_instances}
    viewer = NoiseViewer({"plain": run})
    assert viewer.wait(60)
    viewer.close()
    assert {*_instances} - before == set()
