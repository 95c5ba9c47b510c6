"""The noise viewer: accuracy, loss and single answers of trained networks whose weights are disturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ipywidgets as W
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import analysis, figures
from ..experiment import Trained
from .parts import LatestOnly, Words, beside, picture, styled
from .viewer import LABELS, Viewer, Watch, table

SIGMAS = {
    True: (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8),
    False: (0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1),
}
"""Levels of relative (True) and of absolute (False) noise."""

SPAN, POINTS = 1.0, 15
"""How far the slices of the loss reach, in filter norms, and at how many places they are computed."""

CARDS = 8
"""Images whose answers are shown."""


class NoiseState(NamedTuple):
    relative: bool
    level: int  # place among the sigmas
    draw: int


class NoiseViewer(Viewer):
    """Accuracy, loss and single answers under Gaussian noise of size σ on the weights. BYOT, flat minima.

    Args:
        runs: name -> finished run.
        limit: training images that accuracy and loss are of.
        draws: noises per level.
        sigmas: the levels of relative (True) and of absolute (False) noise; nothing between them is made up.
    """

    name = "noise-viewer"
    described = {"sdkit-curves": "Accuracy and loss over the size of the weight noise, and slices of the loss."}
    pictures = ("figure", "answers")

    def __init__(
        self, runs: Mapping[str, Trained], limit: int = 400, draws: int = 5, sigmas: Mapping[bool, Sequence[float]] = SIGMAS
    ) -> None:
        self.limit, self.draws, self.sigmas = limit, draws, {k: tuple(v) for k, v in sigmas.items()}
        super().__init__(runs, limit, draws, *self.sigmas.items())
        self.relative = W.ToggleButtons(
            options=[("relative to each layer's weights", True), ("absolute", False)],
            description="σ is",
            tooltips=["σ in standard deviations of each weight tensor", "the same σ for every weight"],
            style={"button_width": "max-content", "description_width": "initial"},
        )
        self.keep("relative", self.relative)
        self.level = W.SelectionSlider(options=self._levels(), description="σ, size of the weight noise", **LABELS)
        self.keep("level", self.level, "sigma")
        self.fresh = W.Button(description="Fresh draw", tooltip="other noise of the same size for the images below")
        self.draw_number = 0
        self.curves, self.cards, self.words = picture("sdkit-curves"), picture("sdkit-cards"), Words()
        styled(fresh=self.fresh, draw=self.words)
        self.answering = LatestOnly(self._answer, self.failed)
        self.relative.observe(self._on_kind, "value")
        self.fresh.on_click(self._on_fresh)
        self.lay_out(self.relative, self.level, self.curves, beside(self.fresh, self.words), self.cards)

    def _levels(self) -> list[tuple[str, int]]:
        return [(f"{s:g}", i) for i, s in enumerate(self.sigmas[self.relative.value])]

    def _on_kind(self, _: Any) -> None:
        at = self.level.value
        self.level.options = self._levels()  # which moves the slider to the first
        self.level.value = min(at, len(self.level.options) - 1)

    def _on_fresh(self, _: Any) -> None:
        self.draw_number += 1
        self.changed()

    def wait(self, timeout: float = 60) -> bool:
        return super().wait(timeout) and self.answering.wait(timeout)

    def state(self) -> NoiseState:
        level = min(self.level.value, len(self.sigmas[self.relative.value]) - 1)  # until the slider has the other levels
        return NoiseState(self.relative.value, level, self.draw_number)

    def needs(self, state: NoiseState) -> list[tuple]:
        kinds = (("slice",), ("curve", state.relative), ("step", state.relative))
        return [(kind, name, *rest) for kind, *rest in kinds for name in self.runs]

    def steps(self, key: tuple) -> int:
        if key[0] == "curve":
            return len(self.sigmas[key[2]]) * self.draws
        return POINTS if key[0] == "slice" else 0

    def compute(self, key: tuple, progress: Watch) -> Any:
        kind, name, *relative = key
        model, _ = self.network(name)
        if kind == "step":
            return analysis.noise_step(model, *relative)
        x, y = self.runs[name].images("train", self.limit)
        if kind == "slice":
            return analysis.loss_slice(model, x, y, SPAN, POINTS, progress=progress)
        return analysis.noise_tolerance(model, x, y, self.sigmas[relative[0]], self.draws, *relative, progress=progress)

    def frame_of(self, state: NoiseState) -> bool:
        return state.relative

    def frame(self, state: NoiseState) -> Figure:
        figure, axes = figures.new(columns=3, width=13, height=3.2)
        figures.noise(self.of_every_run("curve", state.relative), *axes[:2])
        figures.slices(self.of_every_run("slice"), axes[2])
        return figure

    def marks(self, state: NoiseState, axes: Sequence[Axes]) -> list[Artist]:
        curves, steps = (self.of_every_run(kind, state.relative) for kind in ("curve", "step"))
        return figures.noise_marks(curves, state.level, axes, steps)

    def draw(self, state: NoiseState) -> None:
        self.curves.value = self.png(state)
        levels = {n: analysis.noise_level(c, state.level) for n, c in self.of_every_run("curve", state.relative).items()}
        rows = {n: [f"{a.accuracy:.1%} ± {a.accuracy_sd:.1%}", f"{a.loss:.3f} ± {a.loss_sd:.3f}"] for n, a in levels.items()}
        said = (
            f"At σ = {self.sigmas[state.relative][state.level]:g}, {len(self.images.train.y[: self.limit])} training images, "
            f"mean ± sd over {self.draws} draws. Upright lines on the right: steps as long as the noise."
        )
        self.says.value = Markup("{}{}").format(said, table(rows, ["accuracy", "loss, nats"]))
        self.answering.ask(state)

    def answers(self, state: NoiseState) -> dict[str, analysis.Answers]:
        """What every run says of the first images under one draw."""
        for name, trained in self.runs.items():
            if ("answers", name, *state) not in self.found:
                with self.looking:
                    x, _ = trained.images("train", CARDS)
                    sigma = self.sigmas[state.relative][state.level]
                    logits = analysis.noisy_logits(self.network(name)[0], x, sigma, state.relative, draw=state.draw)
                    self.found["answers", name, *state] = analysis.answers(logits)
        return self.of_every_run("answers", *state)

    def _answer(self, state: NoiseState) -> None:
        answers = self.answers(state)
        y, classes = self.images.train.y[:CARDS], self.images.classes

        def draw() -> Figure:
            figure, axes = figures.cards(len(self.runs), CARDS)
            shown = self.shown_image(slice(CARDS), "train")
            figures.answer_cards(shown, list(self.runs), [classes[c] for c in y.tolist()], axes)
            return figure

        cached = self.cached("cards", draw)
        axes = [cached.figure.axes[i : i + CARDS] for i in range(0, len(cached.figure.axes), CARDS)]
        self.cards.value = cached.png(figures.answer_marks(answers, y, classes, axes))
        right = ", ".join(f"{figures.label(n)} {int((a.label == y).sum())}" for n, a in answers.items())
        self.page.tell("sdkit-cards", f"Answers for {len(y)} training images under this noise. Right: {right}.")
        which = f"one of the {self.draws} of the curves" if state.draw < self.draws else "not among those of the curves"
        self.words.value = f"Answers under draw {state.draw + 1} of the noise ({which}); on top the true classes"

    def data(self) -> dict[str, list[Any]]:
        curves = self.of_every_run("curve", self.shown().relative)
        columns: dict[str, list] = {"sigma": next(iter(curves.values())).sigma.tolist()}
        for name, curve in curves.items():
            levels = [analysis.noise_level(curve, i) for i in range(len(curve.sigma))]
            for field in ("accuracy", "accuracy_sd", "loss", "loss_sd"):
                columns[f"{name} {field}"] = [getattr(level, field) for level in levels]
        return columns

    def lines(self, state: NoiseState) -> list[str]:
        return [
            "curves, cuts, steps = {}, {}, {}",
            "for name, t in runs.items():",
            f'    x, y = t.images("train", {self.limit})',
            f"    curves[name] = analysis.noise_tolerance(t.model, x, y, {list(self.sigmas[state.relative])}, "
            f"draws={self.draws}, relative={state.relative})",
            f"    cuts[name] = analysis.loss_slice(t.model, x, y, span={SPAN}, points={POINTS})",
            f"    steps[name] = analysis.noise_step(t.model, relative={state.relative})",
            "figure, axes = figures.new(columns=3, width=13, height=3.2)",
            "figures.noise(curves, *axes[:2])",
            "figures.slices(cuts, axes[2])",
            f"figures.noise_marks(curves, {state.level}, axes, steps)",
            "says, data = {}, t.data",
            "for name, t in runs.items():",
            f'    x, y = t.images("train", {CARDS})',
            f"    logits = analysis.noisy_logits(t.model, x, {self.sigmas[state.relative][state.level]}, {state.relative}, "
            f"draw={state.draw})",
            "    says[name] = analysis.answers(logits)",
            f"y, shown = data.train.y[:{CARDS}], data.train.x[:{CARDS}].float() / 255",
            f"answers, axes = figures.cards(len(runs), {CARDS})",
            "figures.answer_cards(shown, list(runs), [data.classes[c] for c in y.tolist()], axes)",
            "figures.answer_marks(says, y, data.classes, axes)",
        ]
