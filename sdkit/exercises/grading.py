"""A class's notebooks, graded: what students wrote is called in a process of its own, with limits of time and memory.

Only imports, functions, classes and constants are taken out of a notebook; nothing else of it runs. The limits stop what is
endless or too large, and a guard in the process refuses the network. That keeps accidents away, not somebody who means harm:
grade work of students that you know, or in a container.
"""

from __future__ import annotations

import ast
import contextlib
import html
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .exercise import Exercise
from .judging import judge

NOTEBOOK = re.compile(r"\s*[%!?]|\s*[\w.]+\?+\s*$")
"""A line that only a notebook understands: a magic, a shell's command, a question."""

LIBRARIES = {"torch", "nn", "F", "math", "np", "numpy"}
"""What a constant may call: ce = torch.nn.CrossEntropyLoss()."""

START = 60.0
"""Seconds that a process may take to begin, beyond those of an exercise: it imports PyTorch."""


class Grade(NamedTuple):
    """What became of one exercise."""

    exercise: str
    word: str  # "right", "wrong", "not written", "out of time", "crashed"
    says: str


def cells_of(path: Path) -> list[str]:
    """The code of a notebook, cell by cell, or of a Python file.

    Args:
        path: an .ipynb or a .py.

    Returns:
        The sources, without the lines that only a notebook understands.

    Raises:
        ValueError: The file is no notebook.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".py":
        return [text]
    try:
        cells = [c["source"] for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} is no notebook: hand in the .ipynb as JupyterLab saves it") from error
    sources = ["".join(s) if isinstance(s, list) else str(s) for s in cells]
    return ["\n".join(line for line in s.splitlines() if not NOTEBOOK.match(line)) for s in sources]


def definitions(path: Path) -> tuple[str, set[str]]:
    """What of a notebook is run.

    Args:
        path: an .ipynb or a .py.

    Returns:
        Its imports, functions, classes and constants as one source, and their names. A cell with a mistake in its syntax is
        left out.
    """
    kept, names = [], set()
    for source in cells_of(path):
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef) or is_constant(node):
                kept.append(ast.unparse(node))
                names |= {getattr(node, "name", ""), *(t.id for t in getattr(node, "targets", ()) if isinstance(t, ast.Name))}
    return "\n\n".join(kept), names - {""}


def is_constant(node: ast.stmt) -> bool:
    """Whether a line gives a name to numbers, to a lambda, to what has a name already, or to what a library makes of these."""
    harmless = ast.Constant | ast.UnaryOp | ast.BinOp | ast.Tuple | ast.List | ast.Name | ast.Attribute | ast.Call
    if not isinstance(node, ast.Assign):
        return False
    parts = [part for part in ast.walk(node.value) if isinstance(part, ast.expr)]
    called = {ast.unparse(part.func).partition(".")[0] for part in parts if isinstance(part, ast.Call)}
    return isinstance(node.value, ast.Lambda) or (called <= LIBRARIES and all(isinstance(part, harmless) for part in parts))


def broken(path: Path) -> list[tuple[str, str]]:
    """The cells whose syntax has a mistake, each with what is wrong with it."""
    found = []
    for source in cells_of(path):
        try:
            ast.parse(source)
        except SyntaxError as error:
            found.append((source, f"Its cell does not run: {error.msg}, in line {error.lineno}."))
    return found


def asked(path: Path, exercises: dict[str, Exercise]) -> list[str]:
    """The exercises of a notebook: all of the papers that its checks, or else its functions, belong to.

    Args:
        path: an .ipynb or a .py.
        exercises: all that there are, by name.

    Returns:
        Their names. Readings are left out: they are of the student's own run.
    """
    text = "\n".join(cells_of(path))
    written = [name for name, e in exercises.items() if not e.reads]
    rooms = {name.partition(".")[0] for name in exercises if f'check("{name}"' in text}
    if not rooms:
        _, names = definitions(path)
        begun = {*names, *re.findall(r"^(?:def|class) (\w+)", text, re.MULTILINE)}
        rooms = {name.partition(".")[0] for name in written if exercises[name].function in begun}
    return [name for name in written if name.partition(".")[0] in rooms]


def grade(path: Path, exercises: dict[str, Exercise], seconds: float = 10.0, megabytes: int = 2000) -> list[Grade]:
    """Every exercise of a student's notebook.

    Args:
        path: the notebook.
        exercises: all that there are, by name.
        seconds: that one exercise may take; what takes longer is ended, and the next one begins in a new process.
        megabytes: that the process may take beyond what PyTorch does (where the system can say so: not on Windows or macOS).

    Returns:
        A grade for each exercise, in the notebook's order.
    """
    left, grades = asked(path, exercises), []
    while left:
        for grade_ in worked(path, left, seconds, megabytes):
            grades.append(grade_)
        left = [name for name in left if name not in {g.exercise for g in grades}]
    return grades


def worked(path: Path, names: list[str], seconds: float, megabytes: int) -> Iterator[Grade]:
    """Grades from one process, until the first exercise that ends it."""
    command = [sys.executable, "-m", "sdkit.exercises.grading", str(path), str(megabytes), *names]
    environment = {name: value for name, value in os.environ.items() if name in KEPT} | {"OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), *(p for p in sys.path if p)])
    quiet = subprocess.DEVNULL  # nobody is asked: input() raises
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, text=True, env=environment) as process:
        lines: queue.Queue[str] = queue.Queue()

        def listen() -> None:
            for line in process.stdout or ():
                lines.put(line)
            lines.put("")

        threading.Thread(target=listen, daemon=True).start()
        name = names[0]
        try:
            began = lines.get(timeout=START)
            for name in names:
                line = lines.get(timeout=seconds) if began else ""
                if not line:
                    yield Grade(name, "crashed", "The process ended: out of memory, or the interpreter was left.")
                    return
                yield Grade(*json.loads(line))
        except queue.Empty:
            yield Grade(name, "out of time", f"No answer within {seconds:g} seconds: is there an endless loop?")
        finally:
            process.kill()


KEPT = ("PATH", "HOME", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
"""What of the environment a student's process sees."""


def limit(megabytes: int) -> None:
    """Takes memory and the network from this process; where the system has no such limit, the network alone."""
    import socket

    def refused(*_: object, **__: object) -> None:
        raise OSError("an exercise needs no network")

    socket.socket.connect = refused  # type: ignore[method-assign,assignment]
    socket.getaddrinfo = refused  # type: ignore[assignment]
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(path: str, megabytes: str, *names: str) -> None:
    """The process of a student: a line for the beginning, then one of JSON for each exercise."""
    from . import EXERCISES

    channel = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a student prints goes nowhere
    limit(int(megabytes))
    print("ready", file=channel, flush=True)
    source, _ = definitions(Path(path))
    space: dict[str, object] = {"__name__": "student"}
    failed = ""
    for part in ast.parse(source).body:
        try:
            exec(compile(ast.Module([part], []), Path(path).name, "exec"), space)
        except Exception as error:  # of whatever a student imports or decorates
            failed = failed or f"{type(error).__name__}: {error}"
    for name in names:
        exercise = EXERCISES[name]
        if exercise.function not in space:
            word, says = "not written", "There is no such function in the notebook" + (f" ({failed})." if failed else ".")
            start = re.compile(rf"^(?:def|class) {exercise.function}\b", re.MULTILINE)
            for cell, wrong in broken(Path(path)):
                word, says = ("wrong", wrong) if start.search(cell) else (word, says)
        else:
            answer = judge(exercise, space[exercise.function])
            says = answer.says
            untouched = says.startswith(("Not written", "Not changed"))
            if says.startswith("Your code raised NameError"):
                says += " Graded are imports, functions, classes and constants: what a function needs stands in it."
            word = "right" if answer.right else "not written" if untouched else "wrong"
        print(json.dumps([name, word, says]), file=channel, flush=True)


def page(student: str, grades: list[Grade]) -> str:
    """A student's page.

    Args:
        student: the name.
        grades: of every exercise.

    Returns:
        HTML that needs nothing else.
    """
    right = sum(g.word == "right" for g in grades)
    rows = "".join(
        f"<tr><td><code>{html.escape(g.exercise)}</code></td><td>{html.escape(g.word)}</td><td>{html.escape(g.says)}</td></tr>"
        for g in grades
    )
    title = html.escape(student)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}td,th{padding:.3em .8em;text-align:left;"
        "vertical-align:top;border-bottom:1px solid #ccc}</style>"
        f"<h1>{title}</h1><p>{right} of {len(grades)} exercises are right. Readings of figures are checked in the notebook.</p>"
        f"<table><tr><th>exercise</th><th>is</th><th>what the check says</th></tr>{rows}</table></html>"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
