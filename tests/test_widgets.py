"""Panels without a browser, then in one: training goes on while sliders move, and the record says what was turned."""

from __future__ import annotations

import time

import nbformat
import pytest

from sdkit.experiment import Experiment, Run
from sdkit.train import Recipe
from sdkit.widgets import TrainingPanel
from sdkit.widgets.panel import knobs_of, slider

SMALL = {
    "model": "four-stage", "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 128},
    "recipe": Recipe(epochs=6, batch_size=32, lr=0.05, schedule="one cycle"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.01)


def test_a_slider_shows_the_symbol_the_range_and_what_its_ends_mean():
    experiment = Experiment("drg+dsr", **SMALL)
    for name, knob in knobs_of(experiment).items():
        box = slider(knob, experiment.knobs[name])
        assert box.value == experiment.knobs[name] and (box.min, box.max) == (knob.low, knob.high)
        assert box.description == knob.symbol and knob.at_low in box.tooltip and knob.at_high in box.tooltip


def test_a_knob_whose_default_the_method_chooses_shows_that_choice():
    assert TrainingPanel(Experiment("ddgsd", **SMALL)).sliders["temperature"].value == 2.0


def test_a_panel_trains_in_a_thread_and_records_the_knobs_that_were_turned():
    panel = TrainingPanel(Experiment("drg+dsr", **SMALL))
    before = panel.picture.value
    panel.start.click()
    assert panel.start.disabled and not panel.stop.disabled
    until(lambda: len(panel.history) >= 2)
    panel.sliders["drg.alpha"].value = 0.9
    panel.live.wait(60)
    assert panel.live.state == "done" and "done" in panel.says.value
    assert panel.picture.value[:8] == b"\x89PNG\r\n\x1a\n" and panel.picture.value != before
    assert panel.progress.value == panel.progress.max == 24
    record = Run(panel.live.record.folder)
    turned = [t for e in record.history() for t in e.turned]
    assert [(t["knob"], t["before"], t["after"]) for t in turned] == [("drg.alpha", 0.2, 0.9)]
    assert record.status == "done" and "-live-" in record.key
    assert panel.experiment.record.status == "new", "a steered run is never found as the plain experiment"


def test_pause_holds_the_training_and_stop_keeps_whole_epochs():
    panel = TrainingPanel(Experiment("dsr", **SMALL))
    panel.start.click()
    until(lambda: panel.history)
    panel.pause.click()
    assert panel.pause.description == "Resume" and "paused" in panel.says.value
    time.sleep(0.3)
    held = panel.progress.value, len(panel.history)
    time.sleep(0.5)
    assert (panel.progress.value, len(panel.history)) == held
    panel.pause.click()
    until(lambda: len(panel.history) >= 2)
    began = time.monotonic()
    panel.stop.click()
    panel.live.wait(10)
    assert time.monotonic() - began < 1, "stop answers within a step"
    assert panel.live.state == "stopped" and panel.start.description == "Go on"
    kept = len(panel.history)
    panel.start.click()
    panel.live.wait(60)
    assert panel.live.state == "done"
    assert [e.epoch for e in panel.history] == list(range(6)) and kept >= 2


def test_sliders_set_before_the_start_are_what_is_trained():
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.sliders["temperature"].value = 4.0
    panel.start.click()
    panel.live.wait(60)
    assert panel.live.record.asked["knobs"]["temperature"] == 4.0
    assert not [t for e in panel.history for t in e.turned]


def test_a_training_that_fails_says_why():
    panel = TrainingPanel(Experiment("drg", **{**SMALL, "data": "cifar100", "dataset": {}}))
    panel.start.click()
    panel.live.wait(30)
    assert panel.live.state.startswith("failed: ") and "cifar-100" in panel.says.value
    assert not panel.start.disabled


def test_two_panels_do_not_disturb_each_other():
    one, two = (TrainingPanel(Experiment("dsr", **SMALL)) for _ in range(2))
    one.start.click()
    two.start.click()
    one.sliders["beta"].value = 2.0
    one.live.wait(60)
    two.live.wait(60)
    assert one.live.record.key != two.live.record.key
    assert not [t for e in two.history for t in e.turned]
    alone = Experiment("dsr", **SMALL).run(progress=False)
    assert [e.terms for e in two.history] == [e.terms for e in alone.history], "nor does the other's randomness"


NOTEBOOK = """
from sdkit.experiment import Experiment
from sdkit.train import Recipe
from sdkit.widgets import TrainingPanel
panel = TrainingPanel(Experiment("drg", model="four-stage", network={"width": 4}, data="digits", dataset={"train_size": 400},
                                 recipe=Recipe(epochs=40, batch_size=16, lr=0.05)))
panel
"""


def test_a_student_starts_steers_pauses_and_stops_a_training_in_the_browser(lab, open_and_run, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(NOTEBOOK.strip())])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.folder / "panel.ipynb")
    page = open_and_run("panel.ipynb")
    said = page.locator(".sdkit-says")
    said.wait_for()
    curves = page.locator(".sdkit-curves img, img.sdkit-curves").first
    empty = curves.get_attribute("src")
    page.locator(".sdkit-start").click()
    page.wait_for_function("document.querySelector('.sdkit-says').innerText.includes('epoch 2')")
    assert curves.get_attribute("src") != empty
    readout = page.locator(".sdkit-alpha .widget-readout")
    before = readout.inner_text()
    page.locator(".sdkit-alpha .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("b => document.querySelector('.sdkit-alpha .widget-readout').innerText != b", arg=before)
    page.locator(".sdkit-pause").click()
    page.wait_for_function("document.querySelector('.sdkit-says').innerText.includes('paused')")
    page.locator(".sdkit-pause").click()
    page.wait_for_function("document.querySelector('.sdkit-says').innerText.includes('running')")
    page.locator(".sdkit-stop").click()
    page.wait_for_function("document.querySelector('.sdkit-says').innerText.includes('stopped')")
    page.screenshot(path=str(tmp_path / "panel.png"))  # to be looked at
    assert page.errors == [] and page.outside == []
