"""The runs that a notebook begins with."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ..core import Word, as_declared
from ..train import RECIPES
from .spec import Experiment


def base_experiment(data: str = "shapes", model: str = "four-stage", recipe: str = "quick", **options: Any) -> Experiment:
    """The vanilla run that a notebook's other runs vary: `replace(base, method="drg")`. Options: an Experiment's.

    $SDKIT_DATA, $SDKIT_MODEL, $SDKIT_RECIPE, $SDKIT_TRAIN_SIZE and $SDKIT_SEED win over what is said here, so that the same
    notebook runs unattended on other data.
    """
    size, seed = os.environ.get("SDKIT_TRAIN_SIZE"), os.environ.get("SDKIT_SEED")
    said = Experiment(
        data=os.environ.get("SDKIT_DATA", data),
        model=os.environ.get("SDKIT_MODEL", model),
        recipe=os.environ.get("SDKIT_RECIPE", recipe),
        **options,
    )
    dataset = said.dataset | ({"train_size": Word(size)} if size else {})
    return replace(said, dataset=dataset, seed=as_declared("SDKIT_SEED", Word(seed), int) if seed else said.seed)


def small_experiment(base: Experiment, **options: Any) -> Experiment:
    """The small vanilla run that sweeps vary: 200 digits to learn from and 400 to choose by, seconds a run.

    Its recipe is "quick", or the base's where that is a smaller one, and it learns from half of what the base does where that
    is less.
    """
    recipe = min(base.recipe, RECIPES["quick"], key=lambda r: r.epochs)
    size = min(200, max(base.dataset.get("train_size") or 400, 20) // 2)
    return Experiment(data="digits", recipe=recipe, dataset={"train_size": size, "validation": 400}, seed=base.seed, **options)
