"""A paper's table as text: for a terminal, Markdown, HTML, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core import pick

if TYPE_CHECKING:
    from .tables import PaperTable

FORMS = {"text": "simple", "markdown": "github", "html": "html", "latex": "latex_booktabs", "csv": ""}
"""A form's name -> what tabulate calls it."""


def table_text(table: PaperTable, form: str) -> str:
    """A table in one of FORMS: a block for every place that its rows are trained in, the notes under them.

    Args:
        table: filled or not.
        form: of FORMS.

    Returns:
        The text.

    Raises:
        KeyError: there is no such form; the nearest are suggested.
    """
    from tabulate import tabulate

    pick(form, FORMS, "form of a table")
    if form == "csv":
        return _csv(table.records())
    blocks = []
    for place, lines in table.blocks().items():
        width = {"maxcolwidths": 28, "maxheadercolwidths": 22} if form == "text" else {}
        body = tabulate(lines, headers="keys", tablefmt=FORMS[form], disable_numparse=True, **width)
        blocks.append((f"{table.title}, here: {place}", body))
    return LAID[form](blocks, _under(table))


def _under(table: PaperTable) -> list[str]:
    """What is said under a table."""
    seeds = f"{len(table.seeds)} seed{'s' if len(table.seeds) > 1 else ''}"
    errors = (
        f"{table.measure[0].upper()}{table.measure[1:]} of the last epoch, {seeds}; nothing is chosen on test images. "
        "A gain is paired within seeds and images, ± holds it 19 times of 20; all gains of a block are judged together (Holm)."
    )
    left = [f"{len(table.missing)} runs have not ended."] if table.missing else []
    return [errors, *left, *([table.notice] if table.notice else []), *table.notes]


def _csv(records: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, records[0])
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _plain(blocks: Sequence[tuple[str, str]], under: Sequence[str]) -> str:
    return "\n\n".join([f"{title}\n\n{body}" for title, body in blocks] + ["\n".join(under)])


def _markdown(blocks: Sequence[tuple[str, str]], under: Sequence[str]) -> str:
    return "\n\n".join([f"**{title}**\n\n{body}" for title, body in blocks] + [f"- {line}" for line in under])


def _html(blocks: Sequence[tuple[str, str]], under: Sequence[str]) -> str:
    from markupsafe import escape

    return "".join(f"<h4>{escape(title)}</h4>{body}" for title, body in blocks) + "".join(f"<p>{escape(n)}</p>" for n in under)


def _latex(blocks: Sequence[tuple[str, str]], under: Sequence[str]) -> str:
    tables = [f"\\begin{{table}}\n\\caption{{{_tex(title)}}}\n{body}\n\\end{{table}}" for title, body in blocks]
    return "\n\n".join(["% \\usepackage{booktabs}", *tables, *(f"% {line}" for line in under)])


def _tex(text: str) -> str:
    return "".join({"&": "\\&", "%": "\\%", "_": "\\_", "#": "\\#", "$": "\\$"}.get(c, c) for c in text)


LAID = {"text": _plain, "markdown": _markdown, "html": _html, "latex": _latex}
"""How blocks and notes stand below each other."""
