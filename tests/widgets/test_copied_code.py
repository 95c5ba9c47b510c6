"""The code that an instrument copies, run in a new process: it brings its imports and makes what is on the screen."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from written import SMALL

from sdkit.experiment import Experiment
from sdkit.figures import Screen
from sdkit.widgets import CamViewer, Explorer, FeatureViewer, LossInspector, NoiseViewer, RankedViewer, TrainingPanel
from sdkit.widgets.parts import KEPT, read

RUN = {**SMALL, "network": {"width": 4, "survival": 0.5}}

# Runs each code as a notebook does, the last line's value shown, in a namespace of its own; keeps what is shown as pixels.
FRESH = """
import ast, io, json, sys
import numpy as np
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image
import IPython.display
shown = []
IPython.display.display = lambda *things: shown.extend(things)
sources, out = json.load(sys.stdin), sys.argv[1]
for name, source in sources.items():
    shown.clear()
    tree = ast.parse(source)
    space = {"__name__": "__main__"}
    last = tree.body.pop()
    exec(compile(tree, name, "exec"), space)
    value = eval(compile(ast.Expression(last.value), name, "eval"), space)
    if value is not None:
        shown.append(value)
    for i, thing in enumerate(shown):
        if hasattr(thing, "figure") and not callable(thing.figure):
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            canvas = FigureCanvasAgg(thing.figure)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        else:
            pixels = np.asarray(Image.open(io.BytesIO(thing.picture.value)))
        np.save(f"{out}/{name}-{i}.npy", pixels)
"""


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def decoded(png: bytes) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)))


def in_a_new_process(codes: dict[str, str], out: Path) -> dict[str, list[np.ndarray]]:
    """name -> the pictures that its code shows, in the home of this process."""
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(out)], input=json.dumps(codes), capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {name: [np.load(out / f"{name}-{i}.npy") for i in range(len([*out.glob(f"{name}-*.npy")]))] for name in codes}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "home"))
    yield tmp_path
    KEPT.clear()


def three_curves() -> TrainingPanel:
    """A run that is stored, a training with a knob turned at the start, and a fork that turns it again."""
    experiment = Experiment("drg", **SMALL)
    experiment.run(progress=False)
    panel = TrainingPanel(experiment)
    panel.sliders["alpha"].value = 0.30000000000000004  # what a page makes of three tenths
    panel.start.click()
    panel.live.wait(60)
    panel.sliders["alpha"].value = 0.9
    panel.fork.click()
    panel.live.wait(60)
    assert panel.live.state == "done" and len(panel.trainings) == 3
    return panel


@pytest.mark.slow
def test_the_code_of_every_instrument_makes_its_pictures_in_a_new_process(home):
    panel = three_curves()
    run = Experiment("drg+dsr", **RUN).run(progress=False)
    inspector = LossInspector(run, ["byot"])
    inspector.method.value = "byot"
    inspector.sliders["alpha"].value = 0.7000000000000001
    inspector.image.value = 5
    inspector.latest.wait(20)
    runs = {"plain": Experiment("vanilla", **SMALL).run(progress=False), "drg": panel.experiment.run(progress=False)}
    noise = NoiseViewer(runs, limit=32, draws=2, sigmas={True: (0, 0.2), False: (0, 0.02)})
    noise.level.value = 1
    features, cam, ranked = FeatureViewer(runs, limit=100, per_class=8), CamViewer(runs, limit=4), RankedViewer(runs)
    cam.image.value = 2
    for viewer in (noise, features, cam, ranked):
        assert viewer.wait(60) and viewer.notice.value == ""
    explorer = Explorer()
    assert explorer.latest.wait(20)

    codes = {
        "plane": explorer.plane_code(), "run": explorer.run_code(), "panel": panel.code(), "inspector": inspector.code(),
        **{viewer.name: viewer.code() for viewer in (noise, features, cam, ranked)},
    }  # fmt: skip  # the plane first: the panel's code adds runs to it
    assert "'alpha': 0.3}" in codes["panel"] and "0.9" in codes["panel"] and codes["panel"].count(".run(),") == 3
    assert "'alpha': 0.7}" in codes["inspector"]
    made = in_a_new_process(codes, home / "out")
    courses = {name: live.course()._replace(running=()) for name, live in panel._shown()}
    on_screen = {
        "panel": [pixels(Screen().draw(courses))],  # the pale lines within epochs lie where the clock put them
        "inspector": [decoded(inspector.picture.value)],
        "plane": [pixels(explorer.plane_figure())],
        "run": [pixels(explorer.run_figure())],
        **{viewer.name: [pixels(viewer.figure())] for viewer in (noise, features, cam, ranked)},
    }
    cards = noise.cached("cards", None)
    on_screen["noise-viewer"].append(pixels_over(noise, cards))
    for name, pictures in on_screen.items():
        assert len(made[name]) == len(pictures), name
        for mine, its in zip(pictures, made[name], strict=True):
            assert mine.shape == its.shape and (mine == its).all(), name


def pixels_over(noise: NoiseViewer, cards) -> np.ndarray:
    """The answers' cards at the figure's own resolution."""
    from sdkit import figures

    figure, axes = figures.cards(len(noise.runs), 8)
    y, classes = noise.images.train.y[:8], noise.images.classes
    figures.answer_cards(noise.shown_image(slice(8), "train"), list(noise.runs), [classes[c] for c in y.tolist()], axes)
    figures.answer_marks(noise.answers(noise.state()), y, classes, axes)
    return pixels(figure)


def test_an_untouched_inspector_copies_the_run_as_it_is(home):
    trained = Experiment("drg", knobs={"alpha": 0.3}, **SMALL).run(progress=False)
    inspector = LossInspector(trained)
    inspector.sliders["alpha"].value = 0.30000000000000004  # as a page moves it to the nearest step
    assert "knobs" not in inspector.code().split("LossInspector(run")[1] and "trained with" not in inspector.code()


@pytest.mark.parametrize(("value", "exact", "said"), [
    (0.20000000000000004, (), 0.2), (0.33, (1 / 3,), 1 / 3), (1 / 3, (1 / 3,), 1 / 3), (0.34, (1 / 3,), 0.34),
    (0.332, (1 / 3,), 0.332), (5.03495, (), 5.035),
])  # fmt: skip
def test_a_slider_is_read_as_it_shows(value, exact, said):
    assert read(SimpleNamespace(value=value, step=0.01, min=0.0), *exact) == said


def test_a_training_on_its_way_says_how_far_the_picture_goes(home):
    panel = TrainingPanel(Experiment("drg", **SMALL))
    panel.start.click()
    panel.live.wait(60)
    panel.live.history = panel.live.history[:2]
    assert "epochs = {'live': 2}" in panel.code()
    *before, last = panel.code().splitlines()
    space: dict = {}
    exec("\n".join(before), space)
    courses = {"live": panel.live.course()._replace(running=())}
    assert (pixels(eval(last, space).figure) == pixels(Screen().draw(courses))).all()


def test_code_with_a_part_of_ones_own_says_where_it_comes_from(home, tmp_path, monkeypatch):
    """A module, which a new process can import."""
    (tmp_path / "of_mine.py").write_text("from sdkit.methods import DSR\n\n\nclass Confident(DSR):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("of_mine").Confident
    assert "from of_mine import Confident" in TrainingPanel(Experiment(mine, **SMALL)).code()
