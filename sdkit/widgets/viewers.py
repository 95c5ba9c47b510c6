"""Four viewers of recorded runs: weight noise, features, Grad-CAM, ranked outputs. Every number is an analysis's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ipywidgets as W
import torch

from .. import analysis, figures
from ..experiment import Trained
from ..methods import Exit
from .parts import LatestOnly, choice, picture
from .pointer import Pointer
from .viewer import Viewer, images_of, preamble, table

SIGMAS = {
    True: (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8),
    False: (0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1),
}
"""Levels of relative and of absolute noise."""

SPAN, POINTS, CARDS = 1.0, 15, 8
LABELS = {"style": {"description_width": "initial"}, "layout": {"width": "100%"}}


class NoiseState(NamedTuple):
    relative: bool
    level: int
    draw: int


class NoiseViewer(Viewer):
    """Accuracy, loss and single answers under Gaussian noise of size σ on the weights. BYOT, flat minima.

    runs: name -> finished run. limit: training images that accuracy and loss are of. draws: noises per level.
    sigmas: the levels of relative (True) and absolute (False) noise. What is shown was computed at these levels.
    """

    name = "noise-viewer"

    def __init__(
        self, runs: Mapping[str, Trained], limit: int = 400, draws: int = 5, sigmas: Mapping[bool, Sequence[float]] = SIGMAS
    ) -> None:
        self.limit, self.draws, self.sigmas = limit, draws, {k: tuple(v) for k, v in sigmas.items()}
        super().__init__(runs, limit, draws, *self.sigmas.items())
        self.relative = self.keep(
            "relative",
            W.ToggleButtons(
                options=[("relative to each layer's weights", True), ("absolute", False)],
                description="σ is",
                tooltips=["σ in standard deviations of each weight tensor", "the same σ for every weight"],
                style={"button_width": "max-content", "description_width": "initial"},
            ),
        )
        self.level = W.SelectionSlider(options=self._levels(), description="σ, size of the weight noise", **LABELS)
        self.keep("level", self.level, "sigma")
        self.fresh = W.Button(description="Fresh draw", tooltip="other noise of the same size for the images below")
        self.fresh.add_class("sdkit-fresh")
        self.draw_number = 0
        self.curves, self.cards = picture("sdkit-curves"), picture("sdkit-cards")
        self.words = W.HTML()
        self.words.add_class("sdkit-draw")
        self.answering = LatestOnly(self._answer, self._failed)
        self.relative.observe(self._on_kind, "value")
        self.fresh.on_click(self._on_fresh)
        self.lay_out(self.relative, self.level, self.curves, W.HBox([self.fresh, self.words]), self.cards)

    def _levels(self) -> list[tuple[str, int]]:
        return [(f"{s:g}", i) for i, s in enumerate(self.sigmas[self.relative.value])]

    def _on_kind(self, _: Any) -> None:
        at = self.level.value
        self.level.options = self._levels()  # which moves the slider to the first
        self.level.value = at

    def _on_fresh(self, _: Any) -> None:
        self.draw_number += 1
        self.changed()

    def wait(self, timeout: float = 60) -> bool:
        return super().wait(timeout) and self.answering.wait(timeout)

    def state(self) -> NoiseState:
        return NoiseState(self.relative.value, self.level.value, self.draw_number)

    def needs(self, state: NoiseState) -> list[tuple]:
        return [("slice", name) for name in self.runs] + [("curve", name, state.relative) for name in self.runs]

    def steps(self, key: tuple) -> int:
        return POINTS if key[0] == "slice" else len(self.sigmas[key[2]]) * self.draws

    def compute(self, key: tuple, progress: Any) -> Any:
        model, _ = self.network(key[1])
        x, y = self.runs[key[1]].images("train", self.limit)
        if key[0] == "slice":
            return analysis.loss_slice(model, x, y, SPAN, POINTS, progress=progress)
        curve = analysis.noise_tolerance(model, x, y, self.sigmas[key[2]], self.draws, key[2], progress=progress)
        return curve, analysis.noise_step(model, key[2])

    def results(self, relative: bool) -> tuple[dict, dict, dict]:
        """Curves, slices and steps of every run."""
        every = {name: self.found["curve", name, relative] for name in self.runs}
        cuts = {name: self.found["slice", name] for name in self.runs}
        return {n: c for n, (c, _) in every.items()}, cuts, {n: s for n, (_, s) in every.items()}

    def draw(self, state: NoiseState) -> None:
        curves, cuts, steps = self.results(state.relative)
        still = self.still((state.relative,), lambda: figures.CachedFigure(_noise_figure(curves, cuts)))
        self.curves.value = still.png(figures.noise_marks(curves, state.level, still.figure.axes, steps))
        levels = {name: analysis.noise_level(curve, state.level) for name, curve in curves.items()}
        rows = {n: [f"{a.accuracy:.1%} ± {a.accuracy_sd:.1%}", f"{a.loss:.3f} ± {a.loss_sd:.3f}"] for n, a in levels.items()}
        sigma = self.sigmas[state.relative][state.level]
        images = len(next(iter(self.runs.values())).data.train.y[: self.limit])
        self.says.value = (
            f"At σ = {sigma:g}, {images} training images, mean ± sd over {self.draws} draws. Upright lines on the right: steps "
            f"as long as the noise.{table(rows, ['accuracy', 'loss, nats'])}"
        )
        self.answering.ask(state)

    def answers(self, state: NoiseState) -> dict[str, analysis.Answers]:
        """What every run says of the first images under one draw."""
        for name, trained in self.runs.items():
            key = ("answers", name, *state)
            if key not in self.found:
                with self.looking:
                    model, _ = self.network(name)
                    x, _ = trained.images("train", CARDS)
                    sigma = self.sigmas[state.relative][state.level]
                    logits = analysis.noisy_logits(model, x, sigma, state.relative, draw=state.draw)
                    self.found[key] = analysis.answers(logits)
        return {name: self.found["answers", name, *state] for name in self.runs}

    def _answer(self, state: NoiseState) -> None:
        answers = self.answers(state)
        data = next(iter(self.runs.values())).data
        y, classes = data.train.y[:CARDS], data.classes

        def make() -> figures.CachedFigure:
            figure, axes = figures.cards(len(self.runs), CARDS)
            shown = images_of(next(iter(self.runs.values())), slice(CARDS), "train")
            figures.answer_cards(shown, list(self.runs), [classes[c] for c in y.tolist()], axes)
            return figures.CachedFigure(figure)

        still = self.still(("cards",), make)
        axes = [still.figure.axes[i : i + CARDS] for i in range(0, len(still.figure.axes), CARDS)]
        self.cards.value = still.png(figures.answer_marks(answers, y, classes, axes))
        which = f"one of the {self.draws} of the curves" if state.draw < self.draws else "not among those of the curves"
        self.words.value = f"Answers under draw {state.draw + 1} of the noise ({which}); on top the true classes"

    def figure(self) -> Any:
        state = self.shown()
        curves, cuts, steps = self.results(state.relative)
        figure = _noise_figure(curves, cuts)
        figures.noise_marks(curves, state.level, figure.axes, steps)
        return figure

    def data(self) -> dict[str, list]:
        curves, _, _ = self.results(self.shown().relative)
        columns: dict[str, list] = {"sigma": next(iter(curves.values())).sigma.tolist()}
        for name, curve in curves.items():
            levels = [analysis.noise_level(curve, i) for i in range(len(curve.sigma))]
            for field in ("accuracy", "accuracy_sd", "loss", "loss_sd"):
                columns[f"{name} {field}"] = [getattr(level, field) for level in levels]
        return columns

    def code(self) -> str:
        state = self.state()
        return "\n".join([
            *preamble(self.runs),
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
            "figures.show(figure)",
        ])  # fmt: skip


def _noise_figure(curves: dict, cuts: dict) -> Any:
    figure, axes = figures.new(columns=3, width=13, height=3.2)
    figures.noise(curves, *axes[:2])
    figures.slices(cuts, axes[2])
    return figure


LOGITS = "logits of final, every epoch"
PROJECTIONS = {"PCA": "PCA", "t-SNE (openTSNE)": "openTSNE", "t-SNE (scikit-learn)": "sklearn"}


class FeatureState(NamedTuple):
    feature: str
    epoch: int | None  # of the logits along training; None for what the trained network gives
    engine: str
    classes: tuple[int, ...]
    chosen: int


class FeatureViewer(Viewer):
    """Every exit's features on a plane, beside the image under the pointer. BYOT's PCA, paper 004's t-SNE.

    runs: name -> finished run, a panel each. limit: test images looked at. per_class: of these, at most so many of a class.
    Along the epochs only the final exit's logits are recorded; features of the exits are those of the trained network.
    """

    name = "feature-viewer"

    def __init__(self, runs: Mapping[str, Trained], limit: int = 1000, per_class: int = 60) -> None:
        self.limit, self.per_class = limit, per_class
        super().__init__(runs, limit, per_class)
        data = next(iter(self.runs.values())).data
        self.names, k = data.classes, data.num_classes
        exits = list(dict.fromkeys(e for t in self.runs.values() for e in ["final", *t.method.auxiliary_heads()]))
        self.epochs = sorted({e for t in self.runs.values() for e in recorded(t)})
        along = [LOGITS] if self.epochs else []
        self.feature = self.keep("feature", choice("features of exit", [*exits, *along], "final"))
        self.engine = self.keep("engine", choice("projection", PROJECTIONS, "PCA"))
        epochs = [(str(e + 1), e) for e in self.epochs] or [("last", None)]
        self.epoch = W.SelectionSlider(options=epochs, value=epochs[-1][1], description="epoch", **LABELS)
        self.count = W.IntSlider(min(k, 10), 2, k, description="K, how many classes", continuous_update=True, **LABELS)
        self.classes = W.SelectMultiple(
            options=[(name, c) for c, name in enumerate(self.names)],
            value=tuple(range(min(k, 10))),
            description="which classes",
            rows=min(k, 8),
            style={"description_width": "initial"},
        )
        self.judging = LatestOnly(self._judge, self._failed)
        self.point = W.IntSlider(0, 0, 10**6, description="image (← → walk the points)", **LABELS)
        for name in ("feature", "engine"):
            getattr(self, name).style.description_width = "initial"
        self.keep("epoch", self.epoch)
        self.keep("count", self.count)
        self.keep("classes", self.classes)
        self.keep("point", self.point)
        self.plane = Pointer(
            "sdkit-plane", about="features on a plane: move the mouse over the points, or press the arrow keys"
        )
        self.image, self.about = picture("sdkit-image"), W.HTML()
        self.about.add_class("sdkit-about")
        self.count.observe(lambda change: setattr(self.classes, "value", tuple(range(change.new))), "value")
        self.plane.observe(self._on_place, ["hover", "at"])
        self.plane.observe(self._on_key, "pressed")
        self.lay_out(
            W.HBox([W.VBox([self.feature, self.engine]), self.classes]),
            self.count,
            self.epoch,
            self.point,
            self.plane,
            W.HBox([self.image, self.about]),
        )

    def state(self) -> FeatureState:
        along = self.feature.value == LOGITS
        self.epoch.disabled = not along
        places = self._places(self.classes.value, self.feature.value)
        self.point.max = max(len(places) - 1, 0)
        return FeatureState(
            self.feature.value, self.epoch.value if along else None, self.engine.value, self.classes.value, self.point.value
        )

    def _seen(self, feature: str) -> torch.Tensor:
        """The places of the test images looked at, ascending: along the training those that every epoch was tested on."""
        first = next(iter(self.runs.values()))
        return first.watched[: self.limit] if feature == LOGITS else torch.arange(min(self.limit, len(first.data.test.y)))

    def _places(self, classes: Sequence[int], feature: str) -> torch.Tensor:
        """Which of the test images are shown, [M]."""
        seen, y = self._seen(feature), next(iter(self.runs.values())).data.test.y
        return seen[analysis.of_classes(y[seen], sorted(classes), self.per_class)]

    def _rows(self, places: torch.Tensor, feature: str) -> torch.Tensor:
        """Where images stand among those looked at, [M]."""
        return torch.searchsorted(self._seen(feature), places)

    def shows(self, state: FeatureState) -> list[str]:
        """The runs that have what is asked for."""
        if state.feature == LOGITS:
            seen = next(iter(self.runs.values())).watched
            return [n for n, t in self.runs.items() if state.epoch in recorded(t) and torch.equal(t.watched, seen)]
        return [
            name for name, t in self.runs.items() if state.feature == "final" or state.feature in t.method.auxiliary_heads()
        ]

    def needs(self, state: FeatureState) -> list[tuple]:
        along = state.feature == LOGITS
        at = "every" if along and state.engine == "PCA" else state.epoch
        first = [("outputs" if along else "features", name) for name in self.shows(state)]
        return first + [("plane", name, state.feature, at, state.engine, state.classes) for name in self.shows(state)]

    def steps(self, key: tuple) -> int:
        if key[0] != "plane":
            return 1
        return 30 if key[4].startswith("openTSNE") else 1

    def compute(self, key: tuple, progress: Any) -> Any:
        kind, name, *rest = key
        if kind == "outputs":
            epochs, outputs = self.runs[name].run.outputs()
            return {int(e): z for e, z in zip(epochs, outputs[:, : self.limit], strict=True)}
        if kind == "features":
            return self._features(name, progress)
        feature, at, engine, classes = rest
        rows = self._rows(self._places(classes, feature), feature)
        if len(rows) < 3:
            raise ValueError(f"a projection needs three or more images, got {len(rows)}: choose more classes")
        if at == "every":
            outputs = self.found["outputs", name]
            return dict(zip(outputs, analysis.project_epochs(torch.stack([z[rows] for z in outputs.values()])), strict=True))
        return {at: analysis.project(self.values(name, feature, at)[rows], engine, progress=progress)}

    def values(self, name: str, feature: str, epoch: int | None) -> torch.Tensor:
        """A run's features of the images looked at, [N, D]."""
        return self.found["outputs", name][epoch] if feature == LOGITS else self.found["features", name]["features", feature]

    def _features(self, name: str, progress: Any) -> dict[tuple[str, str], torch.Tensor]:
        """("features" or "logits", exit) -> [N, D] or [N, K], from one pass."""
        model, method = self.network(name)
        x, _ = self.runs[name].images("test", self.limit)

        def both(part: torch.Tensor) -> dict:
            out = model.forward_features(part)
            features, logits = method.features(out), method.exits(out, part)
            return {("features", e): f for e, f in features.items()} | {("logits", e): logits[e] for e in features}

        return analysis.collect_features(both, x, modules=[model, method])

    def planes(self, state: FeatureState) -> tuple[dict, dict]:
        """The projections of the runs shown, and of these the separations that are known already."""
        every = self.needs(state)[len(self.shows(state)) :]
        apart = {name: self.found.get(self._apart(name, state)) for name in self.shows(state)}
        return {key[1]: self.found[key][state.epoch] for key in every}, {n: s for n, s in apart.items() if s}

    def _apart(self, name: str, state: FeatureState) -> tuple:
        return ("apart", name, state.feature, state.epoch, state.classes)

    def _judge(self, state: FeatureState) -> None:
        """How well the classes are separated: known a moment after the picture, and then drawn below it."""
        missing = [name for name in self.shows(state) if self._apart(name, state) not in self.found]
        places = self._places(state.classes, state.feature)
        y = next(iter(self.runs.values())).data.test.y[places]
        for name in missing:
            values = self.values(name, state.feature, state.epoch)[self._rows(places, state.feature)]
            self.found[self._apart(name, state)] = analysis.separation_of(values, y)
        if missing and self.wanted[:-1] == state[:-1]:
            self.drawing.ask(self.wanted)

    def wait(self, timeout: float = 60) -> bool:
        return super().wait(timeout) and self.judging.wait(timeout) and self.drawing.wait(timeout)

    def reach(self, state: FeatureState) -> dict[str, float]:
        """How far the axes go: the same for every epoch, where all epochs share them."""
        every = self.needs(state)[len(self.shows(state)) :]
        return {key[1]: analysis.reach([p.points for p in self.found[key].values()]) for key in every}

    def logits(self, state: FeatureState, name: str) -> torch.Tensor:
        """What a run's exit says of the images looked at, [N, K]."""
        if state.feature == LOGITS:
            return self.found["outputs", name][state.epoch]
        return self.found["features", name]["logits", state.feature]

    def draw(self, state: FeatureState) -> None:
        planes, apart = self.planes(state)
        if not planes:
            raise ValueError(f"none of these runs has recorded {state.feature}: choose another exit")
        places = self._places(state.classes, state.feature)
        chosen = min(state.chosen, len(places) - 1)
        still = self.still(self._key(state, planes), lambda: figures.CachedFigure(self._frame(state, planes)))
        still.over((state[:-1], *apart), lambda: self._points(state, planes, apart, still.figure.axes))
        self.plane.value = still.png(figures.feature_marks(planes, chosen, still.figure.axes))
        self.judging.ask(state)
        at, row = int(places[chosen]), self._rows(places[chosen : chosen + 1], state.feature)
        first = next(iter(self.runs.values()))
        self.image.value = figures.thumbnail(images_of(first, at))
        rows = {}
        for name in planes:
            answer = analysis.answers(self.logits(state, name)[row])
            rows[name] = [self.names[int(answer.label)], f"{float(answer.confidence):.1%}"]
        self.about.value = f"test image {at}, true class <b>{self.names[int(first.data.test.y[at])]}</b>" + table(
            rows, ["answers", "confidence"]
        )
        end = "after the last epoch: features of the exits are recorded only there"
        self.says.value = f"{len(places)} test images, {state.feature}" + (
            f", epoch {state.epoch + 1}" if state.epoch is not None else f", {end}"
        )

    def _among(self, state: FeatureState) -> list[int]:
        """The classes that colours are for: all, where the eye can tell them apart, otherwise those chosen."""
        return list(range(len(self.names))) if len(self.names) <= 42 else sorted(state.classes)

    def _key(self, state: FeatureState, planes: dict) -> tuple:
        return tuple((name, p.engine) for name, p in planes.items()), tuple(self._among(state))

    def _frame(self, state: FeatureState, planes: dict) -> Any:
        among = self._among(state)
        figure, axes = figures.feature_panels(len(planes), len(among))
        figures.feature_frame({name: p.engine for name, p in planes.items()}, among, axes, self.names)
        return figure

    def _points(self, state: FeatureState, planes: dict, apart: dict, axes: Sequence) -> list:
        y = next(iter(self.runs.values())).data.test.y[self._places(state.classes, state.feature)]
        return figures.feature_points(planes, y, self._among(state), axes, apart, self.reach(state))

    def _on_place(self, change: Any) -> None:
        state = self.state()
        if change.new is None or not self.ready(state):
            return
        planes, _ = self.planes(state)
        if still := self.stills.get(self._key(state, planes)):
            every = [still.places(ax, p.points) for ax, p in zip(still.figure.axes, planes.values(), strict=True)]
            self.point.value = analysis.nearest(every, *change.new, still.aspect)

    def _on_key(self, change: Any) -> None:
        step = {"ArrowLeft": -1, "ArrowRight": 1}.get(change.new[0], 0)
        self.point.value = (self.point.value + step) % (self.point.max + 1)  # behind the last comes the first

    def figure(self) -> Any:
        state = self.shown()
        planes, apart = self.planes(state)
        figure = self._frame(state, planes)
        self._points(state, planes, apart, figure.axes)
        figures.feature_marks(planes, min(state.chosen, self.point.max), figure.axes)
        return figure

    def data(self) -> dict[str, list]:
        state = self.shown()
        planes, _ = self.planes(state)
        places, test = self._places(state.classes, state.feature), next(iter(self.runs.values())).data.test
        columns: dict[str, list] = {"test image": places.tolist(), "class": [self.names[c] for c in test.y[places].tolist()]}
        for name, p in planes.items():
            columns[f"{name} x"], columns[f"{name} y"] = p.points.T.tolist()
            says = analysis.answers(self.logits(state, name)[self._rows(places, state.feature)])
            columns[f"{name} answers"] = [self.names[c] for c in says.label.tolist()]
            columns[f"{name} confidence"] = says.confidence.tolist()
        return columns

    def code(self) -> str:
        state = self.state()
        names, k = self.shows(state), len(self.names)
        among = f"list(range({k}))" if len(self._among(state)) == k else str(self._among(state))
        lines = [
            *preamble(self.runs),
            f"data = runs[{names[0]!r}].data",
            f"seen = runs[{names[0]!r}].watched[:{self.limit}]"  # places in the test set
            if state.feature == LOGITS
            else f"seen = range(min({self.limit}, len(data.test.y)))",
            f"rows = analysis.of_classes(data.test.y[seen], {sorted(state.classes)}, {self.per_class})",
            "y, points, apart, reach = data.test.y[seen][rows], {}, {}, {}",
            f"for name in {names}:",
            "    t = runs[name]",
        ]
        if state.feature != LOGITS:
            lines += [
                f'    x, _ = t.images("test", {self.limit})',
                f"    f = analysis.collect_features(t.features, x, modules=[t.model, t.method])[{state.feature!r}][rows]",
            ]
        else:
            lines += [
                "    epochs, outputs = t.run.outputs()",
                f"    at = epochs.tolist().index({state.epoch})",
                "    f = outputs[at, rows]",
            ]
        if state.feature == LOGITS and state.engine == "PCA":
            lines += [
                "    every = analysis.project_epochs(outputs[:, rows])",
                "    points[name], reach[name] = every[at], analysis.reach([p.points for p in every])",
            ]
        else:
            lines += [
                f"    points[name] = analysis.project(f, {state.engine!r})",
                "    reach[name] = analysis.reach([points[name].points])",
            ]
        lines += [
            "    apart[name] = analysis.separation_of(f, y)",
            f"among = {among}",
            "figure, axes = figures.feature_panels(len(points), len(among))",
            "figures.feature_frame({name: p.engine for name, p in points.items()}, among, axes, data.classes)",
            "figures.feature_points(points, y, among, axes, {n: s for n, s in apart.items() if s}, reach)",
            f"figures.feature_marks(points, {min(state.chosen, self.point.max)}, axes)",
            "figures.show(figure)",
        ]
        return "\n".join(lines)


TARGETS = {"the class that the exit answers": "answer", "the true class": "true"}


class CamState(NamedTuple):
    image: int
    exits: tuple[str, ...]
    target: str | int
    top: float


class CamViewer(Viewer):
    """Grad-CAM of every exit of several networks side by side: where each looks, and whether that is the object. Paper 004.

    runs: name -> finished run, a row each. limit: test images to walk through. The heat maps of all of them are computed at
    once for every exit and class that is asked for.
    """

    name = "cam-viewer"

    def __init__(self, runs: Mapping[str, Trained], limit: int = 32) -> None:
        super().__init__(runs, limit)
        data = self.data_of = next(iter(self.runs.values())).data
        self.limit = min(limit, len(data.test.y))
        self.own = {name: ["final", *t.method.auxiliary_heads()] for name, t in self.runs.items()}
        exits = list(dict.fromkeys(e for own in self.own.values() for e in own))
        self.image = self.keep("image", W.IntSlider(0, 0, self.limit - 1, description="test image", **LABELS))
        self.exits = W.SelectMultiple(options=exits, value=tuple(exits[:3]), description="exits", rows=min(len(exits), 6))
        self.keep("exits", self.exits)
        targets = TARGETS | {f"class {name}": c for c, name in enumerate(data.classes)}
        self.target = self.keep("target", choice("explain", targets, "answer"))
        self.top = W.FloatSlider(
            0.2, min=0.05, max=0.5, step=0.05, description="hottest share of the pixels, for the overlap of two maps", **LABELS
        )
        self.keep("top", self.top)
        self.maps = picture("sdkit-maps")
        self.lay_out(self.image, W.HBox([self.exits, self.target]), self.top, self.maps)

    def state(self) -> CamState:
        return CamState(self.image.value, self.exits.value, self.target.value, self.top.value)

    def needs(self, state: CamState) -> list[tuple]:
        return [("maps", name, exit, state.target) for name, own in self.own.items() for exit in state.exits if exit in own]

    def compute(self, key: tuple, progress: Any) -> Any:
        _, name, exit, target = key
        model, method = self.network(name)
        x, y = self.runs[name].images("test", self.limit)
        layer = analysis.layer_to_explain(model.stages, method.auxiliary_heads(), exit)
        targets = None if target == "answer" else y if target == "true" else torch.full_like(y, target)
        network = Exit(model, method, exit)
        found = analysis.grad_cam(network, x, layer, targets, progress=progress)
        return found, analysis.answers(
            analysis.collect_features(lambda part: {exit: network(part)}, x, modules=[network])[exit]
        )

    def shown_maps(self, state: CamState) -> dict[str, dict[str, torch.Tensor]]:
        """network -> exit -> the image's map [H, W]."""
        return {
            name: {e: self.found["maps", name, e, state.target][0].map[state.image] for e in state.exits if e in own}
            for name, own in self.own.items()
        }

    def mask(self, state: CamState) -> torch.Tensor | None:
        """Where the object is, [H, W] bool, or None where the data set does not know."""
        mask = self.data_of.test.mask
        return None if mask is None else mask[state.image]

    def measured(self, state: CamState) -> list[dict[str, Any]]:
        """A row for every map: who, what is explained, the answer, and how the map goes with the object."""
        rows, mask, classes = [], self.mask(state), self.data_of.classes
        true = int(self.data_of.test.y[state.image])
        for name, maps in self.shown_maps(state).items():
            for exit, heat in maps.items():
                found, said = self.found["maps", name, exit, state.target]
                answer = int(said.label[state.image])
                row = {
                    "run": name,
                    "exit": exit,
                    "explained": classes[int(found.target[state.image])],
                    "answer": classes[answer],
                    "confidence": float(said.confidence[state.image]),
                    "right": answer == true,
                }
                if mask is not None:
                    row["IoU with the object"] = float(analysis.mask_iou(heat[None], mask[None]))
                    on = analysis.on_object(heat[None], mask[None])
                    row["share on the object"], row["object's share of the image"] = float(on.share), float(on.chance)
                rows.append(row)
        return rows

    def words(self, state: CamState) -> dict[str, dict[str, tuple[str, bool]]]:
        """What stands below each map."""
        said: dict[str, dict[str, tuple[str, bool]]] = {name: {} for name in self.runs}
        for row in self.measured(state):
            iou = f"\nIoU {row['IoU with the object']:.2f}" if "IoU with the object" in row else ""
            text = f"{'✓' if row['right'] else '✗'} {row['answer']} {row['confidence']:.0%}{iou}"
            said[row["run"]][row["exit"]] = (text, row["right"])
        return said

    def _marks(self, state: CamState, figure: Any) -> list:
        columns = 1 + len(state.exits)
        axes = [figure.axes[i : i + columns] for i in range(0, len(figure.axes), columns)]
        title = f"true: {self.data_of.classes[int(self.data_of.test.y[state.image])]}"
        image = images_of(next(iter(self.runs.values())), state.image)
        return figures.cam_marks(image, self.shown_maps(state), self.words(state), state.exits, axes, self.mask(state), title)

    def _frame(self, exits: tuple[str, ...]) -> Any:
        figure, axes = figures.cards(len(self.runs), 1 + len(exits), side=1.7)
        figures.cam_cards(self.own, exits, axes)
        return figure

    def draw(self, state: CamState) -> None:
        if not state.exits:
            raise ValueError("no exit is chosen: choose one or more in the list")
        still = self.still(state.exits, lambda: figures.CachedFigure(self._frame(state.exits)))
        self.maps.value = still.png(self._marks(state, still.figure))
        named = {f"{figures.label(n)} {e}": m for n, maps in self.shown_maps(state).items() for e, m in maps.items()}
        pairs = analysis.overlaps(named, state.top)
        rows = {f"{a} and {b}": [f"{v:.2f}"] for (a, b), v in pairs.items()}
        chance = analysis.chance_overlap(state.top)
        self.says.value = (
            "Bright is what the explained class rests on."
            + (
                " The object is outlined; IoU compares it with as many of the hottest pixels."
                if self.mask(state) is not None
                else ""
            )
            + (table(rows, [f"IoU of the hottest {state.top:.0%} (two unrelated maps: about {chance:.2f})"]) if rows else "")
        )

    def figure(self) -> Any:
        state = self.shown()
        figure = self._frame(state.exits)
        self._marks(state, figure)
        return figure

    def data(self) -> dict[str, list]:
        rows = self.measured(self.shown())
        return {column: [row[column] for row in rows] for column in rows[0]}

    def code(self) -> str:
        state = self.state()
        targets = {"answer": "None", "true": "y"}.get(state.target, f"torch.full_like(y, {state.target})")
        iou = [
            "        iou = analysis.mask_iou(maps[name][exit][None], data.test.mask[image][None])",
            "        text += f'\\nIoU {float(iou):.2f}'",
        ] if self.mask(state) is not None else []  # fmt: skip
        torch_line = ["import torch"] if targets.startswith("torch") else []
        return "\n".join([
            *torch_line,
            *preamble(self.runs),
            f"image, exits = {state.image}, {list(state.exits)}",
            "own = {name: ['final', *t.method.auxiliary_heads()] for name, t in runs.items()}",
            "maps, words = {name: {} for name in runs}, {name: {} for name in runs}",
            "for name, t in runs.items():",
            f'    data, (x, y) = t.data, t.images("test", {self.limit})',
            "    for exit in [e for e in exits if e in own[name]]:",
            "        layer = analysis.layer_to_explain(t.model.stages, t.method.auxiliary_heads(), exit)",
            f"        maps[name][exit] = analysis.grad_cam(t.exit(exit), x, layer, {targets}).map[image]",
            "        said = analysis.answers(t.logits(exit)[image : image + 1])",
            "        right = int(said.label) == int(data.test.y[image])",
            "        text = f'{data.classes[int(said.label)]} {float(said.confidence):.0%}'",
            *iou,
            "        words[name][exit] = ('✓ ' if right else '✗ ') + text, right",
            "figure, axes = figures.cards(len(runs), 1 + len(exits), side=1.7)",
            "figures.cam_cards(own, exits, axes)",
            "mask = None if data.test.mask is None else data.test.mask[image]",
            "title = f'true: {data.classes[int(data.test.y[image])]}'",
            "figures.cam_marks(data.test.x[image].float() / 255, maps, words, exits, axes, mask, title)",
            "figures.show(figure)",
        ])  # fmt: skip


class RankedState(NamedTuple):
    epoch: int
    space: str
    top: int


SPACES = {"probabilities": "probabilities", "standardised logits": "standardised", "raw logits": "logits"}


class RankedViewer(Viewer):
    """The sorted outputs along training: how much each rank differs between images, epoch by epoch. Paper 004, Fig. 3 and 5.

    runs: name -> finished run. limit: test images looked at. Only recorded epochs can be chosen.
    """

    name = "ranked-viewer"

    def __init__(self, runs: Mapping[str, Trained], limit: int = 2000) -> None:
        self.limit = limit
        super().__init__(runs, limit)
        self.epochs = {name: recorded(t) for name, t in self.runs.items()}
        every = sorted({e for epochs in self.epochs.values() for e in epochs})
        if not every:
            raise ValueError("none of these runs has recorded its outputs: train them again")
        k = next(iter(self.runs.values())).data.num_classes
        self.space = self.keep("space", choice("outputs as", SPACES, "probabilities"))
        self.epoch = W.SelectionSlider(
            options=[(str(e + 1), e) for e in every], value=every[-1], description="epoch (recorded ones)", **LABELS
        )
        self.top = W.IntSlider(min(k, 10), 2, min(k, 50), description="k, largest outputs shown", **LABELS)
        self.keep("epoch", self.epoch)
        self.keep("top", self.top)
        self.curves = picture("sdkit-curves")
        self.lay_out(self.space, self.epoch, self.top, self.curves)

    def state(self) -> RankedState:
        return RankedState(self.epoch.value, self.space.value, self.top.value)

    def needs(self, state: RankedState) -> list[tuple]:
        return [("profile", name, state.space) for name, epochs in self.epochs.items() if epochs]

    def steps(self, key: tuple) -> int:
        return len(self.epochs[key[1]])

    def compute(self, key: tuple, progress: Any) -> analysis.RankedProfile:
        _, outputs = self.runs[key[1]].run.outputs()
        return analysis.ranked_profile(outputs[:, : self.limit], key[2], self.top.max, progress)

    def along(self, state: RankedState) -> dict[str, analysis.RankedProfile]:
        return {key[1]: self.found[key] for key in self.needs(state)}

    def draw(self, state: RankedState) -> None:
        along = self.along(state)
        still = self.still((state.space,), lambda: self._still(along))
        right = still.figure.axes[1]
        still.over(state.top, lambda: [figures.ranked_frame(along, right, state.space, state.top)])
        self.curves.value = still.png(figures.ranked_marks(along, self.epochs, state.epoch, still.figure.axes, state.top))
        rows = {}
        for name, a in along.items():
            if state.epoch not in self.epochs[name]:
                rows[name] = ["not recorded", "", ""]
                continue
            e = self.epochs[name].index(state.epoch)
            accuracy = self.runs[name].history[state.epoch].accuracy["final"]
            rows[name] = [
                f"{float(a.variance[e]):.3g}",
                f"{float(a.mean[e, 0]):.3g} ± {float(a.sd[e, 0]):.2g}",
                f"{accuracy:.1%}",
            ]
        head = ["variance of the ranked outputs", "largest output, mean ± sd", "test accuracy"]
        self.says.value = f"After epoch {state.epoch + 1}:{table(rows, head)}"

    def _still(self, along: dict[str, analysis.RankedProfile]) -> figures.CachedFigure:
        figure, (left, right) = figures.ranked_panels()
        figures.ranked_view(along, self.epochs, left)
        return figures.CachedFigure(figure, without=[right])

    def figure(self) -> Any:
        state = self.shown()
        along, (figure, axes) = self.along(state), figures.ranked_panels()
        figures.ranked_view(along, self.epochs, axes[0])
        figures.ranked_frame(along, axes[1], state.space, state.top)
        figures.ranked_marks(along, self.epochs, state.epoch, axes, state.top)
        return figure

    def data(self) -> dict[str, list]:
        state = self.shown()
        columns: dict[str, list] = {}
        for name, a in self.along(state).items():
            columns |= {f"{name} epoch": [e + 1 for e in self.epochs[name]], f"{name} variance": a.variance.tolist()}
            if state.epoch in self.epochs[name]:
                e = self.epochs[name].index(state.epoch)
                columns |= {f"{name} rank {of}": getattr(a, of)[e, : state.top].tolist() for of in ("mean", "sd")}
        return columns

    def code(self) -> str:
        state = self.state()
        return "\n".join([
            *preamble(self.runs),
            "epochs, along = {}, {}",
            "for name, t in runs.items():",
            "    recorded, outputs = t.run.outputs()",
            "    epochs[name] = recorded.tolist()",
            f"    along[name] = analysis.ranked_profile(outputs[:, :{self.limit}], {state.space!r}, top={self.top.max})",
            "figure, axes = figures.ranked_panels()",
            "figures.ranked_view(along, epochs, axes[0])",
            f"figures.ranked_frame(along, axes[1], {state.space!r}, {state.top})",
            f"figures.ranked_marks(along, epochs, {state.epoch}, axes, {state.top})",
            "figures.show(figure)",
        ])  # fmt: skip


def recorded(trained: Trained) -> list[int]:
    """The epochs whose outputs a run has kept, counted from 0."""
    return sorted(int(f.stem) for f in (trained.run.folder / "outputs").glob("*.npy"))
