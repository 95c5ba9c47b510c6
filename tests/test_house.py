"""The house rules: what each room of sdkit may import. This table is the architecture."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

EVERYTHING = {
    "core",
    "losses",
    "models",
    "data",
    "methods",
    "train",
    "fast",
    "runs",
    "experiment",
    "analysis",
    "papers",
    "figures",
    "widgets",
    "doctor",
    "record",
    "comparison",
    "lengths",
    "cli",
}
MAY_IMPORT = {
    "core": set(),
    "vision": set(),  # makes `import torchvision` work: every room may ask it
    "losses": set(),
    "models": {"core"},
    "data": {"core"},
    "fast": {"core"},
    "train": {"core", "fast"},  # the loop knows no method, no network and no data set by name
    "analysis": {"core"},
    "methods": {"core", "losses", "models"},
    "runs": {"core", "train"},
    "papers": {"core"},
    "doctor": {"core", "fast"},
    "experiment": {"core", "data", "models", "methods", "train", "fast", "runs", "papers"},  # where all meet
    "figures": {"core", "methods", "train", "runs", "analysis", "papers"},  # the types that they draw
    "widgets": {"core", "data", "models", "methods", "train", "runs", "experiment", "analysis", "figures"},
    "record": EVERYTHING - {"widgets", "comparison", "lengths", "cli"},  # runs plans without a browser
    "comparison": {"train", "analysis", "papers", "record"},  # tables of what records hold
    "lengths": {"train", "papers", "record", "comparison"},  # what becomes of a gain when all train longer
    "cli": EVERYTHING - {"widgets"},
}
ROOT = Path(__file__).parents[1] / "sdkit"
FILES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, in full, wherever in the file the import stands."""
    package, found = ["sdkit", *path.relative_to(ROOT).parts[:-1]], set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found |= {f"{module}.{a.name}" for a in node.names} | {module}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_stay_within_the_house_rules(path):
    if room(path) == "__init__":
        pytest.skip("the face of the package")
    assert room(path) in MAY_IMPORT, f"{room(path)} is a new room: say in this table what it may import"
    rooms = {m.split(".")[1] for m in imported(path) if m.startswith("sdkit.")} & MAY_IMPORT.keys()
    strangers = rooms - MAY_IMPORT[room(path)] - {room(path), "vision"}
    assert not strangers, f"{path.name} may import {sorted(MAY_IMPORT[room(path)])}, not {sorted(strangers)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pictures_and_widgets_stay_in_their_rooms(path):
    names = {m.split(".")[0] for m in imported(path)}
    assert "matplotlib.pyplot" not in imported(path), "pyplot draws wrong pictures under live widgets"
    assert "matplotlib" not in names or room(path) in ("figures", "widgets")
    assert "ipywidgets" not in names or room(path) == "widgets"


def test_the_loop_names_no_method_and_the_methods_no_loop():
    from sdkit.methods import METHODS

    text = (ROOT / "train.py").read_text(encoding="utf-8").lower()
    code = ast.unparse(ast.parse(text))
    assert not [name for name in METHODS if f"'{name}'" in code]


def test_importing_sdkit_is_cheap():
    """Everything heavier than torch waits until it is used."""
    heavy = ("torchvision", "sklearn", "matplotlib.pyplot", "pytorch_grad_cam", "openTSNE", "ipywidgets", "scipy")
    code = f"import sys, sdkit.experiment, sdkit.analysis, sdkit.methods; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
