"""What README and the glossary say is so: links, verbs, notebooks, defaults, and where ideas stand."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

from sdkit import papers
from sdkit.cli import COMMANDS
from sdkit.exercises import EXERCISES
from sdkit.methods import METHODS

ROOT = Path(__file__).parents[2]
README, GLOSSARY, ADDING, CHANGES, USING = (
    ROOT / name for name in ("README.md", "docs/glossary.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/using.md")
)
PLACE = {"BYOT": "byot", "DDGSD": "ddgsd", "Self-Guidance": "self-guidance", "DRG": "drg", "DSR": "dsr", "SFR": "sfr"}


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def section(page: Path, title: str) -> str:
    return text(page).split(f"\n## {title}\n")[1].split("\n## ")[0]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


PAGES = [README, ADDING, CHANGES, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "data" / "records" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)]+)\)", text(page)) + re.findall(r'src="([^"]+)"', text(page))
    headings = {anchor(h) for h in re.findall(r"^#+ (.+)$", text(page), re.M)}
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif not link.startswith("http"):
            place, _, heading = link.partition("#")
            assert (page.parent / place).exists(), link
            assert not heading or heading in map(anchor, re.findall(r"^#+ (.+)$", text(page.parent / place), re.M)), link


def test_every_verb_and_every_notebook_is_named_in_order():
    verbs = re.findall(r"^sdkit (\w+)", section(USING, "The command line"), re.M)
    assert sorted(verbs) == sorted(COMMANDS)
    assert re.findall(r"^\| `(\d\d_\w+)` \|", text(README), re.M) == sorted(
        p.stem for p in (ROOT / "notebooks").glob("*.ipynb")
    )


def test_the_numbers_of_claims_and_exercises_are_the_codes():
    assert f"the papers' {sum(len(papers.claims(p)) for p in papers.PAPERS)} claims" in text(USING)
    each = Counter(name.partition(".")[0] for name in EXERCISES)
    few, many = ({7: "seven", 8: "eight", 9: "nine"}[n] for n in (min(each.values()), max(each.values())))
    assert f"{few} to {many} exercises" in text(USING)
    assert len(EXERCISES) == 40 and "Forty exercises" in text(ROOT / "docs" / "course" / "grading.md")


def test_readme_is_read_in_one_go():
    """Prose and tables, without the code and the addresses of links."""
    prose = re.sub(r"\]\([^)]*\)|<img[^>]*>", " ", text(README))
    assert len(re.findall(r"\w[\w'*-]*", prose)) < 900


def test_what_a_contributor_is_sent_to_is_there():
    """Every file or folder in CONTRIBUTING, and every name that it says stands in one."""
    spoken = re.findall(r"`([^`\n]+)`", text(ADDING))
    places = [ROOT / name for name in spoken if re.fullmatch(r"[\w.-]+(/[\w.-]+)*(/|\.py|\.md|\.txt|\.toml)", name)]
    assert len(places) > 20 and [str(p) for p in places if not p.exists()] == []
    code = "\n".join(text(p) for p in {*ROOT.glob("sdkit/**/*.py"), *ROOT.glob("tests/**/*.py")})
    names = [n.split("(")[0] for n in spoken if re.fullmatch(r"[A-Za-z_]{2,}(\(.*\))?", n)]
    named = [n for n in names if n not in ("ax", "D", "ANN", "DOC", "mypy")]
    assert len(named) > 15 and [n for n in named if not re.search(rf"\b{n}\b", code)] == []


def test_the_glossarys_defaults_are_the_codes():
    checked, paper = set(), ""
    for row in re.findall(r"^\|(.+)\|$", section(GLOSSARY, "Symbols"), re.M)[2:]:
        first, _, _, code, default = (cell.strip() for cell in row.split("|"))
        paper = first or paper
        parameters = inspect.signature(METHODS[PLACE[paper]]).parameters
        for name, value in zip(re.findall(r"`(\w+)`", code), default.replace("(ours)", "").split(","), strict=False):
            if name in parameters and parameters[name].default is not None:
                assert float(value) == parameters[name].default, (paper, name)
                checked.add((PLACE[paper], name))
    knobs = {(method, knob) for method in PLACE.values() for knob in METHODS[method].knobs}
    assert knobs - checked == {("ddgsd", "temperature")}  # it depends on the number of classes


def test_every_idea_in_the_background_says_where_it_stands_in_the_workbook():
    ideas = section(GLOSSARY, "Background").split("\n### ")[1:]
    assert len(ideas) == 10
    for idea in ideas:
        place = re.search(r"^In the workbook: .+?(?=\n\n)", idea, re.M | re.S)
        assert place and re.search(r"\]\(\.\./(sdkit|notebooks)/", place[0]), idea.splitlines()[0]


def test_the_glossary_has_the_five_papers_under_their_numbers():
    rows = dict(re.findall(r"^\| (\d{3}) \| (.+) \|$", section(GLOSSARY, "The five papers"), re.M))
    assert rows.keys() == {p.number for p in papers.PAPERS.values()}
    for p in papers.PAPERS.values():
        title = p.title.split(" (")[0].lower()
        assert title in rows[p.number].lower() and str(p.year) in rows[p.number], p.number
