"""Every notebook in a real JupyterLab: all its cells run, and every slider and button of its panels answers by keyboard."""

from __future__ import annotations

import nbformat
import pytest
from browser import ROOT, wait_until_done

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SMALL = {"SDKIT_RECIPE": "smoke", "SDKIT_DATA": "digits", "SDKIT_MODEL": "four-stage", "SDKIT_TRAIN_SIZE": "200"}

# what can be seen to change: pictures and words, not the readout of the slider that moves
SEEN = """area => [...area.querySelectorAll('img')].map(i => i.src).join() +
  [...area.querySelectorAll('.widget-html')].map(w => w.innerText).join()"""
HANDLES = ".noUi-target:not([disabled]) .noUi-handle:visible"  # a viewer switches a slider off where it has nothing to say
START_AND_PAUSE = """area => new Promise(done => {
  area.querySelector('.sdkit-start').click();
  const watch = setInterval(() => {
    const pause = area.querySelector('.sdkit-pause');
    if (!pause.disabled) { clearInterval(watch); pause.click(); done(); }
  }, 5);
})"""


class Panel:
    """One output of a cell that holds a panel."""

    def __init__(self, page, area) -> None:
        self.page, self.area, self.element = page, area, area.element_handle()

    def seen(self, css: str = "") -> str:
        if not css:
            return self.element.evaluate(SEEN)
        image = self.area.locator(css).first
        return image.get_attribute("src") or image.inner_text()

    def changes(self, act, css: str = "", seconds: float = 30) -> None:
        """Something is done, and then the panel, or one place in it, is another."""
        old = self.seen(css)
        act()
        for _ in range(int(seconds * 20)):
            if self.seen(css) != old:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"nothing changed in {css or 'the panel'} that says: {self.area.inner_text()[:300]}")

    def says(self, *words: str, seconds: float = 60) -> str:
        for _ in range(int(seconds * 20)):
            said = self.area.locator(".sdkit-says").first.inner_text()
            if any(w in said for w in words):
                return said
            self.page.wait_for_timeout(50)
        raise AssertionError(f"the panel never said {' or '.join(words)}, but: {said}")

    def nudge(self, handle) -> None:
        """A step of a slider by keyboard, to the left where it stands at its right end."""
        place = "h => h.closest('.noUi-origin').style.transform"
        handle.focus()
        before = handle.evaluate(place)
        self.page.keyboard.press("ArrowRight")
        if handle.evaluate(place) == before:
            self.page.keyboard.press("ArrowLeft")
        assert handle.evaluate(place) != before, "the slider moves"

    def sliders(self, css: str = "", but: str = "") -> None:
        for handle in self.area.locator(HANDLES).all():
            if not but or handle.evaluate("(h, but) => !h.closest(but)", but):
                self.changes(lambda handle=handle: self.nudge(handle), css)

    def exports(self) -> None:
        for css, then, word in (("copy", "code", "("), ("save", "saved", "CSV")):
            for n, button in enumerate(self.area.locator(f"button.sdkit-{css}").all()):
                button.press("Enter")
                place = self.area.locator(f".sdkit-{then}").nth(n)
                place.filter(has_text=word).wait_for(timeout=30_000)

    def well(self) -> None:
        assert [w.inner_text() for w in self.area.locator(".sdkit-notice").all() if w.inner_text().strip()] == []


def training(panel: Panel) -> None:
    """Started and paused at its first step, every knob turned; gone on, forked, stopped, gone on."""
    panel.element.evaluate(START_AND_PAUSE)
    panel.says("step ")
    panel.says("paused")
    panel.sliders("img.sdkit-curves", but=".sdkit-fork-at")
    panel.exports()
    panel.changes(lambda: panel.area.locator(".sdkit-pause").press("Enter"), "img.sdkit-curves")
    panel.says("done")
    readout, ends = panel.area.locator(".sdkit-fork-at .widget-readout"), panel.area.locator(f".sdkit-fork-at {HANDLES}")
    if ends.count() and panel.area.locator(".sdkit-fork-at .noUi-origin").count():
        ends.first.focus()
        panel.page.keyboard.press("ArrowRight")
        assert int(readout.inner_text()) >= 1
        panel.page.keyboard.press("Home")
    panel.changes(lambda: panel.area.locator("button.sdkit-fork").press("Enter"), "img.sdkit-curves")
    panel.page.wait_for_function("a => a.querySelector('.sdkit-target select').value.startsWith('fork')", arg=panel.element)
    panel.says("done")
    panel.element.evaluate(START_AND_PAUSE)
    panel.says("step ")
    panel.area.locator(".sdkit-stop").press("Enter")
    panel.says("stopped")
    assert panel.area.locator(".sdkit-start").inner_text() == "Go on"
    panel.area.locator(".sdkit-start").press("Enter")
    panel.says("done")


def bench(panel: Panel) -> None:
    panel.sliders("img.sdkit-inspector", but=".sdkit-inspector-draw")
    if panel.area.locator(".sdkit-inspector-again:visible").count():  # the next draw may be the one before: some are another
        again = panel.area.locator(".sdkit-inspector-again")
        panel.changes(lambda: [again.press("Enter", delay=200) for _ in range(5)], "img.sdkit-inspector")
        panel.nudge(panel.area.locator(f".sdkit-inspector-draw {HANDLES}"))
    panel.exports()


def explorer(panel: Panel) -> None:
    panel.area.locator(".sdkit-list select").select_option(index=0)
    panel.sliders()
    panel.area.locator("button.sdkit-refresh").press("Enter")
    panel.area.locator(".sdkit-list select").select_option(index=0)
    panel.exports()


def viewer(panel: Panel) -> None:
    panel.sliders()
    for button in panel.area.locator(".widget-toggle-button:visible:not(.mod-active), button.sdkit-fresh").all():
        panel.changes(lambda button=button: button.press("Enter"))
    panel.area.locator(".sdkit-progress").first.wait_for(state="hidden")
    panel.exports()


KINDS = {".sdkit-start": training, "img.sdkit-inspector": bench, ".sdkit-plane-export": explorer, "[class*='-viewer']": viewer}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_slider_and_button_of_a_notebook_answers(path, lab, open_and_run, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    small = SMALL | {"SDKIT_FIGURES": str(tmp_path / "figures")}
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import os\nos.environ |= {small}"))
    nbformat.write(notebook, lab.folder / path.name)
    page = open_and_run(path.name)
    wait_until_done(page, 400)
    areas = page.locator(".jp-OutputArea-output").filter(has=page.locator(", ".join(KINDS))).all()
    assert len(areas) == sum("from sdkit.widgets import" in c.source for c in notebook.cells if c.cell_type == "code")
    for i, area in enumerate(areas):
        panel = Panel(page, area)
        area.scroll_into_view_if_needed()
        (drive,) = [drive for css, drive in KINDS.items() if area.locator(css).count()]
        area.screenshot(path=str(tmp_path / f"{path.stem}-{i}-before.png"))
        try:
            drive(panel)
            panel.well()
        finally:
            area.screenshot(path=str(tmp_path / f"{path.stem}-{i}-{drive.__name__}.png"))  # to be looked at
    assert page.errors == [] and page.outside == []
