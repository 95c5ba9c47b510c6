"""What the options of `sdkit train` and `sdkit sweep` ask for."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from .. import core
from ..train import Recipe, RecipeChanges

if TYPE_CHECKING:
    from ..experiment import Experiment

Names = Annotated[tuple[str, ...], tyro.conf.UseAppendAction]

NO_CHANGES = RecipeChanges()


@dataclass(frozen=True)
class Asked:
    """What is trained: the options that `sdkit train` and `sdkit sweep` share."""

    method: str | None = None  # a name of `sdkit list`, or several joined by "+"; vanilla where not said
    model: str | None = None  # the network; four-stage where not said
    data: str | None = None  # the data set; shapes where not said
    recipe: str | None = None  # a name of `sdkit list`; quick where not said
    knob: Names = ()  # a setting of the method, name=value; may be given several times
    network: Names = ()  # an option of the network, name=value
    dataset: Names = ()  # an option of the data set, name=value, such as train_size=5000
    teacher: str | None = None  # the network of the teacher, for methods that need one: trained first, with the same recipe
    teacher_network: Names = ()  # an option of the teacher's network, name=value, such as pretrained=True
    teacher_recipe: Names = ()  # the name of the teacher's own recipe, or a field of it, name=value: epochs=0 takes it as it is
    fields: Annotated[RecipeChanges, tyro.conf.OmitArgPrefixes] = NO_CHANGES  # of the recipe

    @property
    def of_teacher(self) -> bool:
        """Whether anything is said of a teacher."""
        return bool(self.teacher is not None or self.teacher_network or self.teacher_recipe)

    def experiment(self, seed: int = 0) -> Experiment:
        """The experiment that the options say. ValueError where they say something of a teacher, and no teacher."""
        from ..experiment import Experiment

        if self.of_teacher and self.teacher is None:
            raise ValueError(
                "--teacher-network and --teacher-recipe are of a teacher: say which, --teacher resnet34 for example"
            )
        base = Recipe.of({"name": "quick" if self.recipe is None else self.recipe} | self.fields.said())
        common: dict[str, Any] = {"data": "shapes" if self.data is None else self.data, "dataset": words(self.dataset)}
        teacher = None
        if self.teacher is not None:
            recipe = own_recipe(base, self.teacher_recipe)
            teacher = Experiment(model=self.teacher, network=words(self.teacher_network), recipe=recipe, **common)
        return Experiment(
            method="vanilla" if self.method is None else self.method,
            model="four-stage" if self.model is None else self.model,
            recipe=base,
            knobs=words(self.knob),
            network=words(self.network),
            teacher=teacher,
            seed=seed,
            **common,
        )


NOTHING = Asked()


def own_recipe(base: Recipe, said: Iterable[str]) -> Recipe:
    """The teacher's recipe: that of its student, another by its name, with fields changed."""
    name = next((word for word in said if "=" not in word), None)
    return replace(Recipe.of(name) if name else base, **words(word for word in said if "=" in word))


def words(pairs: Iterable[str]) -> dict[str, Any]:
    """["alpha=0.3", "detach=false"] -> each as it was typed, by its name: it is read where its type is known."""
    split = [pair.partition("=") for pair in pairs]
    if wrong := [name for name, equals, _ in split if not equals]:
        raise ValueError(f"a setting is name=value, got {wrong[0]!r}: say alpha=0.3, for example")
    names = [name.strip() for name, *_ in split]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]} is said {names.count(twice[0])} times: say it once")
    return {name.strip(): core.Word(text.strip()) for name, _, text in split}


def load(path: Path) -> None:
    """Runs a file of parts of a user's own, which gives them names by `sdkit.register`. ValueError where it cannot be run."""
    import importlib.util
    import traceback

    import cloudpickle

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: --from takes a Python file that calls sdkit.register")
    known = importlib.util.find_spec(path.stem.partition(".")[0])
    hides = known is not None and Path(known.origin or "").resolve() != path.resolve()  # a statistics.py hides no module
    name = f"own {path.stem}" if hides else path.stem
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file: --from takes one, its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # of whatever the file does
        lines: list[object] = [
            step.lineno for step in traceback.extract_tb(error.__traceback__) if Path(step.filename) == path.resolve()
        ]
        line = getattr(error, "lineno", None) or (lines or ["?"])[-1]
        said = getattr(error, "msg", None) or error
        raise ValueError(
            f"{path} cannot be run, line {line}: {type(error).__name__}: {said}. Mend it there; SDKIT_TRACEBACK=1 says more"
        ) from error
    cloudpickle.register_pickle_by_value(module)  # other processes cannot import it
