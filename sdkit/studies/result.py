"""What is kept of a finished run that git can hold: a light JSON file, verified when it is read.

data/records/<plan>/<key>.json      what was run, where, its history, small curves; beside it, where a plan asks, 16-bit weights
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import runs
from ..analysis import calibration, factors, ranked_along
from ..core import home
from ..experiment import Experiment, Trained
from ..experiment.own import source_digest
from ..runs import Damaged, Run, digest, epoch_table, key_of, read_json, root, write
from ..train import Epoch, tidy
from .arrays import ARRAYS, half_weights, kept, read

FORMAT = 1
"""Raised when a record is written in another form."""


# records
@dataclass(frozen=True, eq=False)
class Result:
    """What was kept of a run. `r["method"]` and `r["accuracy.final"]` read any column, as of a row of `runs.records()`."""

    plan: str
    key: str
    status: str  # "done" or "diverged"
    config: dict[str, Any]
    environment: dict[str, Any]  # versions, device, machine, time; "source" names the code that trained it
    epochs: dict[str, list[Any]]  # column -> a value for each epoch, None where it has none; see `runs.epoch_table`
    changes: list[dict[str, Any]] = field(default_factory=list)  # knobs moved while it trained
    curves: dict[str, dict[str, Any]] = field(default_factory=dict)  # of CURVES

    @property
    def device(self) -> str:
        """Where it was trained."""
        return self.environment["device"]

    @property
    def recipe(self) -> str:
        """The recipe's name, or "own"."""
        return self.settings["recipe"]

    @cached_property
    def history(self) -> list[Epoch]:
        """One record per epoch, as the run had them."""
        out, steps = [], int(self.environment["steps per epoch"])
        columns = [(*name.partition("."), column) for name, column in self.epochs.items()]
        for i in range(len(self.epochs["epoch"])):
            parts: dict[str, dict[str, float]] = {"terms": {}, "accuracy": {}, "validation": {}, "test": {}}
            plain = {}
            for part, dot, rest, column in columns:
                value = math.nan if column[i] is None else column[i]
                if not dot:
                    plain[part] = value
                elif column[i] is not None or part == "terms":
                    parts[part][rest] = value
            moved = [t for t in self.changes if t["step"] // steps == i]
            out.append(Epoch(**plain | parts | {"epoch": plain["epoch"] - 1, "changes": moved}))
        return out

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What was asked, in one level: "method", "recipe.lr", "knobs.alpha"."""
        return runs.settings_of(self.config)

    @cached_property
    def measured(self) -> dict[str, float]:
        """What the epochs left: "accuracy.final", "best.final", "loss", "seconds"."""
        return runs.measured_in([e.record() for e in self.history])

    def analyses(self, name: str) -> dict[str, Any]:
        """An analysis that was made of the trained network, as `sdkit.analysis` gives it.

        Args:
            name: of `arrays.ARRAYS`, "noise" for example.

        Returns:
            Part -> the analysis; nothing where it was not kept.
        """
        return read(name, self.curves[name]) if name in self.curves else {}

    def __getitem__(self, column: str) -> Any:
        """The value in a column, None where it has none."""
        return self.settings.get(column, self.measured.get(column))

    def __str__(self) -> str:
        return f"{self['method']} · {self['model']} · {self['data']} · seed {self['seed']:g} · {result_label(self)}"


def result_label(record: Result, seeds: str = "1 seed", recipe: str = "") -> str:
    """What must stand beside numbers that come from records of such a device and recipe, and of so many seeds.

    recipe: what to call it, where the record's own name for it does not say all.
    """
    return f"recorded, on {record.device}, recipe {recipe or record.recipe}, {seeds}"


def results_folder(out: Path | None = None) -> Path:
    """Where records are kept."""
    return home() / "data" / "records" if out is None else Path(out)


def results_folders(out: Path | None = None) -> list[Path]:
    """Where records are looked for: in `out`, in home()/data/records and in the checkout's."""
    return list(dict.fromkeys((results_folder(out), results_folder(), Path(__file__).parents[2] / "data" / "records")))


def load_results(
    plan: str | None = None, where: Path | None = None, wanted: Callable[[dict[str, Any]], bool] | None = None
) -> list[Result]:
    """Every record, of one plan or of all, each verified. One that is not what was written is warned of and left out.

    wanted: whether an experiment's config is: the other records are looked at no further, which is most of the time.
    """
    place = results_folder(where)
    known = sorted(p.name for p in place.iterdir() if p.is_dir()) if place.is_dir() else []
    chosen = known if plan is None else [plan] if plan in known else []
    return verified((path for name in chosen for path in sorted((place / name).glob("*.json"))), wanted)


def verified(paths: Iterable[Path], wanted: Callable[[dict[str, Any]], bool] | None = None) -> list[Result]:
    """The records in some files. One that is not what was written is warned of and left out. wanted: see `load_results`."""
    found = []
    for path in paths:
        try:
            if wanted is None or wanted(_config(path)):
                found.append(read_result(path))
        except Damaged as error:
            warnings.warn(str(error), stacklevel=3)
    return found


def _config(path: Path) -> dict[str, Any]:
    """What was asked, of a record that is not verified yet."""
    plain = read_json(path)
    said = plain.get("config") if isinstance(plain, dict) else None
    if not isinstance(said, dict):
        raise Damaged(f"{path} is no record (it does not say what was asked): take it back from git or delete it")
    return said


def files_of(key: str, ending: str = "json") -> list[Path]:
    """Where a run is recorded: a file a plan and place."""
    return [p for place in results_folders() for p in sorted(place.glob(f"*/{key}.{ending}"))]


def read_result(path: Path) -> Result:
    """One record. Damaged, with the mend, where it is not what was written."""
    mend = "take it back from git or delete it, and the plan is run again for it"
    try:
        plain = read_json(path)
    except Damaged as error:
        raise Damaged(f"{error}: {mend}") from error
    form = plain.get("format") if isinstance(plain, dict) else None
    if isinstance(form, int) and form > FORMAT:
        raise Damaged(f"{path} is a record of the form {form}, this sdkit reads {FORMAT}: use the sdkit that wrote it")
    try:
        said, _ = plain.pop("hash"), plain.pop("format")
        record = Result(**plain)
        wrong = "its content is not what its hash says" if form != FORMAT or said != _hash(plain) else _wrong(record)
    except Exception as error:  # whatever else may stand there
        raise Damaged(f"{path} is no record ({type(error).__name__}: {error}): {mend}") from error
    if not wrong and path.stem != record.key:
        wrong = f"its file name should be {record.key}.json"
    if wrong:
        raise Damaged(f"{path} is damaged: {wrong}; {mend}")
    return record


def write_result(record: Result, out: Path | None = None) -> Path:
    """Keeps a record as <out>/<plan>/<key>.json, a column of the history a line."""
    plain = tidy(asdict(record))
    text = json.dumps({"format": FORMAT} | plain | {"hash": _hash(plain)}, indent=1, ensure_ascii=False, allow_nan=False)
    path = results_folder(out) / record.plan / f"{record.key}.json"
    for left in path.parent.glob(f".{path.name}.*"):  # half written by a process that died
        if time.time() - left.stat().st_mtime > 3600:
            left.unlink(missing_ok=True)
    beside = path.with_suffix(".safetensors")
    if (said := record.curves.get("weights")) and not (beside.exists() and digest(beside) == said["sha256"]):
        write(beside, half_weights(Run(root() / record.key)))
    write(path, (NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n").encode())
    return path


NUMBERS = re.compile(r"\[[^\[\]{}\"]*\]")
"""In indented JSON, a list of numbers."""


def _hash(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _wrong(record: Result) -> str:
    """What of a record cannot be; nothing where all is well."""
    if key_of(record.config) != record.key:
        return f"its key {record.key} is not that of what was asked"
    missing = [
        name for name in ("sdkit", "torch", "device", "machine", "source", "test images") if not record.environment.get(name)
    ]
    if missing:
        return f"it does not say its {' and '.join(missing)}"
    return _incomplete(record.status, record.history, int(record.config["recipe"]["epochs"]))


def _incomplete(status: str, history: Sequence[Epoch], epochs: int) -> str:
    """What of a history cannot be; nothing where all is well. One that diverged may be short and end in no number."""
    if status not in ("done", "diverged"):
        return f"it is {status}, not done"
    if [e.epoch for e in history] != list(range(len(history))) or len(history) > epochs:
        return f"its {len(history)} epochs are not numbered from 0 within {epochs}"
    if status == "done" and len(history) < epochs:
        return f"it has {len(history)} of its {epochs} epochs"
    for e in history if status == "done" else history[:-1]:
        accuracies = [*e.accuracy.values(), *e.validation.values(), *e.test.values(), e.train_accuracy]
        numbers = [*e.terms.values(), *accuracies, e.lr, e.seconds, e.loss]
        if not all(map(math.isfinite, numbers)):
            return f"epoch {e.epoch + 1} has a value that is no number"
        if not all(0 <= a <= 1 for a in accuracies):
            return f"epoch {e.epoch + 1} has an accuracy outside [0, 1]"
    return ""


# from a run to its record
def check_run(experiment: Experiment) -> Run:
    """The finished run of an experiment, every file of it looked at. Damaged, with the mend, where something cannot be.

    ValueError where it has not ended.
    """
    run = experiment.stored
    if run.status in ("new", "training"):
        raise ValueError(
            f"a record is of a run that has ended, and run {run.key} is {run.status}: {experiment}.run() trains it"
        )
    history, epochs = run.history(), experiment.recipe.epochs
    wrong = _incomplete(run.status, history, epochs)
    if not wrong and run.config != experiment.config:
        wrong = "experiment.json is of another experiment"
    if not wrong and not run.environment.get("device"):
        wrong = "experiment.json does not say where it was trained"
    if not wrong and run.status == "done":
        if len(list((run.folder / "outputs").glob("*.npy"))) != epochs:
            wrong = f"outputs/ has not one file for each of the {epochs} epochs"
        elif not (run.is_light() or all(t.isfinite().all() for t in _numbers(run))):
            wrong = "its weights are not all numbers"
        else:
            run.outputs(), run.logits()  # each held to its digest
    if wrong:
        raise Damaged(f"run {run.key} is damaged: {wrong}; delete the folder {run.folder}, and the plan runs it again")
    return run


def _numbers(run: Run) -> list[Tensor]:
    return [t for part in run.weights().values() for t in part.values() if t.is_floating_point()]


def result_of(
    experiment: Experiment, plan: str, curves: Iterable[str] = (), environment: dict[str, Any] | None = None
) -> Result:
    """The record of a finished run, which is checked first. environment: what else to say of where it ran."""
    run = check_run(experiment)
    history, trained = run.history(), Trained(experiment, run)
    return Result(
        plan,
        run.key,
        run.status,
        run.config,
        {"source": source_digest()}  # of a run that does not say it
        | run.environment
        | {"machine": run.environment["machine"].partition("-")[0]}
        | {"test images": len(trained.labels())}
        | (environment or {}),
        {k: [tidy_number(v) for v in column] for k, column in epoch_table(history).items()},
        [t for e in history for t in e.changes],
        {name: CURVES[name](trained) for name in curves} if run.status == "done" else {},
    )


CURVE_EPOCHS = 30
"""Of how many epochs at most a record keeps the ranked variance."""


def _ranked(t: Trained) -> dict[str, Any]:
    """Ranked-output variance along training, paper 004, Fig. 3: of at most CURVE_EPOCHS epochs, the last among them."""
    epochs, outputs = t.run.outputs()
    places = np.unique(np.linspace(0, len(epochs) - 1, min(CURVE_EPOCHS, len(epochs))).round().astype(int))
    accuracy = torch.tensor([t.history[e].accuracy["final"] for e in epochs[places]])
    found = ranked_along(outputs[torch.from_numpy(places)], accuracy, torch.from_numpy(epochs[places]))
    variance = {space: _plain(v) for space, v in found.variance.items()}
    return {"epoch": (epochs[places] + 1).tolist(), "variance": variance, "pearson": found.pearson}


def _calibration(t: Trained) -> dict[str, Any]:
    """Calibration of the last epoch on the test set."""
    logits, y = _last(t)
    return {"images": len(y)} | {k: _plain(v) for k, v in calibration(logits, y)._asdict().items()}


def _right(t: Trained) -> dict[str, Any]:
    """Which of the test images the last epoch answers right, a bit each: what tells two runs image by image."""
    logits, y = _last(t)
    return right_images(logits.argmax(1) == y)


def right_images(right: Tensor) -> dict[str, Any]:
    """Which images are answered right, [N] bool, a bit each, as a record keeps it."""
    return {"images": len(right), "bits": np.packbits(right.numpy()).tobytes().hex()}


def _factors(t: Trained) -> dict[str, Any]:
    """Which images of each factor alone the network answers right, a bit each; nothing where nobody knows the factors."""
    return {name: right_images(factors(*said).right) for name, said in t.factors().items()}


def judged_by(found: Result, right: dict[str, Any]) -> Result:
    """A result whose last accuracy, and which images it is right of, are those of other images than the test set's.

    Args:
        found: of a run that ended well.
        right: what `right_images` keeps of them.

    Returns:
        The same in all else: gains are taken of it image by image.
    """
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(right["bits"]), np.uint8), count=right["images"])
    return replace(
        found,
        epochs={k: v for k, v in found.epochs.items() if not k.startswith("test.")}
        | {"accuracy.final": [float(bits.mean())] * len(found.epochs["epoch"])},
        environment=found.environment | {"test images": right["images"]},
        curves=found.curves | {"right": right},
    )


def _last(t: Trained) -> tuple[Tensor, Tensor]:
    """The last epoch's logits of the test set and the labels."""
    logits = t.run.logits()
    return logits, t.labels()[: len(logits)]


def _weights(t: Trained) -> dict[str, Any]:
    """That 16-bit weights lie beside the record, and their digest."""
    content = half_weights(t.run)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


CURVES: dict[str, Callable[[Trained], dict[str, Any]]] = {
    "ranked": _ranked,
    "calibration": _calibration,
    "right": _right,
    "factors": _factors,
    **{name: partial(kept, name) for name in ARRAYS},
    "weights": _weights,
}
"""What a record may keep beside the history: of the run's recorded outputs, or of its network."""


LIGHT = ("ranked", "calibration", "right", "factors")
"""What is kept where a plan does not say: a few kilobytes."""


def of_weights(curves: Iterable[str], experiment: Experiment) -> bool:
    """Whether any of some curves is made of the trained network, and not of what the run recorded of its outputs alone."""
    return any(c in ARRAYS or c == "weights" or (c == "factors" and experiment.data == "shapes") for c in curves)


def _plain(value: Any) -> Any:
    return [tidy_number(v) for v in value.tolist()] if isinstance(value, Tensor) else tidy_number(value)


def tidy_number(value: Any) -> Any:
    """A number in 7 digits: more than any is certain."""
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value
