"""What a record keeps of the network's own analyses, so that their figures can be drawn without its weights.

Each is an analysis of `sdkit.analysis` as numbers: `kept` makes it of a trained network, `read` gives the analysis back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from ..analysis import (
    ExitCost,
    GradientStatistics,
    LossSlice,
    NoiseCurve,
    Projection,
    Separation,
    TermShares,
    collect_features,
    exit_costs,
    gradient_statistics,
    loss_slice,
    noise_tolerance,
    project_pca,
    project_tsne,
    separation,
    term_shares,
)
from ..experiment import Trained
from ..runs import Run
from ..train import default_device

IMAGES = 1000
"""On how many images noise, slices and features are taken."""

SIGMAS = {"absolute": (0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06), "relative": (0, 0.1, 0.2, 0.3, 0.4, 0.5)}
"""The levels of weight noise, as the notebooks have them."""

CLASSES = 10
"""Of how many classes features are drawn: more colours nobody tells apart."""


def noise(t: Trained) -> dict[str, NoiseCurve]:
    """Weight noise both ways, on training images, five draws. BYOT, Fig. 4."""
    x, y = t.images("train", IMAGES)
    return {kind: noise_tolerance(t.model, x, y, list(s), relative=kind == "relative") for kind, s in SIGMAS.items()}


def slices(t: Trained) -> dict[str, LossSlice]:
    """The loss along three random directions, on training images. BYOT, Fig. 3."""
    x, y = t.images("train", IMAGES)
    return {str(seed): loss_slice(t.model, x, y, span=0.5, points=11, seed=seed) for seed in range(3)}


def gradients(t: Trained) -> dict[str, GradientStatistics]:
    """The gradient of every convolution by the method's own loss, over eight batches of 32. BYOT, Fig. 5."""
    loader = t.data.batches(32, pair=t.method.pair, samples_per_class=t.method.samples_per_class, device=default_device())
    batches = [*islice(loader, 8)]
    return {"end": gradient_statistics(t.model, batches, t.method.loss, modules=[t.method])}


def shares(t: Trained) -> dict[str, TermShares]:
    """How hard each term pulls, early and late."""
    return {"terms": term_shares(t, batches=2)}


def separations(t: Trained) -> dict[str, Separation]:
    """How tight the classes are at every exit, on test images. BYOT, Fig. 6."""
    features, y = _features(t)
    return {name: separation(f, y) for name, f in features.items()}


def planes(t: Trained) -> dict[str, Projection]:
    """Every exit's features on two principal components, and the last one's by t-SNE. BYOT, Fig. 6; paper 004, Fig. 9."""
    features, _ = _features(t)
    return {name: project_pca(f) for name, f in features.items()} | {"t-SNE": project_tsne(features["final"])}


def exits(t: Trained) -> dict[str, ExitCost]:
    """What it takes to answer at each exit."""
    return dict(exit_costs(t.early_exits(), t.images(limit=1)[0]))


Arrays = Callable[[Trained], Mapping[str, Any]]
ARRAYS: dict[str, tuple[Arrays, type]] = {
    "noise": (noise, NoiseCurve),
    "slices": (slices, LossSlice),
    "gradients": (gradients, GradientStatistics),
    "shares": (shares, TermShares),
    "separations": (separations, Separation),
    "planes": (planes, Projection),
    "exits": (exits, ExitCost),
}
"""A curve of a record -> what computes it of a trained network, and the analysis that each of its parts is."""


def kept(name: str, trained: Trained) -> dict[str, Any]:
    """An analysis of a trained network as plain numbers of five digits.

    Args:
        name: of ARRAYS.
        trained: with its weights.

    Returns:
        What JSON holds: part -> field -> value; of "planes" also the images' "labels".
    """
    out = {part: {k: _plain(v) for k, v in found._asdict().items()} for part, found in ARRAYS[name][0](trained).items()}
    return out | ({"labels": _features(trained)[1].tolist()} if name == "planes" else {})


def read(name: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    """The analyses that `kept` wrote.

    Args:
        name: of ARRAYS.
        plain: what it wrote.

    Returns:
        Part -> the analysis, such as "relative" -> NoiseCurve; "labels" are a tensor [N].
    """
    kind = ARRAYS[name][1]
    hints = get_type_hints(kind)

    def field(of: str, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(value) if "tuple" in str(hints[of]) else torch.tensor(_numbers(value), dtype=torch.float64)
        return value

    found = {part: kind(**{k: field(k, v) for k, v in said.items()}) for part, said in plain.items() if part != "labels"}
    return found | ({"labels": torch.tensor(plain["labels"])} if "labels" in plain else {})


def half_weights(run: Run) -> bytes:
    """A run's weights as a safetensors file of 16-bit numbers, half as large as in 32.

    Args:
        run: that has ended.

    Returns:
        The file's bytes; the same for the same weights.
    """
    from safetensors.torch import save

    parts = {f"{part}.{name}": w for part, tensors in run.weights().items() for name, w in tensors.items()}
    return save({name: (w.half() if w.is_floating_point() else w).contiguous() for name, w in sorted(parts.items())})


def _features(t: Trained) -> tuple[dict[str, Tensor], Tensor]:
    """Every exit's features of the first test images of ten classes, of unit length [N, D], and their labels [N]."""
    if t not in FEATURES:
        FEATURES[t] = _collected(t)
    return FEATURES[t]


FEATURES: WeakKeyDictionary[Trained, tuple[dict[str, Tensor], Tensor]] = WeakKeyDictionary()
"""What several curves of one record are made of."""


def _collected(t: Trained) -> tuple[dict[str, Tensor], Tensor]:
    y = t.labels()
    places = torch.where(y < CLASSES)[0][:IMAGES]
    x, _ = t.images(limit=int(places.max()) + 1)
    found = collect_features(t.features, x[places.to(x.device)], modules=[t.model, t.method])
    deepest = found.pop("final")
    return {name: F.normalize(f.float(), dim=1) for name, f in (found | {"final": deepest}).items()}, y[places]


def _plain(value: Any) -> Any:
    """A value as JSON holds it: five digits of a number, null for what is none."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def _numbers(value: Any) -> Any:
    return [_numbers(v) for v in value] if isinstance(value, list) else math.nan if value is None else value
