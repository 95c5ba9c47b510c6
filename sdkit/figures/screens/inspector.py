"""The loss inspector: one image under one step of a method. Drawn once, then only what moves is drawn again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from ...methods.inspector import StepReport
from ..style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, RED, SIZE, SKY, bare, house, legend, shorten
from .cached import packed

MOST = 12
"""Classes that have room beside each other; of more, those are shown that the final exit finds likeliest, and the label."""

LOOKS = (
    (INK, "o", "-"), (BLUE, "s", "--"), (RED, "^", "-."), (GREEN, "D", ":"),
    (PURPLE, "v", "--"), (ORANGE, "P", "-."), (SKY, "X", ":"), (GREY, "h", "--"),
)  # fmt: skip
LEAST = 1e-4
"""The smallest probability on a logarithmic axis."""

FAINT = 1e-8
"""A gradient below this is rounding."""


class LossBoard:
    """The report as a figure that follows: `png(report)` draws the new numbers into the old axes.

    classes: [K] names. Axes, labels and legends are drawn anew only where a report has other readers, terms or classes, or
    where a scale no longer fits.
    """

    def __init__(self, classes: Sequence[str], dpi: float = 90) -> None:
        self.classes, self.dpi, self.figure = classes, dpi, None
        self._built, self._still, self._last = None, None, None
        self._groups: list[tuple[Callable[[StepReport], Any], Sequence[Artist], Callable[[StepReport], None]]] = []

    def png(self, report: StepReport) -> bytes:
        """The report as a PNG file's bytes, quickly compressed. Drawn anew is what has changed, and what lies over it."""
        last, built = self._last, self._built
        self.update(report)
        canvas, box = self.figure.canvas, self.figure.bbox
        if self._still is None:
            canvas.draw()
            self._still = canvas.copy_from_bbox(box)
            self._below = 0, self._still  # the pixels under a group
        same = [last is not None and built == self._built and _same(key(last), key(report)) for key, *_ in self._groups]
        first = same.index(False) if False in same else len(same)
        start, pixels = self._below if self._below[0] <= first else (0, self._still)
        canvas.restore_region(pixels)
        for i, (_, artists, _) in enumerate(self._groups[start:], start):
            if i == first:
                self._below = first, canvas.copy_from_bbox(box)
            for artist in artists:
                self.figure.draw_artist(artist)
        return packed(canvas.buffer_rgba())

    def update(self, report: StepReport) -> Figure:
        """The figure with the numbers of a report."""
        shown = _shown(report)
        layout = (
            tuple(report.distributions),
            tuple(report.terms),
            tuple(_rows(report)),
            tuple(shown),
            len(report.views),
            report.ranked is None,
            None if report.plan is None else report.plan.plan.shape,
            None if report.blocks is None else len(report.blocks.on),
        )
        if layout != self._built:
            self._build(report, shown)
            self._built, self._still = layout, None
        self._last = None  # until all of it is the report's
        for *_, move in self._groups:
            move(report)
        self._last = report
        return self.figure

    def _build(self, report: StepReport, shown: list[int]) -> None:
        self.figure = Figure((10.6, 5.2), dpi=self.dpi, facecolor="white")
        FigureCanvasAgg(self.figure)
        self._groups, self._shown = [], shown
        extras = [
            draw
            for draw, there in ((self._ranked, report.ranked), (self._plan, report.plan), (self._blocks, report.blocks))
            if there is not None
        ]
        extras = extras or [self._opinions]
        room = self.figure.add_axes
        self._views([room((0.012, 0.68 - 0.24 * i, 0.115, 0.2)) for i in range(len(report.views))], report)
        self._distributions(house(room((0.255, 0.55, 0.315, 0.36))), report)
        for i, draw in enumerate(extras[:2]):
            height = 0.365 if len(extras) == 1 else 0.135
            draw(house(room((0.715, (0.09, 0.315)[i], 0.265, height))), report)
        self._terms(house(room((0.735, 0.57, 0.185, 0.34))), report)
        if rows := _rows(report):
            height = min(0.34, 0.06 * len(rows))
            self._gradient(house(room((0.255, 0.455 - height, 0.315, height))), report)
        else:
            self.figure.text(
                0.255,
                0.4,
                "No term is computed from these logits:\nthis method shapes the features.",
                fontsize=SIZE + 1,
                va="top",
            )

    def _live(self, key: Callable[[StepReport], Any], artists: Sequence[Artist], move: Callable[[StepReport], None]) -> None:
        """Artists that move, left out of the still background: key says what of a report they show, move puts them there.

        Groups are drawn in this order: those that seldom change come first.
        """
        for artist in artists:
            artist.set_animated(True)
        self._groups.append((key, artists, move))

    def _views(self, axes: Sequence[Axes], report: StepReport) -> None:
        pictures = [bare(ax).imshow(np.zeros((2, 2, 3)), vmin=0, vmax=1, extent=(0, 1, 0, 1)) for ax in axes]
        said = axes[0].text(0.0, 1.05, "", fontsize=SIZE + 1, transform=axes[0].transAxes, va="bottom")
        for ax, name in zip(axes, ("", "its partner"), strict=False):
            ax.text(0, -0.05, name, fontsize=SIZE, transform=ax.transAxes, va="top", color=GREY)

        def move(report: StepReport) -> None:
            for image, view in zip(pictures, report.views, strict=True):
                image.set_data(view.permute(1, 2, 0).numpy())
            said.set_text(f"label\n{shorten(self.classes[int(report.label.argmax())], 24)}")

        self._live(lambda r: (r.views, r.label), (*pictures, said), move)

    def _distributions(self, ax: Axes, report: StepReport) -> None:
        at = np.arange(len(self._shown))
        label = ax.bar(
            at, np.zeros(len(at)), 0.8, facecolor=PALE, edgecolor=GREY, linewidth=0.8, label="label, T = 1", zorder=1
        )
        lines = [
            ax.plot(at, at * 0.0, color=c, marker=m, linestyle=s, linewidth=1.1, markersize=5, label=name)[0]
            for name, (c, m, s) in zip(report.distributions, _looks(len(report.distributions)), strict=True)
        ]
        self._over_classes(ax)
        ax.tick_params(labelbottom=not _rows(report))  # else the names stand below the gradient, in the same columns
        ax.set_ylim(0, 1.02)
        ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
        ax.grid(False, axis="x")
        many = len(lines) + 1
        legend(
            ax, loc="lower left", bbox_to_anchor=(-0.2, 1.005), ncols=min(many, 5 if many != 6 else 3), frameon=False,
            columnspacing=1.1, handlelength=2.0, labelspacing=0.2,
        )  # fmt: skip
        said = ax.text(-0.17, 0.5, "", fontsize=SIZE + 1, transform=ax.transAxes, ha="center", va="center", rotation=90)

        def move(report: StepReport) -> None:
            for bar, height in zip(label, report.label[self._shown].tolist(), strict=True):
                bar.set_height(height)
            for line, p in zip(lines, report.distributions.values(), strict=True):
                line.set_ydata(p[self._shown].numpy())
            said.set_text(f"softmax at T = {report.temperature:.3g}")

        self._live(lambda r: (r.distributions, r.label, r.temperature), (*label, *lines, said), move)

    def _gradient(self, ax: Axes, report: StepReport) -> None:
        rows = _rows(report)
        image = ax.imshow(np.zeros((len(rows), len(self._shown))), cmap="PuOr_r", aspect="auto", vmin=-1.3, vmax=1.3)
        ax.grid(False)
        ax.set_yticks(range(len(rows)), [f"{term} → {reader}" for term, reader in rows])
        if "sum" in [term for term, _ in rows]:
            ax.axhline([term for term, _ in rows].index("sum") - 0.5, color=INK, linewidth=1.2)
        self._over_classes(ax)
        signs = [ax.plot([], [], ls="", marker=m, color=INK, mfc="white", ms=6)[0] for m in ("^", "v")]
        high = 1 + 0.08 / len(rows)
        ax.text(
            1.0,
            high,
            "step down each term: △ raises, ▽ lowers the logit",
            fontsize=SIZE + 1,
            transform=ax.transAxes,
            ha="right",
            va="bottom",
        )
        ax.text(1.03, high, "largest\n|∂term/∂logit|", fontsize=SIZE, transform=ax.transAxes, va="bottom")
        place = ax.get_yaxis_transform()
        sizes = [ax.text(1.03, i, "", fontsize=SIZE, transform=place, va="center") for i in range(len(rows))]

        def move(report: StepReport) -> None:
            pulls = np.stack([_pull(report, *row).numpy() for row in rows])
            largest = np.abs(pulls).max(1, keepdims=True)  # of all classes, those that have no room too
            share = -pulls[:, self._shown] / np.where(largest > FAINT, largest, np.inf)
            image.set_data(share)
            for sign, there in zip(signs, (share > 0.15, share < -0.15), strict=True):
                sign.set_data(*np.nonzero(there)[::-1])
            for said, size in zip(sizes, largest[:, 0], strict=True):
                said.set_text("0" if size <= FAINT else f"{size:.2g}")

        self._live(lambda r: (r.gradient, r.summed), (image, *signs, *sizes), move)

    def _terms(self, ax: Axes, report: StepReport) -> None:
        names = [*report.terms, "sum"]
        bars = ax.barh(range(len(names)), [0.0] * len(names), 0.62, color=[*([BLUE] * len(report.terms)), INK])
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.set_title("terms of the loss, weighted", fontsize=SIZE + 1, loc="right")
        place = ax.get_yaxis_transform()
        values = [ax.text(1.03, i, "", fontsize=SIZE + 1, transform=place, va="center") for i in range(len(names))]

        def limits(report: StepReport) -> tuple[float, float]:
            numbers = [v for v in (*report.terms.values(), report.total) if math.isfinite(v)] or [0.0]
            low, high = -_nice(-min(numbers)), _nice(max(numbers))
            return (low, high) if low < high else (0.0, 1.0)

        def move(report: StepReport) -> None:
            if limits(report) != ax.get_xlim():
                ax.set_xlim(*limits(report))
            numbers = [*report.terms.values(), report.total]
            for bar, value, said in zip(bars, numbers, values, strict=True):
                bar.set_width(value)
                said.set_text(f"{value:.4f}" if abs(value) < 100 else f"{value:.1f}")

        self._live(limits, (ax.xaxis,), lambda report: None)
        self._live(lambda r: r.terms, (*bars, *values), move)

    def _ranked(self, ax: Axes, report: StepReport) -> None:
        at = np.arange(1, len(report.ranked.now) + 1)
        now = ax.semilogy(at, at * 0 + 1.0, color=INK, marker="o", markersize=4, label="this image")[0]
        target = ax.semilogy(at, at * 0 + 1.0, color=RED, marker="^", markersize=4, linestyle="--", label="target")[0]
        ax.set_ylim(LEAST, 1.5)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_xlabel("rank, ascending")
        legend(ax, loc="lower right")
        title = self._title(ax)

        def move(report: StepReport) -> None:
            now.set_ydata(report.ranked.now.clamp_min(LEAST).numpy())
            target.set_ydata(report.ranked.target.clamp_min(LEAST).numpy())
            title.set_text(f"sorted output, τ = {report.ranked.temperature:.3g}")

        self._live(lambda r: r.ranked, (now, target, title), move)

    def _plan(self, ax: Axes, report: StepReport) -> None:
        stages, n, _ = report.plan.plan.shape
        gap = max(n // 8, 1)
        image = ax.imshow(np.zeros((n, stages * (n + gap) - gap)), cmap="cividis", vmin=0, vmax=1)
        bare(ax)
        ax.set_xlabel("rows: cells of the stage, columns: of the last map", fontsize=SIZE)
        said = [
            ax.text(i * (n + gap) + n / 2 - 0.5, -0.5 - n / 40, "", ha="center", va="bottom", fontsize=SIZE)
            for i in range(stages)
        ]

        def move(report: StepReport) -> None:
            wide = np.full((n, stages * (n + gap) - gap), np.nan)
            for i, plan in enumerate(report.plan.plan.numpy()):
                wide[:, i * (n + gap) : i * (n + gap) + n] = plan
                said[i].set_text(f"stage {i + 1}\nEMD {report.plan.distance[i]:.2f}\nattention {report.plan.weight[i]:.2f}")
            image.set_data(np.ma.masked_invalid(wide))
            image.set_clim(0, np.nanmax(wide))

        self._live(lambda r: r.plan, (image, *said), move)

    def _blocks(self, ax: Axes, report: StepReport) -> None:
        n = len(report.blocks.on)
        ax.plot(range(1, n + 1), report.blocks.survival, color=PALE, linewidth=1.2)
        off = ax.plot([], [], ls="", marker="s", mfc="white", mec=INK, ms=9, label="off")[0]
        on = ax.plot([], [], ls="", marker="s", color=INK, ms=9, label="on")[0]
        ax.set_xlim(0.4, n + 0.6)
        ax.set_ylim(0, 1.15)
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        if n <= MOST:
            ax.set_xticks(range(1, n + 1))
        ax.set_xlabel("residual block")
        ax.set_ylabel("survival")
        legend(ax, loc="lower left", ncols=2)
        title = self._title(ax)

        def move(report: StepReport) -> None:
            at = np.arange(1, n + 1)
            stays, survival = np.array(report.blocks.on), np.array(report.blocks.survival)
            on.set_data(at[stays], survival[stays])
            off.set_data(at[~stays], survival[~stays])
            title.set_text(f"sampled sub-network: {stays.sum()} of {n} blocks")

        self._live(lambda r: r.blocks, (off, on, title), move)

    def _opinions(self, ax: Axes, report: StepReport) -> None:
        names = [*report.opinions]
        bars = ax.barh(range(len(names)), [0.0] * len(names), 0.62, color=PALE, edgecolor=GREY)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_xlim(0, 1)
        ax.xaxis.set_major_formatter(PercentFormatter(1, 0))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_title("what each would answer", fontsize=SIZE + 1, loc="right")
        said = [ax.text(0.02, i, "", fontsize=SIZE + 1, va="center") for i in range(len(names))]

        def move(report: StepReport) -> None:
            for bar, words, opinion in zip(bars, said, report.opinions.values(), strict=True):
                bar.set_width(opinion.probability)
                sign = "✓" if opinion.right else "✗"
                words.set_text(f"{sign} {self.classes[opinion.answer]}, {opinion.probability:.1%}")

        self._live(lambda r: r.opinions, (*bars, *said), move)

    def _title(self, ax: Axes) -> Text:
        return ax.text(1.0, 1.03, "", fontsize=SIZE + 1, transform=ax.transAxes, ha="right", va="bottom")

    def _over_classes(self, ax: Axes) -> None:
        room = ax.get_position().y0 * self.figure.get_figheight() - 0.22  # inches below: 26 slanted letters each
        names = [shorten(self.classes[k], min(int(26 * room), 15)) for k in self._shown]
        turned = max(map(len, names)) > 60 // len(names)
        ax.set_xticks(range(len(names)), names, rotation=30 if turned else 0, ha="right" if turned else "center")
        ax.set_xlim(-0.5, len(names) - 0.5)


def loss_board(report: StepReport, classes: Sequence[str]) -> Figure:
    """One image under one step of a method as a figure. classes: [K] names.

    Softened outputs of every reader, each term and its value, what each term does to each logit of the image, and what else
    the method has to show: the ranked shape, the transport plans, the sampled blocks.
    """
    figure = (board := LossBoard(classes)).update(report)
    for _, artists, _ in board._groups:
        for artist in artists:
            artist.set_animated(False)
    return figure


def loss_in_words(report: StepReport, classes: Sequence[str]) -> str:
    """What `loss_board` draws, for those who do not see it, in numbers."""
    said = [f"{name} answers {classes[o.answer]} with {100 * o.probability:.1f} %" for name, o in report.opinions.items()]
    terms = ", ".join(f"{name} {value:.4f}" for name, value in report.terms.items())
    pulls = [
        f"{term} on {reader} at most {float(_pull(report, term, reader).abs().max()):.2g}" for term, reader in _rows(report)
    ]
    return (
        f"An image of class {classes[int(report.label.argmax())]}; {', '.join(said)}. "
        f"Terms of the loss: {terms}, sum {report.total:.4f}. Gradients of the logits: {', '.join(pulls) or 'none'}."
    )


def _same(a: Any, b: Any) -> bool:
    """Whether two parts of reports of one layout hold the same numbers."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return all(_same(v, b[k]) for k, v in a.items())
    return all(map(_same, a, b)) if isinstance(a, tuple) else a == b


def _shown(report: StepReport) -> list[int]:
    k = len(report.label)
    if k <= MOST:
        return [*range(k)]
    likely = report.logits["final"].argsort(descending=True).tolist()
    label = int(report.label.argmax())
    return [label, *[c for c in likely if c != label][: MOST - 3]]


def _rows(report: StepReport) -> list[tuple[str, str]]:
    """(term, reader) of every gradient, and the sum of each reader that several terms reach."""
    rows = [(term, reader) for term, by in report.gradient.items() for reader in by]
    reached = [reader for _, reader in rows]
    return rows + [("sum", reader) for reader in report.summed if reached.count(reader) > 1]


def _pull(report: StepReport, term: str, reader: str):
    return report.gradient[term][reader] if term in report.gradient else report.summed[reader]


def _looks(n: int) -> list[tuple[str, str, str]]:
    return [LOOKS[i % len(LOOKS)] for i in range(n)]


def _nice(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten, at least; 0 for 0 and less."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((s * power for s in (1, 2, 5) if s * power >= value), 10 * power)
