"""A run on disk, and the checkpoints that it can go on from."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from ..core import Progress, home
from ..train import Diverged, Epoch, Training
from .files import Damaged, digest, load_tensors, read_json, remove, unwritten, write
from .recorder import WEIGHTS, Recorder, kept_states, read_history, whole


def key_of(config: dict[str, Any]) -> str:
    """Twelve hex digits that name an experiment's content."""
    plain = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def root() -> Path:
    """Where runs are kept."""
    return home() / "runs"


def by_part(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A run's tensors by name -> those of the "model" and of the "method", as state dicts."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "method": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = tensor
    return parts


class Run:
    """One run on disk. Reading never changes it; `follow` writes it.

    What is read is compared with the digest that was kept of it: `Damaged` names the file, and the mend.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.elsewhere = folder, False  # elsewhere: it was trained there, and here are its records

    @property
    def key(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def status(self) -> str:
        """One of "new", "training" (or interrupted), "done" and "diverged"."""
        return read_history(self.folder)["status"]

    @property
    def config(self) -> dict[str, Any]:
        """The experiment in names and numbers, every default filled in."""
        return self._said("config")

    @property
    def environment(self) -> dict[str, Any]:
        """The versions, the machine and the time of the run's start."""
        return self._said("environment")

    @property
    def note(self) -> str:
        """What a person wrote of it, one line of at most NOTE_LENGTH characters; "" where nobody did."""
        path = self.folder / "note.txt"
        if not path.is_file():  # a pipe would make us wait
            return ""
        with contextlib.suppress(OSError), open(path, "rb") as file:
            return _one_line(file.read(4 * NOTE_LENGTH).decode(errors="replace"))[:NOTE_LENGTH]
        return ""

    def write_note(self, words: str) -> None:
        """Keeps a name or a note in the run's folder. Nothing else of the run changes.

        Args:
            words: one line, at most NOTE_LENGTH characters; "" takes the note away.

        Raises:
            FileNotFoundError: nothing is recorded in the folder.
            ValueError: it is longer.
        """
        words = _one_line(words)
        if not (self.folder / "experiment.json").exists():
            raise FileNotFoundError(f"run {self.key} is not recorded in {self.folder}: `sdkit list runs` names those that are")
        if len(words) > NOTE_LENGTH:
            raise ValueError(f"a note has at most {NOTE_LENGTH} characters, got {len(words)}: shorten it")
        if words:
            write(self.folder / "note.txt", words.encode())
        else:
            remove(self.folder / "note.txt")

    def history(self) -> list[Epoch]:
        """One record per finished epoch."""
        try:
            return [_epoch(record) for record in read_history(self.folder)["epochs"]]
        except (TypeError, AttributeError) as error:
            raise Damaged(
                f"{self.folder / 'history.json'} holds an epoch that this sdkit cannot read ({error}): read it by the one that "
                f"wrote it, or {self._again}"
            ) from error

    def outputs(self) -> tuple[np.ndarray, Tensor]:
        """The recorded epochs [E] and the final exit's logits of the watched test images after each, [E, W, K] float32."""
        files = read_history(self.folder)["files"]
        names = sorted(n for n in files if re.fullmatch(r"outputs/\d+\.npy", n))
        names = names or sorted(f"outputs/{f.name}" for f in (self.folder / "outputs").glob("[0-9]*.npy"))
        if not names:
            raise FileNotFoundError(f"run {self.key} has no recorded outputs in {self.folder / 'outputs'}: train it again")
        found = self._read(names, lambda paths: np.stack([np.load(path) for path in paths]))
        return np.array([int(Path(name).stem) for name in names]), torch.from_numpy(found).float()

    def logits(self) -> Tensor:
        """The final exit's logits of the test set after the last epoch, [N, K] float32, N <= 10,000."""
        return torch.from_numpy(self._read(["logits.npy"], lambda paths: np.load(paths[0]))).float()

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The trained "model" and "method", as state dicts."""
        if self.is_light():
            raise FileNotFoundError(
                f"run {self.key} came back from a cluster without its weights: train it here by run(fresh=True), or "
                "delete it and ask the cluster again, with `studies.on(cluster, weights=True)` or `--weights`"
            )
        return by_part(self._read([WEIGHTS], lambda paths: load_tensors(paths[0])))

    def is_light(self) -> bool:
        """Whether it ended on another machine, and its weights were left there."""
        said = read_history(self.folder)
        gone = bool(said["files"]) and WEIGHTS not in said["files"]
        return said["status"] == "done" and gone and not (self.folder / WEIGHTS).exists()

    def resumable(self) -> bool:
        """Whether it was left with a checkpoint to go on from."""
        return (self.folder / "checkpoint.pt").is_file()

    def is_busy(self) -> bool:
        """Whether a process, this one or another, trains it at this moment."""
        lock = self.folder / "lock"
        if self._held:
            return True
        if not lock.is_file():
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a folder that this user may read alone
            return False

    @property
    def _again(self) -> str:
        return f"delete the folder {self.folder} and run the experiment again, as run(fresh=True) does"

    def _read(self, names: list[str], load: Callable[[list[Path]], Any]) -> Any:
        """What `load` makes of files of the run, each compared with its digest."""
        said = read_history(self.folder)
        if said["status"] != "done" and not (self.folder / names[0]).exists():
            what = Path(names[0]).stem
            raise FileNotFoundError(f"run {self.key} has no {what} yet (it is {said['status']}): run its experiment to the end")
        try:
            return load([whole(self.folder, name, said["files"]) for name in names])
        except Damaged as error:
            raise Damaged(f"{error}: {self._again}") from error
        except Exception as error:
            at = self.folder / (names[0] if len(names) == 1 else "outputs")
            raise Damaged(f"{at} is damaged ({str(error).partition(chr(10))[0]}): {self._again}") from error

    def _said(self, part: str) -> dict[str, Any]:
        path = self.folder / "experiment.json"
        if not os.path.lexists(path):
            return {}
        try:
            said = read_json(whole(self.folder, path.name, read_history(self.folder)["files"]))
        except Damaged as error:
            raise error if self._again in str(error) else Damaged(f"{error}: {self._again}") from error
        if isinstance(said, dict) and isinstance(said.get("refused"), str):  # `collect` left word why
            raise Damaged(said["refused"])
        if not isinstance(said, dict) or not isinstance(said.get(part), dict):
            raise Damaged(f"run {self.key} is an earlier sdkit's: delete {self.folder}, and its experiment is trained again")
        return said[part]

    # writing

    def delete(self) -> None:
        """Removes the run's folder. Waits while another living process records it; an absent one is no error."""
        if self.folder.exists():
            with self.alone():
                self._empty()

    def _empty(self) -> None:
        remove(self.folder / "history.json")  # first: what is left of it is no run that is done
        for path in self.folder.iterdir():
            if path.name != "lock":
                remove(path)

    def follow(
        self,
        config: dict[str, Any],
        build: Callable[[], Training],
        checkpoint_every: float | None = None,
        start: Path | None = None,
        keep: bool = False,
        wait: bool = True,
    ) -> Iterator[Progress | Epoch]:
        """Trains what `build` returns and records it, from the last checkpoint where there is one. Yields what it yields.

        A checkpoint that is damaged, or that lost an epoch's outputs, is warned of, and a state kept before it, or the first
        epoch, is gone on from instead: to the same bits.

        Args:
            config: the experiment in names and numbers.
            build: makes the training.
            checkpoint_every: seconds of training that a crash may cost; 0 writes a checkpoint after every epoch.
                Default: CHECKPOINT_EVERY.
            start: a state of the same training that another run kept, to go on from where this run has none of its own.
            keep: whether every epoch's state is kept for forks, as long as there is room for it.
            wait: while another living process records the same run, and then reads what that one left.

        Yields:
            A Progress after every step, an Epoch after every epoch.

        Raises:
            Busy: another process records it, and `wait` is False.
            Damaged: a file of the run cannot be what sdkit wrote.
            Diverged: the loss stopped being a number.
        """
        made = None if self.folder.exists() else build()  # what cannot be built leaves no folder
        sweep_empty(self.folder.parent)
        with self.alone(wait):
            recorder = Recorder(self.folder, self.key)
            recorder.sweep()
            if self.status == "done":
                recorder.checkpoint.unlink(missing_ok=True)  # of a process that died in its last moment
                return
            training = recorder.begin(config, build, start, made)
            every, saved = CHECKPOINT_EVERY if checkpoint_every is None else checkpoint_every, time.monotonic()
            try:
                for event in training.iterate():
                    if isinstance(event, Epoch):
                        due = keep or time.monotonic() - saved >= every
                        recorder.add(event, training, due, keep)
                        saved = time.monotonic() if due else saved
                    yield event
            except Diverged as error:
                recorder.say("diverged", error.epoch.record())
                recorder.checkpoint.unlink(missing_ok=True)
                raise
            recorder.end(training)

    def kept(self, epochs: int) -> Path:
        """Where its state after so many epochs is kept, if it is."""
        return self.folder / "epochs" / f"{epochs:04d}.pt"

    @property
    def _held(self) -> bool:
        return str(self.folder.absolute()) in HELD

    @contextlib.contextmanager
    def alone(self, wait: bool = True) -> Iterator[None]:
        """Holds the run's lock, which the system lets go when a process dies. Waits for another process, not for this one."""
        if self._held:
            raise RuntimeError(f"run {self.key} is being trained in this very process: stop that training first")
        place = str(self.folder.absolute())
        lock = FileLock(self.folder / "lock", thread_local=False)  # a generator may be closed by another thread
        try:
            while True:
                self.folder.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=-1 if wait else 0)
                if (self.folder / "lock").exists():
                    break
                lock.release()  # the folder was deleted while this process waited for it
        except Timeout:
            raise Busy(f"run {self.key} is being trained by another process") from None
        except OSError as error:
            raise unwritten(self.folder / "lock", error) from error
        HELD.add(place)
        try:
            yield
        finally:
            HELD.discard(place)
            lock.release()


class Busy(RuntimeError):
    """Another process trains the run."""


NOTE_LENGTH = 120
"""The most characters of a run's note."""


def _one_line(words: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in words).split())


NUMBER, NAN = (int, float, type(None)), float("nan")


def _epoch(record: dict[str, Any]) -> Epoch:
    """An epoch as it was written. TypeError where it says what an epoch does not, or no numbers."""
    epoch = Epoch(**{k: NAN if v is None else v for k, v in record.items()})
    for part in ("terms", "accuracy", "validation", "test"):
        if not all(isinstance(v, NUMBER) for v in getattr(epoch, part).values()):
            raise TypeError(f"{part} holds something that is no number")
    plain = (epoch.epoch, epoch.lr, epoch.seconds, epoch.train_accuracy, epoch.loss, epoch.test_loss)
    if not all(isinstance(v, NUMBER) for v in plain) or not isinstance(epoch.changes, list):
        raise TypeError("a field of it is no number")
    epoch.terms = {k: NAN if v is None else v for k, v in epoch.terms.items()}  # of one that diverged
    return epoch


CHECKPOINT_EVERY = 5.0
"""Seconds of training that a crash may cost: a run of a few seconds writes no checkpoint at all."""


HELD: set[str] = set()
"""The runs that this process is training."""

EMPTY_FOR = 86_400.0
"""Seconds after which a folder in which nothing was ever recorded is swept."""


def sweep_empty(root: Path) -> None:
    """Removes folders that hold nothing but a lock, left by trainings that never began."""
    for folder in root.iterdir() if root.is_dir() else ():
        with contextlib.suppress(OSError, Timeout):  # another process sweeps, or begins to train in it
            if time.time() - folder.stat().st_mtime < EMPTY_FOR or {f.name for f in folder.iterdir()} - {"lock"}:
                continue
            with FileLock(folder / "lock", timeout=0):
                (folder / "lock").unlink(missing_ok=True)
                folder.rmdir()


def scheduled(planned: dict[Any, dict[str, float]], steps_per_epoch: int) -> list[tuple[int, str, float]]:
    """A plan, knobs by the epochs before they are turned, as (step, knob, value), in order."""
    return sorted(
        (round(float(when) * steps_per_epoch), knob, float(value))
        for when, knobs in planned.items()
        for knob, value in knobs.items()
    )


def find_checkpoint(config: dict[str, Any], upto: float) -> Path | None:
    """The latest whole state, after `upto` epochs at most, that any run kept of the training that is asked for."""
    found: list[tuple[int, Path, str | None]] = []
    plain = {k: v for k, v in config.items() if k != "schedule"}
    states: dict[Path, list[Path]] = {}
    for file in kept_states(root()):
        states.setdefault(file.parents[1], []).append(file)
    for folder, kept in states.items():
        run = Run(folder)
        with contextlib.suppress(Damaged, TypeError, KeyError):  # nothing to go on from, and nothing that stands in the way
            steps, files = run.environment.get("steps per epoch"), read_history(folder)["files"]
            if steps is None or {k: v for k, v in run.config.items() if k != "schedule"} != plain:
                continue
            wanted = scheduled(config.get("schedule", {}), steps)
            done = sorted((t["step"], t["knob"], t["after"]) for e in run.history() for t in e.changes)
            for file in kept:
                epochs = int(file.stem)
                same = [t for t in wanted if t[0] < epochs * steps] == [t for t in done if t[0] < epochs * steps]
                if same and 0 < epochs <= upto:
                    found.append((epochs, file, files.get(f"epochs/{file.name}")))
    for _, file, known in sorted(found, reverse=True, key=lambda f: f[0]):
        with contextlib.suppress(OSError, Damaged):  # room was made for newer ones
            if known is None or digest(file) == known:  # one that is damaged is as good as gone: its epochs are trained again
                return file
    return None


def all_runs() -> list[Run]:
    """Every recorded run, the newest last."""
    found = []
    for file in root().glob("*/experiment.json"):
        with contextlib.suppress(OSError):  # deleted at this very moment
            found.append((file.lstat().st_mtime, file.parent))
    return [Run(folder) for _, folder in sorted(found)]


def find(start: str) -> Run:
    """The run whose key is `start`, else the one whose key begins with it."""
    matches = [r for r in all_runs() if r.key.startswith(start)]
    matches = [r for r in matches if r.key == start] or matches  # a panel's run of it is called KEY-live-1
    if len(matches) != 1:
        known = ", ".join(r.key for r in all_runs()[-8:]) or "none yet"
        said = "several runs begin" if matches else "no run begins"
        raise FileNotFoundError(f"{said} with {start!r} in {root()}: the newest are {known}")
    return matches[0]
