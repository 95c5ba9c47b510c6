"""How a network is optimised: the recipe and its learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..core import Progress, as_declared, declared, pick


@dataclass(frozen=True)
class Recipe:
    """How the network is optimised: by SGD with momentum or AdamW, under a schedule of the learning rate.

    optimizer: "sgd", or "adamw" (Loshchilov and Hutter 2019), which transformers want, at an lr of about 0.001 and a
    weight_decay of about 0.05; then `momentum` is its first beta and `nesterov` says nothing.
    epochs: passes over the training set; 0 leaves the network as it is, which is for pretrained teachers. batch_size: images
    per step. lr: the schedule's peak.
    schedule: "step" multiplies by `gamma` at each of `milestones`; "one cycle" climbs linearly for the first quarter, then
    falls to 0 along a cosine, step by step; "cosine" only falls; "constant" stays.
    milestones: epochs, (60, 120, 160), or fractions of them in (0, 1), (0.3, 0.6, 0.8). They are kept as fractions, so that a
    shorter training of the same recipe falls as early in its course.

    Examples:
        >>> recipe = Recipe(epochs=10, lr=0.1)  # a fifth of it after 30%, 60% and 80%
        >>> [round(recipe.rate(Progress(epoch, 100 * epoch, 10, 100)), 4) for epoch in (0, 3, 6, 8)]
        [0.1, 0.02, 0.004, 0.0008]
    """

    epochs: int = 200
    batch_size: int = 128
    lr: float = 0.1
    schedule: str = "step"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)
    gamma: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = True
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        for name, kind in declared(Recipe).items():  # 1 and 1.0 are one recipe
            object.__setattr__(self, name, as_declared(f"a recipe's {name}", getattr(self, name), kind))
        if self.epochs < 0 or self.batch_size < 2:
            raise ValueError(f"a recipe needs epochs >= 0 and batch_size >= 2, got {self.epochs} and {self.batch_size}")
        if not self.lr > 0:
            raise ValueError(f"a recipe's lr is a positive number, got {self.lr}: say lr=0.1, for example")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"a recipe's gamma is what lr falls to at a milestone, in [0, 1], got {self.gamma}: say gamma=0.1")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"a recipe's momentum lies in [0, 1), got {self.momentum}: say momentum=0.9, for example")
        if not self.weight_decay >= 0:
            raise ValueError(f"a recipe's weight_decay is 0 or more, got {self.weight_decay}: say weight_decay=5e-4")
        if self.nesterov and not self.momentum and self.optimizer == "sgd":
            raise ValueError("Nesterov's momentum needs a momentum above 0, got momentum=0: say nesterov=False, too")
        pick(self.optimizer, ("sgd", "adamw"), "optimizer")
        pick(self.schedule, ("step", "one cycle", "cosine", "constant"), "schedule")
        object.__setattr__(self, "milestones", tuple(map(self._fraction, self.milestones)))

    def _fraction(self, milestone: float) -> float:
        """A milestone as a fraction of the epochs. ValueError where it is neither an epoch before the last nor in (0, 1)."""
        whole = milestone >= 1 and milestone == int(milestone) and self.epochs > 0
        fraction = milestone / self.epochs if whole else float(milestone)
        if not 0 < fraction < 1:
            raise ValueError(
                f"milestones are epochs before the last of {self.epochs}, (60, 120) for example, or fractions in (0, 1), "
                f"(0.3, 0.6), got {milestone:g}"
            )
        return fraction

    @classmethod
    def of(cls, said: str | Recipe | Mapping[str, Any]) -> Recipe:
        """A recipe from its name, itself, or a dict of fields: {"epochs": 300}, or {"name": "quick", "lr": 0.05}.

        Returns:
            The recipe; fields that a dict leaves out are those of the named one, or of `Recipe()`.

        Raises:
            KeyError: no recipe or field has this name; the nearest are suggested.
            TypeError: it is none of the three.
        """
        if isinstance(said, str):
            return RECIPES[pick(said, RECIPES, "recipe")]
        if isinstance(said, Mapping):
            base = cls.of(as_declared("a recipe's name", said["name"], str)) if "name" in said else cls()
            own = {k: v for k, v in said.items() if k != "name"}
            for name in own:
                pick(name, [f.name for f in fields(cls)], "field of a recipe")
            return replace(base, **own)
        if not isinstance(said, cls):
            raise TypeError(
                f'a recipe is a name, "quick" for example, a Recipe, or a dict of its fields, {{"epochs": 300}}, got {said!r}'
            )
        return said

    def rate(self, progress: Progress) -> float:
        """The learning rate of one step."""
        if self.schedule == "step":
            passed = sum(progress.epoch >= round(m * self.epochs) for m in self.milestones)
            return self.lr * self.gamma**passed
        if self.schedule == "constant":
            return self.lr
        climb = 0.25 if self.schedule == "one cycle" else 0.0
        if progress.fraction < climb:
            return self.lr * (0.05 + 0.95 * progress.fraction / climb)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (progress.fraction - climb) / (1 - climb)))


@dataclass(frozen=True)
class RecipeChanges:
    """Fields of a recipe that are said; None is the recipe's own. `sdkit train` has an option for each."""

    epochs: int | None = None  # passes over the training set
    batch_size: int | None = None  # images per step
    lr: float | None = None  # the peak of the learning rate
    schedule: str | None = None  # of the rate: "step", "one cycle", "cosine", "constant"
    milestones: tuple[float, ...] | None = None  # of "step": epochs, or fractions of them
    gamma: float | None = None  # what the rate is multiplied by at each
    momentum: float | None = None  # of SGD
    weight_decay: float | None = None  # of all weights
    nesterov: bool | None = None  # whether momentum is Nesterov's
    optimizer: str | None = None  # "sgd" or "adamw"

    def said(self) -> dict[str, Any]:
        """Those that are said."""
        return {k: v for k, v in vars(self).items() if v is not None}


RECIPES: dict[str, Recipe] = {  # where experiments are made, those of the other papers are added
    "smoke": Recipe(epochs=2, batch_size=64, lr=0.05, schedule="one cycle"),
    "quick": Recipe(epochs=40, batch_size=32, lr=0.1, schedule="one cycle"),
    "lab": Recipe(epochs=30, batch_size=128, lr=0.1, schedule="one cycle"),
    "paper": Recipe(nesterov=False),
}


RECIPES_ABOUT: dict[str, str] = {
    "smoke": "seconds: does it run at all",
    "quick": "about a minute on two cores: long enough to know the training images by heart",
    "lab": "minutes on one GPU: 30 epochs, one cycle",
    "paper": "papers 000 and 004 on CIFAR-100: 200 epochs, x0.2 at 60, 120 and 160, no Nesterov",
}


def recipe_name(recipe: Recipe) -> str:
    """The recipe's name in RECIPES, or "own"."""
    return next((name for name, known in RECIPES.items() if known == recipe), "own")
