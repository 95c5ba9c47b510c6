"""Figures of paper 001, "Data-Distortion Guided Self-Distillation for Deep Neural Networks" (DDGSD)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ..analysis import AblationCurve
from .diagrams import BLOCK, DATA, EXTRA, OUTPUT, arrow, box, canvas
from .style import GREY, INK, ORANGE, RED, SIZE, SKY, banded, label, legend, looks, picture

__all__ = ["ablation", "distillations", "distorted_pairs", "mu_sensitivity", "pipeline", "reliance"]


def distillations(axes: Sequence[Axes]):
    """Who teaches whom: (a) teacher to student, (b) student to student, (c) data to data. Paper 001, Fig. 1."""
    if len(axes) != 3:
        raise ValueError(f"distillations draws three panels, (a) to (c): 3 axes, got {len(axes)}")
    for ax, title in zip(axes, ("(a) teacher to student", "(b) student to student", "(c) data to data: DDGSD"), strict=True):
        canvas(ax).set_title(title)
    for ax, left, right in [(axes[0], "teacher\n(trained, fixed)", "student"), (axes[1], "student 1", "student 2")]:
        box(ax, 0.5, 0.08, 0.4, 0.11, "images x", DATA)
        for x, name in [(0.25, left), (0.75, right)]:
            box(ax, x, 0.42, 0.42, 0.2, name, EXTRA if "fixed" in name else BLOCK)
            box(ax, x, 0.84, 0.34, 0.12, f"p of {name.split(chr(10))[0]}", OUTPUT)
            arrow(ax, (0.5 + (x - 0.5) * 0.4, 0.135), (x, 0.315))
            arrow(ax, (x, 0.52), (x, 0.775))
    arrow(axes[0], (0.42, 0.84), (0.58, 0.84), teaches=True)
    both_ways(axes[1], (0.42, 0.84), (0.58, 0.84))
    ax = axes[2]
    for x, name in [(0.25, "a"), (0.75, "b")]:
        box(ax, x, 0.08, 0.42, 0.11, rf"$\phi$(x): view {name}", DATA)
        arrow(ax, (x, 0.135), (x, 0.315))
        arrow(ax, (x, 0.52), (x, 0.775))
        box(ax, x, 0.84, 0.34, 0.12, f"p of view {name}", OUTPUT)
    box(ax, 0.5, 0.42, 0.92, 0.2, "one network", BLOCK)
    both_ways(ax, (0.42, 0.84), (0.58, 0.84))
    return axes


def both_ways(ax: Axes, a: tuple[float, float], b: tuple[float, float]) -> None:
    """Two opposite arrows that teach, one above the other."""
    for start, end, lift in [(a, b, 0.02), (b, a, -0.02)]:
        arrow(ax, (start[0], start[1] + lift), (end[0], end[1] + lift), teaches=True)


def pipeline(ax: Axes, images: Sequence[Tensor], terms: Mapping[str, float], channels: Sequence[int], classes: int) -> Axes:
    """One image's way through DDGSD, with the loss of one real batch written where it arises. Paper 001, Fig. 2.

    images: the image and its two views, [3, H, W] in [0, 1]. terms: of the loss, weighted, by `DDGSD`'s names. channels: the
    width of the network's stages.
    """
    if len(images) != 3:
        raise ValueError(f"the pipeline shows an image and its two views, got {len(images)} images")
    canvas(ax)
    rows = {"a": 0.74, "b": 0.26}
    for image, x, y, name in zip(
        images, (0.045, 0.16, 0.16), (0.5, *rows.values()), ("image", "view a", "view b"), strict=True
    ):
        inset = ax.inset_axes((x - 0.04, y - 0.1, 0.08, 0.2))
        inset.imshow(picture(image), aspect="auto")
        inset.set_axis_off()
        ax.text(x, y - 0.125, name, ha="center", va="top", fontsize=SIZE, color=INK)
    box(ax, 0.34, 0.5, 0.16, 0.78, "shared\nconvolutions\n\n" + "\n".join(f"{c} channels" for c in channels), BLOCK)
    box(ax, 0.68, 0.5, 0.11, 0.78, f"shared\nfc layer\n\n{channels[-1]} × {classes}", BLOCK)
    for name, y in rows.items():
        arrow(ax, (0.09, 0.5), (0.118, y), bend=0.0)
        middle = 0.5 + 0.5 * (y - 0.5) + 0.03 * np.sign(y - 0.5)
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(0.104, middle, r"$\phi$", fontsize=SIZE + 2, ha="center", va="center", color=INK, bbox=paper)
        box(ax, 0.52, y, 0.09, 0.14, f"$h_{name}$\n{channels[-1]}", EXTRA)
        box(ax, 0.83, y, 0.09, 0.14, f"$p_{name}$\n{classes}", OUTPUT)
        for start, end in [(0.2, 0.26), (0.42, 0.475), (0.565, 0.625), (0.735, 0.785)]:
            arrow(ax, (start, y), (end, y))
    label_, up = (0.95, 0.5), {"ha": "center", "va": "center", "fontsize": SIZE, "color": RED}
    box(ax, *label_, 0.07, 0.12, "label y", DATA)
    for y in rows.values():
        side = np.sign(y - 0.5)
        arrow(ax, (0.935, 0.5 + 0.06 * side), (0.872, y - 0.075 * side), teaches=True)
    for x in (0.52, 0.83):
        for start, end, side in [(0.67, 0.33, -0.012), (0.33, 0.67, 0.012)]:
            arrow(ax, (x + side, start), (x + side, end), teaches=True)
    paper = {"bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5}}
    ax.text(0.52, 0.5, f"µ MMD\n{terms['mmd']:.2g}", **up, **paper)
    ax.text(0.83, 0.5, f"λ KL both ways\n{terms['kl']:.3f}", **up, **paper)
    ax.text(0.955, 0.72, f"CE of\nboth views\n{terms['task']:.3f}", **up)
    ax.text(0.5, 0.02, f"loss of this batch: {sum(terms.values()):.3f}", ha="center", fontsize=SIZE + 1, color=INK)
    return ax


def distorted_pairs(pairs: Mapping[str, Sequence[Tensor]], axes):
    """Views of one image under each distortion, a row each: what the two branches may see.

    pairs: distortion -> V images [3, H, W] in [0, 1]. axes: [rows, V].
    """
    grid = np.asarray(axes, dtype=object).reshape(len(pairs), -1)
    for row, (name, views) in zip(grid, pairs.items(), strict=True):
        for ax, view in zip(row, views, strict=True):
            canvas(ax)
            ax.imshow(picture(view), extent=(0, 1, 0, 1), aspect="equal")
        row[0].text(-0.12, 0.5, name, ha="right", va="center", fontsize=SIZE, color=INK)
    return axes


def mu_sensitivity(
    ours: Mapping[float, Sequence[float]], reported: Mapping[float, float], axes: Sequence[Axes], what: str = "validation error"
):
    """Error over the weight of the MMD, the paper's and one's own. Paper 001, Table 5 (which has no figure).

    ours: µ -> accuracies in [0, 1] over seeds. reported: µ -> error in percent. axes: two; each has its own error axis, since
    the networks and the data differ. µ = 0 stands at the left end of the logarithmic axis. An error that is more than three
    times the median one is an arrow out of the panel, and its number.
    """
    left, right = axes
    smallest = min(v for v in (*ours, *reported) if v > 0)
    values = sorted({*ours, *reported})

    def place(mu: float) -> float:
        return mu or smallest / 10

    theirs = sorted(reported)
    left.plot([place(v) for v in theirs], [reported[v] for v in theirs], "D--", color=INK, mfc="white", markersize=6)
    own = sorted(ours)
    errors = [100 * (1 - np.asarray(ours[v], dtype=float)) for v in own]
    style = looks(["ddgsd"])["ddgsd"]
    usual = 3 * np.median([e.mean() for e in errors])
    near = [(v, e) for v, e in zip(own, errors, strict=True) if e.mean() <= usual]
    right.errorbar([place(v) for v, _ in near], [e.mean() for _, e in near], [e.std() for _, e in near], **style, capsize=3)
    for v, e in near:
        right.plot([place(v)] * len(e), e, "o", color=style["color"], alpha=0.45, markersize=3.5)
    for v, e in zip(own, errors, strict=True):
        if e.mean() > usual:
            right.plot(
                place(v), 1, "^", color=style["color"], markersize=9, transform=right.get_xaxis_transform(), clip_on=False
            )
            right.annotate(
                f"{e.mean():.0f} ± {e.std():.0f} %", (place(v), 1), (-9, 0), xycoords=right.get_xaxis_transform(),
                textcoords="offset points", ha="right", va="center", fontsize=SIZE,
            )  # fmt: skip
    for ax, title, name in [
        (left, "the paper: ResNet-32, CIFAR-100", "test error"),
        (right, "here: mean ± sd, dots: seeds", what),
    ]:
        ax.set_xscale("log")
        ax.set_xticks([place(v) for v in values], [power(v) for v in values], rotation=90)
        ax.minorticks_off()
        ax.set_xlim(place(values[0]) / 2, values[-1] * 2)
        ax.set_title(title)
        ax.set_xlabel("µ")
        ax.set_ylabel(f"{name}, %")
    low, high = left.get_ylim()
    left.set_ylim(low - 0.5, high + 0.5)
    return axes


def power(value: float) -> str:
    """1e-4 as a power of ten, for an axis."""
    if not value:
        return "0"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    digit = value / 10.0**exponent
    if -1 <= exponent <= 1:
        return f"{value:g}"
    front = "" if abs(digit - 1) < 1e-6 else f"{digit:g}·"
    return f"{front}$10^{{{exponent}}}$"


def reliance(curves: Mapping[str, AblationCurve], ax: Axes, values: Mapping[str, float] | None = None) -> Axes:
    """What is left of the accuracy as feature maps are switched off in random order: mean ± sd. Paper 001, Discussions.

    Accuracies are divided by that of the intact network. Of more than two curves plain training alone has a band.
    values: the area under each curve, for the legend.
    """
    styles = looks(curves)
    spans: dict[str, tuple | None] = {}
    for name, c in curves.items():
        share = (100 * c.accuracy / c.accuracy[0].mean()).numpy()
        x, mean, sd = 100 * c.fraction.numpy(), share.mean(1), share.std(1)
        words = label(name) + (f", area {values[name]:.3f}" if values else "")
        ax.plot(x, mean, label=words, **styles[name], markersize=5)
        spans[name] = (x, mean - sd, mean + sd)
    banded(ax, spans, "± 1 sd of the orders")
    maps = next(iter(curves.values())).maps
    ax.set_xlabel(f"feature maps switched off, % of {maps}")
    ax.set_ylabel("training accuracy, % of intact")
    ax.set_xlim(0, 100)
    ax.set_ylim(bottom=0)
    legend(ax)
    return ax


def ablation(
    ours: Mapping[str, Sequence[float]],
    reported: Mapping[str, Mapping[str, float]],
    ax: Axes,
    base: str,
    what: str = "validation accuracy",
) -> Axes:
    """What each part of a method brings, as points of accuracy beside a baseline: own runs and the paper's rows.

    ours: row -> accuracies in [0, 1] over seeds. reported: network of the paper -> row -> error in percent. base: the row
    that all are compared with, each side with its own. Paper 001, Table 6; paper 002, Table 6.
    """
    names = [n for n in ours if n != base]
    mean = 100 * np.mean(ours[base])
    x, markers = np.arange(len(names)), "DsP^"
    gains = [100 * np.asarray(ours[n], dtype=float) - mean for n in names]
    ax.bar(x, [g.mean() for g in gains], 0.5, yerr=[g.std() for g in gains], capsize=4, color=SKY, label="here, mean ± sd")
    for i, g in enumerate(gains):
        ax.plot(i + np.linspace(-0.08, 0.08, len(g)), g, "o", color=INK, markersize=3.5, label="_" if i else "here, every seed")
    for j, (network, errors) in enumerate(reported.items()):
        kept = [i for i, n in enumerate(names) if n in errors]
        shift = 0.33 + 0.12 * j
        gained = [errors[base] - errors[names[i]] for i in kept]
        ax.plot(
            [i + shift for i in kept], gained, markers[j % 4], mfc="white", mec=ORANGE if j else INK, mew=1.4,
            markersize=7, linestyle="", label=f"the paper, {network}",
        )  # fmt: skip
    ax.axhline(0, color=GREY, linewidth=1)
    ax.set_xticks(x, [label(n) for n in names])
    ax.set_xlim(-0.6, len(names) - 0.3)
    ax.grid(False, axis="x")
    ax.set_ylabel(f"{what}, points above\n{base} ({mean:.1f} % here)")
    legend(ax, outside=True)
    return ax
