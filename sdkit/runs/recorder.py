"""What writes a run: its history with the digest of every file, its outputs, its weights, and checkpoints to go on from."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
import platform
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..train import Epoch, Training, device_name
from .files import (
    Damaged,
    as_json,
    digest,
    load_state,
    read_json,
    remove,
    replacing,
    save_state,
    size_of,
    write,
    write_array,
    write_json,
    write_tensors,
)

ROOM = 300_000_000
"""Bytes that the kept states of all runs may take together."""

STATUSES = ("new", "training", "done", "diverged")
NOTHING: dict[str, Any] = {"status": "new", "epochs": [], "files": {}, "checkpoints": []}
"""The history of a run that has none: status, epochs, the SHA-256 of every file, those that checkpoint.pt may have."""

WEIGHTS = "weights.safetensors"

UNFINISHED = re.compile(r"\.(\w+\.(json|pt|npy|safetensors))\.\w+")
"""What a file is called while it is written."""


def read_history(folder: Path) -> dict[str, Any]:
    """What `history.json` of a run says, checked by its own digest. Damaged where it cannot be what sdkit wrote."""
    path = folder / "history.json"
    if not os.path.lexists(path):
        return copy.deepcopy(NOTHING)
    again = f"delete the folder {folder} and run the experiment again, as run(fresh=True) does"
    try:
        said = read_json(path)
    except Damaged as error:
        raise Damaged(f"{error}: {again}") from error
    if not isinstance(said, dict) or said.get("status") not in STATUSES or not isinstance(said.get("epochs"), list):
        raise Damaged(f"{path} does not hold a run's status and epochs: {again}")
    if more := said.keys() - NOTHING.keys() - {"hash"}:
        raise Damaged(
            f"{path} says {', '.join(sorted(more))}, which this sdkit does not know: read it by a newer one, or {again}"
        )
    if "hash" in said and said.pop("hash") != _hash(said):
        raise Damaged(f"{path} is damaged: its content is not what its hash says: {again}")
    said = copy.deepcopy(NOTHING) | said
    if not isinstance(said["files"], dict) or not isinstance(said["checkpoints"], list):
        raise Damaged(f"{path} does not hold the digests of a run's files: {again}")
    return said


def history_json(said: dict[str, Any]) -> bytes:
    """A run's status, epochs, files and checkpoints as `history.json` holds them, with their own digest."""
    return as_json(said | {"hash": _hash(said)})


def _hash(said: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def whole(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A file of a run, after a look at its digest where it has one. Damaged where it is lost or changed."""
    path = folder / name
    if not path.is_file():
        raise Damaged(f"{path} is lost")
    if name in files and digest(path) != files[name]:
        raise Damaged(f"{path} is damaged (its SHA-256 is not that of what was written)")
    return path


class Recorder:
    """Writes a run into its folder, whose lock the caller holds.

    Args:
        folder: of the run.
        key: its name.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self.checkpoint = folder / "checkpoint.pt"
        self.files: dict[str, str] = {}
        self.checkpoints: list[str] = []
        self.history: list[dict[str, Any]] = []
        self.born: tuple[int, int] | None = None
        for place in ("outputs", "epochs"):
            if (folder / place).is_symlink():
                raise Damaged(f"{folder / place} is a link, and what is written would lie elsewhere: delete it")

    def sweep(self) -> None:
        """Removes what a process that died was writing."""
        places = [p for p in (self.folder, self.folder / "outputs", self.folder / "epochs") if p.is_dir()]
        for path in (path for place in places for path in place.glob(".*")):
            if UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def begin(
        self, config: dict[str, Any], build: Callable[[], Training], start: Path | None = None, made: Training | None = None
    ) -> Training:
        """The training where the run's last state left it, else that of `start`, else before its first step.

        Args:
            config: the experiment in names and numbers.
            build: makes the training.
            start: a state of the same training that another run kept.
            made: the training, where it is made already.

        Returns:
            The training. What of the run cannot be gone on from is warned of.

        Raises:
            Damaged: a file of the run cannot be read.
            Unfit: its checkpoint is another run's, or is whole and fits this training no longer.
        """
        before, training, wrong = read_history(self.folder), made or build(), ""
        own = [self.checkpoint, *sorted((self.folder / "epochs").glob("[0-9]*.pt"), reverse=True)]
        others = [start] if start and start not in own else []
        for place in (p for p in (*own, *others) if os.path.lexists(p)):
            try:
                if place in own:
                    self._go_on(place, training, before)
                else:
                    self._take_over(place, training)
                break
            except FileNotFoundError:  # room was made for newer ones: the epochs are trained again, to the same bits
                pass
            except Damaged as error:
                if isinstance(error, Unfit):
                    if place in own:
                        raise
                    training = build()
                wrong = wrong or str(error)
            self.history, self.files, self.checkpoints = [], {}, []
        if wrong:
            warnings.warn(f"{wrong}. Run {self.key} goes on with epoch {len(self.history) + 1}", stacklevel=4)
            if not self.checkpoints:
                remove(self.checkpoint)
        about = self.folder / "experiment.json"
        known = before["files"].get("experiment.json")
        if known and about.is_file() and digest(about) == known and self.history and place in own:
            self.files["experiment.json"] = known
        else:
            self.files["experiment.json"] = write_json(about, {"config": config, "environment": environment(training)})
        self.born = _identity(about)
        self.say("training")
        return training

    def _go_on(self, state: Path, training: Training, before: dict[str, Any]) -> None:
        """Puts the training where a state of this run was. Damaged where the state, or a file of its epochs, is."""
        name, files = state.relative_to(self.folder).as_posix(), before["files"]
        found = digest(state)
        known = before["checkpoints"] if state == self.checkpoint else [files[name]] if name in files else []
        saved = _checked(state, found, known, self.key)
        for output in _outputs(saved):
            self.files[output] = digest(whole(self.folder, output, files))
        _fit(training, saved, state)
        self.history, self.checkpoints = saved["history"], [found] if state == self.checkpoint else []
        self.files |= {k: v for k, v in files.items() if k.startswith("epochs/") and (self.folder / k).is_file()}

    def _take_over(self, state: Path, training: Training) -> None:
        """Puts the training where another run's kept state was, and copies what its epochs left."""
        other, name = state.parents[1], state.relative_to(state.parents[1]).as_posix()
        files = read_history(other)["files"]
        saved = _checked(state, digest(state), [files[name]] if name in files else [], other.name)
        left = _outputs(saved)
        if saved["history"] and saved["history"][-1]["test"]:  # nothing is left to train that would write them
            left.append("logits.npy")
        for file in left:
            source = whole(other, file, files)
            with replacing(self.folder / file, source.stat().st_size) as temporary:
                shutil.copyfile(source, temporary)
            self.files[file] = digest(self.folder / file)
        _fit(training, saved, state)
        self.history = saved["history"]

    def add(self, epoch: Epoch, training: Training, state: bool, keep: bool) -> None:
        """Writes what an epoch left. state: whether the training's state, too; keep: whether under a name that stays.

        Raises:
            Damaged: The folder is no longer the one that the run began in.
        """
        self._stay()
        self.history.append(epoch.record())
        for name, kept in ((f"outputs/{epoch.epoch:04d}.npy", epoch.outputs), ("logits.npy", epoch.test_outputs)):
            if kept is not None:
                self.files[name] = write_array(self.folder / name, kept.numpy())
        if not state:
            return self.say("training")
        made = {"key": self.key, "training": training.state_dict(), "history": self.history}
        with replacing(self.checkpoint, size_of(made)) as temporary:
            found = save_state(made, temporary)
            self.checkpoints = [found, *self.checkpoints[:1]]  # one or the other, whenever this process dies
            if keep:
                self.files[f"epochs/{len(self.history):04d}.pt"] = found
            self.say("training")
        self.checkpoints = [found]
        if keep:
            self._keep()

    def _keep(self) -> None:
        """Keeps the checkpoint under a second name. Beyond `ROOM` the oldest kept states of all runs go."""
        place = self.folder / "epochs" / f"{len(self.history):04d}.pt"
        place.unlink(missing_ok=True)
        try:
            place.parent.mkdir(exist_ok=True)
            os.link(self.checkpoint, place)
        except OSError:  # a file system without hard links
            with replacing(place, self.checkpoint.stat().st_size) as temporary:
                shutil.copyfile(self.checkpoint, temporary)
        with contextlib.suppress(FileNotFoundError):  # another run's training makes room at this very moment
            room, files = ROOM, [(f.stat(), f) for f in kept_states(self.folder.parent)]
            for about, file in sorted(files, key=lambda pair: pair[0].st_mtime, reverse=True):
                room -= about.st_size
                if room < 0 and file != place:
                    file.unlink()

    def end(self, training: Training) -> None:
        """Writes the weights, and that the run is done.

        Raises:
            Damaged: A file of the run is lost: it is not done.
        """
        self._stay()
        if lost := [f for f in self.files if not f.startswith("epochs/") and not (self.folder / f).is_file()]:
            raise Damaged(
                f"run {self.key} lost {', '.join(lost[:3])} in {self.folder} while it trained, and so is not done: "
                "run its experiment again, which trains what is lost"
            )
        flat: dict[str, Tensor] = {}
        for part, module in (("model", training.model), ("method", training.method)):
            tensors = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
            flat |= {f"{part}.{k}": v.detach().cpu().contiguous() for k, v in tensors.items()}
        self.files[WEIGHTS] = write_tensors(self.folder / WEIGHTS, flat)
        self.say("done")
        self.checkpoint.unlink(missing_ok=True)

    def _stay(self) -> None:
        """Damaged where the run's folder was deleted or replaced since it began."""
        if _identity(self.folder / "experiment.json") != self.born:
            raise Damaged(
                f"the folder {self.folder} was deleted or replaced while run {self.key} trained in it: run its experiment again"
            )

    def say(self, status: str, *more: dict[str, Any]) -> None:
        """Writes the history. more: epochs that no state goes on from, such as the one in which a run diverged."""
        said = {"status": status, "epochs": [*self.history, *more], "files": self.files, "checkpoints": self.checkpoints}
        write(self.folder / "history.json", history_json(said))


class Unfit(Damaged):
    """A state that is whole, and nothing for this training."""


def _checked(state: Path, found: str, known: list[str], key: str) -> dict[str, Any]:
    """What a state holds. found: its digest; known: those that it may have, none where nobody has written them down."""
    try:
        saved = load_state(state)
        belongs, _, _ = saved["key"], saved["training"], saved["history"]
    except (Damaged, KeyError, TypeError) as error:
        if found in known:
            raise Unfit(f"{state} is whole, but not of this sdkit: go on with the one that wrote it, or delete it") from error
        raise error if isinstance(error, Damaged) else Damaged(f"{state} cannot be read: it is no checkpoint") from error
    if belongs != key:
        raise Unfit(
            f"the checkpoint {state} belongs to the experiment {belongs}, not to {key}: put it back into its own folder or "
            "delete it"
        )
    if known and found not in known:
        raise Damaged(f"{state} is damaged (its SHA-256 is not that of what was written)")
    return saved


def _fit(training: Training, saved: dict[str, Any], state: Path) -> None:
    """Loads a state into the training. Unfit where it is another network's or another method's."""
    try:
        training.load_state_dict(saved["training"])
    except Exception as error:
        raise Unfit(
            f"{state} does not fit the training as it is built now ({str(error).partition(chr(10))[0]}): go on with the code "
            "that wrote it, or delete it, and the run starts again from its first epoch"
        ) from error


def _outputs(saved: dict[str, Any]) -> list[str]:
    """The files that the epochs before a state left."""
    return [f"outputs/{epoch:04d}.npy" for epoch in range(len(saved["history"]))]


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of its name; None where there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns


def kept_states(root: Path) -> Iterator[Path]:
    """Every state that the runs in a folder kept for forks; none behind a link."""
    return (f for f in root.glob("*/epochs/*.pt") if f.stem.isdecimal() and not f.parent.is_symlink())


def environment(training: Training) -> dict[str, Any]:
    """The versions, the machine and the time, and how a training computes."""
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
