"""Recorded runs in words: a line of a list, and all that is known of one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from .. import figures, runs
from ..experiment import find, repeated, short
from ..figures.screens.explorer import words
from ..runs import RunRow
from .parts import sentence

STATES = {"training": "not finished (training, or interrupted: its line continues it)", "new": "not begun"}
MEASURED = ("accuracy.", "best.", "validation.", "seconds", "parameters", "scaff")
"""How the columns begin that tell what came out of a run."""


def read(folder: Path) -> tuple[list[RunRow], str]:
    """The runs in a folder, and nothing; of one that cannot be read no run, and the sentence that says so."""
    try:
        return runs.records(folder), ""
    except OSError as error:
        return [], f"{folder} cannot be read ({error.strerror or error}): make it readable for you and press Refresh"


def symbols(table: Iterable[RunRow]) -> dict[str, str]:
    """Column of a knob -> its symbol and name; where methods write one name differently, all of the symbols."""
    found: dict[str, set[str]] = {}
    for row in table:
        parts = (row["method"] or "").split("+")
        for part in parts:
            kind = find(part, "method")  # its name, where nothing has it
            for name, knob in () if isinstance(kind, str) else kind.knobs.items():
                found.setdefault(f"knobs.{short(part)}.{name}" if len(parts) > 1 else f"knobs.{name}", set()).add(knob.symbol)
    return {column: f"{' or '.join(sorted(s))} ({column.removeprefix('knobs.')})" for column, s in sorted(found.items())}


def line(row: RunRow, varied: Collection[str] = (), called: Mapping[str, str] | None = None) -> str:
    """A run in a list. varied: the columns of the knobs that differ between the list's runs; called: methods by `labels`."""
    named = f"“{row.note}”" if row.note else ""
    if row.status == "damaged":
        return " · ".join(filter(None, [named, "damaged", row.run.key]))
    differ = [(n.rpartition(".")[2], v) for n, v in row.settings.items() if n in varied and v is not None]
    knobs = [f"{n}={v:g}" if isinstance(v, float) else f"{n}={v}" for n, v in differ]
    accuracy = row["accuracy.final"]
    result = row.status if accuracy is None else f"{accuracy:.1%}"
    result += f" ({row.status})" if accuracy is not None and row.status != "done" else ""
    what = [
        (called or {}).get(row["method"]) or figures.label(row["method"]),
        row["data"],
        " ".join(knobs),
        f"seed {row['seed']:g}",
    ]
    said = [named, row["student"], result, *what]
    return " · ".join(filter(None, said))


def description(row: RunRow, symbols: Mapping[str, str]) -> Markup:
    """A run: its numbers, the line that repeats it, and all of its settings."""
    if row.status == "damaged":
        return sentence(row.wrong)
    said = [Markup("<b>{}</b> · run <code>{}</code>").format(STATES.get(row.status, row.status), row.run.key)]
    said += [Markup("“{}”").format(row.note)] if row.note else []
    try:
        if row["steered"]:
            turned = ", ".join(what for _, what in figures.marks(row.run.history()))
            said.append(Markup("knobs were turned while it ran: {}").format(turned))
        said.append(Markup("<code>{}</code>").format(repeated(row.run)))
    except Exception as error:  # of another sdkit, or damaged since it was read
        said.append(sentence(error))
    numbers = {words(n): Markup("<b>{}</b>").format(_number(n, v)) for n, v in row.measured.items() if n.startswith(MEASURED)}
    settings = {symbols.get(n) or words(n): str(v) for n, v in row.settings.items()}
    tables = Markup("<details open>{}</details><details>{}</details>").format(
        _table("what came out", numbers), _table("all settings", settings)
    )
    return Markup('<div style="line-height: 1.4">{}{}</div>').format(Markup("<br>").join(said), tables)


def _table(summary: str, cells: Mapping[str, str]) -> Markup:
    rows = Markup().join(Markup("<tr><td>{}</td><td>{}</td></tr>").format(*cell) for cell in cells.items())
    return Markup("<summary>{}</summary><table>{}</table>").format(summary, rows)


def _number(column: str, value: Any) -> str:
    return f"{value:.1%}" if words(column).endswith("%") else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
