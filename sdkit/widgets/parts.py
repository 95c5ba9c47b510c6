"""What every panel is made of: work for the latest event, code to copy, sliders, pictures, and values that outlive a cell."""

from __future__ import annotations

import csv
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import count, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import ipywidgets as W
from IPython.display import display
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from traitlets import validate

from ..core import Knob, home
from ..experiment import Experiment, find
from ..figures import quick_png, saving
from ..runs import Run
from .page import Page


class Words(W.HTML):
    """Sentences on a page. What is not `Markup` is shown as it is written: names of classes, folders and runs are not ours."""

    @validate("value")
    def _as_text(self, proposal: Any) -> Markup:
        return escape(proposal["value"])  # of Markup: itself


class Panel:
    """What every panel has: a `box` that a cell displays, a place for what went wrong, and widgets that it sets itself."""

    box: W.Widget
    is_quiet = False

    def _ipython_display_(self) -> None:
        display(self.box)

    @cached_property
    def notice(self) -> Words:
        """A place for what went wrong, in one sentence."""
        return notice()

    @cached_property
    def page(self) -> Page:
        """Names its handles and says its pictures in words; it stands in the panel's box."""
        return Page()

    def framed(self, *rows: W.Widget) -> W.VBox:
        """The panel's box."""
        box = W.VBox([*rows, self.page])
        styled(panel=box)
        return box

    def close(self) -> None:
        """Lets go of its widgets, which would keep it and all that it shows as long as the kernel lives."""
        widgets = [self.box]
        for widget in widgets:
            owned = (getattr(widget, name, None) for name in ("layout", "style"))
            widgets += [*getattr(widget, "children", ()), *(w for w in owned if isinstance(w, W.Widget))]
            widget.close()

    def failed(self, error: Exception | str) -> None:
        """A mistake is a sentence in the panel."""
        self.notice.value = sentence(error)

    def put(self, box: W.Widget, **values: Any) -> None:
        """Sets a widget while `is_quiet` holds, so that the panel's own observers can take no notice."""
        self.is_quiet = True
        try:
            for name, value in values.items():
                if name != "options" or tuple(value) != tuple(box.options):
                    setattr(box, name, value)
        finally:
            self.is_quiet = False

    def offer(self, box: W.Dropdown, options: Mapping[str, Any], wish: Any) -> None:
        """New options for a list; chosen is the wish where it is among them, else what was chosen, else the first."""
        there = list(options.values())
        value = next((v for v in (wish, box.value) if v in there), there[0] if there else None)
        self.put(box, options=list(options.items()), value=value)


class LatestOnly:
    """Does work(value) in a thread of its own for the latest value asked for. Asking never waits and never queues up.

    Values that come while one is worked on replace each other.

    Args:
        work: is called in the thread.
        failed: is told of an error; None keeps it, and `wait` raises it.
    """

    def __init__(self, work: Callable[[Any], None], failed: Callable[[Exception], None] | None = None) -> None:
        self.work, self.failed, self.error = work, failed, None
        self._changed, self._next, self._busy = threading.Condition(), [], False

    def ask(self, value: Any) -> None:
        """Work for `value`, now or after the present one, unless another value comes first."""
        with self._changed:
            self._next = [value]
            if not self._busy:
                self._busy = True
                threading.Thread(target=self._run, name="latest", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to do; False where the time was over first."""
        with self._changed:
            idle = self._changed.wait_for(lambda: not self._busy, timeout)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return idle

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._next:
                    self._busy = False
                    self._changed.notify_all()
                    return
                value = self._next.pop()
            try:
                self.work(value)
            except Exception as error:
                if self.failed is None:
                    self.error = error
                else:
                    self.failed(error)


CODE = "display: block; line-height: 1.4; user-select: all; white-space: pre-wrap"


class CodeExport:
    """The code that makes what is on screen, and the picture as files.

    Args:
        name: of the files.
        code: gives the lines as they are now.
        figure: gives what "Save figure" draws into PNG, PDF and SVG; None for no such files.
        data: gives the columns of the CSV file, name -> values; None for no such file.
    """

    def __init__(
        self,
        name: str,
        code: Callable[[], str],
        figure: Callable[[], Figure] | None = None,
        data: Callable[[], Mapping[str, Sequence[Any]]] | None = None,
    ) -> None:
        self.name, self.code, self.figure, self.data = name, code, figure, data
        self.copy = W.Button(description="Copy code", tooltip="the line that makes this, on the clipboard")
        self.save = W.Button(description="Save figure", tooltip="as PNG, PDF and SVG, and its numbers as CSV")
        self.shown, self.saved = Words(), Words()
        styled(copy=self.copy, save=self.save, code=self.shown, saved=self.saved)
        self._clicks = count(1)
        self.copy.on_click(lambda _: self._on_copy())
        self.save.on_click(lambda _: self._on_save())
        buttons = [self.copy] if figure is None and data is None else [self.copy, self.save]
        self.box = beside(*buttons, self.shown, self.saved)

    def _on_copy(self) -> None:
        try:
            code = self.code()
        except Exception as error:
            self.shown.value = sentence(error)
            return
        copied = '<img data-click="{}" src="data:," hidden alt="" onerror="{}"><span role="status"></span>'
        self.shown.value = Markup('<code style="{}">{}</code>' + copied).format(
            CODE, code, next(self._clicks), _to_clipboard(code)
        )

    def _on_save(self) -> None:
        try:
            files = save(self.name, self.figure and self.figure(), self.data and self.data())
            kinds = ", ".join(f.suffix[1:].upper() for f in files)
            self.saved.value = Markup("saved <code>{}</code> {}").format(files[0].with_suffix(""), kinds)
        except Exception as error:
            self.saved.value = sentence(error)


def save(name: str, figure: Figure | None, data: Mapping[str, Sequence[Any]] | None) -> list[Path]:
    """Writes NAME-1 (or the next free number) as .png, .pdf, .svg and .csv into <home>/figures/saved. -> the files."""
    folder = home() / "figures" / "saved"
    folder.mkdir(parents=True, exist_ok=True)
    stem = next(s for s in (f"{name}-{n}" for n in count(1)) if not list(folder.glob(f"{s}.*")))
    files = []
    if figure is not None:
        for suffix in ("png", "pdf", "svg"):
            files.append(folder / f"{stem}.{suffix}")
            with saving():
                figure.savefig(files[-1], dpi=200, facecolor="white", bbox_inches="tight")
    if data is not None:
        files.append(folder / f"{stem}.csv")
        with open(files[-1], "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(data)
            table.writerows(zip_longest(*data.values(), fillvalue=""))
    if not files:
        raise ValueError(f"{name} has nothing to save yet: let it show something first")
    return files


def slider(knob: Knob, value: float) -> W.FloatSlider:
    """A knob as a slider: its symbol, its range, and what both ends mean as the tooltip."""
    low, high = min(knob.low, value), max(knob.high, value)
    return W.FloatSlider(
        value=value,
        min=low,
        max=high,
        step=_step(low, high, value),
        readout_format=".4g",
        description=knob.symbol,
        tooltip=f"{knob.symbol}: {'; '.join(f'{at:g} is {words}' for at, words in _ends(knob, low, high))}",
        layout=W.Layout(width="auto"),
    )


def _ends(knob: Knob, low: float, high: float) -> list[tuple[float, str]]:
    """The ends of a slider that are the knob's own, and what they mean: a value beyond them moves an end."""
    return [
        (own, words)
        for at, own, words in ((low, knob.low, knob.at_low), (high, knob.high, knob.at_high))
        if words and at == own
    ]


def read(box: W.FloatSlider, *exact: float | None) -> float:
    """A slider's value as it is shown, to four digits; one of `exact` where it stands there, or a page moved it from there."""
    known = [v for v in exact if v is not None]
    grid = [(box.min + round((v - box.min) / box.step) * box.step, v) for v in known] + [(v, v) for v in known]
    near = [v for at, v in grid if abs(at - box.value) < 1e-6 * box.step]
    return float(near[0] if near else f"{box.value:.4g}")


def _step(low: float, high: float, value: float) -> float:
    """A step of about a hundredth of the range, 1, 2 or 5 times a power of ten, on whose grid the value lies.

    The page moves a slider to the nearest step as soon as it is shown.
    """
    power = 10.0 ** math.floor(math.log10(high - low))
    nice = [power * m * 10.0**-n for n in range(1, 5) for m in (5, 2, 1)]
    grid = [s for s in nice if s <= (high - low) / 40 and abs((value - low) / s - round((value - low) / s)) < 1e-6]
    return grid[0] if grid else (high - low) / 1000


def with_ends(box: W.FloatSlider, knob: Knob, name: str) -> W.HBox:
    """A slider labelled with its knob's symbol and name, beside what its two ends mean."""
    box.description, box.style.description_width = f"{knob.symbol}  {name}", "10em"
    box.layout = W.Layout(flex="1 1 22em", width="auto", max_width="36em")
    ends = [Markup("<b>{:g}</b> {}").format(*end) for end in _ends(knob, box.min, box.max)]
    said = Words(Markup('<div style="line-height: 1.25">{}</div>').format(Markup(" &nbsp;·&nbsp; ").join(ends)))
    said.layout = W.Layout(flex="1 1 16em", width="auto", margin="0 2px")
    styled(ends=said)
    row = W.HBox([box, said], layout=W.Layout(flex_flow="row wrap", align_items="center"))
    styled(knob=row)
    return row


def imports(*experiments: Experiment, also: Sequence[str] = ()) -> list[str]:
    """The lines that the code of experiments begins with. also: what else of sdkit it uses."""
    chain = list(experiments)
    for e in chain:
        chain += [e.teacher] if e.teacher else []
    recipe = ["Recipe"] if any("Recipe(" in str(e) for e in chain) else []
    lines = {f"from sdkit import {', '.join(['Experiment', *recipe, *also])}": None}
    for e in chain:
        for kind, names in (("method", e.method.split("+")), ("model", [e.model]), ("data", [e.data])):
            for part in (find(n, kind) for n in names if "@" in n):
                module, name = getattr(part, "__module__", "__main__"), getattr(part, "__name__", "")
                here = module == "__main__" or not name
                lines[
                    f"# {name or e.data} is your own: run the cell that makes it first"
                    if here
                    else f"from {module} import {name}"
                ] = None
    return list(lines)


def styled(**widgets: W.Widget) -> None:
    """Gives widgets their CSS classes: `styled(fork_at=box)` makes `box` .sdkit-fork-at."""
    for name, widget in widgets.items():
        widget.add_class(f"sdkit-{name.replace('_', '-').replace('.', '-')}")


def beside(*widgets: W.Widget) -> W.HBox:
    """Widgets beside each other, in several lines where the page is narrow."""
    return W.HBox(widgets, layout=W.Layout(flex_flow="row wrap", align_items="center"))


def choice(label: str, options: Mapping[str, Any] | Iterable[Any], value: Any) -> W.Dropdown:
    """A list to choose from. Of a mapping the keys are shown, the values chosen."""
    options = list(options.items()) if isinstance(options, Mapping) else list(options)
    return W.Dropdown(
        description=label,
        options=options,
        value=value,
        layout=W.Layout(width="max-content"),
        style={"description_width": "initial"},
    )


BLANK = quick_png(Figure((0.1, 0.1), facecolor="none"))
"""What stands where nothing has been drawn yet: a browser shows no picture at all as a broken one."""


def picture(css_class: str) -> W.Image:
    """A place for a figure's PNG bytes."""
    image = W.Image(value=BLANK, format="png", layout=W.Layout(max_width="calc(100% - 4px)", align_self="flex-start"))
    image.add_class(css_class)
    return image


def told(html: str) -> str:
    """HTML as a sentence for those who do not see the page."""
    return Markup(str(html).replace("<", " <")).striptags()


def notice() -> Words:
    """A place for what went wrong, in one sentence: `notice.value = sentence(error)`."""
    box = Words()
    box.add_class("sdkit-notice")
    return box


def sentence(error: Exception | str) -> Markup:
    """What an error says: bold and with a sign before it, readable without colours."""
    words = error.args[0] if isinstance(error, KeyError) and error.args else error
    return Markup('<b role="alert">⚠ {}</b>').format(str(words) or type(error).__name__)


KEPT: dict[tuple[str, Any], Any] = {}
"""What cells of this kernel have made, and find again when they run once more."""


def kept(kind: str, key: Any, make: Callable[[], Any]) -> Any:
    """What this kernel keeps under a kind and a key; made the first time, for as long as the kernel lives.

    What was kept of a run that has been trained anew or deleted since is let go of.
    """
    if (kind, key) not in KEPT:
        for other in [k for k in KEPT if _stale(k)]:
            del KEPT[other]
        KEPT[kind, key] = make()
    return KEPT[kind, key]


class Identity(NamedTuple):
    """Which run a folder holds: one that is trained there after another was deleted is not that one."""

    folder: str
    written: int  # when it began, ns; 0: none, or a record


def identity(run: Run) -> Identity:
    """Of the run that lies in the folder now."""
    file = run.folder / "experiment.json"
    return Identity(str(run.folder), file.stat().st_mtime_ns if file.is_file() else 0)


def _stale(key: Any) -> bool:
    """Whether a key names a run that is there no more."""
    if isinstance(key, Identity):
        return key != identity(Run(Path(key.folder)))
    return isinstance(key, tuple) and any(map(_stale, key))


def every(seconds: float) -> Callable[[], bool]:
    """A function that answers True at most once in so many seconds."""
    last = [-seconds]

    def now() -> bool:
        if time.monotonic() - last[0] < seconds:
            return False
        last[0] = time.monotonic()
        return True

    return now


def _to_clipboard(code: str) -> str:
    """JavaScript that puts text on the clipboard and says so; where a page may not, as on plain http, it selects the text."""
    return (
        "(async at => { const say = at.nextElementSibling; "
        f"try {{ await navigator.clipboard.writeText({json.dumps(code)}); say.textContent = 'copied'; }} "
        "catch { getSelection().selectAllChildren(at.previousElementSibling); "
        "say.textContent = 'This page may not write to the clipboard: the code is selected, press Ctrl+C.'; } })(this)"
    )
