"""Which values a sweep gives the fields of an experiment: lists, numbers spaced evenly or by factors, random draws."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from itertools import product
from typing import Any

from ..core import Word, pick
from ..experiment import Experiment
from ..train import Recipe

SCALES = ("linear", "log", "whole")
"""How numbers between two ends are spaced: evenly, by factors, evenly and whole."""

PARTS = ("knobs", "recipe", "network", "dataset")
"""The parts of an experiment that have fields of their own."""

NAMES = ("method", "model", "data")

DIGITS = 4
"""Significant digits of a value between two ends: what is printed is what was trained."""

FORMS = (
    'a list, [1, 2, 4], numbers between two ends, {"log": [0.01, 1, 7]} or {"linear": [0, 1, 5]}, or random draws, '
    '{"random": {"log": [0.01, 1]}, "n": 8, "seed": 0}'
)

TYPED = re.compile(r"([^:,]+):([^:,]+):(linear|log|whole):(\d+)(:random(?::(\d+))?)?")


def is_spread(said: Any) -> bool:
    """Whether a value stands for several: `{"log": …}`, `{"linear": …}`, `{"whole": …}` or `{"random": …}`."""
    return isinstance(said, Mapping) and bool({"random", *SCALES} & said.keys())


def points(over: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of some fields' values, the last field's changing fastest.

    Args:
        over: a field's name -> a list, `{"linear" | "log" | "whole": [low, high, n]}`, or random draws,
            `{"random": {"log": [low, high]}, "n": 8, "seed": 0}`. All that is drawn is drawn together: n settings, not n of
            each; they are combined with the lists.

    Returns:
        The settings, each a dict of the same fields.

    Raises:
        ValueError: none of these forms, ends that no scale has between them, draws of different numbers.

    Examples:
        >>> points({"alpha": {"log": [0.01, 1, 3]}, "temperature": [1, 4]})[:3]
        [{'alpha': 0.01, 'temperature': 1}, {'alpha': 0.01, 'temperature': 4}, {'alpha': 0.1, 'temperature': 1}]
    """
    drawn = {name: said for name, said in over.items() if isinstance(said, Mapping) and "random" in said}
    grids = {name: _listed(name, said) for name, said in over.items() if name not in drawn}
    counts = {said.get("n", 8) for said in drawn.values()}
    if len(counts) > 1:
        raise ValueError(
            f"fields that are drawn are drawn together: say the same n for {', '.join(drawn)}, got {sorted(counts)}"
        )
    rows: Iterable[tuple[Any, ...]] = zip(*(_drawn(name, said) for name, said in drawn.items()), strict=True) if drawn else [()]
    draws = [dict(zip(drawn, row, strict=True)) for row in rows]
    made = [dict(zip(grids, chosen, strict=True)) | draw for chosen in product(*grids.values()) for draw in draws]
    return [{name: point[name] for name in over} for point in made]


def _listed(name: str, said: Any) -> list[Any]:
    if isinstance(said, list | tuple | range):
        if not said:
            raise ValueError(f"{name} has no value: say {FORMS}")
        return list(dict.fromkeys(tuple(v) if isinstance(v, list) else v for v in said))
    scale, ends = _scale(name, said, 3)
    low, high, n = ends
    if not (isinstance(n, int) and n > 1):
        raise ValueError(f"{name} takes two values and more between its ends, [low, high, n], got n = {n!r}")
    return list(dict.fromkeys(_between(scale, low, high, i / (n - 1)) for i in range(n)))


def _drawn(name: str, said: Mapping[str, Any]) -> list[Any]:
    for key in said:
        pick(key, ("random", "n", "seed"), f"part of random draws ({name})")
    n = said.get("n", 8)
    if not (isinstance(n, int) and n > 0):
        raise ValueError(f"{name} is drawn a whole number of times, 1 and more, got n = {n!r}")
    of, rng = said["random"], random.Random(f"{said.get('seed', 0)} {name}")
    if isinstance(of, list | tuple) and of:
        return [rng.choice(of) for _ in range(n)]
    scale, (low, high) = _scale(name, of, 2)
    return [_between(scale, low, high, rng.random()) for _ in range(n)]


def _scale(name: str, said: Any, length: int) -> tuple[str, list[Any]]:
    """The scale and the numbers of `{"log": [low, high, n]}`, or of `{"log": [low, high]}` where they are drawn."""
    if not isinstance(said, Mapping) or len(said) != 1 or not {*said} <= {*SCALES}:
        raise ValueError(f"{name} takes {FORMS}, got {said!r}")
    ((scale, ends),) = said.items()
    form = "[low, high, n]" if length == 3 else "[low, high]"
    if not isinstance(ends, list | tuple) or len(ends) != length or not all(_is_number(v) for v in ends):
        raise ValueError(f"{name} takes numbers between two ends, {{{scale!r}: {form}}}, got {ends!r}")
    if scale == "log" and min(ends[:2]) <= 0:
        raise ValueError(f"{name} is spaced by factors, which neither reach nor pass 0, got {ends[0]} to {ends[1]}: say linear")
    return scale, list(ends)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _between(scale: str, low: float, high: float, share: float) -> float:
    if scale == "whole":
        low, high = math.ceil(min(low, high)), math.floor(max(low, high))
        return min(math.floor(low + share * (high - low + 1)), high)
    value = low * (high / low) ** share if scale == "log" else low + share * (high - low)
    return float(f"{value:.{DIGITS}g}")


def typed(text: str) -> Any:
    """Values as they are typed: `1,2,4`, `0.01:1:log:7`, or `0.01:1:log:8:random`, and `:random:3` for other draws.

    Args:
        text: of one option of `sdkit sweep`.

    Returns:
        What `points` takes.

    Raises:
        ValueError: an end that is no number.
    """
    if found := TYPED.fullmatch(text):
        low, high = (_number(text, v) for v in found.group(1, 2))
        scale, n = found[3], int(found[4])
        if found[5]:
            return {"random": {scale: [low, high]}, "n": n, "seed": int(found[6] or 0)}
        return {scale: [low, high, n]}
    if ":" in text and text[:1] in "0123456789.-":
        raise ValueError(
            "values are typed 1,2,4, or 0.01:1:log:7 (low:high:log, linear or whole:how many), or with :random behind, "
            f"got {text!r}"
        )
    return [value if _is_number(value := Word(part).literal()) else Word(part) for part in text.split(",")]


def _number(text: str, word: str) -> float:
    value = Word(word).literal()
    if not _is_number(value):
        raise ValueError(f"the ends of values are numbers, 0.01:1:log:7 for example, got {word!r} in {text!r}")
    return value


def placed(experiment: Experiment, name: str) -> tuple[str, str]:
    """Which part of an experiment a field belongs to, and its name there.

    Args:
        experiment: whose fields are meant.
        name: "recipe.lr", "network.width", "dataset.train_size" or "knobs.alpha" in full; "method", "model" or "data"; or a
            plain name, which is looked up among the knobs, the recipe's fields, the network's options and the data set's, in
            this order.

    Returns:
        The part, "" where the experiment itself has the field, and the name; of a knob of several methods "drg.alpha", however
        it was said.

    Raises:
        KeyError: nothing has this name; the nearest are suggested.
        ValueError: it is the seed, which has its own place.
    """
    part, _, field = name.partition(".")
    if part in PARTS and field:
        return part, _full(experiment, field) if part == "knobs" else field
    if name in NAMES:
        return "", name
    if name in ("seed", "seeds"):
        raise ValueError("the seeds of a sweep are said beside it, --seeds 3 or seeds=range(3): every setting has all of them")
    known = {
        "knobs": [*experiment.knobs, *(k.partition(".")[2] for k in experiment.knobs)],
        "recipe": [f.name for f in fields(Recipe)],
        "network": [*experiment.config["network"]],
        "dataset": [*experiment.config["dataset"]],
    }
    every = dict.fromkeys(n for names in known.values() for n in names if n)
    pick(name, every, f"knob of {experiment.method}, field of a recipe, or option of {experiment.model} or {experiment.data}")
    part = next(part for part, names in known.items() if name in names)
    return part, _full(experiment, name) if part == "knobs" else name


def _full(experiment: Experiment, knob: str) -> str:
    """A knob's name in full, "drg.alpha" of "alpha", where one of several methods has it."""
    fits = [k for k in experiment.knobs if k.partition(".")[2] == knob]
    return fits[0] if len(fits) == 1 else knob


def put(experiment: Experiment, point: Mapping[str, Any]) -> Experiment:
    """The same experiment with these values in these fields.

    Args:
        experiment: what stays as it is else.
        point: a field's name, as `placed` takes it -> its value.

    Returns:
        Another experiment.

    Raises:
        KeyError: a name that nothing has.
        ValueError: a value that the field refuses, two names of one field, or a method without a knob that is said.
    """
    places = {name: placed(experiment, name) for name in point}
    if len({*places.values()}) < len(point):
        raise ValueError(f"a field is said once, got two names of one among {', '.join(point)}")
    changes: dict[str, dict[str, Any]] = {}
    for name, (part, field) in places.items():
        changes.setdefault(part, {})[field] = point[name]
    own: dict[str, Any] = changes.pop("", {})
    if "method" in own:  # whose knobs have other names, or are others
        changes.pop("knobs", None)
        swept = {n.removeprefix("knobs."): point[n] for n, (part, _) in places.items() if part == "knobs"}
        own["knobs"] = _said_of(experiment, own["method"]) | swept
    if "recipe" in changes:
        own["recipe"] = replace(experiment.recipe, **changes.pop("recipe"))
    return replace(experiment, **own, **{part: getattr(experiment, part) | values for part, values in changes.items()})


def _said_of(experiment: Experiment, method: Any) -> dict[str, Any]:
    """The knobs of an experiment that are not its method's own choice, by their names in another method."""
    usual, other = replace(experiment, knobs={}).knobs, replace(experiment, method=method, knobs={})
    kept = {}
    for name in (k for k, value in experiment.knobs.items() if value != usual[k]):
        part, _, short = name.rpartition(".")
        same = f"{part or experiment.method}.{short}"
        fits = [k for k in other.knobs if k == same] or [k for k in other.knobs if k.rpartition(".")[2] == short]
        if len(fits) != 1:
            raise ValueError(
                f"{name}={experiment.knobs[name]} holds for every setting, and {other.method} has {len(fits) or 'no'} such "
                f"knob{'s' if fits else ''}: leave {name} out, or search this method by itself"
            )
        kept[fits[0]] = experiment.knobs[name]
    return kept
