"""A page of all reported figures by paper, with what came of the papers' claims."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..papers import PAPERS
from ..runs import Damaged, read_json
from .claims import ALL_WORDS, CLAIMS_LOOK, NOT_JUDGED, Account, accounts
from .report import FIGURE_LOOK, ORDER, WORDS, escaped, figure_html, figure_name, write_whole

LOOK = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem } h2 { border-bottom: 2px solid #0072B2; padding-bottom: .2rem; margin-top: 3rem }
.notice { background: #fff5e6; border-left: 5px solid #E69F00; padding: .6rem 1rem }
.paper { color: #555 } a { color: #005a8e }
.tally { border-collapse: collapse } .tally th, .tally td { text-align: left; vertical-align: top; padding: .4rem }
.tally td + td { text-align: right } .tally tr { border-bottom: 1px solid #d9d9d9 } .tally tfoot { font-weight: 600 }
.wide { overflow-x: auto }
"""


def index(folder: Path | str) -> Path:
    """Write folder/index.html, a page of all reported figures by paper. Links are relative.

    Args:
        folder: of the figures. What stands in it and cannot be read is named on the page.

    Returns:
        The page's path.
    """
    folder, records, wrong = Path(folder), [], []
    for path in (p for p in sorted(folder.glob("*/*.json"), key=_natural) if p.with_suffix(".png").exists()):
        try:
            record = read_json(path)
            if "verdicts" not in record:  # somebody else's
                continue
            _whole(record)
            records.append((path, record))
        except Exception as error:  # a page of many figures does not fail by one
            wrong.append(f"{path} is not what sdkit wrote beside a figure ({type(error).__name__}: {error}): draw it again")
    try:
        judged = accounts(folder)
    except Damaged as error:
        judged = Account({})
        wrong.append(str(error))
    parts = [
        _notebooks(folder),
        *(f'<p class="notice">{escaped(words)}</p>' for words in wrong),
        _contents([r for _, r in records]),
    ]
    with_figures = {r["paper"] for _, r in records}
    told = {p for p, count in judged.tally().items() if count.total() > count[NOT_JUDGED]} & with_figures
    parts.append(_claims(judged, told))
    for paper in in_order(r["paper"] for _, r in records):
        mine = [(p, r) for p, r in records if r["paper"] == paper]
        first = mine[0][1]
        parts.append(f'<h2 id="{escaped(paper)}">{escaped(first["number"])} · {escaped(first["title"])}</h2>')
        parts.append(f'<p class="paper">{escaped(first["source"])}</p>')
        if first["notice"]:
            parts.append(f'<p class="notice">{escaped(first["notice"])}</p>')
        for p, r in mine:
            source = quote(f"{p.parent.name}/{p.stem}")
            pdf = f"{source}.pdf" if p.with_suffix(".pdf").exists() else ""
            parts.append(figure_html(r, f"{source}.png", pdf))
        if paper in told:
            own = Account(judged.found, (paper,))
            parts.append(f'<h3 id="{escaped(paper)}-claims">Its claims</h3><div class="wide">{own._repr_html_()}</div>')
    if not records:
        parts.append("<p>No figure has been written yet.</p>")
    body = "\n".join(filter(None, parts))
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Reproduced figures</title>\n<style>{LOOK}{FIGURE_LOOK}{CLAIMS_LOOK}</style></head>\n"
        f"<body><h1>Reproduced figures</h1>\n{body}\n</body></html>\n"
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "index.html", page.encode())
    return folder / "index.html"


def _whole(record: dict[str, Any]) -> None:
    """Raises whatever a record lacks raises."""
    figure_html(record, "")
    if not all(isinstance(record[name], str) for name in ("number", "paper", "title", "source", "notice")):
        raise TypeError("its paper is no text")


def in_order(papers: Iterable[str]) -> list[str]:
    """The papers, each once, as their notebooks follow each other; others behind them."""
    return sorted({*papers}, key=lambda paper: (ORDER.index(paper) if paper in ORDER else len(ORDER), paper))


def tally(records: Iterable[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Paper -> verdict -> how many claims of its figures came out so, of WORDS. One under several figures counts once."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for record in records:
        found.setdefault(record["paper"], set()).update((v["claim"], v["measured"], v["word"]) for v in record["verdicts"])
    return {paper: Counter(word for *_, word in found[paper]) for paper in in_order(found)}


def _contents(records: list[dict[str, Any]]) -> str:
    """A table of the papers: what held of each, and a link to each of its figures."""
    if not records:
        return ""
    counts, rows = tally(records), []
    for paper, count in counts.items():
        mine = [r for r in records if r["paper"] == paper]
        links = " · ".join(f'<a href="#{escaped(quote(r["id"]))}">{escaped(figure_name(r))}</a>' for r in mine)
        title = f'<a href="#{escaped(paper)}">{escaped(mine[0]["title"])}</a>'
        rows.append(f"<tr><td>{title}<br><small>{links}</small></td>{_numbers(count)}</tr>")
    total: Counter[str] = sum(counts.values(), Counter())
    head = "".join(f'<th scope="col">{escaped(word)}</th>' for word in ("paper and figures", *WORDS))
    return (
        f'<h2>Contents</h2>\n<table class="tally"><thead><tr>{head}</tr></thead>\n<tbody>{"".join(rows)}</tbody>\n'
        f"<tfoot><tr><td>all</td>{_numbers(total)}</tr></tfoot></table>"
    )


def _claims(judged: Account, told: Collection[str]) -> str:
    """How many claims of each paper came out how, with a link where they stand below; what no notebook trains is not judged."""
    if not judged.found:
        return ""
    head = "".join(f'<th scope="col">{escaped(word)}</th>' for word in ("claims of the paper", *ALL_WORDS))
    rows = "".join(
        f"<tr><td>{_title(paper, told)}</td>" + "".join(f"<td>{count[word]}</td>" for word in ALL_WORDS) + "</tr>"
        for paper, count in judged.tally().items()
    )
    return f'<h2>Claims</h2>\n<table class="tally"><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>'


def _title(paper: str, told: Collection[str]) -> str:
    title = escaped(PAPERS[paper].title)
    return f'<a href="#{escaped(paper)}-claims">{title}</a>' if paper in told else title


def _numbers(count: Counter[str]) -> str:
    return "".join(f"<td>{count[word]}</td>" for word in WORDS)


def _notebooks(folder: Path) -> str:
    pages = sorted((folder / "notebooks").glob("*.html"))
    links = "".join(f'<li><a href="notebooks/{escaped(quote(p.name))}">{escaped(p.stem)}</a></li>' for p in pages)
    return f"<h2>Notebooks</h2>\n<ul>{links}</ul>" if links else ""


def _natural(path: Path) -> list[Any]:
    """Figure 10 after figure 9, a variant after its figure."""
    parts = re.split(r"(\d+)", path.with_suffix("").as_posix())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]
