"""The training panel: sliders for a method's knobs beside the curves of the run that they steer."""

from __future__ import annotations

from dataclasses import replace

import ipywidgets as W
from IPython.display import display

from .. import figures
from ..core import Clock, Knob
from ..experiment import Epoch, Experiment
from ..methods import METHODS
from .live import Live, every


class TrainingPanel:
    """Start, pause and stop a training of `experiment`, and turn its knobs while it runs.

    Before the start the sliders set what will be trained; while it runs each move is read at the next step, marked on the
    curves and written to the history. Training goes on in a thread: the notebook stays free.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        values = experiment.knobs
        if None in values.values():  # a default that the method chooses by its network
            values = experiment.build()[1].settings()
        self.sliders = {name: slider(knob, values[name]) for name, knob in knobs_of(experiment).items()}
        self.start = W.Button(description="Start", icon="play", tooltip="train with the knobs as they are")
        self.pause = W.Button(description="Pause", icon="pause", disabled=True, tooltip="wait between two steps")
        self.stop = W.Button(
            description="Stop", icon="stop", disabled=True, tooltip="end after this step; whole epochs are kept"
        )
        self.progress = W.IntProgress(max=1, layout=W.Layout(width="100%"))
        self.says = W.HTML(f"<code>{experiment}</code>")
        self.picture = W.Image(format="png", layout=W.Layout(max_width="100%"))
        for widget, name in ((self.start, "start"), (self.pause, "pause"), (self.stop, "stop"), (self.says, "says")):
            widget.add_class(f"sdkit-{name}")
        self.picture.add_class("sdkit-curves")
        self.live: Live | None = None
        self.history: list[Epoch] = []
        self._due = every(0.2)
        self.start.on_click(self._on_start)
        self.pause.on_click(self._on_pause)
        self.stop.on_click(lambda _: self.live and self.live.stop())
        for name, box in self.sliders.items():
            box.add_class(f"sdkit-{name.replace('.', '-')}")
            box.observe(lambda change, name=name: self.live and self.live.turn(name, change.new), "value")
        self.box = W.VBox(
            [*self.sliders.values(), W.HBox([self.start, self.pause, self.stop]), self.progress, self.says, self.picture]
        )
        self._draw()

    def _ipython_display_(self) -> None:
        display(self.box)

    def _on_start(self, _=None) -> None:
        if self.live is None or not self.live.alive and self.live.state != "stopped":
            chosen = replace(self.experiment, knobs={**self.experiment.knobs, **{k: s.value for k, s in self.sliders.items()}})
            self.live, self.history = Live(chosen, self._on_event), []
        self.start.disabled, self.pause.disabled, self.stop.disabled = True, False, False
        self.pause.description = "Pause"
        self.live.start()

    def _on_pause(self, _=None) -> None:
        if self.live.state == "paused":
            self.live.resume()
        else:
            self.live.pause()
        self.pause.description = "Resume" if self.live.state == "paused" else "Pause"
        self._say()

    def _on_event(self, event: Clock | Epoch | None) -> None:
        """Called in the training's thread: it only sets values of widgets. None is the thread's last word."""
        if isinstance(event, Epoch):
            self.history.append(event)
            self._draw()
        elif isinstance(event, Clock) and self._due():
            self.progress.max, self.progress.value = event.epochs * event.steps_per_epoch, event.step + 1
            self._say(event)
        elif event is None:
            self.start.disabled, self.pause.disabled, self.stop.disabled = False, True, True
            self.start.description = "Go on" if self.live.state == "stopped" else "Start"
            if self.live.state == "done":
                self.progress.value = self.progress.max
            self._say()

    def _say(self, clock: Clock | None = None) -> None:
        where = f", epoch {clock.epoch + 1} of {clock.epochs}, step {clock.step + 1}" if clock else ""
        last = f"; test accuracy {self.history[-1].accuracy['final']:.1%}" if self.history else ""
        self.says.value = f"<b>{self.live.state}</b>{where}{last} · run <code>{self.live.record.key}</code>"

    def _draw(self) -> None:
        figure, axes = figures.new(columns=2, height=2.8)
        figures.live(self.history, *axes)
        self.picture.value = figures.png(figure)


def slider(knob: Knob, value: float) -> W.FloatSlider:
    """A knob as a slider: its symbol, its range, and what both ends mean as the tooltip."""
    low, high = min(knob.low, value), max(knob.high, value)
    return W.FloatSlider(
        value=value,
        min=low,
        max=high,
        step=(high - low) / 100,
        readout_format=".4g",
        description=knob.symbol,
        tooltip=f"{knob.symbol}: {low:g} is {knob.at_low}; {high:g} is {knob.at_high}",
        layout=W.Layout(width="100%"),
    )


def knobs_of(experiment: Experiment) -> dict[str, Knob]:
    """The knobs of an experiment's method or methods, by the names that its `knobs` use."""
    several = len(experiment.parts) > 1
    return {f"{p}.{k}" if several else k: knob for p in experiment.parts for k, knob in METHODS[p].knobs.items()}
