"""What self-distilled networks find of a class that plain ones miss: recorded runs judged on each of its factors alone."""

from __future__ import annotations

from collections.abc import Iterable

from .compare import Comparison, compared
from .result import Result, judged_by


def by_factor(records: Iterable[Result]) -> dict[str, Comparison]:
    """Records of one setting, judged by each factor of the class: gains over plain training, seed by seed and image by image.

    Args:
        records: any; those count that kept which images of a factor alone they answer right.

    Returns:
        "whole", "shape", "texture" -> the comparison with most records; empty where none kept it.
    """
    kept = [r for r in records if r.curves.get("factors")]
    names = dict.fromkeys(name for r in kept for name in r.curves["factors"])
    found = {name: compared(judged_by(r, r.curves["factors"][name]) for r in kept) for name in names}
    return {name: max(tables, key=lambda table: len(table.records)) for name, tables in found.items()}
