"""Trainings that go on, one or several on two Axes, drawn again and again while they run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...runs import Run
from ...train import Epoch
from ..style import GREY, INK, SIZE, house, instead, legend
from ..training import LINES, line_style, marks, over_epochs, series
from .cached import CachedFigure

PANES = (("terms", "term of the loss"), ("accuracy", "test accuracy, %"))
"""What the two Axes show: the field of `Epoch`, and what is written on the y axis."""


class Course(NamedTuple):
    """One training as its curves show it."""

    history: Sequence[Epoch]  # the finished epochs
    running: Sequence[tuple[float, Mapping[str, float]]] = ()  # the terms' means within epochs, by the epochs before
    changes: Sequence[tuple[float, str]] = ()  # place on the epoch axis, words

    @classmethod
    def of(cls, run: Run, epochs: int | None = None) -> Course:
        """A recorded run's, or that of its first so many epochs."""
        history = run.history()[:epochs]
        return cls(history, (), marks(history, run.environment.get("steps per epoch")))


def courses(trainings: Mapping[str, Course], ax_terms: Axes, ax_accuracy: Axes) -> tuple[Axes, Axes]:
    """Terms and exits of one or several trainings. Colour says which term or exit, the line which training.

    The last training is drawn boldly, those before it thin. Pale lines are means within epochs, dots whole epochs; dotted
    lines stand where knobs were turned. What was on the Axes is taken away first.
    """
    for ax, (kind, what) in zip((ax_terms, ax_accuracy), PANES, strict=True):
        _wipe(ax)
        if ax.get_legend():
            ax.get_legend().remove()
        for name, style in _looks(trainings, kind).items():
            ax.plot([], [], label=name, **style)
        over_epochs(ax, what)
        ax.set_xlim(0, _end(trainings) * 1.02)
        if _names(trainings, kind):
            legend(ax, outside=True)
        _curves(trainings, kind, ax)
    if ax_terms.get_yscale() != (scale := "log" if _wide(_drawn(ax_terms)) else "linear"):
        ax_terms.set_yscale(scale)
    for ax, top in ((ax_terms, 1), (ax_accuracy, 100)):
        ax.relim()
        ax.autoscale(axis="y")
        if not _drawn(ax):
            ax.set_ylim(0, top)
    _changes(trainings, ax_terms, ax_accuracy)
    return ax_terms, ax_accuracy


def terms_shown(trainings: Mapping[str, Course]) -> list[str]:
    """The names of the terms that any of the trainings has."""
    return _names(trainings, "terms")


def courses_in_words(trainings: Mapping[str, Course]) -> str:
    """What `courses` draws, for those who do not see it: where each training stands, in numbers."""
    said = []
    for name, course in trainings.items():
        if not course.history:
            said.append(f"{name}: no epoch has ended yet")
            continue
        last = course.history[-1]
        terms = ", ".join(f"{term} {value:.3g}" for term, value in last.terms.items())
        exits = ", ".join(f"{exit} {100 * value:.1f} %" for exit, value in last.accuracy.items())
        said.append(f"{name}, after epoch {len(course.history)}: terms of the loss {terms}; test accuracy {exits}")
    return f"Curves of {len(trainings)} training{'s' * (len(trainings) > 1)}. {'. '.join(said)}."


def course_table(trainings: Mapping[str, Course]) -> dict[str, list[Any]]:
    """The same numbers as columns, a row per training and epoch; where an epoch has no value the cell is empty."""
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
    """`courses` on a figure of its own with fixed places: what a panel shows while it trains.

    Args:
        width: inches.
        height: inches.
        dpi: pixels per inch.
    """

    def __init__(self, width: float = 10.4, height: float = 3.4, dpi: float = 100) -> None:
        self.figure = Figure((width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = [house(ax) for ax in self.figure.subplots(1, 2)]
        self.figure.subplots_adjust(left=0.065, right=0.865, bottom=0.15, top=0.9, wspace=0.64)
        self._frame: Any = None  # what `_cached` was drawn for
        self._cached: CachedFigure | None = None  # frame, scales and legends, without the curves

    def draw(self, trainings: Mapping[str, Course]) -> Figure:
        """The trainings; where they are several, their names above."""
        for old in self.figure.legends[:]:
            old.remove()
        courses(trainings, *self.axes)
        if len(trainings) > 1:
            lines = [Line2D([], [], color=INK, **style) for style in _ranks(trainings)]
            place = {"loc": "upper left", "fontsize": SIZE, "frameon": False}
            names = self.figure.legend(lines, list(trainings), ncols=len(lines), **place)
            if names.get_window_extent().width > self.figure.bbox.width:  # of many knobs: in two rows
                names.remove()
                place |= {"labelspacing": 0.1, "borderpad": 0.0, "borderaxespad": 0.2}
                self.figure.legend(lines, list(trainings), ncols=math.ceil(len(lines) / 2), **place)
        return self.figure

    def png(self, trainings: Mapping[str, Course]) -> bytes:
        """The same as a PNG file's bytes. Axes and legends are drawn anew only where they change, the curves each time."""
        frame = (_end(trainings), *trainings, *(tuple(_names(trainings, kind)) for kind, _ in PANES))
        if frame != self._frame or not self._redrawn(trainings):
            self._frame = None  # until the new one is whole
            self.draw(trainings)
            for ax in self.axes:
                ax.get_ylim()  # settles the scale, which then stays
            for artist in self._artists():
                artist.set_animated(True)
            self._frame, self._cached = frame, CachedFigure(self.figure, self.figure.dpi)
        return self._cached.png(self._artists())

    def _artists(self) -> list[Artist]:
        return [artist for ax in self.axes for artist in (*ax.lines, *ax.texts)]

    def _redrawn(self, trainings: Mapping[str, Course]) -> bool:
        """Puts the curves into the Axes as they are; says whether they fit."""
        for ax, (kind, _) in zip(self.axes, PANES, strict=True):
            _wipe(ax)
            _curves(trainings, kind, ax)
            if not _fits(ax):
                return False
        _changes(trainings, *self.axes)
        return True


def _end(trainings: Mapping[str, Course]) -> int:
    """How many epochs the axis has room for: those that have begun."""
    return math.ceil(max([1.0] + [x for c in trainings.values() for x in (len(c.history), *(p[0] for p in c.running[-1:]))]))


def _names(trainings: Mapping[str, Course], kind: str) -> list[str]:
    """Every term, or every exit, of any of the trainings."""
    found = dict.fromkeys(name for c in trainings.values() for e in c.history for name in getattr(e, kind))
    if kind == "terms":
        found |= dict.fromkeys(name for c in trainings.values() for _, means in c.running[:1] for name in means)
    return list(found)


def _looks(trainings: Mapping[str, Course], kind: str) -> dict[str, dict[str, Any]]:
    return {name: line_style(i) | {"linestyle": "-"} for i, name in enumerate(_names(trainings, kind))}


def _ranks(trainings: Mapping[str, Course]) -> list[dict[str, Any]]:
    """The line of every training: the last one bold."""
    thin = [
        {"linestyle": LINES[1 + i % 3], "linewidth": 1.2, "markersize": 2.5, "alpha": 0.7} for i in range(len(trainings) - 1)
    ]
    return [*thin, {"linestyle": "-", "linewidth": 2.0, "markersize": 4, "alpha": 1.0}][: len(trainings)]


def _curves(trainings: Mapping[str, Course], kind: str, ax: Axes) -> None:
    """Every training's terms or exits, each in its colour and marker; words where there are none yet."""
    looks = _looks(trainings, kind)
    for style, course in zip(_ranks(trainings), trainings.values(), strict=True):
        for name, own in looks.items():
            if kind == "terms" and course.running:
                x, y = zip(*((at, means.get(name, math.nan)) for at, means in course.running), strict=True)
                ax.plot(x, y, color=own["color"], linewidth=0.8, alpha=0.4 * style["alpha"])
            x, y = series(course.history, lambda e, name=name: getattr(e, kind).get(name, math.nan))
            ax.plot(x, [100 * v for v in y] if kind == "accuracy" else y, **own | style)
    if not looks and (kind == "accuracy" or not any(c.running for c in trainings.values())):
        instead(ax, "no epoch has ended yet")


def _wipe(ax: Axes) -> None:
    """Takes the curves and words away and keeps frame and ticks, which take longest to make."""
    for artist in [*ax.lines, *ax.texts]:
        artist.remove()


def _drawn(ax: Axes) -> list[float]:
    """Every number on the y axis."""
    return [v for line in ax.get_lines() for v in np.asarray(line.get_ydata(), float) if math.isfinite(v)]


def _wide(drawn: Sequence[float]) -> bool:
    """Whether numbers differ more than a hundredfold: then the axis is logarithmic."""
    return bool(drawn) and min(drawn) > 0 and max(drawn) > 100 * min(drawn)


def _fits(ax: Axes) -> bool:
    """Whether the axis, as it is, has room for what is drawn, and not much more than that."""
    drawn, log = _drawn(ax), ax.get_yscale() == "log"
    if not drawn or (ax.get_ylabel() == PANES[0][1] and _wide(drawn) != log):
        return not drawn
    low, high, bottom, top = (math.log(v) if log else v for v in (min(drawn), max(drawn), *ax.get_ylim()))
    return bottom <= low and high <= top and high - low > 0.6 * (top - bottom)


def _changes(trainings: Mapping[str, Course], ax_terms: Axes, ax_accuracy: Axes) -> None:
    """Dotted lines where knobs were turned, with words on the first Axes."""
    lines, end = 0, ax_terms.get_xlim()[1]
    for x, words in _apart({mark for course in trainings.values() for mark in course.changes}, end):
        for ax in (ax_terms, ax_accuracy):
            ax.axvline(x, color=GREY, linestyle=":", linewidth=1.2)
        ax_terms.text(
            x,
            0.98 - 0.085 * (lines % 11),  # in steps: neighbours' words stand below each other
            "\n".join(f" {line} " for line in words.split("\n")),
            transform=ax_terms.get_xaxis_transform(),
            fontsize=SIZE,
            va="top",
            ha="right" if x > 0.6 * end else "left",
            color=INK,
            bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.5},
        )
        lines += 1 + words.count("\n")


def _apart(changes: Iterable[tuple[float, str]], width: float) -> list[tuple[float, str]]:
    """Marks closer than a thirtieth of the axis become one with the words of both, a line each."""
    out: list[tuple[float, str]] = []
    for x, words in sorted(changes):
        if out and x - out[-1][0] < width / 30:
            out[-1] = (out[-1][0], f"{out[-1][1]}\n{words}")
        else:
            out.append((x, words))
    return out
