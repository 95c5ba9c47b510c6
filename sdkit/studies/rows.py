"""Records as the rows of tables: which runs are the seeds of one row, and which rows may stand beside each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .result import Result


def tables(records: Iterable[Result], row: Callable[[dict[str, Any]], dict[str, Any]]) -> list[dict[str, list[Result]]]:
    """For every network, data set, recipe and device by itself: name of a row -> its records, each once, plain training first.

    Args:
        records: in any order.
        row: of what a run asked, what is one for a whole row: `any_seed` or `at_any_length`.

    Returns:
        The rows of each table.
    """
    found: dict[str, dict[str, dict[str, Result]]] = {}
    for r in records:
        config = row(r.config)
        found.setdefault(table_of(config, r.device), {}).setdefault(json.dumps(config, sort_keys=True), {}).setdefault(r.key, r)
    out = []
    for rows in found.values():
        apart = [part for group in rows.values() for part in _by_teacher([*group.values()])]
        groups = [sorted(group, key=lambda r: (r["recipe.epochs"], r["seed"])) for group in apart]
        groups.sort(key=lambda g: g[0]["method"] != "vanilla")  # stable: else as they came
        out.append({_named(group[0], [g[0] for g in groups]): group for group in groups})
    return out


def _by_teacher(group: list[Result]) -> list[list[Result]]:
    """The runs of a row; where one seed learned from several teachers that differ in theirs, a row for each teacher."""
    if len({(r["seed"], r["recipe.epochs"]) for r in group}) == len(group):
        return [group]
    taught: dict[str, list[Result]] = {}
    for r in group:
        taught.setdefault(r["teacher"], []).append(r)
    return list(taught.values())


def any_seed(config: dict[str, Any]) -> dict[str, Any]:
    """What was asked, but for the seed, the student's and its teachers'."""
    return config | {"seed": 0, "teacher": config["teacher"] and any_seed(config["teacher"])}


def at_any_length(config: dict[str, Any]) -> dict[str, Any]:
    """What was asked, but for the seeds and the number of epochs."""
    return any_seed(config) | {"recipe": config["recipe"] | {"epochs": 0}}


def table_of(config: dict[str, Any], device: str) -> str:
    """What all rows of a table have in common, written out."""
    parts = ("model", "data", "dataset", "content", "recipe")  # content: the digest of a folder of images
    return json.dumps([*map(config.get, parts), device], sort_keys=True)


def _named(record: Result, others: Sequence[Result]) -> str:
    """The method, with its network's options that plain training has not, and what varies among runs of the method."""
    own = [r for r in others if r["method"] == record["method"]]
    cut = "network.sections"  # a method's own, as its knobs are
    apart = [k for k, v in record.settings.items() if k.startswith("network.") and k != cut and v != others[0][k]]
    parts = ("knobs.", "teacher", "schedule", cut)
    apart += [k for k in record.settings if k.startswith(parts) and any(r[k] != record[k] for r in own)]
    return ", ".join([record["method"], *(said(k.partition(".")[2] or k, record[k]) for k in apart)])


def said(name: str, value: Any) -> str:
    """A setting in words."""
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
