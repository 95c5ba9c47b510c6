#!/usr/bin/env python3
"""Lays out the documentation's sources in build/docs/source and has Sphinx write the pages: `python3 start.py docs`.

The sources lie as in the checkout, so that links that work on GitHub work here. Nothing is trained, executed or fetched.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import nbformat  # noqa: E402
import pages  # noqa: E402
from docstrings import markdown  # noqa: E402
from pages import SHORT, grid  # noqa: E402

from sdkit import figures, papers  # noqa: E402
from sdkit.pages import stilled  # noqa: E402

GUIDE = (
    "using", "anywhere", "lab", "statistics", "speed", "gpu", "cluster", "glossary", "matrix", "papers_tables", "term_shares",
)  # fmt: skip
COURSE = ("course/README", *(f"course/{p}" for p in SHORT), "course/exam", "answers", "course/grading", "course/hub")
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff")
WORDS = ("held", "did not hold", "cannot be told at this scale")
BADGE = {"held": ("✓", "badge-held"), "did not hold": ("✗", "badge-not")}


def main(out: Path = ROOT / "build" / "docs", drawn: Path | None = None) -> int:
    """Builds the site; returns 0 where no warning was given.

    Args:
        out: where `source` and `html` go.
        drawn: the folder of drawn figures; None: where `make figures` draws them.

    Returns:
        The exit status.
    """
    from sphinx.cmd.build import main as sphinx

    began, used = time.monotonic(), time.process_time()
    lay_out(out / "source", drawn or figures.folder())
    options = ["-q", "-W", "--keep-going", "-b", "html", "-c", str(HERE), "-d", str(out / "doctrees")]
    failed = sphinx([*options, str(out / "source"), str(out / "html")])
    made = [p for p in (out / "html").rglob("*.html") if p.is_file()]
    size = sum(p.stat().st_size for p in (out / "html").rglob("*") if p.is_file())
    spent, took = time.process_time() - used, time.monotonic() - began
    print(f"sdkit: {len(made)} pages, {size / 2**20:.1f} MiB, {spent:.0f} s of one core in {took:.0f} s")
    print(f"sdkit: open {out / 'html' / 'index.html'}")
    return int(failed)


def lay_out(source: Path, drawn: Path) -> None:
    """Everything that Sphinx reads, written where it changed; what is left of an earlier build is removed."""
    wanted: dict[str, str | bytes] = {"index.md": front(), "guide.md": guide()}
    for name in TOP:
        wanted[name] = (ROOT / name).read_bytes()
    kinds = ("*.md", "*/*.md", "**/*.png", "course/Dockerfile")
    for path in (path for kind in kinds for path in (ROOT / "docs").glob(kind)):
        wanted[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    wanted |= pages.methods() | pages.paper_pages() | pages.api() | notebooks(drawn) | gallery(drawn)
    for old in [p for p in source.rglob("*") if p.is_file() and p.relative_to(source).as_posix() not in wanted]:
        old.unlink()
    for name, content in wanted.items():
        path, new = source / name, content.encode() if isinstance(content, str) else content
        if not path.exists() or path.read_bytes() != new:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(new)


# -------------------------------------------------------------------------------------------------------- front page and guide


def front() -> str:
    """What sdkit is, in one screen: README's words and the figure that shows the effect."""
    cards = {
        "Start": ("README", "Python 3.11, five gigabytes, no GPU: `make lab`."),
        "Methods": ("methods/index", f"{len(pages.METHODS)} methods: loss, options, cost, code, results."),
        "Papers": ("papers/index", "The papers' tables as printed, and what is checked of every claim."),
        "Figures": ("gallery/index", "Each figure beside its claim, and whether it held."),
        "Notebooks": ("notebooks/index", "One for each paper, and your own part."),
        "API": ("api/index", "Every public name."),
    }
    listed = "\n".join(
        f'<li><p><a href="{where}.html"><b>{name}</b></a><br>{_html(said)}</p></li>' for name, (where, said) in cards.items()
    )
    effect = "Gain in test accuracy over plain training against the length of training, a panel a method"
    return f"""# sdkit: see self-distillation work

```{{include}} README.md
:start-line: 1
:end-before: "- **BYOT**"
```

```{{image}} docs/gain_by_length.png
:alt: {effect}
:class: effect
```

A gain that vanishes to the right is speed; one that stays is a better end ([why these images](docs/lab.md), [how a gain is told
from chance](docs/statistics.md)).

```{{raw}} html
<ul class="cards">
{listed}
</ul>
```

```{{toctree}}
:hidden:
:maxdepth: 2

guide
methods/index
papers/index
gallery/index
notebooks/index
api/index
```
"""


def _html(text: str) -> str:
    head, _, rest = text.partition("`")
    code, _, tail = rest.partition("`")
    return head + (f"<code>{code}</code>{tail}" if rest else "")


def guide() -> str:
    """The pages that people wrote."""
    names = ["README", *(f"docs/{name}" for name in GUIDE), "docs/speed/cpu", "CONTRIBUTING", "CHANGELOG"]
    names = [name for name in names if (ROOT / f"{name}.md").exists()]
    titled = {"README": "What it is, and how to start <README>", "docs/speed/cpu": "Speed, every measurement <docs/speed/cpu>"}
    listed, course = ("\n".join(lines) for lines in ([titled.get(n, n) for n in names], [f"docs/{n}" for n in COURSE]))
    tree = "```{toctree}\n:maxdepth: 1\n\n"
    return f"# Guide\n\n{tree}{listed}\n```\n\n## For those who teach\n\n{tree}{course}\n```\n"


# ------------------------------------------------------------------------------------------------------------------ notebooks


def notebooks(drawn: Path) -> dict[str, str | bytes]:
    """Every notebook: as it was run here, where its cells are still these, else as it is."""
    found: dict[str, str | bytes] = {}
    rows = []
    for original in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(original, as_version=4)
        copy = drawn / "notebooks" / original.name
        ran = executed(copy, notebook) if copy.with_suffix(".html").exists() else None
        found[f"notebooks/{original.name}"] = nbformat.writes(ran or notebook)
        title = next(line for line in notebook.cells[0].source.splitlines() if line.startswith("# ")).removeprefix("# ")
        rows.append([f"[{original.stem}]({original.name})", markdown(title), "as it was run" if ran else "not run here"])
    found["notebooks/index.md"] = (
        "# Notebooks\n\n`make lab` opens your own copies of them; `make figures` runs them all, and their results then stand "
        "on these pages.\n\n"
        + grid(("notebook", "title", "outputs"), rows)
        + "\n\n```{toctree}\n:hidden:\n\n"
        + "\n".join(name.removeprefix("notebooks/").removesuffix(".ipynb") for name in found)
        + "\n```\n"
    )
    return found


def executed(copy: Path, notebook: Any) -> Any | None:
    """The executed copy with its live panels as pictures; None where it is of other cells."""
    ran = nbformat.read(copy, as_version=4)
    if [c.source for c in ran.cells] != [c.source for c in notebook.cells]:
        return None
    ran = stilled(ran)
    for cell in ran.cells:
        for output in cell.get("outputs", []):
            for kind in [k for k in output.get("data", {}) if "javascript" in k or "widget" in k]:
                del output.data[kind]  # a page without scripts from elsewhere
    return ran


# -------------------------------------------------------------------------------------------------------------------- gallery


def records(drawn: Path, paper: str) -> list[tuple[Path, dict[str, Any]]]:
    """What was drawn of a paper: the picture and what stands beside it."""
    read = [(p.with_suffix(".png"), json.loads(p.read_text(encoding="utf-8"))) for p in sorted((drawn / paper).glob("*.json"))]
    return [(png, r) for png, r in read if png.exists() and "verdicts" in r]


def gallery(drawn: Path) -> dict[str, str | bytes]:
    """Every drawn figure with its claim and verdict, a page a paper, and the tally."""
    found: dict[str, str | bytes] = {}
    rows = []
    for paper in SHORT:
        mine = records(drawn, paper)
        count = Counter(v["word"] for _, r in mine for v in r["verdicts"])
        rows.append([f"[{SHORT[paper]}]({paper}.md)", len(mine), *(count[word] for word in WORDS)])
        found[f"gallery/{paper}.md"] = gallery_page(paper, mine)
        for png, _ in mine:
            for file in (png, png.with_suffix(".pdf")):
                if file.exists():
                    found[f"gallery/{paper}/{file.name}"] = file.read_bytes()
    total = ["**all**", *(sum(row[n] for row in rows) for n in range(1, 5))]
    said = (
        "Each figure that was drawn here, beside what its paper claims and whether that held **in this run**."
        if total[1]
        else "No figure is drawn in this checkout yet: `make figures` runs the notebooks and draws them; build these pages "
        "again afterwards. The papers' pages here list what will be drawn, and the claims."
    )
    found["gallery/index.md"] = (
        f"# Figures\n\n{said}\n\n"
        + grid(("paper", "figures", "claims that held", "did not", "cannot be told at this scale"), [*rows, total])
        + "\n\n```{toctree}\n:hidden:\n\n"
        + "\n".join(SHORT)
        + "\n```\n"
    )
    return found


def gallery_page(paper: str, mine: list[tuple[Path, dict[str, Any]]]) -> str:
    """A paper's figures with their claims and verdicts; those that are not drawn are listed."""
    of = papers.PAPERS[paper]
    out = [f"# Figures of {SHORT[paper]}", f"*{markdown(of.title)}*: [tables and claims](../papers/{paper}.md)."]
    if of.notice:
        out.append(f":::{{warning}}\n{markdown(of.notice)}\n:::")
    for png, r in mine:
        name = f"Fig. {r['figure']}" if r["figure"][:1].isdigit() else r["figure"][:1].upper() + r["figure"][1:]
        name += f", {r['variant']}" if r["variant"] else ""
        alt = f"{name}: {r['caption']}".replace("\n", " ")
        out += [f"## {markdown(name)}", f"```{{image}} {paper}/{png.name}\n:alt: {alt}\n:width: {r['width']}px\n```"]
        pdf = f" [PDF]({paper}/{png.stem}.pdf)" if png.with_suffix(".pdf").exists() else ""
        out.append(f"**In the paper:** {markdown(r['caption'])}{pdf}")
        if r["claim"] not in ("", "-", None):
            out.append(f"**The paper claims:** {markdown(r['claim'])}")
        for v in r["verdicts"]:
            sign, look = BADGE.get(v["word"], ("?", "badge-open"))
            out.append(
                f"- [{sign} {v['word']}]{{.{look}}} {markdown(v['claim'])}\n\n  **Measured here:** {markdown(v['measured'])}"
            )
        if r["note"]:
            out.append(f"**Here:** *{markdown(r['note'])}*")
    drawn = {r["id"].partition("--")[0] for _, r in mine}
    left = [f for f in papers.figures(paper) if f.id not in drawn]
    if left:
        rows = [[markdown(f.figure), markdown(f.caption), markdown(f.claim)] for f in left]
        out += [
            "## Not drawn here yet",
            "`make figures` draws them.",
            grid(("figure", "what it shows", "the paper claims"), rows),
        ]
    return "\n\n".join(out) + "\n"


if __name__ == "__main__":
    if "--fresh" in sys.argv:
        shutil.rmtree(ROOT / "build" / "docs", ignore_errors=True)
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
