"""Every instrument on the page: it fits, every name is said, what it copies is what it shows, and no name from outside runs.

One notebook holds them all, for all of these tests.
"""

from __future__ import annotations

import json

import browser
import pytest

RUNS = """
from sdkit import Experiment, Recipe
from sdkit.widgets import *
tiny = {"model": "four-stage", "network": {"width": 4, "survival": 0.5}, "data": "shapes", "dataset": {"train_size": 64},
        "recipe": Recipe(epochs=4, batch_size=32, lr=0.05)}
runs = {m: Experiment(m, **tiny).run(progress=False) for m in ("vanilla", "drg", "drg+dsr")}
two = {m: runs[m] for m in ("vanilla", "drg")}
"""
PANELS = {
    "panel": 'TrainingPanel(Experiment("drg+dsr", **tiny))',
    "inspector": 'LossInspector(runs["drg+dsr"], ["byot", "self-guidance"])',
    "explorer": "Explorer()",
    "noise": "NoiseViewer(two, limit=32, draws=2, sigmas={True: (0, 0.2), False: (0, 0.02)})",
    "features": "FeatureViewer(two, limit=100, per_class=8)",
    "cam": "CamViewer(two, limit=4)",
    "ranked": "RankedViewer(two)",
}
SIZES = {
    "1280x720": (1280, 720), "1920x1080": (1920, 1080), "900 px wide": (900, 720), "1920x1080 at 125 %": (1536, 864),
    "1280x720 at 125 %": (1024, 576),
}  # fmt: skip

# what is wider or higher than the box that holds it: there a browser puts a scrollbar, or draws over the neighbour
SPILLS = """() => [...document.querySelectorAll('.jp-OutputArea-output:has(.sdkit-panel)')].flatMap(area =>
  [area, ...area.querySelectorAll('.widget-box, .widget-html, .widget-html-content, .widget-hslider')]
    .filter(b => b.clientWidth && (b.scrollWidth > b.clientWidth || b.scrollHeight > b.clientHeight + 1))
    .map(b => `${b.className}: ${b.scrollWidth - b.clientWidth} px wide, ${b.scrollHeight - b.clientHeight} px high`))"""

# from the top of the first slider to the lower end of the picture, and what a notebook shows at once
ROOM = """css => { const picture = document.querySelector(css), panel = picture.closest('.sdkit-panel');
  const top = panel.querySelector('.widget-hslider').getBoundingClientRect().top;
  const seen = document.querySelector('.jp-WindowedPanel-outer').clientHeight;
  return [picture.getBoundingClientRect().bottom - top, seen]; }"""


def outputs(page):
    return dict(zip(PANELS, page.locator(".jp-OutputArea-output:has(.sdkit-panel)").all(), strict=True))


@pytest.fixture(scope="module")
def screens(lab, chromium):
    """All instruments on one page, a training of the panel done."""
    with browser.shared_page(lab, chromium, "screens.ipynb", RUNS, *PANELS.values()) as page:
        browser.wait_until_done(page)
        page.locator(".sdkit-start").click()
        page.wait_for_function("() => document.querySelector('.sdkit-says').innerText.startsWith('done')")
        for css in ("noise", "feature", "cam", "ranked"):
            page.wait_for_function(f"() => document.querySelector('.sdkit-{css}-viewer .sdkit-says').innerText.length > 5")
        yield page


@pytest.fixture(params=["JupyterLab Light", "JupyterLab Dark"])
def theme(request, screens):
    def change(name: str) -> None:
        screens.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        dark = "true" if name.endswith("Light") else "false"
        screens.wait_for_function("dark => document.body.dataset.jpThemeLight === dark", arg=dark)

    change(request.param)
    yield request.param.split()[1]
    change("JupyterLab Light")


@pytest.mark.parametrize("size", SIZES)
def test_no_box_spills_and_the_controls_stand_beside_their_picture(screens, size, tmp_path):
    width, height = SIZES[size]
    screens.set_viewport_size({"width": width, "height": height})
    try:
        screens.wait_for_timeout(300)
        for name, area in outputs(screens).items():
            area.scroll_into_view_if_needed()
            area.screenshot(path=str(tmp_path / f"{name}.png"))  # to be looked at
        for _ in range(20):  # a busy browser lays the page out in its own time
            if not (spilled := screens.evaluate(SPILLS)):
                break
            screens.set_viewport_size({"width": width - 1, "height": height})  # which asks for a new layout
            screens.wait_for_timeout(250)
            screens.set_viewport_size({"width": width, "height": height})
            screens.wait_for_timeout(250)
        assert spilled == [], "\n".join(spilled)
        for css in ("img.sdkit-curves", "img.sdkit-inspector"):
            needed, seen = screens.evaluate(ROOM, css)
            assert needed <= seen, f"{css}: sliders and picture take {needed:.0f} px of {seen}"
    finally:
        screens.set_viewport_size({"width": 1280, "height": 1400})


def test_axe_finds_nothing_serious(screens, theme, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for name, area in outputs(screens).items():
        area.screenshot(path=str(tmp_path / f"{name}-{theme}.png"))
    found = axe.run(screens, {"include": [[".sdkit-panel"]]}).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not serious, json.dumps([[v["id"], v["nodes"][0]["html"][:300]] for v in serious], indent=1)


def test_every_handle_has_a_name_and_every_picture_says_its_numbers(screens):
    names = screens.evaluate("() => [...document.querySelectorAll('.sdkit-panel .noUi-handle')].map(h => h.ariaLabel)")
    assert len(names) > 12 and all(names) and "β  dsr.beta" in names
    said = screens.evaluate(
        "() => [...document.querySelectorAll('.sdkit-panel img:not([hidden])')].filter(i => i.offsetWidth).map(i => i.alt)"
    )
    assert len(said) >= len(PANELS) and all(any(c.isdigit() for c in words) for words in said), said
    assert any("after epoch 4: terms of the loss task" in words for words in said)
    terms = screens.locator(".sdkit-terms abbr", has_text="sr").first
    assert "Eq. 11" in terms.get_attribute("title") and "shape-wise" in terms.get_attribute("title")


def test_what_is_copied_is_what_is_shown_and_where_there_is_no_clipboard_it_is_selected(screens):
    screens.context.grant_permissions(["clipboard-read", "clipboard-write"])
    for area in outputs(screens).values():
        area.locator(".sdkit-copy").first.click()
        place = area.locator(".sdkit-code").first
        place.locator("text=copied").wait_for()
        code = place.locator("code").text_content()
        assert "import" in code.splitlines()[0] and screens.evaluate("navigator.clipboard.readText()") == code
    screens.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    screens.locator(".sdkit-copy").first.click()  # as on plain http
    screens.locator(".sdkit-code >> text=press Ctrl+C").first.wait_for()
    assert (
        screens.evaluate("getSelection().toString()").split()
        == screens.locator(".sdkit-code code").first.text_content().split()
    )
    screens.evaluate("() => { delete navigator.clipboard; getSelection().removeAllRanges() }")
    assert screens.errors == [] and screens.outside == []


HOSTILE = "<img src=x onerror=window.ran=1>"
STRANGE = f"""
import shutil, torch
from pathlib import Path
from sdkit import Experiment, Knob, METHODS, Recipe, register, runs
from sdkit.widgets import *
NAME = {HOSTILE!r}
data = Path("strange") / NAME
for split in ("train", "test"):
    for c in (NAME, "plain"):
        (data / split / c).mkdir(parents=True, exist_ok=True)
        for i in range(8):
            from PIL import Image
            Image.new("RGB", (8, 8), (9 * i, 60 + i, 200 if c == NAME else 0)).save(data / split / c / f"{{i}}.png")
class Strange(METHODS["lsr"]):
    knobs = {{"epsilon": Knob(NAME, 0, 0.5, NAME, NAME)}}
register(NAME, Strange)
strange = Experiment(Strange, data=data, network={{"width": 4}}, recipe=Recipe(epochs=1, batch_size=8, lr=0.01))
trained = strange.run(progress=False)
shutil.copytree(trained.run.folder, runs.root() / NAME)
"""


def test_a_folder_a_run_and_a_knob_with_a_hostile_name_run_no_script(lab, chromium):
    cells = [
        "TrainingPanel(strange)",
        "LossInspector(trained, batch_size=8)",
        "Explorer()",
        "FeatureViewer({NAME: trained}, limit=16)",
    ]
    with browser.shared_page(lab, chromium, "strange.ipynb", STRANGE, *cells) as page:
        browser.wait_until_done(page)
        areas = page.locator(".jp-OutputArea-output:has(.sdkit-panel)").all()
        assert len(areas) == len(cells)
        page.locator(".sdkit-feature-viewer .sdkit-about table").wait_for()
        page.locator(".sdkit-start").click()
        page.wait_for_function("() => document.querySelector('.sdkit-says').innerText.startsWith('done')")
        for area in areas:
            area.locator(".sdkit-copy").first.click()
            area.locator(".sdkit-code code").first.wait_for()
            assert HOSTILE in area.inner_text() or HOSTILE in area.locator("select").first.inner_text(), "it is shown as text"
        page.wait_for_timeout(500)
        assert page.evaluate("window.ran") is None and page.locator("img[src=x]").count() == 0
        assert page.errors == [] and page.outside == []


OWN = """
import torch.nn.functional as F
from sdkit import Experiment, Knob, Method, Recipe
from sdkit.widgets import TrainingPanel
class Mine(Method):
    knobs = {"weight": Knob("w", 0, 1, "labels alone", "being sure counts as much")}
    def __init__(self, *, weight: float = 0.1):
        super().__init__()
        self.weight = weight
    def terms(self, model, out, batch, progress):
        sure = out.logits.softmax(1).max(1).values
        return {"task": F.cross_entropy(out.logits, batch.y), "sure": self.weight * (1 - sure).mean()}
panel = TrainingPanel(Experiment(Mine, network={"width": 4}, data="digits", dataset={"train_size": 64},
                                 recipe=Recipe(epochs=3, batch_size=32, lr=0.05)))
panel
"""
TOLD = """
parent, fork = (panel.trainings[n].stored.history() for n in ("live", [*panel.trainings][-1]))
print("SAID", [e.terms for e in parent[:1]] == [e.terms for e in fork[:1]], parent[2].terms["sure"] < fork[2].terms["sure"])
"""
FAILS = """
from sdkit import Experiment, runs
from sdkit.widgets import TrainingPanel
before = {*runs.root().iterdir()} if runs.root().exists() else set()
TrainingPanel(Experiment("vanilla", model="alexnet", data="digits", dataset={"train_size": 64}, recipe="smoke"))
"""
LEFT = 'print("SAID", len({*runs.root().iterdir()} - before))'


def said(page, cell: int) -> str:
    """Runs a cell -> what it prints behind SAID."""
    page.evaluate(
        """async i => { const notebook = window.jupyterapp.shell.currentWidget; notebook.content.activeCellIndex = i;
          await window.jupyterapp.commands.execute('notebook:run-cell'); }""",
        cell,
    )
    found = f"window.jupyterapp.shell.currentWidget.content.widgets[{cell}].model.sharedModel.toJSON().outputs"
    text = page.wait_for_function(
        f"() => {{ const t = {found}.map(o => [o.text || o.evalue].flat().join('')).join(''); return t.includes('SAID') && t }}"
    )
    return text.json_value().partition("SAID ")[2].strip()


def test_a_students_own_method_is_trained_and_forked_in_a_panel(lab, chromium):
    with browser.shared_page(lab, chromium, "own.ipynb", OWN) as page:
        browser.wait_until_done(page)
        page.locator(".sdkit-start").click()
        page.wait_for_function("() => document.querySelector('.sdkit-says').innerText.startsWith('done')")
        of_parent = page.locator(".sdkit-says").inner_text()  # names its run
        page.locator(".sdkit-weight .noUi-handle").focus()
        page.keyboard.press("End")
        page.locator("button.sdkit-fork").click()
        page.wait_for_function(
            "() => document.querySelector('.sdkit-target select').value.startsWith('fork 1: w 1 after epoch 1')"
        )
        page.wait_for_function(
            "old => { const t = document.querySelector('.sdkit-says').innerText; return t.startsWith('done') && t !== old }",
            arg=of_parent,
        )
        page.locator(".sdkit-copy").click()
        assert "# Mine is your own: run the cell that makes it first" in page.locator(".sdkit-code code").inner_text()
        assert "sure" in page.locator(".sdkit-terms").inner_text()
        page.evaluate(INSERT, TOLD)
        assert said(page, 1) == "True True", "the same first epoch, then the knob's new value"
        assert page.errors == [] and page.outside == []


INSERT = """source => { const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.model.sharedModel.addCell({cell_type: 'code', source}); }"""


def test_a_start_that_fails_says_so_and_leaves_no_folder(lab, chromium):
    with browser.shared_page(lab, chromium, "fails_to_start.ipynb", FAILS) as page:
        browser.wait_until_done(page)
        page.locator(".sdkit-start").click()
        page.locator(".sdkit-notice [role=alert]").wait_for()
        assert page.locator(".sdkit-says").inner_text().startswith("failed")
        assert page.locator(".sdkit-start").is_enabled() and page.locator(".sdkit-stop").is_disabled()
        page.evaluate(INSERT, LEFT)
        assert said(page, 1) == "0"
        assert page.errors == [] and page.outside == []
