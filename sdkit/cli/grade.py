"""`sdkit grade`: a folder of students' notebooks, graded."""

from __future__ import annotations

import csv
from pathlib import Path

import tyro


def grade(folder: tyro.conf.Positional[Path], out: Path | None = None, seconds: float = 10.0, megabytes: int = 2000) -> None:
    """Check the exercises in every notebook of a folder: a table for the class, a page for each student.

    Every notebook's functions and classes are called in a process of its own; its other cells do not run.

    Args:
        folder: holds a notebook for each student, or a folder for each.
        out: where grades.csv and the pages go; by default grades/ in that folder.
        seconds: that an exercise may take.
        megabytes: that it may need, beyond what PyTorch does.

    Raises:
        FileNotFoundError: no such folder, or no notebook in it.
        ValueError: no time or no memory at all.
    """
    from ..exercises import EXERCISES
    from ..exercises.grading import asked, page
    from ..exercises.grading import grade as graded

    if seconds <= 0 or megabytes <= 0:
        raise ValueError(f"an exercise needs some seconds and megabytes, got {seconds:g} and {megabytes}: say --seconds 10")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the one that holds the students' .ipynb files")
    out = out or folder / "grades"
    found = [p for p in sorted(folder.rglob("*")) if p.suffix in (".ipynb", ".py") and ".ipynb_checkpoints" not in p.parts]
    if not found:
        raise FileNotFoundError(f"no notebook in {folder}: give the folder that holds the students' .ipynb files")
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for path in found:
        student = " ".join(path.relative_to(folder).with_suffix("").parts)
        try:
            grades = graded(path, EXERCISES, seconds, megabytes) if asked(path, EXERCISES) else []
        except ValueError as error:
            print(f"{student}: {error}")
            rows.append({"student": student, "right": 0, "of": 0})
            continue
        right = sum(g.word == "right" for g in grades)
        rows.append({"student": student, "right": right, "of": len(grades)} | {g.exercise: g.word for g in grades})
        (out / f"{student.replace(' ', '_')}.html").write_text(page(student, grades), encoding="utf-8")
        print(f"{student}: {right} of {len(grades)} right")
    columns = list(dict.fromkeys(["student", "right", "of", *(name for row in rows for name in row)]))
    with (out / "grades.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, restval="")
        table.writeheader()
        table.writerows(rows)
    print(f"{out / 'grades.csv'}, and a page for each student beside it")
