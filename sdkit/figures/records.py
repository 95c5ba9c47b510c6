"""What was recorded: methods over their seeds beside plain training and beside what the papers print.

The tables are made by the studies, a floor above: what is read of them is declared here. Every picture carries its label,
"recorded, on DEVICE, recipe R, plan P, n seeds".
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..papers.printed import Printed
from .style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SIZE, SKY, banded, label, legend, looks

LOOK = """
.sdkit-sheet { border-collapse: collapse; color: #222; background: #fff; margin: .4rem 0 1rem }
.sdkit-sheet caption { caption-side: top; text-align: left; padding: .3rem .6rem; color: #222; background: #fff }
.sdkit-sheet th, .sdkit-sheet td { padding: .25rem .7rem; border-bottom: 1px solid #d9d9d9; text-align: left; color: #222 }
.sdkit-sheet th { border-bottom: 2px solid #0072B2 }
"""


class Row(Protocol):
    """A method over its seeds, beside plain training: accuracies and gains in [0, 1]."""

    name: str
    method: str
    accuracy: Sequence[float]  # after the last epoch, a value a seed
    best: Sequence[float]  # of the best watched epoch, a value a seed
    mean: float  # of `accuracy`
    gain: float  # above plain training; nan where there is none to compare with
    margin: float  # a gain within ± this may be chance
    told: bool | None  # whether the gain is positive; None within the margin
    seeds: int
    diverged: int


class Band(Protocol):
    """A curve a seed, over the same epochs."""

    epoch: Sequence[float]  # [E]
    seeds: Sequence[Sequence[float]]  # [S][E]


class Gain(Protocol):
    """A method beside plain training of the same length; written out it is "+1.2 ± 0.4"."""

    epochs: int
    seeds: Mapping[int, float]  # seed -> accuracy above plain training's, in [0, 1]
    mean: float
    margin: float
    told: bool | None


class Level(Protocol):
    """Plain training of one length: accuracies in [0, 1], a value a seed."""

    epochs: int
    test: Sequence[float]
    train: Sequence[float]


class Said(Protocol):
    """What the gains of one method come to."""

    word: str  # "better", "faster", "worse" or "cannot be told"


class ByLength(Protocol):
    """Methods and plain training at several lengths."""

    gains: Mapping[str, Sequence[Gain]]  # a row's name -> its gains
    said: Mapping[str, Said]
    plain: Sequence[Level]
    lengths: Sequence[int]  # epochs
    usual: int | None  # the epochs of the recipe itself
    recipe: str
    label: str
    setting: str
    margins: str


class Sheet:
    """A table of words: HTML as a notebook's output, columns of text elsewhere."""

    def __init__(self, head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
        self.head, self.rows, self.caption = list(head), [list(row) for row in rows], caption
        if any(len(row) != len(self.head) for row in self.rows):
            raise ValueError(f"every row of this table has {len(self.head)} cells, got {sorted({len(r) for r in self.rows})}")

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in self.head)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(v)}</td>" for v in row) + "</tr>" for row in self.rows)
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        return f'<style>{LOOK}</style><table class="sdkit-sheet">{caption}<tr>{head}</tr>{body}</table>'

    def __repr__(self) -> str:
        wide = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = ["  ".join(v.ljust(w) for v, w in zip(row, wide, strict=True)).rstrip() for row in (self.head, *self.rows)]
        return "\n".join([self.caption, *lines] if self.caption else lines)


def score_sheet(rows: Sequence[Row], caption: str) -> Sheet:
    """Every method's accuracy and its gain over plain training, in words. caption: the label and the setting.

    Times are left out: records are not trained in turns, so that a busy hour would count as a slow method.
    """
    head = ["method", "last epoch, %", "above vanilla, points", "told apart?"]
    return Sheet([*head, "best epoch of those watched, %", "seeds"], [_scores(row) for row in rows], caption)


def _scores(row: Row) -> list[str]:
    gain = told = ""
    if row.above:
        gain, told = str(row.above), row.above.verdict
    return [
        label(row.name),
        _spread(row.accuracy),
        gain,
        told,
        _spread(row.best),
        f"{row.seeds}" + (f", {row.diverged} diverged" if row.diverged else ""),
    ]


def _spread(values: Sequence[float]) -> str:
    """Accuracies in percent, mean ± sd of a sample."""
    if not values:
        return "-"
    mean = f"{100 * np.mean(values):.1f}"
    return f"{mean} ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else mean


def seed_curves(bands: Mapping[str, Band], ax: Axes, what: str, percent: bool = False, key: bool = True) -> Axes:
    """Mean over the seeds at every epoch; a band reaches from the lowest seed to the highest. key: with a legend.

    Of more than two curves plain training alone has a band.
    """
    styles = looks(bands)
    spans: dict[str, tuple | None] = {}
    for name, band in bands.items():
        values = np.asarray(band.seeds, dtype=float) * (100 if percent else 1)
        style, every = styles[name], max(len(band.epoch) // 8, 1)
        ax.plot(band.epoch, values.mean(0), label=label(name), **style, markersize=4, markevery=every)
        spans[name] = (band.epoch, values.min(0), values.max(0)) if len(values) > 1 else None
    banded(ax, spans, "lowest to highest seed")
    ax.set_xlabel("epoch")
    ax.set_ylabel(what)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if key and bands:
        legend(ax, outside=True)
    return ax


def recorded_gains(rows: Sequence[Row], printed: Sequence[Printed], ax: Axes) -> Axes:
    """Points of test accuracy above plain training, each side with its own: recorded ones, and the papers' as open marks.

    A bar is the margin: a gain smaller than that may be chance. A dot is a seed. The papers' numbers are of other networks and
    trainings.
    """
    plain = [row for row in rows if row.method == "vanilla" and row.accuracy]
    rows = [row for row in rows if math.isfinite(row.gain)]
    y = np.arange(len(rows))[::-1]
    for i, (at, row) in enumerate(zip(y, rows, strict=True)):
        gains = [100 * (row.gain + a - row.mean) for a in row.accuracy]
        words = "recorded: mean, and its margin" if not i else "_"
        ax.errorbar(100 * row.gain, at, xerr=100 * row.margin, fmt="s", color=INK, ecolor=SKY, elinewidth=5, label=words)
        ax.plot(gains, [at] * len(gains), "o", color=RED, markersize=3.5, zorder=4, label="_" if i else "recorded: every seed")
    for j, p in enumerate(printed):
        kept = [(at, 100 * p.gain[row.method]) for at, row in zip(y, rows, strict=True) if row.method in p.gain]
        ax.plot(
            [gain for _, gain in kept], [at - 0.24 for at, _ in kept], "DP^vX"[j % 5], mfc="white", mew=1.5, markersize=7,
            mec=(ORANGE, PURPLE, GREEN)[j % 3], linestyle="", label=str(p),
        )  # fmt: skip
    ax.axvline(0, color=GREY, linewidth=1)
    ax.set_yticks(y, [label(row.name) for row in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(False, axis="y")
    beside = f" ({100 * plain[0].mean:.1f} % here)" if len(plain) == 1 else " of the same network" if plain else ""
    ax.set_xlabel("test accuracy, points above vanilla" + beside)
    if rows:
        named = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        first = {words: mark for words, mark in named.items() if words.startswith("recorded")}
        legend(ax, outside=True, handles=(first | named).values(), labels=(first | named).keys())
    return ax


def length_sheet(found: ByLength) -> Sheet:
    """A row a method, a column a length: points above plain training of the same length, and what they come to."""
    lengths = sorted({g.epochs for gains in found.gains.values() for g in gains})
    rows = []
    for name, gains in found.gains.items():
        cells = {g.epochs: f"{g}" + {True: ", higher", False: ", lower", None: ""}[g.told] for g in gains}
        rows.append([label(name), *(cells.get(n, "-") for n in lengths), found.said[name].word])
    head = ["points above vanilla", *(f"{n} epochs" for n in lengths), "so it is"]
    return Sheet(head, rows, f"{found.label}: {found.setting}. {found.margins}.")


def gain_by_length(found: ByLength, axes: Iterable[Axes]) -> list[Axes]:
    """A panel a method: its gain over plain training of the same length; in the panel after them plain training itself.

    A bar is the margin, a filled mark a gain that is larger than it and so hardly chance, a dot a seed. Where short trainings
    scatter so far that the gains of the long ones could not be seen, the scale is logarithmic beyond what the long ones need.

    Args:
        found: what was trained at several lengths.
        axes: one more than there are methods; those left over are taken away.

    Returns:
        The axes that were drawn on.

    Raises:
        ValueError: there are too few axes.
    """
    axes = np.ravel(np.asarray(axes, dtype=object)).tolist()
    used, spare = axes[: len(found.gains) + 1], axes[len(found.gains) + 1 :]
    if len(used) <= len(found.gains):
        raise ValueError(f"{len(found.gains)} methods and plain training want {len(found.gains) + 1} panels, got {len(axes)}")
    for ax in spare:
        ax.remove()
    limits, names = _gain_limits(found.gains.values()), _short(found.gains)
    fine = _fine_to(found.gains.values(), found.usual or max(found.lengths, default=0), limits)
    for ax, (name, gains) in zip(used, found.gains.items(), strict=False):
        word = found.said[name].word
        _gain_panel(gains, ax)
        ax.set_title(names[name], loc="left", fontsize=SIZE + 1)
        ax.set_title(
            word, loc="right", fontsize=SIZE, color=WORDS.get(word, GREY), weight="bold" if word in WORDS else "normal"
        )
        first = ax.get_subplotspec().is_first_col()
        ax.set_ylabel(("gain, points" + (f"\n(logarithmic beyond ±{fine})" if fine else "")) if first else "")
        if fine:
            ax.set_yscale("symlog", linthresh=fine, linscale=1)
            coarse = [v for v in (10, 20, 50) if v > fine]
            ticks = [-fine, -fine / 2, 0, fine / 2, fine, *coarse, *(-v for v in coarse)]
            ax.set_yticks(ticks, [f"{v:g}".replace("-", "−") for v in ticks])
            ax.yaxis.minorticks_off()
        ax.set_ylim(limits)
        ax.tick_params(labelleft=first)
    _plain_panel(found.plain, used[-1])
    if not used[-1].get_subplotspec().is_first_col():  # its scale is its own: on the left it would push the panels apart
        used[-1].yaxis.tick_right()
        used[-1].yaxis.set_label_position("right")
        used[-1].spines["left"].set_visible(False)
        used[-1].spines["right"].set(visible=True, color=GREY)
    for ax in used:
        lowest = _lowest(ax, used)
        _length_axis(ax, found.lengths, found.usual)
        ax.set_xlabel("epochs of the whole training" if lowest else "")
        ax.tick_params(labelbottom=lowest)
    marks = {words: mark for ax in used[:-1] for mark, words in zip(*ax.get_legend_handles_labels(), strict=True)}
    named = {words: marks[words] for words in (TOLD, UNTOLD, KNOWN, SEED) if words in marks}
    if found.usual:
        named[f"the recipe {found.recipe}: {found.usual} epochs"] = used[-1].get_lines()[-1]
    if named:
        place = {"loc": "outside upper center", "ncols": len(named), "frameon": False, "fontsize": SIZE}
        used[0].figure.legend(named.values(), named.keys(), **place)
    return used


TOLD, UNTOLD, KNOWN, SEED = "mean gain, told from zero", "not told from zero", "95 % interval of the mean", "a seed"
WORDS = {"better": GREEN, "faster": BLUE, "worse": RED}
"""What the gains of a method may come to -> its colour."""


def _short(names: Iterable[str]) -> dict[str, str]:
    """Row -> its method's name, or its own name where several rows are of one method."""
    methods = [name.partition(",")[0] for name in names]
    return {n: label(m if methods.count(m) == 1 else n) for n, m in zip(names, methods, strict=True)}


def _gain_panel(gains: Sequence[Gain], ax: Axes) -> None:
    epochs, means = [g.epochs for g in gains], [100 * g.mean for g in gains]
    wide = [100 * g.margin if math.isfinite(g.margin) else 0 for g in gains]
    ax.axhline(0, color=INK, linewidth=1)
    if any(wide):
        ax.errorbar(epochs, means, yerr=wide, fmt="none", ecolor=SKY, elinewidth=5, alpha=0.75, label=KNOWN)
    ax.plot(epochs, means, color=BLUE, linewidth=1.4, zorder=3)
    for words, face in ((TOLD, BLUE), (UNTOLD, "white")):
        kept = [(n, mean) for g, n, mean in zip(gains, epochs, means, strict=True) if (g.told is not None) == (words == TOLD)]
        if kept:
            ax.plot(*zip(*kept, strict=True), "s", mfc=face, mec=BLUE, mew=1.4, markersize=6, zorder=4, label=words)
    dots = [(g.epochs, 100 * gain) for g in gains for gain in g.seeds.values()]
    ax.plot(*zip(*dots, strict=True), "o", color=RED, markersize=3.5, zorder=5, label=SEED)


def _plain_panel(levels: Sequence[Level], ax: Axes) -> None:
    ax.set_title(label("vanilla"), loc="left", fontsize=SIZE + 1)
    ax.set_ylabel("accuracy, %")
    epochs = [level.epochs for level in levels]
    for what, line, mark in (("train", "--", "^"), ("test", "-", "o")):
        seeds = [getattr(level, what) for level in levels]
        words = {"train": "training", "test": "test"}[what]
        color = {"train": GREY, "test": INK}[what]
        ax.plot(epochs, [100 * np.mean(s) for s in seeds], line, color=color, marker=mark, markersize=4.5, label=words)
        each = [(n, 100 * a) for n, s in zip(epochs, seeds, strict=True) for a in s]
        ax.plot(*(zip(*each, strict=True) if each else ((), ())), ".", color=color, markersize=4)
    if levels:
        legend(ax, loc="lower right")


def _length_axis(ax: Axes, lengths: Sequence[int], usual: int | None) -> None:
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [f"{n}" for n in lengths])
    ax.minorticks_off()
    ends = [*lengths, *([usual] if usual else [])]
    ax.set_xlim(min(ends) / 1.3, max(ends) * 1.3)
    if usual:
        ax.axvline(usual, color=GREY, linewidth=1.2, linestyle=":", zorder=1)


def _gain_limits(rows: Iterable[Sequence[Gain]]) -> tuple[float, float]:
    """One scale for all panels. It holds every gain, and the bars as far as they do not dwarf the gains."""
    gains = [g for row in rows for g in row]
    seen = [0.0, *(100 * value for g in gains for value in g.seeds.values())]
    low, high = min(seen), max(seen)
    room = max(high - low, 2.0)
    wide = [(100 * (g.mean + side * g.margin)) for g in gains for side in (-1, 1) if math.isfinite(g.margin)]
    low, high = max(min([low, *wide]), low - room), min(max([high, *wide]), high + room)
    return low - 0.06 * (high - low), high + 0.06 * (high - low)


def _fine_to(rows: Iterable[Sequence[Gain]], usual: int, limits: tuple[float, float]) -> int | None:
    """Up to where the scale is linear, in points: there lie the gains from the length `usual` on. None: it is linear at all."""
    kept = [g for gains in rows for g in gains if g.epochs >= usual]
    ends = [g.mean + side * g.margin for g in kept for side in (-1, 1) if math.isfinite(g.margin)]
    furthest = max((100 * abs(v) for v in [*ends, *(v for g in kept for v in g.seeds.values())]), default=math.inf)
    fine = 2 * math.ceil(max(furthest, 1) / 2) if math.isfinite(furthest) else 0
    return fine if fine and 2.5 * fine < max(map(abs, limits)) else None


def _lowest(ax: Axes, axes: Sequence[Axes]) -> bool:
    """Whether no panel lies under this one."""
    here = ax.get_subplotspec()
    below = [other.get_subplotspec() for other in axes]
    return not any(o.colspan.start == here.colspan.start and o.rowspan.start > here.rowspan.start for o in below)


def stamp(figure: Figure, words: str) -> Figure:
    """Writes under a figure where its numbers come from."""
    figure.supxlabel(words, fontsize=SIZE, color=GREY)
    return figure
