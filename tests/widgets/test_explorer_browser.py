"""The explorer in a real JupyterLab: a mouse, a keyboard, and every slider and button of it."""

from __future__ import annotations

import pytest
from browser import wait_for_new_image, wait_until_done, write_notebook
from written import SMALL, drg, row, write

from sdkit import figures, runs
from sdkit.experiment import Experiment
from sdkit.figures.screens.explorer import places

NOTEBOOK = """
from sdkit.widgets import Explorer
panel = Explorer({where!r}, x="knobs.alpha", y="accuracy.final", colour="seed")
panel
"""
PLANE, CURVES = ".sdkit-plane img", "img.sdkit-run-curves, .sdkit-run-curves img"


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A grid of three alphas at two seeds without one corner, and a run of another method."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "home"))
    found = {(a, s): write(drg(a, s)) for a in (0.1, 0.2, 0.6) for s in (0, 1) if (a, s) != (0.6, 1)}
    write(Experiment("vanilla", **SMALL))
    return found


def says(page, words: str) -> None:
    page.wait_for_function("w => document.querySelector('.sdkit-run-says').innerText.includes(w)", arg=words)


def test_a_student_clicks_slides_filters_copies_and_saves(sweep, lab, open_and_run, page, tmp_path):
    write_notebook(lab, "explorer.ipynb", NOTEBOOK.format(where=str(runs.root())))
    open_and_run("explorer.ipynb")
    page.set_default_timeout(20_000)
    page.locator(PLANE).wait_for()
    wait_until_done(page)

    # the mouse: the same picture drawn here says where the points are
    points = runs.points(runs.records(), "knobs.alpha", "accuracy.final", "seed")
    _, ax = figures.points_figure(points, symbols={"knobs.alpha": "α (alpha)"})
    where = dict(zip(points.keys, places(points, ax), strict=True))
    for at in [(0.1, 0), (0.6, 0), (0.2, 1)]:
        key, old = sweep[at].key, page.locator(PLANE).get_attribute("src")
        curves = page.locator(CURVES).first.get_attribute("src")
        box = page.locator(PLANE).bounding_box()
        x, y = where[key]
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
        says(page, key)
        says(page, f"{100 * row(sweep[at])['accuracy.final']:.1f}%")
        wait_for_new_image(page, PLANE, old)
        wait_for_new_image(page, CURVES, curves)
        assert f"alpha={at[0]}" in page.locator(".sdkit-list select option:checked").inner_text()

    # the keyboard: on the picture, on the sliders, on the list
    page.locator(PLANE).focus()
    page.keyboard.press("ArrowRight")
    says(page, sweep[0.6, 0].key)
    for css, press, then in [
        ("knobs-alpha", "ArrowLeft", (0.2, 0)), ("seed", "ArrowRight", (0.2, 1)), ("knobs-alpha", "ArrowLeft", (0.1, 1)),
    ]:  # fmt: skip
        old = page.locator(PLANE).get_attribute("src")
        page.locator(f".sdkit-of-{css} .noUi-handle").focus()
        page.keyboard.press(press)
        says(page, sweep[then].key)
        wait_for_new_image(page, PLANE, old)
    page.locator(".sdkit-of-knobs-alpha .noUi-handle").focus()
    page.keyboard.press("End")
    says(page, "not run")
    page.screenshot(path=str(tmp_path / "not-run.png"), full_page=True)
    page.locator(".sdkit-list select").focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("() => !document.querySelector('.sdkit-run-says').innerText.includes('not run')")

    # axes, filters, finished runs, refresh
    for css, label in [
        ("x", "training time, s"),
        ("y", "test cross entropy, last epoch, nats"),
        ("colour", "method"),
        ("method", "DRG"),
    ]:
        old = page.locator(PLANE).get_attribute("src")
        page.locator(f".sdkit-{css} select").select_option(label=label)
        wait_for_new_image(page, PLANE, old)
    assert "5 of 6" in page.locator(".sdkit-counted").inner_text()
    write(drg(0.2, 5), status="training", epochs=1)
    page.locator("button.sdkit-refresh").click()
    page.wait_for_function("() => document.querySelector('.sdkit-counted').innerText.startsWith('6 of 7')")
    page.locator(".sdkit-complete input").click()
    page.wait_for_function("() => document.querySelector('.sdkit-counted').innerText.startsWith('5 of 7')")
    page.locator(".sdkit-list select").select_option(index=0)
    says(page, "done")

    # what is exported
    for css, word in [("plane", "figures.points_figure"), ("run", "Experiment(")]:
        page.locator(f".sdkit-{css}-export button.sdkit-copy").click()
        page.wait_for_function(
            "([css, w]) => document.querySelector(`.sdkit-${css}-export .sdkit-code`).innerText.includes(w)", arg=[css, word]
        )
        page.locator(f".sdkit-{css}-export button.sdkit-save").click()
        page.wait_for_function(
            "css => document.querySelector(`.sdkit-${css}-export .sdkit-saved`).innerText.includes('CSV')", arg=css
        )
    page.screenshot(path=str(tmp_path / "explorer.png"), full_page=True)

    # a name, and an end after a question
    page.locator(".sdkit-note input").fill("the one to keep")
    page.keyboard.press("Enter")
    says(page, "“the one to keep”")
    chosen = page.locator(".sdkit-list select option:checked").inner_text()
    assert "“the one to keep”" in chosen.replace("\xa0", " ")
    key = page.locator(".sdkit-run-says code").first.inner_text()
    page.locator("button.sdkit-delete").click()
    page.locator("button.sdkit-delete-it").wait_for()
    page.screenshot(path=str(tmp_path / "question.png"), full_page=True)
    page.locator("button.sdkit-delete-it").click()
    page.wait_for_function("() => document.querySelector('.sdkit-counted').innerText.startsWith('4 of 6')")
    assert page.locator("button.sdkit-delete-it").is_hidden() and key not in {r.run.key for r in runs.records()}
    assert page.errors == [] and page.outside == []
