"""The training panel in a real JupyterLab: started, steered, paused, forked, stopped, reloaded, and never in the way."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time

import browser
import pytest

from sdkit.train import RECIPES

SERVED = [sys.executable, "-m", "sdkit.cli", "app", "--no-browser"]

PANEL = """
from sdkit.experiment import Experiment
from sdkit.train import Recipe
from sdkit.widgets import TrainingPanel
panel = TrainingPanel(Experiment("drg+dsr", model="four-stage", network={"width": 4}, data="digits",
    dataset={"train_size": 400}, recipe=Recipe(epochs=EPOCHS, batch_size=16, lr=0.05), seed=SEED))
panel
"""

ASK = """
import json
if panel.live:
    changes = [t for e in panel.live._so_far() for t in e.changes]
    print("SAID", json.dumps({"epochs": len(panel.history), "state": panel.live.state, "changes": changes}))
"""


def says(page, words, seconds=30):
    page.wait_for_function(
        "w => document.querySelector('.sdkit-says').innerText.includes(w)", arg=words, timeout=1000 * seconds, polling=20
    )


def step(page):
    """The step that the panel says."""
    said = page.locator(".sdkit-says").first.inner_text()
    return int(said.split("step ")[1].split()[0].rstrip("·,")) if "step " in said else 0


def ask(page):
    """Runs the notebook's second cell -> what it printed."""
    page.evaluate(
        """async () => {
          const notebook = window.jupyterapp.shell.currentWidget;
          notebook.content.activeCellIndex = 1;
          await window.jupyterapp.commands.execute('notebook:run-cell');
        }"""
    )
    cell = "window.jupyterapp.shell.currentWidget.content.widgets[1].model.sharedModel.toJSON().outputs"
    text = page.wait_for_function(f"() => {{ const o = {cell}; return o.length && o[0].text && [o[0].text].flat().join('') }}")
    return json.loads(text.json_value().split("SAID ")[1])


def curves(page):
    return page.locator("img.sdkit-curves").first.get_attribute("src")


def test_a_student_trains_steers_pauses_forks_and_stops(lab, open_and_run, tmp_path):
    browser.write_notebook(lab, "panel.ipynb", PANEL.replace("EPOCHS", "60").replace("SEED", "0"), ASK)
    page = open_and_run("panel.ipynb")
    page.locator(".sdkit-says").wait_for()
    empty = curves(page)
    page.locator(".sdkit-start").click()
    says(page, "epoch 2 of 60")
    running = browser.wait_for_new_image(page, "img.sdkit-curves", empty)
    says(page, "images/s")
    says(page, "left")

    readout = page.locator(".sdkit-drg-alpha .widget-readout")
    before, at = readout.inner_text(), step(page)
    page.locator(".sdkit-drg-alpha .noUi-handle").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(30)
    assert readout.inner_text() != before
    page.wait_for_function("s => +document.querySelector('.sdkit-says').innerText.split('step ')[1].split(' ')[0] > s", arg=at)
    browser.wait_for_new_image(page, "img.sdkit-curves", running)

    page.locator(".sdkit-pause").click()
    says(page, "paused")
    page.wait_for_timeout(300)
    held = step(page)
    page.wait_for_timeout(500)
    assert step(page) == held
    page.locator(".sdkit-copy").click()
    page.locator(".sdkit-code code").wait_for()
    assert "schedule={" in page.locator(".sdkit-code code").inner_text(), "the copied code repeats what the hand turned"
    page.locator(".sdkit-pause").click()
    says(page, "running")

    page.locator(".sdkit-dsr-beta .noUi-handle").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.locator(".sdkit-fork").click()
    page.wait_for_function("() => document.querySelector('.sdkit-target select').value.startsWith('fork 1')")
    says(page, "after epoch 6")
    page.locator(".sdkit-save").click()
    page.wait_for_function("() => document.querySelector('.sdkit-saved').innerText.includes('training-drg')")
    page.screenshot(path=str(tmp_path / "fork.png"), full_page=True)  # to be looked at
    page.locator(".sdkit-stop").click()
    says(page, "stopped")
    fork = ask(page)
    assert fork["state"] == "stopped" and any(t["knob"] == "dsr.beta" for t in fork["changes"])
    assert page.locator(".sdkit-start").inner_text() == "Go on"
    page.locator(".sdkit-target select").select_option(label="live: the training begun here")
    says(page, "running")
    page.locator(".sdkit-stop").click()
    says(page, "stopped")
    assert page.locator(".sdkit-notice").inner_text().strip() == ""
    assert page.errors == [] and page.outside == []


def test_reloading_the_page_in_mid_training_loses_nothing(lab, open_and_run, tmp_path):
    """First of a saved notebook, whose panel is there at once; then of one without outputs, whose cell runs again."""
    cells = PANEL.replace("EPOCHS", "2000").replace("SEED", "1"), ASK
    browser.write_notebook(lab, "reload.ipynb", *cells)
    page = open_and_run("reload.ipynb")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator(".sdkit-start").click()
    says(page, "epoch 2 of 2000")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_timeout(500)
    for saved in (True, False):
        at = step(page)
        if not saved:
            browser.write_notebook(lab, "reload.ipynb", *cells)
        page.goto(f"{lab.url}/lab/tree/reload.ipynb")
        page.locator(".jp-Notebook").wait_for()
        if not saved:
            page.wait_for_function("() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel")
            assert page.locator(".sdkit-says").count() == 0
            page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0 }")
            page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell') }")
        page.locator(".sdkit-says").wait_for()
        says(page, "running")
        assert step(page) > at, "the training went on while no page was there"
        before = curves(page)
        assert before and browser.wait_for_new_image(page, "img.sdkit-curves", before) != before, "the curves go on"
    page.locator(".sdkit-stop").click()
    says(page, "stopped")
    page.screenshot(path=str(tmp_path / "reload.png"))
    assert ask(page)["epochs"] >= 1 and page.errors == []


@pytest.fixture(scope="module")
def long_training(lab, chromium):
    """A panel of a training that does not end, for the two tests below."""
    cells = PANEL.replace("EPOCHS", "2000").replace("SEED", "3"), ASK
    with browser.shared_page(lab, chromium, "long.ipynb", *cells) as page:
        page.locator(".sdkit-start").click()
        says(page, "epoch 2 of 2000")
        yield page


def test_five_hundred_slider_events_in_five_seconds_leave_the_last_and_the_training_goes_on(long_training):
    page = long_training
    at = step(page)
    handle = page.locator(".sdkit-drg-alpha .noUi-handle")
    handle.focus()
    handle.evaluate(
        """async handle => {
          const began = performance.now();
          for (let i = 0; i < 500; i++) {
            const key = i % 100 < 50 ? 'ArrowRight' : 'ArrowLeft';
            handle.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
            await new Promise(next => setTimeout(next, Math.max(0, began + 10 * (i + 1) - performance.now())));
          }
          handle.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true, cancelable: true}));
        }"""
    )
    shown = float(page.locator(".sdkit-drg-alpha .widget-readout").inner_text())  # aria-valuenow has one decimal
    page.wait_for_timeout(1000)
    assert step(page) > at + 20, "the training went on while the slider moved"
    page.locator(".sdkit-stop").click()
    says(page, "stopped", 3)
    said = ask(page)
    assert said["changes"][-1]["knob"] == "drg.alpha" and said["changes"][-1]["after"] == pytest.approx(shown, abs=1e-6)


def test_how_soon_the_panel_answers(long_training):
    """Not a race: the bounds are loose, the medians are what `pytest -s` prints."""
    page = long_training
    if page.locator(".sdkit-start").is_enabled():
        page.locator(".sdkit-start").click()
    says(page, "running")
    training = [slide(page) for _ in range(9)]
    page.locator(".sdkit-pause").click()
    says(page, "paused")
    paused = [slide(page) for _ in range(9)]
    page.locator(".sdkit-pause").click()
    says(page, "running")
    began = time.monotonic()
    page.locator(".sdkit-stop").click()
    says(page, "stopped", 5)
    stop = 1000 * (time.monotonic() - began)
    for when, waits in (("training", training), ("paused", paused)):
        print(f"\nslider to picture, {when}: median {statistics.median(waits):.0f} ms of {[round(w) for w in waits]}", end="")
    print(f"; stop {stop:.0f} ms")
    assert statistics.median(training) < 1500 and statistics.median(paused) < 1000 and stop < 3000


def slide(page):
    """Moves the slider by a step -> ms until the picture is another."""
    page.wait_for_timeout(400)
    return page.evaluate(
        """() => new Promise(done => {
          const picture = document.querySelector('img.sdkit-curves'), began = performance.now();
          new MutationObserver((_, watch) => { watch.disconnect(); done(performance.now() - began) })
            .observe(picture, {attributes: true, attributeFilter: ['src']});
          const handle = document.querySelector('.sdkit-drg-alpha .noUi-handle');
          handle.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true, cancelable: true}));
        })"""
    )


@pytest.fixture
def app(tmp_path):
    """The address that `sdkit app` prints, for as long as it runs."""
    reason = browser.what_is_missing()
    if reason:
        pytest.skip(reason)
    pytest.importorskip("voila")
    own = {"SDKIT_HOME": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "PYTHONPATH": str(browser.ROOT)}
    own |= {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"), "JUPYTER_DATA_DIR": str(tmp_path / "data")}
    with open(tmp_path / "log.txt", "w") as log:
        served = subprocess.Popen(SERVED, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | own)
    try:
        yield served.stdout.readline().split()[-1]
    finally:
        served.terminate()
        served.wait(20)
        served.stdout.close()


def test_the_app_shows_panels_without_code_to_this_machine_alone(app, chromium, tmp_path):
    assert app.startswith("http://127.0.0.1:") and "token=" in app
    with browser.open_page(chromium) as page:
        refused = []
        page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
        for _ in range(50):
            try:
                page.goto(app.split("?")[0])
                break
            except Exception:  # it is not listening yet
                time.sleep(0.2)
        assert "login" in page.url, "without the token there is nothing to see"
        page.goto(app)
        page.locator(".sdkit-start").wait_for()
        assert page.locator(".jp-InputArea, .cm-editor").count() == 0, "no code"
        assert page.locator("h1").inner_text() == "Self-distillation, live"
        page.screenshot(path=str(tmp_path / "train.png"))
        empty = curves(page)
        page.locator(".sdkit-choose-method select").select_option("dsr")
        page.locator(".sdkit-beta").wait_for()
        readout = page.locator(".sdkit-beta .widget-readout")
        before = readout.inner_text()
        page.locator(".sdkit-beta .noUi-handle").focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function("b => document.querySelector('.sdkit-beta .widget-readout').innerText != b", arg=before)
        page.locator(".sdkit-start").click()
        says(page, f"epoch 2 of {RECIPES['quick'].epochs}")
        browser.wait_for_new_image(page, "img.sdkit-curves", empty)
        page.locator(".sdkit-stop").click()
        says(page, "stopped")
        page.locator(".lm-TabBar-tab", has_text="Recorded runs").click()
        page.locator("text=1 of 1 runs").or_(page.locator("text=of 1 runs")).first.wait_for()
        page.screenshot(path=str(tmp_path / "app.png"))
        assert page.errors == []
        assert dict.fromkeys(page.outside, "csp") == dict(refused), "whatever asks for another machine is refused by the page"
