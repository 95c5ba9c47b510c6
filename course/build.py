#!/usr/bin/env python3
"""Builds every version of the labs: `python3 start.py course`. Nothing is trained or executed.

    build/course/student/    the notebooks as they ship: stubs, hints and checks
    build/course/solution/   the same, solved, with the answers to the questions that no check answers
    build/course/nbgrader/   a sheet of exercises a paper, with solutions, for courses that hand out and collect by nbgrader

Tasks, stubs and checks are those of `sdkit.exercises`, solutions those of the files beside this one, answers those of
docs/answers.md, all else is the notebooks'.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

import nbformat  # noqa: E402
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook  # noqa: E402

from sdkit.exercises import EXERCISES  # noqa: E402
from sdkit.exercises.exercise import Exercise  # noqa: E402

PAPERS = {"byot": "01_byot", "ddgsd": "02_ddgsd", "self_guidance": "03_self_guidance", "drg_dsr": "04_drg_dsr", "sfr": "05_sfr"}
IMPORTS = "import torch\nimport torch.nn.functional as F\n\nimport sdkit\nfrom sdkit import models"
UNWRITTEN = "    raise NotImplementedError"
CONFIG = """c = get_config()
c.CourseDirectory.course_id = "self-distillation"
c.ExecutePreprocessor.timeout = 60  # seconds that a cell of a student may take
"""


def main(out: Path = ROOT / "build" / "course") -> int:
    """Writes the versions into a folder, anew; returns 0."""
    shutil.rmtree(out, ignore_errors=True)
    for paper, name in PAPERS.items():
        source = ROOT / "notebooks" / f"{name}.ipynb"
        shutil.copy(source, made(out / "student") / source.name)
        nbformat.write(solved_notebook(nbformat.read(source, as_version=4), paper), made(out / "solution") / source.name)
        nbformat.write(sheet(paper), made(out / "nbgrader" / "source" / name) / source.name)
    (out / "nbgrader" / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
    print(f"sdkit: student, solution and nbgrader versions of {len(PAPERS)} labs in {out}")
    return 0


def made(folder: Path) -> Path:
    """A folder that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def own(paper: str) -> list[Exercise]:
    """The exercises of a paper, in order."""
    return [e for name, e in EXERCISES.items() if name.startswith(f"{paper}.")]


def body(exercise: Exercise) -> str:
    """The lines with which a student completes a stub."""
    source = (HERE / f"{exercise.name.partition('.')[0]}.py").read_text(encoding="utf-8")
    (found,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == exercise.function]
    return "\n".join(source.splitlines()[found.body[0].lineno - 1 : found.end_lineno])


def solved(exercise: Exercise) -> str:
    """The cell of an exercise as it should be: a function, a class with its change, or a reading computed."""
    if exercise.reads:
        return f'{exercise.function} = float(sdkit.exercises.EXERCISES["{exercise.name}"].solution({exercise.evidence}))'
    if exercise.cell:
        space: dict[str, Any] = {}
        paper = (HERE / f"{exercise.name.partition('.')[0]}.py").read_text(encoding="utf-8")
        exec(paper, space)
        old, new = space["CHANGES"][exercise.function]
        assert exercise.cell.count(old) == 1, f"{exercise.name}: {old!r} is not what its cell says"
        return exercise.cell.replace(old, new)
    return exercise.stub.replace(UNWRITTEN, body(exercise))


def answers(notebook: str) -> str:
    """What docs/answers.md says to a notebook's open questions."""
    text = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
    return text.partition(f"\n## `{notebook}`\n")[2].partition("\n## ")[0].strip()


def solved_notebook(notebook: Any, paper: str) -> Any:
    """A notebook with every exercise solved, and the answers before its last section."""
    whole = {e.cell or e.stub: e for e in own(paper)}
    for cell in notebook.cells:
        exercise = whole.get(cell.source)
        if exercise and not exercise.cell:
            cell.source = solved(exercise)
        for mine in (e for e in whole.values() if e.cell and cell.source == e.checks):
            cell.source = f"{solved(mine)}\n\n\n{mine.checks}"
    last = next(i for i, c in enumerate(notebook.cells) if c.source.startswith("### All claims of this paper"))
    said = f"### Answers to the questions without a check\n\n{answers(PAPERS[paper])}"
    notebook.cells.insert(last, new_markdown_cell(said, id="answers"))
    return notebook


def sheet(paper: str) -> Any:
    """The exercises of a paper alone, with nbgrader's marks; it runs in seconds. Readings need a student's runs: not here."""
    cells = [
        marked(
            new_markdown_cell(f"# Exercises of `{PAPERS[paper]}`\n\nComplete each cell; the one below it checks it."), "title"
        ),
        marked(new_code_cell(IMPORTS), "imports"),
    ]
    for number, exercise in enumerate((e for e in own(paper) if not e.reads), 1):
        name = re.sub(r"\W", "-", exercise.name)
        hint = f"<details><summary>Hint</summary>{exercise.hint}</details>"
        told = f"**{number}. `{exercise.function}`.** {exercise.task}\n\n{hint}"
        cells.append(marked(new_markdown_cell(told), f"{name}-task"))
        if exercise.cell:  # the whole class is the student's to change
            cells.append(new_code_cell(exercise.cell, id=name))
        else:
            solution = f"    ### BEGIN SOLUTION\n{body(exercise)}\n    ### END SOLUTION"
            cells.append(marked(new_code_cell(exercise.stub.replace(UNWRITTEN, solution)), name, solution=True))
        checks = f"answer = {exercise.checks}\nassert answer, answer"
        cells.append(marked(new_code_cell(checks), f"{name}-check", points=1))
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new_notebook(cells=cells, metadata=about)


def marked(cell: Any, name: str, solution: bool = False, points: int = 0) -> Any:
    """A cell that nbgrader knows: a solution to be cleared, a check that gives points, or text that stays."""
    about = {"grade_id": name, "schema_version": 3, "solution": solution, "grade": points > 0, "task": False}
    cell.metadata.nbgrader = about | {"locked": not solution} | ({"points": points} if points else {})
    cell.id = re.sub(r"[^\w-]", "-", name)[:64]
    return cell


if __name__ == "__main__":
    sys.exit(main())
