"""Figures for a journal's column or page, a slide, a notebook: their width, their text, and fonts that a press takes."""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from ..core import pick

FONTS: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none"}
"""TrueType fonts, which IEEE's and ACM's checks take; text of an SVG file stays text."""

NARROWEST = 0.7
"""Share of its own width that a panel may shrink to before fewer stand side by side."""

WIDEST = 1.4
"""A diagram, whose words stand in boxes, may be so many times as wide as a column; a wider one takes the page."""

PAGE, SLANT = 7.0, 35

GAP = 2.0
"""Points between two words that do not touch."""


class Size(NamedTuple):
    """What a figure is made for."""

    width: float  # inches
    scale: float  # of text, lines and heights, a notebook's being 1
    smallest: float  # text, points
    largest: float


SIZES: dict[str, Size | None] = {
    "column": Size(3.3, 7 / 9, 7, 8),
    "page": Size(PAGE, 7 / 9, 7, 8),
    "slide": Size(12.0, 4 / 3, 12, 20),
    "notebook": None,
}
"""Name -> size; a notebook's figures are as wide as they say themselves."""

_now = ["notebook"]


class style:  # noqa: N801, read as a function: figures.style("column")
    """What figures are made for from here on, or inside a `with`: their width and the size of their text.

    A figure keeps the style that it was made in. It takes its size when it is shown or saved: panels that are too narrow side
    by side are stacked, legends stand beside the data, long labels are broken. A diagram whose boxes and words no column
    holds takes the page.

    Args:
        name: "column" (3.3 inches wide, a column of a journal), "page" (7 inches, a journal's two columns; both with text of 7
            to 8 points), "slide" (12 inches, text of 12 points and more), or "notebook", which is what it is unsaid.

    Raises:
        KeyError: there is no such style.

    Examples:
        >>> with style("column"):
        ...     figure = HouseFigure((9, 3))
        >>> round(float(fit(figure).get_figwidth()), 1)
        3.3
    """

    def __init__(self, name: str) -> None:
        self.before = _now[0]
        _now[0] = pick(name, SIZES, "style of figures")

    def __enter__(self) -> str:
        return _now[0]

    def __exit__(self, *_: object) -> None:
        _now[0] = self.before

    def __repr__(self) -> str:
        return f"figures.style({_now[0]!r})"


class HouseFigure(Figure):
    """A figure that knows the style it was made in, and takes its size when it is saved."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.styled: Size | None = SIZES[_now[0]]
        self.size_to_be = self.styled  # None where it has it

    def draw(self, renderer: RendererBase) -> None:
        """As matplotlib's, each title above the legend of its Axes."""
        _lift(self, renderer)
        super().draw(renderer)

    def savefig(self, *arguments: Any, **options: Any) -> None:
        """As matplotlib's, in the figure's style and with fonts that a press takes."""
        if self.styled is not None:
            options.pop("bbox_inches", None)  # a column is as wide as it is
        fit(self)
        with saving():
            super().savefig(*arguments, **options)


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """While a figure is written: its fonts are whole TrueType fonts (Type 42), an SVG file's words are text."""
    with rc_context(FONTS):
        yield


def fit(figure: Figure) -> Figure:
    """Gives a figure the width and the text of the style that it was made in, once; in a notebook's nothing changes.

    Args:
        figure: what was drawn.

    Returns:
        The same figure.
    """
    if not isinstance(figure, HouseFigure) or figure.size_to_be is None:
        return figure
    size, figure.size_to_be = figure.size_to_be, None
    figure.set_layout_engine("constrained")
    for ax in figure.axes:
        ax.set_in_layout(True)  # also of those at fixed places
    _stack(figure, size)
    _scale(figure, size)
    renderer = (figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)).get_renderer()
    _legends(figure, renderer)
    for _ in range(2):  # what is broken or turned takes room from the panels
        figure.draw_without_rendering()
        changed = [change(ax, renderer) for ax in figure.axes for change in (_numbers, _ticks)]
        if not any([*changed, _wrap(figure, renderer)]):
            break
    return figure


def _panels(figure: Figure) -> dict[str, list[Axes]]:
    """The axes of every place of the grid, in its order: a second scale stands where the first does."""
    places: dict[str, list[Axes]] = {}
    for ax in (ax for ax in figure.axes if _spec(ax)):
        spec = _spec(ax)
        places.setdefault(f"{spec.rowspan.start:04d} {spec.colspan.start:04d}", []).append(ax)
    return dict(sorted(places.items()))


def _spec(ax: Axes) -> Any:
    """Its place in the grid; None where it has none, such as a colour bar."""
    return ax.get_subplotspec()


def _is_picture(ax: Axes) -> bool:
    return bool(ax.images) and not ax.lines and not len(ax.get_yticks())


def _stack(figure: Figure, size: Size) -> None:
    """Sets the width; as many panels stand side by side as fit, and no fewer of those that are pictures."""
    wide, high = figure.get_size_inches()
    panels = list(_panels(figure).values())
    if not panels:
        figure.set_size_inches(size.width, high * size.width / wide)
        return
    rows, columns = _spec(panels[0][0]).get_gridspec().get_geometry()
    if all(_is_picture(ax) for axes in panels for ax in axes):
        figure.set_size_inches(size.width, max(high * size.width / wide, 0.35 * rows))
        return
    drawn = [ax for axes in panels for ax in axes if ax.texts and not ax.images and not len(ax.get_yticks())]
    diagram = bool(drawn)
    if any(_width(ax, wide) * size.scale > WIDEST * size.width for ax in drawn):
        size = size._replace(width=max(size.width, PAGE))
    beside = max(math.floor(size.width / (wide / columns * size.scale * (1 if diagram else NARROWEST)) + 1e-6), 1)
    if beside >= columns:
        figure.set_size_inches(size.width, high * size.scale)
        return
    beside = min(beside, len(panels))
    stacked = math.ceil(len(panels) / beside)
    grid = GridSpec(stacked, beside, figure=figure)
    for place, axes in enumerate(panels):
        row, column = divmod(place, beside)
        for ax in axes:
            old = _spec(ax).colspan.start
            ax.set_subplotspec(grid[row, column])
            if old and not column:
                _as_first(ax, panels[place - old][0])
    figure.set_size_inches(size.width, high / rows * size.scale * stacked)


def _width(ax: Axes, wide: float) -> float:
    """Inches that a panel takes of a figure's width."""
    spec = _spec(ax)
    shares = spec.get_gridspec().get_width_ratios()
    return wide * sum(shares[spec.colspan.start : spec.colspan.stop]) / sum(shares)


def _as_first(ax: Axes, first: Axes) -> None:
    """What a panel left to the first one of its row, and now needs itself: the words beside its scale."""
    ax.tick_params(labelleft=not ax.yaxis.get_ticks_position() == "right")
    if not ax.get_ylabel():
        ax.set_ylabel(first.get_ylabel())
    words = [t.get_text() for t in ax.get_yticklabels()]
    if words and not any(words) and len(ax.get_yticks()) == len(first.get_yticks()):
        ax.set_yticks(ax.get_yticks(), [t.get_text() for t in first.get_yticklabels()])


def _scale(figure: Figure, size: Size) -> None:
    for ax in figure.axes:
        for axis in (axis for axis in (ax.xaxis, ax.yaxis) if axis.get_visible()):
            labels = axis.get_ticklabels(which="both")
            least = min((float(t.get_fontsize()) for t in labels), default=9.0)
            axis.set_tick_params(which="both", labelsize=_points(least, size))
    for text in figure.findobj(Text):
        text.set_fontsize(_points(float(text.get_fontsize()), size))
    for line in figure.findobj(Line2D):
        line.set(linewidth=line.get_linewidth() * size.scale, markersize=line.get_markersize() * size.scale)


def _points(before: float, size: Size) -> float:
    return min(max(before * size.scale, size.smallest), size.largest)


def _legends(figure: Figure, renderer: RendererBase) -> None:
    """Legends beside the data, for which the figure grows: one below it, several different ones above their panels."""
    every: list[tuple[Axes, Any]] = [(ax, ax.get_legend()) for ax in figure.axes if ax.get_legend()]
    kept = {tuple(t.get_text() for t in legend.get_texts()): (ax, legend) for ax, legend in every}
    whole = {words: mark for ax in figure.axes for mark, words in zip(*ax.get_legend_handles_labels(), strict=True)}
    made = []
    for _, legend in every:
        legend.remove()
    for legend in figure.legends[:]:
        made.append(_again(figure, legend, whole, renderer, loc="outside upper center"))
        legend.remove()
    for ax, legend in kept.values():
        if len(kept) == 1:
            made.append(_again(figure, legend, whole, renderer, loc="outside lower center"))
            continue
        made.append(_again(ax, legend, whole, renderer, loc="lower left", bbox_to_anchor=(0.0, 1.01), borderaxespad=0.0))
    wide, tall = figure.get_size_inches()
    figure.set_size_inches(wide, tall + sum(legend.get_window_extent(renderer).height for legend in made) / figure.dpi)


def _lift(figure: Figure, renderer: Any) -> None:
    """Puts a title over the legend that stands above the same Axes."""
    for ax, legend in ((ax, ax.get_legend()) for ax in figure.axes):
        if legend is None or legend.get_bbox_to_anchor().y0 <= ax.bbox.y1:
            continue
        high = legend.get_window_extent(renderer).height * 72 / figure.dpi
        for where, text in _titles(ax).items():
            style: dict[str, Any] = {
                "fontsize": text.get_fontsize(),
                "color": text.get_color(),
                "fontweight": text.get_fontweight(),
            }
            ax.set_title(text.get_text(), loc=where, pad=high + 6, **style)


def _titles(ax: Axes) -> dict[Any, Text]:
    """The titles that an Axes has: left, center, right."""
    own: Any = ax
    every = {"left": own._left_title, "center": own.title, "right": own._right_title}
    return {where: text for where, text in every.items() if text.get_text()}


def _again(where: Figure | Axes, legend: Legend, whole: Mapping[str, Any], renderer: RendererBase, **place: Any) -> Legend:
    """The same legend at another place, in as many columns as its width takes. whole: words -> all that they stand for."""
    words = [t.get_text() for t in legend.get_texts()]
    at: Any = where
    marks = [whole.get(w, mark) for w, mark in zip(words, legend.legend_handles, strict=True)]
    size = legend.get_texts()[0].get_fontsize() if words else 7
    title, room = legend.get_title().get_text() or None, _room(where)
    for columns in range(min(len(words), 6) or 1, 0, -1):
        made = at.legend(
            marks, words, fontsize=size, title=title, title_fontsize=size, ncols=columns, frameon=False,
            handlelength=2.2, columnspacing=1.0, **place,
        )  # fmt: skip
        if made.get_window_extent(renderer).width <= room or columns == 1:
            return made
        made.remove()
    raise AssertionError("a legend has a column")


def _room(where: Figure | Axes) -> float:
    """Pixels that a legend may take: of the figure, or of its part above an Axes and beside its scale."""
    if isinstance(where, Figure):
        return where.bbox.width - 8
    figure: Any = where.get_figure()
    return 0.8 * figure.bbox.width / _spec(where).get_gridspec().ncols


def _touch(boxes: Iterable[Bbox], gap: float = GAP) -> bool:
    found = list(boxes)
    return any(
        min(a.x1, b.x1) - max(a.x0, b.x0) > -gap and min(a.y1, b.y1) - max(a.y0, b.y0) > 0
        for i, a in enumerate(found)
        for b in found[i + 1 :]
    )


def _numbers(ax: Axes, renderer: RendererBase) -> bool:
    """Numbers over bars stand upright where they would touch. -> whether any does."""
    numbers = [t for t in ax.texts if t.get_text().strip(" ×%+-−.").replace(".", "", 1).isdigit()]
    touch = ax.axison and _touch((t.get_window_extent(renderer) for t in numbers), 0)
    for text in numbers if touch else ():
        text.set(rotation=90)
    return touch


def _ticks(ax: Axes, renderer: RendererBase) -> bool:
    """Words below an axis are slanted where they would touch, numbers left out. -> whether any is."""
    changed = False
    for axis in (axis for axis in (ax.xaxis, ax.yaxis) if axis.get_visible()):
        low, high = sorted(axis.get_view_interval())
        ticks = [t for t in axis.get_major_ticks() if low <= t.get_loc() <= high]
        labels = [label for t in ticks for label in (t.label1, t.label2) if label.get_visible() and label.get_text()]
        if len(labels) < 2 or not _touch(label.get_window_extent(renderer) for label in labels):
            continue
        changed = True
        if any(any(c.isalpha() for c in label.get_text().replace("mathdefault", "")) for label in labels):
            if axis is ax.xaxis and not labels[0].get_rotation():
                apart = ax.get_window_extent(renderer).width / len(ticks) * math.sin(math.radians(SLANT))
                slanted = apart > labels[0].get_window_extent(renderer).height
                ax.tick_params(axis="x", rotation=SLANT if slanted else 90)
                for label in labels if slanted else ():
                    label.set(ha="right", rotation_mode="anchor")
        else:
            words = [t.label1.get_text() or t.label2.get_text() for t in ticks]
            kept = [i for i, word in enumerate(words) if word][::2]
            axis.set_ticks([t.get_loc() for t in ticks], [word if i in kept else "" for i, word in enumerate(words)])
    return changed


def _wrap(figure: Figure, renderer: RendererBase) -> bool:
    """Titles and labels that are longer than there is room are broken into lines. -> whether any is."""
    inside, broken = figure.bbox.width, []
    for ax in figure.axes:
        panel = ax.get_window_extent(renderer)
        centred = min(inside, panel.width + 2 * min(panel.x0, inside - panel.x1))
        titles = _titles(ax).values()
        broken += [_broken(text, panel.width / len(titles) if len(titles) > 1 else centred, renderer) for text in titles]
        broken += [_broken(ax.xaxis.label, centred, renderer)]
        broken += [_broken(ax.yaxis.label, panel.height * 1.1, renderer, upright=True)]
    own: Any = figure
    return any([*broken, *(_broken(t, inside, renderer) for t in (own._suptitle, own._supxlabel) if t is not None)])


def _broken(text: Text, room: float, renderer: RendererBase, upright: bool = False) -> bool:
    words = text.get_text()

    def long() -> float:
        box = text.get_window_extent(renderer)
        return box.height if upright else box.width

    if long() <= room or "$" in words or " " not in words:
        return False
    for letters in range(len(max(words.split("\n"), key=len)) - 1, 7, -1):
        text.set_text("\n".join(textwrap.fill(line, letters, break_long_words=False) for line in words.split("\n")))
        if long() <= room:
            break
    return text.get_text() != words
