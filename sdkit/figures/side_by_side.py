"""All methods beside each other: a dot for every number, which rulers agree, and the loss around and between networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ..analysis import LossSlice
from .style import GREY, INK, PALE, SIZE, label, legend, looks


def scoreboard(values: Mapping[str, Mapping[str, float]], axes: Sequence[Axes], better: Mapping[str, str]) -> None:
    """A dot per method, a panel per measure, methods from top to bottom in the order of the first measure.

    values: measure -> method -> number. better: measure -> "right" or "left", where the better end is.
    ValueError where the measures are not of the same methods.
    """
    methods = list(next(iter(values.values())))
    if any(list(row) != methods for row in values.values()):
        raise ValueError("a scoreboard has the same methods in every panel: measure each of them")
    styles, places = looks(methods), np.arange(len(methods))[::-1]
    for ax, (measure, row) in zip(axes, values.items(), strict=True):
        for y, method in zip(places, methods, strict=True):
            ax.plot(row[method], y, linestyle="", markersize=8, **{k: styles[method][k] for k in ("color", "marker")})
        ax.axvline(row[methods[0]], color=GREY, linestyle=":", linewidth=1)
        ax.set_yticks(places, [label(m) for m in methods] if ax is axes[0] else [""] * len(methods))
        ax.set_ylim(-0.6, len(methods) - 0.4)
        ax.margins(x=0.12)
        ax.locator_params(axis="x", nbins=4)
        ax.set_xlabel(f"{measure}\n{'better →' if better[measure] == 'right' else '← better'}")


def agreement(names: Sequence[str], correlation: Tensor, ax: Axes) -> Axes:
    """Rank correlations of measures [M, M] in [-1, 1] as numbers on a grid: violet agrees, orange disagrees."""
    table = np.asarray(correlation, dtype=float)
    if table.shape != (len(names), len(names)):
        raise ValueError(f"{len(names)} measures have a {len(names)} x {len(names)} table, got {list(table.shape)}")
    ax.imshow(table, cmap="PuOr", vmin=-2, vmax=2)
    for i, j in np.ndindex(*table.shape):
        ax.text(
            j,
            i,
            f"{table[i, j]:+.2f}" if np.isfinite(table[i, j]) else "n/a",
            ha="center",
            va="center",
            fontsize=SIZE,
            color="white" if abs(table[i, j]) > 0.85 else INK,
        )
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.grid(False)
    ax.tick_params(length=0)
    return ax


def loss_plane(around: LossSlice, ax: Axes, levels: Sequence[float] = (0.1, 0.2, 0.5, 1, 2, 5)) -> Axes:
    """Contours of the loss on a filter-normalised random plane through a trained network, the cross. Li et al. 2018, Fig. 5.

    A level that is passed within one step of the network has no line: there nothing was measured in between.
    """
    if around.loss.ndim != 2:
        raise ValueError(
            f"a plane is a slice along two directions: loss_slice(..., directions=2), got {list(around.loss.shape)}"
        )
    at, loss = around.at.numpy(), around.loss.numpy().T  # the first direction to the right
    middle = len(at) // 2
    beside = loss[middle - 1 : middle + 2, middle - 1 : middle + 2].max()
    drawn = ax.contour(at, at, loss, levels=[v for v in levels if beside < v < loss.max()] or 3, colors=INK, linewidths=0.9)
    ax.contourf(at, at, np.log10(loss), levels=12, cmap="cividis", alpha=0.55)
    ax.clabel(drawn, fmt="%g", fontsize=SIZE)
    ax.plot(0, 0, "+", color=INK, markersize=10, markeredgewidth=1.6)
    ax.grid(False)
    ax.set_aspect("equal")
    ax.set_xlabel("first direction, filter norms")
    return ax


def paths(between: Mapping[str, LossSlice], ax: Axes, barriers: Mapping[str, float]) -> Axes:
    """Loss on the straight line from one trained network to each of others. Frankle et al. 2020."""
    styles = looks(between)
    for name, s in between.items():
        said = f"to {label(name)}, barrier {barriers[name]:.2f}"
        ax.plot(s.at.numpy(), s.loss.numpy(), label=said, **styles[name], markersize=4)
    ax.set_xlabel("share of the other network's weights")
    ax.set_ylabel("training loss, nats")
    ax.spines["bottom"].set_color(PALE)
    legend(ax, outside=True)
    return ax


def factor_course(curves: Mapping[str, Mapping[str, Sequence[float]]], epochs: Sequence[float], axes: Sequence[Axes]) -> None:
    """How well each factor of the class is told along training, a panel a factor, a line a network.

    Args:
        curves: factor -> network -> accuracy in [0, 1] after every epoch.
        epochs: [E] from 1.
        axes: one a factor.

    Raises:
        ValueError: a curve has another number of epochs.
    """
    styles = looks([*next(iter(curves.values()))])
    for ax, (factor, lines) in zip(axes, curves.items(), strict=True):
        for name, line in lines.items():
            if len(line) != len(epochs):
                raise ValueError(f"{name} has {len(line)} epochs, not {len(epochs)}: compare runs of one length")
            style = {k: v for k, v in styles[name].items() if k in ("color", "linestyle")}
            ax.plot(epochs, 100 * np.asarray(line, dtype=float), label=label(name), linewidth=1.6, **style)
        ax.set_title(f"the {factor}", fontsize=SIZE)
        ax.set_xlabel("epoch")
    axes[0].set_ylabel("told of the test images, %")
    legend(axes[-1], outside=True)
