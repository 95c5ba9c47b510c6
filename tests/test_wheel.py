"""What is published: a wheel, which works in a folder that is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
USED = """
    import runpy

    import sdkit
    from matplotlib.figure import Figure
    from sdkit import core, papers, runs
    from sdkit.figures import training

    (run,) = runs.all_runs()
    assert run.status == "done" and run.folder.is_relative_to(core.home())
    figure = Figure()
    training.learning_curves({"byot": run.history()}, figure.subplots())
    figure.savefig("curve.png")
    assert papers.table("byot_table1"), "the papers' tables are package data"
    print(sdkit.__file__)
    runpy.run_module("sdkit.doctor", run_name="__main__")
"""
EVERYTHING = """
    import importlib, pkgutil, sdkit

    for module in pkgutil.walk_packages(sdkit.__path__, "sdkit."):
        importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy of the checkout, so that the checkout stays as it is, without a network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "sdkit", source / "sdkit", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source)], out)
    (made,) = out.glob("*.whl")
    return made


def run(command: list[str], folder: Path, **environment: str) -> str:
    """What a command prints that runs in a folder, with nothing of this checkout on its path."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SDKIT_HOME", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def use(python: str, folder: Path, **environment: str) -> Path:
    """Trains a small network in a folder, draws its curve, and looks at the installation; where sdkit was imported from."""
    small = ["--method", "byot", "--data", "digits", "--dataset", "train_size=64", "--network", "width=4", "--recipe", "smoke"]
    assert "test accuracy" in run([python, "-m", "sdkit.cli", "train", *small], folder, **environment)
    came_from, said = run([python, "-c", textwrap.dedent(USED)], folder, **environment).split("\n", 1)
    assert (folder / "curve.png").stat().st_size > 1000 and (folder / "runs").is_dir()
    assert VERSION in said and "fail  " not in said
    return Path(came_from)


def test_the_wheel_has_all_of_the_package_and_nothing_else(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    there = {str(path.relative_to(ROOT).as_posix()) for path in (ROOT / "sdkit").rglob("*") if path.is_file()}
    assert packed == {name for name in there if "__pycache__" not in name and not name.endswith(".pyc")}
    assert {"sdkit/py.typed", "sdkit/widgets/app.ipynb"} <= packed


def test_the_wheel_trains_and_draws_outside_a_checkout(wheel, tmp_path):
    """Beside this environment's packages. That sdkit's own stand first is what PYTHONPATH does."""
    site, folder = tmp_path / "site", tmp_path / "somewhere"
    folder.mkdir()
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)], folder)
    assert use(sys.executable, folder, PYTHONPATH=str(site)).is_relative_to(site)


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel, tmp_path):
    """What `pip install 'sdkit-workbook[app]'` leaves: every package that it needs is one that it declares."""
    venv, folder = tmp_path / "venv", tmp_path / "somewhere"
    folder.mkdir()
    run([sys.executable, "-m", "venv", str(venv)], folder)
    python = str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    pins = ROOT / "requirements.txt"  # as constraints: the tested versions, of what the wheel asks for alone
    run([python, "-m", "pip", "install", "--quiet", "--constraint", str(pins), f"{wheel}[app]"], folder)
    assert use(python, folder).is_relative_to(venv)
    run([python, "-c", textwrap.dedent(EVERYTHING)], folder)
    run([python, "-m", "pip", "check"], folder)
