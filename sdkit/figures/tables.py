"""The figure of a paper's table that was run again: what each row gains, in the paper and here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from .style import BLUE, GREY, ORANGE, label, legend


def table_gains(rows: Mapping[str, tuple[Sequence[float], Sequence[float], float]], ax: Axes, reference: str = "") -> Axes:
    """A line a row: open marks are the paper's gains, dots the own seeds', the bar their mean with its interval.

    Args:
        rows: the paper's words for a row -> the paper's gains, a value for each network and data set that the table has; those
            here, a value a seed; and the mean of these ± what holds it 19 times of 20, nan with one seed. All in points.
        ax: where to draw.
        reference: what all rows are compared with, in the paper's words.

    Returns:
        The same Axes.
    """
    for y, (paper, here, margin) in enumerate(rows.values()):
        ax.plot(paper, np.full(len(paper), y - 0.18), "D", mfc="none", mec=ORANGE, mew=1.3, markersize=5.5, label="the paper")
        if here:
            wide = margin if np.isfinite(margin) else 0
            ax.errorbar(
                np.mean(here), y + 0.18, xerr=wide, fmt="|", color=BLUE, markersize=13, mew=2.2, capsize=4, label="here, mean"
            )
            ax.plot(here, np.full(len(here), y + 0.18), "o", color=BLUE, markersize=3.5, alpha=0.7, label="here, every seed")
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(range(len(rows)), [label(name) for name in rows])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(False, axis="y")
    ax.set_xlabel(f"points above {reference or 'the row it is compared with'}")
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    legend(ax, handles=list(handles.values()), labels=list(handles), outside=True)
    return ax
