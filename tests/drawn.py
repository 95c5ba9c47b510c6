"""Figures that are drawn in a test, and whether every word on them can be read."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from sdkit import figures
from sdkit.analysis import TermShares
from sdkit.figures.sizes import fit


def one(draw: Callable[[Axes], object], **options) -> Figure:
    figure, ax = figures.new(**options)
    assert draw(ax) is ax
    return figure


def many(draw: Callable[[np.ndarray], object], **options) -> Figure:
    figure, axes = figures.new(**options)
    draw(axes)
    return figure


def on_screen(make: Callable[[], Figure]) -> tuple[Figure, list[str]]:
    """A figure, and what of it cannot be read on a screen; a warning on the way is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = make()
        return figure, unreadable(figure)


def words(figure: Figure) -> list[tuple[str, np.ndarray]]:
    """Every word that is drawn, with its [4] extents in pixels."""
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    visible = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    hidden = {id(t) for ax in figure.axes for t in unseen(ax)}
    return [(t.get_text(), extents(t, renderer)) for t in visible if id(t) not in hidden]


def extents(text: Text, renderer: object) -> np.ndarray:
    """The [4] extents of a text in pixels; of a slanted one those of its last letters, below which the next one passes."""
    x0, y0, x1, y1 = text.get_window_extent(renderer).extents
    angle = text.get_rotation()
    if angle % 90 == 0:
        return np.array([x0, y0, x1, y1])
    high = text.get_fontsize() * text.get_figure().dpi / 72
    return np.array([x1 - high / np.sin(np.radians(angle)), y0, x1, y1])


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


def unreadable(figure: Figure, least: float = 9) -> list[str]:
    """Pairs of words that overlap by more than a pixel, words that leave the canvas, words below so many points."""
    found, out = words(figure), []
    width, height = figure.bbox.size
    for i, (a, (x0, y0, x1, y1)) in enumerate(found):
        if x0 < -1 or y0 < -1 or x1 > width + 1 or y1 > height + 1:
            out.append(f"{a!r} leaves the canvas")
        for b, (u0, v0, u1, v1) in found[i + 1 :]:
            if min(x1, u1) - max(x0, u0) > 1 and min(y1, v1) - max(y0, v0) > 1:
                out.append(f"{a!r} over {b!r}")
    return out + [f"{t.get_text()!r} is small" for t in figure.findobj(Text) if t.get_text() and t.get_fontsize() < least]


def printed(make: Callable[[], Figure], kind: str) -> Figure:
    """A figure as it is printed in a style of figures."""
    with figures.style(kind):
        return fit(make())


def illegible(make: Callable[[], Figure], kind: str) -> list[str]:
    """What of a figure cannot be read in print: words that overlap or are below 6 points, points below a legend, its width."""
    figure = printed(make, kind)
    wide = {"column": (3.3, 7.0) if diagram(figure) else (3.3,), "page": (7.0,)}[kind]
    wrong = [] if figure.get_figwidth() in wide else [f"{figure.get_figwidth():.2f} inches wide, not {wide}"]
    found = unreadable(figure, 6)  # it is drawn there
    return wrong + found + [f"a legend upon {name}" for ax in figure.axes for name in hidden(ax, drawn=True)]


def diagram(figure: Figure) -> bool:
    """Whether there are words in boxes: one that no column holds takes the page."""
    return any(ax.texts and not ax.images and not len(ax.get_yticks()) for ax in figure.axes)


def hidden(ax: Axes, drawn: bool = False) -> list[str]:
    """The points of labelled lines that the legend stands upon."""
    if ax.get_legend() is None:
        return []
    if not drawn:
        ax.figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    return [s.get_label() for s in ax.lines for point in ax.transData.transform(s.get_xydata()) if box.contains(*point)]


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
