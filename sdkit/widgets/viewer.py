"""What the analysis viewers share: runs handed in, results computed once in a thread, pictures redrawn for the last event."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import ipywidgets as W
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from .. import figures
from ..data import Data
from ..experiment import Trained
from .parts import CodeExport, LatestOnly, Panel, Words, identity, imports, kept, styled, told
from .pointer import Pointer

MOST = 200
"""Results that one viewer keeps; beyond, the oldest ones that the screen does not need go first."""

FRAMES = 12
"""Drawn frames that one viewer keeps."""

LABELS = {"style": {"description_width": "initial"}, "layout": {"width": "auto", "max_width": "60em"}}
"""A slider as wide as the page, with all of its name."""

Watch = Callable[[Iterable], Iterable]
"""Iterates over items and moves the progress bar with each."""


class Viewer(Panel):
    """Shows recorded runs of one data set.

    A subclass makes the controls, says their values (`state`), which results these need (`needs`) and how one is computed
    (`compute`), and draws them: a `frame` that seldom changes, a `layer` over it, and the `marks` that every event moves.
    Results and the controls' values are found again when the cell runs again.

    Args:
        runs: name -> finished run, such as {"vanilla": Experiment("vanilla").run()}.
        options: what else tells this viewer's results from another's.

    Raises:
        TypeError: `runs` is no mapping of finished runs.
        ValueError: the runs are of different images.
    """

    name = "viewer"
    described: Mapping[str, str] = {}  # CSS class of a picture -> what it is, said before the words below it
    pictures: tuple[str, ...] = ("figure",)  # what `lines` call the pictures on the screen
    redrawn: tuple[int, ...] = ()  # places of the Axes that `layer` draws whole, frame and all

    def __init__(self, runs: Mapping[str, Trained], *options: Hashable) -> None:
        self.runs = checked(runs)
        key = (*((name, identity(t.run)) for name, t in self.runs.items()), *options)
        self.memory: dict[str, dict] = kept(self.name, key, lambda: {"found": {}, "controls": {}})
        self.found: dict[tuple, Any] = self.memory["found"]
        self.frames: dict[Hashable, figures.CachedFigure] = {}
        self.progress = W.IntProgress(max=1, layout=W.Layout(width="auto", height="8px", visibility="hidden"))
        self.says = Words()
        styled(says=self.says, progress=self.progress)
        self.export = CodeExport(self.name, self.code, self.figure, self.data)
        self.networks: dict[str, tuple[nn.Module, nn.Module]] = {}
        self.looking = threading.Lock()  # a network under noise gives its answers to nobody else
        self.wanted: Any = None
        self.drawing, self.computing = LatestOnly(self._draw, self.failed), LatestOnly(self._compute, self.failed)

    def lay_out(self, *rows: W.Widget) -> None:
        """The panel: the rows, and below them what every viewer has. Then it shows its first state."""
        for row in rows:
            if isinstance(row, Pointer):
                row.layout.align_self = "flex-start"  # a picture keeps its size
        self.box = self.framed(*rows, self.progress, self.notice, self.says, self.export.box)
        styled(**{self.name: self.box})
        self.changed()

    def keep(self, name: str, widget: Any, css: str | None = None) -> Any:
        """A control: its value is found again when the cell runs again, and every change of it redraws."""
        values = self.memory["controls"]
        if name in values:
            widget.value = values[name]
        styled(**{css or name: widget})

        def on_change(change: Any) -> None:
            values[name] = change.new
            self.changed()

        widget.observe(on_change, "value")
        return widget

    # what a subclass says

    def state(self) -> NamedTuple:
        """The controls' values, hashable."""
        raise NotImplementedError

    def needs(self, state: Any) -> list[tuple]:
        """The keys (kind, run, ...) of the results that a state shows, in the order in which they build on each other."""
        raise NotImplementedError

    def steps(self, key: tuple) -> int:
        """How many steps of progress a result takes."""
        return 1

    def compute(self, key: tuple, progress: Watch) -> Any:
        """One result."""
        raise NotImplementedError

    def frame_of(self, state: Any) -> Hashable:
        """What the frame depends on."""
        raise NotImplementedError

    def frame(self, state: Any) -> Figure:
        """The figure without what moves."""
        raise NotImplementedError

    def layer_of(self, state: Any) -> Hashable:
        """What the layer depends on; None where there is none."""
        return None

    def layer(self, state: Any, axes: Sequence[Axes]) -> list[Artist]:
        """What lies between the frame and the marks."""
        return []

    def marks(self, state: Any, axes: Sequence[Axes]) -> list[Artist]:
        """What every event moves."""
        raise NotImplementedError

    def draw(self, state: Any) -> None:
        """Everything is computed: sets the pictures and the words."""
        raise NotImplementedError

    def lines(self, state: Any) -> list[str]:
        """The code that makes `figure` of the runs."""
        raise NotImplementedError

    def data(self) -> dict[str, list[Any]]:
        """What is on screen as columns of numbers."""
        raise NotImplementedError

    # what a subclass may use

    @cached_property
    def images(self) -> Data:
        """The images that all of the runs are of."""
        return next(iter(self.runs.values())).data

    @cached_property
    def own_exits(self) -> dict[str, list[str]]:
        """run -> the names of its exits, the final one first."""
        return {name: ["final", *t.method.auxiliary_heads()] for name, t in self.runs.items()}

    @cached_property
    def recorded(self) -> dict[str, list[int]]:
        """run -> the epochs whose outputs it has kept, counted from 0."""
        folders = {name: t.run.folder / "outputs" for name, t in self.runs.items()}
        return {name: sorted(int(file.stem) for file in folder.glob("*.npy")) for name, folder in folders.items()}

    def shown_image(self, places: Tensor | slice | int, split: str = "test") -> Tensor:
        """Images to look at, [N, 3, H, W] in [0, 1]; of a single place [3, H, W]."""
        return getattr(self.images, split).x[places].float() / 255

    def of_every_run(self, kind: str, *rest: Any) -> dict[str, Any]:
        """run -> its result of a kind."""
        return {name: self.found[kind, name, *rest] for name in self.runs}

    def network(self, name: str) -> tuple[nn.Module, nn.Module]:
        """A copy of a run's network and method that is this panel's alone: analyses disturb weights for a moment."""
        if name not in self.networks:
            trained = self.runs[name]
            self.networks[name] = copy.deepcopy((trained.model, trained.method))
        return self.networks[name]

    def cached(self, key: Hashable, draw: Callable[[], Figure], redrawn: Sequence[int] = ()) -> figures.CachedFigure:
        """A frame, drawn once per key. redrawn: places of the Axes that are left out."""
        if key not in self.frames:
            while len(self.frames) >= FRAMES:
                self.frames.pop(next(iter(self.frames)))
            figure = draw()
            self.frames[key] = figures.CachedFigure(figure, without=[figure.axes[i] for i in redrawn])
        return self.frames[key]

    def png(self, state: Any) -> bytes:
        """What is on screen as a PNG file's bytes: of the cached frame only what has changed is drawn anew."""
        cached = self.cached(self.frame_of(state), lambda: self.frame(state), self.redrawn)
        axes = cached.figure.axes
        cached.over(self.layer_of(state), lambda: self.layer(state, axes))
        return cached.png(self.marks(state, axes))

    # how it happens

    def changed(self) -> None:
        """A control has moved: draws at once where everything is computed, otherwise computes first. Returns at once."""
        self.wanted = self.state()
        (self.drawing if self.ready(self.wanted) else self.computing).ask(self.wanted)

    def ready(self, state: Any) -> bool:
        """Whether everything that a state shows is computed."""
        return all(key in self.found for key in self.needs(state))

    def wait(self, timeout: float = 60) -> bool:
        """Waits until nothing is computed or drawn any more; False where the time was over first."""
        return self.computing.wait(timeout) and self.drawing.wait(timeout)

    def shown(self) -> Any:
        """The present state, to be exported.

        Raises:
            ValueError: its results are still being computed.
        """
        state = self.state()
        if not self.ready(state):
            raise ValueError("this is still being computed: wait for the progress bar to end")
        return state

    def figure(self) -> Figure:
        """What is on screen as a figure of its own."""
        state = self.shown()
        figure = self.frame(state)
        self.layer(state, figure.axes)
        self.marks(state, figure.axes)
        return figure

    def code(self) -> str:
        """The lines that make what is on screen."""
        runs = [f"    {name!r}: {t.experiment}.run()," for name, t in self.runs.items()]
        needs = imports(*(t.experiment for t in self.runs.values()), also=["analysis", "figures"])
        first = [*needs, "", "runs = {", *runs, "}"]
        last = f"figures.show({self.pictures[0]})"
        if len(self.pictures) > 1:
            first.insert(0, "from IPython.display import display")
            last = f"display({', '.join(f'figures.show({p})' for p in self.pictures)})"
        return "\n".join([*first, *self.lines(self.state()), last])

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
        for key in [k for k in [*self.found] if k not in needed][: max(len(self.found) - MOST, 0)]:
            self.found.pop(key)
        if self.ready(self.wanted):
            self.drawing.ask(self.wanted)

    def _draw(self, state: Any) -> None:
        if self.ready(state):
            self.draw(state)
            self.notice.value = ""
            for css, words in self.described.items():
                self.page.tell(css, f"{words} {told(self.says.value)}")


OF_TRAINING = {"validation", "train_size", "distort", "cutout", "mixup", "norm"}
"""Options of a data set that leave its test images as they are."""


class Stale(Exception):
    """What is being computed is no longer on screen."""


def checked(runs: Mapping[str, Trained]) -> dict[str, Trained]:
    """The runs as a dict, or TypeError or ValueError as `Viewer` says."""
    if not isinstance(runs, Mapping) or not runs or not all(isinstance(t, Trained) for t in runs.values()):
        raise TypeError(f'a viewer shows finished runs by name, {{"drg": Experiment("drg").run()}}, got {type(runs).__name__}')
    sets = {
        name: {"data": t.experiment.data}
        | {option: v for option, v in t.experiment.config["dataset"].items() if option not in OF_TRAINING}
        for name, t in runs.items()
    }
    options = dict.fromkeys(option for own in sets.values() for option in own)
    differ = [option for option in options if len({repr(own.get(option)) for own in sets.values()}) > 1]
    if differ:
        more = [option for option in differ if "data" not in differ]
        what = {n: ", ".join(f"{option} {own.get(option)}" for option in more) for n, own in sets.items()}
        said = ", ".join(f"{n}: {own['data']}" + (f" ({what[n]})" if more else "") for n, own in sets.items())
        raise ValueError(f"a viewer compares runs on the same images, got {said}: open one viewer for each data set")
    return dict(runs)


def table(rows: Mapping[str, Sequence[str]], head: Sequence[str]) -> Markup:
    """A small table, a row for each name."""
    cells = [["", *head], *([figures.label(name), *row] for name, row in rows.items())]
    cell, line = Markup('<td style="padding: 0 1.2em 0 0">{}</td>'), Markup("<tr>{}</tr>")
    return Markup("<table>{}</table>").format(Markup().join(line.format(Markup().join(map(cell.format, row))) for row in cells))
