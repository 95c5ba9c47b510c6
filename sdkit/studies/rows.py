"""Which runs are the seeds of one row of a table, and which rows may stand beside each other."""

from __future__ import annotations

import json
from typing import Any

from .result import Result


def table_of(config: dict[str, Any], device: str) -> str:
    """What all rows of a table have in common, written out."""
    parts = ("model", "data", "dataset", "content", "recipe")  # content: the digest of a folder of images
    return json.dumps([*map(config.get, parts), device], sort_keys=True)


def any_seed(config: dict[str, Any]) -> dict[str, Any]:
    """What was asked, but for the seed, the student's and its teachers'."""
    return config | {"seed": 0, "teacher": config["teacher"] and any_seed(config["teacher"])}


def at_any_length(config: dict[str, Any]) -> dict[str, Any]:
    """What was asked, but for the seeds and the number of epochs."""
    return any_seed(config) | {"recipe": config["recipe"] | {"epochs": 0}}


def by_teacher(group: list[Result]) -> list[list[Result]]:
    """The runs of a row; where one seed learned from several teachers that differ in theirs, a row for each teacher."""
    if len({(r["seed"], r["recipe.epochs"]) for r in group}) == len(group):
        return [group]
    taught: dict[str, list[Result]] = {}
    for r in group:
        taught.setdefault(r["teacher"], []).append(r)
    return list(taught.values())
