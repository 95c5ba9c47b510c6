"""The experiment of any row of the papers' tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..models import MODELS
from ..papers.settings import Setting, setting
from ..train import RECIPES, RECIPES_ABOUT, Recipe
from . import options
from .spec import Experiment

NAMED = {
    "ddgsd": ("ddgsd_table3", "ResNet-32", "paper 001's ResNets on CIFAR"),
    "ddgsd-wrn": ("ddgsd_table3", "WRN-28-10", "paper 001's wide ResNets"),
    "ddgsd-densenet": ("ddgsd_table3", "DenseNet-100", "paper 001's DenseNets"),
    "self-guidance": ("self_guidance_table1", "ResNet-32", "paper 002"),
    "byot": ("byot_table1", "ResNet18", "the code that paper 003 links"),
    "tiny-imagenet": ("drg_dsr_table2", "ResNet18", "paper 004 on TinyImageNet"),
}
"""A recipe's name -> the table and the network that it is of. That of paper 004 on CIFAR-100, and of 000, is "paper"."""


def paper_experiment(
    table: str,
    method: str | None = None,
    network: str | None = None,
    data: str | None = None,
    *,
    recipe: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    seed: int = 0,
    **row: Any,
) -> Experiment:
    """The Experiment of a row of a paper's table, its teacher with a recipe of its own; as `sdkit.papers.experiment`, too.

    What is not said is the table's first: `papers.rows(table)` lists what there is. What no source states is in
    `papers.setting(...).notes`, with what is taken instead.

    Args:
        table: such as "ddgsd_table3"; 24 have trainings.
        method: as the paper prints it, "SD", or as sdkit calls it, "ddgsd".
        network: the same: "WRN-28-10" or "wrn-28-10".
        data: the same: "CIFAR-100" or "cifar100".
        recipe: fields of the recipe to change, `{"epochs": 2}`; of the teacher's, too, where one is trained.
        dataset: options of the data set to change, `{"train_size": 500}`; of the teacher's, too.
        seed: of the run and of its teacher.
        **row: `teacher`, `setting`, `value` and `variant`, see `papers.setting`.

    Returns:
        The row's Experiment: a `replace` of it is a variation, its `run()` the training.

    Raises:
        KeyError: no table or row has this name; what there is is named.
    """
    return of_setting(setting(table, method, network, data, **row), recipe or {}, dataset or {}, seed)


def of_setting(
    found: Setting, recipe: Mapping[str, Any] | None = None, dataset: Mapping[str, Any] | None = None, seed: int = 0
) -> Experiment:
    """The Experiment that a setting says, with what is changed of it."""
    base = Recipe.of(found.recipe)
    known = options.known(MODELS[found.model])
    return Experiment(
        found.method,
        found.model,
        found.data,
        replace(base, **(recipe or {})) if base.epochs else base,
        knobs=found.knobs,
        network={k: v for k, v in found.network.items() if k in known},
        dataset={**found.dataset, **(dataset or {})},
        teacher=of_setting(found.teacher, recipe, dataset, seed) if found.teacher else None,
        seed=seed,
    )


def in_words(found: Setting) -> str:
    """What a row says, as it is built, in a line."""
    made = of_setting(found)
    parts = [_called(made.method, found.knobs), _called(made.model, made.network), _called(made.data, made.dataset)]
    parts.append(_optimised(made.recipe))
    taught = made.teacher
    if found.teacher and taught:
        how = "the same recipe" if taught.recipe == made.recipe else _optimised(taught.recipe)
        parts.append(f"teacher: {_called(taught.method, found.teacher.knobs)} {_called(taught.model, taught.network)}, {how}")
    return " · ".join(parts)


def _called(name: str, options: Mapping[str, Any]) -> str:
    return name + (f"({', '.join(f'{k}={_plain(v)}' for k, v in options.items())})" if options else "")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _optimised(recipe: Recipe) -> str:
    if not recipe.epochs:
        return "not trained further"
    at = ", ".join(f"{round(m * recipe.epochs)}" for m in recipe.milestones)
    falls = f" x{recipe.gamma:g} at {at}" if recipe.schedule == "step" else f" {recipe.schedule}"
    nesterov = " Nesterov" if recipe.nesterov else ""
    return (
        f"{recipe.epochs} epochs of {recipe.batch_size}, lr {recipe.lr:g}{falls}, decay {recipe.weight_decay:g}, "
        f"momentum {recipe.momentum:g}{nesterov}"
    )


def name_recipes() -> None:
    """Adds the papers' recipes to RECIPES, from their tables' settings."""
    for name, (table, network, about) in NAMED.items():
        RECIPES[name] = Recipe.of(setting(table, network=network).recipe)
        RECIPES_ABOUT[name] = f"{about}: {_optimised(RECIPES[name])}"


name_recipes()
