"""Pages that are written from code and data at build time: methods, papers and their tables, figures, the API."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from docstrings import arguments, blocks, markdown

from sdkit import papers, studies
from sdkit.figures import Account, accounts, label
from sdkit.figures.claims import own_numbers
from sdkit.methods import METHODS, Method
from sdkit.models import four_stage
from sdkit.papers import settings

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "experiment": "Experiments",
    "methods": "Methods",
    "losses": "Losses",
    "models": "Networks",
    "data": "Images",
    "train": "Training",
    "analysis": "Analyses",
    "figures": "Figures",
    "studies": "Studies of many runs",
    "papers": "The papers as data",
    "runs": "Runs",
    "widgets": "Instruments",
    "core": "What all rooms share",
}
RECORDED = ROOT / "data" / "records" / "claims.json"
TABLES = (*settings.TABLES, "drg_dsr_text_costs_and_optima")
FAMILIES = {
    "The papers' own": ("byot", "ddgsd", "self-guidance", "drg", "dsr", "sfr"),
    "Baselines": ("vanilla", "lsr", "kd", "dsn"),
}
FILES = {
    "sfr_teacher": "Learning a teacher's features",
    "logits": "Learning a teacher's logits",
    "relations": "Learning relations among images",
    "information": "Learning a teacher's information",
    "selfkd": "Over iterations and epochs",
    "labels": "Softer labels",
    "generations": "Earlier trainings and epochs of itself",
    "online": "Networks that learn together",
    "guidance": "Students and exits inside the network",
    "frskd": "Students and exits inside the network",
    "metric": "Embeddings for retrieval",
    "selftraining": "Few labels",
    "adversarial": "Adversaries",
    "attack": "Adversaries",
    "nasty": "Adversaries",
}
"""File of sdkit/methods -> the heading that its methods stand under; those of any other file are others."""


def grid(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def named(name: str) -> str:
    """A method's name as its paper writes it."""
    return label(name)


# ------------------------------------------------------------------------------------------------------------------- methods


def methods() -> dict[str, str]:
    """A page for every method, and their list."""
    return {f"methods/{name}.md": method(name) for name in METHODS} | {"methods/index.md": list_of_methods()}


def list_of_methods() -> str:
    """Every method with its first sentence and what it needs."""
    families: dict[str, list[str]] = {title: list(names) for title, names in FAMILIES.items()}
    placed = {name for names in families.values() for name in names}
    for name in METHODS:
        if name not in placed:
            file = METHODS[name].__module__.rpartition(".")[2]
            families.setdefault(FILES.get(file, "Others"), []).append(name)
    parts = [
        "# Methods",
        "Every method by name: what it does, its loss, what its options mean, what it costs, how hard each of its terms pulls, "
        "recorded results, and where it stands in the papers' tables. `sdkit list methods` prints the same names. "
        'A plus trains several together: `"ps-kd+drg+dsr"`.',
    ]
    for title, names in families.items():
        rows = [[f"[{markdown(named(n))}]({n}.md)<br>`{n}`", markdown(_idea(METHODS[n])), _needs_words(n)] for n in names]
        parts += [f"## {title}", grid(("method", "what it does", "needs"), rows)]
    every = "\n".join(METHODS)
    return "\n\n".join([*parts, f"```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{every}\n```"]) + "\n"


def _idea(kind: type[Method]) -> str:
    return " ".join(inspect.getdoc(kind).partition("\n\n")[0].split())  # type: ignore[union-attr]


def _needs_words(name: str) -> str:
    return "; ".join(said.partition(":")[0] for said in needs(name)) or "nothing"


def method(name: str) -> str:
    """The page of a method."""
    kind = METHODS[name]
    idea, *rest = blocks((inspect.getdoc(kind) or "").splitlines(), arguments(kind))
    out = [f"# {markdown(named(name))}", f"*{markdown(' '.join(idea.lines))}*"]
    options: dict[str, str] = {}
    for block in rest:
        text = markdown(" ".join(block.lines))
        if block.kind == "formula":
            out.append("```text\n" + "\n".join(block.lines) + "\n```")
        elif block.kind == "option":
            options |= {part: text for part in re.split(", | and ", block.name)}
        elif block.kind == "item":
            out.append(f"- {text}")
        else:
            out.append(text)
    more = ', teacher=sdkit.Experiment("vanilla")' if "teacher" in kind.handed_in() else ""
    more += ', network={"survival": 0.5}' if name == "self-guidance" else ""
    out += [
        "## Use it",
        f'```python\nimport sdkit\n\ntrained = sdkit.Experiment("{name}"{more}).run()\n```',
        "## What it needs",
    ]
    out.append("\n".join(f"- {markdown(said)}" for said in needs(name)) or "Nothing beside the network and the images.")
    out += ["## Options", _options(kind, options)]
    out += ["## How hard its terms pull", shares(name), "## Recorded results", results(name)]
    out += ["## In the papers' tables", in_tables(name), "## Code"]
    file = Path(inspect.getsourcefile(kind) or "").resolve().relative_to(ROOT)
    code = inspect.getsource(kind).rstrip()
    out.append(f"The class as it stands in [{file}](../{file}); its page in the [API reference](../api/methods.md).")
    out.append(f"```python\n{code}\n```")
    return "\n\n".join(out) + "\n"


@cache
def built(name: str) -> Method | None:
    """The method around a small network, to be asked what it has; None where it wants what this page cannot give."""
    torch.manual_seed(0)
    model = four_stage(12, width=8, survival=0.5 if name == "self-guidance" else 1.0)
    try:
        return METHODS[name].built({"model": model, "teacher": four_stage(12, width=8), "train_size": 960})
    except (TypeError, ValueError):
        return None


def needs(name: str) -> list[str]:
    """What a method needs beyond a network and images, a sentence each."""
    kind, method = METHODS[name], built(name)
    out = []
    if "teacher" in kind.handed_in():
        out.append("a teacher: a trained network, never taught here")
    if kind.pair:
        out.append(f"pairs: with each image another view of the {kind.pair.removeprefix('same ')}")
    if method is None:
        return out
    if heads := method.auxiliary_heads():
        out.append(
            f"auxiliary heads: on the four-stage network {len(heads)}, {', '.join(heads)}; they are taken off after training"
        )
    if peers := method.peer_networks():
        out.append(f"peers: {len(peers)} further network{'s' if len(peers) > 1 else ''} beside the deployed one")
    if "teacher" not in kind.handed_in() and (own := method.teachers()):
        out.append(f"a teacher of its own making: {', '.join(own)}")
    if method.samples_per_class:
        out.append(f"batches by class: {method.samples_per_class} images of each class in a batch")
    if name == "self-guidance":
        out.append("a network with stochastic depth: `survival` below 1")
    if own := sum(p.numel() for p in method.parameters()):
        out.append(f"parameters of its own: {own:,} beside the small four-stage network, only while it trains")
    if method.own_recipes():
        out.append("an optimiser of its own: a part of it trains by another recipe")
    return out


def _options(kind: type[Method], said: dict[str, str]) -> str:
    defaults = kind.arguments()
    if not defaults:
        return "It has none." + "".join(f"\n\n- **{k}**: {v}" for k, v in said.items())
    rows = []
    for name, value in defaults.items():
        knob = kind.knobs.get(name)
        ends = f"{knob.low:g} to {knob.high:g}" if knob else ""
        both = f"{knob.low:g}: {knob.at_low}; {knob.high:g}: {knob.at_high}" if knob and (knob.at_low or knob.at_high) else ""
        symbol = markdown(knob.symbol) if knob else ""
        rows.append([f"`{name}`", symbol, f"`{value!r}`", ends, " ".join(filter(None, [said.pop(name, ""), markdown(both)]))])
    left = "".join(f"\n\n- **{k}**: {v}" for k, v in said.items())
    head = ("option", "symbol", "default", "slider", "what it means, and both ends")
    return (
        grid(head, rows)
        + "\n\nOptions with a slider can be turned while it trains; `None` is decided by the network." * bool(kind.knobs)
        + left
    )


@cache
def _shares() -> dict[str, list[list[str]]]:
    """Method -> the rows of docs/term_shares.md about it, its variants under their own words."""
    found: dict[str, list[list[str]]] = {}
    last = ""
    for line in (ROOT / "docs" / "term_shares.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if len(cells) == 6 and cells[0] not in ("method", "---"):
            last = cells[0] or last
            found.setdefault(last, []).append(cells[1:])
    return found


def shares(name: str) -> str:
    """How hard each term pulls, as docs/term_shares.md has it."""
    rows = [
        [term if of == name else f"{term} ({of.partition(', ')[2]})", early, late, cosine]
        for of, group in _shares().items()
        if of == name or of.startswith(f"{name},")
        for term, early, late, _, cosine in group
    ]
    if not rows:
        return "Its task is plain cross entropy, which the others are measured by." if name == "vanilla" else "Not measured."
    return (
        grid(("term", "early in training", "late", "cosine with cross entropy, late"), rows)
        + "\n\nThe gradient on the deployed network's weights; plain cross entropy is 100 %. "
        "[How that is measured](../docs/term_shares.md)."
    )


@cache
def _comparisons() -> list[studies.Comparison]:
    return studies.compared(studies.load_results(where=ROOT / "data" / "records"))


def results(name: str) -> str:
    """What is recorded of a method, each row beside plain training of the same seeds."""
    rows = []
    for table in sorted(_comparisons(), key=lambda c: c.setting):
        for row in table.rows:
            if name in row.method.split("+") and row.accuracy:
                seeds = ", ".join(str(r["seed"]) for r in table.groups[row.name] if r.status == "done")
                sd = "" if math.isnan(row.sd) else f" ± {100 * row.sd:.1f}"
                gain = f"{row.above} ({row.above.verdict.partition(':')[0]})" if row.above else ""
                cells = [markdown(row.name), markdown(table.setting), f"{100 * row.mean:.1f}{sd}", gain, seeds]
                rows.append([*cells, markdown(table.records[0].device)])
    if not rows:
        return "None is recorded yet: `sdkit record PLAN` keeps one ([how](../docs/using.md))."
    return (
        grid(("run", "setting", "test accuracy, % ± sd", "gain over plain (told apart?)", "seeds", "device"), rows)
        + "\n\nThe last epoch's accuracy; the gain is against plain training of the same length and seeds, ± holds it 19 times "
        "of 20. [How a gain is told from chance](../docs/statistics.md)."
    )


@cache
def _settled() -> list[settings.Setting]:
    return [settings.settled(row) for row in settings.rows()]


def in_tables(name: str) -> str:
    """The rows of the papers' tables that this method trains."""
    rows = []
    for found in (s for s in _settled() if name in s.method.split("+")):
        row, deployed = found.row, [p for p in found.printed if not p.classifier] or found.printed
        also = "; ".join(w for w in (row.teacher and f"teacher {row.teacher}", row.setting, row.value) if w)
        value = "; ".join(f"{p.value:g} {p.unit} {p.classifier}".strip() for p in deployed[:6])
        place = f"[{table_title(row.table)}](../papers/{row.table}.md)"
        rows.append([place, *(markdown(w) for w in (row.method, row.network, row.data, also, value))])
    if not rows:
        return (
            "In none: it is named in a text, or comes from beyond the five papers ([the matrix](../docs/matrix.md) says where)."
        )
    return grid(("table", "as printed", "network", "data", "also", "number printed"), rows)


# -------------------------------------------------------------------------------------------------------------------- papers


def table_title(name: str) -> str:
    """A table in words: "DRG and DSR, Table I"."""
    first = papers.table(name)[0]
    number = str(first["table"])
    number = {"Fig1": "Fig. 1, training time"}.get(number, f"Table {number}")
    return f"{SHORT[str(first['paper'])]}, {'costs in the text' if 'text' in name else number}"


SHORT = {"byot": "BYOT", "ddgsd": "DDGSD", "self_guidance": "Self-Guidance", "drg_dsr": "DRG and DSR", "sfr": "SFR"}


def paper_pages() -> dict[str, str]:
    """A page for every paper and for every table."""
    names = " ".join(["claims", *SHORT])
    index = (
        "# Papers\n\nThe five papers: their tables as printed, their claims, and [what came of each claim here](claims.md).\n\n"
        + grid(
            ("paper", "title", "claims", "tables", "figures"),
            [
                [
                    f"[{short}]({name}.md)",
                    markdown(f"{p.title}. {p.authors}, {p.venue} {p.year}"),
                    len(papers.claims(name)),
                    len(tables_of(name)),
                    len(papers.figures(name)),
                ]
                for name, short in SHORT.items()
                for p in [papers.PAPERS[name]]
            ],
        )
        + "\n\n```{toctree}\n:hidden:\n:maxdepth: 2\n\n"
        + "\n".join(names.split())
        + "\n```\n"
    )
    pages = {"papers/index.md": index, "papers/claims.md": claims_page()}
    pages |= {f"papers/{name}.md": paper(name) for name in SHORT}
    return pages | {f"papers/{name}.md": table_page(name) for name in TABLES}


def tables_of(name: str) -> list[str]:
    """The tables of a paper."""
    return [t for t in TABLES if str(papers.table(t)[0]["paper"]) == name]


def claims_page() -> str:
    """Every claim of the five papers in a line, with what came of it on the built-in images."""
    found = accounts(RECORDED)
    counts = sum((Counter(count) for count in found.tally().values()), Counter())
    out = [
        "# Claims",
        f"The {sum(counts.values())} claims of the five papers, what each paper's own numbers say of it, and what the "
        f"workbook's small trainings found ({found.device or 'none recorded'}): "
        + ", ".join(f"**{counts[word]}** {word}" for word in counts)
        + ". The papers' claims are about photographs and large networks; here are drawn figures and a small network: a claim "
        "that does not hold here may hold there, and the other way round. `sdkit claims` prints all of it for your own runs.",
    ]
    for name, short in SHORT.items():
        rows = [
            [f"[{c.id}]({name}.md#{c.id.replace('_', '-')})", markdown(c.claim), markdown(own_numbers(c)), f"**{word}**"]
            for c, word, _, _ in Account(found.found, (name,)).rows()
        ]
        out += [f"## {short}", grid(("claim", "in words", "its own numbers", "here"), rows)]
    return "\n\n".join(out) + "\n"


def paper(name: str) -> str:
    """The page of a paper: notice, tables, claims, figures."""
    of = papers.PAPERS[name]
    out = [f"# {SHORT[name]}", f"*{markdown(of.title)}.* {markdown(of.authors)}, {markdown(of.venue)} {of.year}."]
    if of.notice:
        out.append(f":::{{warning}}\n{markdown(of.notice)}\n:::")
    listed = [f"- [{table_title(t)}]({t}.md): {len(papers.table(t))} numbers" for t in tables_of(name)]
    out += ["## Tables", "\n".join(listed), f"```{{toctree}}\n:hidden:\n\n{chr(10).join(tables_of(name))}\n```"]
    out += [
        "## Claims",
        "What the paper says, what its own printed numbers say of it, and what the workbook's small trainings found.",
    ]
    for claim, word, where, verdicts in Account(accounts(RECORDED).found, (name,)).rows():
        facts = [("Where", claim.where), ("Its own numbers", own_numbers(claim))]
        facts += [("What is checked on your run", claim.check)] if claim.check not in ("", "-") else []
        facts += [(f"Here, {where}", "")] if where else [("Here", word)]
        said = [f"- {k}: {markdown(v)}" for k, v in facts]
        said += [f"  - **{v.word}**: {markdown(v.claim)}. {markdown(str(v.measured))}" for v in verdicts]
        out += [f"### {claim.id}", markdown(claim.claim), "\n".join(said)]
    rows = [[markdown(f.figure), markdown(f.caption), markdown(f.claim)] for f in papers.figures(name)]
    out += ["## Figures", f"[As drawn here](../gallery/{name}.md).", grid(("figure", "what it shows", "claim"), rows)]
    return "\n\n".join(out) + "\n"


COLUMNS = {
    "model": "network",
    "dataset": "data",
    "method": "row",
    "teacher": "teacher",
    "setting": "also",
    "classifier": "classifier",
    "hp_name": "option",
    "hp_value": "its value",
    "metric": "measure",
    "value": "printed",
    "note": "note",
}


def table_page(name: str) -> str:
    """A table as printed, with our notes on it, and how to train its rows."""
    rows = papers.table(name)
    used = [c for c in COLUMNS if any(r[c] not in (None, "") for r in rows)]
    known = {(s.row.method, s.row.network, s.row.data): s.method for s in _settled() if s.row.table == name}

    def cell(row: dict[str, Any], column: str) -> str:
        value = row[column]
        if column == "value":
            return "" if value is None else markdown(f"{value:g} {row['unit'] or ''}")
        if column == "method":
            parts = known.get((str(value), str(row["model"]), str(row["dataset"])), "").split("+")
            links = ", ".join(f"[{part}](../methods/{part}.md)" for part in parts if part in METHODS)
            return markdown(str(value)) + (f" ({links})" if links else "")
        return "" if value is None else markdown(f"{value:g}" if isinstance(value, float) else str(value))

    paper_name = str(rows[0]["paper"])
    out = [f"# {table_title(name)}", f"Of [{SHORT[paper_name]}]({paper_name}.md), as printed."]
    if notice := papers.PAPERS[paper_name].notice:
        out.append(f":::{{warning}}\n{markdown(notice)}\n:::")
    if name in settings.TABLES:
        short = name.replace("_table", "/") if "_table" in name else name
        out.append(
            f"Train it again: `sdkit table {short}`. "
            f"[How every row is trained, and what no source states](../docs/papers_tables.md); "
            f"`sdkit.papers.table({name!r})` gives these numbers."
        )
    out.append(grid([COLUMNS[c] for c in used], [[cell(r, c) for c in used] for r in rows]))
    return "\n\n".join(out) + "\n"


# ----------------------------------------------------------------------------------------------------------------------- API


def api() -> dict[str, str]:
    """The public names of every room from their docstrings."""
    rows = [
        [f"[sdkit.{room}]({room}.md)", title, markdown((room_of(room).__doc__ or "").partition("\n\n")[0])]
        for room, title in ROOMS.items()
    ]
    index = (
        "# API reference\n\nThe public names of each part of sdkit, from their docstrings. Sizes in them: **B** images, "
        "**K** classes, **D** numbers of an embedding, **S** stages, **C, H, W** of a map, **N** training images.\n\n"
        + grid(("module", "", "what it is"), rows)
        + "\n\n```{toctree}\n:hidden:\n\n"
        + "\n".join(ROOMS)
        + "\n```\n"
    )
    return {"api/index.md": index} | {f"api/{room}.md": room_page(room) for room in ROOMS}


def room_of(room: str) -> Any:
    """A room of sdkit as a module."""
    import importlib

    return importlib.import_module(f"sdkit.{room}")


def public(room: str) -> list[str]:
    """The names that a room gives, in its order."""
    module = room_of(room)
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = [n for n, v in vars(module).items() if not n.startswith("_") and not inspect.ismodule(v)]
    mine = f"sdkit.{room}"
    return [n for n in own if getattr(getattr(module, n), "__module__", mine).startswith(mine) and n in _written(room)]


@cache
def documented() -> set[str]:
    """The modules of which something has its place in the API pages, and so a page of its source."""
    things = [getattr(room_of(room), name) for room in ROOMS for name in public(room)]
    return {thing.__module__ for thing in things if inspect.isclass(thing) or inspect.isfunction(thing)}


@cache
def _written(room: str) -> dict[str, str]:
    """Constants, functions and classes that a room's files write at their top, with a constant's docstring."""
    place = ROOT / "sdkit" / room
    found: dict[str, str] = {}
    for file in [*place.rglob("*.py")] if place.is_dir() else [place.with_suffix(".py")]:
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for node, after in zip(body, [*body[1:], None], strict=False):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.setdefault(node.name, "")
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            for target in targets:
                for name in [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]:
                    found[name] = found.get(name) or (said if isinstance(said, str) else "")
    return found


def room_page(room: str) -> str:
    """A room's public names: classes, functions, constants."""
    module = room_of(room)
    intro = "\n\n".join(markdown(part) for part in (inspect.getdoc(module) or "").split("\n\n"))
    out = [f"# {ROOMS[room]}: `sdkit.{room}`", f"```{{eval-rst}}\n.. module:: sdkit.{room}\n```", intro]
    names = public(room)
    kinds: dict[str, list[str]] = {"Classes": [], "Functions": [], "Constants": []}
    for name in names:
        thing = getattr(module, name)
        kind = "Classes" if inspect.isclass(thing) else "Functions" if inspect.isroutine(thing) else "Constants"
        if not inspect.ismodule(thing):
            kinds[kind].append(name)
    for kind, listed in ((k, sorted(v, key=str.lower)) for k, v in kinds.items() if v):
        out.append(f"## {kind}")
        if kind == "Constants":
            said = _written(room)
            out.append("\n".join(f"- `{n}`: {markdown(said.get(n) or type(getattr(module, n)).__name__)}" for n in listed))
            continue
        directive, more = ("autoclass", "\n   :members:") if kind == "Classes" else ("autofunction", "")
        each = "\n".join(f".. {directive}:: sdkit.{room}.{n}{more}\n" for n in listed)
        out.append(f"```{{eval-rst}}\n{each}```")
    return "\n\n".join(out) + "\n"
