"""Figures that are drawn in a test, and whether every word on them can be read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from sdkit import figures
from sdkit.analysis import TermShares


def one(draw: Callable[[Axes], object], **options) -> Figure:
    figure, ax = figures.new(**options)
    assert draw(ax) is ax
    return figure


def many(draw: Callable[[np.ndarray], object], **options) -> Figure:
    figure, axes = figures.new(**options)
    draw(axes)
    return figure


def words(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Every word that is drawn, with its [4] extents in pixels."""
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    visible = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    hidden = {id(t) for ax in figure.axes for t in unseen(ax)}
    return [(t.get_text(), t.get_window_extent(renderer).extents) for t in visible if id(t) not in hidden]


def unseen(ax: Axes) -> list[Text]:
    """Tick labels that matplotlib makes but does not draw: those beyond the axis' limits."""
    out = []
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        room = 1e-6 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low - room <= tick.get_loc() <= high + room:
                out += [tick.label1, tick.label2]
    return out


def unreadable(figure: Figure) -> list[str]:
    """Pairs of words that overlap by more than a pixel, words that leave the canvas, words below 9 points."""
    found, out = words(figure), []
    width, height = figure.bbox.size
    for i, (a, (x0, y0, x1, y1)) in enumerate(found):
        if x0 < -1 or y0 < -1 or x1 > width + 1 or y1 > height + 1:
            out.append(f"{a!r} leaves the canvas")
        for b, (u0, v0, u1, v1) in found[i + 1 :]:
            if min(x1, u1) - max(x0, u0) > 1 and min(y1, v1) - max(y0, v0) > 1:
                out.append(f"{a!r} over {b!r}")
    return out + [f"{t.get_text()!r} is small" for t in figure.findobj(Text) if t.get_text() and t.get_fontsize() < 9]


def told(moments: list[str], **shares: list[float]) -> TermShares:
    """A method's shares, a row of numbers a term."""
    share = torch.tensor([[1.0] * len(moments), *shares.values()], dtype=torch.float64).T
    return TermShares(("task", *shares), (*moments,), ("stem",), share, share[..., None], torch.ones(len(moments)).double())


def pulls() -> dict[str, TermShares]:
    both, nan = ["early", "late"], float("nan")
    return {
        "byot": told(both, head=[0.5, 0.7], hint=[0.0005, 1e-6]), "at": told(both, at=[80.0, 4000.0]),
        "codistillation": told(both, peer=[nan, nan], agree=[0.0, 0.2]),
    }  # fmt: skip
