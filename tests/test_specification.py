"""What the tests owe: each file stands alone, and every method's loss is held against its equation."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.py"))


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
