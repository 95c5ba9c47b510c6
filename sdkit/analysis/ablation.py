"""Single directions: how much a network rests on single feature maps (Morcos et al. 2018; discussed in DDGSD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import ProgressBar, check_images, check_labels, checked, device_of, preserve_state, scores

MODES = ("zero", "mean")


class AblationCurve(NamedTuple):
    """Accuracy with ever more feature maps switched off."""

    fraction: Tensor  # [F] of the maps that is off: the whole number of maps next to the fraction asked for, over all
    accuracy: Tensor  # [F, O] in [0, 1], O random orders
    maps: int  # C, of the layer


@checked
def single_directions(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    layer: nn.Module,
    fractions: Sequence[float] = tuple(i / 10 for i in range(11)),
    orders: int = 5,
    seed: int = 0,
    mode: str = "zero",
    batch_size: int = 256,
    progress: ProgressBar = iter,
) -> AblationCurve:
    """Accuracy while a growing random set of one layer's feature maps is held at a constant. Morcos et al. 2018, cumulative.

    model: images -> logits. x [N, 3, H, W] normalised, y [N]; the original takes training images. layer: a module of the
    model with output [B, C, ...], such as its last stage; what is held is that output, before or after a ReLU as the
    layer has it. mode: "zero" clamps to 0; "mean" to the map's mean over x and positions, which carries no information
    either but keeps the scale that the layers above expect.

    The same `orders` permutations serve every fraction, and depend on `seed` and C alone: of one architecture, every
    network loses the same maps. The set grows along each order.
    """
    check_images(x)
    check_labels(y, len(x))
    if mode not in MODES:
        raise ValueError(f"a map is held at its {' or '.join(map(repr, MODES))}, got {mode!r}")
    if orders < 1 or not len(fractions) or not all(0 <= f <= 1 for f in fractions):
        raise ValueError(f"ablation takes at least one order and fractions in [0, 1], got {orders=}, {list(fractions)}")
    if all(m is not layer for m in model.modules()):
        raise ValueError(f"the {type(layer).__name__} to ablate is no part of the network: hand in one of its own modules")
    with torch.no_grad(), preserve_state(model):
        level = _levels(model, x, y, layer, mode, batch_size)
        model, layer, x = _from(model, layer, x, batch_size)
        c = len(level)
        off = [round(f * c) for f in fractions]
        g = torch.Generator().manual_seed(seed)
        rank = [torch.randperm(c, generator=g).argsort().to(level.device) for _ in range(orders)]
        # none and all of the maps are the same sets in every order
        wanted = {(n, o if 0 < n < c else 0): 0.0 for n in off for o in range(orders)}
        for n, o in progress(list(wanted)):
            handle = layer.register_forward_hook(_hold(rank[o] < n, level))
            try:
                wanted[n, o] = scores(model, x, y, batch_size)[0]
            finally:
                handle.remove()
    accuracy = [[wanted[n, o if 0 < n < c else 0] for o in range(orders)] for n in off]
    return AblationCurve(torch.tensor(off, dtype=torch.float64) / c, torch.tensor(accuracy, dtype=torch.float64), c)


def reliance(curve: AblationCurve) -> float:
    """The share of its accuracy that a network keeps while maps go, on average over the fraction ablated.

    Area under the mean accuracy over the fraction (trapezoids), divided by the range of the fraction and by the intact
    accuracy. 1: rests on no single map at all; *lower* is more reliance. A constant answer keeps its chance accuracy, so
    the value at the fraction 1 is chance over accuracy: compare networks of like accuracy.
    """
    if len(curve.fraction) < 2 or float(curve.fraction[0]) or not (curve.fraction.diff() >= 0).all() or not curve.fraction[-1]:
        raise ValueError(f"reliance needs a curve over rising fractions from 0, got {curve.fraction.tolist()}")
    mean = curve.accuracy.mean(1)
    return float(torch.trapezoid(mean, curve.fraction) / curve.fraction[-1] / mean[0])


def _levels(model: nn.Module, x: Tensor, y: Tensor, layer: nn.Module, mode: str, batch_size: int) -> Tensor:
    """The constant that each map is held at, [C]. One look at the layer: a single image for "zero", all for "mean"."""
    seen: list[Tensor] = []  # sums over positions, [C] float64

    def look(_module, _inputs, out):
        if not isinstance(out, Tensor) or out.ndim < 2:
            raise ValueError(f"a layer to ablate gives maps [B, C, ...], {type(layer).__name__} gives a {type(out).__name__}")
        seen.append(out.double().flatten(2).mean(2).sum(0) if out.ndim > 2 else out.double().sum(0))

    part = slice(None) if mode == "mean" else slice(1)
    handle = layer.register_forward_hook(look)
    try:
        scores(model, x[part], y[part], batch_size)
    finally:
        handle.remove()
    if not seen:
        raise ValueError(f"these logits do not pass through the {type(layer).__name__} to ablate: take a layer on their way")
    total = torch.stack(seen).sum(0)
    return total / len(x) if mode == "mean" else torch.zeros_like(total)


def _from(model: nn.Module, layer: nn.Module, x: Tensor, batch_size: int) -> tuple[nn.Module, nn.Module, Tensor]:
    """The same network, layer and images, but from the last stage on where that is the layer: what is before is done once."""
    stages = getattr(model, "stages", None)
    if not (isinstance(stages, nn.ModuleList) and layer is stages[-1] and hasattr(model, "neck")):
        return model, layer, x
    place = device_of(model)
    maps = torch.cat([model.forward_features(part.to(place)).stages[-1] for part in x.split(batch_size)])
    gate = nn.Identity()
    return nn.Sequential(gate, model.neck, model.classifier), gate, maps


def _hold(off: Tensor, level: Tensor):
    """A forward hook that holds the maps where `off` at their level. off [C] bool, level [C]."""

    def hook(_module, _inputs, out):
        shape = (1, -1, *[1] * (out.ndim - 2))
        return torch.where(off.view(shape), level.to(out).view(shape), out)

    return hook
