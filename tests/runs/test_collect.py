"""A class's runs in one place: every row has its student, what is hostile or damaged says so, and nothing of it runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from written import SMALL, drg, write

from sdkit import cli, runs
from sdkit.experiment import Experiment
from sdkit.runs.collect import students
from sdkit.widgets.explorer import Explorer


@pytest.fixture
def homes(tmp_path, monkeypatch) -> Path:
    """Ann has a sweep of two, Ben the same run and one of his own; the home is the class's."""
    for student, experiments in {"ann": [drg(0.1), drg(0.6)], "ben": [drg(0.1), Experiment("vanilla", **SMALL)]}.items():
        monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "home" / student / "sdkit"))
        for experiment in experiments:
            write(experiment)
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path / "class"))
    return tmp_path / "home"


def folders(homes: Path) -> list[Path]:
    return sorted(homes.glob("*/sdkit"))


def of(found: list, student: str):
    return next(f for f in found if f.student == student)


def test_a_class_s_runs_stand_in_one_table_each_with_its_student(homes, capsys):
    cli.main(["collect", *map(str, folders(homes)), "--into", str(homes.parent / "class")])
    assert "ann: 2 new, 0 there already, 0 refused" in capsys.readouterr().out
    rows = runs.records()
    assert sorted((r["student"], r["method"]) for r in rows) == [
        ("ann", "drg"),
        ("ann", "drg"),
        ("ben", "drg"),
        ("ben", "vanilla"),
    ]
    assert not any(r.wrong for r in rows) and rows[0]["accuracy.final"] > 0.5
    cli.main(["list", "runs"])
    listed = [line for line in capsys.readouterr().out.splitlines() if "drg" in line]
    assert sum("ann · drg" in line for line in listed) == 2 and sum("ben · drg" in line for line in listed) == 1
    cli.main(["show", f"{drg(0.1).key}@ben"])
    assert "repeat it by  Experiment(method='drg'" in (out := capsys.readouterr().out) and "@ben" in out


def test_the_explorer_filters_and_colours_by_student(homes):
    runs.collect(folders(homes), homes.parent / "class")
    panel = Explorer(colour="student")
    assert {*panel.points.colour} == {"ann", "ben"} and "ann" in panel.list.options[-1][0] + panel.list.options[0][0]
    panel.filters["student"].value = "ben"
    assert {r["method"] for r in panel.shown} == {"drg", "vanilla"} and len(panel.shown) == 2
    assert Explorer(homes / "ann" / "sdkit" / "runs").filters["student"].layout.display == "none", "nobody's name, no such box"


def test_collecting_again_takes_what_is_new_and_keeps_what_was_deleted(homes, monkeypatch):
    runs.collect(folders(homes), homes.parent / "class")
    monkeypatch.setenv("SDKIT_HOME", str(homes / "ann" / "sdkit"))
    drg(0.1).stored.delete()
    write(drg(0.9))
    found = of(runs.collect(folders(homes), homes.parent / "class"), "ann")
    assert (found.new, found.same, found.refused) == (1, 1, [])
    assert sum(r["student"] == "ann" for r in runs.records(homes.parent / "class" / "runs")) == 3


def test_a_student_who_comes_late_or_again_alone_has_the_name_that_she_has_among_the_others(homes):
    place = homes.parent / "class"
    work = {}
    for name in ("ann", "ben"):
        work[name] = (homes / name / "sdkit").rename(homes / name / "work")
    assert [f.student for f in runs.collect([work["ann"], work["ben"]], place)] == ["ann", "ben"]
    (again,) = runs.collect([work["ann"] / "runs"], place)
    assert (again.student, again.new, again.same) == ("ann", 0, 2)
    (late,) = runs.collect([work["ben"].parent.rename(homes / "cid") / "work"], place)
    assert (late.student, late.new) == ("cid", 2)


class Runs:
    """What a pickle runs when it is read."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def pickled(folder: Path) -> None:
    (folder / "checkpoint.pt").write_bytes(pickle.dumps(Runs()))
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Runs()))


def linked(folder: Path) -> None:
    (folder.parents[3] / "secret").write_text("xyzzy")
    (folder / "weights.safetensors").unlink()
    (folder / "weights.safetensors").symlink_to(folder.parents[3] / "secret")


def piped(folder: Path) -> None:
    (folder / "experiment.json").unlink()
    os.mkfifo(folder / "experiment.json")


def flipped(folder: Path) -> None:
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


def escaping(folder: Path) -> None:
    """A setting that would write over the teacher's terminal."""
    said = runs.read_json(folder / "experiment.json")
    said["config"]["data"] = "\x1b[2Jdigits"
    runs.write_json(folder / "experiment.json", said)
    (folder / "history.json").unlink()


def huge(folder: Path) -> None:
    with open(folder / "weights.safetensors", "r+b") as file:
        file.truncate(2**31)  # without a block on the disk


def named(folder: Path) -> None:
    folder.rename(folder.with_name("<script>alert(1)"))


HOSTILE = {
    pickled: "damaged (its SHA-256",
    linked: "is a link: nothing behind it is read",
    piped: "is no file",
    flipped: "damaged (its SHA-256",
    escaping: "cannot be printed",
    huge: "is larger than a run may be",
    named: "is not called as a run is",
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links are POSIX's")
@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda f: f.__name__)
def test_a_hostile_or_damaged_folder_is_a_row_that_says_so_and_nothing_of_it_runs(homes, spoil, capsys, monkeypatch):
    monkeypatch.chdir(homes.parent)
    spoil(homes / "ben" / "sdkit" / "runs" / drg(0.1).key)
    found = runs.collect(folders(homes), homes.parent / "class")
    assert len(of(found, "ben").refused) == 1 and HOSTILE[spoil] in of(found, "ben").refused[0]
    (bad,) = [r for r in runs.records() if r.wrong]
    assert bad.status == "damaged" and bad.run.key.endswith("@ben") and HOSTILE[spoil] in bad.wrong
    assert len(runs.records()) == 4, "one bad folder hides no other"
    cli.main(["list", "runs"])
    out = capsys.readouterr().out
    assert HOSTILE[spoil] in out and "@ben" in out and "\x1b" not in out
    taken = [p.name for p in (homes.parent / "class").rglob("*") if p.is_file()]
    assert not (homes.parent / "ran").exists() and "checkpoint.pt" not in taken
    assert "xyzzy" not in "".join(p.read_text(errors="replace") for p in (homes.parent / "class").rglob("*") if p.is_file())
    panel = Explorer()
    panel.list.value = bad.run.key
    assert "<script>" not in panel.says.value and panel.chosen.status == "damaged"


def test_what_was_whole_when_it_was_collected_is_kept(homes):
    runs.collect(folders(homes), homes.parent / "class")
    flipped(homes / "ben" / "sdkit" / "runs" / drg(0.1).key)
    (homes / "ben" / "sdkit" / "runs" / drg(0.1).key / "history.json").write_text("{")
    assert of(runs.collect(folders(homes), homes.parent / "class"), "ben").refused
    assert not any(r.wrong for r in runs.records())


def test_a_name_is_where_the_paths_differ(homes, tmp_path):
    def named(*paths):
        return [*students([tmp_path / p for p in paths])]

    assert named("a/ann/sdkit/runs", "a/ben/sdkit/runs") == ["ann", "ben"]
    assert named("ann", "ben") == ["ann", "ben"] and named("ann/sdkit") == ["ann"]
    assert named("a/work of ann/x", "a/Zoë/x") == ["work_of_ann", "Zoë"]
    with pytest.raises(ValueError, match="give each student's folder a name of its own"):
        named("1/ann", "2/ann", "3/ben")


@pytest.mark.parametrize(
    "folders_, into, sentence",
    [((), "class", "say whose runs"), (("home/ann/sdkit",), "home/ann/sdkit/all", "lie in each other")],
)
def test_what_cannot_be_collected_is_one_sentence(homes, folders_, into, sentence):
    with pytest.raises(SystemExit, match=sentence):
        cli.main(["collect", *(str(homes.parent / f) for f in folders_), "--into", str(homes.parent / into)])


def test_a_folder_that_is_not_there_is_said_and_the_others_are_collected(homes):
    found = runs.collect([*folders(homes), homes / "cid" / "sdkit"], homes.parent / "class")
    assert "cannot be read" in of(found, "cid").wrong and of(found, "ann").new == 2
