"""Figures of paper 003, "Be Your Own Teacher"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from ..analysis import ExitCost, FixedPolicy, LossSlice, NoiseCurve, PolicyCurve, Projection, Separation
from .diagrams import BLOCK, DATA, EXTRA, OUTPUT, arrow, box, canvas
from .general import noise_bands, plane
from .style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SIZE, SKY, class_look, label, legend, looks

__all__ = [
    "FlowStep",
    "architecture",
    "exit_bars",
    "exit_pca",
    "minima",
    "noise_panels",
    "scalable",
    "separation_bars",
    "slices",
    "thresholds",
    "training_flow",
]

DEPTHS = (PURPLE, SKY, BLUE, INK, ORANGE, GREEN, GREY)
"""Colours of the exits, shallow to deep."""
DEPTH_MARKERS = "os^DvPX"


class FlowStep(NamedTuple):
    """One training of a flow."""

    what: str  # "teacher", "student", ...
    network: str
    time: float  # in the flow's unit
    accuracy: float  # in [0, 1]


def training_flow(
    ax: Axes,
    ax_time: Axes,
    ours: Mapping[str, Sequence[FlowStep]],
    reported: Mapping[str, Sequence[FlowStep]],
    unit: str = "min",
    reported_unit: str = "h",
) -> tuple[Axes, Axes]:
    """Trainings one after the other, a lane for each way, with time and accuracy; bars of the total time. BYOT, Fig. 1.

    ours, reported: lane -> its steps in order, the same lanes and numbers of steps in both. The bars are multiples of the last
    lane's time, each side of its own: hours of two machines do not compare.
    """
    if {k: len(v) for k, v in ours.items()} != {k: len(v) for k, v in reported.items()}:
        raise ValueError(f"both sides have the same lanes and steps, got {list(ours)} and {list(reported)}")
    canvas(ax)
    high = 1 / len(ours)
    for i, (lane, steps) in enumerate(ours.items()):
        y = 1 - (i + 0.5) * high
        ax.text(0.0, y, lane.replace(" ", "\n"), fontsize=SIZE + 1, weight="bold", va="center", color=INK)
        for j, (step, theirs) in enumerate(zip(steps, reported[lane], strict=True)):
            x, color = 0.4 + 0.41 * j, (OUTPUT if "self" in lane else EXTRA if len(steps) > 1 else DATA)
            words = (
                f"{step.what}: {step.network}\nhere: {step.time:.2f} {unit}, {100 * step.accuracy:.1f} %\n"
                f"paper: {theirs.network},\n{theirs.time:g} {reported_unit}, {100 * theirs.accuracy:.2f} %"
            )
            box(ax, x, y, 0.37, 0.8 * high, words, color)
            if j:
                arrow(ax, (x - 0.225, y), (x - 0.185, y), teaches=True)
    lanes, width = np.arange(len(ours)), 0.38
    base = [sum(s.time for s in list(side.values())[-1]) for side in (ours, reported)]
    for k, (side, hatch) in enumerate([(ours, ""), (reported, "//")]):
        for i, steps in enumerate(side.values()):
            left = 0.0
            for j, step in enumerate(steps):
                color = (ORANGE, SKY)[j % 2] if len(steps) > 1 else GREEN if "self" in list(side)[i] else GREY
                at = i + (k - 0.5) * width
                look_ = {"color": color, "hatch": hatch, "edgecolor": "white"}
                ax_time.barh(at, step.time / base[k], width * 0.9, left=left, **look_)
                left += step.time / base[k]
            total = sum(s.time for s in steps)
            where = (left, i + (k - 0.5) * width)
            ax_time.annotate(f" {total:.2f} {(unit, reported_unit)[k]}", where, va="center", fontsize=SIZE)
    ax_time.set_ylim(len(ours) - 0.4, -0.6)
    ax_time.set_yticks(lanes, [])
    ax_time.grid(False, axis="y")
    longest = [max(sum(step.time for step in steps) for steps in side.values()) for side in (ours, reported)]
    ax_time.set_xlim(0, 1.25 * max(t / b for t, b in zip(longest, base, strict=True)))
    ax_time.set_xlabel(f"training time, × {list(ours)[-1]}")
    handles = [Patch(fc=GREY, label="here"), Patch(fc=GREY, hatch="//", ec="white", label="paper")]
    if any(len(steps) > 1 for steps in ours.values()):
        first, *_ = (steps for steps in ours.values() if len(steps) > 1)
        handles += [Patch(fc=(ORANGE, SKY)[j % 2], label=step.what) for j, step in enumerate(first[:2])]
    legend(ax_time, handles=handles, loc="lower right")
    return ax, ax_time


def architecture(
    ax: Axes, stages: Sequence[tuple[str, int, int]], heads: Mapping[int, tuple[str, int]], classes: int, features: int
) -> Axes:
    """A network with its auxiliary classifiers and the three sources of loss. BYOT, the slide of the method ("Fig. 2").

    stages: (name, channels, side of the map in pixels), shallow to deep. heads: 0-based stage -> (kind of head, its number of
    parameters without the fc layer's). features: width of the features that the hint compares.
    """
    if not heads or not all(0 <= s < len(stages) - 1 for s in heads):
        raise ValueError(f"auxiliary classifiers stand on stages 0..{len(stages) - 2}, got {list(heads)}")
    canvas(ax)
    n = len(stages)
    at = [0.2 + 0.72 * i / (n - 1) for i in range(n)]
    wide = 0.62 * (at[1] - at[0])
    low, middle, fc, top = 0.1, 0.36, 0.6, 0.92
    box(ax, 0.045, low, 0.075, 0.13, "images\nx", DATA)
    arrow(ax, (0.083, low), (at[0] - wide / 2, low))
    box(ax, at[0] + (at[-1] - at[0]) / 2, top, at[-1] - at[0] + wide, 0.09, "labels y", DATA)
    for i, ((name, channels, size), x) in enumerate(zip(stages, at, strict=True)):
        box(ax, x, low, wide, 0.15, f"{name}\n{channels} × {size} × {size}", BLOCK)
        if i:
            arrow(ax, (at[i - 1] + wide / 2, low), (x - wide / 2, low))
        last = i == n - 1
        if last or i in heads:
            words = (
                f"average pool\nF{i + 1}: {features} features"
                if last
                else f"{heads[i][0]}\n{heads[i][1]:,} weights\nF{i + 1}: {features} features"
            )
            box(ax, x, middle, wide, 0.19, words, OUTPUT if last else EXTRA)
            box(ax, x, fc, wide, 0.12, f"fc, softmax\nq{i + 1}: {classes} classes", OUTPUT if last else EXTRA)
            arrow(ax, (x, low + 0.075), (x, middle - 0.095))
            arrow(ax, (x, middle + 0.095), (x, fc - 0.06))
            _teach(ax, (x, top - 0.045), (x, fc + 0.06), GREEN)
    edge = at[-1] - wide / 2
    for i in sorted(heads):
        right = at[i] + wide / 2
        bend = 0.0 if i == n - 2 else 0.2
        _teach(ax, (edge, fc + 0.025), (right, fc + 0.025), RED, bend)
        _teach(ax, (edge, middle - 0.045), (right, middle - 0.045), PURPLE, -bend)
    handles = [
        Line2D([], [], color=GREEN, label="1: cross entropy, from the labels"),
        Line2D([], [], color=RED, linestyle=(0, (4, 2)), label="2: KL, from the deepest classifier"),
        Line2D([], [], color=PURPLE, linestyle=(0, (1, 1)), label="3: L2 hint, from the deepest features"),
    ]
    legend(ax, handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3)
    return ax


def _teach(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str, bend: float = 0.0) -> None:
    line = {GREEN: "-", RED: (0, (4, 2)), PURPLE: (0, (1, 1))}[color]
    style = {"arrowstyle": "-|>", "color": color, "lw": 1.6, "ls": line, "shrinkA": 1, "shrinkB": 1}
    ax.annotate("", end, start, arrowprops=style | {"connectionstyle": f"arc3,rad={bend}"})


def minima(ax: Axes) -> Axes:
    """A flat and a sharp minimum, and what a shift between training and test costs in each. A sketch. BYOT, Fig. 3."""
    x = np.linspace(-0.2, 10.2, 600)

    def landscape(at: np.ndarray) -> np.ndarray:
        flat, sharp = 1 - np.exp(-((at - 2.8) ** 2) / 4.5), 1 - np.exp(-((at - 8.0) ** 2) / 0.22)
        return np.minimum(flat, sharp) * 0.8 + 0.12

    shift = 0.45
    ax.plot(x, landscape(x), color=INK, label="training loss")
    ax.plot(x, landscape(x - shift), color=BLUE, linestyle="--", label="test loss: the same, shifted")
    for at, name in [(2.8, "flat minimum"), (8.0, "sharp minimum")]:
        before, after = 0.12, float(landscape(np.array(at - shift)))
        ax.plot([at, at], [before, after], color=RED, linewidth=2.4)
        ax.plot(at, before, "o", color=INK, markersize=6)
        ax.plot(at, after, "o", color=RED, markersize=6)
        ax.text(at, 0.035, name, ha="center", va="center", fontsize=SIZE, color=INK)
    ax.plot([], [], color=RED, linewidth=2.4, label="what the shift costs")
    ax.set_ylim(0, 1.35)
    ax.set_xlim(-0.2, 10.2)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(False)
    ax.set_xlabel("a weight")
    ax.set_ylabel("loss")
    ax.set_title("a sketch")
    legend(ax, loc="upper left")
    return ax


def slices(around: Mapping[str, LossSlice | Sequence[LossSlice]], ax: Axes) -> Axes:
    """Loss along filter-normalised random directions through trained networks: every direction thin, their mean bold.

    Beside BYOT's Fig. 3. The loss axis is logarithmic.
    """
    styles = looks(around)
    for name, found in around.items():
        every = [found] if isinstance(found, LossSlice) else list(found)
        at, losses = every[0].at.numpy(), np.stack([s.loss.numpy() for s in every])
        style = styles[name]
        for loss in losses if len(losses) > 1 else ():
            ax.plot(at, loss, color=style["color"], linewidth=0.7, alpha=0.5)
        ax.plot(at, losses.mean(0), label=label(name), **style, markersize=4, linewidth=1.8)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    named = "125" if high / low > 10 else "123457"  # not every tick of a decade: they would touch
    for write in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        write(lambda v, _: f"{v:g}" if f"{v:e}"[0] in named else "")
    ax.set_xlabel("step along a random direction, in filter norms")
    ax.set_ylabel("training loss, nats")
    ax.set_title("the trained networks")
    legend(ax)
    return ax


def noise_panels(curves: Sequence[Mapping[str, NoiseCurve]], axes: Sequence[Axes], of: str = "accuracy"):
    """Accuracy (percent) or loss under weight noise, a panel for each kind of noise: mean +- sd over draws. BYOT, Fig. 4a, 4b.

    curves: for every panel method -> curve, all of it absolute or all relative. of: "accuracy" or "loss".
    """
    if of not in ("accuracy", "loss"):
        raise ValueError(f"a noise curve has accuracy and loss, got {of!r}")
    if len(curves) != len(axes):
        raise ValueError(f"noise_panels draws a panel for each kind of noise: {len(curves)} axes, got {len(axes)}")
    for panel, ax in zip(curves, axes, strict=True):
        relative = noise_bands(panel, ax, of)
        ax.set_title("relative noise" if relative else "absolute noise")
        ax.set_xlabel("σ, in standard deviations of the weights" if relative else "σ")
        ax.set_ylabel("training accuracy, %" if of == "accuracy" else "training loss, nats")
        ax.set_ylim(bottom=0)
        legend(ax)
    return axes


def exit_bars(
    accuracy: Mapping[str, Mapping[str, Sequence[float]]], ax: Axes, base: Sequence[float], what: str = "test accuracy"
) -> Axes:
    """Accuracy of every exit, bars grouped by method, a dashed line for plain training. BYOT, Tables 1 and 4.

    accuracy: method -> exit -> accuracies in [0, 1] over seeds; base: plain training's. The axis does not start at 0.
    """
    styles, names = looks(accuracy), list(next(iter(accuracy.values())))
    width = 0.8 / len(accuracy)
    runs = [100 * np.asarray(v, dtype=float) for exits in accuracy.values() for v in exits.values()]
    level = 100 * float(np.mean(base))
    low, high = min(*(r.min() for r in runs), level), max(*(r.max() for r in runs), level)
    for i, (name, exits) in enumerate(accuracy.items()):
        at = np.arange(len(names)) + (i - (len(accuracy) - 1) / 2) * width
        mean = [100 * np.mean(exits[e]) for e in names]
        sd = [100 * np.std(exits[e]) for e in names] if len(next(iter(exits.values()))) > 1 else None
        style = {"color": styles[name]["color"], "hatch": ("", "//", "..")[i % 3], "edgecolor": "white"}
        ax.bar(at, mean, width * 0.92, yerr=sd, capsize=3, label=label(name), **style)
    ax.axhline(level, color=INK, linestyle="--", linewidth=1.3, label=f"vanilla {level:.1f} %")
    room = max(high - low, 2.0)
    ax.set_ylim(max(low - 0.25 * room, 0), min(high + 0.12 * room, 100))
    ax.set_xticks(range(len(names)), names)
    ax.grid(False, axis="x")
    ax.set_xlabel("classifier")
    ax.set_ylabel(f"{what}, % (axis is cut)")
    legend(ax, outside=True)
    return ax


def exit_pca(
    points: Mapping[str, Projection],
    y: Tensor,
    axes: Sequence[Axes],
    span: float,
    separations: Mapping[str, Separation],
    classes: Sequence[str] = (),
):
    """Features of the exits on two principal components, one panel each, all of one scale. BYOT, Fig. 6.

    y [N] labels. span: what a side of every panel measures; each is centred on its points. classes: the names of the labels,
    written beside the last panel.
    """
    axes_ = [axes] if isinstance(axes, Axes) else axes
    for ax, (name, p) in zip(axes_, points.items(), strict=True):
        plane(p, y, ax, 12)
        x_, y_ = ((p.points.amax(0) + p.points.amin(0)) / 2).tolist()
        ax.set_xlim(x_ - span / 2, x_ + span / 2)
        ax.set_ylim(y_ - span / 2, y_ + span / 2)
        ax.set_aspect("equal")
        shown = f", {100 * float(p.explained.sum()):.0f} % of variance" if p.explained is not None else ""
        ax.set_title(f"classifier {name}")
        ax.set_xlabel(f"SSE/SSB {separations[name].ratio:.2f}{shown}")
    if classes:
        marks = [Line2D([], [], linestyle="", label=classes[k], **class_look(i)) for i, k in enumerate(sorted(set(y.tolist())))]
        legend(axes_[-1], outside=True, handles=marks, handlelength=1)
    return axes


def separation_bars(separations: Mapping[str, Separation], axes: Sequence[Axes]):
    """Scatter within and between classes of every exit, and their ratio on a panel of its own. BYOT, table of SSE and SSB."""
    left, right = axes
    x, names = np.arange(len(separations)), list(separations)
    left.bar(x - 0.2, [s.sse for s in separations.values()], 0.38, color=ORANGE, label="SSE, within classes")
    left.bar(
        x + 0.2, [s.ssb for s in separations.values()], 0.38, color=BLUE, hatch="//", edgecolor="white", label="SSB, between"
    )
    left.set_ylabel("mean squared distance")
    left.set_ylim(top=1.3 * max(max(s.sse, s.ssb) for s in separations.values()))
    legend(left, loc="upper left", ncols=2)
    bars = right.bar(x, [s.ratio for s in separations.values()], 0.6, color=[DEPTHS[i % len(DEPTHS)] for i in x])
    right.bar_label(bars, fmt="%.2f", fontsize=SIZE)
    right.set_ylabel("SSE / SSB (lower: better separated)")
    right.margins(y=0.1)
    for ax in axes:
        ax.set_xticks(x, names)
        ax.set_xlabel("classifier")
        ax.grid(False, axis="x")
    return axes


def scalable(accuracy: Mapping[str, float], costs: Mapping[str, ExitCost], axes: Sequence[Axes], base: float, whole: str):
    """Accuracy over the acceleration of every exit: by FLOPs and by measured time. BYOT, depth-scalable inference.

    accuracy: exit -> in [0, 1]. base: plain training's, a dashed line. whole: the exit whose cost is 1.
    """
    for ax, of in zip(axes, ("flops", "seconds"), strict=True):
        speed = {name: getattr(costs[whole], of) / getattr(costs[name], of) for name in accuracy}
        exits = [name for name in accuracy if name != "ensemble"]
        ax.plot([speed[e] for e in exits], [100 * accuracy[e] for e in exits], color=GREY, linewidth=1, zorder=1)
        for i, name in enumerate(accuracy):
            mark = {
                "marker": "*" if name == "ensemble" else DEPTH_MARKERS[i % len(DEPTH_MARKERS)],
                "color": RED if name == "ensemble" else DEPTHS[i % len(DEPTHS)],
            }
            size = 13 if name == "ensemble" else 8
            ax.plot(speed[name], 100 * accuracy[name], linestyle="", markersize=size, label=name, **mark)
        ax.axhline(100 * base, color=INK, linestyle="--", linewidth=1.2, label="vanilla, whole")
        ax.set_xlabel(f"acceleration over {whole} ({'FLOPs' if of == 'flops' else 'measured time'})")
        ax.set_ylabel("test accuracy, %")
        ax.set_xlim(left=0)
        ax.margins(0.08)
    legend(axes[-1], outside=True)
    return axes


def thresholds(curve: PolicyCurve, fixed: FixedPolicy, axes: Sequence[Axes], unit: str = "MFLOPs", scale: float = 1e6):
    """Accuracy over mean cost for a sweep of the confidence threshold beside fixed exits, and who leaves where. SCAN.

    scale: how much of the costs' unit is one `unit`.
    """
    left, right = axes
    left.plot(curve.cost / scale, 100 * curve.accuracy, ".-", color=GREY, linewidth=1.4, label="threshold sweep")
    for i, name in enumerate(fixed.exits):
        place = (float(fixed.cost[i]) / scale, 100 * float(fixed.accuracy[i]))
        mark = {"color": DEPTHS[i % len(DEPTHS)], "marker": DEPTH_MARKERS[i % len(DEPTH_MARKERS)]}
        left.plot(*place, linestyle="", markersize=8, label=f"always {name}", **mark)
    left.set_xlabel(f"mean cost of an image, {unit}")
    left.set_ylabel("test accuracy, %")
    left.set_xlim(left=0)
    legend(left, loc="lower right")
    bands = right.stackplot(
        curve.threshold, *(100 * curve.share.T), colors=[DEPTHS[i % len(DEPTHS)] for i in range(len(curve.exits))], alpha=0.75
    )
    for band, name in zip(bands, curve.exits, strict=True):
        band.set_label(f"leaves at {name}")
    right.set_xlim(float(curve.threshold[0]), float(curve.threshold[-1]))
    right.set_ylim(0, 100)
    right.set_xlabel("confidence threshold")
    right.set_ylabel("share of the images, %")
    legend(right, outside=True)
    return axes
