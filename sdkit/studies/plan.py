"""What to run: experiments listed in plans/NAME.json, in order."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ..core import home, pick
from ..experiment import Experiment
from ..train import RECIPES, Recipe
from .grid import PARTS, is_spread, points
from .result import CURVES, LIGHT

LISTS = {"seeds": "seed", "epochs": "recipe", "models": "model", "methods": "method"}
"""Of a plan's entry: one experiment for every value, the last of these changing fastest. Epochs stand for the entry's recipe
with so many."""

NAME = re.compile(r"\w[\w .-]*")
"""What a plan may be called."""


# plans
@dataclass(frozen=True)
class Plan:
    """Experiments to run, in order."""

    name: str
    about: str
    experiments: list[Experiment]
    curves: tuple[str, ...]  # of CURVES: what a record keeps beside the history


def plans() -> list[Path]:
    """The plans of this checkout."""
    folders = [home() / "plans", Path(__file__).parents[2] / "plans"]
    return sorted({p.name: p for folder in reversed(folders) for p in folder.glob("*.json")}.values())


def read_plan(said: str | Path, data: Path | None = None) -> Plan:
    """A plan by its name or its file. data: the folder of data sets, where that is not home()/data.

    A file holds "name", "about", "curves" and "runs": a list of an `Experiment`'s arguments, in which "methods", "models",
    "epochs" and "seeds" are lists that stand for one run each. Of "epochs" each is a whole schedule of its own. In "knobs",
    "recipe", "network" and "dataset" a list of values, numbers between two ends, `{"log": [0.01, 1, 7]}`, or random draws,
    `{"random": {"log": [0.01, 1]}, "n": 8, "seed": 0}`, stand for a run each: every combination at one seed, then the next.
    """
    path = Path(said)
    if path.suffix != ".json":
        known = {p.stem: p for p in plans()}
        path = known[pick(str(said), known, "plan")]
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(p.stem for p in plans()) or "none"
        raise FileNotFoundError(f"no plan {path}: the plans here are {names}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"the plan {path} is not JSON ({error}): mend it there") from error
    if not isinstance(plan, dict) or not isinstance(plan.get("runs"), list) or not plan["runs"]:
        raise ValueError(f'the plan {path} says no runs: it needs "runs", a list of an Experiment\'s arguments')
    for name in plan:
        pick(name, ("name", "about", "curves", "runs"), f"part of a plan ({path.name})")
    called = plan.get("name", path.stem)
    if not isinstance(called, str) or not NAME.fullmatch(called):
        raise ValueError(
            f"the name of the plan {path} is that of a folder of records: letters, digits, spaces and . _ - alone, the first a "
            f"letter or digit, got {called!r}"
        )
    experiments: dict[str, Experiment] = {}
    for number, entry in enumerate(plan["runs"], 1):
        try:
            experiments |= {e.key: e for e in _entry(entry, data)}
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            words = error.args[0] if error.args else error
            raise ValueError(f"run {number} of the plan {path.name} is no experiment: {words}") from error
    curves = tuple(pick(c, CURVES, "curve of a record") for c in plan.get("curves", LIGHT))
    return Plan(called, str(plan.get("about", "")), list(experiments.values()), curves)


def _entry(entry: dict[str, Any], data: Path | None) -> list[Experiment]:
    """The experiments of an entry, lists spelled out."""
    lists = {one: entry[many] for many, one in LISTS.items() if many in entry}
    both = [one for one in lists if one in entry and one != "recipe"]
    if both:
        raise ValueError(f"it says {both[0]} and a list of them: say one")
    if "recipe" in lists:
        recipe = _recipe(entry.get("recipe", Experiment.recipe))
        lists["recipe"] = [replace(recipe, epochs=n) for n in lists["recipe"]]
    rest = {k: v for k, v in entry.items() if k not in LISTS}
    rest, over = _spread(rest, {one: many[0] for one, many in lists.items() if many}, data)
    values = product(*lists.values())  # every method at one length of one seed, then the next length, then the next seed
    made = [
        _experiment(_with(rest | dict(zip(lists, chosen, strict=True)), point), data)
        for chosen in values
        for point in points(over)
    ]
    if any(not e.recipe.epochs for e in made):
        raise ValueError("a recipe needs epochs >= 1 to train: 0 is for teachers that are taken as they are")
    return made


def _spread(entry: dict[str, Any], first: dict[str, Any], data: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """An entry without the values that stand for several, and these by "part.name".

    A list is one value where its field takes lists, such as the stages of drg, and several where it does not.
    """
    parts = {part: entry[part] for part in PARTS if isinstance(entry.get(part), dict)}
    said = {
        (part, name): v for part, fields in parts.items() for name, v in fields.items() if is_spread(v) or isinstance(v, list)
    }
    plain = {**entry, **{part: {k: v for k, v in fields.items() if (part, k) not in said} for part, fields in parts.items()}}
    over = {}
    for (part, name), value in said.items():
        if not is_spread(value):
            with contextlib.suppress(TypeError, ValueError):
                _experiment(_with({**plain, **first}, {f"{part}.{name}": value}), data)
                plain = _with(plain, {f"{part}.{name}": value})
                continue
        over[f"{part}.{name}"] = value
    return plain, over


def _with(entry: dict[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with these values in the fields of its parts."""
    out = dict(entry)
    for full, value in point.items():
        part, _, name = full.partition(".")
        if part == "recipe":
            out[part] = replace(Recipe.of(out.get(part, Experiment.recipe)), **{name: value})
        else:
            out[part] = {**out.get(part, {}), name: value}
    return out


def _recipe(said: str | dict[str, Any]) -> Recipe:
    return Recipe.of(said) if isinstance(said, dict) else RECIPES[pick(said, RECIPES, "recipe")]


def _experiment(said: dict[str, Any], data: Path | None) -> Experiment:
    known = Experiment.__dataclass_fields__
    said = {pick(k, known, "argument of an experiment"): v for k, v in said.items()}
    if isinstance(said.get("recipe"), dict):
        said["recipe"] = _recipe(said["recipe"])
    if isinstance(said.get("teacher"), dict):
        said["teacher"] = _experiment(said["teacher"], data)
    if "schedule" in said:
        said["schedule"] = {float(when): knobs for when, knobs in said["schedule"].items()}
    if data is not None:
        said["dataset"] = said.get("dataset", {}) | {"root": data}
    return Experiment(**said)
