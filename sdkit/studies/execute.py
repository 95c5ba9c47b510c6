"""The recorder: trains what a plan lists, within a time, and keeps a light result of every run.

`sdkit record NAME --minutes 30` goes on wherever the last call stopped, on this machine or another: what has a result is not
run again.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..experiment import Experiment, find, short
from ..experiment.sweep import AWAY, taught_by
from ..runs import Busy, Damaged, key_of
from ..train import Diverged, Epoch, default_device, device, device_name, graphs, watched
from .plan import Plan, plans, read_plan
from .result import Result, of_weights, read_result, result_of, results_folders, tidy_number, write_result

Say = Callable[[str], None]

SWEEPS = "sweeps"
"""The folder of records that no plan lists: the notebooks' small runs, which `gather` reads."""

ENDED = ("done", "diverged")

LEFT_BEHIND = (
    "run {0} came back from a cluster without its weights, of which curves of this plan are made: `sdkit rm {0}`, and the plan "
    "runs it again"
)


# recording
class ExecutionReport(NamedTuple):
    """What a call of `record` left."""

    recorded: list[str]  # keys, of this call
    missing: list[str]  # keys that still have no record
    damaged: dict[str, str]  # key -> what is wrong, and the mend
    raised: dict[str, str]  # key -> the error that ended its training on a cluster


def execute_plan(
    plan: str | Path,
    minutes: float | None = None,
    out: Path | None = None,
    data: Path | None = None,
    checkpoint_every: float | None = None,
    say: Say = print,
) -> ExecutionReport:
    """Runs what of a plan has no record yet, in order, and keeps the records. minutes: to end within; None: to the plan's end.

    A run is begun only if, by the steps measured so far, it ends in time, or if no call of this length could hold it: then it
    is left at its checkpoint, and the next call goes on from there. minutes=0 only says what is missing.
    out: where records go, default data/records. data: the folder of data sets. checkpoint_every: see `Run.follow`.
    A run that another process trains is left to it, and the next one taken: several calls share a plan.
    Within `studies.on(cluster)` the runs are trained there; minutes: then what has not come back is called off.
    """
    chosen, began = read_plan(plan, data), time.monotonic()
    until = math.inf if minutes is None else began + 60 * minutes
    report = ExecutionReport([], [], {}, {})
    kept, damaged = _kept(chosen, results_folders(out))
    missing = [e for e in chosen.experiments if e.key not in kept]
    say(f"{chosen.name}: {len(chosen.experiments) - len(missing)} of {len(chosen.experiments)} recorded")
    waiting = [e for e in missing if e.key not in damaged]
    for key in (e.key for e in missing if e.key in damaged):  # to be mended by hand: it may be there in git
        say(f"  damaged: {damaged[key]}")
        report.damaged[key] = damaged[key]
        report.missing.append(key)
    if minutes == 0:
        for e in waiting:
            say(f"  missing: {_spoken(e)}")
            report.missing.append(e.key)
        return report
    paces = {_twin(r.config): r.environment["seconds an epoch"] for r in kept.values() if _here(r)}
    if away := AWAY.get():
        needed = {"weights": True} if any(of_weights(chosen.curves, e) for e in waiting) else {}
        for e, error in away(waiting, until, **needed):
            if e not in waiting:  # a teacher
                continue
            waiting.remove(e)
            if error is None or isinstance(error, Diverged):
                _record(e, chosen, out, began, until, paces, checkpoint_every, say, report)
            else:
                say(f"  raised: {_spoken(e)}: {error}")
                report.raised[e.key] = str(error)
                report.missing.append(e.key)
    while waiting and not away:
        busy = [e for e in waiting if not _record(e, chosen, out, began, until, paces, checkpoint_every, say, report)]
        if len(busy) == len(waiting):
            break
        waiting = busy  # of those that another process trained at its turn, some may have ended, or been left
    report.missing.extend(e.key for e in waiting)
    say(
        f"{len(report.recorded)} recorded in {(time.monotonic() - began) / 60:.1f} minutes, {len(report.missing)} missing"
        + (f", {len(waiting)} of them being trained by another process" if waiting and not away else "")
        + ("" if not report.missing else ": the same command goes on")
    )
    return report


def _kept(plan: Plan, places: list[Path]) -> tuple[dict[str, Result], dict[str, str]]:
    """What is recorded of a plan in some folders, by key, and what is wrong with those records that cannot be read.

    What another plan has recorded of its experiments counts as well, where it kept all that this one keeps.
    """
    kept: dict[str, Result] = {}
    damaged: dict[str, str] = {}
    own = [path for place in places for path in sorted((place / plan.name).glob("*.json"))]
    others = [path for e in plan.experiments for place in places for path in sorted(place.glob(f"*/{e.key}.json"))]
    for path in (path for path in [*own, *others] if path.stem not in kept):
        try:
            found = read_result(path)
            if found.plan == plan.name or found.status == "diverged" or {*plan.curves} <= found.curves.keys():
                kept[path.stem] = found
        except Damaged as error:
            damaged.setdefault(path.stem, str(error))
    return kept, {key: wrong for key, wrong in damaged.items() if key not in kept}


def _record(
    e: Experiment,
    plan: Plan,
    out: Path | None,
    began: float,
    until: float,
    paces: dict[str, float],
    checkpoint_every: float | None,
    say: Say,
    report: ExecutionReport,
) -> bool:
    """Trains and records one run as far as the time allows. -> False where another process trains it, or its teacher."""
    kept = [place / plan.name / f"{e.key}.json" for place in results_folders(out)]
    if any(map(Path.is_file, kept)):
        say(f"  recorded by another process: {_spoken(e)}")
        return True
    try:
        if _ended(e, began, until, paces, checkpoint_every, say):
            with e.stored.alone(wait=False):  # of those that find it ended, one writes the record
                if any(map(Path.is_file, kept)):
                    say(f"  recorded by another process: {_spoken(e)}")
                    return True
                if of_weights(plan.curves, e) and e.stored.is_light():
                    raise Damaged(LEFT_BEHIND.format(e.stored.key))
                path = write_result(result_of(e, plan.name, plan.curves, _about(e, paces)), out)
            say(f"  recorded: {_spoken(e)}, {_accuracy(e)}, {path.stat().st_size / 1e3:.0f} kB")
            report.recorded.append(e.key)
            return True
    except Busy:
        say(f"  trained by another process: {_spoken(e)}")
        return False
    except Damaged as error:
        say(f"  damaged: {error}")
        report.damaged[e.key] = str(error)
    report.missing.append(e.key)
    return True


def _ended(
    e: Experiment, began: float, until: float, paces: dict[str, float], checkpoint_every: float | None, say: Say
) -> bool:
    """Trains one run, its teachers first, as far as the time allows. -> whether it ended."""
    if e.stored.status in ENDED:  # whatever became of its teachers
        return True
    for teacher in taught_by(e):
        if not _train(teacher, began, until, paces, checkpoint_every, say):
            return False
        if teacher.stored.status == "diverged":
            say(f"  not trained: {_spoken(e)}: its teacher, run {teacher.key}, diverged")
            return False
    return _train(e, began, until, paces, checkpoint_every, say)


def _train(
    e: Experiment, began: float, until: float, paces: dict[str, float], checkpoint_every: float | None, say: Say
) -> bool:
    """Trains one run as far as the time allows. -> whether it ended. Busy where another process trains it."""
    run = e.stored
    if run.status in ENDED:
        return True
    if run.is_busy():
        raise Busy(run.key)
    resumed = run.resumable()
    now = time.monotonic()
    if until < math.inf:
        if now >= until:
            return False
        pace = paces.get(_twin(e.config)) or _probe(e)
        need, has = pace * _epochs_left(e), until - time.monotonic()
        too_long = pace * e.recipe.epochs > until - began
        if pace > has or (need > has and not resumed and not too_long):
            say(f"  waits: {_spoken(e)} needs {need:.0f} s, {max(has, 0):.0f} s are left")
            return False
        paces.setdefault(_twin(e.config), pace)
    walls, last = [], None
    with closing(run.follow(e.config, partial(e.training, _threads()), checkpoint_every, wait=False)) as walk:
        try:
            for event in walk:
                if last is None:  # it is this process' now, and from the first step on: building is no part of an epoch
                    last = time.monotonic()
                    say(f"  {'goes on' if resumed else 'begins'}: {_spoken(e)}")
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
    training = e.untaught().training(_threads())  # a step beside a teacher that nobody trained takes as long
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
    data, parts = training.data, {"test": training.data.test.y, "val": training.data.val.y}
    tested = sum(len(y) if (part := watched(data, split)) is None else len(part) for split, y in parts.items())
    tested += sum(map(len, parts.values())) / e.recipe.epochs  # the whole of both at the end
    return seconds * max((len(data.train.y) + tested / 3) / e.recipe.batch_size, 1)  # a test is a third of a step


def _epochs_left(e: Experiment) -> int:
    return e.recipe.epochs - (len(e.stored.history()) if e.stored.resumable() else 0)


class Cost(NamedTuple):
    """What trainings will take on this device, one after another; written out it is a sentence."""

    seconds: float
    memory: int | None  # bytes of the process, or of the card, at the most; None where the system does not tell

    def __str__(self) -> str:
        memory = "" if self.memory is None else f"; at the most {self.memory / 1e9:.1f} GB of memory for each"
        return f"some {max(self.seconds / 60, 1):.0f} minutes on this device, one after another{memory}"


def cost_left(experiments: Iterable[Experiment]) -> Cost:
    """What trainings will take on this device, one after another, from a few steps of each kind; nothing is kept.

    Args:
        experiments: what is not trained yet, teachers among them or not.

    Returns:
        What is left of them and of their teachers, a checkpoint's epochs counted as done.
    """
    every = dict.fromkeys(s for e in experiments for s in (*taught_by(e), e) if s.stored.status not in ENDED)
    paces: dict[str, float] = {}
    for e in every:
        if _twin(e.config) not in paces:
            paces[_twin(e.config)] = _probe(e)
    return Cost(sum(paces[_twin(e.config)] * _epochs_left(e) for e in every), _peak_memory())


def _peak_memory() -> int | None:
    """The most bytes that this process has held so far, on its card where it has one."""
    if default_device().type == "cuda":
        return torch.cuda.max_memory_reserved()
    with suppress(OSError, StopIteration):  # getrusage's on Linux is as large as what started the process was
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    try:
        import resource  # no Windows has it
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _threads() -> int:
    """Of every run of a plan: those that began beside a busy process would stand in tables of their own."""
    return device.threads_said() or torch.get_num_threads()


def _twin(config: dict[str, Any]) -> str:
    """What runs of one pace have in common: all but the seed, the schedule, where knobs stand, and what a teacher learned."""
    parts = config["method"].split("+")
    turned = {(f"{short(p)}." if parts[1:] else "") + n for p in parts for n in getattr(find(p, "method"), "knobs", ())}
    knobs = {k: bool(v) if k in turned else v for k, v in config["knobs"].items()}  # a weight of 0 may save work
    teacher = config["teacher"] and [config["teacher"][part] for part in ("model", "network")]
    return key_of(config | {"seed": 0, "recipe": config["recipe"]["batch_size"], "knobs": knobs, "teacher": teacher})


def _here(record: Result) -> bool:
    """Whether it was recorded on such a device as this one."""
    return "seconds an epoch" in record.environment and record.device == device_name(default_device())


def _about(e: Experiment, paces: dict[str, float]) -> dict[str, Any]:
    """What the recorder adds to what a run says of where it was trained."""
    pace, began = paces.get(_twin(e.config)), e.stored.environment
    now = device_name(default_device(), began.get("threads"), began.get("precision"))  # a run keeps its own
    ended = {} if AWAY.get() or began.get("device") == now else {"ended on": now}
    return (
        {"recorded": time.strftime("%Y-%m-%dT%H:%M:%S"), "steps": graphs.mode()}
        | ({"seconds an epoch": tidy_number(pace)} if pace else {})
        | ended
    )


def _spoken(e: Experiment) -> str:
    """The line of code that makes it, without the place of its images."""
    return str(_unplaced(e))


def _unplaced(e: Experiment) -> Experiment:
    dataset = {k: v for k, v in e.dataset.items() if k != "root"}
    return replace(e, dataset=dataset, teacher=e.teacher and _unplaced(e.teacher))


def _accuracy(e: Experiment) -> str:
    history = e.stored.history()
    return f"{(history[-1].test or history[-1].accuracy).get('final', math.nan):.2%} test" if history else "no epoch"


# what is recorded
class PlanStatus(NamedTuple):
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


def plan_status(plan: str | None = None) -> list[PlanStatus]:
    """Every plan here with its records, then records whose plan is gone. Raises nothing for a file that cannot be read.

    plan: this one alone, even where there is nothing of it.
    """
    out, wrong, found = [], {}, []
    for path in (p for p in plans() if plan in (None, p.stem)):
        try:
            found.append(read_plan(path))
        except Exception as error:
            found.append(Plan(path.stem, "", [], ()))
            wrong[path.stem] = [str(error.args[0] if error.args else error)]
    folders = {f.name for place in results_folders() if place.is_dir() for f in place.iterdir() if f.is_dir()}
    gone = (folders - {SWEEPS} if plan is None else {plan}) - {known.name for known in found}
    for known in [*found, *(Plan(name, "Its plan is not here.", [], ()) for name in sorted(gone))]:
        kept, unread = _kept(known, results_folders())
        damaged = [*wrong.get(known.name, []), *unread.values()]
        listed = {e.key: e for e in known.experiments}
        records = [kept[key] for key in listed if key in kept] + [r for key, r in kept.items() if key not in listed]
        out.append(PlanStatus(known.name, known.about, records, [e for key, e in listed.items() if key not in kept], damaged))
    return out
