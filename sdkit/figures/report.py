"""A reproduced figure beside what the paper claims of it: as files, as a notebook's output, as a page of all figures."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure

from ..core import home
from ..papers import PAPERS, Paper
from ..papers import figure as about
from ..papers.checks import Verdict
from ..runs import read_json
from .sizes import fit
from .style import letters, pdf, png

BADGES = {"held": ("#00664a", "✓"), "did not hold": ("#a33c00", "✗")}
"""Word -> colour and sign; any other word is grey with a question mark."""

WORDS = ("held", "did not hold", "cannot be told at this scale")
"""Every word of a `Verdict`."""

ORDER = ("byot", "ddgsd", "self_guidance", "drg_dsr", "sfr")
"""The papers as their notebooks follow each other."""

LOOK = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { border-bottom: 2px solid #0072B2; padding-bottom: .2rem; margin-top: 3rem }
.notice { background: #fff5e6; border-left: 5px solid #E69F00; padding: .6rem 1rem }
.paper { color: #555 } a { color: #005a8e }
.tally { border-collapse: collapse } .tally th, .tally td { text-align: left; vertical-align: top; padding: .4rem }
.tally td + td { text-align: right } .tally tr { border-bottom: 1px solid #d9d9d9 } .tally tfoot { font-weight: 600 }
"""
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
        return f"<style>{FIGURE_LOOK}</style>{_figure(self.record, source)}"


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
    _write(paths["png"], png(figure, 150))
    _write(paths["pdf"], pdf(figure))
    _write(paths["json"], json.dumps(record, indent=1, ensure_ascii=False).encode())
    return Report(record, paths, png(figure))


def index(folder: Path | str) -> Path:
    """Write folder/index.html, a page of all reported figures by paper, and return its path. Links are relative.

    What stands beside a figure and cannot be read is named on the page.
    """
    folder, records, wrong = Path(folder), [], []
    for path in (p for p in sorted(folder.glob("*/*.json"), key=_natural) if p.with_suffix(".png").exists()):
        try:
            record = read_json(path)
            if "verdicts" not in record:  # somebody else's
                continue
            _figure(record, "")
            if not all(isinstance(record[name], str) for name in ("number", "paper", "title", "source", "notice")):
                raise TypeError("its paper is no text")
            records.append((path, record))
        except Exception as error:  # a page of many figures does not fail by one
            wrong.append(f"{path} is not what sdkit wrote beside a figure ({type(error).__name__}: {error}): draw it again")
    parts = [_notebooks(folder), *(f'<p class="notice">{_e(words)}</p>' for words in wrong), _contents([r for _, r in records])]
    for paper in in_order(r["paper"] for _, r in records):
        mine = [(p, r) for p, r in records if r["paper"] == paper]
        first = mine[0][1]
        parts.append(f'<h2 id="{_e(paper)}">{_e(first["number"])} · {_e(first["title"])}</h2>')
        parts.append(f'<p class="paper">{_e(first["source"])}</p>')
        if first["notice"]:
            parts.append(f'<p class="notice">{_e(first["notice"])}</p>')
        for p, r in mine:
            source = quote(f"{p.parent.name}/{p.stem}")
            pdf = f"{source}.pdf" if p.with_suffix(".pdf").exists() else ""
            parts.append(_figure(r, f"{source}.png", pdf))
    if not records:
        parts.append("<p>No figure has been written yet.</p>")
    body = "\n".join(filter(None, parts))
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Reproduced figures</title>\n<style>{LOOK}{FIGURE_LOOK}</style></head>\n"
        f"<body><h1>Reproduced figures</h1>\n{body}\n</body></html>\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "index.html", page.encode())
    return folder / "index.html"


def in_order(papers: Iterable[str]) -> list[str]:
    """The papers, each once, as their notebooks follow each other; others behind them."""
    return sorted({*papers}, key=lambda paper: (ORDER.index(paper) if paper in ORDER else len(ORDER), paper))


def tally(records: Iterable[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Paper -> verdict -> how many claims of its figures came out so, of WORDS."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        found.setdefault(record["paper"], Counter()).update(v["word"] for v in record["verdicts"])
    return {paper: found[paper] for paper in in_order(found)}


def _contents(records: list[dict[str, Any]]) -> str:
    """A table of the papers: what held of each, and a link to each of its figures."""
    if not records:
        return ""
    counts, rows = tally(records), []
    for paper, count in counts.items():
        mine = [r for r in records if r["paper"] == paper]
        links = " · ".join(f'<a href="#{_e(quote(r["id"]))}">{_e(_name(r))}</a>' for r in mine)
        title = f'<a href="#{_e(paper)}">{_e(mine[0]["title"])}</a>'
        rows.append(f"<tr><td>{title}<br><small>{links}</small></td>{_numbers(count)}</tr>")
    total: Counter[str] = sum(counts.values(), Counter())
    head = "".join(f'<th scope="col">{_e(word)}</th>' for word in ("paper and figures", *WORDS))
    return (
        f'<h2>Contents</h2>\n<table class="tally"><thead><tr>{head}</tr></thead>\n<tbody>{"".join(rows)}</tbody>\n'
        f"<tfoot><tr><td>all</td>{_numbers(total)}</tr></tfoot></table>"
    )


def _numbers(count: Counter[str]) -> str:
    return "".join(f"<td>{count[word]}</td>" for word in WORDS)


def _name(record: dict[str, Any]) -> str:
    """What the figure is called, its variant behind a comma."""
    name = f"{record['figure']}" + (f", {record['variant']}" if record["variant"] else "")
    return f"Fig. {name}" if name[:1].isdigit() else name[:1].upper() + name[1:]


def _figure(record: dict[str, Any], source: str, pdf: str = "") -> str:
    """One figure as HTML: picture, caption, the paper's claim, verdicts, note."""
    name = _name(record)
    out = [
        f'<section class="sdkit-figure" id="{_e(record["id"])}"><h3>{_e(name)}</h3>',
        f'<img src="{_e(source)}" width="{_e(record["width"])}" alt="{_e(name)}: {_e(record["caption"])}">',
        f"<p><b>In the paper:</b> {_e(record['caption'])}" + (f' <a href="{_e(pdf)}">PDF</a></p>' if pdf else "</p>"),
    ]
    if record["claim"] not in ("", "-", None):
        out.append(f"<p><b>The paper claims:</b> {_e(record['claim'])}</p>")
    if record["verdicts"]:
        items = "".join(
            f"<li>{_badge(v['word'])} {_e(v['claim'])}<br><b>Measured here:</b> {_e(v['measured'])}</li>"
            for v in record["verdicts"]
        )
        out.append(f"<ul>{items}</ul>")
    if record["note"]:
        out.append(f"<p><b>Here:</b> <i>{_e(record['note'])}</i></p>")
    if record["notice"]:
        out.append(f'<p class="notice">{_e(record["notice"])}</p>')
    return "\n".join([*out, "</section>"])


def _badge(word: str) -> str:
    color, sign = BADGES.get(word, ("#555555", "?"))
    return f'<span class="badge" style="background:{color}">{sign} {_e(word)}</span>'


def _notebooks(folder: Path) -> str:
    pages = sorted((folder / "notebooks").glob("*.html"))
    links = "".join(f'<li><a href="notebooks/{_e(quote(p.name))}">{_e(p.stem)}</a></li>' for p in pages)
    return f"<h2>Notebooks</h2>\n<ul>{links}</ul>" if links else ""


def _source(paper: Paper) -> str:
    return ". ".join(str(part) for part in (paper.authors, paper.venue, paper.year) if part)


def _natural(path: Path) -> Sequence[Any]:
    """Figure 10 after figure 9, a variant after its figure."""
    parts = re.split(r"(\d+)", path.with_suffix("").as_posix())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _write(path: Path, content: bytes) -> None:
    """The file in one piece: a reader sees the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _e(text: Any) -> str:
    return html.escape(str(text), quote=True)
