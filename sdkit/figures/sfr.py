"""Figures of paper 000, SFR: its overview with the stages of a live network, and what its parts do while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .diagrams import BLOCK, DATA, EXTRA, OUTPUT, arrow, box, canvas
from .style import GREY, INK, PALE, RED, SIZE, legend

STAGE_LOOKS = (("#0072B2", "o", "-"), ("#E69F00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"), (INK, "v", "-"))


MOST_CLASSES = 20
"""Of how many classes a label's map has a row."""


def self_features(
    ax: Axes, stages: Sequence[tuple[str, int, int]], weights: Sequence[float], distances: Sequence[float], cells: int
) -> Axes:
    """How SFR trains: every shallower stage is moved onto the last map, the labels remember last epoch. Paper 000, Fig. 1.

    stages: (name, channels, side of the map in pixels), shallow to deep; the last is the teacher. weights, distances: mean
    attention and mean earth mover's distance of each shallower stage. cells: a side of the compared maps.
    ValueError where there is not one weight and one distance for every shallower stage.
    """
    if not len(weights) == len(distances) == len(stages) - 1:
        raise ValueError(
            f"{len(stages) - 1} shallower stages need as many weights and distances, got {len(weights)}, {len(distances)}"
        )
    canvas(ax)
    n = len(stages)
    at = np.linspace(0.2, 0.76, n)
    wide = min(0.165, 0.9 * (at[1] - at[0]) if n > 1 else 0.165)
    box(ax, 0.05, 0.2, 0.085, 0.12, "images\nand stem", DATA)
    for i, ((name, channels, side), x) in enumerate(zip(stages, at, strict=True)):
        box(ax, x, 0.2, wide, 0.15, f"{name}\n{channels} × {side} × {side}", BLOCK)
        arrow(ax, (0.0925 if i == 0 else at[i - 1] + wide / 2, 0.2), (x - wide / 2, 0.2))
        arrow(ax, (x, 0.275), (x, 0.36))
        role = "teacher set, constant" if i == n - 1 else "student set"
        _cells(ax, x, 0.42, 0.1, cells)
        ax.text(
            x, 0.515, f"{role}\n{cells * cells} vectors of {stages[-1][1]}", ha="center", va="center", fontsize=SIZE, color=INK
        )
    box(ax, 0.935, 0.2, 0.115, 0.15, "output p\nof epoch t", OUTPUT)
    arrow(ax, (at[-1] + wide / 2, 0.2), (0.8775, 0.2))
    box(ax, 0.935, 0.45, 0.115, 0.17, "memory\nof epoch\nt − 1", EXTRA)
    arrow(ax, (0.935, 0.365), (0.935, 0.275), teaches=True)
    ax.text(0.925, 0.32, "dynamic\nlabels", ha="right", va="center", fontsize=SIZE, color=RED)
    tops = np.linspace(0.93, 0.68, n - 1) if n > 2 else [0.8]
    for i, (x, top) in enumerate(zip(at[:-1], tops, strict=True)):
        end = at[-1] + 0.02 - 0.018 * i
        ax.plot([end, end, x, x], [0.555, top, top, 0.565], color=RED, linewidth=1.7, linestyle=(0, (4, 2)))
        ax.annotate(
            "", (x, 0.555), (x, 0.59), arrowprops={"arrowstyle": "-|>", "color": RED, "lw": 1.7, "shrinkA": 0, "shrinkB": 0}
        )
        words = f"attention {weights[i]:.2f}   EMD {distances[i]:.2f}"
        ax.text(x + 0.012, top + 0.012, words, ha="left", va="bottom", fontsize=SIZE, color=RED)
    ax.text(0.5, 0.04, "forward: thin grey      teaches: dashed red", ha="center", va="center", fontsize=SIZE, color=INK)
    return ax


def along_stages(values: Mapping[str, Sequence[float]], ax: Axes, what: str, even: float | None = None) -> Axes:
    """One number for every stage over the epochs. values: stage -> a value an epoch. even: a level to compare with, grey."""
    for i, (name, series) in enumerate(values.items()):
        color, marker, line = STAGE_LOOKS[i % len(STAGE_LOOKS)]
        x = np.arange(1, len(series) + 1)
        ax.plot(x, series, color=color, marker=marker, linestyle=line, markersize=4.5, label=name)
    if even is not None:
        ax.axhline(even, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), label="all alike")
    ax.set_ylim(bottom=0)
    ax.set_ylim(top=ax.get_ylim()[1] * 1.08)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    ax.set_ylabel(what)
    legend(ax)
    return ax


def transport_plan(plan: Tensor, ax: Axes, title: str = "") -> Axes:
    """What moves from every cell of a stage's map to every cell of the last one, percent of all. plan [N, N]."""
    moved = 100 * plan.detach().float().cpu().numpy()
    shown = ax.imshow(moved, cmap="cividis", vmin=0)
    ax.grid(False)
    ax.set_xlabel("cell of the last map")
    ax.set_ylabel("cell of the stage")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_title(title)
    bar = ax.figure.colorbar(shown, ax=ax, shrink=0.85)
    bar.ax.tick_params(labelsize=SIZE)
    bar.set_label("moved, % of all", fontsize=SIZE)
    return ax


def wrong_classes(labels: Tensor, y: int, classes: Sequence[str], ax: Axes) -> Axes:
    """One image's label over the epochs: what the wrong classes get. labels [E, K], rows sum to 1; y: the right class.

    Of many classes those are shown that ever get the most.
    """
    if labels.shape[1] != len(classes):
        raise ValueError(f"a label has a column for each class, got {labels.shape[1]} columns and {len(classes)} classes")
    shares = 100 * labels.detach().float().cpu().numpy().T  # [K, E]
    if len(shares) > MOST_CLASSES:
        wrong_ones = [int(k) for k in np.argsort(-shares.max(1)) if k != y][: MOST_CLASSES - 1]
        kept = sorted([y, *wrong_ones])
        shares, classes, y = shares[kept], [classes[k] for k in kept], kept.index(y)
    wrong = np.ma.masked_array(shares, mask=np.arange(len(shares))[:, None] == np.full(shares.shape[1], y))
    cmap = colormaps["cividis"].with_extremes(bad="white")
    shown = ax.imshow(wrong, cmap=cmap, vmin=0, aspect="auto", extent=(0.5, shares.shape[1] + 0.5, len(shares) - 0.5, -0.5))
    ax.add_patch(Rectangle((0.5, y - 0.5), shares.shape[1], 1, fill=False, hatch="////", edgecolor=PALE, linewidth=0))
    ax.text(
        0.5 + shares.shape[1] / 2,
        y,
        "right class",
        ha="center",
        va="center",
        fontsize=SIZE,
        color=INK,
        bbox={"fc": "white", "ec": "none", "pad": 1},
    )
    ax.grid(False)
    ax.set_yticks(range(len(classes)), classes)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("epoch")
    bar = ax.figure.colorbar(shown, ax=ax, shrink=0.9)
    bar.ax.tick_params(labelsize=SIZE)
    bar.set_label("share of the label, %", fontsize=SIZE)
    return ax


def variants(results: Mapping[str, Sequence[float]], ax: Axes, reference: str, what: str = "validation accuracy") -> Axes:
    """Variants by row: every seed a dot, their mean a bar; the reference's mean runs upright. Accuracies in [0, 1]."""
    for row, (_, values) in enumerate(results.items()):
        runs = 100 * np.asarray(values, dtype=float)
        ax.plot(runs, [row] * len(runs), "o", color="#7a5195", alpha=0.6, markersize=6, label="a seed" if row == 0 else "_")
        ax.plot([runs.mean()] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=2.2, label="mean" if row == 0 else "_")
    level = 100 * float(np.mean(results[reference]))
    ax.axvline(level, color=GREY, linestyle="--", linewidth=1, label=reference)
    ax.set_yticks(range(len(results)), list(results))
    ax.set_ylim(len(results) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.set_xlabel(f"{what}, %")
    legend(ax, outside=True)
    return ax


def _cells(ax: Axes, x: float, y: float, height: float, cells: int) -> None:
    """A set of local vectors: a grid of cells, centred at (x, y)."""
    step = height / cells
    wide = step * 0.42  # the diagram is wider than high
    for i in range(cells):
        for j in range(cells):
            corner = (x + (j - cells / 2) * wide, y - height / 2 + i * step)
            ax.add_patch(Rectangle(corner, 0.8 * wide, 0.8 * step, fc="#8da9c4", ec="none"))
