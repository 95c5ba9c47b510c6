"""The loss inspector in a browser: every control changes the picture, by keyboard."""

from __future__ import annotations

import browser
import pytest

CELL = """
from sdkit.experiment import Experiment
from sdkit.train import Recipe
from sdkit.widgets import LossInspector
run = Experiment("drg+dsr", model="four-stage", network={"width": 4, "survival": 0.5}, data="digits",
                 dataset={"train_size": 128}, recipe=Recipe(epochs=2, batch_size=32, lr=0.05)).run(progress=False)
LossInspector(run, ["byot", "self-guidance", "ddgsd"])
"""
PICTURE = "img.sdkit-inspector"


@pytest.fixture(scope="module")
def bench(lab, chromium):
    """The bench of a finished run, for both tests."""
    with browser.shared_page(lab, chromium, "bench.ipynb", CELL) as page:
        page.locator(PICTURE).wait_for()
        browser.wait_until_done(page)
        yield page


def test_every_slider_choice_and_button_of_the_bench_answers(bench, tmp_path):
    page = bench

    def changes(act, *how) -> None:
        """The act, by hand, gives another picture."""
        old = page.locator(PICTURE).evaluate("image => image.src")
        act(*how)
        browser.wait_for_new_image(page, PICTURE, old)

    def turn(css: str) -> None:
        """A slider by keyboard."""
        page.locator(f".{css} .noUi-handle").focus()
        page.keyboard.press("ArrowRight")

    def choose(css: str, option: str) -> None:
        page.locator(f".{css} select").select_option(label=option)

    for knob in ("drg-alpha", "drg-temperature", "dsr-beta", "dsr-temperature"):
        changes(turn, f"sdkit-{knob}")
    changes(choose, "sdkit-inspector-soften", "τ of dsr")
    image = page.locator(".sdkit-inspector-image select option").nth(4).inner_text()
    changes(choose, "sdkit-inspector-image", image)
    page.screenshot(path=str(tmp_path / "drg+dsr.png"))  # to be looked at

    for method, knobs in {
        "byot": ["alpha", "lam", "temperature"],
        "ddgsd": ["lam", "mu", "temperature"],
        "self-guidance": ["lam", "temperature"],
    }.items():
        changes(choose, "sdkit-inspector-method", method)
        for knob in knobs:
            page.locator(f".sdkit-{knob} .noUi-handle").wait_for()
            changes(turn, f"sdkit-{knob}")
        page.screenshot(path=str(tmp_path / f"{method}.png"))
    changes(turn, "sdkit-inspector-draw")
    changes(page.locator(".sdkit-inspector-again").click)

    page.locator(".sdkit-copy").click()
    page.wait_for_function("document.querySelector('.sdkit-code').innerText.includes(\"method='self-guidance'\")")
    page.locator(".sdkit-save").click()
    page.wait_for_function("document.querySelector('.sdkit-saved').innerText.includes('CSV')")
    page.screenshot(path=str(tmp_path / "saved.png"))
    assert page.errors == [] and page.outside == []


def test_sliding_for_five_seconds_never_queues_up(bench):
    page = bench
    page.locator(".sdkit-inspector-method select").select_option("drg+dsr")
    page.locator(".sdkit-dsr-beta .noUi-handle").focus()
    for _ in range(500):
        page.keyboard.press("ArrowRight", delay=2)
        page.wait_for_timeout(5)
    readout = page.locator(".sdkit-dsr-beta .widget-readout").inner_text()
    assert float(readout) == 3
    page.locator(".sdkit-copy").click()  # the kernel is free: it answers at once, with the last value
    page.wait_for_function("document.querySelector('.sdkit-code').innerText.includes(\"'dsr.beta': 3.0\")", timeout=2000)
    assert page.errors == [] and page.outside == []
