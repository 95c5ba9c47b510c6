"""The training panel: sliders for a method's knobs beside the curves of the run that they steer, and of its forks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import ipywidgets as W
from markupsafe import Markup
from matplotlib.figure import Figure

from .. import figures
from ..core import Progress, home
from ..experiment import Experiment
from ..train import Epoch
from .live import Live, knobs_of, unfinished
from .parts import (
    CodeExport,
    LatestOnly,
    Panel,
    Words,
    beside,
    choice,
    every,
    imports,
    kept,
    picture,
    read,
    slider,
    styled,
    with_ends,
)
from .terms import explained

NEXT = "the next fork"
PLAIN = {
    "recorded": "recorded: the stored run, as it is",
    "live": "live: the training begun here",
    NEXT: "nothing now: they wait for the next fork",
}
"""What the list says of a training that the sliders may turn."""

SHOWN = 4
"""The most trainings that the picture shows. When there are more, the oldest forks leave it; their runs stay recorded."""


class TrainingPanel(Panel):
    """Start, pause and stop a training, turn its knobs while it runs, and fork it at an epoch.

    Before the start the sliders set what will be trained; while it runs each move is read at the next step, marked on the
    curves and written to the history. Training goes on in a thread: the notebook stays free. The same experiment gives the
    same panel as long as the kernel lives: a cell that runs again, or a second panel, shows the training that is there. A
    training that a dead kernel left unfinished waits under "Go on".

    Args:
        experiment: what to train.
    """

    def __new__(cls, experiment: Experiment) -> TrainingPanel:
        return kept("training", (str(home()), experiment.key), lambda: super(TrainingPanel, cls).__new__(cls)._made(experiment))

    def _made(self, experiment: Experiment) -> TrainingPanel:
        self.experiment = experiment
        self.live: Live | None = None  # what the buttons and sliders act on
        self.trainings: dict[str, Live] = {}  # shown, by the names in the picture
        values = experiment.knobs
        if None in values.values():  # a default that the method chooses by its network
            values = experiment.build()[1].settings()
        self.values = values  # of the experiment, exactly
        self.followed: dict[str, float] = {}  # what the sliders were moved to, exactly
        knobs = knobs_of(experiment)
        self.sliders = {name: slider(knob, values[name]) for name, knob in knobs.items()}
        self.start = W.Button(description="Start", tooltip="train with the knobs as they are")
        self.pause = W.Button(description="Pause", disabled=True, tooltip="wait between two steps")
        self.stop = W.Button(description="Stop", disabled=True, tooltip="end after this step; whole epochs are kept")
        self.target = choice("Sliders turn", ["what Start trains"], "what Start trains")
        self.target.tooltip = "which training reads the sliders: each move is read at its next step"
        last = max(experiment.recipe.epochs - 1, 1)
        self.fork_at = W.IntSlider(description="after epoch", value=1, min=1, max=last, layout=W.Layout(width="24em"))
        self.fork = W.Button(
            description="Fork", tooltip="train on from that epoch with the knobs as they are, beside the curves"
        )
        self.progress = W.IntProgress(max=1, layout=W.Layout(width="auto", height="10px"))
        self.terms = Words()
        self.says, self.picture = Words(Markup("<code>{}</code>").format(experiment)), picture("sdkit-curves")
        self.export = CodeExport(f"training-{experiment.method}", self.code, self.figure, self.data)
        shown = ("start", "pause", "stop", "says", "target", "fork", "fork_at", "progress", "terms")
        styled(**{name: getattr(self, name) for name in shown})
        styled(**self.sliders)
        self._due, self._screen, self._forks = every(0.2), figures.Screen(), count(1)
        self._drawing = LatestOnly(self._draw, self.failed)
        self._saying = threading.Lock()
        self.start.on_click(lambda _: self._try(self._on_start))
        self.pause.on_click(lambda _: self._try(self._on_pause))
        self.stop.on_click(lambda _: self._try(self._on_stop))
        self.fork.on_click(lambda _: self._try(self._on_fork))
        self.target.observe(lambda _: self._try(self._on_target), "value")
        for name, box in self.sliders.items():
            box.observe(lambda _, name=name: self._try(lambda: self._on_turn(name)), "value")
        turned = [with_ends(box, knobs[name], name) for name, box in self.sliders.items()]
        buttons, forks = beside(self.start, self.pause, self.stop, self.target), beside(self.fork, self.fork_at)
        self.box = self.framed(
            *turned, buttons, self.progress, self.says, self.notice, self.picture, self.terms, forks, self.export.box
        )
        if experiment.stored.history():
            self._show("recorded", Live(experiment, self._listener("recorded"), experiment.stored))
        if left := unfinished(experiment):  # by a kernel that died
            config, record = left
            self._show("live", Live(config, self._listener("live"), record))
            self._follow_knobs()
            self._say()
        self._draw(None)
        return self

    @property
    def history(self) -> list[Epoch]:
        """The epochs of the training that the sliders turn."""
        return self.live.history if self.live else []

    def code(self) -> str:
        """What is on the screen as code: every training of the picture, with the knobs turned in it, and the picture."""
        shown = {name: live.steered() for name, live in self._shown()} or {"live": self._chosen()}
        runs = [f"    {name!r}: {experiment}.run()," for name, experiment in shown.items()]
        cut = {
            n: len(live.history)
            for n, live in self._shown()
            if live.history and len(live.history) < live.experiment.recipe.epochs
        }
        lines = [*imports(*shown.values(), also=["figures"]), "", "runs = {", *runs, "}"]
        if cut:
            lines.append(f"epochs = {cut}  # on the screen until now")
        first = ", epochs.get(name)" if cut else ""
        return "\n".join(
            [
                *lines,
                f"courses = {{name: figures.Course.of(t.run{first}) for name, t in runs.items()}}",
                "figures.show(figures.Screen().draw(courses))",
            ]
        )

    def figure(self) -> Figure:
        """The curves, for paper."""
        return figures.Screen(dpi=200).draw(self._courses())

    def data(self) -> dict[str, list[Any]]:
        """The curves' numbers."""
        return figures.course_table(self._courses())

    # what a hand does

    def _on_start(self) -> None:
        if self.live is None or not self.live.open:
            self.trainings = {name: live for name, live in self.trainings.items() if name == "recorded"}
            chosen = self._chosen()
            self._show("live", Live(chosen, self._listener("live")))
        self._begin()

    def _on_pause(self) -> None:
        if self.live.state == "paused":
            self.live.resume()
        else:
            self.live.pause()
        self._say()

    def _on_stop(self) -> None:
        if self.live is not None:
            self.live.stop()

    def _on_fork(self) -> None:
        parent, epochs = self.live, self.fork_at.value
        if parent is None:
            raise ValueError("there is nothing to fork yet: press Start, and Fork once an epoch has ended")
        if len(parent.history) < epochs:
            raise ValueError(
                f"the training has {len(parent.history)} whole epochs, and a fork begins after one: choose another"
            )
        if epochs >= (last := parent.experiment.recipe.epochs):
            said = f"a training of {last} epoch{'s' * (last > 1)}"
            raise ValueError(f"a fork begins before the last epoch, and this is {said}: train longer, Recipe(epochs=...)")
        values = {name: self._read(name) for name in self.sliders}
        experiment = parent.steered(epochs).fork(epochs, values)
        symbols = {name: knob.symbol for name, knob in knobs_of(self.experiment).items()}
        moved = ", ".join(f"{symbols[name]} {value:.4g}" for name, value in experiment.schedule.get(epochs, {}).items())
        name = f"fork {next(self._forks)}: {moved or 'nothing turned'} after epoch {epochs}"
        self._show(name, Live(experiment, self._listener(name)))
        self._begin()

    def _on_turn(self, name: str) -> None:
        if not self.is_quiet and self.live is not None and self.live.open and self.target.value != NEXT:
            self.live.turn(name, self._read(name))
            self._drawing.ask(None)

    def _on_target(self) -> None:
        if self.is_quiet:
            return
        if self.target.value in self.trainings:
            self.live = self.trainings[self.target.value]
            self._follow_knobs()
        self._say()
        self._drawing.ask(None)

    def _follow_knobs(self) -> None:
        """Moves the sliders to the knobs of the training that they turn."""
        self.followed = self.live.settings
        for name, value in self.followed.items():
            self.put(self.sliders[name], value=value)

    def _try(self, act: Callable[[], None]) -> None:
        """A mistake is a sentence in the panel; the sentence before it goes."""
        try:
            self.notice.value = ""
            act()
        except Exception as error:
            self.failed(error)

    def _read(self, name: str) -> float:
        return read(self.sliders[name], self.values[name], self.followed.get(name))

    def _chosen(self) -> Experiment:
        now = {name: self._read(name) for name in self.sliders}
        moved = {name: value for name, value in now.items() if value != self.values[name]}
        return replace(self.experiment, knobs={**self.experiment.knobs, **moved})

    def _show(self, name: str, live: Live) -> None:
        """Takes a training into the picture and makes it what the sliders turn."""
        forks = [n for n, other in self.trainings.items() if n.startswith("fork") and not other.alive]
        if len(self.trainings) >= SHOWN and forks:
            del self.trainings[forks[0]]
        self.trainings[name] = live
        with self.target.hold_sync():  # in two messages, the page answers the first one with the first option
            self.put(self.target, options=[(PLAIN.get(n, n), n) for n in (*self.trainings, NEXT)], value=name)
        self.live = live

    def _begin(self) -> None:
        self.live.start()
        self._say()
        self._drawing.ask(None)

    # what a training says, in its thread: only values of widgets are set

    def _listener(self, name: str) -> Callable[[Progress | Epoch | None], None]:
        return lambda event: self._on_event(name, event)

    def _on_event(self, name: str, event: Progress | Epoch | None) -> None:
        if not isinstance(event, Progress) or self._due():
            self._drawing.ask(None)
            if self.live is not None and self.trainings.get(name) is self.live:
                self._say()

    def _say(self) -> None:
        """Writes the state in words. One thread at a time, so that the latest state is what stays written."""
        with self._saying:
            if self.live is not None:
                self._say_of(self.live)

    def _say_of(self, live: Live) -> None:
        progress, alive = live.progress, live.state in ("running", "paused")
        self.start.disabled, self.pause.disabled, self.stop.disabled = alive, not alive, not alive
        self.start.description = "Go on" if live.state == "stopped" else "Start"
        self.pause.description = "Resume" if live.state == "paused" else "Pause"
        state = "replaying" if alive and live.replaying and live.state == "running" else live.state.split(":")[0]
        words = [Markup("<b>{}</b>").format(state)]
        if live.state.startswith("failed: "):
            self.failed(live.state.removeprefix("failed: "))
        if progress and alive:
            words.append(f"epoch {progress.epoch + 1} of {progress.epochs}, step {progress.step + 1}")
        if live.state == "running" and live.pace.images == live.pace.images:
            words.append(f"{live.pace.images:,.0f} images/s, {lasting(live.pace.seconds_left)} left")
        if live.history:
            words.append(f"test accuracy {live.history[-1].accuracy.get('final', 0):.1%} after epoch {len(live.history)}")
        if live.pull:
            words.append(live.pull)
        if progress:
            self.progress.max = progress.epochs * progress.steps_per_epoch
            self.progress.value = self.progress.max if live.state == "done" else progress.step + 1
        elif live.history:
            self.progress.max, self.progress.value = live.experiment.recipe.epochs, len(live.history)
        if live.stored.folder.exists():  # one that could not start has none
            words.append(Markup("run <code>{}</code>").format(live.stored.key))
        self.says.value = Markup(" · ").join(words)

    def _shown(self) -> list[tuple[str, Live]]:
        """The trainings in the picture; last, and so drawn boldly, the one that the sliders turn."""
        return sorted(self.trainings.items(), key=lambda pair: pair[1] is self.live)

    def _courses(self) -> dict[str, figures.Course]:
        return {name: live.course() for name, live in self._shown()}

    def _draw(self, _: Any) -> None:
        courses = self._courses() or {"live": figures.Course([])}
        self.picture.value = self._screen.png(courses)
        self.terms.value = explained(figures.terms_shown(courses), self.experiment.method)
        self.page.tell("sdkit-curves", figures.courses_in_words(courses))


def lasting(seconds: float) -> str:
    """Seconds as words: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
