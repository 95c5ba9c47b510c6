"""Figures that go with any method: weight noise, gradients, calibration, what a training step costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from ..analysis import AttackCurve, Calibration, GradientStatistics, NoiseCurve, Projection, SelectiveRisk, StepCost
from .style import ABOVE, GREEN, GREY, ORANGE, PALE, SIZE, SKY, banded, bare, class_look, label, legend, looks, picture

COSTS = (("time", ORANGE, "//", "time"), ("flops", SKY, "", "FLOPs"), ("operations", GREEN, "..", "operations"))
"""What a step costs: the field, how its bars look, what it is called."""


def pictures(images: Tensor, titles: Sequence[str], axes) -> None:
    """Images [N, 3, H, W] in [0, 1], each under its title, on N axes."""
    for ax, image, title in zip(np.asarray(axes, dtype=object).ravel(), images, titles, strict=True):
        bare(ax).imshow(picture(image))
        ax.set_title(title, fontsize=SIZE)


def noise(curves: Mapping[str, NoiseCurve], ax_accuracy: Axes, ax_loss: Axes) -> tuple[Axes, Axes]:
    """Accuracy (percent) and loss under weight noise, mean and +- one standard deviation over the draws. BYOT, flat minima.

    Of more than two curves plain training alone has a band.

    Raises:
        ValueError: curves of absolute and of relative noise are mixed; they have no common axis.
    """
    for ax, of, what in [(ax_accuracy, "accuracy", "accuracy, %"), (ax_loss, "loss", "loss, nats")]:
        relative = noise_bands(curves, ax, of)
        unit = "relative to each weight tensor's std" if relative else "absolute"
        ax.set_xlabel(f"σ of the weight noise ({unit})")
        ax.set_ylabel(what)
    legend(ax_accuracy)
    return ax_accuracy, ax_loss


def noise_bands(curves: Mapping[str, NoiseCurve], ax: Axes, of: str) -> bool:
    """The "accuracy" (percent) or the "loss" of each curve with a band; says whether the noise is relative. See `noise`."""
    kinds = {c.relative for c in curves.values()}
    if len(kinds) != 1:
        raise ValueError(f"weight noise is drawn for curves that are all absolute or all relative, got {len(kinds)} kinds")
    styles = looks(curves)
    spans: dict[str, tuple | None] = {}
    for name, c in curves.items():
        values = (100 * c.accuracy if of == "accuracy" else c.loss).numpy()
        mean, sd, sigma = values.mean(1), values.std(1), c.sigma.numpy()
        ax.plot(sigma, mean, label=label(name), **styles[name], markersize=5)
        spans[name] = (sigma, mean - sd, mean + sd)
    banded(ax, spans, "± 1 sd of the draws")
    return kinds.pop()


def under_attack(curves: Mapping[str, AttackCurve], ax: Axes) -> Axes:
    """Accuracy (percent) of each network against epsilon, in grey levels of 255 where epsilon is in the unit of pixels.

    A network whose gradient vanishes on some of the images says so in its name: there the attack is blind.
    """
    styles = looks(curves)
    for name, c in curves.items():
        blind = f" (no gradient: {100 * c.silent:.0f} %)" if c.silent else ""
        levels, percent = 255 * c.epsilon.numpy(), 100 * c.accuracy.numpy()
        ax.plot(levels, percent, label=f"{label(name)}{blind}", **styles[name], markersize=5)
    ax.set_xlabel("ε of the attack, grey levels of 255")
    ax.set_ylabel("accuracy, %")
    ax.set_ylim(0, None)
    legend(ax)
    return ax


def plane(points: Projection, y: Tensor, ax: Axes, size: float = 11) -> None:
    """Images on a plane, framed, without ticks. `class_look` says how a class looks.

    y [N]: labels. size: of a point, square points.
    """
    bare(ax).spines[:].set(visible=True, color=PALE)
    for i, c in enumerate(sorted(set(y.tolist()))):
        ax.scatter(*points.points[y == c].numpy().T, s=size, linewidths=0, alpha=0.85, **class_look(i))


def gradients(stats: Mapping[str, GradientStatistics], ax: Axes, share: bool = False) -> Axes:
    """Mean gradient size of every convolution, shallow to deep, a bar per method; a dashed line between stages. BYOT.

    share: each layer's part of the sum over layers in percent, comparable between losses with more and with fewer terms.
    ValueError where the networks' layers differ.
    """
    layers = {s.layers for s in stats.values()}
    if len(layers) != 1:
        raise ValueError(f"gradients are compared layer by layer: the networks must be the same, got {len(layers)} kinds")
    stage = next(iter(stats.values())).stage
    x, width = np.arange(len(stage)), 0.84 / len(stats)
    styles = looks(stats)
    for i, (name, s) in enumerate(stats.items()):
        at = x + (i - (len(stats) - 1) / 2) * width
        heights = (100 * s.share if share else s.magnitude).numpy()
        ax.bar(at, heights, width, color=styles[name]["color"], label=label(name), edgecolor="white", linewidth=0.3)
    starts = [0, *(i for i in range(1, len(stage)) if stage[i] != stage[i - 1])]
    for i in starts[1:]:
        ax.axvline(i - 0.5, color=GREY, linestyle="--", linewidth=0.8)
    ends = [*starts[1:], len(stage)]
    ax.set_xticks(
        [(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)],
        ["other" if i and stage[i] < 0 else "stem" if stage[i] < 0 else str(stage[i] + 1) for i in starts],
    )
    ax.tick_params(axis="x", length=0)
    ax.grid(False, axis="x")
    ax.set_xlabel("convolutions by stage, shallow to deep")
    ax.set_ylabel("share of all layers' gradient, %" if share else "mean |∂L/∂W|")
    legend(ax)
    return ax


FEW = 10
"""A bin with fewer images stands beside the curve: the accuracy of one image is 0 or 100 %."""


def reliability(calibrations: Mapping[str, Calibration], ax: Axes) -> Axes:
    """Accuracy against confidence, a point for each bin that holds images; the diagonal is perfect calibration.

    Bins of fewer than FEW images are hollow and not joined to the curve. Names and expected calibration errors (ECE), which
    count every image, stand above two curves, and beside more.
    """
    ax.plot([0, 100], [0, 100], color=GREY, linestyle=":", linewidth=1.2, label="perfect")
    styles = looks(calibrations)
    for name, c in calibrations.items():
        kept = c.count >= FEW
        x, y = 100 * c.confidence[kept].numpy(), 100 * c.accuracy[kept].numpy()
        ax.plot(x, y, label=f"{label(name)} (ECE {100 * c.ece:.1f} %)", **styles[name], markersize=5)
    hollow: dict[str, Any] = {"linestyle": "", "markerfacecolor": "white", "markersize": 5}
    few = {name: (c.count > 0) & (c.count < FEW) for name, c in calibrations.items()}
    for name, kept in ((name, kept) for name, kept in few.items() if kept.any()):
        x, y = (100 * values[kept].numpy() for values in (calibrations[name].confidence, calibrations[name].accuracy))
        ax.plot(x, y, **styles[name] | hollow, clip_on=False)  # whole where it stands on the frame
    if any(kept.any() for kept in few.values()):
        ax.plot([], [], "o", color=GREY, label=f"hollow: fewer than {FEW} images", **hollow)
    ax.set_xlabel("confidence, %")
    ax.set_ylabel("accuracy, %")
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    legend(ax, **({"outside": True} if len(calibrations) > 2 else ABOVE))
    return ax


def risk_coverage(risks: Mapping[str, SelectiveRisk], ax: Axes) -> Axes:
    """Wrong answers among the images that a network is surest of, over the share that it answers; areas stand beside names."""
    styles = looks(risks)
    for name, r in risks.items():
        said = f"{label(name)} (AURC {100 * r.aurc:.1f} %, E-AURC {100 * r.e_aurc:.1f} %)"
        ax.plot(100 * r.coverage.numpy(), 100 * r.risk.numpy(), label=said, **styles[name] | {"marker": ""})
    ax.set_xlabel("answered, the surest first, %")
    ax.set_ylabel("wrong among them, %")
    ax.set_xlim(0, 100)
    ax.set_ylim(bottom=0)
    legend(ax, outside=True)
    return ax


def step_costs(costs: Mapping[str, StepCost], ax: Axes, reference: str) -> Axes:
    """Time, FLOPs and operations of training steps, three bars a step, as multiples of the step `reference`.

    Time that follows the FLOPs is that of a compute-bound machine; time that follows the operations, of a launch-bound one.
    """
    x, width = np.arange(len(costs)), 0.27
    for i, (field, color, hatch, said) in enumerate(COSTS):
        heights = [getattr(cost, field) for cost in costs.values()]
        bars = ax.bar(x + (i - 1) * width, heights, 0.94 * width, color=color, hatch=hatch, edgecolor="white", label=said)
        ax.bar_label(bars, fmt="%.2f", fontsize=SIZE, padding=3, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    ax.axhline(1, color=GREY, linewidth=1)
    ax.set_xticks(x, [label(name) for name in costs])
    ax.grid(False, axis="x")
    ax.set_ylabel(f"× {label(reference)}")
    ax.margins(x=0.02, y=0.12)
    legend(ax, outside=True)
    return ax
