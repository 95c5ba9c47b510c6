"""The papers, and the tables that were typed from them."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..core import pick

FOLDER = Path(__file__).parent / "tables"


class Paper(NamedTuple):
    """One of the five papers."""

    number: str
    title: str
    authors: str
    venue: str
    year: int
    notice: str = ""  # to be shown beside every number of it


PAPERS: dict[str, Paper] = {
    "sfr": Paper(
        "000",
        "A New Training Method for Deep Neural Network (Self-Feature Regularisation)",
        "Hou and Fan",
        "preprint",
        2025,
        "The record of an earlier version of this paper (arXiv 2103.07350) is withdrawn, its authors noting "
        '"significant errors in experimental data": its numbers are shown as reported.',
    ),
    "ddgsd": Paper("001", "Data-Distortion Guided Self-Distillation for Deep Neural Networks", "Xu and Liu", "AAAI", 2019),
    "self_guidance": Paper(
        "002",
        "Self-Guidance: Improve Deep Neural Network Generalization via Knowledge Distillation",
        "Zheng and Peng",
        "WACV",
        2022,
    ),
    "byot": Paper(
        "003",
        "Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via Self Distillation",
        "Zhang, Song, Gao, Chen, Bao and Ma",
        "ICCV",
        2019,
    ),
    "drg_dsr": Paper(
        "004",
        "Lightweight Self-Knowledge Distillation with Multi-source Information Fusion",
        "Wang, Han and Guo",
        "arXiv 2305.09183",
        2023,
    ),
}


@cache
def lines(name: str) -> tuple[dict[str, str], ...]:
    """The lines of a file of `tables/` as they are. KeyError names the nearest."""
    known = [p.stem for p in sorted(FOLDER.glob("*.csv"))]
    with open(FOLDER / f"{pick(name, known, 'table')}.csv", newline="", encoding="utf-8") as f:
        return tuple(csv.DictReader(f))


def table(name: str) -> list[dict[str, str | float | None]]:
    """The rows of a table, such as "drg_dsr_table4": numbers as float, blanks as None. KeyError names the nearest."""
    return [{k: _value(v, k in NUMBERS) for k, v in row.items()} for row in lines(name)]


NUMBERS = ("value", "hp_value", "baseline_value", "delta_printed", "delta_recomputed")
"""The columns that hold numbers; a setting such as "1+2" stays text."""


def _value(text: str, number: bool) -> str | float | None:
    if text in ("", "-"):
        return None
    try:
        return float(text) if number else text
    except ValueError:
        return text
