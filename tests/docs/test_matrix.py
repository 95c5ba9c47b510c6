"""docs/matrix.md: every row is there, its line of code or command can be carried out, and its test exists."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import sdkit
from sdkit.cli import COMMANDS

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| ([A-H]\d\d) \| (.+?) \| (.+) \| (.+) \|$", (ROOT / "docs/matrix.md").read_text(encoding="utf-8"), re.M)
SIZES = {"A": 24, "B": 27, "C": 29, "D": 10, "E": 25, "F": 11, "G": 25, "H": 52}
CALLED = ("Experiment", "sweep", "table", "figure", "claims", "hyperparameters")  # what is cheap enough to be called here


def carried_out(line: str) -> None:
    """An expression of sdkit's names: each is looked up, what is cheap is called. A command: its words are read."""
    if line.startswith("sdkit "):
        verb, *words = shlex.split(line)[1:]
        assert verb in COMMANDS, verb
        options = {w[2:].replace("-", "_") for w in words if w.startswith("--")}
        assert options <= set(COMMANDS[verb].__annotations__), options
        return
    tree = ast.parse(line, mode="eval")
    calls = [n.func for n in ast.walk(tree) if isinstance(n, ast.Call)]
    assert all(ast.unparse(f).rpartition(".")[2] in CALLED for f in calls), line
    names = {n.id: getattr(sdkit, n.id) for n in ast.walk(tree) if isinstance(n, ast.Name)}
    eval(compile(tree, "docs/matrix.md", "eval"), names)  # noqa: S307


def test_the_matrix_has_every_row_once_and_in_order():
    assert [row[0] for row in ROWS] == [f"{part}{i:02}" for part, n in SIZES.items() for i in range(1, n + 1)]


@pytest.mark.parametrize("part", SIZES)
def test_what_a_row_says_can_be_carried_out(part):
    for row, _, how, _ in ROWS:
        if row[0] == part:
            lines = re.findall(r"`([^`]+)`", how)
            assert lines or "](" in how, f"{row} is not reached"
            for line in lines:
                try:
                    carried_out(line)
                except Exception as error:
                    raise AssertionError(f"{row}: {line}: {error}") from error


def test_the_test_that_a_row_names_is_there():
    code = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py")}
    for row, _, _, tests in ROWS:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", tests)
        assert named, f"{row} names no test"
        for file, test in named:
            assert re.search(rf"^def {test}\(", code.get(file, ""), re.M), f"{row}: {file} has no {test}"


def test_a_line_that_leads_nowhere_is_found():
    for line in (
        'Experiment("dgr")',
        'MODELS["resnet21"]',
        "analysis.fgms",
        'Experiment("drg", knobs={"beta": 1})',
        "sdkit trian",
    ):
        with pytest.raises((KeyError, AttributeError, AssertionError)):
            carried_out(line)
