"""A run's folder: what was asked, what each epoch left, the checkpoint, the weights. Found again by content.

    <home>/runs/<key>/experiment.json   names and numbers, the versions and the machine
                      history.json      status and one record per epoch
                      outputs/NNNN.npy  the final exit's logits of the watched test images after epoch N, [W, K] float16
                      logits.npy        when done: the final exit's logits of the test set, [N, K] float16
                      checkpoint.pt     while training: all that the next epoch depends on
                      weights.safetensors   when done: "model.*" and "method.*"

Every file is replaced atomically, and the checkpoint is written last: whatever moment a process dies at, what it holds is
a whole number of epochs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .core import Progress, home
from .train import Diverged, Epoch, Recipe, Training, device_name, recipe_name


def key_of(config: dict[str, Any]) -> str:
    """Twelve hex digits that name an experiment's content."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def root() -> Path:
    """Where runs are kept."""
    return home() / "runs"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    OSError where it cannot be written, on a full disk for example.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror or error}): make room on its disk, or let SDKIT_HOME name a folder "
            "on another; what was written whole before is kept"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON that a person can read, written atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


SAFE = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""The kinds of numbers in a safetensors file."""


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """A safetensors file: eight bytes for the length of a JSON header, the header, the numbers. With or without the package."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_file
    except ImportError:
        names, header, end = {kind: name for name, kind in SAFE.items()}, {}, 0
        parts = [(name, t.detach().cpu().contiguous()) for name, t in sorted(tensors.items())]
        for name, t in parts:
            begin, end = end, end + t.nbytes
            header[name] = {"dtype": names[t.dtype], "shape": [*t.shape], "data_offsets": [begin, end]}
        words = json.dumps(header).encode()
        words += b" " * (-len(words) % 8)
        with open(path, "wb") as f:
            f.write(len(words).to_bytes(8, "little") + words)
            for _, t in parts:
                f.write(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        try:
            save_file(tensors, path)
        except SafetensorError as error:  # no OSError although the disk is full
            raise OSError(str(error)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What a safetensors file holds, on the CPU."""
    try:
        from safetensors.torch import load_file
    except ImportError:
        raw = path.read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        found = {}
        for name, about in json.loads(raw[8:start]).items():
            if name != "__metadata__":
                begin, end = (start + place for place in about["data_offsets"])
                if end > len(raw):
                    raise ValueError(f"{name} ends behind the file") from None
                found[name] = torch.empty(about["shape"], dtype=SAFE[about["dtype"]])
                if found[name].numel():
                    numbers = torch.from_numpy(np.frombuffer(raw[begin:end], np.uint8).copy())
                    found[name].reshape(-1).view(torch.uint8).copy_(numbers)
        return found
    return load_file(path)


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
    def config(self) -> dict[str, Any]:
        """The experiment in names and numbers, every default filled in."""
        return self._read("experiment.json", {"config": {}})["config"]

    @property
    def environment(self) -> dict[str, Any]:
        """The versions, the machine and the time of the run's start."""
        return self._read("experiment.json", {"environment": {}})["environment"]

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
        from . import __version__

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
        steps = run.environment.get("steps per epoch")
        if steps is None or {k: v for k, v in run.config.items() if k != "schedule"} != plain:
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


# runs as a table


@dataclass(frozen=True, eq=False)
class RunRow:
    """One run as the row of a table. `settings` and `measured` share no column; what a run has not is missing."""

    run: Run
    status: str  # "new", "training", "done", "diverged" or "damaged"
    settings: dict[str, Any]  # "method", "model", "data", "recipe", "seed", "knobs.alpha", "recipe.lr", "network.width", ...
    measured: dict[str, float]  # "accuracy.final", "best.final", "validation.final", "loss", "seconds", "parameters", ...
    wrong: str = ""  # of a damaged run: what is wrong, and the mend

    def __getitem__(self, column: str) -> Any:
        """The value in a column, None where the run has none."""
        return self.settings.get(column, self.measured.get(column))


READ: dict[Path, tuple[tuple[int, ...], RunRow]] = {}
"""What `records` has read, under the times and sizes of the files it was read from."""


def records(where: Path | None = None) -> list[RunRow]:
    """Every run in a folder as a row, the newest last; where None, of `root()`. Only files that changed are read again."""
    where = Path(where) if where else root()
    found = []
    for folder in where.iterdir() if where.is_dir() else ():
        stamps = [_stamp(folder / name) for name in ("experiment.json", "history.json", "weights.safetensors")]
        if any(stamps[0]):
            stamp = tuple(n for pair in stamps for n in pair)
            if folder not in READ or READ[folder][0] != stamp:
                READ[folder] = stamp, _row(Run(folder))
            found.append((stamp[0], READ[folder][1]))
    return [record for _, record in sorted(found, key=lambda pair: (pair[0], pair[1].run.key))]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:  # absent, or replaced just now
        return 0, 0
    return about.st_mtime_ns, about.st_size


def _row(run: Run) -> RunRow:
    """A run as a row. Whatever is wrong with it becomes the row's last word: one bad folder hides no other."""
    try:
        config, kept = run.config, run._read("history.json", {"status": "new", "epochs": []})
        settings = settings_of(config) | {"steered": any(e["changes"] for e in kept["epochs"])}
        return RunRow(run, kept["status"], settings, measured_in(kept["epochs"]) | _weighed(run.folder / "weights.safetensors"))
    except Damaged as error:
        return RunRow(run, "damaged", {}, {}, str(error))
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        wrong = f"{run.folder} does not hold what sdkit writes ({said}): delete the folder and run the experiment again"
        return RunRow(run, "damaged", {}, {}, wrong)


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


def measured_in(epochs: list[dict[str, Any]]) -> dict[str, float]:
    """What the epochs left: the last one's numbers, the best accuracy (chosen on the test set), the time of all."""
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
    seconds = sum(e["seconds"] for e in epochs)
    out |= {"seconds": seconds, "seconds per epoch": seconds / len(epochs), "epochs": float(len(epochs))}
    return {name: v for name, v in out.items() if v is not None}


def _weighed(path: Path) -> dict[str, float]:
    """The parameters of the network and of the method's own parts, counted in the header of the weights file."""
    if not path.exists():
        return {}
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
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
    seen: dict[str, set[Any]] = {}
    for r in table:
        for name, value in r.settings.items():
            if name.startswith(start):
                seen.setdefault(name, set()).add((r["method"], value))
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
