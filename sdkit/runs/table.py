"""Many runs as the rows of a table."""

from __future__ import annotations

import json
import math
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..train import Epoch, Recipe, recipe_name
from .files import Damaged
from .folder import Run, key_of, root
from .recorder import read_history


# runs as a table
@dataclass(frozen=True, eq=False)
class RunRow:
    """One run as the row of a table. `settings` and `measured` share no column; what a run has not is missing."""

    run: Run
    status: str  # "new", "training", "done", "diverged" or "damaged"
    settings: dict[str, Any]  # "method", "model", "data", "recipe", "seed", "knobs.alpha", "recipe.lr", "network.width", ...
    measured: dict[str, float]  # "accuracy.final", "best.final", "validation.final", "loss", "seconds", "parameters", ...
    wrong: str = ""  # of a damaged run: what is wrong, and the mend
    note: str = ""  # what a person wrote of it

    def __getitem__(self, column: str) -> Any:
        """The value in a column, None where the run has none."""
        return self.settings.get(column, self.measured.get(column))


BETWEEN = "@"
"""Stands between a run's key and whose it is, in the name of a folder of a class's runs."""

READ: dict[Path, tuple[tuple[int, ...], RunRow]] = {}
"""What `records` has read, under the times and sizes of the files it was read from."""


def records(where: Path | None = None) -> list[RunRow]:
    """Every run in a folder as a row, the newest last; where None, of `root()`. Only files that changed are read again."""
    where = Path(where) if where else root()
    found = []
    for folder in where.iterdir() if where.is_dir() else ():
        stamps = [_stamp(folder / name) for name in ("experiment.json", "history.json", "weights.safetensors", "note.txt")]
        if any(stamps[0]):
            stamp = tuple(n for pair in stamps for n in pair)
            if folder not in READ or READ[folder][0] != stamp:
                READ[folder] = stamp, replace(row_of(Run(folder)), note=Run(folder).note)
            found.append((stamp[0], READ[folder][1]))
    return [record for _, record in sorted(found, key=lambda pair: (pair[0], pair[1].run.key))]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:  # absent, or replaced just now
        return 0, 0
    return about.st_mtime_ns, about.st_size


def row_of(run: Run) -> RunRow:
    """A run as a row. Whatever is wrong with it becomes the row's last word: one bad folder hides no other."""
    try:
        config, kept = run.config, read_history(run.folder)
        history = run.history()
        settings = settings_of(config) | {"steered": any(e.changes for e in history)}
        if BETWEEN in run.key:
            settings["student"] = run.key.partition(BETWEEN)[2]
        return RunRow(run, kept["status"], settings, measured_in(kept["epochs"]) | _weighed(run.folder / "weights.safetensors"))
    except Damaged as error:
        return RunRow(run, "damaged", {}, {}, str(error))
    except Exception as error:
        return RunRow(run, "damaged", {}, {}, _odd(run, f"{type(error).__name__}: {error}"))


def _odd(run: Run, said: str) -> str:
    """Why a run whose files are whole cannot be read, and the mend."""
    from .. import __version__

    try:
        other = run.environment.get("sdkit")
    except Damaged as error:
        return str(error)
    if other != __version__:
        return f"{run.folder} was recorded by sdkit {other}, which can read it; this one, {__version__}, cannot ({said})"
    return f"{run.folder} does not hold what sdkit writes ({said}): delete the folder and run the experiment again"


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """What was asked in one level. The recipe stands by its name beside its numbers, a teacher by its network and key."""
    teacher, recipe = config.get("teacher"), config["recipe"]
    out = {name: config[name] for name in ("method", "model", "data")}
    out["recipe"] = recipe_name(Recipe(**recipe))
    out["seed"] = config["seed"]
    out["teacher"] = f"{teacher['model']} {key_of(teacher)}" if teacher else None
    for part, values in (
        ("knobs", config["knobs"]),
        ("recipe", recipe),
        ("network", config["network"]),
        ("dataset", config["dataset"]),
    ):
        out |= {f"{part}.{name}": tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    rest = {k: v for k, v in config.items() if k not in {"format", "knobs", "network", "dataset", *out}}
    return out | {k: json.dumps(v, ensure_ascii=False) for k, v in rest.items()}


def training_seconds(epochs: Iterable[float]) -> float:
    """How long a training took, evaluation left out: the median epoch's seconds, times the epochs.

    Not their sum, which counts time in which the process was stopped, or shared its cores: an epoch cannot tell that from work.

    Args:
        epochs: the seconds of each.

    Returns:
        Seconds; 0 where there is no epoch.
    """
    each = [*epochs]
    return statistics.median(each) * len(each) if each else 0.0


def measured_in(epochs: list[dict[str, Any]]) -> dict[str, float]:
    """What the epochs left: the last one's numbers, the best accuracy (chosen on the test set), `training_seconds` of all."""
    if not epochs:
        return {}
    last = epochs[-1]
    whole = last["test"] or last["accuracy"]  # of a run that is not done: on the watched images
    out: dict[str, float | None] = {f"accuracy.{name}": v for name, v in whole.items()}
    best = [e["accuracy"].get("final") for e in epochs]
    out["best.final"] = max((v for v in best if v is not None), default=None)
    out |= {f"validation.{name}": v for name, v in last["validation"].items()}
    out |= {"train_accuracy": last["train_accuracy"], "loss": last["test_loss"] if last["test"] else last["loss"]}
    out |= {f"terms.{name}": v for name, v in last["terms"].items()}
    seconds = training_seconds(e["seconds"] for e in epochs)
    out |= {"seconds": seconds, "seconds per epoch": seconds / len(epochs), "epochs": float(len(epochs))}
    return {name: v for name, v in out.items() if v is not None}


def _weighed(path: Path) -> dict[str, float]:
    """The parameters of the network and of the method's own parts, counted in the header of the weights file."""
    if not os.path.lexists(path):
        return {}
    if not path.is_file():
        raise ValueError(f"{path.name} is no file")
    with open(path, "rb") as f:
        length = int.from_bytes(f.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"{path.name} is cut")
        header = json.loads(f.read(length))
    counts = {"model": 0, "method": 0}
    for name, tensor in header.items():
        part, _, rest = name.partition(".")
        if part in counts and not rest.endswith(("running_mean", "running_var", "num_batches_tracked")):
            counts[part] += math.prod(tensor["shape"])
    return {"parameters": float(counts["model"]), "scaffolding": float(counts["method"])}


def columns(table: Iterable[RunRow]) -> list[str]:
    """Every column in which some run has a value: settings first."""
    table = list(table)
    settings = dict.fromkeys(name for r in table for name, v in r.settings.items() if v is not None)
    return list(settings | dict.fromkeys(name for r in table for name in r.measured))


def select(table: Iterable[RunRow], complete: bool = False, **settings: Any) -> list[RunRow]:
    """The runs with these settings, such as method="drg"; complete: of those that ended well alone."""
    return [
        r for r in table if (r.status == "done" or not complete) and all(r.settings.get(k) == v for k, v in settings.items())
    ]


def varied(table: Iterable[RunRow], start: str = "") -> set[str]:
    """The settings that begin with `start` and differ between runs of one method."""
    seen: dict[str, set[tuple[str, str]]] = {}
    for r in table:
        for name, value in r.settings.items():
            if name.startswith(start):
                seen.setdefault(name, set()).add((r["method"], repr(value)))  # a dict, too
    return {n for n, pairs in seen.items() if len(pairs) > len({method for method, _ in pairs})}


class Points(NamedTuple):
    """Runs as points of a plane. A value is a number or a name; y is NaN where a run diverged before it had one."""

    keys: list[str]
    x: list[Any]
    y: list[Any]
    colour: list[Any]  # None where the run has no value
    status: list[str]
    columns: tuple[str, str, str]  # of x, y and colour; colour may be ""
    means: list[tuple[list[Any], list[float], Any]]  # x, the mean of y over the seeds, colour: of runs alike in all the rest

    def in_order(self) -> list[str]:
        """The keys from left to right, names by the alphabet; at one x from low to high, diverged ones last."""
        rows = zip(self.keys, self.x, self.y, strict=True)
        return [key for key, *_ in sorted(rows, key=lambda row: (_rank(row[1]), _rank(row[2]), row[0]))]


def points(table: Iterable[RunRow], x: str, y: str, colour: str = "") -> Points:
    """The runs that have both columns, and the diverged ones that have x."""
    kept = [r for r in table if r[x] is not None and (r[y] is not None or r.status == "diverged")]
    values = [[_plain(r[name]) if name else None for r in kept] for name in (x, y, colour)]
    values[1] = [math.nan if v is None else v for v in values[1]]
    return Points([r.run.key for r in kept], *values, [r.status for r in kept], (x, y, colour), _means(kept, x, y, colour))


def _means(table: Sequence[RunRow], x: str, y: str, colour: str) -> list[tuple[list[Any], list[float], Any]]:
    """Done runs that differ only in the seed and, where x is a number, in x: the mean of y over the seeds at every x."""
    if x == "seed" or any(x not in r.settings for r in table) or any(isinstance(_plain(r[y]), str) for r in table):
        return []
    number = all(not isinstance(_plain(r[x]), str) for r in table)
    free = {"seed", x, *(["recipe"] if x.startswith("recipe.") else [])} if number else {"seed"}
    alike: dict[tuple, dict[Any, list[RunRow]]] = {}
    for r in table:
        if r.status == "done":
            rest = tuple(sorted((k, repr(v)) for k, v in r.settings.items() if k not in free))
            alike.setdefault(rest, {}).setdefault(_plain(r[x]), []).append(r)
    out = []
    for group in alike.values():
        if len(group) > 1 or any(len(runs) > 1 for runs in group.values()):
            at = sorted(group)
            means = [sum(r[y] for r in group[v]) / len(group[v]) for v in at]
            shown = {_plain(r[colour]) for runs in group.values() for r in runs} if colour else {None}
            out.append((at, means, shown.pop() if len(shown) == 1 else None))
    return out


def _plain(value: Any) -> Any:
    """A value for an axis: a number, a name or None."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value) or "none"
    return value


SWEPT = ("knobs.", "seed")


def swept(table: Iterable[RunRow], around: RunRow) -> tuple[list[RunRow], dict[str, list[Any]]]:
    """The recorded sweep that a run belongs to -> its runs, and the values that were run of every knob that varies in it.

    A sweep is what differs from `around` in knobs and in the seed alone.
    """

    def rest(r: RunRow) -> dict[str, Any]:
        return {k: v for k, v in r.settings.items() if not k.startswith(SWEPT)}

    family = [r for r in table if r.settings and rest(r) == rest(around)]
    values = {
        name: {r.settings.get(name) for r in family} for start in SWEPT for name in around.settings if name.startswith(start)
    }
    return family, {name: _in_order(v) for name, v in values.items() if len(v) > 1}


def _in_order(values: Iterable[Any]) -> list[Any]:
    """Numbers by size, then names, then None."""
    return sorted(values, key=_rank)


def _rank(value: Any) -> tuple[int, float, str]:
    if value is None or value != value:
        return 2, 0.0, ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, value, "") if number else (1, 0.0, str(value))


def epoch_table(history: Iterable[Epoch]) -> dict[str, list[Any]]:
    """What every epoch left, as columns of equal length; None where an epoch has no such number."""
    history = list(history)
    out: dict[str, list[Any]] = {"epoch": [e.epoch + 1 for e in history]}
    out |= {name: [getattr(e, name) for e in history] for name in ("lr", "seconds", "train_accuracy", "loss", "test_loss")}
    for part in ("terms", "accuracy", "validation", "test"):
        for name in dict.fromkeys(n for e in history for n in getattr(e, part)):
            out[f"{part}.{name}"] = [getattr(e, part).get(name) for e in history]
    return out
