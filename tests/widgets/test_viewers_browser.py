"""The analysis viewers in JupyterLab: every slider moved, every button pressed, and the picture or the number changed."""

from __future__ import annotations

import pytest
from browser import shared_page, wait_until_done

RUNS = """
from sdkit.experiment import Experiment
from sdkit.train import Recipe
from sdkit.widgets import CamViewer, FeatureViewer, NoiseViewer, RankedViewer
tiny = {"model": "four-stage", "network": {"width": 4}, "data": "shapes", "dataset": {"train_size": 64},
        "recipe": Recipe(epochs=3, batch_size=32, lr=0.05)}
runs = {m: Experiment(m, **tiny).run(progress=False) for m in ("vanilla", "drg")}
"""
VIEWERS = {
    "noise-viewer": "NoiseViewer(runs, limit=48, draws=2, sigmas={True: (0, 0.2, 0.5), False: (0, 0.02, 0.05)})",
    "feature-viewer": "FeatureViewer(runs, limit=200, per_class=8)",
    "cam-viewer": "CamViewer(runs, limit=6)",
    "ranked-viewer": "RankedViewer(runs)",
}


class Panel:
    """One viewer on the page."""

    def __init__(self, page, name: str) -> None:
        self.page, self.css = page, f".sdkit-{name}"

    def at(self, css: str):
        return self.page.locator(f"{self.css} {css}").first

    def seen(self, css: str) -> str:
        """Everything that could be seen to change: an image's bytes, a text."""
        return self.page.evaluate(SEEN, f"{self.css} {css}")

    def changes(self, act, *places: str) -> None:
        """Something is done, and then every one of the places is another."""
        before = [self.seen(p) for p in places]
        act()
        for place, old in zip(places, before, strict=True):
            self.page.wait_for_function(f"([css, old]) => {{ const now = ({SEEN})(css); return now && now !== old; }}",
                                        arg=[f"{self.css} {place}", old], timeout=30_000)  # fmt: skip

    def press(self, css: str, key: str) -> None:
        self.at(f"{css} .noUi-handle").focus()
        self.page.keyboard.press(key)


# two different pictures have different addresses; an address is new for every value sent
SEEN = """css => { const e = document.querySelector(css); if (!e) return '';
  const image = e.tagName === 'IMG' ? e : e.querySelector('img'); return image ? image.src : e.innerText; }"""


@pytest.fixture(scope="module")
def shown(lab, chromium):
    """All four on one page."""
    with shared_page(lab, chromium, "viewers.ipynb", RUNS, *VIEWERS.values()) as page:
        wait_until_done(page)
        yield page


@pytest.fixture
def show(shown):
    """show("noise-viewer") is that viewer with its first picture."""

    def go(name: str) -> Panel:
        panel = Panel(shown, name)
        shown.wait_for_function(f"({SEEN})('{panel.css} .sdkit-says')")
        panel.at(".sdkit-says").scroll_into_view_if_needed()
        return panel

    return go


def exported(panel: Panel) -> None:
    """The two buttons of every viewer, and that the page stayed at home."""
    panel.changes(lambda: panel.at(".sdkit-copy").click(), ".sdkit-code")
    assert "Experiment(" in panel.at(".sdkit-code").inner_text()
    panel.changes(lambda: panel.at(".sdkit-save").click(), ".sdkit-saved")
    assert "PNG, PDF, SVG, CSV" in panel.at(".sdkit-saved").inner_text()
    assert panel.at(".sdkit-notice").inner_text() == ""
    assert panel.page.errors == [] and panel.page.outside == []


def test_weight_noise(show, tmp_path):
    panel = show("noise-viewer")
    panel.changes(lambda: panel.press(".sdkit-sigma", "ArrowRight"), ".sdkit-curves", ".sdkit-cards", ".sdkit-says")
    panel.changes(lambda: panel.at(".sdkit-fresh").click(), ".sdkit-cards", ".sdkit-draw")
    panel.changes(lambda: panel.at(".sdkit-relative button:has-text('absolute')").click(), ".sdkit-curves", ".sdkit-says")
    assert "σ = 0.02" in panel.at(".sdkit-says").inner_text()
    exported(panel)
    panel.page.screenshot(path=str(tmp_path / "noise.png"))


def test_features(show, tmp_path):
    panel = show("feature-viewer")
    panel.changes(lambda: panel.press(".sdkit-point", "ArrowRight"), ".sdkit-plane", ".sdkit-about")
    panel.changes(lambda: panel.press(".sdkit-count", "ArrowLeft"), ".sdkit-plane", ".sdkit-says")
    assert panel.page.evaluate(f"document.querySelectorAll('{panel.css} .sdkit-classes option:checked').length") == 9
    panel.changes(lambda: panel.at(".sdkit-classes select").select_option(["circle-plain", "star-dotted"]), ".sdkit-says")
    image = panel.at(".sdkit-plane img")
    box = image.bounding_box()
    panel.changes(
        lambda: panel.page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.75 * box["height"]), ".sdkit-about"
    )
    panel.changes(lambda: image.click(position={"x": 0.1 * box["width"], "y": 0.2 * box["height"]}), ".sdkit-about")
    panel.changes(lambda: panel.page.keyboard.press("ArrowRight"), ".sdkit-about", ".sdkit-image")
    panel.changes(lambda: panel.at(".sdkit-engine select").select_option("t-SNE (scikit-learn)"), ".sdkit-plane")
    panel.changes(lambda: panel.at(".sdkit-engine select").select_option("PCA"), ".sdkit-plane")
    panel.changes(lambda: panel.at(".sdkit-feature select").select_option("shallow 2"), ".sdkit-plane", ".sdkit-says")
    panel.changes(lambda: panel.at(".sdkit-feature select").select_option("logits of final, every epoch"), ".sdkit-says")
    panel.changes(lambda: panel.press(".sdkit-epoch", "ArrowLeft"), ".sdkit-plane", ".sdkit-says")
    exported(panel)
    panel.page.screenshot(path=str(tmp_path / "features.png"))


def test_heat_maps(show, tmp_path):
    panel = show("cam-viewer")
    panel.changes(lambda: panel.press(".sdkit-image", "ArrowRight"), ".sdkit-maps", ".sdkit-says")
    panel.changes(lambda: panel.at(".sdkit-target select").select_option("class star-dotted"), ".sdkit-maps")
    panel.changes(lambda: panel.press(".sdkit-top", "ArrowRight"), ".sdkit-says")
    panel.changes(lambda: panel.at(".sdkit-exits select").select_option(["final"]), ".sdkit-maps", ".sdkit-says")
    exported(panel)
    panel.page.screenshot(path=str(tmp_path / "heat.png"))


def test_ranked_outputs(show, tmp_path):
    panel = show("ranked-viewer")
    panel.changes(lambda: panel.press(".sdkit-epoch", "ArrowLeft"), ".sdkit-curves", ".sdkit-says")
    panel.changes(lambda: panel.press(".sdkit-top", "ArrowRight"), ".sdkit-curves")
    panel.changes(lambda: panel.at(".sdkit-space select").select_option("raw logits"), ".sdkit-curves", ".sdkit-says")
    exported(panel)
    panel.page.screenshot(path=str(tmp_path / "ranked.png"))
