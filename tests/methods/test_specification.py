"""What the tests owe: each file stands alone, and every method's loss is held against its equation."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sdkit.methods import METHODS

FILES = sorted(Path(__file__).parents[1].rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_no_test_imports_another(path):
    tests = {p.stem for p in FILES if p.stem.startswith("test_")}
    assert not imported(path) & tests, "what two files of tests share goes in a file of its own, tests/tiny.py for example"


def held() -> dict[str, list[str]]:
    """Method -> the source of each test that says it holds the loss against its equation, with the helpers that it calls."""
    found: dict[str, list[str]] = {}
    for path in FILES:
        made = {n.name: n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)}
        for test in made.values():
            for mark in test.decorator_list:
                if ast.unparse(mark).startswith("pytest.mark.equation("):
                    helpers = [made[n.id] for n in ast.walk(test) if isinstance(n, ast.Name) and n.id in made]
                    source = "\n".join(map(ast.unparse, dict.fromkeys([test, *helpers])))
                    for name in mark.args:
                        found.setdefault(ast.literal_eval(name), []).append(source)
    return found


def test_every_methods_loss_is_held_against_its_equation():
    tests = held()
    assert METHODS.keys() == tests.keys(), "write the paper's equation in plain NumPy and mark its test: @pytest.mark.equation"
    for name, sources in tests.items():
        kind = re.compile(rf"\b{METHODS[name].__name__}\b|METHODS\b|['\"]{name}['\"]")
        assert any(kind.search(s) and re.search(r"\b(approx|agree\w*|assert_close)\(", s) for s in sources), name
