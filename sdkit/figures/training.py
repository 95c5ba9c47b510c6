"""What happened while a network was trained, drawn from its list of epochs.

An epoch is anything with the fields of `sdkit.train.Epoch`. The x axis counts finished epochs, from 1.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from .style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SIZE, SKY, house, label, legend, looks

CYCLE = (INK, RED, BLUE, GREEN, PURPLE, ORANGE, SKY)
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX"


def learning_curves(histories: Mapping[str, Sequence[Any]], axes: Axes | Sequence[Axes]):
    """Training and test error of the final exit over the epochs, percent. -> the axes as they were handed in.

    Curves are of the watched test images; a star is the whole test set after the last epoch.
    axes: two, for training and test error, or a single one where training is thin and test is bold. The training error is
    that of the augmented batches as they came, so that it may lie above the test error.
    """
    both = isinstance(axes, Axes)
    train, test = (axes, axes) if both else axes
    styles = looks(histories)
    for name, history in histories.items():
        style = styles[name] | {"marker": ""}
        x, y = _series(history, lambda e: 100 * (1 - e.train_accuracy))
        train.plot(x, y, label="_" if both else label(name), **style, linewidth=0.8 if both else 1.6)
        x, y = _series(history, lambda e: 100 * (1 - e.accuracy.get("final", math.nan)))
        test.plot(x, y, label=label(name), **style, linewidth=2.0 if both else 1.6)
        _whole(test, history, style["color"], lambda e: 1 - e.test["final"])
    for ax, what in [(test, "error, %")] if both else [(train, "training error, %"), (test, "test error, %")]:
        _over_epochs(ax, what)
        ax.set_ylim(bottom=0)
    if both:
        test.set_title("thin: training, bold: test", fontsize=SIZE + 1)
    if histories:
        _explained(test)
    return axes


def _whole(ax: Axes, history: Sequence[Any], colour: str, value: Callable[[Any], float]) -> None:
    """A star behind the last epoch: what the whole test set says, where the curve is of the watched part of it."""
    if history and history[-1].test:
        ax.plot(
            history[-1].epoch + 1, 100 * value(history[-1]), "*", color=colour, markersize=11, mec="white", mew=0.7, zorder=5
        )


def _explained(ax: Axes) -> None:
    """The legend, with a line for the stars where there are any."""
    if any(line.get_marker() == "*" for line in ax.lines):
        ax.plot([], [], "*", color=GREY, markersize=9, label="the whole test set")
    legend(ax)


def loss_terms(history: Sequence[Any], ax: Axes) -> Axes:
    """Every term of the loss over the epochs. Logarithmic where the terms' means differ more than a hundredfold."""
    names = list(dict.fromkeys(name for e in history for name in e.terms))
    largest = []
    for i, name in enumerate(names):
        x, y = _series(history, lambda e, name=name: e.terms.get(name, math.nan))
        ax.plot(x, y, label=name, **_line(i))
        largest += [max(y)] if y else []
    _over_epochs(ax, "term of the loss")
    if largest and min(largest) > 0 and max(largest) > 100 * min(largest):
        ax.set_yscale("log")
    if names:
        legend(ax)
    return ax


def exit_accuracy(history: Sequence[Any], ax: Axes) -> Axes:
    """Test accuracy of every exit over the epochs, percent: shallow exits dark, deep ones light, the final exit black.

    Curves are of the watched test images; a star is the whole test set after the last epoch.
    """
    names = list(dict.fromkeys(name for e in history for name in e.accuracy))
    early = [name for name in names if name not in ("final", "ensemble")]
    if early and all(e.accuracy.get(early[-1]) == e.accuracy.get("final") for e in history):
        names.remove(early.pop())  # "4/4" is another name of the final exit: one curve, not two that hide each other
    for name in names:
        x, y = _series(history, lambda e, name=name: 100 * e.accuracy.get(name, math.nan))
        if name in early:
            i = early.index(name)
            style = _line(i + 1) | {"color": colormaps["viridis"](0.15 + 0.65 * i / max(len(early) - 1, 1))}
        else:
            style = _line(0) | ({"color": RED, "linestyle": "--"} if name == "ensemble" else {"linewidth": 2.2})
        ax.plot(x, y, label=name, **style)
        _whole(ax, history, style["color"], lambda e, name=name: e.test.get(name, math.nan))
    _over_epochs(ax, "test accuracy, %")
    if names:
        _explained(ax)
    return ax


def marks(history: Iterable[Any], steps_per_epoch: int | None = None) -> list[tuple[float, str]]:
    """Where knobs were turned: (place on the epoch axis, what was turned). Moves of one knob in one epoch count as one.

    Without `steps_per_epoch` a mark stands in the middle of its epoch.
    """
    found: dict[tuple[int, str], list] = {}
    for e in history:
        for t in e.changes:
            where = e.epoch + 0.5 if steps_per_epoch is None else t["step"] / steps_per_epoch
            first = found.setdefault((e.epoch, t["knob"]), [where, t["before"], t["after"]])
            first[2] = t["after"]
    return [(where, f"{knob} {before:.3g}→{after:.3g}") for (_, knob), (where, before, after) in found.items()]


def live(
    history: Sequence[Any], ax_terms: Axes, ax_accuracy: Axes, changes: Sequence[tuple[float, str]] | None = None
) -> tuple[Axes, Axes]:
    """The loss terms and the exits' accuracy so far, on cleared Axes; dotted lines where knobs were turned.

    changes: (place on the epoch axis, words), None for `marks(history)`. May be called with no epoch at all.
    """
    for ax, draw in [(ax_terms, loss_terms), (ax_accuracy, exit_accuracy)]:
        ax.clear()
        house(ax)
        draw(history, ax)
        last = max([e.epoch + 1 for e in history], default=1)
        ax.set_xlim(0, max(last * 1.02, 1))
    _mark(marks(history) if changes is None else changes, ax_terms, ax_accuracy)
    for ax in (ax_terms, ax_accuracy):
        if not history:
            middle = {"ha": "center", "va": "center", "transform": ax.transAxes}
            ax.text(0.5, 0.5, "no epoch has ended yet", fontsize=SIZE + 1, color=GREY, **middle)
        if ax.get_legend():
            legend(ax, outside=True)  # the words of the marks take the place inside
    return ax_terms, ax_accuracy


class Course(NamedTuple):
    """One training as its curves show it."""

    history: Sequence[Any]  # one record per finished epoch
    running: Sequence[tuple[float, Mapping[str, float]]] = ()  # the terms' means within epochs, by the epochs before
    changes: Sequence[tuple[float, str]] = ()  # place on the epoch axis, words


def courses(trainings: Mapping[str, Course], ax_terms: Axes, ax_accuracy: Axes) -> tuple[Axes, Axes]:
    """Terms and exits of one or several trainings on wiped Axes: colour says which term or exit, the line which training.

    The last training is drawn boldly, those before thin. Pale lines are means within epochs, dots whole epochs.
    """
    for ax, (kind, what) in zip((ax_terms, ax_accuracy), PANES, strict=True):
        _wipe(ax)
        for name, style in _looked(trainings, kind).items():
            ax.plot([], [], label=name, **style)
        _over_epochs(ax, what)
        ax.set_xlim(0, _end(trainings) * 1.02)
        if _names(trainings, kind):
            legend(ax, outside=True)
        _curves(trainings, kind, ax)
    _log_where_wide(ax_terms)
    for ax, top in ((ax_terms, 1), (ax_accuracy, 100)):
        ax.relim()
        ax.autoscale(axis="y")
        if not _drawn(ax):
            ax.set_ylim(0, top)
    _mark(_turned(trainings), ax_terms, ax_accuracy)
    return ax_terms, ax_accuracy


PANES = (("terms", "term of the loss"), ("accuracy", "test accuracy, %"))
"""What the two Axes of `courses` show."""


def _end(trainings: Mapping[str, Course]) -> int:
    """How many epochs the axis has room for: those begun."""
    return math.ceil(max([1.0] + [x for c in trainings.values() for x in (len(c.history), *(p[0] for p in c.running[-1:]))]))


def _looked(trainings: Mapping[str, Course], kind: str) -> dict[str, dict[str, Any]]:
    return {name: _line(i) | {"linestyle": "-"} for i, name in enumerate(_names(trainings, kind))}


def _turned(trainings: Mapping[str, Course]) -> list[tuple[float, str]]:
    return list(dict.fromkeys(mark for course in trainings.values() for mark in course.changes))


def _curves(trainings: Mapping[str, Course], kind: str, ax: Axes) -> None:
    """Every training's terms or exits, or words that there are none yet."""
    looked = _looked(trainings, kind)
    for style, course in zip(_ranks(trainings), trainings.values(), strict=True):
        _draw(course, kind, looked, style, ax)
    if not looked and (kind == "accuracy" or not any(c.running for c in trainings.values())):
        words = "no epoch has ended yet"
        ax.text(0.5, 0.5, words, fontsize=SIZE + 1, color=GREY, ha="center", va="center", transform=ax.transAxes)


def _draw(course: Course, kind: str, looked: Mapping[str, dict[str, Any]], style: dict[str, Any], ax: Axes) -> None:
    """One training's terms or exits, each in its colour and marker, all in the training's line."""
    for name, own in looked.items():
        if kind == "terms" and course.running:
            x, y = zip(*((at, means.get(name, math.nan)) for at, means in course.running), strict=True)
            ax.plot(x, y, color=own["color"], linewidth=0.8, alpha=0.4 * style["alpha"])
        x, y = _series(course.history, lambda e, name=name: getattr(e, kind).get(name, math.nan))
        ax.plot(x, [100 * v for v in y] if kind == "accuracy" else y, **own | style)


def _ranks(trainings: Mapping[str, Course]) -> list[dict[str, Any]]:
    """The line of every training: the last one bold."""
    thin = [
        {"linestyle": LINES[1 + i % 3], "linewidth": 1.2, "markersize": 2.5, "alpha": 0.7} for i in range(len(trainings) - 1)
    ]
    return [*thin, {"linestyle": "-", "linewidth": 2.0, "markersize": 4, "alpha": 1.0}][: len(trainings)]


def _log_where_wide(ax: Axes) -> None:
    """Logarithmic where what is drawn differs more than a hundredfold."""
    wide = _wide(_drawn(ax))
    if ax.get_yscale() != ("log" if wide else "linear"):
        ax.set_yscale("log" if wide else "linear")


def _drawn(ax: Axes) -> list[float]:
    """Every number on the y axis."""
    return [v for line in ax.get_lines() for v in np.asarray(line.get_ydata(), float) if math.isfinite(v)]


def _wide(drawn: Sequence[float]) -> bool:
    return bool(drawn) and min(drawn) > 0 and max(drawn) > 100 * min(drawn)


def _fits(ax: Axes) -> bool:
    """Whether the axis, as it is, has room for what is drawn, and not much more than that."""
    drawn, log = _drawn(ax), ax.get_yscale() == "log"
    if not drawn or (ax.get_ylabel() == PANES[0][1] and _wide(drawn) != log):
        return not drawn
    low, high, bottom, top = (math.log(v) if log else v for v in (min(drawn), max(drawn), *ax.get_ylim()))
    return bottom <= low and high <= top and high - low > 0.6 * (top - bottom)


def _wipe(ax: Axes) -> None:
    """Takes away what was drawn and keeps frame and ticks, which take longest to make."""
    for artist in [*ax.lines, *ax.texts, *filter(None, [ax.get_legend()])]:
        artist.remove()


def course_table(trainings: Mapping[str, Course]) -> dict[str, list[Any]]:
    """The same numbers as columns, a row per training and epoch; what an epoch has not is empty."""
    rows = [(name, e) for name, course in trainings.items() for e in course.history]
    table: dict[str, list[Any]] = {"training": [name for name, _ in rows], "epoch": [e.epoch + 1 for _, e in rows]}
    table["learning rate"] = [e.lr for _, e in rows]
    table["training accuracy"] = [e.train_accuracy for _, e in rows]
    for kind, said in (("terms", "term"), ("accuracy", "test accuracy")):
        for name in _names(trainings, kind):
            table[f"{said} {name}"] = [getattr(e, kind).get(name, "") for _, e in rows]
    table["changes"] = [
        "; ".join(f"step {t['step']}: {t['knob']} {t['before']:g} to {t['after']:g}" for t in e.changes) for _, e in rows
    ]
    return table


class Screen:
    """Two Axes that are drawn again and again, at fixed places: what a panel shows while it trains."""

    def __init__(self, width: float = 10.4, height: float = 3.4, dpi: float = 100) -> None:
        self.figure = Figure((width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = [house(ax) for ax in self.figure.subplots(1, 2)]
        self.figure.subplots_adjust(left=0.065, right=0.865, bottom=0.15, top=0.9, wspace=0.56)
        self._frame: Any = None  # what the pixels below are of
        self._still: Any = None

    def draw(self, trainings: Mapping[str, Course]) -> Figure:
        """The trainings, their names above where they are several."""
        for old in self.figure.legends[:]:
            old.remove()
        courses(trainings, *self.axes)
        if len(trainings) > 1:
            lines = [Line2D([], [], color=INK, **style) for style in _ranks(trainings)]
            self.figure.legend(lines, list(trainings), loc="upper left", ncols=len(lines), fontsize=SIZE, frameon=False)
        return self.figure

    def png(self, trainings: Mapping[str, Course]) -> bytes:
        """The same as a PNG file's bytes. Axes and legends are drawn anew only where they change, the curves each time."""
        canvas, frame = self.figure.canvas, (_end(trainings), *trainings, *(tuple(_names(trainings, k)) for k, _ in PANES))
        if frame != self._frame or not self._redrawn(trainings):
            self._frame = None  # until it is there whole
            self.draw(trainings)
            for ax in self.axes:
                ax.get_ylim()  # the scale is settled here, and then stays
                ax.set_autoscale_on(False)
                for artist in (*ax.lines, *ax.texts):
                    artist.set_animated(True)
            canvas.draw()
            self._frame, self._still = frame, canvas.copy_from_bbox(self.figure.bbox)
        canvas.restore_region(self._still)
        for ax in self.axes:
            for artist in (*ax.lines, *ax.texts):
                ax.draw_artist(artist)
        return _packed(canvas)

    def _redrawn(self, trainings: Mapping[str, Course]) -> bool:
        """Puts the curves into the Axes as they are; says whether they fit."""
        for ax, (kind, _) in zip(self.axes, PANES, strict=True):
            for artist in (*ax.lines, *ax.texts):
                artist.remove()
            _curves(trainings, kind, ax)
            if not _fits(ax):
                return False
        _mark(_turned(trainings), *self.axes)
        return True


def quick_png(figure: Figure) -> bytes:
    """The figure as a PNG file's bytes at its own dpi: sooner there than by `png`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return _packed(canvas)


def _packed(canvas: FigureCanvasAgg) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])).save(out, "png", compress_level=1)
    return out.getvalue()


def _names(trainings: Mapping[str, Course], kind: str) -> list[str]:
    """Every term, or every exit, of any of the trainings."""
    found = dict.fromkeys(name for c in trainings.values() for e in c.history for name in getattr(e, kind))
    if kind == "terms":
        found |= dict.fromkeys(name for c in trainings.values() for _, means in c.running[:1] for name in means)
    return list(found)


def _mark(changes: Sequence[tuple[float, str]], ax_terms: Axes, ax_accuracy: Axes) -> None:
    """Dotted lines where knobs were turned, with words on the first Axes."""
    lines = 0
    for x, words in _apart(changes, ax_terms.get_xlim()[1]):
        for ax in (ax_terms, ax_accuracy):
            ax.axvline(x, color=GREY, linestyle=":", linewidth=1.2)
        paper = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.5}
        high = 0.98 - 0.085 * (lines % 11)  # in steps: neighbours' words stand below each other
        lines += 1 + words.count("\n")
        transform = ax_terms.get_xaxis_transform()
        right = x > 0.6 * ax_terms.get_xlim()[1]
        ax_terms.text(
            x,
            high,
            "\n".join(f" {line} " for line in words.split("\n")),
            transform=transform,
            fontsize=SIZE,
            va="top",
            ha="right" if right else "left",
            color=INK,
            bbox=paper,
        )


def _apart(changes: Iterable[tuple[float, str]], width: float) -> list[tuple[float, str]]:
    """Marks closer than a thirtieth of the axis become one, its words in two lines and more."""
    out: list[tuple[float, str]] = []
    for x, words in sorted(changes):
        if out and x - out[-1][0] < width / 30:
            out[-1] = (out[-1][0], f"{out[-1][1]}\n{words}")
        else:
            out.append((x, words))
    return out


def _series(history: Iterable[Any], value: Callable[[Any], float]) -> tuple[list[int], list[float]]:
    """Finished epochs and values, without the epochs that have none."""
    pairs = [(e.epoch + 1, value(e)) for e in history]
    kept = [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]


def _line(i: int) -> dict[str, Any]:
    return {
        "color": CYCLE[i % len(CYCLE)], "linestyle": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)],
        "markersize": 4, "linewidth": 1.6,
    }  # fmt: skip


def _over_epochs(ax: Axes, what: str) -> None:
    ax.set_xlabel("epoch")
    ax.set_ylabel(what)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
