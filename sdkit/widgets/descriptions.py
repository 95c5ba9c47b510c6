"""Recorded runs in words: a line of a list, and all that is known of one."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .. import figures
from ..experiment import Experiment, find, short
from ..figures.screens.explorer import words
from ..runs import RunRow
from .parts import sentence

STATES = {"training": "not finished (training, or interrupted: its line continues it)", "new": "not begun"}
MEASURED = ("accuracy.", "best.", "validation.", "seconds", "parameters", "scaff")
"""How the columns begin that tell what came out of a run."""


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


def line(row: RunRow, varied: Collection[str] = ()) -> str:
    """A run in a list. varied: the columns of the knobs that differ between the list's runs."""
    if row.status == "damaged":
        return f"damaged · {row.run.key}"
    knobs = [f"{n.rpartition('.')[2]}={v:g}" for n, v in row.settings.items() if isinstance(v, float) and n in varied]
    accuracy = row["accuracy.final"]
    result = row.status if accuracy is None else f"{accuracy:.1%}"
    result += f" ({row.status})" if accuracy is not None and row.status != "done" else ""
    said = [result, figures.label(row["method"]), row["data"], " ".join(knobs), f"seed {row['seed']:g}"]
    return " · ".join(filter(None, said))


def description(row: RunRow, symbols: Mapping[str, str]) -> str:
    """A run as HTML: its numbers, the line that repeats it, and all of its settings."""
    if row.status == "damaged":
        return sentence(row.wrong)
    said = [f"<b>{STATES.get(row.status, row.status)}</b> · run <code>{html.escape(row.run.key)}</code>"]
    if row["steered"]:
        turned = ", ".join(what for _, what in figures.marks(row.run.history()))
        said.append(f"knobs were turned while it ran: {html.escape(turned)}")
    try:
        said.append(f"<code>{html.escape(str(Experiment.of(row.run.config)))}</code>")
    except Exception as error:  # of another sdkit
        said.append(sentence(error))
    numbers = {words(n): f"<b>{_number(n, v)}</b>" for n, v in row.measured.items() if n.startswith(MEASURED)}
    settings = {symbols.get(n) or words(n): html.escape(str(v)) for n, v in row.settings.items()}
    tables = f"<details open>{_table('what came out', numbers)}</details><details>{_table('all settings', settings)}</details>"
    return f'<div style="line-height: 1.4">{"<br>".join(said)}{tables}</div>'


def _table(summary: str, cells: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{value}</td></tr>" for name, value in cells.items())
    return f"<summary>{summary}</summary><table>{rows}</table>"


def _number(column: str, value: Any) -> str:
    return f"{value:.1%}" if words(column).endswith("%") else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
