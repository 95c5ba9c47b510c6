"""A reproduced figure beside what the paper claims of it: as files, as a notebook's output."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..core import home
from ..papers import PAPERS, Paper
from ..papers import figure as about
from ..papers.checks import Verdict
from .sizes import fit
from .style import letters, pdf, png

BADGES = {"held": ("#00664a", "✓"), "did not hold": ("#a33c00", "✗")}
"""Word -> colour and sign; any other word is grey with a question mark."""

WORDS = ("held", "did not hold", "cannot be told at this scale")
"""Every word of a `Verdict`."""

ORDER = ("byot", "ddgsd", "self_guidance", "drg_dsr", "sfr")
"""The papers as their notebooks follow each other."""

FIGURE_LOOK = """
.sdkit-figure { border: 1px solid #d9d9d9; border-radius: 8px; padding: 1rem 1.2rem; margin: 1.2rem 0;
  color: #222; background: #fff }
.sdkit-figure img { max-width: 100%; height: auto } .sdkit-figure h3 { margin: 0 0 .5rem }
.sdkit-figure .badge { color: #fff; border-radius: 4px; padding: .1rem .5rem; font-weight: 600; white-space: nowrap }
.sdkit-figure li { margin: .4rem 0 }
.sdkit-figure .notice { background: #fff5e6; border-left: 5px solid #E69F00; padding: .4rem .8rem }
"""


@dataclass
class Report:
    """A written figure. As the last value of a notebook's cell it shows the picture, the paper's claim and the verdicts."""

    record: dict[str, Any]  # what the JSON file holds
    paths: dict[str, Path]  # "png", "pdf", "json"
    picture: bytes = field(repr=False)  # PNG

    def _repr_html_(self) -> str:
        source = "data:image/png;base64," + base64.b64encode(self.picture).decode()
        return f"<style>{FIGURE_LOOK}</style>{figure_html(self.record, source)}"


def folder() -> Path:
    """Where figures are written: $SDKIT_FIGURES, else figures/ in sdkit's home."""
    given = os.environ.get("SDKIT_FIGURES")
    return Path(given).expanduser() if given else home() / "figures"


def report(figure: Figure, id: str, verdicts: Iterable[Verdict] = (), note: str = "") -> Report:
    """Letter the panels and write folder()/<paper>/<id>.png (150 dpi), .pdf and .json, each in one piece.

    Args:
        figure: what was drawn.
        id: of the paper's figure, such as "drg_fig4", with a variant after two hyphens: "drg_fig3_left--resnet18".
        verdicts: whether the paper's claims held here.
        note: what a reader must know, such as the scale.

    Raises:
        KeyError: no paper has the figure.
        ValueError: the variant cannot be part of a file's name.
    """
    base, _, variant = id.partition("--")
    if not re.fullmatch(r"[\w+.-]*", variant):
        raise ValueError(f"a figure's variant names a file: letters, digits, '+', '.', '_' and '-', got {variant!r}")
    of = about(base)
    paper = PAPERS[of.paper]
    letters(figure)
    fit(figure)
    record = {
        "id": id,
        "paper": of.paper,
        "number": paper.number,
        "title": paper.title,
        "source": _source(paper),
        "notice": paper.notice or "",
        "figure": str(of.figure),
        "variant": variant,
        "caption": of.caption,
        "claim": of.claim,
        "verdicts": [{"claim": v.claim, "measured": str(v.measured), "word": v.word} for v in verdicts],
        "note": note,
        "width": round(100 * figure.get_figwidth()),  # on a page, pixels
    }
    place = folder() / of.paper
    place.mkdir(parents=True, exist_ok=True)
    paths = {kind: place / f"{id}.{kind}" for kind in ("png", "pdf", "json")}
    write_whole(paths["png"], png(figure, 150))
    write_whole(paths["pdf"], pdf(figure))
    write_whole(paths["json"], json.dumps(record, indent=1, ensure_ascii=False).encode())
    return Report(record, paths, png(figure))


def figure_name(record: dict[str, Any]) -> str:
    """What the figure is called, its variant behind a comma."""
    name = f"{record['figure']}" + (f", {record['variant']}" if record["variant"] else "")
    return f"Fig. {name}" if name[:1].isdigit() else name[:1].upper() + name[1:]


def figure_html(record: dict[str, Any], source: str, pdf: str = "") -> str:
    """One figure as HTML: picture, caption, the paper's claim, verdicts, note."""
    name = figure_name(record)
    out = [
        f'<section class="sdkit-figure" id="{escaped(record["id"])}"><h3>{escaped(name)}</h3>',
        f'<img src="{escaped(source)}" width="{escaped(record["width"])}" alt="{escaped(name)}: {escaped(record["caption"])}">',
        f"<p><b>In the paper:</b> {escaped(record['caption'])}" + (f' <a href="{escaped(pdf)}">PDF</a></p>' if pdf else "</p>"),
    ]
    if record["claim"] not in ("", "-", None):
        out.append(f"<p><b>The paper claims:</b> {escaped(record['claim'])}</p>")
    if record["verdicts"]:
        items = "".join(
            f"<li>{badge(v['word'])} {escaped(v['claim'])}<br><b>Measured here:</b> {escaped(v['measured'])}</li>"
            for v in record["verdicts"]
        )
        out.append(f"<ul>{items}</ul>")
    if record["note"]:
        out.append(f"<p><b>Here:</b> <i>{escaped(record['note'])}</i></p>")
    if record["notice"]:
        out.append(f'<p class="notice">{escaped(record["notice"])}</p>')
    return "\n".join([*out, "</section>"])


def badge(word: str) -> str:
    """A verdict's word as HTML, in its colour."""
    color, sign = BADGES.get(word, ("#555555", "?"))
    return f'<span class="badge" style="background:{color}">{sign} {escaped(word)}</span>'


def _source(paper: Paper) -> str:
    return ". ".join(str(part) for part in (paper.authors, paper.venue, paper.year) if part)


def write_whole(path: Path, content: bytes) -> None:
    """The file in one piece: a reader sees the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def escaped(text: Any) -> str:
    """A text as HTML may hold it."""
    return html.escape(str(text), quote=True)
