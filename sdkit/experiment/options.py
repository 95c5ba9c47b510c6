"""What can be said of methods, networks and data sets in an experiment, and when two ways to say it are one."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from ..data import DATASETS
from ..methods import Method

FROM_THE_DATA = ("num_classes", "side")
"""Arguments of networks that come from the experiment's data, not from its options."""

PLACES = ("root", "download")
"""Options of data sets that say where the images lie, and so do not change a run."""


def known(kind: Any, hide: Iterable[str] = FROM_THE_DATA) -> dict[str, Any]:
    """The options that a network or a data set takes, with their defaults."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in hide and p.default is not p.empty}


def of_set(name: str) -> dict[str, Any]:
    """The options of a data set that change a run, with their defaults; none where it is no name of sdkit's."""
    return known(DATASETS[name], PLACES) if name in DATASETS else {}


def arguments(methods: dict[str, type[Method]]) -> dict[str, Any]:
    """The arguments of methods with their defaults; of several each as "method.argument"."""
    return {f"{p}.{k}" if len(methods) > 1 else k: v for p, kind in methods.items() for k, v in kind.arguments().items()}


def plain(value: Any) -> Any:
    """The same as JSON would give it back, so that a key depends neither on tuples nor on 1 against 1.0."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def changed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The options that are not what they would be unsaid."""
    return {k: v for k, v in values.items() if k not in defaults or plain(defaults[k]) != v}


def in_time(schedule: Mapping[float, Mapping[str, float]]) -> list[tuple[float, dict[str, float]]]:
    """A schedule of knobs in the order of time. TypeError where it says no epochs, or no knobs for them."""
    try:
        plan = [(float(when), dict(knobs)) for when, knobs in schedule.items()]
    except (AttributeError, TypeError, ValueError, OverflowError):
        example = "{4: {'alpha': 0.5}} for example"
        raise TypeError(f"a schedule says by the epochs before what knobs become, {example}, got {schedule!r}") from None
    return sorted(plan, key=lambda entry: entry[0])
