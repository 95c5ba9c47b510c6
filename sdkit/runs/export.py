"""Runs for other programs: CSV, TensorBoard, Weights & Biases; and the curves of trainings that were made elsewhere."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..train import Epoch
from .files import write
from .table import RunRow, epoch_table

SAID = (str, bool, int, float)


def to_csv(rows: Iterable[RunRow], folder: Path) -> list[Path]:
    """Two tables of runs: `curves.csv`, a row an epoch with all its numbers, and `runs.csv`, a row a run.

    Args:
        rows: the runs.
        folder: where the files go; those of an earlier call are replaced.

    Returns:
        The two files. Accuracies are in [0, 1], times in seconds; what a run has not is empty.

    Raises:
        OSError: they cannot be written, a sentence.
    """
    rows = list(rows)
    epochs = [{"run": row.run.key, **epoch} for row in rows for epoch in curve(row)]
    runs = [{"run": row.run.key, "status": row.status, **row.settings, **row.measured} for row in rows]
    return [_table(folder / "curves.csv", epochs), _table(folder / "runs.csv", runs)]


def curve(row: RunRow) -> list[dict[str, Any]]:
    """Every epoch of a run, counted from 1, with all its numbers, and the knobs that were turned in it."""
    history = row.run.history()
    table = epoch_table(history)
    table["changes"] = [json.dumps(e.changes) if e.changes else None for e in history]
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def _table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    out, heads = io.StringIO(), list(dict.fromkeys(name for row in rows for name in row))
    table = csv.DictWriter(out, heads, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write(path, out.getvalue().encode())
    return path


def to_tensorboard(rows: Iterable[RunRow], folder: Path) -> list[Path]:
    """A folder of TensorBoard events a run: its curves as scalars, its settings and last numbers as hyperparameters.

    Args:
        rows: the runs.
        folder: where the folders go, named by the runs' keys: `tensorboard --logdir` of it shows them beside each other.

    Returns:
        The folders.

    Raises:
        RuntimeError: TensorBoard is not installed.
    """
    try:
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise RuntimeError(
            "TensorBoard is not installed: `pip install tensorboard` here, or take the same numbers by --to csv"
        ) from error
    made = []
    for row in rows:
        place = _fresh(folder / row.run.key)
        with writer(log_dir=str(place)) as events:
            for epoch in curve(row):
                for name, value in _numbers(epoch).items():
                    events.add_scalar(name.replace(".", "/", 1), value, epoch["epoch"])
            last = {f"last/{name}": value for name, value in row.measured.items()}
            events.add_hparams(_plain(row.settings), last, run_name=".")
        made.append(place)
    return made


def to_wandb(rows: Iterable[RunRow], folder: Path, project: str = "sdkit") -> list[Path]:
    """Runs of Weights & Biases in its offline form: nothing is sent; `wandb sync` of a folder sends it, later and by hand.

    Args:
        rows: the runs.
        folder: where the folder `wandb` goes.
        project: of Weights & Biases.

    Returns:
        A folder a run.

    Raises:
        RuntimeError: Weights & Biases is not installed.
    """
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise RuntimeError(
            "Weights & Biases is not installed: `pip install wandb` here, or take the same numbers by --to csv"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    made, quiet = [], wandb.Settings(silent=True, console="off", x_disable_stats=True)
    for row in rows:
        name = f"{row['method']} {row['model']} {row['data']} seed {row['seed']}"
        run = wandb.init(
            mode="offline", project=project, dir=str(folder), id=row.run.key, name=name, config=_plain(row.settings),
            settings=quiet,
        )  # fmt: skip
        for epoch in curve(row):
            run.log({"epoch": epoch["epoch"], **{k.replace(".", "/", 1): v for k, v in _numbers(epoch).items()}})
        run.summary.update({f"last/{name}": value for name, value in row.measured.items()})
        made.append(Path(run.dir).parent)
        run.finish()
    return made


def read_curve(path: Path | str) -> list[Epoch]:
    """A training that was made elsewhere, as epochs: what the figures of learning curves take beside one's own.

    Args:
        path: a CSV file with the columns epoch, counted from 1, and test_accuracy; train_accuracy, lr, loss, test_loss and
            seconds are read where they are there. Accuracies are in [0, 1].

    Returns:
        Its epochs, in order.

    Raises:
        ValueError: a column is missing, or something is no such number.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in ("epoch", "test_accuracy") if not rows or name not in rows[0]]
    if missing:
        raise ValueError(f"a curve is a CSV file with the columns epoch and test_accuracy, got {path} without {missing[0]}")
    return sorted((_foreign(row, path) for row in rows), key=lambda e: e.epoch)


def _foreign(row: dict[str, Any], path: Path | str) -> Epoch:
    try:
        said = {name: float(row[name]) for name in row if name in FOREIGN and row[name] not in ("", None)}
        accuracies = [said[name] for name in ("test_accuracy", "train_accuracy") if name in said]
        if "test_accuracy" not in said or not all(0 <= a <= 1 for a in accuracies) or said["epoch"] < 1:
            raise ValueError
    except (ValueError, KeyError):
        raise ValueError(
            f"an epoch of a curve is a whole number from 1, an accuracy a number in [0, 1] (not percent), got {row} in {path}"
        ) from None
    number: dict[str, Any] = {
        name: said.get(name, math.nan) for name in ("lr", "seconds", "train_accuracy", "loss", "test_loss")
    }
    return Epoch(int(said["epoch"]) - 1, terms={}, accuracy={"final": said["test_accuracy"]}, **number)


FOREIGN = ("epoch", "test_accuracy", "train_accuracy", "lr", "loss", "test_loss", "seconds")


def _numbers(epoch: dict[str, Any]) -> dict[str, float]:
    return {k: v for k, v in epoch.items() if k != "epoch" and isinstance(v, int | float) and math.isfinite(v)}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v if isinstance(v, SAID) else str(v) for k, v in settings.items() if v is not None}


def _fresh(folder: Path) -> Path:
    """An empty folder: events of an earlier call would be drawn over the new ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("events.out.tfevents.*"):
        os.unlink(path)
    return folder
