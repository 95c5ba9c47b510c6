"""The explorer: every recorded run as a point. Click one to see its curves and its code; slide through what was run."""

from __future__ import annotations

import html
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as W
from IPython.display import display
from matplotlib.figure import Figure

from .. import figures, runs
from ..experiment import METHODS, Experiment
from ..figures.explorer import nearest, places, ring, words
from ..figures.training import quick_png
from .parts import CodeExport, LatestOnly, choice, kept, notice, picture, sentence
from .pointer import Pointer

ANY = "any"
FILTERS = {"method": "method", "data": "data set", "model": "network", "recipe": "recipe"}
BLANK = quick_png(Figure((0.1, 0.1)))
CURVES_KEPT = 60
"""Of so many runs the drawn curves are kept: sliding back is at once."""


class Explorer:
    """Every run in a folder as a point; where: the folder of runs, None for the one that `Experiment(...).run()` fills.

    x, y, colour: columns to begin with, such as "knobs.alpha", "accuracy.final" and "method"; the lists on the panel have them
    all. The mouse or the list chooses a run, the sliders walk through the values of its sweep that were run. What is chosen
    survives a re-run of the cell.
    """

    def __init__(
        self, where: Path | str | None = None, x: str | None = None, y: str | None = None, colour: str | None = None
    ) -> None:
        self.where = Path(where) if where else None
        self.memory: dict[str, Any] = kept("explorer", str(self.folder), dict)
        said = {k: v for k, v in (("x", x), ("y", y), ("colour", colour)) if v is not None}
        self.wish: dict[str, Any] = {"x": "seconds", "y": "accuracy.final", "colour": "method", **self.memory, **said}
        self.table: list[runs.RunRow] = []
        self.shown: list[runs.RunRow] = []
        self.family: list[runs.RunRow] = []
        self.chosen: runs.RunRow | None = None
        self.varied: set[str] = set()
        self.points: runs.Points | None = None
        self._lock, self._quiet = threading.RLock(), False
        self._curves: dict[tuple, bytes] = {}
        self._seen: tuple[Any, Figure, Any] | None = None
        self._asked: Any = None
        self.latest = LatestOnly(self._draw, self._failed)

        self.axes = {name: choice(label, [], None) for name, label in (("x", "x axis"), ("y", "y axis"), ("colour", "colour"))}
        for box in self.axes.values():
            box.layout.width = "min(100%, 330px)"
        self.filters = {name: choice(label, [ANY], ANY) for name, label in FILTERS.items()}
        self.complete = W.Checkbox(description="finished runs only", value=bool(self.wish.get("complete")), indent=False)
        self.refresh = W.Button(description="Refresh", tooltip="read the folder again: runs that were added or went on")
        self.plane = Pointer(
            "sdkit-plane", about="recorded runs as points; left and right arrow choose the one before or after"
        )
        self.list = W.Select(options=[], rows=16, layout=W.Layout(width="98%"))
        self.counted, self.notice, self.says = W.HTML(), notice(), W.HTML()
        self.sliders: dict[str, W.SelectionSlider] = {}
        self.sweep = W.VBox()
        self.curves = picture("sdkit-run-curves")
        plane_figure = lambda: figures.points_figure(self.points, self._key(), self._symbols())[0]  # noqa: E731
        self.plane_twin = CodeExport("runs", self.plane_code, plane_figure, self.plane_data)
        self.run_twin = CodeExport("run", self.run_code, self.run_figure, self.run_data)
        for name, box in {**self.axes, **self.filters, "complete": self.complete, "refresh": self.refresh}.items():
            box.add_class(f"sdkit-{name}")
        for name, box in (("list", self.list), ("counted", self.counted), ("run-says", self.says), ("sweep", self.sweep)):
            box.add_class(f"sdkit-{name}")
        self.plane_twin.box.add_class("sdkit-plane-twin")
        self.run_twin.box.add_class("sdkit-run-twin")

        for box in (*self.axes.values(), *self.filters.values(), self.complete):
            box.observe(self._on_view, "value")
        self.refresh.on_click(lambda _: self.look())
        self.list.observe(self._on_list, "value")
        self.plane.observe(self._on_click, "clicks")
        self.plane.observe(self._on_key, "pressed")
        row = W.Layout(flex_flow="row wrap", align_items="center")
        self.box = W.VBox(
            [
                W.HBox([*self.axes.values()], layout=row),
                W.HBox([*self.filters.values(), self.complete, self.refresh], layout=row),
                W.HBox(
                    [
                        W.VBox([self.plane, self.plane_twin.box], layout=W.Layout(flex="2 1 500px")),
                        W.VBox([self.counted, self.list], layout=W.Layout(flex="1 1 300px", min_width="0")),
                    ],
                    layout=W.Layout(flex_flow="row wrap"),
                ),
                self.notice,
                self.sweep,
                self.says,
                self.curves,
                self.run_twin.box,
            ]
        )
        self.box.add_class("sdkit-explorer")
        self.look()
        if self.chosen is None and self.shown:
            self.choose(next((r for r in self.shown if r.run.key == self.wish.get("chosen")), self.shown[-1]))

    def _ipython_display_(self) -> None:
        display(self.box)

    @property
    def folder(self) -> Path:
        """Where the runs are read from."""
        return self.where or runs.root()

    # what is shown

    def look(self) -> None:
        """Reads the folder again; files that did not change are not read twice."""
        with self._lock:
            self.table = runs.records(self.where)
            for name, box in self.filters.items():
                there = [*dict.fromkeys(r[name] for r in self.table if r[name] is not None)]
                self._offer(box, {ANY: ANY} | {figures.label(v): v for v in there}, self.wish.get(name, ANY))
            self._view()

    def _view(self) -> None:
        """Filters and axes -> the list and the points."""
        settings = {name: box.value for name, box in self.filters.items() if box.value != ANY}
        self.shown = runs.select(self.table, self.complete.value, **settings)
        said = {name: self._symbols().get(name) or words(name) for name in runs.columns(self.shown)}
        for name, box in self.axes.items():
            columns = {"none": ""} if name == "colour" else {}
            columns |= {v: k for k, v in said.items()}
            self._offer(box, columns, self.wish[name])
        axes = [box.value for box in self.axes.values()]
        self.points = runs.points(self.shown, *axes) if None not in axes else runs.Points([], [], [], [], [], ("", "", ""), [])
        self.varied = runs.varied(self.shown, "knobs.")
        self._quietly(self.list, options=[(self._line(r), r.run.key) for r in reversed(self.shown)], value=None)
        damaged = sum(r.status == "damaged" for r in self.shown)
        self.counted.value = (
            f"<b>{len(self.shown)}</b> of {len(self.table)} runs, <b>{len(self.points.keys)}</b> of them on the plane"
            + (f", <b>{damaged}</b> damaged" if damaged else "")
        )
        self.notice.value = "" if self.shown else sentence(self._nothing())
        keys = {r.run.key: r for r in self.shown}
        self._choose(keys.get(self._key()))

    def _nothing(self) -> str:
        if self.table:
            return f"none of the {len(self.table)} runs passes these filters: set one of them back to “{ANY}”"
        return (
            f"no run is recorded in {self.folder} yet: train one, for example with "
            'Experiment("drg", data="digits", recipe="smoke").run(), and press Refresh'
        )

    def choose(self, record: runs.RunRow) -> None:
        """Shows one run: rings it, sets the sliders to it, draws its curves."""
        with self._lock:
            self._choose(record)

    def _choose(self, record: runs.RunRow | None) -> None:
        self.chosen = record
        if record is not None:
            self.memory["chosen"] = record.run.key
            self._quietly(self.list, value=record.run.key if record in self.shown else None)
            self._slide_to(record)
            self.says.value = self._about(record)
        elif not self.sliders:
            self.says.value = ""
        self._ask()

    def _slide_to(self, record: runs.RunRow) -> None:
        """The sliders of the sweep that a run belongs to, at its values. The same sweep keeps its sliders, and the focus."""
        self.family, values = runs.swept(self.table, record) if record.settings else ([], {})
        same = {n: [v for _, v in s.options] for n, s in self.sliders.items()} == values
        if not same:
            self.sliders = {n: self._slider(n, v) for n, v in values.items()}
            said = f"<b>The sweep of this run</b>: {len(self.family)} runs that differ in nothing else, at what was run."
            self.sweep.children = [W.HTML(said), *self.sliders.values()] if values else []
        for name, slider in self.sliders.items():
            self._quietly(slider, value=record[name])

    def _slider(self, name: str, values: list[Any]) -> W.SelectionSlider:
        slider = W.SelectionSlider(
            options=[("the method's choice" if v is None else f"{v:g}" if isinstance(v, float) else str(v), v) for v in values],
            description=self._symbols().get(name, words(name)),
            style={"description_width": "12em"},
            layout=W.Layout(width="min(100%, 640px)"),
        )
        slider.add_class(f"sdkit-of-{name.replace('.', '-')}")
        slider.observe(self._on_slider, "value")
        return slider

    # what the reader does

    def _on_view(self, change: Any) -> None:
        with self._lock:
            if not self._quiet:
                boxes = {**self.axes, **self.filters, "complete": self.complete}
                name = next(n for n, box in boxes.items() if box is change.owner)
                self.wish[name] = self.memory[name] = change.new
                self.look()

    def _on_list(self, change: Any) -> None:
        with self._lock:
            if not self._quiet and change.new is not None:
                self._choose(next(r for r in self.shown if r.run.key == change.new))

    def _on_click(self, _: Any) -> None:
        with self._lock:
            if self._seen is None or self.points is None or not self.points.keys or self.plane.at is None:
                return
            figure, ax = self._seen[1:]
            keys = self.points.keys
            last = keys.index(self._key()) if self._key() in keys else None
            hit = nearest(places(self.points, ax), self.plane.at, tuple(figure.get_size_inches()), last)
            self._choose(next(r for r in self.shown if r.run.key == keys[hit]))

    def _on_key(self, change: Any) -> None:
        """The arrows walk through the points from left to right."""
        with self._lock:
            if self.points is not None and self.points.keys:
                order = self.points.in_order()
                at = order.index(self._key()) if self._key() in order else -1
                step = {"ArrowLeft": -1, "ArrowRight": 1}[change.new[0]]
                key = order[(at + step) % len(order)]
                self._choose(next(r for r in self.shown if r.run.key == key))

    def _on_slider(self, _: Any) -> None:
        with self._lock:
            if self._quiet:
                return
            wanted = {name: slider.value for name, slider in self.sliders.items()}
            found = runs.select(self.family, **wanted)
            if found:
                self._choose(max(found, key=lambda r: (r.status == "done", r.run.key in self.points.keys)))
                return
            self.chosen = None
            self._quietly(self.list, value=None)
            self.says.value = self._not_run(wanted)
            self._ask()

    def _not_run(self, wanted: dict[str, Any]) -> str:
        told = ", ".join(f"{html.escape(s.description)} = {html.escape(s.label)}" for s in self.sliders.values())
        try:
            mend = f" This line runs it: <code>{html.escape(self._line_of(wanted))}</code>"
        except Exception as error:
            mend = f" {html.escape(str(error))}"
        return f'<div style="line-height: 1.4"><b>not run</b>: {told}.{mend}</div>'

    def _line_of(self, wanted: dict[str, Any]) -> str:
        """The experiment at the sliders' values, whether or not it was run."""
        like = Experiment.of(self.family[0].run.config)
        knobs = {n.removeprefix("knobs."): v for n, v in wanted.items() if n.startswith("knobs.")}
        return str(replace(like, knobs={**like.knobs, **knobs}, seed=int(wanted.get("seed", like.seed))))

    # pictures

    def _ask(self) -> None:
        self._asked = (self.points, self._key(), self.chosen, tuple(self._symbols().items()))
        self.latest.ask(self._asked)

    def _draw(self, config: tuple[Any, str | None, Any, Any]) -> None:
        """In the drawing thread: the ring first, the curves where nothing newer is asked."""
        points, key, chosen, symbols = config
        if self._seen is None or self._seen[0] is not points:
            self._seen = (points, *figures.points_figure(points, key, dict(symbols)))
        _, figure, ax = self._seen
        ring(points, ax, key)
        self.plane.value = quick_png(figure)
        if config is not self._asked:
            return
        if chosen is None or chosen.status == "damaged":
            self.curves.value = BLANK
            return
        stamp = (str(chosen.run.folder), id(chosen))
        if stamp not in self._curves:
            self._curves[stamp] = quick_png(figures.curves_figure(chosen["method"], chosen.run.history()))
            while len(self._curves) > CURVES_KEPT:
                del self._curves[next(iter(self._curves))]
        self.curves.value = self._curves[stamp]

    def _failed(self, error: Exception) -> None:
        self.notice.value = sentence(error)

    # words

    def _key(self) -> str | None:
        return self.chosen.run.key if self.chosen else None

    def _symbols(self) -> dict[str, str]:
        """Knobs by their symbols; where methods write one name differently, all of them."""
        found: dict[str, set[str]] = {}
        for record in self.table:
            parts = (record["method"] or "").split("+")
            for part in parts:
                for name, knob in METHODS[part].knobs.items() if part in METHODS else ():
                    found.setdefault(f"knobs.{part}.{name}" if len(parts) > 1 else f"knobs.{name}", set()).add(knob.symbol)
        return {column: f"{' or '.join(sorted(s))} ({column.removeprefix('knobs.')})" for column, s in sorted(found.items())}

    def _line(self, record: runs.RunRow) -> str:
        """A run in the list."""
        if record.status == "damaged":
            return f"damaged · {record.run.key}"
        knobs = " ".join(f"{n.rpartition('.')[2]}={v:g}" for n, v in record.settings.items() if self._told(n, v))
        accuracy = record["accuracy.final"]
        result = record.status if accuracy is None else f"{accuracy:.1%}"
        result += f" ({record.status})" if accuracy is not None and record.status != "done" else ""
        return " · ".join(
            filter(None, [result, figures.label(record["method"]), record["data"], knobs, f"seed {record['seed']:g}"])
        )

    def _told(self, column: str, value: Any) -> bool:
        """Whether the list names a knob: where it differs between runs."""
        return isinstance(value, float) and column in self.varied

    def _about(self, record: runs.RunRow) -> str:
        """The run in words: numbers, the line that repeats it, and all that was asked."""
        if record.status == "damaged":
            return sentence(record.wrong)
        state = {"training": "not finished (training, or interrupted: its line continues it)", "new": "not begun"}
        said = [f"<b>{state.get(record.status, record.status)}</b> · run <code>{html.escape(record.run.key)}</code>"]
        shown = [
            n for n in record.measured if n.startswith(("accuracy.", "best.", "validation.", "seconds", "parameters", "scaff"))
        ]
        numbers = "".join(
            f"<tr><td>{html.escape(words(n))}</td><td><b>{self._number(n, record[n])}</b></td></tr>" for n in shown
        )
        config = "".join(
            f"<tr><td>{html.escape(self._symbols().get(n) or words(n))}</td><td>{html.escape(str(v))}</td></tr>"
            for n, v in record.settings.items()
        )
        turned = [w for _, w in figures.marks(record.run.history())] if record["steered"] else []
        if turned:
            said.append(f"knobs were turned while it ran: {html.escape(', '.join(turned))}")
        try:
            said.append(f"<code>{html.escape(str(Experiment.of(record.run.config)))}</code>")
        except Exception as error:
            said.append(sentence(error))
        tables = (
            f"<details open><summary>what came out</summary><table>{numbers}</table></details>"
            f"<details><summary>all that was asked</summary><table>{config}</table></details>"
        )
        return f'<div style="line-height: 1.4">{"<br>".join(said)}{tables}</div>'

    def _number(self, column: str, value: float) -> str:
        return f"{value:.1%}" if words(column).endswith("%") else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"

    # twins

    def plane_code(self) -> str:
        """The figure call that draws the plane as it is on screen."""
        x, y, colour = (box.value for box in self.axes.values())
        chosen = {n: b.value for n, b in self.filters.items() if b.value != ANY}
        chosen |= {"complete": True} if self.complete.value else {}
        where = repr(str(self.where)) if self.where else ""
        symbols = {n: s for n, s in self._symbols().items() if n in (x, y, colour)}
        more = "".join(f", {k}={v!r}" for k, v in chosen.items())
        drawn = f", {self._key()!r}" if self._key() else ", None" if symbols else ""
        drawn += f", {symbols!r}" if symbols else ""
        return (
            "from sdkit import figures, runs\n"
            f"table = runs.select(runs.records({where}){more})\n"
            f"points = runs.points(table, x={x!r}, y={y!r}, colour={colour!r})\n"
            f"figures.show(figures.points_figure(points{drawn})[0])"
        )

    def plane_data(self) -> dict[str, list[Any]]:
        """The points as columns."""
        p = self.points
        named = dict(zip(p.columns, (p.x, p.y, p.colour), strict=True))
        return {"run": p.keys, "status": p.status, **{name: v for name, v in named.items() if name}}

    def run_code(self) -> str:
        """The line that repeats the chosen run, or runs what the sliders ask for."""
        if self.chosen is None:
            line = self._line_of({name: slider.value for name, slider in self.sliders.items()}) if self.family else ""
        else:
            line = str(Experiment.of(self._whole().run.config))
        if not line:
            raise ValueError("no run is chosen: click a point or a line of the list first")
        recipe = "from sdkit.train import Recipe\n" if "Recipe(" in line else ""
        return f"from sdkit.experiment import Experiment\n{recipe}{line}.run()"

    def run_figure(self) -> Figure:
        """The curves of the chosen run."""
        return figures.curves_figure(self._whole()["method"], self._whole().run.history())

    def run_data(self) -> dict[str, list[Any]]:
        """What every epoch of the chosen run left, as columns."""
        return runs.epoch_table(self._whole().run.history())

    def _whole(self) -> runs.RunRow:
        if self.chosen is None:
            raise ValueError("no run is chosen: click a point or a line of the list first")
        if self.chosen.status == "damaged":
            raise ValueError(self.chosen.wrong)
        return self.chosen

    # small parts

    def _offer(self, box: W.Dropdown, options: dict[str, Any], wish: Any) -> None:
        """New options for a list; the wish where it is among them, else what was chosen, else the first."""
        there = list(options.values())
        value = next((v for v in (wish, box.value) if v in there), there[0] if there else None)
        self._quietly(box, options=list(options.items()), value=value)

    def _quietly(self, box: W.Widget, **values: Any) -> None:
        """Sets a widget without being told of it."""
        self._quiet = True
        try:
            for name, value in values.items():
                if name == "options" and tuple(value) == tuple(box.options):
                    continue
                setattr(box, name, value)
        finally:
            self._quiet = False
