"""How strongly every term of a loss pulls at the network: a row a term, on a scale that shows what is not felt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from ..analysis import INERT, SWAMPS, TermShares, mark
from .style import ABOVE, BLUE, GREY, INK, ORANGE, PALE, SIZE, label, legend

LEAST, MOST = 1e-4, 300.0
"""The ends of the axis; what lies beyond stands on them."""

MOMENTS: dict[str, dict[str, Any]] = {
    "early": {"marker": "o", "markerfacecolor": "white", "markersize": 8.5},
    "late": {"marker": "o", "markersize": 4.5},
    "now": {"marker": "D", "markersize": 4.5},
}
COLOURS = {"inert": GREY, "swamps": ORANGE, "": BLUE}


def term_shares(shares: Mapping[str, TermShares], ax: Axes) -> Axes:
    """A row for every term, "task" left out: its gradient on the network beside that of the labels, early and late.

    The axis is logarithmic and 1 is as strong as the labels alone. Grey are terms that are not felt, below 1 % of the labels'
    pull, and orange those that swamp the labels, above 10 times of it. A term that teaches other networks alone, has no target
    yet or has weight 0 keeps its row, with words for a mark.

    Args:
        shares: method -> its `analysis.term_shares`.
        ax: where to draw; allow 0.2 inches of height a row.

    Returns:
        The Axes.

    Raises:
        ValueError: no method adds a term to the labels.
    """
    rows = [(name, term) for name, found in shares.items() for term in found.terms if term != "task"]
    if not rows:
        raise ValueError("these methods add no term to the labels: there is no share to draw")
    for low, high, words in ((LEAST / 2, INERT, "inert: not felt"), (SWAMPS, 2 * MOST, "swamps the labels")):
        ax.axvspan(low, high, color=PALE, alpha=0.45, linewidth=0, zorder=0)
        middle = math.sqrt(max(low, LEAST) * min(high, MOST))
        ax.text(middle, 1.0, words, transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=SIZE, color=INK)
    ax.axvline(1, color=GREY, linewidth=1.0, zorder=1)
    for y, (name, term) in enumerate(rows):
        _row(shares[name], term, y, ax)
    for y, (above, below) in enumerate(pairwise(rows)):
        if above[0] != below[0]:
            ax.axhline(y + 0.5, color=PALE, linewidth=0.6, zorder=0)
    ax.set_yticks(range(len(rows)), [term for _, term in rows])
    aside = -5.5 * max(len(term) for _, term in rows) - 12  # points, beside the longest term
    for y, (name, _) in enumerate(rows):
        if not y or rows[y - 1][0] != name:
            ax.annotate(
                label(name), (0, y), (aside, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points", ha="right",
                va="center_baseline", fontsize=SIZE, fontweight="bold", color=INK,
            )  # fmt: skip
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xscale("log")
    ax.set_xlim(LEAST / 2, 2 * MOST)
    ax.set_xticks([1e-4, 1e-3, 0.01, 0.1, 1, 10, 100], ["0.01 %", "0.1 %", "1 %", "10 %", "100 %", "10 ×", "100 ×"])
    ax.set_xlabel("gradient of the term on the network, beside that of the labels alone")
    ax.tick_params(axis="y", length=0, labelsize=SIZE)
    ax.grid(False, axis="y")
    moments = list(dict.fromkeys(m for found in shares.values() for m in found.moments))
    said = {"early": "early: first steps", "late": "late: last epoch"}
    marks = [Line2D([], [], color=BLUE, linestyle="none", label=said.get(m, m), **MOMENTS[m]) for m in moments]
    place: dict[str, Any] = {**ABOVE, "bbox_to_anchor": (0.0, 1.0), "borderaxespad": 1.8}
    legend(ax, handles=marks, ncols=len(marks), **place)
    return ax


def _row(found: TermShares, term: str, y: int, ax: Axes) -> None:
    """One term's marks, joined by a line; a word where there is nothing to mark."""
    values = {m: float(found.share[i, found.terms.index(term)]) for i, m in enumerate(found.moments)}
    drawn = {m: min(max(v, LEAST), MOST) for m, v in values.items() if v > 0}
    if len(drawn) > 1:
        ax.plot(list(drawn.values()), [y] * len(drawn), color=GREY, linewidth=1.0, zorder=2)
    for moment, x in drawn.items():
        style = {"markerfacecolor": COLOURS[mark(values[moment])]} | MOMENTS[moment]
        ax.plot(x, y, color=COLOURS[mark(values[moment])], linestyle="none", zorder=3, **style)
    off = {m: "weight 0" if term in found.weightless else "no target yet" if m == "early" else "off" for m in values}
    words = {m: {"off": off[m], "elsewhere": "teaches other weights alone"}[mark(v)] for m, v in values.items() if not v > 0}
    if words:
        ax.text(LEAST * 0.7, y, next(iter(words.values())), fontsize=SIZE, color=GREY, va="center", style="italic")
