"""The course: every solution is right, versions are built of one source, and what ships shows no solution."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F

import sdkit
from sdkit import models
from sdkit.exercises import EXERCISES
from sdkit.exercises.judging import judge

ROOT = Path(__file__).parents[2]
WRITTEN = [e for e in EXERCISES.values() if not e.reads]


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"course_{name}", ROOT / "course" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


course = load("build")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("course")
    assert course.main(out) == 0
    return out


def cells(path: Path, kind: str = "code") -> list[str]:
    return ["".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]


@pytest.mark.parametrize("paper", course.PAPERS)
def test_every_solved_cell_is_right(paper):
    """In the order of the notebook: an exercise may call the ones before it."""
    space = {"sdkit": sdkit, "torch": torch, "F": F, "models": models}
    for exercise in (e for e in WRITTEN if e.name.startswith(f"{paper}.")):
        source = course.solved(exercise)
        exec(source, space)
        answer = judge(exercise, space[exercise.function])
        assert answer, f"{source}\n{answer}"


def test_the_student_s_version_is_what_ships_and_shows_no_solution(built):
    for name in course.PAPERS.values():
        shipped = ROOT / "notebooks" / f"{name}.ipynb"
        assert (built / "student" / shipped.name).read_bytes() == shipped.read_bytes()
    student = "\n".join(s for p in (built / "student").glob("*") for kind in ("code", "markdown") for s in cells(p, kind))
    for exercise in WRITTEN:
        if not exercise.cell:
            lines = [line.strip() for line in course.body(exercise).splitlines()]
            assert not all(f"\n    {line}\n" in student for line in lines), exercise.name
    assert "BEGIN SOLUTION" not in student
    for name in course.PAPERS.values():
        answered = [line for line in course.answers(name).splitlines() if re.match(r"> \S.{30}", line)]
        assert answered and not [line for line in answered if line[2:] in student]


def test_the_solved_notebook_differs_in_the_exercises_and_the_answers_alone(built):
    for paper, name in course.PAPERS.items():
        before, after = (
            nbformat.read(p / f"{name}.ipynb", as_version=4).cells for p in (built / "student", built / "solution")
        )
        extra = [c for c in after if c.id == "answers"]
        after = [c for c in after if c.id != "answers"]
        assert len(extra) == 1 and extra[0].source.count("**") >= 6 and len(before) == len(after)
        assert sum(a.source != b.source for a, b in zip(before, after, strict=True)) == len(course.own(paper))
        assert not any("raise NotImplementedError" in c.source for c in after)


def test_the_sheets_are_nbgrader_s_and_give_a_point_an_exercise(built):
    for paper, name in course.PAPERS.items():
        sheet = nbformat.read(built / "nbgrader" / "source" / name / f"{name}.ipynb", as_version=4)
        nbformat.validate(sheet)
        about = [c.metadata.nbgrader for c in sheet.cells if "nbgrader" in c.metadata]
        assert len({a.grade_id for a in about}) == len(about) and {a.schema_version for a in about} == {3}
        assert sum(a.get("points", 0) for a in about) == sum(not e.reads for e in course.own(paper))
        for cell in sheet.cells:
            if "### BEGIN SOLUTION" in cell.source:
                assert cell.metadata.nbgrader.solution and cell.source.rstrip().endswith("### END SOLUTION")


def test_an_answer_that_is_wrong_fails_its_cell_with_its_sentence(built):
    space: dict = {}
    exec(course.IMPORTS, space)
    space["ranked"] = lambda logits: logits.sort(1, descending=True).values
    sheet = cells(built / "nbgrader" / "source" / "04_drg_dsr" / "04_drg_dsr.ipynb")
    check = next(s for s in sheet if 'check("drg_dsr.ranked"' in s)
    with pytest.raises(AssertionError, match="This descends"):
        exec(check, space)


# the guide


GUIDE = ROOT / "docs" / "course"


@pytest.mark.parametrize("paper", course.PAPERS)
def test_a_plan_names_sections_and_exercises_that_are_there(paper):
    spec = importlib.util.spec_from_file_location("lesson", ROOT / "benchmarks" / "lesson.py")
    lesson = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lesson)
    page = (GUIDE / f"{paper}.md").read_text(encoding="utf-8")
    notebook = nbformat.read(ROOT / "notebooks" / f"{course.PAPERS[paper]}.ipynb", as_version=4)
    there = {name for name, _ in lesson.sectioned(notebook)}
    short, long = (page.partition(f"## {title}")[2].partition("\n## ")[0] for title in ("90 minutes", "Three hours"))
    named = lesson.planned(short) | lesson.planned(long)
    assert len(named) > 8 and {n for n in named if not any(t.startswith(n) for t in there)} == set()
    exercises = set(re.findall(rf"`({paper}\.\w+)`", page))
    assert exercises - {*EXERCISES} == set() and len(exercises) >= 6


@pytest.mark.parametrize("paper", course.PAPERS)
def test_a_plan_s_minutes_follow_each_other_to_its_end(paper):
    page = (GUIDE / f"{paper}.md").read_text(encoding="utf-8")
    short = re.findall(r"^\| (\d+)-(\d+) \|", page.partition("## 90 minutes")[2].partition("## Three")[0], re.M)
    long = re.findall(r"^\| (\d+)-(\d+) \|", page.partition("## Three hours")[2], re.M)
    for rows, begin, end in ((short, 0, 90), (long, 95, 180)):
        assert (int(rows[0][0]), int(rows[-1][1])) == (begin, end)
        assert all(a[1] == b[0] for a, b in zip(rows, rows[1:], strict=False))


def test_the_exam_has_five_questions_a_paper_each_with_an_answer():
    for part in (GUIDE / "exam.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        questions, answers = re.findall(r"^\*\*\d\.\*\*", part, re.M), re.findall(r"^> .*\n(?!>)", part, re.M)
        assert len(questions) == len(answers) == 5, part[:20]


def test_badges_are_written_and_written_again(tmp_path):
    spec = importlib.util.spec_from_file_location("badges", ROOT / "docs" / "badges.py")
    badges = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(badges)
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/anywhere.md"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    badges.main("ann/lab", tmp_path)
    badges.main("ben/course", tmp_path)
    readme, anywhere = ((tmp_path / n).read_text(encoding="utf-8") for n in ("README.md", "docs/anywhere.md"))
    assert readme.count("[![") == 3 and readme.count("ben/course") == 3 and "ann" not in readme.splitlines()[2]
    assert anywhere.count("ben/course") == 4 and "ann/lab" not in anywhere and "docs/badges.py OWNER/NAME" in anywhere
    with pytest.raises(SystemExit, match="say OWNER/NAME"):
        badges.main("https://github.com/ann", tmp_path)
