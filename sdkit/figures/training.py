"""What happened while a network was trained, drawn from its list of epochs. The x axis counts finished epochs, from 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..train import Epoch
from .style import ABOVE, BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SIZE, SKY, label, legend, looks

CYCLE = (INK, RED, BLUE, GREEN, PURPLE, ORANGE, SKY)
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX"


def learning_curves(histories: Mapping[str, Sequence[Epoch]], axes: Axes | Sequence[Axes]) -> Axes | Sequence[Axes]:
    """Training and test error of the final exit over the epochs, percent.

    Curves are of the watched test images; a star is the whole test set after the last epoch. The training error is that of
    the augmented batches as they came, so that it may lie above the test error.

    Args:
        histories: a method's name -> its epochs.
        axes: two, for training and test error, or a single one where training is thin and test is bold.

    Returns:
        The axes as they were handed in.
    """
    both = isinstance(axes, Axes)
    train, test = (axes, axes) if both else axes
    styles = looks(histories)
    for name, history in histories.items():
        style = styles[name] | {"marker": ""}
        x, y = series(history, lambda e: 100 * (1 - e.train_accuracy))
        train.plot(x, y, label="_" if both else label(name), **style, linewidth=0.8 if both else 1.6)
        x, y = series(history, lambda e: 100 * (1 - e.accuracy.get("final", math.nan)))
        test.plot(x, y, label=label(name), **style, linewidth=2.0 if both else 1.6)
        _whole(test, history, style["color"], lambda e: 1 - e.test["final"])
    for ax, what in [(test, "error, %")] if both else [(train, "training error, %"), (test, "test error, %")]:
        over_epochs(ax, what)
        ax.set_ylim(bottom=0)
    if both:
        test.set_title("thin: training, bold: test", fontsize=SIZE + 1)
    if histories:
        _explained(test)
    return axes


def _whole(ax: Axes, history: Sequence[Epoch], colour: str, value: Callable[[Epoch], float]) -> None:
    """A star behind the last epoch: what the whole test set says, where the curve is of the watched part of it."""
    if history and history[-1].test:
        ax.plot(
            history[-1].epoch + 1, 100 * value(history[-1]), "*", color=colour, markersize=11, mec="white", mew=0.7, zorder=5
        )


def _explained(ax: Axes, **place: Any) -> None:
    """The legend, with a line for the stars where there are any."""
    if any(line.get_marker() == "*" for line in ax.lines):
        ax.plot([], [], "*", color=GREY, markersize=9, label="the whole test set")
    legend(ax, **place)


def loss_terms(history: Sequence[Epoch], ax: Axes) -> Axes:
    """Every term of the loss over the epochs. Logarithmic where the terms' means differ more than a hundredfold."""
    names = list(dict.fromkeys(name for e in history for name in e.terms))
    largest = []
    for i, name in enumerate(names):
        x, y = series(history, lambda e, name=name: e.terms.get(name, math.nan))
        ax.plot(x, y, label=name, **line_style(i))
        largest += [max(y)] if y else []
    over_epochs(ax, "term of the loss")
    if largest and min(largest) > 0 and max(largest) > 100 * min(largest):
        ax.set_yscale("log")
    if names:
        legend(ax, **ABOVE, ncols=min(len(names), 4), columnspacing=1.0, handlelength=2.0)
    return ax


def exit_accuracy(history: Sequence[Epoch], ax: Axes) -> Axes:
    """Test accuracy of every exit over the epochs, percent: shallow exits dark, deep ones light, the final exit black.

    Curves are of the watched test images; a star is the whole test set after the last epoch.
    """
    names = list(dict.fromkeys(name for e in history for name in e.accuracy))
    early = [name for name in names if name not in ("final", "ensemble")]
    if early and all(e.accuracy.get(early[-1]) == e.accuracy.get("final") for e in history):
        names.remove(early.pop())  # "4/4" is another name of the final exit: one curve, not two that hide each other
    for name in names:
        x, y = series(history, lambda e, name=name: 100 * e.accuracy.get(name, math.nan))
        if name in early:
            i = early.index(name)
            style = line_style(i + 1) | {"color": colormaps["viridis"](0.15 + 0.65 * i / max(len(early) - 1, 1))}
        else:
            style = line_style(0) | ({"color": RED, "linestyle": "--"} if name == "ensemble" else {"linewidth": 2.2})
        ax.plot(x, y, label=name, **style)
        _whole(ax, history, style["color"], lambda e, name=name: e.test.get(name, math.nan))
    over_epochs(ax, "test accuracy, %")
    if names:
        _explained(ax, **ABOVE, ncols=3, columnspacing=1.0, handlelength=2.0)
    return ax


def marks(history: Iterable[Epoch], steps_per_epoch: int | None = None) -> list[tuple[float, str]]:
    """Where knobs were turned while a network was trained. Moves of one knob in one epoch count as one.

    Args:
        history: the epochs.
        steps_per_epoch: None puts a mark in the middle of its epoch.

    Returns:
        (place on the epoch axis, such as "alpha 0.2→0.5") for each.
    """
    found: dict[tuple[int, str], list] = {}
    for e in history:
        for t in e.changes:
            where = e.epoch + 0.5 if steps_per_epoch is None else t["step"] / steps_per_epoch
            first = found.setdefault((e.epoch, t["knob"]), [where, t["before"], t["after"]])
            first[2] = t["after"]
    return [(where, f"{knob} {before:.3g}→{after:.3g}") for (_, knob), (where, before, after) in found.items()]


def series(history: Iterable[Epoch], value: Callable[[Epoch], float]) -> tuple[list[int], list[float]]:
    """Finished epochs, counted from 1, and their values; epochs without a value are left out."""
    pairs = [(e.epoch + 1, value(e)) for e in history]
    kept = [(x, y) for x, y in pairs if y is not None and math.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]


def line_style(i: int) -> dict[str, Any]:
    """Colour, line and marker of the i-th curve."""
    return {
        "color": CYCLE[i % len(CYCLE)], "linestyle": LINES[i % len(LINES)], "marker": MARKERS[(i + i // 7) % 7],
        "markersize": 4, "linewidth": 1.6,
    }  # fmt: skip


def over_epochs(ax: Axes, what: str) -> None:
    """The two labels and whole numbers on the x axis."""
    ax.set_xlabel("epoch")
    ax.set_ylabel(what)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
