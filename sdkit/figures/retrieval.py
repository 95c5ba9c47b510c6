"""Figures of retrieval: how far down a ranking the right image is, and what comes first (SFR, Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from ..analysis import Retrieval
from .style import GREEN, INK, RED, SIZE, bare, label, legend, looks, picture


def cmc(results: Mapping[str, Retrieval], ax: Axes, ranks: int = 20) -> Axes:
    """Share of the queries with a right image among the first k, percent, over k: a line per method, mAP in its name."""
    styles = looks(results)
    for name, r in results.items():
        share = 100 * r.cmc[:ranks].numpy()
        ax.plot(
            range(1, len(share) + 1), share, label=f"{label(name)} (mAP {100 * r.map:.1f} %)", **styles[name],
            markersize=5, markevery=max(len(share) // 10, 1),
        )  # fmt: skip
    ax.set_xlabel("first k images of the ranking")
    ax.set_ylabel("queries with a right one, %")
    ax.set_xlim(1, max(min(ranks, max(len(r.cmc) for r in results.values())), 2))
    ax.set_ylim(0, 100)
    ax.xaxis.get_major_locator().set_params(integer=True)
    legend(ax, loc="lower right")
    return ax


def hits(result: Retrieval, queries: Tensor, gallery: Tensor, rows: Sequence[int], axes, columns: int = 5) -> None:
    """Chosen queries, each with the first images of its ranking: ✓ in a solid frame is right, ✗ in a dashed one wrong.

    queries [Q, 3, H, W] and gallery [G, 3, H, W] in [0, 1], as `result` ranked them. rows: places of queries.
    axes: [len(rows), 1 + columns].
    """
    shape = (len(rows), 1 + columns)
    if axes.shape != shape or columns > result.first.shape[1]:
        raise ValueError(
            f"{len(rows)} queries and {columns} of the {result.first.shape[1]} kept images take axes of shape {shape}, "
            f"got {axes.shape}"
        )
    for line, row in zip(axes, rows, strict=True):
        framed(line[0], queries[row], INK, "-", "query")
        for ax, place, right in zip(line[1:], result.first[row].tolist(), result.right[row].tolist(), strict=False):
            if place < 0:
                bare(ax)
            else:
                framed(ax, gallery[place], GREEN if right else RED, "-" if right else "--", "✓" if right else "✗")


def framed(ax: Axes, image: Tensor, colour: str, line: str, title: str) -> Axes:
    """A picture in a frame that colour, line and title tell apart."""
    shown = bare(ax).imshow(picture(image))
    box = Rectangle((0, 0), 1, 1, transform=ax.transAxes, fill=False, edgecolor=colour, linestyle=line, linewidth=3)
    ax.add_patch(box).set_clip_on(False)
    shown.set_clip_path(None)
    ax.set_title(title, fontsize=SIZE + 1, color=colour)
    return ax
