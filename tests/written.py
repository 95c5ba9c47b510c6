"""Runs on disk that nobody trained: their folders as a training leaves them, with numbers that were made up."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import nn

from sdkit import runs
from sdkit.experiment import Experiment
from sdkit.runs import Run, recorder
from sdkit.train import Epoch, Recipe

RECIPE = Recipe(epochs=3, batch_size=32, lr=0.05, schedule="one cycle")


SMALL = {"model": "four-stage", "network": {"width": 4}, "data": "digits", "dataset": {"train_size": 128}, "recipe": RECIPE}


def accuracy_of(experiment: Experiment) -> float:
    """A made-up result that differs from run to run."""
    alpha = experiment.knobs.get("alpha", 0.4)
    return round(0.5 + 0.3 * alpha + 0.01 * experiment.seed, 4)


def write(experiment: Experiment, status: str = "done", epochs: int = 3, turned: bool = False) -> Run:
    """A run's folder as `Run.follow` leaves it, through its own writers."""
    run = experiment.stored
    runs.write_json(run.folder / "experiment.json", {"config": experiment.config, "environment": {"torch": torch.__version__}})
    last = accuracy_of(experiment)
    history = [
        Epoch(
            epoch=e, lr=0.05, seconds=2.0, terms={"task": 2.0 / (e + 1), "kd": 0.5}, train_accuracy=0.4 + 0.1 * e,
            accuracy={"final": last + (0.03 if e == 1 else 0.0), "shallow 2": 0.3}, loss=1.5 - 0.1 * e,
            changes=[{"step": 4, "knob": "alpha", "before": 0.1, "after": 0.9}] if turned and e == 1 else [],
        ).record()
        for e in range(epochs)
    ]  # fmt: skip
    if status == "diverged":
        history.append(Epoch(epoch=epochs, lr=0.05, seconds=1.0, terms={"task": math.nan}).record())
    writer = recorder.Recorder(run.folder, run.key)
    writer.born, writer.history = recorder._identity(run.folder / "experiment.json"), history
    if status == "done":
        network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))  # 108 + 8 parameters
        writer.end(SimpleNamespace(model=network, method=nn.Linear(4, 2)))  # 10
    else:
        writer.say(status)
    return run


def drg(alpha: float, seed: int = 0, **over) -> Experiment:
    return Experiment("drg", knobs={"alpha": alpha}, seed=seed, **{**SMALL, **over})


def row(run: Run) -> runs.RunRow:
    return next(r for r in runs.records() if r.run.key == run.key)
