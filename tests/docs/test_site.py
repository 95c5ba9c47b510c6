"""The documentation's pages: all of sdkit is on them, every link leads somewhere, and nothing comes from elsewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from sdkit import papers
from sdkit.methods import METHODS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


# a docstring on a page


def test_a_docstring_keeps_its_formula_its_options_and_its_signs():
    docstrings = module("docstrings")
    text = "Agree (Eq. 3).\n\nL = CE + |a*b|_2\n    + mu x_\n\nHelps.\n\nlam: weight,\n  of *both*.\nmu: another.\n"
    kinds = [(b.kind, b.name) for b in docstrings.blocks(text.splitlines(), ["lam", "mu"])]
    assert kinds == [("text", ""), ("formula", ""), ("text", ""), ("option", "lam"), ("option", "mu")]
    assert docstrings.blocks(text.splitlines())[1].lines == ["L = CE + |a*b|_2", "    + mu x_"], "a formula keeps its lines"
    assert docstrings.markdown("a_b* <c> `d|e`") == r"a\_b\* \<c\> `d\|e`"
    assert docstrings.rst("*x |y| z_ `w_`") == r"\*x \|y\| z\_ ``w_``"


# the pages


class Page(HTMLParser):
    """What a page loads, where its links lead, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.ids |= {said[k] for k in ("id", "name") if said.get(k)}
        if tag == "a" and said.get("href"):
            self.links.append(said["href"])
        elif tag == "link" and said.get("rel") not in ("canonical", "search", "next", "prev", "index", "genindex"):
            self.loads.append(said.get("href") or "")
        elif tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.loads.append(said.get("src") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built pages, with one drawn figure and one executed notebook, by a build that gave no warning."""
    for package in ("sphinx", "myst_nb", "pydata_sphinx_theme"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: `python3 start.py docs` installs what the pages need")
    place = tmp_path_factory.mktemp("site")
    drawn = place / "drawn"
    (drawn / "byot").mkdir(parents=True)
    shutil.copyfile(ROOT / "docs" / "calibration.png", drawn / "byot" / "byot_fig4a.png")
    verdicts = [{"claim": "it <falls>", "measured": "by 0.1 | 0.2", "word": word} for word in ("held", "did not hold")]
    record = {
        "id": "byot_fig4a",
        "paper": "byot",
        "figure": "4a",
        "variant": "",
        "caption": "c",
        "claim": "d",
        "note": "e",
        "width": 500,
    }
    (drawn / "byot" / "byot_fig4a.json").write_text(json.dumps(record | {"verdicts": verdicts}))
    code = f"import build, pathlib, sys; sys.exit(build.main(pathlib.Path({str(place)!r}), pathlib.Path({str(drawn)!r})))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "docs"), str(ROOT)]), "SDKIT_HOME": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-5000:]
    return place / "html"


@cache
def pages(site: Path) -> dict[Path, Page]:
    return {p: Page(p.read_text(encoding="utf-8")) for p in site.rglob("*.html")}


@pytest.mark.slow
def test_every_method_every_table_and_every_notebook_has_its_page(site):
    wanted = [f"methods/{name}" for name in METHODS]
    wanted += [f"papers/{name}" for name in (*papers.PAPERS, *papers.TABLES)]
    wanted += [f"notebooks/{name}" for name in NOTEBOOKS]
    wanted += [f"docs/{p.stem}" for p in (ROOT / "docs").glob("*.md")] + ["CONTRIBUTING", "CHANGELOG", "README"]
    assert [name for name in wanted if not (site / f"{name}.html").is_file()] == []


@pytest.mark.slow
def test_every_link_of_every_page_leads_somewhere(site):
    lost = []
    for place, page in pages(site).items():
        for link in page.links:
            if link.startswith(("http://", "https://", "mailto:")):
                continue
            path, anchor = urldefrag(unquote(link))
            target = (place.parent / path).resolve() if path else place.resolve()
            known = pages(site).get(site.resolve() / target.relative_to(site.resolve())) if target.suffix == ".html" else None
            if not target.exists() or (anchor and known is not None and anchor not in known.ids):
                lost.append(f"{place.relative_to(site)}: {link}")
    assert lost == []


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(site):
    loads = [(place, source) for place, page in pages(site).items() for source in page.loads]
    assert len(loads) > 100, "pages do load their own style and pictures"
    assert [(str(p), s) for p, s in loads if "://" in s or s.startswith("//")] == []
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "url(http" not in text and "@import url(" not in text and "url(//" not in text, sheet


@pytest.mark.slow
def test_the_gallery_shows_a_drawn_figure_with_its_verdicts_and_counts_them(site):
    page = (site / "gallery" / "byot.html").read_text(encoding="utf-8")
    assert "it &lt;falls&gt;" in page and "by 0.1 | 0.2" in page
    assert page.count('class="badge-held"') == page.count('class="badge-not"') == 1
    assert "byot_fig4a.png" in page and "Not drawn here yet" in page
    row = (site / "gallery" / "index.html").read_text(encoding="utf-8").split(">BYOT<")[1].split("</tr>")[0]
    assert [cell.split("<")[0] for cell in row.split("<p>")[1:]] == ["1", "1", "1", "0"]
