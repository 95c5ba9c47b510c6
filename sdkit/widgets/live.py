"""A training in a thread of its own: started, paused, steered and stopped from the page, recorded as any run."""

from __future__ import annotations

import contextlib
import math
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from .. import runs
from ..analysis import shares_now
from ..core import Batch, Knob, Progress, pick
from ..experiment import Experiment, live_folder
from ..figures import Course, marks
from ..runs import Run, find_checkpoint
from ..train import Epoch, Training
from .parts import every

POINTS = 400
"""So many running means within epochs are kept; when there are more, every second one is dropped."""


class Pace(NamedTuple):
    """How fast a training goes; pauses do not count."""

    images: float = math.nan  # a second, while it trains
    seconds_left: float = math.nan  # evaluation included


class Left(NamedTuple):
    """What of a training's knobs is still asked for when it has ended."""

    knobs: dict[str, float]  # as they are
    settings: dict[str, float]  # as the last step read them
    changes: list[dict[str, Any]]  # in the epoch that it was in


class Live:
    """A training in a background thread.

    Its `state` is "idle", "running", "paused", "stopped", "done" or "failed: ...", and "recorded" where it only shows a run. A
    stop takes effect after the present step: the begun epoch is given up, whole epochs are kept, and `start` goes on from
    them. A fork, which is an experiment that turns its knobs at an epoch, starts from the checkpoint that another training has
    kept of that epoch; where there is none, it trains the epochs before it once more.

    Args:
        experiment: what to train.
        listen: is called in the thread with every step and epoch, and with None when the thread ends.
        record: a run to show. One that a dead kernel left unfinished is "stopped", and `start` goes on with it.
    """

    def __init__(
        self, experiment: Experiment, listen: Callable[[Progress | Epoch | None], None], record: Run | None = None
    ) -> None:
        self.experiment, self.listen = experiment, listen
        self.stored: Run = record or live_folder(experiment)
        self.state = "idle"
        if record is not None:
            self.state = "stopped" if "-live-" in record.key and record.status == "training" else "recorded"
        self.history: list[Epoch] = self.stored.history()
        self.running: list[tuple[float, dict[str, float]]] = []  # place on the epoch axis, the terms' means there
        self.progress: Progress | None = None
        self.first: Progress | Epoch | None = None  # what the present thread's training began with
        self.pace = Pace()
        self.pull = ""  # how strongly each term pulled at the network when the last epoch ended, in words
        self._sample: Batch | None = None  # that it is measured on
        self.steps_per_epoch: int | None = self.stored.environment.get("steps per epoch")
        self.pending: dict[str, float] = {}  # what the next step will read
        self._by_hand: dict[str, float] = {}
        self._training: Training | None = None  # while it trains
        self._left: Left | None = None  # of the last one
        self._go, self._stop, self._deciding = threading.Event(), threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins, or goes on from the last whole epoch after a stop."""
        if self.open and self.alive and not self._stop.is_set():
            return self.resume()
        self.wait()
        self._go.set()
        self._stop.clear()
        self.state = "running"
        self._thread = threading.Thread(target=self._work, name=f"training {self.stored.key}", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Waits between two steps."""
        if self._become("paused", "running"):
            self._go.clear()

    def resume(self) -> None:
        """Ends a pause."""
        if self._become("running", "paused"):
            self._go.set()

    def stop(self) -> None:
        """Ends after the present step."""
        self._stop.set()
        self._go.set()

    def turn(self, knob: str, value: float) -> None:
        """Moves a knob before the next step, which writes it to the history. Moves between two steps count as one."""
        known = knobs_of(self.experiment)
        value = known[pick(knob, known, f"knob of {self.experiment.method}")].check(knob, value)
        self.pending[knob] = self._by_hand[knob] = value

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def open(self) -> bool:
        """Whether there is something left to train."""
        return self.state in ("idle", "running", "paused", "stopped")

    def _become(self, state: str, *out_of: str) -> bool:
        """Goes from one state to another; says whether it did. The reader and the training may try at the same moment."""
        with self._deciding:
            if self.state not in out_of:
                return False
            self.state = state
            return True

    def wait(self, timeout: float | None = None) -> None:
        """Until the thread has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    @property
    def settings(self) -> dict[str, float]:
        """The knobs as they are now."""
        now = self._now()
        if now is not None and self.open:
            return now.knobs | self.pending
        now = {k: v for k, v in self.experiment.knobs.items() if k in knobs_of(self.experiment)}
        for turned in self.experiment.schedule.values():
            now |= turned
        for e in self.history:
            now |= {t["knob"]: t["after"] for t in e.changes}
        return now | self.pending

    @property
    def replaying(self) -> bool:
        """Whether it is still training the epochs before its fork."""
        return self.progress is not None and self.progress.epoch < min(self.experiment.schedule, default=0)

    def steered(self, epochs: int | None = None) -> Experiment:
        """The experiment that repeats it with all knobs turned by hand; epochs: only those turned in the first so many."""
        done = self._so_far() if epochs is None else self.history[:epochs]
        if not any(e.changes for e in done):
            return self.experiment
        if self.steps_per_epoch is None:
            raise ValueError(
                f"run {self.stored.key} does not say how many steps an epoch has: train it again to repeat its turns"
            )
        return self.experiment.as_steered(done, self.steps_per_epoch)

    def course(self) -> Course:
        """What its curves show."""
        return Course(list(self.history), list(self.running), marks(self._so_far(), self.steps_per_epoch))

    def _now(self) -> Left | None:
        """The knobs of the training that runs, or that ended last."""
        training = self._training
        return Left(training.method.settings(), training.settings, training.changes) if training is not None else self._left

    def _so_far(self) -> list[Epoch]:
        """The history, then the epoch that has not ended, with the knobs turned in it and those of its next step alone."""
        training, progress = self._now(), self.progress
        if training is None or progress is None or not self.open:
            return list(self.history)
        moved = list(training.changes) if progress.epoch >= len(self.history) else []
        moved += [
            {"step": progress.step + 1, "knob": k, "before": training.settings[k], "after": v}
            for k, v in dict(self.pending).items()
            if v != training.settings[k]
        ]
        return [*self.history, *([Epoch(len(self.history), math.nan, 0.0, changes=moved)] if moved else [])]

    def _build(self) -> Training:
        training = self.experiment.training()
        training.pending = self.pending
        self._training, self.steps_per_epoch = training, len(training.loader)
        return training

    def _work(self) -> None:
        try:
            upto = math.floor(max(self.experiment.schedule, default=0))
            start = find_checkpoint(self.experiment.config, upto)
            walk = self.stored.follow(self.experiment.config, self._build, start=start, keep=True)
            self._follow(walk)
            self._become("stopped" if self._stop.is_set() else "done", "running", "paused")
            if self._training is not None:  # turned in an epoch that a stop gave up: turned again when it goes on
                given_up = {t["knob"] for t in self._training.changes} if self.state == "stopped" else set()
                self.pending = {k: v for k, v in self._by_hand.items() if k in given_up} | self.pending
                self._left = Left(self._training.method.settings(), self._training.settings, list(self._training.changes))
        except Exception as error:  # the thread's only way to speak is its state
            self._become(f"failed: {error.args[0] if isinstance(error, KeyError) else error}", "running", "paused")
            with contextlib.suppress(runs.Damaged):  # what cannot be read is left alone
                if not self.stored.history():  # a start that failed leaves nothing that looks like a training
                    shutil.rmtree(self.stored.folder, ignore_errors=True)
        finally:
            self._training = self._sample = None  # a panel lives as long as its kernel: network, optimiser and data do not
            self.listen(None)

    def _follow(self, walk) -> None:
        due, first, idle, began = every(0.3), None, 0.0, time.monotonic()
        before: tuple[float, int, dict[str, float]] = (began, 0, {})
        try:
            for event in walk:
                if first is None:  # what follow found: a checkpoint, or a kept state of the parent
                    self.first = first = event
                    began = time.monotonic()
                    self.history = self.stored.history()
                    self.running = [p for p in self.running if p[0] <= len(self.history)]
                    before = (began, 0, {})
                if isinstance(event, Epoch):
                    self.history.append(replace(event, outputs=None, test_outputs=None))  # which are on the disk
                    self.pull = self._pull()
                    before = (time.monotonic(), 0, {})
                else:
                    self.progress = event
                    if due():
                        before = self._look(event, first, before, time.monotonic() - began - idle)
                self.listen(event)
                paused = time.monotonic()
                while not self._go.wait(0.1):
                    pass
                paused = time.monotonic() - paused
                if paused > 0.05:
                    idle, before = idle + paused, (before[0] + paused, *before[1:])
                if self._stop.is_set():
                    break
            if first is None:  # another process ended it meanwhile
                self.history = self.stored.history()
        finally:
            walk.close()

    def _pull(self) -> str:
        """How strongly each term pulls at the network now, on one batch: a backward pass a term, once an epoch."""
        training, progress = self._training, self.progress
        if training is None or progress is None:
            return ""
        try:
            if self._sample is None:
                options = {"pair": training.method.pair, "samples_per_class": training.method.samples_per_class}
                self._sample = next(iter(training.data.batches(training.recipe.batch_size, **options, device=training.device)))
            return shares_now(training.model, training.method, self._sample, progress).said("now")
        except Exception:  # a word on the side: a method of a user's own that cannot be measured may still be trained
            return ""

    def _look(self, progress: Progress, first: Progress, before: tuple[float, int, dict[str, float]], active: float):
        """Reads the sums that the loop keeps: gives the terms' means since the last look, and the pace."""
        now, seen = time.monotonic(), self._training.seen
        sums = {name: float(s) for name, s in self._training.sums.items()}
        then, had, old = before
        if seen <= had or now - then < 0.1:  # too little to tell a pace by
            return before
        means = {name: (s - old.get(name, 0.0)) / (seen - had) for name, s in sums.items()}
        if all(map(math.isfinite, means.values())):
            self.running.append(((progress.step + 1) / progress.steps_per_epoch, means))
        if len(self.running) > POINTS:
            del self.running[::2]
        done = progress.step + 1 - first.step
        left = progress.epochs * progress.steps_per_epoch - progress.step - 1
        self.pace = Pace((seen - had) / max(now - then, 1e-9), active / done * left)
        return now, seen, sums


def unfinished(experiment: Experiment) -> tuple[Experiment, Run] | None:
    """The newest training of an experiment that a panel began and a dead kernel left unfinished.

    Returns:
        The experiment with the knobs and turns of that training, and its run. None where the newest training has ended, or
        another kernel trains it at this moment.
    """
    found = [f for f in runs.root().glob("*-live-*/experiment.json")] if runs.root().is_dir() else []
    for file in sorted(found, key=lambda f: f.stat().st_mtime, reverse=True):
        run = Run(file.parent)
        try:
            config = run.config
            knobs = {k: v for k, v in config["knobs"].items() if k in knobs_of(experiment)}
            schedule = {float(when): moved for when, moved in config.get("schedule", {}).items()}
            same = replace(experiment, knobs=experiment.knobs | knobs, schedule=schedule)
            if same.config != config:
                continue
            waits = run.status == "training" and run.history() and (run.folder / "checkpoint.pt").exists()
        except (runs.Damaged, KeyError, TypeError, ValueError):  # of another method, or of another sdkit
            continue
        return (same, run) if waits and not _trained_elsewhere(run) else None
    return None


def _trained_elsewhere(run: Run) -> bool:
    lock = FileLock(run.folder / "lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def knobs_of(experiment: Experiment) -> dict[str, Knob]:
    """The knobs of an experiment's method or methods, by the names that its `knobs` use."""
    several = len(experiment.parts) > 1
    return {f"{p}.{k}" if several else k: knob for p, kind in experiment.methods.items() for k, knob in kind.knobs.items()}
