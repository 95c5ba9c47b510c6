"""A run's folder: what was asked, what each epoch left, the checkpoint, the weights. Found again by content.

    <home>/runs/<key>/experiment.json   names and numbers, the versions and the machine
                      history.json      status and one record per epoch
                      outputs/NNNN.npy  the final exit's test logits after epoch N, [N, K] float16
                      checkpoint.pt     while training: all that the next epoch depends on
                      weights.safetensors   when done: "model.*" and "method.*"

Every file is replaced atomically, and the checkpoint is written last: whatever moment a process dies at, the folder
holds a whole number of epochs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .core import Clock, home
from .train import Diverged, Epoch, Training


def key_of(asked: dict[str, Any]) -> str:
    """Twelve hex digits that name an experiment's content."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def root() -> Path:
    """Where runs are kept."""
    return home() / "runs"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON that a person can read, written atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class Damaged(RuntimeError):
    """A file of a run that cannot be what sdkit wrote."""


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
    def asked(self) -> dict[str, Any]:
        """The experiment in names and numbers, every default filled in."""
        return self._read("experiment.json", {"asked": {}})["asked"]

    @property
    def about(self) -> dict[str, Any]:
        """The versions, the machine and the time of the run's start."""
        return self._read("experiment.json", {"about": {}})["about"]

    def history(self) -> list[Epoch]:
        """One record per finished epoch."""
        records = self._read("history.json", {"epochs": []})["epochs"]
        return [Epoch(**{k: float("nan") if v is None else v for k, v in r.items()}) for r in records]

    def outputs(self) -> tuple[np.ndarray, Tensor]:
        """The recorded epochs [E] and the final exit's test logits after each, [E, N, K] float32."""
        files = sorted((self.folder / "outputs").glob("*.npy"))
        if not files:
            raise FileNotFoundError(f"run {self.key} has no recorded outputs in {self.folder / 'outputs'}: train it again")
        return np.array([int(f.stem) for f in files]), torch.from_numpy(np.stack([np.load(f) for f in files])).float()

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The trained "model" and "method", as state dicts."""
        from safetensors.torch import load_file

        path = self.folder / "weights.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"run {self.key} has no weights yet (it is {self.status}): run its experiment to the end")
        try:
            flat = load_file(path)
        except Exception as error:
            raise Damaged(
                f"{path} is damaged ({error}): delete the folder {self.folder} and run the experiment again"
            ) from error
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "method": {}}
        for name, tensor in flat.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        return parts

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

    def follow(self, asked: dict[str, Any], build: Callable[[], Training]) -> Iterator[Clock | Epoch]:
        """Trains what `build` returns and records it, from the last checkpoint where there is one. Yields what it yields.

        Waits while another living process records the same run, then reads what that one left.
        """
        with self._alone():
            if self.status == "done":
                return
            training, history = build(), []
            checkpoint = self.folder / "checkpoint.pt"
            if checkpoint.exists():
                saved = self._checkpoint(asked)
                training.load_state_dict(saved["training"])
                history = saved["history"]
            else:
                write_json(self.folder / "experiment.json", {"asked": asked, "about": self._about(training)})
            self._write_history("training", history)
            try:
                for event in training.walk():
                    if isinstance(event, Epoch):
                        history.append(event.record())
                        self._write_outputs(event)
                        self._write_history("training", history)
                        with replacing(checkpoint) as temporary:
                            torch.save({"key": self.key, "training": training.state_dict(), "history": history}, temporary)
                    yield event
            except Diverged as error:
                self._write_history("diverged", [*history, error.epoch.record()])
                checkpoint.unlink(missing_ok=True)
                raise
            self._write_weights(training)
            self._write_history("done", history)
            checkpoint.unlink(missing_ok=True)

    def _checkpoint(self, asked: dict[str, Any]) -> dict[str, Any]:
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
        with replacing(self.folder / "outputs" / f"{epoch.epoch:04d}.npy") as temporary, open(temporary, "wb") as f:
            np.save(f, epoch.outputs.numpy())

    def _write_weights(self, training: Training) -> None:
        from safetensors.torch import save_file

        flat = {}
        for part, module in (("model", training.model), ("method", training.method)):
            flat |= {
                f"{part}.{k}": v.detach().cpu().contiguous() for k, v in module.state_dict().items() if isinstance(v, Tensor)
            }
        with replacing(self.folder / "weights.safetensors") as temporary:
            save_file(flat, temporary)

    def _about(self, training: Training) -> dict[str, Any]:
        from . import __version__

        card = torch.cuda.get_device_name(training.device) if training.device.type == "cuda" else None
        return {
            "sdkit": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": card or f"CPU, {torch.get_num_threads()} threads",
            "machine": platform.platform(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S"),
        }

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


HELD: set[str] = set()
"""The runs that this process is training."""


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
