"""Figures of a search of hyperparameters: a curve for one field, a heat map for two, a panel a field for more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .drg_dsr import sweep
from .style import BLUE, INK, RED, SIZE, new

FACTOR = 20
"""Values that differ more than so many fold are spaced by factors."""


def search_figure(
    names: Sequence[str], values: Mapping[tuple[Any, ...], Sequence[float]], method: str, chosen: tuple[Any, ...],
    what: str = "validation accuracy",
) -> Figure:  # fmt: skip
    """The figure of a search that fits its fields: a curve, a heat map, or a panel a field.

    Args:
        names: of the fields.
        values: a setting, a value for each field -> accuracies in [0, 1], a value a seed.
        method: what was trained.
        chosen: the setting that was chosen.
        what: which accuracy it is.

    Returns:
        A figure in the house style.
    """
    if len(names) == 1 and all(_is_number(v) for (v,) in values):
        at = [v for (v,) in values]
        figure, ax = new(width=6, height=3.8)
        sweep({method: {v: found for (v,), found in values.items()}}, ax, names[0], log=_by_factors(at), what=what)
        return figure
    if len(names) == 2 and len({x for x, _ in values}) * len({y for _, y in values}) == len(values):
        figure, ax = new(width=6, height=4)
        search_map(names, values, ax, chosen, what)
        return figure
    figure, axes = new(columns=len(names), width=max(3 * len(names), 5.2), height=3.2, squeeze=False, sharey=True)
    search_points(names, values, axes.ravel(), chosen, what)
    return figure


def search_map(
    names: Sequence[str], values: Mapping[tuple[Any, Any], Sequence[float]], ax: Axes, chosen: tuple[Any, Any] | None = None,
    what: str = "validation accuracy",
) -> Axes:  # fmt: skip
    """Accuracy over two hyperparameters, percent, mean over the seeds: a cell a setting; the chosen one is framed.

    Args:
        names: of the field to the right and of the field upwards.
        values: (value of the first, value of the second) -> accuracies in [0, 1], a value a seed.
        ax: where to draw.
        chosen: the setting that was chosen.
        what: which accuracy it is.

    Returns:
        The same Axes.
    """
    right, up = (_in_order([point[i] for point in values]) for i in (0, 1))
    cells = np.full((len(up), len(right)), np.nan)
    for (x, y), found in values.items():
        cells[up.index(y), right.index(x)] = 100 * np.mean(found)
    shown = ax.imshow(cells, origin="lower", aspect="auto", cmap="cividis")
    middle = (np.nanmin(cells) + np.nanmax(cells)) / 2
    for i, j in np.ndindex(*cells.shape):
        if np.isfinite(cells[i, j]):
            color = "white" if cells[i, j] < middle else INK
            ax.text(j, i, f"{cells[i, j]:.1f}", ha="center", va="center", fontsize=SIZE, color=color)
    if chosen is not None:
        place = (right.index(chosen[0]) - 0.5, up.index(chosen[1]) - 0.5)
        ax.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=RED, linewidth=2.5))
    ax.set_xticks(range(len(right)), [_written(v) for v in right])
    ax.set_yticks(range(len(up)), [_written(v) for v in up])
    ax.grid(False)
    ax.tick_params(length=0)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    bar = ax.figure.colorbar(shown, ax=ax)
    bar.set_label(f"{what}, %", fontsize=SIZE + 1)
    bar.ax.tick_params(labelsize=SIZE)
    bar.outline.set_visible(False)
    return ax


def search_points(
    names: Sequence[str], values: Mapping[tuple[Any, ...], Sequence[float]], axes: Sequence[Axes],
    chosen: tuple[Any, ...] | None = None, what: str = "validation accuracy",
) -> Sequence[Axes]:  # fmt: skip
    """A panel a field, a mark a setting: its accuracy, percent, mean over the seeds, over its value. Chosen is the red ring.

    Args:
        names: of the fields.
        values: a setting -> accuracies in [0, 1], a value a seed.
        axes: one a field.
        chosen: the setting that was chosen.
        what: which accuracy it is.

    Returns:
        The same axes.
    """
    means = [100 * np.mean(found) for found in values.values()]
    for i, (name, ax) in enumerate(zip(names, axes, strict=True)):
        at = [point[i] for point in values]
        words = [] if all(map(_is_number, at)) else _in_order(at)
        places = [words.index(v) for v in at] if words else at
        ax.plot(places, means, "o", color=BLUE, markersize=5, alpha=0.8)
        if chosen is not None:
            where = list(values).index(chosen)
            ax.plot(places[where], means[where], "o", mfc="none", mec=RED, mew=1.8, markersize=10)
        if words:
            ax.set_xticks(range(len(words)), [_written(v) for v in words])
            ax.set_xlim(-0.5, len(words) - 0.5)
        elif _by_factors(at):
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")
            ax.minorticks_off()
        ax.set_xlabel(name)
    axes[0].set_ylabel(f"{what}, %")
    return axes


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _by_factors(values: Sequence[Any]) -> bool:
    return min(values) > 0 and max(values) > FACTOR * min(values)


def _in_order(values: Sequence[Any]) -> list[Any]:
    """Each once: numbers by size, others as they came."""
    once = list(dict.fromkeys(values))
    return sorted(once) if all(map(_is_number, once)) else once


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
