"""How a network is optimised: the recipe and its learning rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core import Progress, pick


@dataclass(frozen=True)
class Recipe:
    """How the network is optimised: by SGD with momentum or AdamW, under a schedule of the learning rate.

    optimizer: "sgd", or "adamw" (Loshchilov and Hutter 2019), which transformers want, at an lr of about 0.001 and a
    weight_decay of about 0.05; then `momentum` is its first beta and `nesterov` says nothing.
    epochs: passes over the training set. batch_size: images per step. lr: the schedule's peak.
    schedule: "step" multiplies by `gamma` at each of `milestones` (fractions of the epochs); "one cycle" climbs linearly for
    the first quarter, then falls to 0 along a cosine, step by step; "cosine" only falls; "constant" stays.

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
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for name in ("lr", "gamma", "momentum", "weight_decay"):
            object.__setattr__(self, name, float(getattr(self, name)))  # 1 and 1.0 are one recipe
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"a recipe needs epochs >= 1 and batch_size >= 2, got {self.epochs} and {self.batch_size}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"a recipe's lr is a positive number, got {self.lr}")
        pick(self.optimizer, ("sgd", "adamw"), "optimizer")
        pick(self.schedule, ("step", "one cycle", "cosine", "constant"), "schedule")
        if any(not 0 < m < 1 for m in self.milestones):
            raise ValueError(f"milestones are fractions of training in (0, 1), got {self.milestones}")

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


RECIPES: dict[str, Recipe] = {
    "smoke": Recipe(epochs=2, batch_size=64, lr=0.05, schedule="one cycle"),
    "quick": Recipe(epochs=40, batch_size=32, lr=0.1, schedule="one cycle"),
    "lab": Recipe(epochs=30, batch_size=128, lr=0.1, schedule="one cycle"),
    "paper": Recipe(),
}


RECIPES_ABOUT: dict[str, str] = {
    "smoke": "seconds: does it run at all",
    "quick": "about a minute on two cores: long enough to know the training images by heart",
    "lab": "minutes on one GPU: 30 epochs, one cycle",
    "paper": "the schedule of paper 004 on CIFAR-100: 200 epochs, x0.2 at 60, 120 and 160",
}


def recipe_name(recipe: Recipe) -> str:
    """The recipe's name in RECIPES, or "own"."""
    return next((name for name, known in RECIPES.items() if known == recipe), "own")
