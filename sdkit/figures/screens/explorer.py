"""Recorded runs as points of a plane. Nothing is moved aside or filled in: what was not run is not drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...runs import Points
from ...train import Epoch
from ..style import GREY, INK, RED, SIZE, instead, labels, legend, looks, new
from ..training import CYCLE, MARKERS, exit_accuracy, learning_curves, loss_terms, marks

PERCENT = ("accuracy.", "best.", "validation.", "train_accuracy")
"""Columns that are fractions: percent on an axis."""

SHADES = ListedColormap(colormaps["viridis"](np.linspace(0, 0.9, 128)))
"""For numbers: viridis without the yellow that a projector loses."""

WORDS = {
    "accuracy": "test accuracy, {}, last epoch",
    "best": "test accuracy, {}, best epoch (chosen on the test set)",
    "validation": "validation accuracy, {}, last epoch",
    "train_accuracy": "training accuracy, last epoch",
    "loss": "test cross entropy, last epoch, nats",
    "terms": "loss term “{}”, last epoch",
    "seconds": "training time, s",
    "seconds per epoch": "training time per epoch, s",
    "epochs": "finished epochs",
    "parameters": "parameters of the network",
    "scaffolding": "parameters of the method's own parts",
    "data": "data set",
    "model": "network",
    "steered": "steered while it ran",
    "schedule": "knobs turned by plan",
    "knobs": "knob {}",
    "recipe.lr": "learning rate (peak)",
    "recipe.epochs": "epochs asked",
    "recipe.batch_size": "batch size",
}
"""A column of the table of runs, or the part before its dot -> what a reader calls it."""

AT_MOST = 14
"""The most names that a legend lists."""


def words(column: str) -> str:
    """What a reader calls a column of the table of runs."""
    part, _, rest = column.partition(".")
    said = WORDS.get(column) or WORDS.get(part if rest else "") or (f"{part}: {{}}" if rest else part)
    if part in ("accuracy", "best", "validation"):
        rest = "final exit" if rest == "final" else rest if rest == "ensemble" else f"exit {rest}"
    return said.format(rest) + (", %" if column.startswith(PERCENT) else "")


def run_points(points: Points, ax: Axes, chosen: str | None = None, symbols: Mapping[str, str] | None = None) -> Axes:
    """A point per run; filled: done, hollow: not finished, a red cross on the x axis: diverged before it had a value.

    Lines join the means over the seeds of runs that are alike in everything else; a dash is such a mean at a single place.
    Names get colours and markers, numbers a colour bar. chosen: the key of the run to ring. symbols: column -> words that
    replace the ones of `words`. Axes without a point say so.
    """
    said = dict.fromkeys(points.columns, "")
    said |= {name: (symbols or {}).get(name) or (words(name) if name else "") for name in points.columns}
    x_name, y_name, c_name = points.columns
    ax.set_xlabel(said[x_name])
    ax.set_ylabel(fill(said[y_name], 42))
    if not points.keys:
        ax.set_xticks([])
        ax.set_yticks([])
        instead(ax, "no run here has both of these")
        return ax
    x, y = _axis(ax.xaxis, points.x, x_name), _axis(ax.yaxis, points.y, y_name)
    style, handles = _colours(ax, points.colour, c_name, said[c_name])
    for at, mean, colour in points.means:
        at = [x[points.x.index(v)] for v in at]
        mean = [m * (100 if y_name.startswith(PERCENT) else 1) for m in mean]
        shade = style(colour)["color"] if colour is not None or not c_name else GREY
        if len(at) > 1:
            ax.plot(at, mean, color=shade, linewidth=1.4, alpha=0.7, zorder=1)
        else:
            ax.plot(at, mean, color=shade, marker="_", markersize=22, markeredgewidth=1.6, alpha=0.7, zorder=1)
    gone, done = np.isnan(y), np.array([status == "done" for status in points.status])
    looks_of = [style(v) for v in points.colour]
    for marker in dict.fromkeys(look["marker"] for look in looks_of):
        here = [i for i, look in enumerate(looks_of) if look["marker"] == marker and not gone[i]]
        inside = [looks_of[i]["color"] if done[i] else "white" for i in here]
        rim = ["white" if done[i] else looks_of[i]["color"] for i in here]
        width = [0.5 if done[i] else 1.4 for i in here]
        ax.scatter(x[here], y[here], 52, inside, marker=marker, edgecolors=rim, linewidths=width, zorder=2)
    if gone.any():
        below = {"transform": ax.get_xaxis_transform(), "clip_on": False, "zorder": 3}
        ax.plot(x[gone], np.zeros(gone.sum()), "x", color=RED, ms=9, mew=2.2, **below)
    kinds = []
    if {*points.status} & {"new", "training"}:
        kinds.append(("hollow: not finished", {"marker": "o", "mfc": "white", "mec": INK}))
    if "diverged" in points.status:
        kinds.append(("diverged", {"marker": "x", "color": RED, "mew": 2.2}))
    handles += [Line2D([], [], linestyle="", label=name, **look) for name, look in kinds]
    if handles:
        legend(ax, outside=True, handles=handles, title=said[c_name] if c_name != "method" else None, title_fontsize=SIZE)
    ring(points, ax, chosen)
    return ax


def ring(points: Points, ax: Axes, chosen: str | None) -> list[Line2D]:
    """Rings the chosen run of `run_points` -> the ring; none where no run is chosen."""
    if chosen not in points.keys:
        return []
    (x, y), at = _coordinates(points, ax), [points.keys.index(chosen)]
    line = Line2D(x[at], y[at], linestyle="", marker="o", ms=15, mfc="none", mec=INK, mew=2.0, zorder=4, clip_on=False)
    line.set_in_layout(False)
    ax.add_artist(line)  # not `plot`, which would move the limits
    return [line]


def places(points: Points, ax: Axes) -> np.ndarray:
    """Where the points lie on the drawn figure, [N, 2]: fractions of its width and height from the top left corner."""
    if not points.keys:
        return np.empty((0, 2))
    box = ax.figure.bbox
    at = ax.transData.transform(np.stack(_coordinates(points, ax), axis=1)) / [box.width, box.height]
    return np.stack([at[:, 0], 1 - at[:, 1]], axis=1)


def nearest(where: np.ndarray, at: tuple[float, float], shape: tuple[float, float], last: int | None = None) -> int | None:
    """The point nearest to a click. Among points at one place the one after `last`, so that clicking again walks through them.

    where [N, 2] and at: fractions of a figure; shape: its width and height, in any unit. None where there is no point.
    """
    if not len(where):
        return None
    apart = np.linalg.norm((where - at) * shape, axis=1)
    near = np.flatnonzero(apart <= apart.min() + 0.005 * max(shape))
    if last in near:
        return int(near[(near.tolist().index(last) + 1) % len(near)])
    return int(apart.argmin())


def run_curves(name: str, history: Sequence[Epoch], axes: Sequence[Axes]) -> Sequence[Axes]:
    """One run on three axes: its errors, the terms of its loss, the accuracy of every exit; dotted where knobs were turned."""
    learning_curves({name: history}, axes[0])
    loss_terms(history, axes[1])
    exit_accuracy(history, axes[2])
    for ax in axes:
        ax.minorticks_off()
        for where, _ in marks(history):
            ax.axvline(where, color=GREY, linestyle=":", linewidth=1.2)
        if not history:
            instead(ax, "no epoch has ended yet")
        if ax.get_legend():
            legend(ax, outside=True)
    if axes[0].get_legend():
        axes[0].get_legend().remove()  # a single run needs none
    return axes


def points_figure(points: Points, chosen: str | None = None, symbols: Mapping[str, str] | None = None) -> tuple[Figure, Axes]:
    """`run_points` on a figure of its own whose layout is settled: a `ring` changes nothing of it."""
    figure, ax = new(width=7.2, height=4.2)
    figure.set_dpi(90)
    run_points(points, ax, chosen, symbols)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure, ax


def curves_figure(name: str, history: Sequence[Epoch], again: Figure | None = None) -> Figure:
    """`run_curves` on a figure of its own, at fixed places: quick enough for a slider.

    again: a figure of this function to draw on: frames and ticks, which take longest to make, are its own.
    """
    if again is None:
        figure, axes = new(columns=3, width=12.4, height=2.9)
        figure.set_dpi(90)
        figure.set_layout_engine("none")
        for ax, left in zip(axes, (0.05, 0.31, 0.655), strict=True):
            ax.set_position([left, 0.17, 0.2, 0.73])  # the legends of the last two stand to their right
    else:
        figure, axes = again, again.axes
        for ax in axes:
            for artist in [*ax.lines, *ax.texts, *filter(None, [ax.get_legend()])]:
                artist.remove()
            ax.set_yscale("linear")
            ax.relim()
            ax.set_xlim(0, 1, auto=True)
            ax.set_ylim(0, 1, auto=True)
    run_curves(name, history, axes)
    return figure


def _coordinates(points: Points, ax: Axes) -> tuple[np.ndarray, np.ndarray]:
    """Where the points lie on the axes, [N] and [N]; diverged ones without a value at the lower end."""
    low = ax.get_ylim()[0]
    x, y = (_numbers(v, name)[0] for v, name in zip((points.x, points.y), points.columns, strict=False))
    return x, np.where(np.isnan(y), low, y)


def _numbers(values: Sequence[Any], column: str) -> tuple[np.ndarray, list[str]]:
    """Values as numbers on an axis [N], and the names of the places where they are names."""
    if any(isinstance(v, str) for v in values):
        names = sorted({str(v) for v in values})
        return np.array([names.index(str(v)) for v in values], float), names
    return np.array(values, float) * (100 if column.startswith(PERCENT) else 1), []


def _axis(axis: Axis, values: Sequence[Any], column: str) -> np.ndarray:
    """Prepares an axis for its values: places for names, a logarithm for numbers a hundredfold apart. -> the numbers [N]."""
    at, names = _numbers(values, column)
    side = axis.axis_name
    if names:
        axis.set_ticks(range(len(names)), [*labels(names).values()])
        getattr(axis.axes, f"set_{side}lim")(-0.5, len(names) - 0.5)
        if side == "x" and sum(map(len, names)) > 40:
            for text in axis.get_ticklabels():
                text.set(rotation=30, ha="right", rotation_mode="anchor")
        return at
    there = at[np.isfinite(at)]
    above = np.unique(there[there > 0])
    if len(above) and (there >= 0).all() and above[-1] > 100 * above[0]:
        if (there == 0).any():
            axis._set_axes_scale("symlog", linthresh=above[0], linscale=0.6)
        else:
            axis._set_axes_scale("log")
        few = np.unique(there)
        if len(few) <= 8:
            slanted = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if side == "x" else {}
            axis.set_ticks(few, [f"{v:g}" for v in few], **slanted)
            axis.set_ticks([], minor=True)
        else:
            axis.set_major_formatter(lambda v, _: f"{v:g}")
    return at


def _colours(ax: Axes, values: Sequence[Any], column: str, said: str) -> tuple[Callable[[Any], dict[str, Any]], list[Line2D]]:
    """How a value of the colour column looks (colour and marker), and the legend's entries."""
    known = [v for v in values if v is not None]
    if not known:
        return lambda value: {"color": INK, "marker": "o"}, []
    if not any(isinstance(v, str) for v in known):
        scale = 100 if column.startswith(PERCENT) else 1
        norm = Normalize(scale * min(known), scale * max(known))
        bar = ax.figure.colorbar(ScalarMappable(norm, SHADES), ax=ax, pad=0.01, location="top", aspect=40, shrink=0.9)
        bar.set_label(said, fontsize=SIZE)
        bar.ax.tick_params(labelsize=SIZE)
        bar.outline.set_visible(False)
        return lambda value: {"color": GREY if value is None else SHADES(norm(scale * value)), "marker": "o"}, []
    names = sorted({str(v) for v in known})
    styles = {n: {"color": CYCLE[i % 7], "marker": MARKERS[(i + i // 7) % 7]} for i, n in enumerate(names)}
    if column == "method":
        styles = {n: {k: s[k] for k in ("color", "marker")} for n, s in looks(names).items()}
    said_of = labels(names)
    handles = [Line2D([], [], linestyle="", label=said_of[n], **styles[n]) for n in names[:AT_MOST]]
    if len(names) > AT_MOST:
        handles.append(Line2D([], [], linestyle="", label=f"and {len(names) - AT_MOST} more"))
    return lambda value: styles.get(str(value), {"color": GREY, "marker": "o"}), handles
