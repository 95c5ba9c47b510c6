"""Figures of paper 004, "Lightweight Self-Knowledge Distillation with Multi-source Information Fusion" (DRG and DSR)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from ..analysis import SPACES, Projection, RankedAlong, Separation
from .diagrams import algorithm, mechanisms, overview
from .general import plane
from .style import GREEN, GREY, INK, PALE, SIZE, bare, label, legend, looks, outline, picture

__all__ = [
    "algorithm",
    "block_table",
    "heat_maps",
    "mechanisms",
    "overview",
    "projections",
    "ranked_correlation",
    "ranked_probabilities",
    "ranked_variance",
    "sweep",
    "time_and_space",
]

SPACE_LABELS = {"probabilities": "probabilities", "standardised": "standardised logits", "logits": "raw logits"}
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++")


def ranked_variance(along: Mapping[str, RankedAlong], axes: Sequence[Axes]):
    """Variance of the ranked outputs over the training, a panel for each reading of "outputs". Paper 004, Fig. 3 left.

    axes: three, for `SPACES` in their order. The paper does not say which of them it shows.
    """
    _need(axes, len(SPACES), "ranked_variance draws probabilities, standardised logits and raw logits")
    styles = looks(along)
    for space, ax in zip(SPACES, axes, strict=True):
        for name, a in along.items():
            every = max(len(a.progress) // 8, 1)
            ax.plot(a.progress, a.variance[space], label=label(name), **styles[name], markersize=4, markevery=every)
        ax.set_title(SPACE_LABELS[space])
        ax.set_xlabel("training progress")
        ax.set_xlim(-0.02, 1.02)
        ax.set_ylim(bottom=0)
        top = max([float(a.variance[space].max()) for a in along.values()], default=1.0)
        _scaled(ax, top, "variance over images")
    legend(axes[0])
    return axes


def ranked_correlation(along: Mapping[str, RankedAlong], ax: Axes) -> Axes:
    """Pearson's r of ranked-output variance and accuracy, bars grouped by space. Paper 004, Fig. 3 right.

    The open mark beside a bar is r without the first epoch. No bar stands where one of the two never changed.
    """
    styles, width = looks(along), 0.8 / max(len(along), 1)
    for i, (name, a) in enumerate(along.items()):
        at = np.arange(len(SPACES)) + (i - (len(along) - 1) / 2) * width
        ax.bar(
            at,
            [a.pearson[s] for s in SPACES],
            width * 0.92,
            color=styles[name]["color"],
            hatch=HATCHES[i % len(HATCHES)],
            edgecolor="white",
            label=label(name),
        )
        ax.plot(at, [a.pearson_without_first[s] for s in SPACES], "D", mfc="white", mec=INK, markersize=5, label="_")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_xticks(range(len(SPACES)), [SPACE_LABELS[s].replace(" ", "\n") for s in SPACES])
    ax.grid(False, axis="x")
    ax.set_ylim(-1.08, 1.08)
    ax.set_ylabel("Pearson r of variance and accuracy")
    open_mark = Line2D([], [], linestyle="", marker="D", mfc="white", mec=INK, markersize=5, label="without first epoch")
    handles = ax.get_legend_handles_labels()[0]
    legend(ax, outside=True, handles=[*handles, open_mark])
    return ax


def time_and_space(
    seconds: Mapping[str | tuple[str, str], float], megabytes: Mapping[str | tuple[str, str], float], ax: Axes
) -> Axes:
    """Seconds per iteration against MB of parameters with all auxiliary parts. Paper 004, Fig. 4.

    Keys: a method, or (method, network): then the colour is the method's and the marker the network's.
    ValueError where the two do not have the same keys.
    """
    if seconds.keys() != megabytes.keys():
        raise ValueError(f"time and space belong to the same runs, got {list(seconds)} and {list(megabytes)}")
    keys = {k: k if isinstance(k, tuple) else (k, "") for k in seconds}
    methods, networks = (list(dict.fromkeys(k[i] for k in keys.values())) for i in (0, 1))
    styles, several = looks(methods), networks != [""]
    markers = dict(zip(networks, "os^DvPX*" * len(networks), strict=False))
    for method in methods:
        mine = [k for k, (m, _) in keys.items() if m == method]
        style = styles[method]
        ax.plot([megabytes[k] for k in mine], [seconds[k] for k in mine], color=style["color"], linewidth=0.9, label="_")
        for k in mine:
            marker = markers[keys[k][1]] if several else style["marker"]
            ax.plot(
                megabytes[k], seconds[k], marker=marker, markersize=10, color=style["color"], mec="white", mew=0.6, label="_"
            )
    handles = [
        Line2D([], [], color=styles[m]["color"], marker=None if several else styles[m]["marker"], linewidth=3, label=label(m))
        for m in methods
    ]
    if several:
        handles += [Line2D([], [], color=GREY, marker=markers[n], linestyle="", markersize=8, label=n) for n in networks]
    legend(ax, outside=True, handles=handles)
    ax.margins(0.12)
    ax.set_xlabel("parameters, MB")
    ax.set_ylabel("seconds per iteration")
    return ax


def ranked_probabilities(image: Tensor, rows: Mapping[str, tuple[Tensor, int]], axes: Sequence[Axes], what: str = "test image"):
    """One image and every method's largest probabilities in order; the true class is green and hatched. Paper 004, Fig. 5.

    image [3, H, W] in [0, 1]. rows: method -> (probabilities [R] descending, 0-based rank of the true class among all K).
    axes: one for the image, then one for each method. The paper has a row of them for each of its two images. what: the
    image's title, such as its class.
    """
    _need(axes, 1 + len(rows), "ranked_probabilities draws an image and a panel for each method")
    bare(axes[0]).imshow(picture(image))
    axes[0].set_title(what)
    most = 100 * max([float(p.max()) for p, _ in rows.values()], default=1.0)
    for ax, (name, (p, rank)) in zip(axes[1:], rows.items(), strict=True):
        place = np.arange(1, len(p) + 1)
        bars = ax.barh(place, 100 * p.cpu().numpy(), 0.85, color="#8da9c4")
        if rank < len(p):
            bars[rank].set(facecolor=GREEN, hatch="////", edgecolor="white")
        ax.set_title(f"{label(name)}\ntrue class: rank {rank + 1}")
        ax.set_ylim(len(p) + 0.7, 0.3)
        ax.set_yticks([1, *range(10, len(p) + 1, 10)])
        ax.set_xlim(0, most * 1.04)
        ax.grid(False, axis="y")
        ax.set_xlabel("probability, %")
    if rows:
        axes[1].set_ylabel("rank of the class")
        mark = Patch(facecolor=GREEN, hatch="////", edgecolor="white", label="true class")
        axes[-1].legend(handles=[mark], fontsize=SIZE, loc="lower right", edgecolor=PALE)
    return axes


def sweep(
    results: Mapping[str, Mapping[float, Sequence[float]]],
    ax: Axes,
    symbol: str,
    paper_best: Mapping[str, float] | None = None,
    log: bool = False,
    what: str = "test accuracy",
) -> Axes:
    """Accuracy over a hyperparameter: every run, mean +- standard deviation over seeds. Paper 004, Fig. 6 and 7.

    results: method -> value -> accuracies in [0, 1]. paper_best: method -> the paper's best value, a dashed upright line.
    log: the values are spaced by factors. what: which accuracy it is.
    """
    styles = looks(results)
    for name, runs in results.items():
        style, values = styles[name], sorted(runs)
        accuracies = [100 * np.asarray(runs[v], dtype=float) for v in values]
        mean = [a.mean() for a in accuracies]
        best = values[int(np.argmax(mean))] if values else math.nan
        words = f"{label(name)}, best here: {symbol} = {best:g}"
        ax.errorbar(values, mean, [a.std() for a in accuracies], **style, capsize=3, label=words)
        for v, a in zip(values, accuracies, strict=True):
            ax.plot([v] * len(a), a, "o", color=style["color"], alpha=0.45, markersize=3.5, label="_")
    for name, value in (paper_best or {}).items():
        color = styles.get(name, {}).get("color", GREY)
        ax.axvline(value, color=color, linestyle="--", linewidth=1.2, label=f"{label(name)}, paper's best: {value:g}")
    if log:
        ax.set_xscale("log")
        ticks = sorted({v for runs in results.values() for v in runs})
        if len(ticks) <= 6:
            ax.set_xticks(ticks, [f"{v:g}" for v in ticks])
            ax.minorticks_off()
        else:
            ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel(symbol)
    ax.set_ylabel(f"{what}, %")
    legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2)
    return ax


def heat_maps(images: Tensor, maps: Mapping[str, Tensor], axes, masks: Tensor | None = None):
    """Images and where each network looks: bright is important. Paper 004, Fig. 8.

    images [R, 3, H, W] in [0, 1]. maps: column -> [R, H, W] in [0, 1]. masks [R, H, W] bool: the object, outlined in white.
    axes: [R, 1 + columns], an image then its maps.
    """
    axes_ = np.asarray(axes, dtype=object).reshape(-1)
    _need(axes_, len(images) * (1 + len(maps)), "heat_maps draws an image and a panel for each column, in every row")
    grid = axes_.reshape(len(images), 1 + len(maps))
    for r, row in enumerate(grid):
        shown = picture(images[r])
        bare(row[0]).imshow(shown)
        for ax, heat in zip(row[1:], maps.values(), strict=True):
            bare(ax).imshow(shown.mean(2), cmap="gray", vmin=0, vmax=1)
            ax.imshow(heat[r].cpu().numpy(), cmap="inferno", vmin=0, vmax=1, alpha=0.65)
            if masks is not None:
                outline(masks[r], ax)
    for ax, title in zip(grid[0], ["image", *map(label, maps)], strict=True):
        ax.set_title(title)
    return axes


def projections(
    points: Mapping[str, Projection], y: Tensor, axes: Sequence[Axes], separations: Mapping[str, Separation] | None = None
):
    """Features on a plane, a panel per network, coloured by class; the engine is in the title. Paper 004, Fig. 9.

    y [N] labels of the points. `class_look` says how a class looks. separations: numbers below a panel.
    """
    axes_ = [axes] if isinstance(axes, Axes) else axes
    _need(axes_, len(points), "projections draws a panel for each network")
    for ax, (name, p) in zip(axes_, points.items(), strict=True):
        plane(p, y, ax)
        ax.set_title(f"{label(name)}\n{p.engine}")
        s = (separations or {}).get(name)
        below = f"\nsilhouette {s.silhouette:.2f}, neighbours alike {100 * s.knn_purity:.0f} %" if s else ""
        ax.set_xlabel(f"{len(y.unique())} classes, {len(y)} images{below}")
    return axes


def block_table(
    accuracy: Mapping[str, Sequence[float]],
    seconds: Mapping[str, float],
    paper: Mapping[str, tuple[float, float]],
    ax: Axes,
    reference: str | None = None,
) -> Axes:
    """Which block the auxiliary classifier stands on: accuracy and time per iteration. Paper 004, Table IV.

    accuracy: block -> accuracies in [0, 1] over seeds. seconds: block -> per iteration. paper: block -> (accuracy in [0, 1],
    seconds). Open marks are the paper's. Times are multiples of `reference`'s (None: the first block), each side of its own,
    on the right axis: seconds of two machines do not compare. The accuracy axis does not start at 0.
    """
    names = list(accuracy)
    reference = names[0] if reference is None else reference
    x, width = np.arange(len(names)), 0.38
    runs = [100 * np.asarray(accuracy[n], dtype=float) for n in names]
    means, printed = [r.mean() for r in runs], [100 * paper[n][0] if n in paper else math.nan for n in names]
    low = min([*(r.min() for r in runs), *(v for v in printed if math.isfinite(v))])
    high = max([*(r.max() for r in runs), *(v for v in printed if math.isfinite(v))])
    room = max(high - low, 1.0)
    ours = ax.bar(x - width / 2, means, width, yerr=[r.std() for r in runs], capsize=3, color="#E69F00", label="accuracy, ours")
    theirs = ax.plot(x - width / 2, printed, "D", mfc="white", mec=INK, markersize=7, linestyle="", label="accuracy, paper")[0]
    ax.set_ylim(max(low - 0.6 * room, 0), high + 0.25 * room)
    ax.set_ylabel("accuracy, % (axis is cut)")
    ax.set_xticks(x, names)
    ax.set_xlabel("block of the auxiliary classifier")
    ax.grid(False, axis="x")
    right = ax.twinx()
    right.spines[["top", "left"]].set_visible(False)
    right.spines["right"].set_color(GREY)
    right.tick_params(labelsize=SIZE, color=GREY)
    times = [seconds[n] / seconds[reference] for n in names]
    theirs_t = [paper[n][1] / paper[reference][1] if n in paper and reference in paper else math.nan for n in names]
    look_t = {"color": "#c8d5e0", "hatch": "//", "edgecolor": GREY, "linewidth": 0.5}
    bars = right.bar(x + width / 2, times, width, **look_t, label="time, ours")
    marks = right.plot(x + width / 2, theirs_t, "s", mfc="white", mec=INK, markersize=7, linestyle="", label="time, paper")[0]
    right.set_ylim(0, 1.25 * max([*times, *(v for v in theirs_t if math.isfinite(v))]))
    right.set_ylabel(f"time per iteration, × block {reference}", fontsize=SIZE + 1)
    legend(ax, handles=[ours, theirs, bars, marks], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2)
    return ax


def _scaled(ax: Axes, top: float, what: str) -> None:
    """Tick labels as mantissas, the power of ten in the axis label: 2.5 and "x 10^-3"."""
    power = math.floor(math.log10(top)) if top > 0 else 0
    if -2 < power < 3:
        ax.ticklabel_format(axis="y", style="plain")
        ax.set_ylabel(what)
        return
    ax.yaxis.set_major_formatter(lambda v, _: f"{v / 10**power:g}")
    ax.set_ylabel(f"{what}, $\\times 10^{{{power}}}$")


def _need(axes: Sequence[Axes], n: int, what: str) -> None:
    if len(axes) != n:
        raise ValueError(f"{what}: {n} axes, got {len(axes)}")
