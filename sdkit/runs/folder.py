"""A run on disk, and the checkpoints that it can go on from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core import Progress, home
from ..train import Diverged, Epoch, Training, device_name
from .files import Damaged, load_tensors, replacing, save_tensors, write_json


def key_of(config: dict[str, Any]) -> str:
    """Twelve hex digits that name an experiment's content."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def root() -> Path:
    """Where runs are kept."""
    return home() / "runs"


class Run:
    """One run on disk. Reading never changes it; `follow` writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def status(self) -> str:
        """ "new", "training" (or interrupted), "done" or "diverged"."""
        return self._read("history.json", {"status": "new"})["status"]

    @property
    def config(self) -> dict[str, Any]:
        """The experiment in names and numbers, every default filled in."""
        return self._said("config")

    @property
    def environment(self) -> dict[str, Any]:
        """The versions, the machine and the time of the run's start."""
        return self._said("environment")

    def history(self) -> list[Epoch]:
        """One record per finished epoch."""
        records = self._read("history.json", {"epochs": []})["epochs"]
        return [Epoch(**{k: float("nan") if v is None else v for k, v in r.items()}) for r in records]

    def outputs(self) -> tuple[np.ndarray, Tensor]:
        """The recorded epochs [E] and the final exit's logits of the watched test images after each, [E, W, K] float32."""
        files = sorted((self.folder / "outputs").glob("*.npy"))
        if not files:
            raise FileNotFoundError(f"run {self.key} has no recorded outputs in {self.folder / 'outputs'}: train it again")
        return np.array([int(f.stem) for f in files]), torch.from_numpy(np.stack([np.load(f) for f in files])).float()

    def logits(self) -> Tensor:
        """The final exit's logits of the test set after the last epoch, [N, K] float32, N <= 10,000."""
        path = self.folder / "logits.npy"
        if not path.exists():
            raise FileNotFoundError(
                f"run {self.key} has no {path.name} yet (it is {self.status}): run its experiment to the end"
            )
        return torch.from_numpy(np.load(path)).float()

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The trained "model" and "method", as state dicts."""
        path = self.folder / "weights.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"run {self.key} has no weights yet (it is {self.status}): run its experiment to the end")
        try:
            flat = load_tensors(path)
        except Exception as error:
            raise Damaged(
                f"{path} is damaged ({error}): delete the folder {self.folder} and run the experiment again"
            ) from error
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "method": {}}
        for name, tensor in flat.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        return parts

    def _said(self, part: str) -> dict[str, Any]:
        said = self._read("experiment.json", {})
        if said and part not in said:
            raise Damaged(f"run {self.key} is an earlier sdkit's: delete {self.folder}, and its experiment is trained again")
        return said.get(part, {})

    def _read(self, name: str, missing: Any) -> Any:
        path = self.folder / name
        if not path.exists():
            return missing
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise Damaged(
                f"{path} is not the JSON sdkit writes ({error}): delete the folder {self.folder} and run again"
            ) from error

    # writing

    def delete(self) -> None:
        """Removes the run's folder. Waits while another living process records it; an absent one is no error."""
        if self.folder.exists():
            with self._alone():
                for path in self.folder.iterdir():
                    if path.name != "lock":
                        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def follow(
        self,
        config: dict[str, Any],
        build: Callable[[], Training],
        checkpoint_every: float | None = None,
        start: Path | None = None,
        keep: bool = False,
    ) -> Iterator[Progress | Epoch]:
        """Trains what `build` returns and records it, from the last checkpoint where there is one. Yields what it yields.

        checkpoint_every: seconds of training that a crash may cost; 0 writes a checkpoint after every epoch.
        Default: CHECKPOINT_EVERY.
        start: a state of the same training that another run kept, to go on from where this run has none of its own.
        keep: whether every epoch's state is kept for forks, as long as there is room for it.
        Waits while another living process records the same run, then reads what that one left.
        """
        with self._alone():
            if self.status == "done":
                return
            training, history = build(), []
            checkpoint = self.folder / "checkpoint.pt"
            if checkpoint.exists():
                saved = self._checkpoint()
                training.load_state_dict(saved["training"])
                history = saved["history"]
            else:
                history = self._inherit(start, training) if start else []
                write_json(self.folder / "experiment.json", {"config": config, "environment": self._environment(training)})
            self._write_history("training", history)
            checkpoint_every, saved = CHECKPOINT_EVERY if checkpoint_every is None else checkpoint_every, time.monotonic()
            try:
                for event in training.iterate():
                    if isinstance(event, Epoch):
                        history.append(event.record())
                        self._write_outputs(event)
                        self._write_history("training", history)
                        if keep or time.monotonic() - saved >= checkpoint_every:
                            with replacing(checkpoint) as temporary:
                                torch.save({"key": self.key, "training": training.state_dict(), "history": history}, temporary)
                            saved = time.monotonic()
                        if keep:
                            self._keep(len(history))
                    yield event
            except Diverged as error:
                self._write_history("diverged", [*history, error.epoch.record()])
                checkpoint.unlink(missing_ok=True)
                raise
            self._write_weights(training)
            self._write_history("done", history)
            checkpoint.unlink(missing_ok=True)

    def kept(self, epochs: int) -> Path:
        """Where its state after so many epochs is kept, if it is."""
        return self.folder / "epochs" / f"{epochs:04d}.pt"

    def _keep(self, epochs: int) -> None:
        """Keeps the checkpoint under a second name. Beyond `ROOM` the oldest kept states of all runs go."""
        place = self.kept(epochs)
        place.parent.mkdir(exist_ok=True)
        place.unlink(missing_ok=True)
        try:
            os.link(self.folder / "checkpoint.pt", place)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.folder / "checkpoint.pt", place)
        with contextlib.suppress(FileNotFoundError):  # another run's training makes room at this very moment
            room, files = ROOM, [(f.stat(), f) for f in self.folder.parent.glob("*/epochs/*.pt")]
            for about, file in sorted(files, key=lambda pair: pair[0].st_mtime, reverse=True):
                room -= about.st_size
                if room < 0 and file != place:
                    file.unlink()

    def _inherit(self, state: Path, training: Training) -> list[dict[str, Any]]:
        """Puts the training where another run's kept state was. -> the history until there; none where it is gone."""
        try:
            saved = torch.load(state, map_location="cpu", weights_only=True)
        except FileNotFoundError:  # room was made for newer ones: the epochs are trained again, to the same bits
            return []
        training.load_state_dict(saved["training"])
        for epoch in range(len(saved["history"])):
            outputs = state.parents[1] / "outputs" / f"{epoch:04d}.npy"
            if outputs.exists():
                with replacing(self.folder / "outputs" / outputs.name) as temporary:
                    shutil.copyfile(outputs, temporary)
        if saved["history"] and saved["history"][-1]["test"]:  # nothing is left to train that would write them
            with replacing(self.folder / "logits.npy") as temporary:
                shutil.copyfile(state.parents[1] / "logits.npy", temporary)
        return saved["history"]

    def _checkpoint(self) -> dict[str, Any]:
        path = self.folder / "checkpoint.pt"
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            belongs = saved["key"]
        except Exception as error:
            raise Damaged(
                f"the checkpoint {path} cannot be read ({type(error).__name__}: it was cut or is not sdkit's): "
                "delete it, and the run starts again from its first epoch"
            ) from error
        if belongs != self.key:
            raise Damaged(
                f"the checkpoint {path} belongs to the experiment {belongs}, not to {self.key}: "
                "put it back into its own folder or delete it"
            )
        return saved

    def _write_history(self, status: str, history: list[dict[str, Any]]) -> None:
        write_json(self.folder / "history.json", {"status": status, "epochs": history})

    def _write_outputs(self, epoch: Epoch) -> None:
        places = {
            self.folder / "outputs" / f"{epoch.epoch:04d}.npy": epoch.outputs,
            self.folder / "logits.npy": epoch.test_outputs,
        }
        for path, kept in places.items():
            if kept is not None:
                with replacing(path) as temporary, open(temporary, "wb") as f:
                    np.save(f, kept.numpy())

    def _write_weights(self, training: Training) -> None:
        flat = {}
        for part, module in (("model", training.model), ("method", training.method)):
            flat |= {
                f"{part}.{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items() if isinstance(v, Tensor)
            }
        with replacing(self.folder / "weights.safetensors") as temporary:
            save_tensors(flat, temporary)

    def _environment(self, training: Training) -> dict[str, Any]:
        from .. import __version__

        return {
            "sdkit": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device_name(training.device, training.threads, training.precision),
            "threads": training.threads,
            "precision": training.precision,
            "machine": platform.platform(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "steps per epoch": len(training.loader),
        } | training.environment

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the run's lock, which the system lets go when a process dies. Waits for another process, not for this one."""
        from filelock import FileLock

        self.folder.mkdir(parents=True, exist_ok=True)
        if self.key in HELD:
            raise RuntimeError(f"run {self.key} is being trained in this very process: stop that training first")
        with FileLock(self.folder / "lock"):
            HELD.add(self.key)
            try:
                yield
            finally:
                HELD.discard(self.key)


CHECKPOINT_EVERY = 5.0
"""Seconds of training that a crash may cost: a run of a few seconds writes no checkpoint at all."""


HELD: set[str] = set()
"""The runs that this process is training."""


ROOM = 300_000_000
"""Bytes that the kept states of all runs may take together."""


def scheduled(planned: dict[Any, dict[str, float]], steps_per_epoch: int) -> list[tuple[int, str, float]]:
    """A plan, knobs by the epochs before they are turned, as (step, knob, value), in order."""
    return sorted(
        (round(float(when) * steps_per_epoch), knob, float(value))
        for when, knobs in planned.items()
        for knob, value in knobs.items()
    )


def find_checkpoint(config: dict[str, Any], upto: float) -> Path | None:
    """The latest state, after `upto` epochs at most, that any run kept of the training that is asked for."""
    best: tuple[int, Path | None] = 0, None
    plain = {k: v for k, v in config.items() if k != "schedule"}
    for folder in {f.parents[1] for f in root().glob("*/epochs/*.pt")}:
        run = Run(folder)
        try:
            steps, same = (
                run.environment.get("steps per epoch"),
                {k: v for k, v in run.config.items() if k != "schedule"} == plain,
            )
        except Damaged:  # nothing to go on from, and nothing that stands in the way
            continue
        if steps is None or not same:
            continue
        wanted = scheduled(config.get("schedule", {}), steps)
        done = sorted((t["step"], t["knob"], t["after"]) for e in run.history() for t in e.changes)
        for file in (folder / "epochs").glob("*.pt"):
            epochs = int(file.stem)
            same = [t for t in wanted if t[0] < epochs * steps] == [t for t in done if t[0] < epochs * steps]
            if same and best[0] < epochs <= upto:
                best = epochs, file
    return best[1]


def all_runs() -> list[Run]:
    """Every recorded run, the newest last."""
    folders = [f.parent for f in root().glob("*/experiment.json")] if root().is_dir() else []
    return [Run(f) for f in sorted(folders, key=lambda f: (f / "experiment.json").stat().st_mtime)]


def find(start: str) -> Run:
    """The one run whose key begins with `start`."""
    matches = [r for r in all_runs() if r.key.startswith(start)]
    if len(matches) != 1:
        known = ", ".join(r.key for r in all_runs()[-8:]) or "none yet"
        said = "several runs begin" if matches else "no run begins"
        raise FileNotFoundError(f"{said} with {start!r} in {root()}: the newest are {known}")
    return matches[0]
