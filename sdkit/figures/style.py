"""The house style: figures without pyplot, one look per method, colours that a colour-blind reader tells apart."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import Tensor

from .sizes import HouseFigure, fit, saving

SIZE = 9.0
"""The smallest font on any figure of a notebook, points; `figures.style` makes it another's."""

INK, GREY, PALE = "#222222", "#6b6b6b", "#d9d9d9"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"

# Colours after Okabe & Ito (2008), the last four darker to be told apart on white. No two methods share colour and
# marker, so that a figure survives a black-and-white print.
STYLE: dict[str, dict[str, str]] = {
    "vanilla": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "byot": {"color": BLUE, "marker": "s", "linestyle": "--"},
    "ddgsd": {"color": SKY, "marker": "D", "linestyle": "-."},
    "self-guidance": {"color": PURPLE, "marker": "P", "linestyle": ":"},
    "drg": {"color": ORANGE, "marker": "^", "linestyle": "--"},
    "dsr": {"color": GREEN, "marker": "v", "linestyle": "-."},
    "drg+dsr": {"color": RED, "marker": "*", "linestyle": "-"},
    "sfr": {"color": "#7a5195", "marker": "X", "linestyle": "-"},
    "kd": {"color": GREY, "marker": "h", "linestyle": "--"},
    "lsr": {"color": "#8c6d1f", "marker": "p", "linestyle": ":"},
    "dsn": {"color": "#3d5a80", "marker": "<", "linestyle": ":"},
    "dlb": {"color": "#5b8c2a", "marker": ">", "linestyle": ":"},
}
"""Method -> color, marker and linestyle, ready for `ax.plot(..., **STYLE[name])`."""

LABELS = {
    "vanilla": "vanilla", "byot": "BYOT", "ddgsd": "DDGSD", "self-guidance": "Self-Guidance", "drg": "DRG", "dsr": "DSR",
    "drg+dsr": "DRG+DSR", "sfr": "SFR", "kd": "KD", "lsr": "LSR", "dsn": "DSN", "dlb": "DLB",
    "l2": "L2", "at": "AT", "fitnet": "FitNet", "sfr-l2": "SFR-L2", "sfr-at": "SFR-AT", "sfr-fitnet": "SFR-FitNet",
    "ps-kd": "PS-KD", "cs-kd": "CS-KD", "zf-ls": "ZF-LS", "tf-kd-reg": "TF-KD reg", "tf-kd-self": "TF-KD self", "ols": "OLS",
    "dml": "DML", "one": "ONE", "okddip": "OKDDip", "ss-kd": "SS-KD", "ban": "BAN", "ats": "ATS", "ctkd": "CTKD", "rkd": "RKD",
    "cc": "CC", "softmax-triplet": "softmax + triplet", "darkrank": "DarkRank", "vid": "VID", "crd": "CRD", "dkd": "DKD",
    "ai-kd": "AI-KD", "frskd": "FRSKD", "adversarial-ddgsd": "adversarial DDGSD", "nasty": "nasty teacher",
}  # fmt: skip

SECOND = {"color": "#8a8a8a", "linestyle": "--"}
"""How a second row of a method differs from the first."""

ALIKE = {SKY: BLUE}
"""A colour and one that is too near to it to stand beside it."""

CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#222222", "#7a5195", "#8c6d1f", "#999999")
CLASS_MARKERS = "o^sDv"

_SPARE_COLOURS = (BLUE, RED, GREEN, PURPLE, ORANGE, "#7a5195", GREY)
_SPARE_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_SPARE_LINES = ("-", "--", "-.", ":")


def look(name: str) -> dict[str, str]:
    """Colour, marker and linestyle of a method, a fresh dict. Of any other name always the same ones, derived from it.

    What stands behind a comma, such as "self-guidance, blocks=2", changes no look.
    """
    if _method(name) in STYLE:
        return dict(STYLE[_method(name)])
    n = crc32(name.encode())  # not hash(): it differs from process to process
    return {
        "color": _SPARE_COLOURS[n % len(_SPARE_COLOURS)],
        "marker": _SPARE_MARKERS[n // 7 % len(_SPARE_MARKERS)],
        "linestyle": _SPARE_LINES[n // 49 % len(_SPARE_LINES)],
    }


def _method(name: str) -> str:
    return name.partition(",")[0].lower()


def looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """`look` of every name, but names without a style of their own take the next free colour and marker in their order.

    A second row of a method, such as "vanilla, deeper" after "vanilla", wears its marker in grey; a third has no style either.
    """
    out = {name: look(name) for name in names}
    rows: dict[str, list[str]] = {}
    for name in out:
        rows.setdefault(_method(name), []).append(name)
    for _, *others in rows.values():
        for second in others[:1]:
            out[second] |= SECOND
    negatives = [name for name in out if _method(name) not in STYLE or name in rows[_method(name)][2:]]
    taken = {style["color"] for name, style in out.items() if name not in negatives}
    taken |= {ALIKE[color] for color in taken if color in ALIKE}
    free = [c for c in _SPARE_COLOURS if c not in taken] or _SPARE_COLOURS
    worn = {style["marker"] for name, style in out.items() if name not in negatives}
    marks = [m for m in _SPARE_MARKERS if m not in worn] or _SPARE_MARKERS
    for i, name in enumerate(negatives):
        out[name] = {
            "color": free[i % len(free)],
            "marker": marks[(i % len(free) + i // len(free)) % len(marks)],  # one marker on when the colours come round
            "linestyle": _SPARE_LINES[(i + bool(worn)) % len(_SPARE_LINES)],
        }
    return out


def class_look(i: int) -> dict[str, str]:
    """Colour and marker of class i: neighbours differ in both, and no two of the first fifty share the two."""
    return {"color": CLASS_COLOURS[i % 10], "marker": CLASS_MARKERS[(i + i // 10) % 5]}


def label(name: str) -> str:
    """A method's name as its paper writes it, of a combination part by part; any other name as it is.

    Options behind a comma are read out: "self-guidance, blocks=2" is "Self-Guidance, blocks 2".
    """
    method, comma, options = name.partition(", ")
    parts = [part.partition("@")[0] for part in method.split("+")]  # an own method is shown without its digest
    known = LABELS.get(method.lower()) or "+".join(LABELS.get(part.lower(), part) for part in parts)
    return known + comma + options.replace("=", " ")


def labels(names: Iterable[str]) -> dict[str, str]:
    """`label` of every name; states of an own part that would be called alike bear the first letters of their digests."""
    out = {name: label(name) for name in names}
    said = [*out.values()]
    alike = [name for name, words in out.items() if said.count(words) > 1]
    return out | {n: f"{out[n]} ({n.partition('@')[2][:4]})" if "@" in n else n for n in alike}


def shorten(name: str, most: int = 15) -> str:
    """A name where there is room for so many letters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def new(columns: int = 1, rows: int = 1, width: float | None = None, height: float | None = None, **options):
    """A figure in the house style -> (Figure, Axes), or (Figure, array of Axes) where there are several.

    width, height: inches in a notebook; None gives every panel 4.2 x 3.2. In another `figures.style` the figure takes that
    style's width, and its panels are stacked where they would be too narrow. options: of `Figure.subplots`, such as
    width_ratios, sharey or squeeze. The array is one-dimensional in a single row or column, [rows, columns] otherwise.
    """
    figure = HouseFigure((width or max(4.2 * columns, 5.2), height or 3.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, **options)
    for ax in [axes] if isinstance(axes, Axes) else axes.flat:
        house(ax)
    return figure, axes


def house(ax: Axes) -> Axes:
    """The house style on one Axes: open frame, pale grid below the data, fonts of 9 points and more."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(labelsize=SIZE, color=GREY)
    ax.grid(True, color=PALE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.xaxis.label.set_size(SIZE + 1)
    ax.yaxis.label.set_size(SIZE + 1)
    ax.title.set_size(SIZE + 2)
    return ax


def bare(ax: Axes) -> Axes:
    """An Axes for a picture or a diagram: no frame, ticks or grid."""
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return ax


def instead(ax: Axes, words: str, size: float = SIZE + 1) -> Text:
    """Words in the middle of an Axes that has nothing to draw."""
    return ax.text(0.5, 0.5, words, fontsize=size, color=GREY, ha="center", va="center", transform=ax.transAxes)


def legend(ax: Axes, outside: bool = False, **options) -> None:
    """A legend in the house style. outside: to the right of the Axes, where it can hide no data; `**ABOVE` puts it there."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0} if outside else {"loc": "best"}
    ax.legend(**{"fontsize": SIZE, "framealpha": 0.85, "edgecolor": PALE, "handlelength": 2.8, **place, **options})


ABOVE = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.01), "borderaxespad": 0.0, "frameon": False}
"""Options of a legend above its Axes, where it can hide no data."""


def banded(ax: Axes, spans: Mapping[str, tuple[Any, Any, Any] | None], what: str) -> None:
    """Bands around curves: around both of two, of more around plain training's alone, since many are one grey cloud.

    spans: name of every curve -> x, low and high; None where it has no spread. what: it is, for the legend.
    """
    every, styles = len(spans) <= 2, looks(spans)
    kept = {name: span for name, span in spans.items() if span and (every or name == "vanilla")}
    for i, (name, span) in enumerate(kept.items()):
        said = "_" if i else what if every else f"{label(name)}: {what}"
        ax.fill_between(*span, color=styles[name]["color"], alpha=0.18, linewidth=0, label=said)


def letters(figure: Figure) -> list[str]:
    """(a), (b), ... beside the panels that have a vertical scale, where there are two or more of them; what was written.

    Diagrams and pictures have titles of their own, and so have panels that are lettered already.
    """
    places = {}
    for ax in figure.axes:
        if ax.get_subplotspec() and ax.axison and len(ax.get_yticks()):
            places.setdefault(str(ax.get_subplotspec()), ax)  # a second scale is no second panel
    said = [text for ax in figure.axes for text in (ax.get_title(), *(t.get_text() for t in ax.texts))]
    if len(places) < 2 or any(text.startswith("(") for text in said):
        return []
    for letter, ax in zip("abcdefghijklmnop", places.values(), strict=False):
        ax.annotate(
            f"({letter})", (0, 1), (-6, 5), xycoords="axes fraction", textcoords="offset points", ha="right", va="bottom",
            fontsize=SIZE + 1, color=INK,
        )  # fmt: skip
    return [f"({letter})" for letter, _ in zip("abcdefghijklmnop", places, strict=False)]


def pdf(figure: Figure) -> bytes:
    """The figure as a PDF file's bytes, with TrueType fonts (Type 42)."""
    out, before = io.BytesIO(), fit(figure).canvas
    try:
        with saving():
            FigureCanvasPdf(figure).print_figure(out, format="pdf", facecolor="white", metadata={"CreationDate": None})
    finally:
        figure.set_canvas(before if isinstance(before, FigureCanvasAgg) else FigureCanvasAgg(figure))
    return out.getvalue()


def png(figure: Figure, dpi: float = 110) -> bytes:
    """The figure as a PNG file's bytes; the same figure gives the same bytes: its first drawing says where its parts stay."""
    out = io.BytesIO()
    FigureCanvasAgg(fit(figure)).print_figure(out, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    if figure.get_layout_engine() is not None:
        figure.set_layout_engine("none")  # a constrained layout goes on moving what is beside the Axes
    return out.getvalue()


def picture(image: Tensor) -> np.ndarray:
    """[3, H, W] in [0, 1] -> [H, W, 3]. ValueError for anything else, such as a normalised image."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image to show is [3, H, W], got {list(image.shape)}")
    if float(image.min()) < -1e-3 or float(image.max()) > 1 + 1e-3:
        raise ValueError(f"an image to show lies in [0, 1], got {float(image.min()):.2f} to {float(image.max()):.2f}")
    return image.clamp(0, 1).permute(1, 2, 0).float().cpu().numpy()


def outline(mask: Tensor, ax: Axes) -> list[Artist]:
    """A white line around an object, where it is a part of the image. mask [H, W] bool."""
    if not mask.any() or mask.all():
        return []
    return [ax.contour(mask.cpu().numpy().astype(float), [0.5], colors="white", linewidths=1.3)]


class Shown:
    """A figure as a notebook's output."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def _repr_png_(self) -> bytes:
        return png(self.figure)


def show(figure: Figure) -> Shown:
    """What a cell ends with to show a figure that is no paper's."""
    return Shown(figure)
