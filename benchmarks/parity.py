"""Does speed cost accuracy? The same training by sdkit's loop and by the plain one, to its end, over seeds."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from plain import Plain

from sdkit.core import Progress
from sdkit.data import DATASETS
from sdkit.methods import METHODS
from sdkit.models import MODELS
from sdkit.train import RECIPES, fit

Row = dict[str, Any]
SEEDS = 3


class Curve(NamedTuple):
    """What a training left of its epochs."""

    loss: list[float]  # [E] of the training images, as they came
    accuracy: list[float]  # [E] of the test images, in [0, 1]


def curves(said: argparse.Namespace, arms: dict[str, Callable[[], AbstractContextManager]]) -> dict[str, list[Curve]]:
    """Vanilla training of the four-stage network by every loop, SEEDS times from the same weights. In turns.

    arms: name -> what its training runs within; "plain" is the plain loop, all others are sdkit's.
    """
    short = said.quick and said.device == "cpu"
    data, recipe = DATASETS["digits" if short else "shapes"](), RECIPES["smoke" if short else "quick"]
    found: dict[str, list[Curve]] = {name: [] for name in arms}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        start = MODELS["four-stage"](num_classes=data.num_classes).state_dict()
        for name, within in arms.items():
            model = MODELS["four-stage"](num_classes=data.num_classes)
            model.load_state_dict(start)
            with within():
                found[name].append(Curve(*zip(*trained(name, model, data, recipe, said, seed), strict=True)))
    return found


def trained(name: str, model: Any, data: Any, recipe: Any, said: argparse.Namespace, seed: int) -> list[tuple[float, float]]:
    """Loss and accuracy of every epoch."""
    if name == "plain":
        plain = Plain(model, data, recipe, on=said.device, workers=said.workers, seed=seed)
        steps = len(plain.loader())
        return list(plain.epochs(lambda epoch, step: recipe.rate(Progress(epoch, step, recipe.epochs, steps))))
    epochs = fit(model, METHODS["vanilla"](), data, recipe, seed=seed, on=said.device)
    return [(e.terms["task"], e.accuracy["final"]) for e in epochs]


def parity(found: dict[str, list[Curve]]) -> list[Row]:
    """Each loop's end, and how far its mean loss curve is from the plain loop's beside what seeds alone would part them by.

    Apart: root mean square over epochs of the difference of the means over S seeds. By chance: the same of the standard
    error of such a difference, sd sqrt(2 / S), sd pooled over the loops. At 2 and less the curves are one within the seeds.
    """
    rows, plain = [], _means(found["plain"])
    seeds = len(found["plain"])
    spread = [
        statistics.mean(statistics.variance([c.loss[e] for c in runs]) for runs in found.values()) for e in range(len(plain))
    ]
    chance = math.sqrt(statistics.mean(spread) * 2 / seeds)
    for name, runs in found.items():
        ends, row = [c.accuracy[-1] for c in runs], {"loop": name, "seeds": seeds}
        row["test accuracy, last epoch"] = f"{statistics.mean(ends):.1%} ± {statistics.stdev(ends):.1%}"
        row["loss, last epoch"] = statistics.mean(c.loss[-1] for c in runs)
        if name != "plain":
            apart = math.sqrt(statistics.mean((a - b) ** 2 for a, b in zip(_means(runs), plain, strict=True)))
            row |= {"loss curve from the plain one": apart, "of what seeds part": apart / chance}
        rows.append(row)
    return rows


def _means(runs: Sequence[Curve]) -> list[float]:
    return [statistics.mean(losses) for losses in zip(*(c.loss for c in runs), strict=True)]
