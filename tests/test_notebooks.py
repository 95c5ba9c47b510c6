"""Notebooks argue, run from top to bottom, and hold no outputs."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECTIONS = ["The idea", "The loss in code", "Train", "What changed", "Turn the knobs", "Your turn"]


def cells(path, kind=None):
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if kind in (None, c["cell_type"])]


def text(cell) -> str:
    return "".join(cell["source"])


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return request.param


def test_it_is_committed_without_outputs(notebook):
    for cell in cells(notebook, "code"):
        assert not cell["outputs"] and cell["execution_count"] is None


def test_it_says_what_it_is_for_and_how_long_it_takes(notebook):
    first = text(cells(notebook)[0])
    assert first.startswith("# ") and "**Objectives.**" in first and re.search(r"\*\*Time\.\*\* .*minutes", first)


def test_papers_notebooks_have_the_six_sections_in_order(notebook):
    if notebook.stem in ("00_start_here", "06_side_by_side", "07_tables", "08_records", "09_your_own"):
        pytest.skip("the welcome and the comparisons have outlines of their own")
    headings = [line[3:] for c in cells(notebook, "markdown") for line in text(c).splitlines() if line.startswith("## ")]
    assert [h for h in headings if h in SECTIONS] == SECTIONS


def test_cells_are_short_and_define_nothing_before_your_turn(notebook):
    for cell in cells(notebook):
        if cell["cell_type"] == "markdown" and "## Your turn" in text(cell):
            break
        if cell["cell_type"] == "code":
            lines = [line for line in text(cell).splitlines() if line.strip()]
            assert len(lines) <= (20 if "\nimport sdkit" in text(cell) else 15), text(cell)  # the first names all parts
            assert not re.search(r"^\s*(def|class) ", text(cell), re.M), text(cell)


def test_a_line_of_code_stays_on_the_page(notebook):
    """100 columns: what a cell shows at 1280 pixels, in JupyterLab and on an exported page, without a scrollbar."""
    wide = [line for cell in cells(notebook, "code") for line in text(cell).splitlines() if len(line) > 100]
    assert not wide, "\n".join(wide)


def test_a_number_in_the_prose_is_computed_or_the_papers(notebook):
    """No result of ours is typed by hand: prose may name settings and the papers' own numbers, never "we measured"."""
    prose = "\n".join(text(c) for c in cells(notebook, "markdown"))
    assert not re.search(r"(we|our run) (measured|got|reached)[^.\n]*\d", prose, re.I)


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """One folder of runs for all notebooks, as a student has: what one has trained, the next one finds."""
    place = tmp_path_factory.getbasetemp()
    place = (place.parent if os.environ.get("PYTEST_XDIST_WORKER") else place) / "student"  # of both workers
    place.mkdir(exist_ok=True)
    return place


SMALL = {"RECIPE": "smoke", "DATA": "digits", "MODEL": "four-stage", "TRAIN_SIZE": "128"}

BEGUN_WITH = """
def begin():
    import os
    import sys

    import joblib
    from sklearn import datasets

    from sdkit import studies

    few = datasets.load_digits()
    few.update(images=few.images[:1120], target=few.target[:1120])
    datasets.load_digits = lambda: few
    joblib.parallel_config("sequential")

    def recorded(experiment):
        home = os.environ["SDKIT_HOME"]
        os.environ["SDKIT_HOME"] = home + "_elsewhere"
        try:
            sdkit.run_all([experiment], progress=False, diverged=True)
            return studies.result_of(experiment, "sweeps")
        finally:
            os.environ["SDKIT_HOME"] = home

    import sdkit
    sys.modules["sdkit.studies.gather"].recorded = recorded

begin()
del begin
"""
"""What every kernel begins with: 120 digits to test on, not 797, and all runs in its own process, which knows of them. As with
the recipe `quick`, whose sweeps are recorded, another place has trained what is gathered: here are its histories alone."""


def test_a_small_experiment_is_smaller_than_its_base(monkeypatch):
    from sdkit import base_experiment, small_experiment

    for name in SMALL:
        monkeypatch.delenv(f"SDKIT_{name}", raising=False)
    for said, size in (({}, 200), ({"train_size": 5000}, 200), ({"train_size": 128}, 64), ({"train_size": 10}, 10)):
        small = small_experiment(base_experiment(data="digits", dataset=said))
        assert small.dataset == {"train_size": size, "validation": 400}


def test_it_runs_from_top_to_bottom(notebook, home, tmp_path, monkeypatch):
    """In a kernel of its own, with the smoke recipe on a few digits; its figures are written."""
    from sdkit import pages

    startup = tmp_path / "ipython" / "profile_default" / "startup" / "few.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(BEGUN_WITH)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("SDKIT_HOME", str(home))
    monkeypatch.setenv("SDKIT_FIGURES", str(tmp_path / "figures"))
    for name, value in SMALL.items():
        monkeypatch.setenv(f"SDKIT_{name}", value)
    pages.execute(notebook, tmp_path / "figures" / "notebooks" / notebook.name)
    written = {p.stem for p in (tmp_path / "figures").rglob("*.png")}
    reported = {m for c in cells(notebook, "code") for m in re.findall(r"figures\.report\([^\"]*\"(\w+)\"", text(c))}
    assert reported <= written, reported - written
    assert all((p.with_suffix(".pdf")).exists() for p in (tmp_path / "figures").rglob("*.png"))


def nodes(cell, kind) -> list:
    """What of a kind stands in a cell's code."""
    return [n for n in ast.walk(ast.parse(text(cell))) if isinstance(n, kind)]


def imported(path) -> dict[str, set[str]]:
    """What a notebook takes from sdkit: thing -> its names there. Every such line stands in the first cell of code."""
    lines = [nodes(cell, ast.Import | ast.ImportFrom) for cell in cells(path, "code")]
    first, *others = [[n for n in cell if ast.unparse(n).split()[1].split(".")[0] == "sdkit"] for cell in lines]
    assert 1 <= len(first) <= 3 and not any(others), "it comes in once"
    names: dict[str, set[str]] = {}
    for n in first:
        module = getattr(n, "module", "")
        assert module in ("", "sdkit", "sdkit.papers"), f"not by the front door: {ast.unparse(n)}"
        for a in n.names:
            names.setdefault(f"{module}.{a.name}", set()).add(a.asname or a.name)
    return names


def test_notebooks_come_in_by_the_front_door_and_call_a_thing_by_one_name():
    names: dict[str, set[str]] = {}
    for path in NOTEBOOKS:
        for thing, own in imported(path).items():
            names.setdefault(thing, set()).update(own)
    assert {thing: own for thing, own in names.items() if len(own) > 1} == {}
    papers = {thing: own for thing, own in names.items() if thing.startswith("sdkit.papers.")}
    assert set().union(*papers.values()) == {"checks", "claims"}, "what is of all papers, and what is of this one"


@pytest.mark.parametrize("verdict", ["one_step", "dearer_than_plain", "cost", "block_choice"])
def test_verdicts_on_time_are_given_the_ratios_that_are_printed(verdict):
    calls = [ast.unparse(n) for path in NOTEBOOKS for cell in cells(path, "code") for n in nodes(cell, ast.Call)]
    mine = [call for call in calls if re.match(rf"\w+\.{verdict}\(", call)]
    assert mine and all("paces" in call for call in mine)
