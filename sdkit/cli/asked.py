"""What the options of `sdkit train` and `sdkit sweep` ask for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .. import core
from ..train import Recipe, RecipeChanges

if TYPE_CHECKING:
    from ..experiment import Experiment

Names = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]

NO_CHANGES = RecipeChanges()


def asked(
    method: str | None, model: str | None, data: str | None, recipe: str | None, knob: Iterable[str], network: Iterable[str],
    dataset: Iterable[str], teacher: str | None, teacher_network: Iterable[str], teacher_recipe: Iterable[str],
    fields: RecipeChanges, seed: int = 0,
) -> Experiment:  # fmt: skip
    """The experiment that the options of `sdkit train` say, by their names there."""
    from ..experiment import Experiment

    base = Recipe.of({"name": "quick" if recipe is None else recipe} | fields.said())
    common: dict[str, Any] = {"data": "shapes" if data is None else data, "dataset": words(dataset), "seed": seed}
    return Experiment(
        method="vanilla" if method is None else method,
        model="four-stage" if model is None else model,
        recipe=base,
        knobs=words(knob),
        network=words(network),
        teacher=Experiment(
            model=teacher, network=words(teacher_network), recipe=own_recipe(base, teacher_recipe), **common | {"seed": 0}
        )
        if teacher is not None
        else None,
        **common,
    )


def its_teacher(teacher: str | None, *said: Iterable[str]) -> None:
    """ValueError where something is said of a teacher, and no teacher."""
    if any(said) and teacher is None:
        raise ValueError("--teacher-network and --teacher-recipe are of a teacher: say which, --teacher resnet34 for example")


def own_recipe(base: Recipe, said: Iterable[str]) -> Recipe:
    """The teacher's recipe: that of its student, another by its name, with fields changed."""
    name = next((word for word in said if "=" not in word), None)
    return replace(Recipe.of(name) if name else base, **words(word for word in said if "=" in word))


def words(pairs: Iterable[str]) -> dict[str, core.Word]:
    """["alpha=0.3", "detach=false"] -> each as it was typed, by its name: it is read where its type is known."""
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, equals, _ in split if not equals]:
        raise ValueError(f"a setting is name=value, got {wrong[0]!r}")
    return {name: core.Word(text) for name, _, text in split}


def load(path: Path) -> None:
    """Runs a file of parts of a user's own, which gives them names by `sdkit.register`."""
    import importlib.util

    import cloudpickle

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: --from takes a Python file that calls sdkit.register")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file: --from takes one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)  # other processes cannot import it
