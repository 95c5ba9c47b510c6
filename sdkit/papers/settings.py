"""How the papers trained every row of their tables, as names and numbers that an `Experiment` takes.

`settings.toml` has the rules; here a row of a table meets them. `sdkit.papers.experiment` makes the Experiment.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..core import Sentence, pick
from .source import PAPERS, table

TABLES = (
    *(f"sfr_table{n}" for n in range(1, 4)),
    *(f"ddgsd_table{n}" for n in range(1, 7)),
    *(f"self_guidance_table{n}" for n in range(1, 7)),
    *(f"byot_table{n}" for n in range(1, 5)),
    "byot_fig1_training_time",
    *(f"drg_dsr_table{n}" for n in range(1, 5)),
)
"""The papers' 24 tables of trainings."""

VARIANTS = {"byot": ("", "journal"), "drg_dsr": ("", "released")}
"""Settings of the authors' later or released code, by paper; "" is the paper's own."""


class Row(NamedTuple):
    """A training that a table prints, in the paper's words; "" where it says nothing."""

    table: str
    method: str
    network: str
    data: str
    teacher: str = ""
    setting: str = ""
    value: str = ""  # of the hyperparameter that the table varies
    variant: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self._asdict().items() if v)


class Printed(NamedTuple):
    """A number that a table prints of a row."""

    metric: str  # "top1_acc", "top5_err", "mAP", ...
    value: float
    unit: str
    classifier: str  # "" is the deployed one


@dataclass(frozen=True)
class Setting:
    """What a row says as an Experiment's arguments, and what no source says."""

    row: Row
    method: str
    model: str
    data: str
    recipe: dict[str, Any]
    knobs: dict[str, Any]
    network: dict[str, Any]
    dataset: dict[str, Any]
    teacher: Setting | None
    notes: tuple[str, ...]  # what is not stated, and what is taken instead

    @property
    def printed(self) -> list[Printed]:
        """Every number of the row."""
        return [
            Printed(str(r["metric"]), float(r["value"] or 0), str(r["unit"] or ""), str(r["classifier"] or ""))
            for r in table(self.row.table)
            if _row(self.row.table, r) == self.row._replace(variant="")
        ]


def rows(name: str | None = None) -> list[Row]:
    """Every training of a table, such as "ddgsd_table3", in its order; of all 24 tables where none is named.

    Returns:
        What `setting` and `sdkit.papers.experiment` can be asked for, in the paper's words.

    Raises:
        KeyError: no table of trainings has this name; the nearest are suggested.
    """
    names = TABLES if name is None else [pick(name, TABLES, "table of trainings")]
    return [*dict.fromkeys(_row(n, r) for n in names for r in table(n) if not str(r["metric"]).startswith("speedup"))]


def setting(
    name: str,
    method: str | None = None,
    network: str | None = None,
    data: str | None = None,
    *,
    teacher: str | None = None,
    setting: str | None = None,
    value: str | float | None = None,
    variant: str = "",
) -> Setting:
    """How a paper trained a row of a table: the first in its order that fits what is said of it.

    Args:
        name: the table, such as "ddgsd_table3".
        method: as the paper prints it, "SD", or as sdkit calls it, "ddgsd".
        network: the same: "WRN-28-10" or "wrn-28-10".
        data: the same: "CIFAR-100" or "cifar100".
        teacher: the teacher or peer, as the paper prints it.
        setting: the paper's words for what else sets rows apart; a part of them is enough.
        value: of the hyperparameter that the table varies: 0.001, "1+2".
        variant: "journal" for BYOT's authors' later code, "released" for DRG and DSR's.

    Returns:
        An Experiment's arguments, and in `notes` what no source states, with what is taken instead.

    Raises:
        KeyError: the table has no such row; what it has is named.
    """
    known = rows(name)
    paper = name.rpartition("_")[0] if "_fig" not in name else "byot"
    pick(variant, VARIANTS.get(paper, ("",)), f"variant of {paper}")
    wanted = {"method": method, "network": network, "data": data, "teacher": teacher, "setting": setting, "value": value}
    own = {"method": "method", "network": "model", "data": "data"}
    for what, said in ((what, said) for what, said in wanted.items() if said is not None):
        fits = [row for row in known if _is(said, getattr(row, what))]
        fits = fits or [row for row in known if what in own and getattr(settled(row), own[what]) == said]
        if not fits and what == "setting":
            fits = [row for row in known if str(said) in row.setting]
        if not fits:
            there = dict.fromkeys(
                f"{word!r}" + (f" ({getattr(settled(row), own[what])})" if what in own else "")
                for row in known
                if (word := getattr(row, what))
            )
            others = ", ".join(f"{k}={v!r}" for k, v in wanted.items() if v is not None and k != what)
            raise KeyError(
                Sentence(
                    f"{name} has no row with {what}={said!r}{f' beside {others}' if others else ''}: "
                    f"it has {', '.join(there) or 'none that says one'}"
                )
            )
        known = fits
    return settled(known[0]._replace(variant=variant))


@cache
def settled(row: Row) -> Setting:
    """A row's setting: all rules that fit it, merged."""
    found: dict[str, Any] = {"recipe": {}, "knobs": {}, "network": {}, "dataset": {}, "teacher": None, "task": ""}
    notes: dict[str, None] = {}
    for rule in _rules(row):
        for key, said in rule.items():
            if key == "note":
                notes[said] = None
            elif key != "when":
                found[key] = _merged(found.get(key), said)
    method, task = found["method"], found["task"]
    knobs = {k if "." in k or "+" in method else f"{method}.{k}": _number(v, row) for k, v in found["knobs"].items()}
    if "samples_per_class" in found and (task or method != "vanilla"):
        knobs[f"{task or method}.samples_per_class"] = found["samples_per_class"]
    whole = "+".join(m for m in (task, method) if m and (m != "vanilla" or not task))
    if "+" not in whole:
        knobs = {k.removeprefix(f"{whole}."): v for k, v in knobs.items()}
    teacher = found["teacher"] and settled(
        row._replace(
            network=found["teacher"]["network"].replace("$teacher", row.teacher),
            method=found["teacher"]["method"],
            teacher="",
            value="",
        )
    )
    return Setting(
        row, whole, found["model"], found["data"], found["recipe"], knobs, found["network"], found["dataset"], teacher,
        tuple(notes) + tuple(n for n in (teacher.notes if teacher else ()) if n not in notes),
    )  # fmt: skip


def overview(every: Iterable[Row], made: Callable[[Setting], str]) -> str:
    """Rows as a Markdown table, a table of a paper each: what each says. made: a setting in a line."""
    out: list[tuple[str, list[str]]] = []
    notes: dict[str, int] = {}
    for row in every:
        found = settled(row)
        if not out or row.table != out[-1][0]:
            out.append((row.table, []))
        marks = [notes.setdefault(n, len(notes) + 1) for n in found.notes]
        words = [row.network, row.data, row.method, "; ".join(w for w in (row.teacher, row.setting, row.value) if w)]
        out[-1][1].append(f"| {' | '.join(words)} | {made(found)} | {' '.join(f'[{m}]' for m in marks)} |")
    head = "| network | data | row | also | what it says | taken |\n|---|---|---|---|---|---|"
    parts = [f"## {name}\n\n{head}\n" + "\n".join(lines) for name, lines in out]
    said = "\n".join(f"{m}. {note}" for note, m in notes.items())
    return "\n\n".join(parts) + (f"\n\n## What no source states, and what is taken\n\n{said}" if said else "")


# the rules


@cache
def _read() -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads((Path(__file__).parent / "settings.toml").read_text(encoding="utf-8"))


def _rules(row: Row) -> Iterable[dict[str, Any]]:
    """The rules that fit a row, in their order."""
    paper = next(p for p in PAPERS if row.table.startswith(f"{p}_"))
    for rule in [*_read()["all"], *_read()[paper]]:
        when = rule.get("when", {})
        if all(_fits(getattr(row, k), [v] if isinstance(v, str) else v) for k, v in when.items()):
            yield rule


def _fits(word: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(word, p) for p in patterns)


def _is(said: Any, word: str) -> bool:
    if isinstance(said, int | float) and word:
        try:
            return float(word) == said
        except ValueError:
            return False
    return said == word


def _merged(old: Any, new: Any) -> Any:
    """`new` over `old`, tables entry by entry."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    return {**old, **{k: _merged(old.get(k), v) for k, v in new.items()}}


def _number(said: Any, row: Row) -> Any:
    """A knob's value, where the row has it that of the row."""
    if said == "$value":
        return float(row.value)
    return [int(s) for s in row.value.split("+")] if said == "$stages" else said


def _row(name: str, r: Mapping[str, Any]) -> Row:
    """The row of a line of a table."""
    value = r["hp_value"]
    return Row(
        name, str(r["method"]), str(r["model"]), str(r["dataset"]), r["teacher"] or "", r["setting"] or "",
        "" if value is None else f"{value:g}" if isinstance(value, float) else str(value),
    )  # fmt: skip
