"""`sdkit show`, `sdkit note`, `sdkit rm`, `sdkit collect`, and the lines in which `sdkit list` tells recorded runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tyro

from .. import runs

SHOWN = ("student", "method", "model", "data", "seed", "recipe")
"""What a line always says; of the rest, what tells it from the other runs of its method."""

LATEST = 20
"""Runs that a list shows where it is not asked for all."""


def show(run: tyro.conf.Positional[str]) -> None:
    """Print a recorded run: the line of code that repeats it, where it was trained, and what each epoch left.

    Args:
        run: the first digits of the run's key.
    """
    summary(runs.find(run), whole=True)


def note(run: tyro.conf.Positional[str], words: tyro.conf.Positional[tuple[str, ...]] = ()) -> None:
    """Give a recorded run a name or a note, which `sdkit list runs` and the explorer show.

    Args:
        run: the first digits of the run's key.
        words: the note; without any, it is taken away.
    """
    found = runs.find(run)
    found.write_note(" ".join(words))
    print(f"run {found.key}: {found.note or 'no note'}")


def remove(keys: tyro.conf.Positional[tuple[str, ...]], yes: bool = False) -> None:
    """Delete recorded runs, after a question. Their experiments can be trained again.

    Args:
        keys: the first digits of each run's key.
        yes: delete without a question.

    Raises:
        ValueError: no run is named.
        Busy: one is being trained.
    """
    if not keys:
        raise ValueError("say which runs, by the first digits of their keys: `sdkit list runs` names them")
    found = {run.key: run for run in map(runs.find, keys)}
    for run in found.values():
        if run.is_busy():
            raise runs.Busy(f"run {run.key} is being trained: stop that training first, then delete it")
    rows = [row for row in runs.records() if row.run.key in found]
    for line in lines_of(rows):
        print(line)
    if not (yes or _agreed(f"delete {len(found)} run{'s' if len(found) > 1 else ''}? [y/N] ")):
        print("nothing is deleted")
        return
    for run in found.values():
        run.delete()
    print(f"deleted {len(found)}")


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to ask
        print()
        return False


def collect(folders: tyro.conf.Positional[tuple[Path, ...]], into: Path) -> None:
    """Bring a class's runs into one folder, where the lists and the explorer show them with each student's name.

    Nothing of a student's folder is executed. A run that is damaged, or that sdkit did not write, becomes a row that says so.

    Args:
        folders: one for each student: what was the SDKIT_HOME, or its runs folder.
        into: where to; called again, it takes what is new.

    Raises:
        ValueError: no folder, two that cannot be told apart, or no run in any.
    """
    collected = runs.collect(folders, into)
    for found in collected:
        said = f"{found.new} new, {found.same} there already, {len(found.refused)} refused"
        print(f"{found.student}: {found.wrong or said}", *found.refused, sep="\n    ")
    if all(found.wrong for found in collected):
        raise ValueError("nothing is collected: give each student's SDKIT_HOME, the folder that holds runs/")
    place = shlex.quote(str(into))
    print(f"look at them: `SDKIT_HOME={place} sdkit list runs`, or in a notebook widgets.Explorer({str(into / 'runs')!r})")


def lines_of(rows: Iterable[runs.RunRow]) -> list[str]:
    """A line a run: its state, its setting, what of it differs among the runs of its method, and its accuracy."""
    rows = list(rows)
    apart = sorted(runs.varied([r for r in rows if not r.wrong]) - {*SHOWN})
    return [f"  {row.run.key}  {_line(row, apart)}" for row in rows]


def _line(row: runs.RunRow, apart: Iterable[str]) -> str:
    if row.wrong:
        return f"{row.status:<9} {row.wrong}"
    accuracy = f"{row['accuracy.final']:.1%}" if row["accuracy.final"] is not None else "no epoch yet"
    whose = [row["student"]] if row["student"] else []
    parts = [*whose, row["method"], row["model"], row["data"], f"seed {row['seed']:g}", row["recipe"]]
    parts += [f"{name.rpartition('.')[2]} {_whole(row[name])}" for name in apart if row[name] is not None]
    said = [*map(str, parts), accuracy, *([f"“{row.note}”"] if row.note else [])]
    return f"{row.status:<9} {' · '.join(said)}"


def _whole(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def summary(run: runs.Run, whole: bool = False) -> None:
    """Prints the last epoch, and with `whole` all of them and what was asked."""
    from ..experiment import repeated

    history = run.history()
    if whole:
        print(f"run {run.key}, {run.status}, in {run.folder}")
        if run.note:
            print(f"“{run.note}”")
        try:
            print(f"repeat it by  {repeated(run)}.run()")
        except (TypeError, ValueError, KeyError) as error:  # with parts of a user's own, which only her code knows
            print(f"it has parts that are not here ({error.args[0] if error.args else error}); what was asked:")
            for name, value in run.config.items():
                print(f"  {name:<20} {value}")
        for name, value in run.environment.items():
            print(f"  {name:<20} {_whole(value)}")
        if history:
            exits = "   ".join(f"{n:>8}" for n in history[0].accuracy)
            print(f"  epoch   lr      train   {exits}    loss terms")
        for e in history:
            terms = "  ".join(f"{k} {v:.3f}" for k, v in e.terms.items())
            exits = "   ".join(f"{a:8.1%}" for a in e.accuracy.values())
            print(f"  {e.epoch + 1:5d}   {e.lr:.4f}  {e.train_accuracy:.1%}   {exits}    {terms}")
            for t in e.changes:
                print(f"          step {t['step']}: {t['knob']} turned from {t['before']:g} to {t['after']:g}")
    if history:
        last, best = history[-1], max(history, key=lambda e: e.accuracy["final"])
        images = "the whole test set" if last.test else "the watched test images"
        print(
            f"test accuracy: {(last.test or last.accuracy)['final']:.2%} after the last epoch, on {images}; "
            f"{best.accuracy['final']:.2%} at the best epoch ({best.epoch + 1}), on the watched images that chose it; "
            f"{runs.training_seconds(e.seconds for e in history):.0f} s of training"
        )
