"""Many experiments: grids of knobs, and all of a list in as many processes as there are cores."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from itertools import product
from typing import Any

import torch

from ..core import home, pick
from ..train import Diverged, default_device, device
from .bars import counted
from .own import OWN
from .spec import Experiment
from .trained import Trained

Away = Callable[..., Iterator[tuple[Experiment, Exception | None]]]
"""Trains experiments somewhere else: each that ended, its run stored here, and why where it has none or it diverged."""

AWAY: ContextVar[Away | None] = ContextVar("AWAY", default=None)
"""Where trainings go instead of running here: `studies.on` sets it."""


def sweep(base: Experiment, seeds: Iterable[int] = (0,), **axes: Iterable[Any]) -> list[Experiment]:
    """Every combination of the knobs' values, at every seed.

    Examples:
        >>> [(e.knobs["beta"], e.seed) for e in sweep(Experiment("dsr"), seeds=range(2), beta=[0.5, 1.0])]
        [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]
    """
    if isinstance(seeds, int):
        raise TypeError(f"the seeds of a sweep are a list, range({seeds}) for example, got {seeds}")
    return [
        replace(base, knobs={**base.knobs, **dict(zip(axes, values, strict=True))}, seed=seed)
        for values in product(*axes.values())
        for seed in seeds
    ]


def by_knob(runs_of: Iterable[Trained], knob: str) -> dict[Any, list[float]]:
    """Finished runs of a sweep -> the validation accuracies of every value of one knob, a list over the seeds."""
    grouped: dict[Any, list[float]] = {}
    for t in runs_of:
        value = t.experiment.knobs[pick(knob, t.experiment.knobs, "knob of this run")]
        grouped.setdefault(tuple(value) if isinstance(value, list) else value, []).append(t.validation_accuracy)
    return grouped


def run_all(
    experiments: Iterable[Experiment] | Mapping[Any, Experiment | Iterable[Experiment]],
    jobs: int | None = None,
    progress: bool = True,
    diverged: bool = False,
) -> Any:
    """Runs independent experiments, `jobs` at a time through joblib, each once. Finished ones are found again.

    A list gives a list of finished runs; a dict of experiments, or of lists of them, a dict of the same form.
    jobs: None is one per core on a CPU, where two small trainings side by side take little longer than one, and 1 on a card;
    so each has one thread, with fewer jobs an equal share of them, or as many as $SDKIT_THREADS says; the last one that is
    left of several has no more, so that its numbers are those that it has beside them.
    diverged: whether a run that diverges is kept as what it is; else it raises.
    Within `studies.on(cluster)` the same call trains on that cluster, which knows how many at a time: there a run that diverges
    or raises ends no other; with `diverged` it is warned of, else the first such error is raised when all have ended.

    Examples:
        >>> tiny = Experiment(data="digits", dataset={"train_size": 32}, network={"width": 4}, recipe="smoke")
        >>> done = run_all({"plain": tiny}, progress=False)
        >>> done["plain"].run.status
        'done'
    """
    if isinstance(experiments, Experiment):
        raise TypeError("run_all takes a list of experiments, or a dict of them by name: a single one has .run()")
    if isinstance(experiments, Mapping):
        return in_form(experiments, lambda listed: run_all(listed, jobs, progress, diverged))
    experiments = list(experiments)
    ended, borne = (("done", "diverged"), (Diverged,)) if diverged else (("done",), ())
    taught = [e for e in experiments if e.teacher and e.stored.status not in ended]
    first = [*(t for e in taught for t in taught_by(e)), *taught]  # the longest way: teachers, then their students
    waiting = [e for e in dict.fromkeys([*first, *experiments]) if e.stored.status not in ended]
    cores, said = torch.get_num_threads(), device.threads_said()
    if jobs is None:
        jobs = min(max(cores // (said or 1), 1), 8) if default_device().type == "cpu" else 1
    away = AWAY.get()
    share = said or max(cores // jobs, 1)
    if not waiting or (away is None and (jobs == 1 or len(waiting) < 2)):
        beside = jobs > 1 and len(set(experiments)) > 1
        for e in waiting:
            with contextlib.suppress(*borne):
                e.run(progress, threads=share if beside else None)
    else:
        work = away(waiting) if away else _side_by_side(waiting, jobs, share, borne)
        total, words = sum(e.recipe.epochs for e in waiting), f"{len(waiting)} runs"
        with (
            counted(lambda: sum(len(e.stored.history()) for e in waiting), total, words)
            if progress
            else contextlib.nullcontext()
        ):
            wrong = [(e, error) for e, error in work if error is not None and not isinstance(error, borne)]
        for e, error in wrong:
            if not diverged:
                raise error
            warnings.warn(f"{e} has no result: {type(error).__name__}: {error}", stacklevel=2)
    return [Trained(e) for e in experiments]


def in_form(
    experiments: Mapping[Any, Experiment | Iterable[Experiment]], run: Callable[[list[Experiment]], list[Trained]]
) -> dict[Any, Any]:
    """What `run` makes of all experiments of a dict, in the dict's form: a run where it has one experiment, else a list."""
    parts = {name: [e] if isinstance(e, Experiment) else list(e) for name, e in experiments.items()}
    done = iter(run([e for part in parts.values() for e in part]))
    single = {name for name, e in experiments.items() if isinstance(e, Experiment)}
    return {name: next(done) if name in single else [next(done) for _ in part] for name, part in parts.items()}


def _side_by_side(
    waiting: list[Experiment], jobs: int, threads: int, borne: tuple[type[Exception], ...]
) -> Iterator[tuple[Experiment, None]]:
    """Trains them in processes of this machine. Yields those that ended."""
    from joblib import Parallel, delayed

    return Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)(
        delayed(_train)(e, threads, str(home()), borne, own_parts(e), os.getpid()) for e in _in_turn(waiting)
    )


def _in_turn(waiting: list[Experiment]) -> Iterator[Experiment]:
    """Asked for the next one to train: the first whose teachers are trained, and only if there is none, the first."""
    left = list(waiting)
    while left:
        ready = (e for e in left if all(t.stored.status == "done" for t in taught_by(e)))
        yield left.pop(left.index(next(ready, left[0])))


def taught_by(experiment: Experiment, every: bool = False) -> list[Experiment]:
    """Its teacher, and the teacher's teachers before that: those that are trained, or every one."""
    teacher = experiment.teacher
    if teacher is None:
        return []
    return [*taught_by(teacher, every), *([teacher] if every or teacher.recipe.epochs else [])]


def own_parts(experiment: Experiment) -> dict[str, Any]:
    """The parts of a user's own that an experiment and its teachers name: what another process has to be told."""
    each = (*taught_by(experiment, every=True), experiment)
    names = {n for e in each for n in (*e.method.split("+"), e.model, e.data)}
    return {name: OWN[name] for name in names & OWN.keys()}


def _train(
    experiment: Experiment, threads: int, where: str, borne: tuple[type[Exception], ...], parts: dict[str, Any], caller: int
) -> tuple[Experiment, None]:
    _end_with(caller)
    OWN.update(parts)
    os.environ["SDKIT_HOME"] = where  # a worker may be older than the caller's
    torch.set_num_threads(threads)
    for e in (*taught_by(experiment), experiment):
        with contextlib.suppress(*borne):
            e.run(progress=False, threads=threads)
    return experiment, None


def _end_with(caller: int) -> None:
    """Ends this process soon after its caller was killed: what it trains goes on from its checkpoint when asked for again."""
    if os.getppid() != caller or WATCHED:  # in one process with it, or on another machine
        return

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(0.5)
        os._exit(1)

    WATCHED.append(threading.Thread(target=watch, daemon=True))
    WATCHED[0].start()


WATCHED: list[threading.Thread] = []
"""The thread that watches the caller of this process."""
