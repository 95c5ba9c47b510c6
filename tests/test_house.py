"""The house rules: what each room of sdkit may import. This table is the architecture."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

MAY_IMPORT = {
    "core": set(),
    "rng": set(),
    "vision": set(),  # makes `import torchvision` work: every room may ask it
    "losses": set(),
    "models": {"core"},
    "data": {"core"},
    "train": {"core", "rng"},  # the loop knows no method, no network and no data set by name
    "papers": {"core"},
    "analysis": {"core", "rng"},
    "methods": {"core", "losses", "models", "rng"},
    "exercises": {"core", "losses", "methods", "models"},
    "runs": {"core", "train"},
    "doctor": {"core", "train"},
    "experiment": {"core", "data", "methods", "models", "papers", "rng", "runs", "train"},  # where all meet
    "figures": {"analysis", "core", "methods", "papers", "runs", "train"},  # the types that they draw
    "studies": {"analysis", "core", "experiment", "papers", "runs", "train"},
    "pages": {"core"},
    "widgets": {"analysis", "core", "data", "experiment", "figures", "methods", "models", "rng", "runs", "studies", "train"},
    "cli": {
        "analysis", "core", "data", "doctor", "exercises", "experiment", "figures", "methods", "models", "pages", "papers",
        "runs", "studies", "train",
    },
}  # fmt: skip
FLOORS = 6
LONGEST = 400
ROOT = Path(__file__).parents[1] / "sdkit"
FILES = sorted(ROOT.rglob("*.py"))


@functools.cache
def imported(path: Path) -> set[str]:
    """Every module that a file imports, in full, wherever in the file the import stands."""
    package, found = ["sdkit", *path.relative_to(ROOT).parts[:-1]], set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]
    unseen = {n for block in checked for n in ast.walk(block)}  # what a type checker reads and Python does not
    for node in ast.walk(tree):
        if node in unseen:
            continue
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


def used() -> dict[str, set[str]]:
    """Room -> the rooms that its files import."""
    found: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for path in FILES:
        if room(path) in found:
            found[room(path)] |= {m.split(".")[1] for m in imported(path) if m.startswith("sdkit.")} & MAY_IMPORT.keys()
    return {name: rooms - {name, "vision"} for name, rooms in found.items()}


def test_the_table_holds_only_what_is_used():
    assert used() == MAY_IMPORT


def test_rooms_stand_on_few_floors():
    floor: dict[str, int] = {}

    def of(name: str, above: tuple[str, ...] = ()) -> int:
        assert name not in above, f"a circle of rooms: {' -> '.join((*above, name))}"
        if name not in floor:
            floor[name] = 1 + max((of(r, (*above, name)) for r in MAY_IMPORT[name]), default=0)
        return floor[name]

    assert max(map(of, MAY_IMPORT)) <= FLOORS


def test_no_two_files_import_each_other_by_any_way_round():
    modules = {".".join(("sdkit", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p for p in FILES}
    imports = {}
    for name, path in modules.items():
        wanted = imported(path) & modules.keys()
        inner = {m.rpartition(".")[0] for m in wanted}  # `from . import device` is an import of device, not of the room
        imports[name] = {m for m in wanted if not (m in inner and name.startswith(f"{m}."))} - {name, "sdkit"}
    left, done = dict(imports), set()
    while free := [m for m, wants in left.items() if wants <= done]:
        done |= {*free}
        left = {m: wants for m, wants in left.items() if m not in done}
    assert not left, f"a circle among {sorted(left)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_a_screen_or_a_few(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{path.name} has {lines} lines: when it wants a table of contents, it wants to be two files"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pictures_and_widgets_stay_in_their_rooms(path):
    names = {m.split(".")[0] for m in imported(path)}
    assert "matplotlib.pyplot" not in imported(path), "pyplot draws wrong pictures under live widgets"
    assert "matplotlib" not in names or room(path) in ("figures", "widgets")
    assert "ipywidgets" not in names or room(path) == "widgets"


def test_the_loop_names_no_method_and_the_methods_no_loop():
    from sdkit.methods import METHODS

    for path in (ROOT / "methods").glob("*.py"):
        assert not [m for m in imported(path) if m.startswith("sdkit.train")], path.name
        names = {n.id for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Name)}
        assert not names & {"Training", "Recipe", "fit"}, path.name
    for path in (ROOT / "train").glob("*.py"):
        code = ast.unparse(ast.parse(path.read_text(encoding="utf-8").lower()))
        assert not [name for name in METHODS if f"'{name}'" in code], path.name


IMPORTS = """
import sys, time, torch, torch.nn.functional, numpy
began = time.process_time()
import sdkit
print([m for m in ("sdkit.experiment", "sdkit.figures", "matplotlib") if m in sys.modules])
import sdkit.experiment, sdkit.analysis
print(time.process_time() - began)
import sdkit.methods
heavy = ("torchvision", "sklearn", "matplotlib.pyplot", "pytorch_grad_cam", "openTSNE", "ipywidgets", "scipy")
print([m for m in heavy if m in sys.modules])
"""


def test_importing_sdkit_is_cheap():
    """Everything heavier than torch waits until it is used, the front door opens none of the rooms, and all take a second."""
    spent = []
    for _ in range(2):
        out = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
        rooms, seconds, heavy = out.stdout.splitlines()
        assert (rooms, heavy) == ("[]", "[]")
        spent.append(float(seconds))
        if spent[-1] < 1:
            return
    raise AssertionError(f"seconds of the processor beyond torch's: {spent}")
