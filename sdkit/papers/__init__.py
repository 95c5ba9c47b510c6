"""The papers as data: their tables, claims, figures and settings, and the verdicts on a user's own run.

Every number in `tables/` was typed from a paper and checked against its text; `note` carries each repair and each
contradiction inside a paper. `rows` lists what the tables train, `experiment` makes the Experiment of a row. `checks` turns a
run's numbers into verdicts.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from ..core import pick
from . import checks as checks
from .settings import TABLES as TABLES
from .settings import Row as Row
from .settings import Setting as Setting
from .settings import rows as rows
from .settings import setting as setting
from .source import FOLDER as FOLDER
from .source import PAPERS, lines, table
from .source import Paper as Paper


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
        where, verdicts = here.get(claim.id, ("", ()))
        out += [f"    here, {where}:"] if where else []
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


def claims(paper: str) -> list[Claim]:
    """Every claim of a paper."""
    pick(paper, PAPERS, "paper")
    return [
        Claim(r["id"], r["paper"], r["where"], r["claim"], r["holds_in_paper"], r["evidence"], r["check_on_user_run"])
        for r in lines("claims")
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
        for r in lines("figures")
    }


def hyperparameters(paper: str) -> list[dict[str, str | float | None]]:
    """Every training setting of a paper, each with its source."""
    pick(paper, PAPERS, "paper")
    return [row for row in table("hyperparams") if row["paper"] == paper]


def compare(
    rows: list[dict],
    own: dict[str, list[float]],
    *,
    by: str = "method",
    recipe: str,
    top5: dict[str, list[float]] | None = None,
) -> list[dict]:
    """A table's rows, of one data set and network, beside one's own runs: accuracies in [0, 1] over seeds, by the column `by`.

    Only rows of accuracies or errors are compared, of the five largest outputs with `top5`, `Trained.top_accuracy`: seconds,
    hours and other scores have no accuracy beside them. A number in
    the column, such as a block's, is looked up as it is written: "2".
    Adds `own` (mean, in the row's unit), `seeds` (how many), `recipe` and `difference` (own - the paper's); rows without a
    run keep them as None.
    """
    out = []
    for row in rows:
        name = f"{row[by]:g}" if isinstance(row[by], float) else row[by]
        kind, _, measure = str(row["metric"]).partition("_")
        values = {"top1": own, "top5": top5 or {}}.get(kind, {}).get(name) if measure in ("acc", "err") else None
        mean = None if not values else sum(values) / len(values) * 100
        if mean is not None and measure == "err":
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


def __getattr__(name: str) -> Any:
    """`papers.experiment`, which is made where experiments are: this room has only what they are made of."""
    if name != "experiment":
        raise AttributeError(f"sdkit.papers has no {name}")
    import sdkit

    return sdkit.paper_experiment
