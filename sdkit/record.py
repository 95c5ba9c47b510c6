"""The recorder: trains what a plan lists, within a time, and keeps of every run a light record that git can hold.

    plans/NAME.json                     what to run, in order
    <home>/runs/<key>/                  the runs themselves, as always
    data/records/<plan>/<key>.json      a record: what was asked, where it ran, its history, small curves; no weights

`sdkit record NAME --minutes 30` goes on wherever the last call stopped, on this machine or another: what has a record is not
run again. `python -m sdkit.record` is the same where there is only torch, torchvision, NumPy, scikit-learn
and Pillow. What records say beside each other is the matter of `comparison`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import fast, runs
from .analysis import calibration, ranked_along
from .core import home, pick
from .experiment import Experiment
from .runs import Damaged, Run, epoch_table, key_of, replacing
from .train import RECIPES, Diverged, Epoch, Recipe, device, device_name, tidy

Say = Callable[[str], None]

FORMAT = 1
"""Raised when a record is written in another form."""

LISTS = {"seeds": "seed", "epochs": "recipe", "models": "model", "methods": "method"}
"""Of a plan's entry: one experiment for every value, the last of these changing fastest. Epochs stand for the entry's recipe
with so many."""

# plans


@dataclass(frozen=True)
class Plan:
    """Experiments to run, in order."""

    name: str
    about: str
    experiments: list[Experiment]
    curves: tuple[str, ...]  # of CURVES: what a record keeps beside the history


def plans() -> list[Path]:
    """The plans of this checkout."""
    folders = [home() / "plans", Path(__file__).parents[1] / "plans"]
    return sorted({p.name: p for folder in reversed(folders) for p in folder.glob("*.json")}.values())


def read_plan(said: str | Path, data: Path | None = None) -> Plan:
    """A plan by its name or its file. data: the folder of data sets, where that is not home()/data.

    A file holds "name", "about", "curves" and "runs": a list of an `Experiment`'s arguments, in which "methods", "models",
    "epochs" and "seeds" are lists that stand for one run each. Of "epochs" each is a whole schedule of its own.
    """
    path = Path(said)
    if path.suffix != ".json":
        known = {p.stem: p for p in plans()}
        path = known[pick(str(said), known, "plan")]
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(p.stem for p in plans()) or "none"
        raise FileNotFoundError(f"no plan {path}: the plans here are {names}") from None
    except ValueError as error:
        raise ValueError(f"the plan {path} is not JSON ({error}): mend it there") from error
    if not isinstance(plan, dict) or not isinstance(plan.get("runs"), list) or not plan["runs"]:
        raise ValueError(f'the plan {path} says no runs: it needs "runs", a list of an Experiment\'s arguments')
    for name in plan:
        pick(name, ("name", "about", "curves", "runs"), f"part of a plan ({path.name})")
    experiments: dict[str, Experiment] = {}
    for number, entry in enumerate(plan["runs"], 1):
        try:
            experiments |= {e.key: e for e in _entry(entry, data)}
        except (TypeError, ValueError, KeyError) as error:
            words = error.args[0] if error.args else error
            raise ValueError(f"run {number} of the plan {path.name} is no experiment: {words}") from error
    curves = tuple(pick(c, CURVES, "curve of a record") for c in plan.get("curves", CURVES))
    return Plan(plan.get("name", path.stem), plan.get("about", ""), list(experiments.values()), curves)


def _entry(entry: dict[str, Any], data: Path | None) -> list[Experiment]:
    """The experiments of an entry, lists spelled out."""
    lists = {one: entry[many] for many, one in LISTS.items() if many in entry}
    both = [one for one in lists if one in entry and one != "recipe"]
    if both:
        raise ValueError(f"it says {both[0]} and a list of them: say one")
    if "recipe" in lists:
        recipe = _recipe(entry.get("recipe", Experiment.recipe))
        lists["recipe"] = [replace(recipe, epochs=n) for n in lists["recipe"]]
    rest = {k: v for k, v in entry.items() if k not in LISTS}
    values = product(*lists.values())  # every method at one length of one seed, then the next length, then the next seed
    return [_experiment(rest | dict(zip(lists, chosen, strict=True)), data) for chosen in values]


def _recipe(said: str | dict[str, Any]) -> Recipe:
    return Recipe(**said) if isinstance(said, dict) else RECIPES[pick(said, RECIPES, "recipe")]


def _experiment(said: dict[str, Any], data: Path | None) -> Experiment:
    known = Experiment.__dataclass_fields__
    said = {pick(k, known, "argument of an experiment"): v for k, v in said.items()}
    if isinstance(said.get("recipe"), dict):
        said["recipe"] = _recipe(said["recipe"])
    if isinstance(said.get("teacher"), dict):
        said["teacher"] = _experiment(said["teacher"], data)
    if "schedule" in said:
        said["schedule"] = {float(when): knobs for when, knobs in said["schedule"].items()}
    if data is not None:
        said["dataset"] = said.get("dataset", {}) | {"root": data}
    return Experiment(**said)


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
        for i in range(len(self.epochs["epoch"])):
            row = {name: math.nan if column[i] is None else column[i] for name, column in self.epochs.items()}
            parts: dict[str, dict[str, float]] = {"terms": {}, "accuracy": {}, "validation": {}, "test": {}}
            plain = {}
            for name, value in row.items():
                part, dot, rest = name.partition(".")
                if not dot:
                    plain[name] = value
                elif self.epochs[name][i] is not None or part == "terms":
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

    def __getitem__(self, column: str) -> Any:
        """The value in a column, None where it has none."""
        return self.settings.get(column, self.measured.get(column))

    def __str__(self) -> str:
        return f"{self['method']} · {self['model']} · {self['data']} · seed {self['seed']:g} · {label(self)}"


def label(record: Result, seeds: str = "1 seed", recipe: str = "") -> str:
    """What must stand beside numbers that come from records of such a device and recipe, and of so many seeds.

    recipe: what to call it, where the record's own name for it does not say all.
    """
    return f"recorded, on {record.device}, recipe {recipe or record.recipe}, {seeds}"


def folder(out: Path | None = None) -> Path:
    """Where records are kept."""
    return home() / "data" / "records" if out is None else Path(out)


def places(out: Path | None = None) -> list[Path]:
    """Where records are looked for: in `out`, in home()/data/records and in the checkout's."""
    return list(dict.fromkeys((folder(out), folder(), Path(__file__).parents[1] / "data" / "records")))


def load(plan: str | None = None, where: Path | None = None) -> list[Result]:
    """Every record, of one plan or of all, each verified. Damaged where one is not what was written."""
    place = folder(where)
    known = sorted(p.name for p in place.iterdir() if p.is_dir()) if place.is_dir() else []
    chosen = known if plan is None else [plan] if plan in known else []
    return [read(path) for name in chosen for path in sorted((place / name).glob("*.json"))]


def read(path: Path) -> Result:
    """One record. Damaged, with the mend, where it is not what was written."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        said = plain.pop("hash")
        form = plain.pop("format")
        record = Result(**plain)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is no record ({error}): delete it, and the plan is run again for it") from error
    if form != FORMAT:
        raise Damaged(f"{path} is a record of the form {form}, this sdkit reads {FORMAT}: use the sdkit that wrote it")
    wrong = "its content is not what its hash says" if said != _hash(plain) else _wrong(record)
    if not wrong and path.stem != record.key:
        wrong = f"its file name should be {record.key}.json"
    if wrong:
        raise Damaged(f"{path} is damaged: {wrong}; take it back from git or delete it, and the plan is run again for it")
    return record


def write(record: Result, out: Path | None = None) -> Path:
    """Keeps a record as <out>/<plan>/<key>.json, a column of the history a line."""
    plain = tidy(asdict(record))
    text = json.dumps({"format": FORMAT} | plain | {"hash": _hash(plain)}, indent=1, ensure_ascii=False, allow_nan=False)
    path = folder(out) / record.plan / f"{record.key}.json"
    with replacing(path) as temporary:
        temporary.write_text(NUMBERS.sub(lambda found: " ".join(found[0].split()), text) + "\n", encoding="utf-8")
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


def check(experiment: Experiment) -> Run:
    """The finished run of an experiment, every file of it looked at. Damaged, with the mend, where something cannot be."""
    run = experiment.record
    history, epochs = run.history(), experiment.recipe.epochs
    wrong = _incomplete(run.status, history, epochs)
    if not wrong and run.config != experiment.config:
        wrong = "experiment.json is of another experiment"
    if not wrong and not run.environment.get("device"):
        wrong = "experiment.json does not say where it was trained"
    if not wrong and run.status == "done":
        if len(list((run.folder / "outputs").glob("*.npy"))) != epochs:
            wrong = f"outputs/ has not one file for each of the {epochs} epochs"
        elif not all(t.isfinite().all() for part in run.weights().values() for t in part.values() if t.is_floating_point()):
            wrong = "its weights are not all numbers"
    if wrong:
        raise Damaged(f"run {run.key} is damaged: {wrong}; delete the folder {run.folder}, and the plan runs it again")
    return run


def of_run(experiment: Experiment, plan: str, curves: Iterable[str] = (), environment: dict[str, Any] | None = None) -> Result:
    """The record of a finished run, which is checked first. environment: what else to say of where it ran."""
    run = check(experiment)
    history = run.history()
    return Result(
        plan,
        run.key,
        run.status,
        run.config,
        run.environment
        | {"machine": run.environment["machine"].partition("-")[0], "source": source()}
        | {"test images": len(experiment.load_data().test.y)}
        | (environment or {}),
        {k: [_short(v) for v in column] for k, column in epoch_table(history).items()},
        [t for e in history for t in e.changes],
        {name: CURVES[name](experiment, run) for name in curves} if run.status == "done" else {},
    )


def source() -> str:
    """Twelve hex digits of all code that a training depends on."""
    here = Path(__file__).parent
    rooms = ("core.py", "losses.py", "fast.py", "train.py", "experiment.py", "data", "methods", "models")
    files = sorted(f for room in rooms for f in ([here / room] if room.endswith(".py") else (here / room).rglob("*.py")))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


CURVE_EPOCHS = 30
"""Of how many epochs at most a record keeps the ranked variance."""


def _ranked(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Ranked-output variance along training, paper 004, Fig. 3: of at most CURVE_EPOCHS epochs, the last among them."""
    epochs, outputs = run.outputs()
    places = np.unique(np.linspace(0, len(epochs) - 1, min(CURVE_EPOCHS, len(epochs))).round().astype(int))
    history = run.history()
    accuracy = torch.tensor([history[e].accuracy["final"] for e in epochs[places]])
    found = ranked_along(outputs[torch.from_numpy(places)], accuracy, torch.from_numpy(epochs[places]))
    variance = {space: _plain(v) for space, v in found.variance.items()}
    return {"epoch": (epochs[places] + 1).tolist(), "variance": variance, "pearson": found.pearson}


def _calibration(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Calibration of the last epoch on the test set."""
    logits, y = _last(experiment, run)
    return {"images": len(y)} | {k: _plain(v) for k, v in calibration(logits, y)._asdict().items()}


def _right(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Which of the test images the last epoch answers right, a bit each: what tells two runs image by image."""
    logits, y = _last(experiment, run)
    return {"images": len(y), "bits": np.packbits((logits.argmax(1) == y).numpy()).tobytes().hex()}


def _last(experiment: Experiment, run: Run) -> tuple[Tensor, Tensor]:
    """The last epoch's logits of the test set and the labels."""
    logits = run.logits()
    return logits, experiment.load_data().test.y[: len(logits)]


CURVES: dict[str, Callable[[Experiment, Run], dict[str, Any]]] = {
    "ranked": _ranked,
    "calibration": _calibration,
    "right": _right,
}
"""What a record may keep beside the history, computed from the run's recorded outputs."""


def _plain(value: Any) -> Any:
    return [_short(v) for v in value.tolist()] if isinstance(value, Tensor) else _short(value)


def _short(value: Any) -> Any:
    """A number in 7 digits: more than any is certain."""
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value


# recording


class Report(NamedTuple):
    """What a call of `record` left."""

    recorded: list[str]  # keys, of this call
    missing: list[str]  # keys that still have no record
    damaged: dict[str, str]  # key -> what is wrong, and the mend


def record(
    plan: str | Path,
    minutes: float | None = None,
    out: Path | None = None,
    data: Path | None = None,
    checkpoint_every: float | None = None,
    say: Say = print,
) -> Report:
    """Runs what of a plan has no record yet, in order, and keeps the records. minutes: to end within; None: to the plan's end.

    A run is begun only if, by the steps measured so far, it ends in time, or if no call of this length could hold it: then it
    is left at its checkpoint, and the next call goes on from there. minutes=0 only says what is missing.
    out: where records go, default data/records. data: the folder of data sets. spare: see `Run.follow`.
    """
    chosen, began = read_plan(plan, data), time.monotonic()
    until = math.inf if minutes is None else began + 60 * minutes
    kept = {r.key: r for place in places(out) for r in load(chosen.name, place)}
    missing = [e for e in chosen.experiments if e.key not in kept]
    say(f"{chosen.name}: {len(chosen.experiments) - len(missing)} of {len(chosen.experiments)} recorded")
    if minutes == 0:
        for e in missing:
            say(f"  missing: {_spoken(e)}")
        return Report([], [e.key for e in missing], {})
    paces = {_twin(r.config): r.environment["seconds an epoch"] for r in kept.values() if _here(r)}
    report = Report([], [], {})
    for e in missing:
        try:
            ended = all(_train(step, began, until, paces, checkpoint_every, say) for step in (*_teachers(e), e))
            if ended:
                path = write(of_run(e, chosen.name, chosen.curves, _about(e, paces)), out)
                size = path.stat().st_size / 1e3
                say(f"  recorded: {_spoken(e)}, {_accuracy(e)}, {size:.0f} kB")
                report.recorded.append(e.key)
                continue
        except Damaged as error:
            say(f"  damaged: {error}")
            report.damaged[e.key] = str(error)
        report.missing.append(e.key)
    say(
        f"{len(report.recorded)} recorded in {(time.monotonic() - began) / 60:.1f} minutes, {len(report.missing)} missing"
        + ("" if not report.missing else ": the same command goes on")
    )
    return report


def _train(
    e: Experiment, began: float, until: float, paces: dict[str, float], checkpoint_every: float | None, say: Say
) -> bool:
    """Trains one run as far as the time allows. -> whether it ended."""
    run = e.record
    if run.status in ("done", "diverged"):
        return True
    resumed = (run.folder / "checkpoint.pt").exists()
    now = time.monotonic()
    if until < math.inf:
        if now >= until:
            return False
        pace = paces.get(_twin(e.config)) or _probe(e)
        left = e.recipe.epochs - (len(run.history()) if resumed else 0)
        need, has = pace * left, until - time.monotonic()
        too_long = pace * e.recipe.epochs > until - began
        if pace > has or (need > has and not resumed and not too_long):
            say(f"  waits: {_spoken(e)} needs {need:.0f} s, {max(has, 0):.0f} s are left")
            return False
        paces.setdefault(_twin(e.config), pace)
    say(f"  {'goes on' if resumed else 'begins'}: {_spoken(e)}")
    walls, last = [], None
    with closing(run.follow(e.config, partial(e.training, _threads()), checkpoint_every)) as walk:
        try:
            for event in walk:
                if last is None:
                    last = time.monotonic()  # from the first step on: building is no part of an epoch
                if not isinstance(event, Epoch):
                    continue
                now = time.monotonic()
                walls.append(now - last)
                last = now
                paces[_twin(e.config)] = statistics.mean(walls[-5:])
                if event.epoch + 1 < e.recipe.epochs and now + 1.1 * paces[_twin(e.config)] > until:
                    say(f"  left at its checkpoint: {_spoken(e)}, {event.epoch + 1} of {e.recipe.epochs} epochs")
                    return False
        except Diverged as error:
            say(f"  diverged: {_spoken(e)}: {error}")
    return True


def _probe(e: Experiment) -> float:
    """Seconds that an epoch and its evaluation will take, from a few steps of a training that is thrown away."""
    training = e.training(_threads())
    step, wait = training.stepper(), torch.cuda.synchronize if training.device.type == "cuda" else (lambda: None)
    for _ in range(3):
        step()
    wait()
    began, done = time.perf_counter(), 0
    while done < 3 or (done < 50 and time.perf_counter() - began < 1):
        step()
        done += 1
        wait()
    seconds = (time.perf_counter() - began) / done
    seen = len(training.data.train.y) + (len(training.data.test.y) + len(training.data.val.y)) / 2
    return seconds * max(seen / e.recipe.batch_size, 1)


def _threads() -> int:
    """Of every run of a plan: those that began beside a busy process would stand in tables of their own."""
    return fast.threads_said() or torch.get_num_threads()


def _teachers(e: Experiment) -> list[Experiment]:
    """Its teacher's teachers, then its teacher."""
    return [] if e.teacher is None else [*_teachers(e.teacher), e.teacher]


def _twin(config: dict[str, Any]) -> str:
    """What runs of one pace have in common: all but the seed and the schedule."""
    return key_of(config | {"seed": 0, "recipe": config["recipe"]["batch_size"]})


def _here(record: Result) -> bool:
    """Whether it was recorded on such a device as this one."""
    return "seconds an epoch" in record.environment and record.device == device_name(device())


def _about(e: Experiment, paces: dict[str, float]) -> dict[str, Any]:
    """What the recorder adds to what a run says of where it was trained."""
    pace, began = paces.get(_twin(e.config)), e.record.environment
    now = device_name(device(), began.get("threads"), began.get("precision"))  # a run keeps its own
    ended = {} if began.get("device") == now else {"ended on": now}
    return (
        {"recorded": time.strftime("%Y-%m-%dT%H:%M:%S"), "steps": fast.mode()}
        | ({"seconds an epoch": _short(pace)} if pace else {})
        | ended
    )


def _spoken(e: Experiment) -> str:
    """The line of code that makes it, without the place of its images."""
    return str(_unplaced(e))


def _unplaced(e: Experiment) -> Experiment:
    dataset = {k: v for k, v in e.dataset.items() if k != "root"}
    return replace(e, dataset=dataset, teacher=e.teacher and _unplaced(e.teacher))


def _accuracy(e: Experiment) -> str:
    history = e.record.history()
    return f"{(history[-1].test or history[-1].accuracy).get('final', math.nan):.2%} test" if history else "no epoch"


# what is recorded


class Stock(NamedTuple):
    """What is recorded of a plan, and what is not."""

    name: str
    about: str
    records: list[Result]  # in the plan's order, then those that it no longer lists
    missing: list[Experiment]
    wrong: list[str]  # a plan or a record that cannot be read: why, and the mend

    def __str__(self) -> str:
        said = f"{self.name}: {len(self.records)} recorded, {len(self.missing)} missing. {self.about}"
        mend = [f"  `sdkit record {self.name}` trains what is missing"] if self.missing else []
        return "\n".join([said.strip(), *mend, *(f"  {words}" for words in self.wrong)])


def stock(plan: str | None = None) -> list[Stock]:
    """Every plan here with its records, then records whose plan is gone. Raises nothing for a file that cannot be read.

    plan: this one alone, even where there is nothing of it.
    """
    out, wrong, found = [], {}, []
    for path in (p for p in plans() if plan in (None, p.stem)):
        try:
            found.append(read_plan(path))
        except (ValueError, KeyError) as error:
            found.append(Plan(path.stem, "", [], ()))
            wrong[path.stem] = [str(error.args[0])]
    folders = {f.name for place in places() if place.is_dir() for f in place.iterdir() if f.is_dir()}
    gone = (folders if plan is None else {plan}) - {known.name for known in found}
    for known in [*found, *(Plan(name, "Its plan is not here.", [], ()) for name in sorted(gone))]:
        kept: dict[str, Result] = {}
        damaged = wrong.get(known.name, [])
        for path in (path for place in places() for path in sorted((place / known.name).glob("*.json"))):
            try:
                kept.setdefault(path.stem, read(path))
            except Damaged as error:
                damaged.append(str(error))
        listed = {e.key: e for e in known.experiments}
        records = [kept[key] for key in listed if key in kept] + [r for key, r in kept.items() if key not in listed]
        out.append(Stock(known.name, known.about, records, [e for key, e in listed.items() if key not in kept], damaged))
    return out


def main(arguments: list[str] | None = None) -> int:
    """`python -m sdkit.record`: the recorder without the rest of the command line."""
    parser = argparse.ArgumentParser(prog="python -m sdkit.record", description=__doc__.partition("\n")[0])
    parser.add_argument("plan", help="a name in plans/, or a file")
    parser.add_argument("--minutes", type=float, help="end within; 0 only says what is missing")
    parser.add_argument("--out", type=Path, help="where records go; default data/records")
    parser.add_argument("--data", type=Path, help="the folder of data sets; default data/")
    said = parser.parse_args(arguments)
    try:
        report = record(said.plan, said.minutes, said.out, said.data, say=lambda text: print(text, flush=True))
    except (ValueError, KeyError, TypeError, OSError, RuntimeError) as error:
        if os.environ.get("SDKIT_TRACEBACK"):
            raise
        print(f"sdkit: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    return 1 if report.damaged else 0


if __name__ == "__main__":
    sys.exit(main())
