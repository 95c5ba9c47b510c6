"""Names of classes, folders and runs come from outside: on a page they are text, whatever they say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

import sdkit
from sdkit import Experiment
from sdkit.widgets import Explorer, FeatureViewer, LossInspector, TrainingPanel
from sdkit.widgets.parts import KEPT, Words, sentence
from sdkit.widgets.viewer import table

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A downloaded set whose folder and classes are called what they should not be."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "home"))
    root = tmp_path / HOSTILE
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in (HOSTILE, "b<script>alert(2)<"):
            (root / split / name).mkdir(parents=True)
            for i in range(12):
                Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / split / name / f"{i}.png")
    yield root
    KEPT.clear()


def words(widget) -> list[str]:
    """Everything that a panel says, whatever it lies in."""
    own = [widget.value] if isinstance(widget, Words) else []
    return own + [w for child in getattr(widget, "children", ()) for w in words(child)]


def test_words_are_text_unless_they_are_ours():
    assert Words(HOSTILE).value == "&lt;img src=x onerror=alert(1)&gt;"
    assert Words(Markup("<b>{}</b>").format(HOSTILE)).value == "<b>&lt;img src=x onerror=alert(1)&gt;</b>"
    assert HOSTILE not in table({HOSTILE: [HOSTILE]}, [HOSTILE]) and "<td" in table({"a": ["b"]}, ["c"])
    assert HOSTILE not in sentence(HOSTILE) and HOSTILE not in sentence(KeyError(HOSTILE))


def test_no_panel_has_a_place_for_markup_but_words():
    """The one place in which text becomes part of a page."""
    for file in (Path(sdkit.__file__).parent / "widgets").glob("*.py"):
        found = re.findall(r"W\.HTML\w*|Markup\(f|html_table|allow_html=True", file.read_text(encoding="utf-8"))
        assert found == (["W.HTML"] if file.name == "parts.py" else []), f"{file.name}: {found}"


def test_a_data_set_with_hostile_names_runs_nothing_in_any_panel(folder):
    e = Experiment("drg", data=folder, network={"width": 4}, recipe=sdkit.Recipe(epochs=1, batch_size=12, lr=0.01))
    trained = e.run(progress=False)
    panels = [TrainingPanel(e), LossInspector(trained), Explorer(), FeatureViewer({HOSTILE: trained})]
    for panel in panels:
        said = words(panel.box)
        assert said and not any(
            re.search(r"<(?!/?(b|code|table|tr|td|br|div|span|abbr|details|summary|img data-click)\b)", w) for w in said
        )
        assert not any(HOSTILE in w for w in said), said
