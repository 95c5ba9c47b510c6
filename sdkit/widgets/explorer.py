"""The explorer: every recorded run as a point. Click one to see its curves and its code; slide through what was run."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as W
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import figures, runs, studies
from ..experiment import Experiment, repeated
from ..figures import CachedFigure, quick_png
from ..figures.screens.explorer import nearest, places, ring, words
from ..runs import Points, RunRow
from .descriptions import description, line, read, symbols
from .keeping import Keeping
from .parts import BLANK, CodeExport, LatestOnly, Panel, Words, beside, choice, imports, kept, picture, styled
from .pointer import ARROWS, Pointer

ANY = "any"
FILTERS = {"method": "method", "data": "data set", "model": "network", "recipe": "recipe", "student": "student"}
OWN_CHOICE = "the method's choice"
"""Stands for None in a slider, which can have no such value."""
KEYS = "Left and right arrow choose the one before or after."
CURVES_KEPT = 60
"""The drawn curves of so many runs are kept, so that sliding back shows them at once."""


class Explorer(Panel):
    """Every run in a folder as a point. Click one to see its curves and its code.

    The mouse or the list chooses a run, the sliders walk through the values of its sweep that were run. What is chosen is
    found again when the cell runs again.

    Args:
        where: the folder of runs; None is the one that `Experiment(...).run()` fills.
        x: the column on the x axis to begin with, such as "knobs.alpha"; the list on the panel has them all.
        y: the same for the y axis, such as "accuracy.final".
        colour: the same for the colours, such as "method".
        recorded: the name of a plan whose records are shown beside the folder's runs: "sweeps" has the notebooks' small runs.
    """

    def __init__(
        self,
        where: Path | str | None = None,
        x: str | None = None,
        y: str | None = None,
        colour: str | None = None,
        recorded: str | None = None,
    ) -> None:
        self.where, self.recorded = Path(where) if where else None, recorded
        self.memory: dict[str, Any] = kept("explorer", str(self.folder), dict)
        said = {k: v for k, v in (("x", x), ("y", y), ("colour", colour)) if v is not None}
        self.wish: dict[str, Any] = {"x": "seconds", "y": "accuracy.final", "colour": "method", **self.memory, **said}
        self.table: list[RunRow] = []  # every run of the folder
        self.shown: list[RunRow] = []  # those that pass the filters
        self.family: list[RunRow] = []  # those that the sliders walk through
        self.chosen: RunRow | None = None
        self.symbols: dict[str, str] = {}
        self.varied: set[str] = set()
        self.points: Points | None = None
        self._lock = threading.RLock()
        self._curves: dict[RunRow, bytes] = {}  # what is read again is another row
        self._sheet: Figure | None = None  # that curves are drawn on
        self._seen: tuple[Points, CachedFigure, Axes] | None = None
        self._asked: tuple | None = None
        self.latest = LatestOnly(self._draw, self.failed)

        self.axes = {name: choice(label, [], None) for name, label in (("x", "x axis"), ("y", "y axis"), ("colour", "colour"))}
        for box in self.axes.values():
            box.layout.width = "min(100%, 330px)"
        self.filters = {name: choice(label, [ANY], ANY) for name, label in FILTERS.items()}
        self.complete = W.Checkbox(description="finished runs only", value=bool(self.wish.get("complete")), indent=False)
        self.boxes = {**self.axes, **self.filters, "complete": self.complete}
        self.refresh = W.Button(description="Refresh", tooltip="read the folder again: runs that were added or went on")
        self.plane = Pointer("sdkit-plane", about=KEYS)
        self.list = W.Select(options=[], rows=16, layout=W.Layout(width="auto"), description="run")
        self.list.style.description_width = "initial"
        self.counted, self.says, self.sweep, self.curves = Words(), Words(), W.VBox(), picture("sdkit-run-curves")
        self.sliders: dict[str, W.SelectionSlider] = {}
        self.plane_export = CodeExport("runs", self.plane_code, self.plane_figure, self.plane_data)
        self.run_export = CodeExport("run", self.run_code, self.run_figure, self.run_data)
        self.keeping = Keeping(self._noted, self._deleted, self.failed)
        styled(**self.boxes, refresh=self.refresh, list=self.list, counted=self.counted, run_says=self.says, sweep=self.sweep)
        styled(plane_export=self.plane_export.box, run_export=self.run_export.box)

        for box in self.boxes.values():
            box.observe(self._on_view, "value")
        self.refresh.on_click(lambda _: self.look())
        self.list.observe(self._on_list, "value")
        self.plane.observe(self._on_click, "clicks")
        self.plane.observe(self._on_key, "pressed")
        points = W.VBox([self.plane, self.plane_export.box], layout=W.Layout(flex="2 1 500px"))
        names = W.VBox([self.counted, self.list], layout=W.Layout(flex="1 1 300px", min_width="0"))
        lists = [beside(*self.axes.values()), beside(*self.filters.values(), self.complete, self.refresh)]
        both = W.HBox([points, names], layout=W.Layout(flex_flow="row wrap"))
        below = [self.notice, self.sweep, self.says, self.curves, self.run_export.box, self.keeping.box]
        self.box = self.framed(*lists, both, *below)
        styled(explorer=self.box)
        self.look()
        if self.chosen is None and self.shown:
            self.choose(next((r for r in self.shown if r.run.key == self.wish.get("chosen")), self.shown[-1]))

    @property
    def folder(self) -> Path:
        """Where the runs are read from."""
        return self.where or runs.root()

    # what is shown

    def look(self) -> None:
        """Reads the folder again; files that did not change are not read twice."""
        with self._lock:
            own, self.unread = read(self.folder)
            self.table = studies.with_records(own, self.recorded) if self.recorded else own
            self.symbols = symbols(self.table)
            for name, box in self.filters.items():
                there = [*dict.fromkeys(r[name] for r in self.table if r[name] is not None)]
                options = {text: v for v, text in figures.labels(there).items()}
                self.offer(box, {ANY: ANY} | options, self.wish.get(name, ANY))
            self.filters["student"].layout.display = None if any(r["student"] for r in self.table) else "none"
            self._view()

    def _view(self) -> None:
        """Filters and axes -> the list and the points."""
        self.shown = runs.select(self.table, self.complete.value, **self._filtered())
        said = {name: self.symbols.get(name) or words(name) for name in runs.columns(self.shown)}
        for name, box in self.axes.items():
            columns = {"none": ""} if name == "colour" else {}
            columns |= {v: k for k, v in said.items()}
            self.offer(box, columns, self.wish[name])
        axes = [box.value for box in self.axes.values()]
        self.points = runs.points(self.shown, *axes) if None not in axes else Points([], [], [], [], [], ("", "", ""), [])
        self.varied = runs.varied(self.shown, "knobs.")
        self.called = figures.labels(dict.fromkeys(r["method"] for r in self.shown if r["method"]))
        self.put(self.list, options=[(line(r, self.varied, self.called), r.run.key) for r in reversed(self.shown)], value=None)
        damaged = sum(r.status == "damaged" for r in self.shown)
        counted = Markup("<b>{}</b> of {} runs, <b>{}</b> of them on the plane").format(
            len(self.shown), len(self.table), len(self.points.keys)
        )
        self.counted.value = counted + (Markup(", <b>{}</b> damaged").format(damaged) if damaged else "")
        self.notice.value = ""
        if self.unread or not self.shown:
            self.failed(self.unread or self._nothing())
        row = next((r for r in self.shown if r.run.key == self._key()), None)
        if self.chosen is not None and row is None:  # deleted by another process, or filtered away
            self._forget()
        elif self.chosen is None and self.sliders:  # what was not run may be run by now
            self.family, _ = runs.swept(self.table, self.family[0])
            row = next(iter(runs.select(self.family, **self._wanted())), None)
        self._choose(row)

    def _forget(self) -> None:
        self.sliders, self.family, self.sweep.children, self.chosen = {}, [], [], None

    def _filtered(self) -> dict[str, Any]:
        return {name: box.value for name, box in self.filters.items() if box.value != ANY}

    def _nothing(self) -> str:
        if self.table:
            return f"none of the {len(self.table)} runs passes these filters: set one of them back to “{ANY}”"
        return (
            f"no run is recorded in {self.folder} yet: train one, for example with "
            'Experiment("drg", data="digits", recipe="smoke").run(), and press Refresh'
        )

    def choose(self, row: RunRow) -> None:
        """Shows one run: rings it, sets the sliders to it, draws its curves."""
        with self._lock:
            self._choose(row)

    def _choose(self, row: RunRow | None) -> None:
        self.chosen = row
        self.keeping.show(row)
        if row is not None:
            self.memory["chosen"] = row.run.key
            self.put(self.list, value=row.run.key if row in self.shown else None)
            self._slide_to(row)
            self.says.value = description(row, self.symbols)
        elif not self.sliders:
            self.says.value = ""
        self._ask()

    def _slide_to(self, row: RunRow) -> None:
        """The sliders of the sweep that a run belongs to, at its values. The same sweep keeps its sliders, and the focus."""
        self.family, values = runs.swept(self.table, row) if row.settings else ([], {})
        values = {n: [OWN_CHOICE if v is None else v for v in found] for n, found in values.items()}
        same = {n: [v for _, v in s.options] for n, s in self.sliders.items()} == values
        if not same:
            self.sliders = {n: self._slider(n, v) for n, v in values.items()}
            said = Markup("<b>The sweep of this run</b>: {} runs that differ in nothing else, at what was run.")
            self.sweep.children = [Words(said.format(len(self.family))), *self.sliders.values()] if values else []
        for name, slider in self.sliders.items():
            self.put(slider, value=OWN_CHOICE if row[name] is None else row[name])

    def _slider(self, name: str, values: list[Any]) -> W.SelectionSlider:
        slider = W.SelectionSlider(
            options=[(f"{v:g}" if isinstance(v, float) else str(v), v) for v in values],
            description=self.symbols.get(name, words(name)),
            style={"description_width": "12em"},
            layout=W.Layout(width="min(100%, 640px)"),
        )
        styled(**{f"of_{name}": slider})
        slider.observe(self._on_slider, "value")
        return slider

    # what the reader does

    def _on_view(self, change: Any) -> None:
        with self._lock:
            if not self.is_quiet:
                name = next(n for n, box in self.boxes.items() if box is change.owner)
                self.wish[name] = self.memory[name] = change.new
                self.look()

    def _on_list(self, change: Any) -> None:
        with self._lock:
            if not self.is_quiet and change.new is not None:
                self._choose(self._row(change.new))

    def _on_click(self, _: Any) -> None:
        with self._lock:
            if self._seen is None or self.points is None or not self.points.keys or self.plane.at is None:
                return
            screen, ax = self._seen[1:]
            keys = self.points.keys
            last = keys.index(self._key()) if self._key() in keys else None
            hit = nearest(places(self.points, ax), self.plane.at, tuple(screen.figure.get_size_inches()), last)
            self._choose(self._row(keys[hit]))

    def _on_key(self, change: Any) -> None:
        """The arrows walk through the points from left to right."""
        with self._lock:
            if self.points is not None and self.points.keys:
                order = self.points.in_order()
                at = order.index(self._key()) if self._key() in order else -1
                self._choose(self._row(order[(at + ARROWS[change.new[0]]) % len(order)]))

    def _on_slider(self, _: Any) -> None:
        with self._lock:
            if self.is_quiet:
                return
            found = runs.select(self.family, **self._wanted())
            if found:
                self._choose(max(found, key=lambda r: (r.status == "done", r.run.key in self.points.keys)))
                return
            self.chosen = None
            self.put(self.list, value=None)
            self.says.value = self._not_run()
            self._ask()

    def _not_run(self) -> Markup:
        told = ", ".join(f"{s.description} = {s.label}" for s in self.sliders.values())
        try:
            mend = Markup("This line runs it: <code>{}</code>").format(self._of_sliders())
        except Exception as error:
            mend = str(error)
        return Markup('<div style="line-height: 1.4"><b>not run</b>: {}. {}</div>').format(told, mend)

    def _wanted(self) -> dict[str, Any]:
        return {name: None if s.value == OWN_CHOICE else s.value for name, s in self.sliders.items()}

    def _of_sliders(self) -> Experiment:
        """The experiment at the sliders' values, whether or not it was run."""
        like, wanted = Experiment.of(self.family[0].run.config), self._wanted()
        knobs = {n.removeprefix("knobs."): v for n, v in wanted.items() if n.startswith("knobs.")}
        return replace(like, knobs={**like.knobs, **knobs}, seed=int(wanted.get("seed", like.seed)))

    def _noted(self) -> None:
        with self._lock:
            self.look()

    def _deleted(self, row: RunRow) -> None:
        """Reads the folder again and chooses the run that stood below the deleted one."""
        with self._lock:
            keys = [key for _, key in self.list.options]
            at = keys.index(row.run.key) if row.run.key in keys else 0
            after = [*keys[at + 1 :], *reversed(keys[:at])]
            self._forget()
            self.look()
            self._choose(next((r for key in after[:1] for r in self.shown if r.run.key == key), None))

    # pictures

    def _ask(self) -> None:
        self._asked = (self.points, self._key(), self.chosen, dict(self.symbols))
        self.latest.ask(self._asked)

    def _draw(self, asked: tuple[Points, str | None, RunRow | None, dict[str, str]]) -> None:
        """In the drawing thread: the ring first, the curves where nothing newer is asked."""
        points, key, chosen, symbols = asked
        if self._seen is None or self._seen[0] is not points:
            figure, ax = figures.points_figure(points, None, symbols)
            self._seen = (points, CachedFigure(figure), ax)
        _, screen, ax = self._seen
        self.plane.value = screen.png(ring(points, ax, key))
        self._tell(points, chosen)
        if asked is not self._asked:
            return
        if chosen is None or chosen.status == "damaged":
            self.curves.value = BLANK
            return
        self.curves.value = self._curves_of(chosen)
        for row in self._neighbours(points, key):
            if asked is self._asked:  # nobody waits: the next arrow finds its curves drawn
                with contextlib.suppress(runs.Damaged):  # it says so when it is chosen
                    self._curves_of(row)

    def _curves_of(self, row: RunRow) -> bytes:
        if row not in self._curves:
            history, sheet, self._sheet = row.run.history(), self._sheet, None  # until it is whole
            self._sheet = figures.curves_figure(row["method"], history, sheet)
            self._curves[row] = quick_png(self._sheet)
            while len(self._curves) > CURVES_KEPT:
                del self._curves[next(iter(self._curves))]
        return self._curves[row]

    def _neighbours(self, points: Points, key: str | None) -> list[RunRow]:
        """The runs that an arrow leads to."""
        order, rows = points.in_order(), {r.run.key: r for r in self.shown}
        at = order.index(key) if key in order else None
        keys = [] if at is None else [order[(at + step) % len(order)] for step in (1, -1)]
        return [rows[k] for k in keys if k in rows and rows[k].status != "damaged"]

    def _tell(self, points: Points, chosen: RunRow | None) -> None:
        """Both pictures in words."""
        x, y, _ = (words(name) for name in points.columns)
        now = line(chosen, self.varied, self.called) if chosen else "none"
        self.plane.about = f"{len(points.keys)} recorded runs as points, {y} over {x}. Chosen: {now}. {KEYS}"
        self.page.tell("sdkit-run-curves", f"Curves of the chosen run: {now}.")

    def _row(self, key: str) -> RunRow:
        return next(r for r in self.shown if r.run.key == key)

    def _key(self) -> str | None:
        return self.chosen.run.key if self.chosen else None

    # what is exported

    def plane_code(self) -> str:
        """The figure call that draws the plane as it is on screen."""
        x, y, colour = (box.value for box in self.axes.values())
        chosen = self._filtered() | ({"complete": True} if self.complete.value else {})
        table = f"runs.records({repr(str(self.where)) if self.where else ''})"
        table = f"studies.with_records({table}, {self.recorded!r})" if self.recorded else table
        symbols = {n: s for n, s in self.symbols.items() if n in (x, y, colour)}
        more = "".join(f", {k}={v!r}" for k, v in chosen.items())
        drawn = f", {self._key()!r}" if self._key() else ", None" if symbols else ""
        drawn += f", {symbols!r}" if symbols else ""
        return (
            f"from sdkit import figures, runs{', studies' if self.recorded else ''}\n"
            f"table = runs.select({table}{more})\n"
            f"points = runs.points(table, x={x!r}, y={y!r}, colour={colour!r})\n"
            f"figures.show(figures.points_figure(points{drawn})[0])"
        )

    def plane_figure(self) -> Figure:
        """The plane as it is on screen."""
        return figures.points_figure(self.points, self._key(), self.symbols)[0]

    def plane_data(self) -> dict[str, list[Any]]:
        """The points as columns."""
        p = self.points
        named = dict(zip(p.columns, (p.x, p.y, p.colour), strict=True))
        return {"run": p.keys, "status": p.status, **{name: v for name, v in named.items() if name}}

    def run_code(self) -> str:
        """The line that repeats the chosen run, or runs what the sliders ask for."""
        asked = self.chosen is None and self.family
        said = self._of_sliders() if asked else repeated(self._whole().run)
        recorded = not asked and isinstance(self._whole().run, studies.RecordedRun)
        return "\n".join(
            [
                *imports(said, also=["figures", "studies"] if recorded else ["figures"]),
                "",
                f"(run,) = studies.gather([{said}])" if recorded else f"run = {said}.run()",
                f"figures.show(figures.curves_figure({said.method!r}, run.history))",
            ]
        )

    def run_figure(self) -> Figure:
        """The curves of the chosen run."""
        return figures.curves_figure(self._whole()["method"], self._whole().run.history())

    def run_data(self) -> dict[str, list[Any]]:
        """What every epoch of the chosen run left, as columns."""
        return runs.epoch_table(self._whole().run.history())

    def _whole(self) -> RunRow:
        if self.chosen is None:
            raise ValueError("no run is chosen: click a point or a line of the list first")
        if self.chosen.status == "damaged":
            raise ValueError(self.chosen.wrong)
        return self.chosen
