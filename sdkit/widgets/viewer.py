"""What the analysis viewers share: runs handed in, results computed once in a thread, pictures redrawn for the last event."""

from __future__ import annotations

import copy
import html
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import ipywidgets as W
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor, nn

from .. import figures
from ..experiment import Trained
from .parts import CodeExport, LatestOnly, kept, notice, sentence

MOST = 200
"""Results that one viewer keeps; the oldest that the screen does not need go first."""


class Viewer:
    """Shows recorded runs, `{"vanilla": Experiment(...).run(), ...}`, all of one data set.

    A subclass says what the controls are (`state`), which results a state needs (`needs`), how one is computed
    (`compute`), and what is drawn (`draw`). Results and the controls' values survive a re-run of the cell.
    """

    name = "viewer"

    def __init__(self, runs: Mapping[str, Trained], *options: Any) -> None:
        self.runs = checked(runs)
        key = (*((name, str(t.run.folder)) for name, t in self.runs.items()), *options)
        self.memory: dict[str, dict] = kept(self.name, key, lambda: {"found": {}, "controls": {}})
        self.found: dict[tuple, Any] = self.memory["found"]
        self.stills: dict[tuple, Any] = {}
        self.progress = W.IntProgress(max=1, layout=W.Layout(width="100%", visibility="hidden"))
        self.says, self.notice = W.HTML(), notice()
        self.says.add_class("sdkit-says")
        self.progress.add_class("sdkit-progress")
        self.twin = CodeExport(self.name, self.code, self.figure, self.data)
        self.networks: dict[str, tuple[nn.Module, nn.Module]] = {}
        self.looking = threading.Lock()  # a network under noise gives its answers to nobody else
        self.wanted: Any = None
        self.drawing, self.computing = LatestOnly(self._draw, self._failed), LatestOnly(self._compute, self._failed)

    def _ipython_display_(self) -> None:
        display(self.box)

    def lay_out(self, *rows: W.Widget) -> None:
        """The panel: the rows, what goes on, the twin. Then it shows its first state."""
        for row in rows:
            if hasattr(row, "value") and isinstance(row.value, bytes):
                row.layout.align_self = "flex-start"  # a picture keeps its size
        self.box = W.VBox([*rows, self.progress, self.notice, self.says, self.twin.box])
        self.box.add_class(f"sdkit-{self.name}")
        self.changed()

    def keep(self, name: str, widget: Any, css: str | None = None) -> Any:
        """A control: its value is found again after a re-run of the cell, and every change of it redraws."""
        kept_values = self.memory["controls"]
        if name in kept_values:
            widget.value = kept_values[name]
        widget.add_class(f"sdkit-{css or name}")

        def on_change(change: Any) -> None:
            kept_values[name] = change.new
            self.changed()

        widget.observe(on_change, "value")
        return widget

    # what a subclass says

    def state(self) -> Any:
        """The controls' values, hashable."""
        raise NotImplementedError

    def needs(self, state: Any) -> list[tuple]:
        """The keys of the results that a state shows, in the order in which they build on each other."""
        raise NotImplementedError

    def steps(self, key: tuple) -> int:
        """How many steps of progress a result takes."""
        return 1

    def compute(self, key: tuple, progress: Callable[[Iterable], Iterable]) -> Any:
        """One result."""
        raise NotImplementedError

    def draw(self, state: Any) -> None:
        """Everything computed: sets the pictures and the words."""
        raise NotImplementedError

    def code(self) -> str:
        """The lines that make what is on screen."""
        raise NotImplementedError

    def figure(self) -> Figure:
        """What is on screen as a figure of its own."""
        raise NotImplementedError

    def data(self) -> dict[str, Sequence[Any]]:
        """What is on screen as columns of numbers."""
        raise NotImplementedError

    # how it happens

    def changed(self) -> None:
        """A control has moved: draws at once where everything is computed, otherwise computes first. Returns at once."""
        self.wanted = self.state()
        (self.drawing if self.ready(self.wanted) else self.computing).ask(self.wanted)

    def ready(self, state: Any) -> bool:
        return all(key in self.found for key in self.needs(state))

    def wait(self, timeout: float = 60) -> bool:
        """Until nothing is computed or drawn any more."""
        return self.computing.wait(timeout) and self.drawing.wait(timeout)

    def shown(self) -> Any:
        """The present state, for the twin. ValueError while its results are still computed."""
        state = self.state()
        if not self.ready(state):
            raise ValueError("this is still being computed: wait for the progress bar to end")
        return state

    def network(self, name: str) -> tuple[nn.Module, nn.Module]:
        """A copy of a run's network and method that is this panel's alone: analyses disturb weights for a moment."""
        if name not in self.networks:
            trained = self.runs[name]
            self.networks[name] = copy.deepcopy((trained.model, trained.method))
        return self.networks[name]

    def still(self, key: tuple, make: Callable[[], figures.CachedFigure]) -> figures.CachedFigure:
        """What stays of a figure, drawn once per key; the last dozen are kept."""
        if key not in self.stills:
            while len(self.stills) >= 12:
                self.stills.pop(next(iter(self.stills)))
            self.stills[key] = make()
        return self.stills[key]

    def _compute(self, state: Any) -> None:
        missing = [key for key in self.needs(state) if key not in self.found]
        self.progress.value, self.progress.max = 0, max(sum(map(self.steps, missing)), 1)
        self.progress.layout.visibility = "visible"

        def watched(items: Iterable) -> Iterator:
            for item in items:
                yield item
                self.progress.value += 1
                if key not in self.needs(self.wanted):  # the hand has moved on
                    raise Stale

        try:
            with self.looking:
                for key in missing:
                    if key in self.needs(self.wanted):
                        self.found[key] = self.compute(key, watched)
        except Stale:
            return
        finally:
            self.progress.layout.visibility = "hidden"
        needed = self.needs(self.wanted)
        for key in [k for k in self.found if k not in needed][: max(len(self.found) - MOST, 0)]:
            self.found.pop(key)
        if self.ready(self.wanted):
            self.drawing.ask(self.wanted)

    def _draw(self, state: Any) -> None:
        if self.ready(state):
            self.draw(state)
            self.notice.value = ""

    def _failed(self, error: Exception) -> None:
        self.notice.value = sentence(error)


class Stale(Exception):
    """What is being computed is no longer on screen."""


def checked(runs: Mapping[str, Trained]) -> dict[str, Trained]:
    """The runs as a dict. TypeError unless they are finished runs by name, ValueError unless they are of one data set."""
    if not isinstance(runs, Mapping) or not runs or not all(isinstance(t, Trained) for t in runs.values()):
        raise TypeError(f'a viewer shows finished runs by name, {{"drg": Experiment("drg").run()}}, got {type(runs).__name__}')
    sets = {
        name: (t.experiment.data, t.experiment.dataset.get("seed"), t.experiment.dataset.get("classes"))
        for name, t in runs.items()
    }
    if len(set(sets.values())) > 1:
        said = ", ".join(f"{name}: {data}" for name, (data, *_) in sets.items())
        raise ValueError(f"a viewer compares runs on the same images, got {said}: open one viewer for each data set")
    return dict(runs)


def images_of(trained: Trained, places: Tensor | slice, split: str = "test") -> Tensor:
    """Images to look at, [N, 3, H, W] in [0, 1]."""
    return getattr(trained.data, split).x[places].float() / 255


def table(rows: Mapping[str, Sequence[str]], head: Sequence[str]) -> str:
    """A small table as HTML, a row for each name."""
    cells = [["", *head], *([figures.label(name), *row] for name, row in rows.items())]
    lines = ["".join(f'<td style="padding: 0 1.2em 0 0">{html.escape(c)}</td>' for c in row) for row in cells]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def preamble(runs: Mapping[str, Trained]) -> list[str]:
    """The first lines of every viewer's code: the imports and the runs."""
    said = [f"    {name!r}: {t.experiment}.run()," for name, t in runs.items()]
    recipe = ["from sdkit.train import Recipe"] if any("Recipe(" in line for line in said) else []
    return [
        *("from sdkit import analysis, figures", "from sdkit.experiment import Experiment", *recipe, "", "runs = {"),
        *said,
        "}",
    ]
