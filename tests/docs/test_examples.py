"""The examples of docstrings are true, and the front door has one on each thing."""

from __future__ import annotations

import ast
import doctest
import importlib
from pathlib import Path

import pytest

from sdkit.experiment import own

ROOT = Path(__file__).parents[2]
FRONT = {"Experiment", "Recipe", "run_all", "sweep", "adapt", "register", "fit", "kl", "kd", "hint", "ranked", "mmd"}
"""What a newcomer meets first."""


def written() -> list[tuple[str, str]]:
    """Module and name of every function and class with an example, read without an import: collecting is quick."""
    found = []
    for path in sorted((ROOT / "sdkit").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ">>>" in (ast.get_docstring(node) or ""):
                found.append((module, node.name))
    return found


EXAMPLES = written()


@pytest.mark.parametrize(("module", "name"), EXAMPLES, ids=[f"{m}.{n}" for m, n in EXAMPLES])
def test_an_example_says_what_comes_out(module, name, tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    known = {kind: {*names} for kind, names in own.LISTS.items()}
    home = importlib.import_module(module)
    every = doctest.DocTestFinder().find(home, home.__name__)
    tests = [t for t in every if t.examples and t.name.rpartition(".")[2] == name]
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    try:
        results = [runner.run(test, out=said.append) for test in tests]
    finally:
        for kind, names in own.LISTS.items():  # what an example registers is gone with it
            for key in {*names} - known[kind]:
                del names[key]
    assert results and sum(r.attempted for r in results), "an example that nobody finds is not run"
    assert not sum(r.failed for r in results), "".join(said)


def test_the_front_door_is_shown_by_examples():
    assert not FRONT - {name for _, name in EXAMPLES}
