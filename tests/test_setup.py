"""The set-up: pins and ranges, start.py, the torchvision cure, the doctor, the browser fixtures."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import tomllib
from importlib.metadata import Distribution
from pathlib import Path
from types import SimpleNamespace

import browser
import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sdkit import doctor

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def start():
    """start.py as a module."""
    spec = importlib.util.spec_from_file_location("start", ROOT / "start.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------------------------------ pins and ranges


def pins(file: str = "requirements.txt") -> dict[str, str]:
    """name -> version, of a file of pins and those that it holds; anything but `name==version` fails here."""
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith("#")]
    found = {}
    if file != "requirements.txt":
        assert lines.pop(0) == "-r requirements.txt"
        found = pins()
    before = len(found)
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line)
        assert match, f"{file} holds only name==version (no +cpu, no address): {line}"
        found[canonicalize_name(match[1])] = match[2]
    assert len(found) == before + len(lines), "a package is pinned twice"
    return found


def test_every_dependency_is_pinned_within_its_range():
    extras = PROJECT["optional-dependencies"]
    for file, wants in {
        "requirements.txt": PROJECT["dependencies"] + extras["app"],
        "requirements-dev.txt": extras["dev"],
        "requirements-docs.txt": extras["docs"],
    }.items():
        pinned = pins(file)
        for line in wants:
            wanted = Requirement(line)
            name = canonicalize_name(wanted.name)
            assert name in pinned, f"{name} is in pyproject.toml but not pinned in {file}"
            assert wanted.specifier.contains(pinned[name]), f"{name}=={pinned[name]} is tested but pyproject.toml says {line}"


def needed_by(wants: list[str]) -> set[str]:
    """The packages that are installed with these on this Python or on the oldest, by what each installed package says."""

    def holds(marker: Marker | None, extras: frozenset[str]) -> bool:
        pythons = ({}, {"python_version": "3.11"})
        return marker is None or any(marker.evaluate({"extra": e} | python) for e in {"", *extras} for python in pythons)

    found, ahead = set(), [(Requirement(line), frozenset(Requirement(line).extras)) for line in wants]
    while ahead:
        want, extras = ahead.pop()
        if (want.name, extras) in found or not holds(want.marker, extras):
            continue
        found.add((want.name, extras))
        for line in importlib.metadata.requires(want.name) or []:
            inner = Requirement(line)
            if holds(inner.marker, extras):
                ahead.append((inner, frozenset(inner.extras)))
    return {canonicalize_name(name) for name, _ in found}


def test_students_do_not_install_the_developers_tools():
    extras = PROJECT["optional-dependencies"]
    users, developers = needed_by(PROJECT["dependencies"] + extras["app"]), needed_by(extras["dev"])
    assert not {"playwright", "pytest", "ruff", "mypy"} & pins().keys()
    assert not (pins().keys() & developers) - users, "what only developers need is pinned in requirements-dev.txt"
    added = pins("requirements-dev.txt").keys() - pins().keys()
    assert not added - developers, "what developers do not need either is pinned in requirements-dev.txt"


def test_what_is_pinned_is_complete():
    """So that pip resolves nothing by itself, and two machines get the same."""
    extras = PROJECT["optional-dependencies"]
    assert not needed_by(PROJECT["dependencies"] + extras["app"]) - pins().keys()
    assert not needed_by(extras["dev"]) - pins("requirements-dev.txt").keys()


# -------------------------------------------------------------------------------------------------- what is declared, and names


CALLED = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "pytorch_grad_cam": "grad-cam",
    "IPython": "ipython",
}  # imported by another name than pip's
PROGRAMS = {"jupyterlab", "ipykernel", "bokeh"}  # run, never imported: `start.py lab`, the notebooks' kernel, Dask's dashboard


def third_party() -> set[str]:
    """pip's names of all that sdkit imports, wherever in a file the import stands."""
    found = set()
    for path in (ROOT / "sdkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return {canonicalize_name(CALLED.get(name, name)) for name in found - set(sys.stdlib_module_names) - {"sdkit"}}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    extras = PROJECT["optional-dependencies"]
    optional = [line for name, lines in extras.items() if name not in ("dev", "docs") for line in lines]
    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"] + optional}
    assert not third_party() - declared, "imported by sdkit, in neither pyproject.toml's dependencies nor an extra"
    assert not declared - third_party() - PROGRAMS, "in pyproject.toml, imported nowhere in sdkit"


def test_the_version_is_said_alike_everywhere():
    import sdkit

    version = PROJECT["version"]
    assert sdkit.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    newest = re.search(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert newest and newest[1] == version


def test_nobody_is_told_to_install_the_other_sdkit():
    """The name on PyPI is Stable Diffusion Kit's; ours is sdkit-workbook."""
    assert PROJECT["name"] == doctor.DISTRIBUTION == "sdkit-workbook"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    wrong = re.compile(r"\b(?:install|add)\s(?:-\S+\s)*['\"]*sdkit(?!-workbook|[\w/.])")
    assert wrong.search("pip install 'sdkit[app]'") and wrong.search("pip install -U sdkit")  # it finds what it looks for
    for name in listed or [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.suffix in (".py", ".md", ".ipynb")]:
        if name.endswith((".py", ".md", ".ipynb", ".yml", ".toml", ".txt")) and ROOT / name != Path(__file__):
            said = wrong.search((ROOT / name).read_text(encoding="utf-8"))
            assert not said, f"{name} says {said[0]!r}: that is another project, ours is {PROJECT['name']}"


def test_the_ranges_admit_torch_2_11_to_2_13():
    ranges = {Requirement(line).name: Requirement(line).specifier for line in PROJECT["dependencies"]}
    for torch, torchvision in (("2.11.0", "0.26.0"), ("2.12.0", "0.27.0"), ("2.13.0", "0.28.0")):
        assert ranges["torch"].contains(torch) and ranges["torchvision"].contains(torchvision)


def test_the_conda_environment_has_no_pins_of_its_own():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    python = next(Requirement(entry) for entry in conda if entry.startswith("python"))
    assert {re.split(r"[=<>! ]", entry)[0] for entry in conda} == {"python", "pip"}
    assert all(python.specifier.contains(version) for version in ("3.11.0", "3.12.0"))
    assert not any(python.specifier.contains(version) for version in ("3.10.0", "2.7"))
    assert pip == ["-r requirements.txt", "-e ."]


def test_every_make_verb_is_one_of_start_py(start):
    verbs = re.findall(r"^(\w+): *; @\$\(PYTHON\) start\.py (\w+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"figures", "test", "lab", "doctor", "setup", "clean", "lint"} <= {target for target, _ in verbs}
    for target, verb in verbs:
        assert target == verb and f"start.py {verb}" in start.__doc__


# ------------------------------------------------------------------------------------------------------------------- start.py


def imported_by(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), flags=re.MULTILINE))


def test_a_mistyped_verb_is_told_before_anything_is_installed(start, monkeypatch, capsys):
    from sdkit.cli import COMMANDS

    assert {*start.OWN, *start.OTHERS} == {*start.OWN, *COMMANDS}, "start.py knows the command line's verbs without torch"
    monkeypatch.setattr(start, "set_up", lambda *_: pytest.fail("something was installed"))
    assert start.main(["figurs"]) == 1
    assert "'figurs': did you mean 'figures'?" in capsys.readouterr().err


def test_start_needs_only_the_standard_library():
    assert imported_by(ROOT / "start.py") <= set(sys.stdlib_module_names)


def test_an_old_python_is_named_with_the_mend(start):
    with pytest.raises(start.Problem, match=r"3\.11 or newer is needed, this is 3\.8: .*PYTHON=python3\.12"):
        start.check_python((3, 8, 1))
    start.check_python((3, 11, 0))


@pytest.fixture
def asked() -> list[list[str]]:
    """What pip was asked to do in the checkout."""
    return []


@pytest.fixture
def checkout(start, asked, tmp_path, monkeypatch):
    """An empty checkout where pip does nothing. The environment itself is real."""
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-docs.txt", "pyproject.toml"):
        (tmp_path / name).write_text("one")

    def pip(command, root):
        pins = Path(command[-1]).name if Path(command[-1]).name in start.STAMPS else start.USERS
        assert not (root / ".venv" / start.STAMPS[pins]).exists(), "the stamp is gone while packages are installed"
        asked.append([str(part) for part in command])

    monkeypatch.setattr(start, "install", pip)
    return tmp_path


@pytest.fixture
def environment(start, checkout, tmp_path_factory) -> Path:
    """A finished environment in the checkout, but for the stamp. Made once and then copied: that is ten times as fast."""
    made = tmp_path_factory.getbasetemp() / "environment"
    if not made.exists():
        made.mkdir()
        start.make_venv(made)
    return Path(shutil.copytree(made, checkout / ".venv", symlinks=True))


def test_packages_are_installed_once_and_again_when_the_pins_change(start, checkout, asked):
    python = start.set_up(checkout)
    assert subprocess.run([python, "-c", "import sys; sys.exit(sys.prefix == sys.base_prefix)"]).returncode == 0
    assert len(asked) == 2 and asked[0][-2:] == ["-r", str(checkout / "requirements.txt")]
    assert asked[1][-3:] == ["--no-deps", "-e", str(checkout)]
    start.set_up(checkout)
    assert len(asked) == 2
    mine = checkout / ".venv" / "mine"
    mine.write_text("")
    (checkout / "requirements.txt").write_text("two")
    start.set_up(checkout)
    assert len(asked) == 4 and mine.exists(), "an update keeps the environment"


def installed(asked: list[list[str]]) -> list[str]:
    """The files of pins that pip was given, and "-e" for sdkit itself; empties the list."""
    found = [Path(command[-1]).name if "-r" in command else "-e" for command in asked]
    asked.clear()
    return found


def test_what_tests_need_is_installed_for_the_first_test_alone(start, checkout, environment, asked):
    start.set_up(checkout)
    assert installed(asked) == ["requirements.txt", "-e"]
    start.set_up(checkout, start.DEVELOPERS)
    assert installed(asked) == ["requirements-dev.txt"], "what the figures needed is there already"
    for pins in (start.USERS, start.DEVELOPERS):
        start.set_up(checkout, pins)
    assert installed(asked) == []


def test_the_first_command_of_all_may_be_a_test(start, checkout, environment, asked):
    start.set_up(checkout, start.DEVELOPERS)
    assert installed(asked) == ["requirements-dev.txt", "-e"]
    start.set_up(checkout)
    assert installed(asked) == [], "requirements-dev.txt holds requirements.txt"


def test_new_pins_are_installed_for_those_who_need_them(start, checkout, environment, asked):
    start.set_up(checkout, start.DEVELOPERS)
    (checkout / "requirements-dev.txt").write_text("two")
    asked.clear()
    start.set_up(checkout)
    assert installed(asked) == [], "a student has nothing of requirements-dev.txt"
    start.set_up(checkout, start.DEVELOPERS)
    assert installed(asked) == ["requirements-dev.txt"]
    (checkout / "requirements.txt").write_text("two")
    start.set_up(checkout)
    assert installed(asked) == ["requirements.txt", "-e"]
    start.set_up(checkout, start.DEVELOPERS)
    assert installed(asked) == ["requirements-dev.txt"]


def test_a_broken_environment_of_a_developer_gets_sdkit_itself_again(start, checkout, environment, asked, monkeypatch):
    start.set_up(checkout)
    asked.clear()
    works = start.has_our_python
    monkeypatch.setattr(start, "has_our_python", lambda venv: False)
    start.set_up(checkout, start.DEVELOPERS)
    assert installed(asked) == ["requirements-dev.txt", "-e"] and works(environment)


def test_an_interrupted_install_is_done_again(start, checkout, environment, asked, monkeypatch):
    def killed(command, root):
        raise KeyboardInterrupt

    fake = start.install
    monkeypatch.setattr(start, "install", killed)
    with pytest.raises(KeyboardInterrupt):
        start.set_up(checkout)
    monkeypatch.setattr(start, "install", fake)
    start.set_up(checkout)
    assert len(asked) == 2


def test_a_broken_environment_is_made_anew(start, checkout, environment, asked):
    start.venv_python(environment).unlink()
    (environment / "rest").write_text("")
    start.set_up(checkout)
    assert start.has_our_python(environment) and not (environment / "rest").exists()
    assert len(asked) == 2


def test_of_two_calls_at_once_one_installs_and_the_other_waits(start, checkout, environment, asked, monkeypatch):
    inside, go_on, fake = threading.Event(), threading.Event(), start.install

    def slow(command, root):
        inside.set()
        assert go_on.wait(60)
        fake(command, root)

    monkeypatch.setattr(start, "install", slow)
    calls = [threading.Thread(target=start.set_up, args=[checkout]) for _ in range(2)]
    calls[0].start()
    assert inside.wait(60)
    calls[1].start()
    calls[1].join(1)
    assert calls[1].is_alive(), "the second call went ahead"
    go_on.set()
    for call in calls:
        call.join(60)
    assert len(asked) == 2


def test_a_missing_ensurepip_is_named_with_the_mend(start, tmp_path, monkeypatch):
    said = "The virtual environment was not created successfully because ensurepip is not available."
    monkeypatch.setattr(start.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, said, ""))
    with pytest.raises(start.Problem, match="apt install python3-venv"):
        start.make_venv(tmp_path)


@pytest.mark.parametrize(("free", "mend"), [(1e9, "make room"), (50e9, "network is missing")])
def test_a_failing_pip_is_named_with_the_likely_mend(start, tmp_path, monkeypatch, free, mend):
    monkeypatch.setattr(start.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(start.Problem, match=mend):
        start.install([sys.executable, "-c", "raise SystemExit(1)"], tmp_path)


def test_a_problem_is_one_sentence_and_status_1(start, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(start, "ROOT", tmp_path)
    assert start.main(["figures"]) == 1
    assert re.fullmatch(r"sdkit: no requirements.txt in .* get it again\n", capsys.readouterr().err)


def test_a_checkout_where_no_environment_can_be_made_is_one_sentence(start, checkout, monkeypatch, capsys):
    monkeypatch.setattr(start, "ROOT", checkout)
    (checkout / ".venv").write_text("a file in its place")
    assert start.main(["list"]) == 1
    assert re.fullmatch(r"sdkit: .*\.venv: .*: start.py writes in its own folder, move .*\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["figures", "--recipe", "smoke"], ["-m", "sdkit.cli", "figures", "--recipe", "smoke"]),
        (["train", "-h"], ["-m", "sdkit.cli", "train", "-h"]),
        (["test", "-k", "x"], ["-m", "pytest", "-k", "x"]),
        (["doctor"], ["-m", "sdkit.doctor"]),
    ],
)
def test_a_verb_runs_in_the_environment_with_its_arguments(start, monkeypatch, arguments, command):
    calls = []
    monkeypatch.setattr(start, "set_up", lambda root, pins: "PYTHON")
    monkeypatch.setattr(start, "run", lambda parts, cwd=None: calls.append(parts) or 7)
    assert start.main(arguments) == 7
    assert calls == [["PYTHON", *command]]


@pytest.mark.parametrize("verb", ["figures", "lab", "app", "doctor", "setup", "bench", "list", "test", "lint", "docs"])
def test_only_test_lint_and_docs_ask_for_more_than_a_student_needs(start, monkeypatch, verb):
    asked = []
    for name in ("run", "lint", "lab"):
        monkeypatch.setattr(start, name, lambda *_, **__: 0)
    monkeypatch.setattr(start, "set_up", lambda root, pins: asked.append(pins))
    assert start.main([verb]) == 0
    assert asked == [{"test": start.DEVELOPERS, "lint": start.DEVELOPERS, "docs": start.DOCS}.get(verb, start.USERS)]


def test_the_documentation_has_packages_of_its_own(start, environment, checkout, asked):
    """Neither a student nor a developer installs them, and asking for them installs no developer's tool."""
    start.set_up(checkout)
    asked.clear()
    start.set_up(checkout, start.DOCS)
    assert installed(asked) == ["requirements-docs.txt"]
    assert start.is_ready(checkout, start.USERS) and not start.is_ready(checkout, start.DEVELOPERS)
    assert "sphinx" not in {**pins(), **pins("requirements-dev.txt")} and "pytest" not in pins("requirements-docs.txt")


def test_lint_runs_every_checker_and_fails_if_one_does(start, monkeypatch):
    ran = []

    def check(command, **_):
        ran.append(command[2:])
        return subprocess.CompletedProcess(command, int("format" in command))

    monkeypatch.setattr(start.subprocess, "run", check)
    assert start.lint(Path("python"), []) == 1
    assert ran == [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]]
    ran.clear()
    assert start.lint(Path("python"), ["sdkit/core.py"]) == 0 and ran == [["ruff", "check", "sdkit/core.py"]]


def test_what_runs_in_the_environment_knows_its_home(start, monkeypatch):
    monkeypatch.delenv("SDKIT_HOME")
    assert start.child_environment()["SDKIT_HOME"] == str(ROOT)
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert "OMP_WAIT_POLICY" not in start.child_environment(), "threads wait as OpenMP's do, where nobody says how"
    monkeypatch.setenv("SDKIT_HOME", "/elsewhere")
    assert start.child_environment()["SDKIT_HOME"] == "/elsewhere"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no exec")
def test_a_command_takes_the_place_of_start_py(tmp_path):
    """So a signal, a Ctrl-C or the end of a time limit reaches the training itself."""
    code = f"""
    import os, sys, pathlib
    sys.path.insert(0, {str(ROOT)!r})
    import start
    child = "import os, sys; print(os.getpid(), os.getcwd(), os.environ['JUPYTER_PREFER_ENV_PATH']); sys.exit(5)"
    print(os.getpid())
    start.run([sys.executable, "-c", child], cwd=pathlib.Path({str(tmp_path)!r}))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    pid, *rest = done.stdout.split()
    assert rest == [pid, str(tmp_path), "1"] and done.returncode == 5


def test_windows_keeps_its_python_elsewhere(start, monkeypatch):
    assert start.venv_python(Path("v")) == Path("v/bin/python")
    monkeypatch.setattr(start, "os", SimpleNamespace(name="nt"))
    assert start.venv_python(Path("v")).parts == ("v", "Scripts", "python.exe")


def test_the_lab_reaches_figures_and_the_glossary(start, tmp_path, monkeypatch):
    """Its list of files begins at the folder that holds notebooks, runs and figures; in a checkout that is the checkout."""
    calls = []
    monkeypatch.setattr(start, "set_up", lambda root, pins: "PYTHON")
    monkeypatch.setattr(start, "run", lambda parts, cwd=None: calls.append((parts, cwd)) or 0)
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "mine"))
    assert start.main(["lab", "--no-browser"]) == 0
    ((command, cwd),) = calls
    assert cwd == tmp_path / "mine" and f"--ServerApp.root_dir={cwd}" in command and command[-1] == "--no-browser"
    assert (cwd / "docs" / "glossary.md").exists() and len([*(cwd / "my_notebooks").glob("*.ipynb")]) == 10


@pytest.mark.parametrize("verb", ["lab", "figures", "train", "sweep", "export", "app"])
def test_a_checkout_that_cannot_be_written_to_asks_for_a_folder(start, tmp_path, monkeypatch, capsys, verb):
    def refused(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.delenv("SDKIT_HOME", raising=False)
    monkeypatch.setattr(start, "set_up", lambda root, pins: "PYTHON")
    monkeypatch.setattr(start.tempfile, "TemporaryFile", refused)
    monkeypatch.setattr(start, "run", lambda *_, **__: pytest.fail("nothing may begin"))
    assert start.main([verb]) == 1
    assert re.fullmatch(
        r"sdkit: .* cannot be written to \(Permission denied\): say where .*SDKIT_HOME=.*\n", capsys.readouterr().err
    )


class TestCopiesOfNotebooks:
    @pytest.fixture(autouse=True)
    def folders(self, start, tmp_path):
        self.originals, self.work = tmp_path / "notebooks", tmp_path / "my_notebooks"
        self.originals.mkdir()
        self.original, self.copy = self.originals / "a.ipynb", self.work / "a.ipynb"
        self.original.write_text("first")
        self.update = lambda: start.copy_notebooks(self.originals, self.work)
        assert self.update() == ["copied my_notebooks/a.ipynb"]

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.work.glob("*.ipynb")}

    def test_nothing_happens_twice(self):
        assert self.update() == [] and self.files() == {"a.ipynb": "first"}

    def test_an_untouched_copy_follows_its_original(self):
        self.original.write_text("second")
        assert self.update() == ["updated my_notebooks/a.ipynb"]
        assert self.files() == {"a.ipynb": "second"}

    def test_a_changed_copy_stays(self):
        self.copy.write_text("mine")
        assert self.update() == [] and self.files() == {"a.ipynb": "mine"}

    def test_where_both_changed_the_new_original_lies_beside_the_copy_and_is_offered_once(self):
        self.copy.write_text("mine")
        self.original.write_text("second")
        assert len(self.update()) == 1 and self.files() == {"a.ipynb": "mine", "a.new.ipynb": "second"}
        (self.work / "a.new.ipynb").unlink()
        assert self.update() == [] and self.files() == {"a.ipynb": "mine"}

    def test_a_changed_offer_stays_too(self):
        self.copy.write_text("mine")
        self.original.write_text("second")
        self.update()
        (self.work / "a.new.ipynb").write_text("mine, too")
        self.original.write_text("third")
        self.update()
        assert self.files() == {"a.ipynb": "mine", "a.new.ipynb": "mine, too", "a.new2.ipynb": "third"}

    def test_without_its_ledger_every_difference_is_the_students(self):
        (self.work / ".copies.json").write_text("{")
        self.copy.write_text("mine")
        self.update()
        assert self.files() == {"a.ipynb": "mine", "a.new.ipynb": "first"}

    def test_a_copy_that_went_back_to_the_original_follows_it_again(self):
        self.copy.write_text("mine")
        self.original.write_text("second")
        self.update()
        self.copy.write_text("second")
        self.update()
        self.original.write_text("third")
        assert self.update() == ["updated my_notebooks/a.ipynb"]


# -------------------------------------------------------------------------------------------------------- the torchvision cure


def in_a_new_python(code: str, **environment: str) -> str:
    """What a program prints, run on this checkout in a Python of its own."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT), **environment)
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BREAK_THE_PAIR = """
    import torch
    load = torch.ops.load_library
    def refuse(path):  # what a wheel built for another torch does, also where this machine's pair matches
        if "torchvision" in str(path):
            raise OSError("undefined symbol")
        return load(path)
    torch.ops.load_library = refuse
"""


def test_a_mismatched_torchvision_is_imported_after_the_cure():
    code = f"""{BREAK_THE_PAIR}
    from sdkit import vision
    vision.ensure()
    vision.ensure()
    import torchvision.transforms.v2
    assert vision.mismatched()
    assert torchvision.transforms.v2.functional.hflip(torch.arange(2.)[None, None]).tolist() == [[[1, 0]]]
    assert torchvision.models.resnet18()(torch.zeros(2, 3, 32, 32)).shape == (2, 1000)
    from pytorch_grad_cam import GradCAM
    try:
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except RuntimeError as error:
        print(str(error)[:36])
    """
    assert in_a_new_python(code) == "Couldn't load custom C++ ops. This c"


def test_an_import_that_failed_is_cured_afterwards():
    code = f"""{BREAK_THE_PAIR}
    try:
        import torchvision
    except RuntimeError as error:
        print(error)
    from sdkit import vision
    vision.ensure()
    import torchvision.models, torchvision.extension
    print(torchvision.models.resnet18().fc.out_features)
    """
    assert in_a_new_python(code).splitlines() == ["operator torchvision::nms does not exist", "1000"]


def test_importing_sdkit_is_cure_enough():
    code = f"{BREAK_THE_PAIR}\n    import sdkit, torchvision\n    print(torchvision.ops.__name__)"
    assert in_a_new_python(code) == "torchvision.ops"


def test_a_matching_pair_is_left_alone():
    """The pair is made to match by declaring the operators where the extension would, and reporting it as loaded."""
    code = """
    import torch
    library = torch.library.Library("torchvision", "FRAGMENT")
    load = torch.ops.load_library
    def succeed(path):
        if "torchvision" not in str(path):
            return load(path)
        from sdkit import vision
        for name, schema in vision._SCHEMAS.items():
            library.define(name + schema)
    torch.ops.load_library = succeed
    import types, sys
    from sdkit import vision
    vision.ensure()
    extension = types.ModuleType("torchvision.extension")
    extension._has_ops = lambda: True
    sys.modules["torchvision.extension"] = extension
    succeed("torchvision/_C.so")
    vision._declare_missing_operators()
    vision._forget_a_failed_import()
    print(vision._libraries, vision.mismatched(), "torchvision.extension" in sys.modules)
    """
    assert in_a_new_python(code) == "[] False True"


def test_the_cure_costs_no_import():
    assert in_a_new_python("import sys, sdkit.vision as v; v.ensure(); print('torch' in sys.modules)") == "False"


# ---------------------------------------------------------------------------------------------------------------- the doctor


def found(name: str) -> doctor.Check:
    return doctor._guarded(name, doctor.CHECKS[name])


def test_the_doctor_finds_this_installation_able_to_work():
    checks = doctor.diagnose()
    assert [check.name for check in checks] == list(doctor.CHECKS)
    assert [check for check in checks if check.ok == "fail"] == []
    assert all(check.mend for check in checks if check.ok != "ok")


def other_sdkit(folder: Path, summary: str, version: str = "2.1.1") -> None:
    """A project of the name sdkit, installed in a folder."""
    info = folder / f"sdkit-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sdkit\nVersion: {version}\nSummary: {summary}\n")


def test_the_doctor_says_when_the_other_sdkit_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.metadata, "distributions", lambda **named: Distribution.discover(path=[str(tmp_path)], **named))
    assert found("sdkit").ok == "ok" and str(ROOT / "sdkit") in found("sdkit").found
    other_sdkit(tmp_path, PROJECT["description"], "0.1.0")
    assert found("sdkit").ok == "ok", "our own name before 0.2.0"
    other_sdkit(tmp_path, "sdkit (stable diffusion kit) is an easy-to-use library for using Stable Diffusion")
    check = found("sdkit")
    assert check.ok == "warn" and "sdkit 2.1.1 is installed, another project" in check.found
    assert "pip uninstall sdkit" in check.mend
    (tmp_path / "sdkit").symlink_to(ROOT / "sdkit")  # both in one folder: files of one overwrote the other's
    assert found("sdkit").ok == "fail" and "--force-reinstall --no-deps sdkit-workbook" in found("sdkit").mend


def test_the_doctor_says_the_precision_and_what_this_cpu_could(monkeypatch):
    from sdkit.train import device

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for can in (True, False):
        monkeypatch.setattr(device, "has_bfloat16", lambda on, can=can: can)
        monkeypatch.delenv("SDKIT_PRECISION", raising=False)
        assert found("precision").found.startswith("bfloat16") == can
        monkeypatch.setenv("SDKIT_PRECISION", "float32")
        assert ("without SDKIT_PRECISION" in found("precision").found) == can
    monkeypatch.setenv("SDKIT_PRECISION", "bfloat16")  # where the CPU cannot
    assert found("precision").ok == "warn" and found("precision").found.startswith("bfloat16")
    monkeypatch.setattr(device, "has_bfloat16", lambda on: True)
    assert found("precision") == ("precision", "ok", "bfloat16, losses in float32", "")
    monkeypatch.setenv("SDKIT_PRECISION", "half")
    assert found("precision").ok == "fail" and "auto, float32 or bfloat16" in found("precision").mend


def test_the_doctor_says_how_many_threads_a_run_would_take(monkeypatch):
    monkeypatch.setenv("SDKIT_THREADS", "1")
    assert found("threads") == ("threads", "ok", "SDKIT_THREADS says 1", "")
    monkeypatch.setenv("SDKIT_THREADS", "none")
    assert found("threads").ok == "fail" and "leave SDKIT_THREADS out" in found("threads").mend
    monkeypatch.delenv("SDKIT_THREADS")
    assert found("threads").found.startswith(f"{os.environ['OMP_NUM_THREADS']} for a run that begins now")


def test_the_doctor_survives_every_broken_piece(monkeypatch):
    def broken() -> doctor.Check:
        raise OSError("libcudart.so: cannot open\nsecond line")

    monkeypatch.setattr(doctor, "CHECKS", dict.fromkeys(doctor.CHECKS, broken))
    checks = doctor.diagnose()
    assert {(check.ok, check.found) for check in checks} == {("fail", "OSError: libcudart.so: cannot open")}
    assert [check.name for check in checks] == list(doctor.CHECKS) and all(check.mend for check in checks)
    assert f"{len(checks)} to mend before sdkit can work" in doctor.report(checks)
    assert doctor.main() == 1


def test_the_doctor_speaks_where_torch_cannot_be_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so is truncated')")
    command = [sys.executable, "-m", "sdkit.doctor"]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"fail  torch +OSError: libtorch_cpu.so is truncated\n +-> python3 start.py setup", done.stdout)
    assert re.search(r"ok    disk", done.stdout)


def test_the_doctor_names_a_mismatched_pair_as_cured(monkeypatch):
    from sdkit import vision

    monkeypatch.setattr(vision, "mismatched", lambda: True)
    check = found("torchvision")
    assert check.ok == "warn" and "works around it" in check.found and check.mend


def test_the_doctor_compares_versions_with_the_pins(monkeypatch, tmp_path):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "deep"))
    (tmp_path / "deep").mkdir()
    requirements = tmp_path / "requirements.txt"
    installed = importlib.metadata.version("torch")
    requirements.write_text(f"# pins\ntorch=={installed.split('+')[0]}\n")
    assert found("packages")[1:3] == ("ok", "all 1 of requirements.txt as tested")
    requirements.write_text("torch==0.1\n")
    assert found("packages").ok == "warn" and "(tested: 0.1)" in found("packages").found
    requirements.write_text("torch==0.1\nno-such-package==1\n")
    assert found("packages")[1:] == ("fail", "missing: no-such-package", "python3 start.py setup")


def test_the_doctor_finds_the_data(monkeypatch, tmp_path):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    assert found("data").found == f"built in: digits, faces, reid, shapes ({tmp_path / 'data'})"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar-100-python.tar.gz").write_text("")
    assert found("data").ok == "warn" and found("data").mend.startswith("tar -xzf")
    (tmp_path / "data" / "cifar-100-python").mkdir()
    assert found("data").ok == "ok" and "CIFAR-100" in found("data").found and "CIFAR-10," not in found("data").found
    monkeypatch.setenv("SDKIT_DATA_ROOT", str(tmp_path / "shared"))
    assert found("data").found.endswith(f"shapes ({tmp_path / 'shared'})"), "the folder that many share, and nothing is in it"


def test_the_doctor_finds_the_browser(monkeypatch, tmp_path):
    program = tmp_path / "my-browser"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(program))
    assert found("browser") == doctor.Check("browser", "ok", str(program))
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    assert found("browser").ok == "warn" and "CHROMIUM" in found("browser").mend
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "_APPLICATIONS", ())
    assert found("browser").ok == "warn" and "apt install chromium" in found("browser").mend
    assert browser.what_is_missing().startswith("no Chromium or Chrome here")


@pytest.mark.parametrize(("free", "ok"), [(0.5e9, "fail"), (2e9, "warn"), (50e9, "ok")])
def test_the_doctor_looks_at_the_disk(monkeypatch, free, ok):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    assert found("disk").ok == ok and bool(found("disk").mend) == (ok != "ok")


def test_the_doctor_wants_jupyterlab(monkeypatch):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    assert found("JupyterLab").ok == "fail" and found("JupyterLab").mend == "python3 start.py setup"


# ---------------------------------------------------------------------------------------------------------------- the browser


def write_notebook(path: Path, *cells: str) -> None:
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


SLIDER = """
import io, ipywidgets as W
from matplotlib.figure import Figure
picture, slider = W.Image(format="png"), W.FloatSlider(value=1, min=1, max=5, step=1)
def draw(change=None):
    figure = Figure(figsize=(2, 2)); figure.subplots().plot([0, slider.value]); file = io.BytesIO()
    figure.savefig(file, format="png"); picture.value = file.getvalue()
slider.observe(draw, "value"); draw()
picture.add_class("test-picture"); slider.add_class("test-slider")
W.VBox([slider, picture])
"""


def test_a_slider_moves_a_picture_in_a_real_browser(lab, open_and_run):
    write_notebook(lab.folder / "slider.ipynb", "import sys; print(sys.executable)", SLIDER)
    page = open_and_run("slider.ipynb")
    browser.wait_until_done(page)
    assert page.locator(".jp-OutputArea-output pre").first.inner_text().strip() == sys.executable
    css = ".test-picture img, img.test-picture"
    first = browser.wait_for_new_image(page, css, "")
    page.locator(".test-slider .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    browser.wait_for_new_image(page, css, first)
    assert lab.kernels() == 1
    assert page.errors == [] and page.outside == []


def test_a_failing_cell_fails_the_wait(lab, open_and_run):
    write_notebook(lab.folder / "fails.ipynb", "raise ValueError('said so')", "1")
    assert lab.kernels() == 0, "the last test's kernel is gone"
    with pytest.raises(AssertionError, match="ValueError: said so"):
        browser.wait_until_done(open_and_run("fails.ipynb"))


def test_the_server_and_its_kernels_end_with_the_session(tmp_path):
    if browser.what_is_missing():
        pytest.skip(browser.what_is_missing())
    with browser.serve(tmp_path) as lab:
        assert lab.kernels() == 0
    with contextlib.suppress(OSError):
        lab.kernels()
        pytest.fail("the server still answers")
