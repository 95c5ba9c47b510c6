"""Figures of paper 002, "Self-Guidance: Improve Deep Neural Network Generalization via Knowledge Distillation"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from ..analysis import Projection
from ..train import Epoch
from .diagrams import DATA, OUTPUT, arrow, box, canvas
from .general import plane
from .style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SIZE, SKY, legend
from .training import CYCLE, learning_curves

LAMBDA_LOOKS = {0: (INK, "o"), 0.1: (SKY, "P"), 0.25: (RED, "s"), 0.5: (BLUE, "D"), 1: (GREEN, "^"), 3: (PURPLE, "v")}
"""Colour and marker of the paper's weights, the same in every figure."""

__all__ = ["lambda_curves", "lambda_table", "sampling", "snapshots", "train_and_test"]


def sampling(ax: Axes, survival: Sequence[float], mask: Sequence[bool]) -> Axes:
    """The whole network above, the sub-network that one mini-batch samples below; the greener, the surer a block stays.

    survival: p of every residual block, shallow to deep. mask: which of them the student kept. Paper 002, Fig. 1.
    """
    if len(survival) != len(mask):
        raise ValueError(f"every block has a survival and is kept or not, got {len(survival)} and {len(mask)}")
    canvas(ax)
    n, low, high = len(survival), 0.12, 0.8
    step = (high - low) / n
    at = [low + (i + 0.5) * step for i in range(n)]
    box(ax, 0.04, 0.5, 0.075, 0.2, "images\nx", DATA)
    for y, color, name, kept in [(0.76, BLUE, "teacher", [True] * n), (0.24, RED, "student", mask)]:
        path = {"color": color, "linewidth": 2.4, "solid_capstyle": "round", "zorder": 1}
        ax.plot([0.078, low], [0.5 + 0.1 * np.sign(y - 0.5), y], **path)
        for i, (x, p, on) in enumerate(zip(at, survival, kept, strict=True)):
            left, right = x - step / 2, x + step / 2
            face = _green(p) if on else "white"
            style = {"fc": face, "ec": GREY, "lw": 0.9, "ls": "-" if on else (0, (3, 2))}
            shape = {"boxstyle": "round,pad=0,rounding_size=0.01", "zorder": 2}
            ax.add_patch(FancyBboxPatch((left + 0.14 * step, y - 0.1), 0.72 * step, 0.2, **shape, **style))
            words = f"{i + 1}" if on else "skip"
            ax.text(x, y, words, ha="center", va="center", fontsize=SIZE, color=INK if on else GREY, zorder=3)
            if on:
                ax.plot([left, right], [y, y], **path)
            else:  # around the block
                t = np.linspace(0, math.pi, 30)
                ax.plot(x - step / 2 * np.cos(t), y - 0.17 * np.sin(t), **path)
        ax.plot([high, high + 0.02], [y, y], **path)
        box(ax, 0.87, y, 0.1, 0.17, f"p of the\n{name}", OUTPUT)
        side = 0.97 if y > 0.5 else 0.03
        rule = r"$H_l=\mathrm{ReLU}(p_l f_l+H_{l-1})$" if y > 0.5 else r"$H_l=\mathrm{ReLU}(b_l f_l+H_{l-1})$"
        who = f"{name}: {'all' if y > 0.5 else sum(map(bool, mask))} of {n} blocks,  {rule}"
        ax.text(low, side, who, color=color, fontsize=SIZE + 1, va="center")
        ax.text(0.985, y, "CE(y)", ha="right", va="center", fontsize=SIZE, color=INK)
    for x, p in zip(at, survival, strict=True):
        ax.text(x, 0.55, f"{p:.2f}", ha="center", va="center", fontsize=SIZE, color=INK)
    ax.text(
        0.5 * (low + high), 0.485, "survival probability p of each block", ha="center", va="center", fontsize=SIZE, color=GREEN
    )
    arrow(ax, (0.87, 0.67), (0.87, 0.33), teaches=True)
    ax.text(0.885, 0.5, r"$\lambda\tau^2$KL", color=RED, fontsize=SIZE + 1, va="center")
    return ax


def _green(p: float) -> tuple[float, float, float]:
    """White at 0.3 and below, full green at 1."""
    return tuple(1 - max(p - 0.3, 0) / 0.7 * (1 - c) for c in (0.35, 0.75, 0.5))


def train_and_test(histories: Mapping[str, Sequence[Epoch]], ax: Axes) -> Axes:
    """Training (thin) and test (bold) error over the epochs, the last epoch's gap in the legend. Paper 002, Fig. 2."""
    learning_curves(histories, ax)
    for text, history in zip(ax.get_legend().get_texts(), histories.values(), strict=False):  # the star comes last
        last = history[-1]
        gap = 100 * (last.train_accuracy - (last.test or last.accuracy)["final"])
        signed = f"{gap:+.1f}".replace("-", "−")
        text.set_text(f"{text.get_text()}, test − train {signed} points")
    return ax


def lambda_curves(histories: Mapping[float, Sequence[Sequence[Epoch]]], ax: Axes) -> Axes:
    """Training (dashed) and test (solid) error over the epochs for each weight of the distillation. Paper 002, Fig. 3 and 4.

    histories: λ -> histories over seeds, whose mean is drawn.
    """
    epochs = 1
    for i, (lam, seeds) in enumerate(sorted(histories.items())):
        length = min(len(h) for h in seeds)
        epochs, x = max(epochs, length), np.arange(1, length + 1)
        train = np.mean([[100 * (1 - e.train_accuracy) for e in h[:length]] for h in seeds], 0)
        test = np.mean([[100 * (1 - e.accuracy["final"]) for e in h[:length]] for h in seeds], 0)
        color, marker = LAMBDA_LOOKS.get(lam, (CYCLE[i % len(CYCLE)], "*"))
        every = max(length // 6, 1)
        ax.plot(x, train, "--", color=color, linewidth=1.1)
        ax.plot(x, test, "-", color=color, linewidth=1.9, marker=marker, markersize=5, markevery=every, label=f"λ = {lam:g}")
    ax.set_xlabel("epoch")
    ax.set_ylabel("error, %")
    ax.set_xlim(1, max(epochs, 2))
    ax.set_ylim(bottom=0)
    ax.set_title("dashed: training, solid: test", fontsize=SIZE + 1)
    if histories:
        legend(ax)
    return ax


def lambda_table(
    ours: Mapping[str, Sequence[float]],
    reported: Mapping[str, Mapping[str, float]],
    axes: Sequence[Axes],
    chance: float,
    diverged: Mapping[str, int] | None = None,
    what: str = "validation error",
):
    """Error of the baseline and of each weight of the distillation, the paper's and one's own. Paper 002, Table 5.

    ours: row -> accuracies in [0, 1] over seeds, such as {"baseline": ..., "0.25": ...}. reported: network of the paper ->
    row -> error in percent. chance: accuracy of a guess. diverged: row -> how many of its seeds diverged: they stand at chance.
    """
    names = dict.fromkeys([*ours, *(r for errors in reported.values() for r in errors)])
    rows = sorted(names, key=lambda r: float(r) if r[:1].isdigit() else -1.0)
    left, right = axes
    for (network, errors), style in zip(reported.items(), ("D--", "s:", "^-."), strict=False):
        kept = [r for r in rows if r in errors]
        color = ORANGE if style == "s:" else INK
        left.plot([rows.index(r) for r in kept], [errors[r] for r in kept], style, color=color, mfc="white", label=network)
    left.set_title("the paper")
    left.set_ylabel("test error, %")
    legend(left)
    for row in ours:
        errors = 100 * (1 - np.asarray(ours[row], dtype=float))
        at = rows.index(row)
        lost = (diverged or {}).get(row, 0)
        if len(errors):
            right.errorbar(at, errors.mean(), errors.std(), fmt="o", color=PURPLE, capsize=4, markersize=7)
            right.plot([at] * len(errors), errors, "o", color=PURPLE, alpha=0.4, markersize=3.5)
        if lost:
            right.plot(at, 100 * (1 - chance), "X", color=RED, markersize=10)
            right.annotate(
                f"diverged: {lost} of {lost + len(errors)}", (at, 100 * (1 - chance)), (6, -16), textcoords="offset points",
                ha="right", va="center", fontsize=SIZE, color=RED,
            )  # fmt: skip
    right.axhline(100 * (1 - chance), color=GREY, linestyle=":", linewidth=1)
    right.text(-0.4, 100 * (1 - chance), "chance", fontsize=SIZE, color=GREY, va="bottom")
    right.set_title("here")
    right.set_ylabel(f"{what}, %")
    for ax in axes:
        ax.set_ylim(0, 100)
        ax.set_xticks(range(len(rows)), rows)
        ax.set_xlim(-0.5, len(rows) - 0.5)
        ax.set_xlabel("λ")
        ax.grid(False, axis="x")
    return axes


def snapshots(
    points: Mapping[str, Mapping[int, Projection]], y: Tensor, axes, silhouette: Mapping[str, Mapping[int, float]] | None = None
):
    """Features of the teacher and of fixed students while they learn: a row each, a column per epoch. Paper 002, Fig. 5.

    points: row -> epochs done -> N points of the plane. y [N] labels. axes: [rows, columns]. silhouette: written below.
    """
    grid = np.asarray(axes, dtype=object).reshape(len(points), -1)
    for r, (name, along) in enumerate(points.items()):
        for c, (epoch, p) in enumerate(along.items()):
            ax = grid[r, c]
            plane(p, y, ax, 9)
            if r == 0:
                ax.set_title(f"after epoch {epoch}")
            if c == 0:
                ax.set_ylabel(name)
            if silhouette:
                ax.set_xlabel(f"silhouette {silhouette[name][epoch]:.2f}", fontsize=SIZE)
    return axes
