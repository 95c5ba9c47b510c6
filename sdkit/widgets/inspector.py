"""The loss inspector: one image of a recorded run under any method's terms, while the knobs are turned."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import ipywidgets as W
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

from ..core import pick
from ..experiment import Trained, find, short
from ..figures import LossBoard, loss_board, loss_in_words
from ..methods import METHODS, Combined, Frozen, Method
from ..methods.inspector import FrozenStep, StepReport, step_report
from ..rng import LocalRNG
from .parts import (
    CodeExport,
    LatestOnly,
    Panel,
    Words,
    beside,
    choice,
    identity,
    imports,
    kept,
    picture,
    read,
    slider,
    with_ends,
)
from .terms import explained

DRAWS = 64
"""That the slider reaches."""


BATCH = 16
"""Images of a step."""


class Asked(NamedTuple):
    """Everything that the controls say at one moment."""

    method: str
    image: int
    knobs: dict[str, float]
    draw: int
    soften: str | None  # the knob whose temperature softens the distributions
    at: float  # when, seconds


class LossInspector(Panel):
    """A held step of a recorded run: sliders for a method's knobs beside what each term says and does.

    methods: names to choose from, several joined by "+"; None takes the run's own and every method that fits its network.
    A method other than the run's own brings auxiliary classifiers that are not trained. batch_size: images of the step.
    method, image, knobs, draw, soften: where to begin; None goes on where this kernel's last inspector of the run was left.
    """

    def __init__(
        self,
        trained: Trained,
        methods: Sequence[str] | None = None,
        *,
        batch_size: int = BATCH,
        method: str | None = None,
        image: int | None = None,
        knobs: Mapping[str, float] | None = None,
        draw: int | None = None,
        soften: str | None = None,
    ) -> None:
        self.trained, self.batch_size = trained, batch_size
        own = trained.experiment.method
        self.names = list(dict.fromkeys([own, *(fitting(trained) if methods is None else methods)]))
        self._left: dict[str, Any] = kept("inspector", identity(trained.run), lambda: {"knobs": {}})
        self._turned: dict[str, dict[str, float]] = copy.deepcopy(self._left["knobs"])
        begin = method or self._left.get("method", own)
        begin = begin if begin in self.names or method else own
        if knobs:
            self._turned[begin] = dict(knobs)
        self._held: dict[str, FrozenStep] = {}
        self._untouched: dict[str, dict[str, float]] = {}  # method -> its knobs before any hand
        self._boards: dict[str, LossBoard] = {}
        self.last: StepReport | None = None

        self.name, held = begin, self.held(begin)
        first = self._left.get("image", 0) if image is None else image
        places = self._images(held)
        self.method = choice("method", [*dict.fromkeys([*self.names, begin])], begin)
        self.image = choice("image", places, first if first in places.values() else 0)
        self.soften = choice("softened by", ["T"], "T")
        self.draw = W.IntSlider(
            value=self._left.get("draw", 0) if draw is None else draw, min=0, max=DRAWS - 1, description="draw",
            tooltip="what chance has drawn, such as a sub-network: each number is another draw",
            layout=W.Layout(flex="1 1 22em", width="auto", max_width="36em"),
        )  # fmt: skip
        self.again = W.Button(description="Draw another", tooltip="the next one")
        self.drawing = beside(self.draw, self.again)
        self.knobs, self.sliders = W.VBox(), {}
        self.picture, self.says, self.terms = picture("sdkit-inspector"), Words(), Words()
        for widget, css in (
            (self.method, "method"), (self.image, "image"), (self.soften, "soften"), (self.draw, "draw"),
            (self.again, "again"), (self.says, "says"),
        ):  # fmt: skip
            widget.add_class(f"sdkit-inspector-{css}")
        self.latest = LatestOnly(self._work, self.failed)
        self.twin = CodeExport("loss-inspector", self.code, self._figure, self.data)
        self.box = self.framed(
            beside(self.method, self.image, self.soften), self.knobs, self.drawing, self.picture, self.terms, self.says,
            self.notice, self.twin.box,
        )  # fmt: skip
        self._show_knobs()
        if soften is not None:
            pick(soften, held.temperatures, "temperature")
            self.soften.value = soften
        self.method.observe(lambda _: self._on_method(), "value")
        for control in (self.image, self.draw, self.soften):
            control.observe(lambda _: self.is_quiet or self._ask(), "value")
        self.again.on_click(lambda _: setattr(self.draw, "value", (self.draw.value + 1) % DRAWS))
        self._ask()
        self.latest.wait(30)

    def held(self, name: str) -> FrozenStep:
        """The step under a method, made the first time."""
        if name not in self._held:
            model, method = around(self.trained, name)
            data, where = self.trained.data, next(model.parameters()).device
            asks = {
                "pair": method.pair or "same image",
                "samples_per_class": method.samples_per_class,
            }  # a spare pair leaves the images alone
            batches = iter(data.batches(self.batch_size, **asks, device=where))
            batch, before = next(batches), next(batches, None)
            if before is None:
                raise ValueError(f"the inspector takes two batches of {self.batch_size}: say a smaller batch_size")
            self._untouched[name] = method.settings()
            self._held[name] = FrozenStep(model, method, batch, before, data.mean, data.std)
            for knob, value in self._turned.get(name, {}).items():
                setattr(self._held[name].method, knob, value)
        return self._held[name]

    def code(self) -> str:
        """The lines that open this inspector as it is, and the experiment that trains with these knobs."""
        now, begin = self._asked(), self.trained.experiment
        turned = {k: v for k, v in now.knobs.items() if v != self._untouched[now.method][k]}
        said: dict[str, Any] = {"method": now.method, "image": now.image}
        said |= {"knobs": turned} if turned else {}
        said |= {"draw": now.draw} if self.held(now.method).draws else {}
        said |= {"soften": now.soften} if len(self.soften.options) > 1 else {}
        said |= {"batch_size": self.batch_size} if self.batch_size != BATCH else {}
        lines = [
            *imports(begin),
            "from sdkit.widgets import LossInspector",
            "",
            f"run = {begin}.run()",
            f"LossInspector(run, {', '.join(f'{k}={v!r}' for k, v in said.items())})",
        ]
        if turned or now.method != begin.method:
            asks = any("teacher" in find(p, "method").handed_in() for p in now.method.split("+"))
            base = begin.knobs if now.method == begin.method else {}
            teacher = begin.teacher if asks else None
            trains = replace(begin, method=now.method, knobs=base | now.knobs, teacher=teacher, schedule={})
            lines.insert(-1, f"# trained with these knobs: {trains}")
        return "\n".join(lines)

    def data(self) -> dict[str, list[Any]]:
        """What is on screen as columns: the distributions and gradients by class, then the terms."""
        now = self._now()
        table: dict[str, list[Any]] = {"class": [*self.trained.data.classes], "label": now.label.tolist()}
        table |= {f"softmax of {reader} at T={now.temperature:g}": p.tolist() for reader, p in now.distributions.items()}
        for term, by in now.gradient.items():
            table |= {f"d {term} / d logit of {reader}": g.tolist() for reader, g in by.items()}
        return table | {"term": [*now.terms, "sum"], "value": [*now.terms.values(), now.total]}

    def _now(self) -> StepReport:
        self.latest.wait(10)
        if self.last is None:
            raise ValueError("nothing is shown yet: wait for the picture, or mend what the sentence under it says")
        return self.last

    def _figure(self) -> Figure:
        return loss_board(self._now(), self.trained.data.classes)

    def _asked(self) -> Asked:
        turned = {name: read(box, self._untouched[self.name][name], self._put[name]) for name, box in self.sliders.items()}
        soften = self.soften.value if self.soften.value in self.sliders else None
        return Asked(self.name, self.image.value, turned, self.draw.value, soften, time.monotonic())

    def _ask(self) -> None:
        now = self._asked()
        self._turned[now.method] = now.knobs
        self._left |= {"method": now.method, "image": now.image, "draw": now.draw}
        self._left["knobs"][now.method] = now.knobs
        self.latest.ask(now)

    def _on_method(self) -> None:
        if self.method.value == self.name:
            return
        try:
            self.held(self.method.value)
        except Exception as error:
            self.method.value = self.name
            self.failed(error)
            return
        self.name = self.method.value
        self._show_knobs()
        self._ask()

    def _images(self, held: FrozenStep) -> dict[str, int]:
        return {f"{i}: {self.trained.data.classes[y]}": i for i, y in enumerate(held.batch.y.tolist())}

    def _show_knobs(self) -> None:
        held, shown = self.held(self.name), []
        places = self._images(held)  # a method may compose its batches
        image = self.image.value if self.image.value in places.values() else 0
        self.put(self.image, options=tuple(places.items()), value=image)
        values = self._put = held.method.settings() | self._turned.get(self.name, {})  # exactly what the sliders are put to
        self.sliders = {}
        for knob, about in held.method.knobs.items():
            box = self.sliders[knob] = slider(about, values[knob])
            box.add_class(f"sdkit-{knob.replace('.', '-')}")
            box.observe(lambda _: self._ask(), "value")
            shown.append(with_ends(box, about, knob))
        self.knobs.children = shown
        several = [(f"{held.method.knobs[knob].symbol} of {knob.rpartition('.')[0]}", knob) for knob in held.temperatures]
        self.put(self.soften, options=several or ["T"])
        self.soften.layout.display = None if len(several) > 1 else "none"
        self.drawing.layout.display = None if held.draws else "none"

    def _work(self, config: Asked) -> None:
        """In the worker's thread: it only sets values of widgets."""
        held = self.held(config.method)
        for knob, value in config.knobs.items():
            setattr(held.method, knob, value)
        now = step_report(held, config.image, config.knobs.get(config.soften), config.draw)
        board = self._boards.setdefault(config.method, LossBoard(self.trained.data.classes))
        self.picture.value, self.last = board.png(now), now
        self.terms.value = explained(now.terms, config.method)
        self.page.tell("sdkit-inspector", loss_in_words(now, self.trained.data.classes))
        self.notice.value = ""
        self.says.value = self._about(held, config) + f" Answered in {1000 * (time.monotonic() - config.at):.0f} ms."

    def _about(self, held: FrozenStep, config: Asked) -> Markup:
        images, run = len(held.batch.y), self.trained.run.key
        said = [Markup("{} training images of run <code>{}</code>, network in training mode.").format(images, run)]
        if config.method != self.trained.experiment.method and held.method.auxiliary_heads():
            said.append("The auxiliary classifiers of this method are not trained.")
        if any(m.memory for m in held.method.members()):
            said.append(
                "Its memory holds what this network says today: of this batch for the last epoch, of another for the last step."
            )
        return Markup(" ").join(said)


def around(trained: Trained, name: str) -> tuple[torch.nn.Module, Method]:
    """A copy of a run's network and a method around it: its own as it was trained, any other as before training."""
    if name == trained.experiment.method:
        return trained.model, trained.method
    model = copy.deepcopy(trained.model)
    with LocalRNG(trained.experiment.seed):  # its first weights
        parts = [_made(trained, part, model) for part in name.split("+")]
    method = parts[0] if len(parts) == 1 else Combined(*parts, names=[short(p) for p in name.split("+")])
    return model, method.to(next(model.parameters()).device)


def fitting(trained: Trained) -> list[str]:
    """The methods that the run's network can be trained by, with the teacher it had."""
    names, model = [], copy.deepcopy(trained.model)
    with LocalRNG(0):  # first weights that nobody will see
        for name in METHODS:
            try:
                _made(trained, name, model)
            except (TypeError, ValueError):
                continue
            names.append(name)
    return names


def _made(trained: Trained, part: str, model: torch.nn.Module) -> Method:
    offer = {"model": model, "train_size": len(trained.data.train.y)}
    if taught := [t.net for t in trained.method.teachers().values() if isinstance(t, Frozen)]:
        offer["teacher"] = taught[0]
    return find(part, "method").built(offer)
