"""What happened while a network was trained, drawn from its list of epochs.

An epoch is anything with the fields of `sdkit.train.Epoch`. The x axis counts finished epochs, from 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SIZE, SKY, house, label, legend, looks

CYCLE = (INK, RED, BLUE, GREEN, PURPLE, ORANGE, SKY)
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX"


def learning_curves(histories: Mapping[str, Sequence[Any]], axes: Axes | Sequence[Axes]):
    """Training and test error of the final exit over the epochs, percent. -> the axes as they were handed in.

    axes: two, for training and test error, or a single one where training is thin and test is bold. The training error is
    that of the augmented batches as they came, so that it may lie above the test error.
    """
    both = isinstance(axes, Axes)
    train, test = (axes, axes) if both else axes
    styles = looks(histories)
    for name, history in histories.items():
        style = styles[name] | {"marker": ""}
        x, y = _series(history, lambda e: 100 * (1 - e.train_accuracy))
        train.plot(x, y, label="_" if both else label(name), **style, linewidth=0.8 if both else 1.6)
        x, y = _series(history, lambda e: 100 * (1 - e.accuracy.get("final", math.nan)))
        test.plot(x, y, label=label(name), **style, linewidth=2.0 if both else 1.6)
    for ax, what in [(test, "error, %")] if both else [(train, "training error, %"), (test, "test error, %")]:
        _over_epochs(ax, what)
        ax.set_ylim(bottom=0)
    if both:
        test.set_title("thin: training, bold: test", fontsize=SIZE + 1)
    if histories:
        legend(test)
    return axes


def loss_terms(history: Sequence[Any], ax: Axes) -> Axes:
    """Every term of the loss over the epochs. Logarithmic where the terms' means differ more than a hundredfold."""
    names = list(dict.fromkeys(name for e in history for name in e.terms))
    largest = []
    for i, name in enumerate(names):
        x, y = _series(history, lambda e, name=name: e.terms.get(name, math.nan))
        ax.plot(x, y, label=name, **_line(i))
        largest += [max(y)] if y else []
    _over_epochs(ax, "term of the loss")
    if largest and min(largest) > 0 and max(largest) > 100 * min(largest):
        ax.set_yscale("log")
    if names:
        legend(ax)
    return ax


def exit_accuracy(history: Sequence[Any], ax: Axes) -> Axes:
    """Test accuracy of every exit over the epochs, percent: shallow exits dark, deep ones light, the final exit black."""
    names = list(dict.fromkeys(name for e in history for name in e.accuracy))
    early = [name for name in names if name not in ("final", "ensemble")]
    for name in names:
        x, y = _series(history, lambda e, name=name: 100 * e.accuracy.get(name, math.nan))
        if name in early:
            i = early.index(name)
            style = _line(i + 1) | {"color": colormaps["viridis"](0.15 + 0.65 * i / max(len(early) - 1, 1))}
        else:
            style = _line(0) | ({"color": RED, "linestyle": "--"} if name == "ensemble" else {"linewidth": 2.2})
        ax.plot(x, y, label=name, **style)
    _over_epochs(ax, "test accuracy, %")
    if names:
        legend(ax)
    return ax


def marks(history: Iterable[Any], steps_per_epoch: int | None = None) -> list[tuple[float, str]]:
    """Where knobs were turned: (place on the epoch axis, what was turned). Moves of one knob in one epoch count as one.

    Without `steps_per_epoch` a mark stands in the middle of its epoch.
    """
    found: dict[tuple[int, str], list] = {}
    for e in history:
        for t in e.turned:
            where = e.epoch + 0.5 if steps_per_epoch is None else t["step"] / steps_per_epoch
            first = found.setdefault((e.epoch, t["knob"]), [where, t["before"], t["after"]])
            first[2] = t["after"]
    return [(where, f"{knob} {before:g}→{after:g}") for (_, knob), (where, before, after) in found.items()]


def live(
    history: Sequence[Any], ax_terms: Axes, ax_accuracy: Axes, turned: Sequence[tuple[float, str]] | None = None
) -> tuple[Axes, Axes]:
    """The loss terms and the exits' accuracy so far, on cleared Axes; dotted lines where knobs were turned.

    turned: (place on the epoch axis, words), None for `marks(history)`. May be called with no epoch at all.
    """
    for ax, draw in [(ax_terms, loss_terms), (ax_accuracy, exit_accuracy)]:
        ax.clear()
        house(ax)
        draw(history, ax)
        last = max([e.epoch + 1 for e in history], default=1)
        ax.set_xlim(0, max(last * 1.02, 1))
    for i, (x, words) in enumerate(_apart(marks(history) if turned is None else turned, ax_terms.get_xlim()[1])):
        for ax in (ax_terms, ax_accuracy):
            ax.axvline(x, color=GREY, linestyle=":", linewidth=1.2)
        paper = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.5}
        high = 0.98 - 0.085 * (i % 11)  # in steps: neighbours' words stand below each other
        transform = ax_terms.get_xaxis_transform()
        right = x > 0.6 * ax_terms.get_xlim()[1]
        ax_terms.text(
            x,
            high,
            f" {words} ",
            transform=transform,
            fontsize=SIZE,
            va="top",
            ha="right" if right else "left",
            color=INK,
            bbox=paper,
        )
    for ax in (ax_terms, ax_accuracy):
        if not history:
            middle = {"ha": "center", "va": "center", "transform": ax.transAxes}
            ax.text(0.5, 0.5, "no epoch has ended yet", fontsize=SIZE + 1, color=GREY, **middle)
        if ax.get_legend():
            legend(ax, outside=True)  # the words of the marks take the place inside
    return ax_terms, ax_accuracy


def _apart(turned: Iterable[tuple[float, str]], width: float) -> list[tuple[float, str]]:
    """Marks closer than a thirtieth of the axis become one, its words in two lines and more."""
    out: list[tuple[float, str]] = []
    for x, words in sorted(turned):
        if out and x - out[-1][0] < width / 30:
            out[-1] = (out[-1][0], f"{out[-1][1]}, {words}")
        else:
            out.append((x, words))
    return out


def _series(history: Iterable[Any], value: Callable[[Any], float]) -> tuple[list[int], list[float]]:
    """Finished epochs and values, without the epochs that have none."""
    pairs = [(e.epoch + 1, value(e)) for e in history]
    kept = [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]


def _line(i: int) -> dict[str, Any]:
    return {
        "color": CYCLE[i % len(CYCLE)], "linestyle": LINES[i % len(LINES)], "marker": MARKERS[i % len(MARKERS)],
        "markersize": 4, "linewidth": 1.6,
    }  # fmt: skip


def _over_epochs(ax: Axes, what: str) -> None:
    ax.set_xlabel("epoch")
    ax.set_ylabel(what)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
