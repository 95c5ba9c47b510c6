"""What `start.py lint` holds sdkit to: the lists of what is not clean yet are exact, so that they only shrink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def family(code: str) -> str:
    """D, ANN or DOC of a rule's number."""
    return code.rstrip("0123456789")


def listed() -> dict[str, list[str]]:
    """Ruff's per-file-ignores that shrink: those of files by name. Those of whole rooms are house style, and stay."""
    return {
        files: rules
        for files, rules in TOOL["ruff"]["lint"]["per-file-ignores"].items()
        if files.startswith("sdkit/") and "*" not in files
    }


def spelled_out(unclean: dict[str, list[str]]) -> dict[str, set[str]]:
    """File -> families of rules, of lines such as "sdkit/data/{cifar,digits}.py"."""
    found: dict[str, set[str]] = {}
    for files, rules in unclean.items():
        room, brace, rest = files.partition("{")
        names, _, end = rest.partition("}")
        for name in names.split(","):
            found[room + name + end if brace else files] = {family(rule) for rule in rules}
    return found


def lines(unclean: dict[str, set[str]]) -> str:
    """These files as lines of pyproject.toml: a line for the files of one room that break the same families of rules."""
    selected = TOOL["ruff"]["lint"]["select"]
    rows = sorted((str(Path(file).parent.as_posix()), sorted(broken), Path(file).stem) for file, broken in unclean.items())
    out = []
    for (room, broken), files in groupby(rows, key=lambda row: row[:2]):
        names = ",".join(name for *_, name in files)
        rules = [rule for rule in selected if family(rule) in broken]
        out.append(f'"{room}/{f"{{{names}}}" if "," in names else names}.py" = {json.dumps(rules)}')
    return "\n".join(out)


def test_the_list_of_files_that_ruff_does_not_pass_yet_is_exact():
    rooms = {files: rules for files, rules in TOOL["ruff"]["lint"]["per-file-ignores"].items() if "*" in files}
    only = "lint.per-file-ignores = {" + ", ".join(f'"{files}" = {json.dumps(rules)}' for files, rules in rooms.items()) + "}"
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--exit-zero", "--output-format", "json", "--config", only]
    done = subprocess.run([*command, "sdkit"], cwd=ROOT, capture_output=True, text=True, check=True)
    unclean: dict[str, set[str]] = {}
    for found in json.loads(done.stdout):
        unclean.setdefault(Path(found["filename"]).relative_to(ROOT).as_posix(), set()).add(family(found["code"]))
    if spelled_out(listed()) != unclean:
        pytest.fail(f'under "Not clean yet" in pyproject.toml belong exactly\n{lines(unclean)}', pytrace=False)


def overrides(**what: bool) -> list[str]:
    """The modules of mypy's override that says this."""
    return next(o["module"] for o in TOOL["mypy"]["overrides"] if what.items() <= o.items())


def matches(module: str, pattern: str) -> bool:
    """Whether mypy's pattern, "sdkit.figures.*", means a module: the room itself and all in it."""
    return module == pattern.removesuffix(".*") or (pattern.endswith(".*") and module.startswith(pattern[:-1]))


def modules() -> dict[str, Path]:
    """Every module of sdkit by its name."""
    paths = {
        p: ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in ROOT.glob("sdkit/**/*.py")
    }
    return {name: path for path, name in paths.items()}


def test_every_module_that_mypy_passes_over_is_there():
    for pattern in overrides(ignore_errors=True):
        assert any(matches(module, pattern) for module in modules()), (
            f"{pattern} is no more: take its line out of pyproject.toml"
        )


@pytest.mark.slow
def test_no_module_that_mypy_passes_over_is_clean(tmp_path):
    """A module that is clean is checked from then on."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nignore_missing_imports = True\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path), "--no-pretty", "sdkit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"MYPYPATH": str(ROOT)})
    unclean = {line.partition(":")[0] for line in done.stdout.splitlines() if ": error: " in line}
    assert unclean, done.stdout + done.stderr
    faulty = [module for module, path in modules().items() if path.relative_to(ROOT).as_posix() in unclean]
    for pattern in overrides(ignore_errors=True):
        assert any(matches(module, pattern) for module in faulty), f"{pattern} is clean: take its line out of pyproject.toml"
