"""The papers as data: their tables, claims, figures and settings, and the verdicts on a user's own run.

Every number in `tables/` was typed from a paper and checked against its text; `note` carries each repair and each
contradiction inside a paper. `checks` turns a run's numbers into verdicts.
"""

from __future__ import annotations

import csv
import re
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..core import pick
from . import checks as checks

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


class Claim(NamedTuple):
    """A claim of a paper, and what the paper's own numbers say of it."""

    id: str
    paper: str
    where: str
    claim: str
    supported: str  # "yes", "NO", "figure only", ...
    numbers: str  # the paper's own, computed from its tables
    check: str  # on a user's run


def account(paper: str, here: Mapping[str, tuple[str, Iterable[Any]]]) -> str:
    """Every claim of a paper in words: what its own numbers say of it, and what was measured here.

    here: a claim's id -> (setting: network, data, seeds; `checks.Verdict`s). A claim without a verdict is listed with what its
    check would be. The notice on a paper's numbers stands first. KeyError names the nearest claim.
    """
    known = claims(paper)
    for id in here:
        pick(id, {claim.id for claim in known}, "claim")
    out = [PAPERS[paper].notice] if PAPERS[paper].notice else []
    for claim in known:
        numbers = re.sub(r"[\[\]'\"]", "", claim.numbers)
        own = claim.supported if numbers in ("", "-") else f"{claim.supported}; {numbers}"
        out += ["", f"{claim.id}  {claim.claim}", f"    the paper's own numbers: {own}"]
        setting, verdicts = here.get(claim.id, ("", ()))
        out += [f"    here, {setting}:"] if setting else []
        out += [f"      {v.word.upper()}: {v.claim}; {v.measured}" for v in verdicts]
        if claim.id not in here:
            out.append("    here: not run" + (f"; the check would be: {claim.check}" if claim.check not in ("", "-") else ""))
    return "\n".join(textwrap.fill(line, 112, subsequent_indent=" " * 8) for line in out).strip()


class FigureNote(NamedTuple):
    """A figure, diagram or algorithm box of a paper."""

    id: str
    paper: str
    figure: str
    caption: str
    kind: str  # "plot", "diagram" or "algorithm"
    what_to_plot: str
    claim: str
    machine_check: str
    source: str


DRAWN_TABLES = (
    FigureNote(
        "drg_table4",
        "drg_dsr",
        "Table IV",
        "Accuracy and time cost of different block subsets in DRG",
        "table",
        "bars: accuracy and seconds per iteration of every subset, the paper's beside them",
        "One auxiliary classifier on block 2 is enough: block 3 alone drops sharply, pairs gain little and cost 17-22 % more",
        "order B2 > B1 > B3; time ratio",
        "paper 004, Table IV",
    ),
)
"""Tables that a notebook draws as a figure."""


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    known = [p.stem for p in sorted(FOLDER.glob("*.csv"))]
    with open(FOLDER / f"{pick(name, known, 'table')}.csv", newline="", encoding="utf-8") as f:
        return tuple(csv.DictReader(f))


def table(name: str) -> list[dict[str, str | float | None]]:
    """The rows of a table, such as "drg_dsr_table4": numbers as float, blanks as None. KeyError names the nearest."""
    return [{k: _value(v, k in NUMBERS) for k, v in row.items()} for row in _rows(name)]


NUMBERS = ("value", "hp_value", "baseline_value", "delta_printed", "delta_recomputed")
"""The columns that hold numbers; a setting such as "1+2" stays text."""


def _value(text: str, number: bool) -> str | float | None:
    if text in ("", "-"):
        return None
    try:
        return float(text) if number else text
    except ValueError:
        return text


def claims(paper: str) -> list[Claim]:
    """Every claim of a paper."""
    pick(paper, PAPERS, "paper")
    return [
        Claim(r["id"], r["paper"], r["where"], r["claim"], r["holds_in_paper"], r["evidence"], r["check_on_user_run"])
        for r in _rows("claims")
        if r["paper"] == paper
    ]


def figures(paper: str) -> list[FigureNote]:
    """Every figure, diagram and algorithm box of a paper."""
    pick(paper, PAPERS, "paper")
    return [note for note in _figures().values() if note.paper == paper]


def figure(id: str) -> FigureNote:
    """One figure by its id, such as "drg_fig3_left", or a drawn table. KeyError names the nearest."""
    known = _figures() | {note.id: note for note in DRAWN_TABLES}
    return known[pick(id, known, "figure")]


@cache
def _figures() -> dict[str, FigureNote]:
    return {
        r["id"]: FigureNote(
            r["id"],
            r["paper"],
            r["figure"],
            r["caption"],
            r["kind"],
            r["what_to_plot"],
            "" if r["claim"] == "-" else r["claim"],
            "" if r["machine_check"] == "-" else r["machine_check"],
            r["source"],
        )
        for r in _rows("figures")
    }


def hyperparameters(paper: str) -> list[dict[str, str | float | None]]:
    """Every training setting of a paper, each with its source."""
    pick(paper, PAPERS, "paper")
    return [row for row in table("hyperparams") if row["paper"] == paper]


def compare(rows: list[dict], own: dict[str, list[float]], *, by: str = "method", recipe: str) -> list[dict]:
    """A table's rows, of one data set and network, beside one's own runs: accuracies in [0, 1] over seeds, by the column `by`.

    Only rows of top-1 accuracy or error are compared: seconds, hours and other scores have no accuracy beside them. A number in
    the column, such as a block's, is looked up as it is written: "2".
    Adds `own` (mean, in the row's unit), `seeds` (how many), `recipe` and `difference` (own - the paper's); rows without a
    run keep them as None.
    """
    out = []
    for row in rows:
        name = f"{row[by]:g}" if isinstance(row[by], float) else row[by]
        values = own.get(name) if row["metric"] in ("top1_acc", "top1_err") else None
        mean = None if not values else sum(values) / len(values) * 100
        if mean is not None and row["metric"] == "top1_err":
            mean = 100 - mean
        out.append(
            row
            | {
                "own": mean,
                "seeds": len(values or []),
                "recipe": recipe if values else None,
                "difference": None if mean is None or row["value"] is None else mean - row["value"],
            }
        )
    return out
