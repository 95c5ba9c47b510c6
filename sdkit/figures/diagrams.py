"""Diagrams: boxes, arrows, pseudo-code. In all of them a solid arrow is the forward pass and a dashed red one teaches."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from .style import GREY, INK, PALE, RED, SIZE, bare

BLOCK, EXTRA, OUTPUT, DATA = "#dbe7f3", "#fde8c4", "#d6efe4", "#f2f2f2"
SHAPE = (0.06, 0.08, 0.1, 0.13, 0.17, 0.24, 0.34, 0.5, 0.75)  # a sorted output, for the eye
OTHER = (0.04, 0.06, 0.07, 0.1, 0.12, 0.18, 0.3, 0.58, 0.92)


def overview(axes: Sequence[Axes]):
    """Kinds of self-distillation: (a) multi-exit, (b) time-wise, (c) intra-class, (d) DRG, (e) DSR. Paper 004, Fig. 1."""
    if len(axes) != 5:
        raise ValueError(f"overview draws five panels, (a) to (e): 5 axes, got {len(axes)}")
    for ax, draw in zip(axes, (_multi_exit, _time_wise, _intra_class, _reverse, _shape_wise), strict=True):
        canvas(ax)
        draw(ax)
    return axes


def mechanisms(
    ax_drg: Axes, ax_dsr: Axes, stages: Sequence[tuple[str, int, int]], guided: tuple[int, ...]
) -> tuple[Axes, Axes]:
    """How DRG and DSR work, DRG with the stages of a live network. Paper 004, Fig. 2.

    stages: (name, channels, side of the map in pixels), shallow to deep. guided: 1-based numbers of the stages that carry an
    auxiliary classifier, as the paper counts blocks. ValueError where there is no such stage.
    """
    if not guided or not all(1 <= g <= len(stages) for g in guided):
        raise ValueError(f"guided holds stages 1..{len(stages)}, got {guided}")
    canvas(ax_drg).set_title("DRG: a shallow exit guides the whole network")
    n, low, high = len(stages), 0.2, 0.8
    step = (high - low) / max(n - 1, 1)
    tall = min(0.7 * step, 0.13)
    tops = [low + i * step for i in range(n)]
    box(ax_drg, 0.26, 0.05, 0.3, 0.08, "images x", DATA)
    for i, ((name, channels, size), y) in enumerate(zip(stages, tops, strict=True)):
        box(ax_drg, 0.26, y, 0.46, tall, f"{name}: {channels} × {size} × {size}", BLOCK)
        arrow(ax_drg, (0.26, tops[i - 1] + tall / 2 if i else 0.09), (0.26, y - tall / 2))
    box(ax_drg, 0.26, 0.95, 0.46, 0.08, "p (final exit)", OUTPUT)
    arrow(ax_drg, (0.26, tops[-1] + tall / 2), (0.26, 0.91))
    for i, g in enumerate(sorted(guided)):
        y, x = tops[g - 1], 0.8
        box(ax_drg, x, y, 0.36, tall, f"classifier q{g if len(guided) > 1 else ''}", EXTRA)
        arrow(ax_drg, (0.49, y), (x - 0.18, y))
        if i == len(guided) - 1:
            arrow(ax_drg, (x, y + tall / 2), (0.49, 0.96), teaches=True, bend=0.25)
        else:  # left of the classifiers above it
            arrow(ax_drg, (x - 0.17, y + tall / 2), (0.488, 0.93), teaches=True)
    ax_drg.text(0.98, 0.93, r"$\alpha\,\tau^2\,$KL(q, p)", color=RED, fontsize=SIZE + 1, ha="right", va="center")
    canvas(ax_dsr).set_title("DSR: the sorted output keeps its shape")
    for x, when, shape, z in [(0.25, "iteration t − 1", OTHER, "t-1"), (0.75, "iteration t", SHAPE, "t")]:
        box(ax_dsr, x, 0.06, 0.4, 0.09, f"batch of {when}", DATA)
        box(ax_dsr, x, 0.24, 0.4, 0.11, "the network", BLOCK)
        arrow(ax_dsr, (x, 0.105), (x, 0.185))
        arrow(ax_dsr, (x, 0.295), (x, 0.44))
        ax_dsr.text(x + 0.02, 0.365, "sort logits", fontsize=SIZE, va="center", color=INK)
        bars(ax_dsr, x - 0.19, 0.45, 0.38, 0.26, shape)
        ax_dsr.text(x - 0.17, 0.68, rf"$\tilde{{z}}^{{\,{z}}}$", fontsize=SIZE + 3, va="center", color=INK)
    arrow(ax_dsr, (0.3, 0.72), (0.7, 0.72), teaches=True, bend=-0.4)
    formula = r"$\beta\,\tau^2\,$KL($\tilde{z}^{\,t-1}$, $\tilde{z}^{\,t}$)"
    ax_dsr.text(0.5, 0.92, formula, color=RED, fontsize=SIZE + 1, ha="center")
    return ax_drg, ax_dsr


def algorithm(ax: Axes, title: str, lines: Sequence[str]) -> Axes:
    """Pseudo-code in a ruled box, monospaced, numbered; the lines' own leading blanks are kept."""
    canvas(ax)
    ax.plot([0.01, 0.99], [0.99, 0.99], color=INK, linewidth=1.6)
    step = 0.98 / (len(lines) + 1.4)
    ax.text(0.02, 0.99 - 0.6 * step, title, fontsize=SIZE + 1, weight="bold", va="center_baseline")
    ax.plot([0.01, 0.99], [0.99 - 1.1 * step] * 2, color=INK, linewidth=0.8)
    for i, line in enumerate(lines):
        y = 0.99 - (1.75 + i) * step
        ax.text(0.02, y, f"{i + 1:>2}  {line}", family="DejaVu Sans Mono", fontsize=SIZE, va="center", parse_math=False)
    ax.plot([0.01, 0.99], [0.01, 0.01], color=INK, linewidth=1.6)
    return ax


def canvas(ax: Axes) -> Axes:
    """A bare Axes from (0, 0) to (1, 1)."""
    bare(ax)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    return ax


def box(ax: Axes, x: float, y: float, width: float, height: float, text: str, color: str) -> None:
    """A rounded box with words, centred at (x, y)."""
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.02", fc=color, ec=GREY, lw=0.9
    )
    ax.add_patch(patch)
    ax.text(x, y, text, ha="center", va="center", fontsize=SIZE, color=INK, linespacing=1.05)


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], teaches: bool = False, bend: float = 0.0) -> None:
    """An arrow: thin and grey for the forward pass, dashed and red for what teaches."""
    style = {"color": RED, "lw": 1.7, "ls": (0, (4, 2))} if teaches else {"color": GREY, "lw": 1.1, "ls": "-"}
    style |= {"arrowstyle": "-|>", "shrinkA": 1, "shrinkB": 1, "connectionstyle": f"arc3,rad={bend}"}
    ax.annotate("", end, start, arrowprops=style)


def bars(ax: Axes, x: float, y: float, width: float, height: float, values: Sequence[float]) -> None:
    """A small bar chart in the rectangle with its lower left corner at (x, y); values in [0, 1]."""
    ax.add_patch(Rectangle((x, y), width, height, fc="white", ec=PALE, lw=0.9))
    step = width / len(values)
    for i, v in enumerate(values):
        ax.add_patch(Rectangle((x + (i + 0.15) * step, y), 0.7 * step, v * height, fc="#8da9c4", ec="none"))


def _column(ax: Axes, x: float, exits: Sequence[int]) -> None:
    """Three blocks and the final exit, and an early exit beside each of `exits`."""
    box(ax, x, 0.06, 0.34, 0.09, "image x", DATA)
    for i in (1, 2, 3):
        y = 0.06 + 0.2 * i
        box(ax, x, y, 0.34, 0.12, f"block {i}", BLOCK)
        arrow(ax, (x, y - (0.155 if i == 1 else 0.14)), (x, y - 0.06))
        if i in exits:
            box(ax, 0.8, y, 0.3, 0.12, f"exit q{i}", EXTRA)
            arrow(ax, (x + 0.17, y), (0.65, y))
    arrow(ax, (x, 0.72), (x, 0.825))
    box(ax, x, 0.88, 0.34, 0.11, "output p", OUTPUT)


def _multi_exit(ax: Axes) -> None:
    ax.set_title("(a) multi-exit")
    _column(ax, 0.25, (1, 2))
    arrow(ax, (0.42, 0.89), (0.84, 0.52), teaches=True, bend=-0.25)
    arrow(ax, (0.4, 0.83), (0.66, 0.32), teaches=True)


def _time_wise(ax: Axes) -> None:
    ax.set_title("(b) time-wise")
    for x, when, out in [(0.25, "step t − 1", r"$p^{\,t-1}$"), (0.75, "step t", r"$p^{\,t}$")]:
        box(ax, x, 0.06, 0.36, 0.09, "image x", DATA)
        box(ax, x, 0.4, 0.4, 0.24, f"network\nof {when}", BLOCK)
        box(ax, x, 0.76, 0.32, 0.12, out, OUTPUT)
        arrow(ax, (x, 0.105), (x, 0.28))
        arrow(ax, (x, 0.52), (x, 0.70))
    arrow(ax, (0.27, 0.82), (0.73, 0.82), teaches=True, bend=-0.35)


def _intra_class(ax: Axes) -> None:
    ax.set_title("(c) intra-class")
    box(ax, 0.5, 0.4, 0.9, 0.2, "network", BLOCK)
    for x, image, out in [(0.25, "image x'", "p'"), (0.75, "image x", "p")]:
        box(ax, x, 0.06, 0.38, 0.09, image, DATA)
        box(ax, x, 0.76, 0.32, 0.12, out, OUTPUT)
        arrow(ax, (x, 0.105), (x, 0.3))
        arrow(ax, (x, 0.5), (x, 0.70))
    ax.text(0.5, 0.175, "same class", fontsize=SIZE, ha="center", va="center", color=INK, style="italic")
    arrow(ax, (0.27, 0.82), (0.73, 0.82), teaches=True, bend=-0.35)


def _reverse(ax: Axes) -> None:
    ax.set_title("(d) DRG")
    _column(ax, 0.25, (2,))
    arrow(ax, (0.84, 0.52), (0.42, 0.89), teaches=True, bend=0.25)


def _shape_wise(ax: Axes) -> None:
    ax.set_title("(e) DSR")
    for x, when, shape in [(0.25, "step t − 1", OTHER), (0.75, "step t", SHAPE)]:
        box(ax, x, 0.06, 0.42, 0.09, when, DATA)
        box(ax, x, 0.27, 0.4, 0.12, "network", BLOCK)
        bars(ax, x - 0.19, 0.5, 0.38, 0.28, shape)
        arrow(ax, (x, 0.105), (x, 0.21))
        arrow(ax, (x, 0.33), (x, 0.5))
    ax.text(0.5, 0.415, "sort", fontsize=SIZE, ha="center", va="center", color=INK, style="italic")
    arrow(ax, (0.27, 0.79), (0.73, 0.79), teaches=True, bend=-0.35)
