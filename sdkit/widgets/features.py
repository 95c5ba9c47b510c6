"""The feature viewer: what the exits of trained networks say of images, on a plane, beside the image under the pointer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import ipywidgets as W
import torch
from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .. import analysis, figures
from ..experiment import Trained
from .parts import LatestOnly, Words, beside, choice, picture, styled, told
from .pointer import ARROWS, Pointer
from .viewer import LABELS, Viewer, Watch, table

KEYS = "Move the mouse over the points, or press the arrow keys."
LOGITS = "logits of final, every epoch"
PROJECTIONS = {"PCA": "PCA", "t-SNE (openTSNE)": "openTSNE", "t-SNE (scikit-learn)": "sklearn"}


class FeatureState(NamedTuple):
    feature: str
    epoch: int | None  # of the logits along training; None for what the trained network gives
    engine: str
    classes: tuple[int, ...]
    chosen: int  # place among the images shown


class FeatureViewer(Viewer):
    """Every exit's features on a plane, beside the image under the pointer. BYOT's PCA, paper 004's t-SNE.

    Along the epochs only the final exit's logits are recorded; features of the exits are those of the trained network.

    Args:
        runs: name -> finished run, a panel each.
        limit: test images looked at.
        per_class: of these, at most so many of a class.
    """

    name = "feature-viewer"

    def __init__(self, runs: Mapping[str, Trained], limit: int = 1000, per_class: int = 60) -> None:
        self.limit, self.per_class = limit, per_class
        super().__init__(runs, limit, per_class)
        self.names, k = self.images.classes, self.images.num_classes
        exits = dict.fromkeys(e for own in self.own_exits.values() for e in own)
        epochs = sorted({e for own in self.recorded.values() for e in own})
        along = [LOGITS] if epochs else []
        self.feature = self.keep("feature", choice("features of exit", [*exits, *along], "final"))
        self.engine = self.keep("engine", choice("projection", PROJECTIONS, "PCA"))
        for box in (self.feature, self.engine):
            box.style.description_width = "initial"
        options = [(str(e + 1), e) for e in epochs] or [("last", None)]
        self.epoch = W.SelectionSlider(options=options, value=options[-1][1], description="epoch", **LABELS)
        self.count = W.IntSlider(min(k, 10), 2, k, description="K, how many classes", **LABELS)
        self.classes = W.SelectMultiple(
            options=[(name, c) for c, name in enumerate(self.names)],
            value=tuple(range(min(k, 10))),
            description="which classes",
            rows=min(k, 8),
            style={"description_width": "initial"},
        )
        self.point = W.IntSlider(0, 0, 10**6, description="image (← → walk the points)", **LABELS)
        for name in ("epoch", "count", "classes", "point"):
            self.keep(name, getattr(self, name))
        self.judging = LatestOnly(self._judge, self.failed)
        self.plane, self.image, self.about = Pointer("sdkit-plane", about=KEYS), picture("sdkit-image"), Words()
        styled(about=self.about)
        self.count.observe(lambda change: setattr(self.classes, "value", tuple(range(change.new))), "value")
        self.plane.observe(self._on_place, ["hover", "at"])
        self.plane.observe(self._on_key, "pressed")
        lists = beside(W.VBox([self.feature, self.engine]), self.classes)
        self.lay_out(lists, self.count, self.epoch, self.point, self.plane, beside(self.image, self.about))

    def state(self) -> FeatureState:
        along = self.feature.value == LOGITS
        self.epoch.disabled = not along
        self.point.max = max(len(self.places(self.classes.value, self.feature.value)) - 1, 0)
        epoch = self.epoch.value if along else None
        return FeatureState(self.feature.value, epoch, self.engine.value, self.classes.value, self.point.value)

    # which images, which runs

    def _seen(self, feature: str) -> Tensor:
        """The places of the test images looked at, ascending: along the training those that every epoch was tested on."""
        if feature == LOGITS:
            return next(iter(self.runs.values())).watched[: self.limit]
        return torch.arange(min(self.limit, len(self.images.test.y)))

    def places(self, classes: Sequence[int], feature: str) -> Tensor:
        """Which of the test images are shown, [M]."""
        seen = self._seen(feature)
        return seen[analysis.of_classes(self.images.test.y[seen], sorted(classes), self.per_class)]

    def _rows(self, places: Tensor, feature: str) -> Tensor:
        """Where images stand among those looked at, [M]."""
        return torch.searchsorted(self._seen(feature), places)

    def shows(self, state: FeatureState) -> list[str]:
        """The runs that have what is asked for."""
        if state.feature != LOGITS:
            return [name for name, own in self.own_exits.items() if state.feature in own]
        seen = next(iter(self.runs.values())).watched
        return [n for n, t in self.runs.items() if state.epoch in self.recorded[n] and torch.equal(t.watched, seen)]

    # what is computed

    def _planes(self, state: FeatureState) -> dict[str, tuple]:
        """run -> the key of its projections."""
        at = "every" if state.feature == LOGITS and state.engine == "PCA" else state.epoch
        return {name: ("plane", name, state.feature, at, state.engine, state.classes) for name in self.shows(state)}

    def needs(self, state: FeatureState) -> list[tuple]:
        planes = self._planes(state)
        return [*(("outputs" if state.feature == LOGITS else "features", name) for name in planes), *planes.values()]

    def steps(self, key: tuple) -> int:
        return 30 if key[0] == "plane" and key[4].startswith("openTSNE") else 1

    def compute(self, key: tuple, progress: Watch) -> Any:
        kind, name, *rest = key
        if kind == "outputs":
            epochs, outputs = self.runs[name].run.outputs()
            return {int(e): z for e, z in zip(epochs, outputs[:, : self.limit], strict=True)}
        if kind == "features":
            return self._features(name)
        feature, at, engine, classes = rest
        rows = self._rows(self.places(classes, feature), feature)
        if len(rows) < 3:
            raise ValueError(f"a projection needs three or more images, got {len(rows)}: choose more classes")
        if at == "every":
            outputs = self.found["outputs", name]
            return dict(zip(outputs, analysis.project_epochs(torch.stack([z[rows] for z in outputs.values()])), strict=True))
        return {at: analysis.project(self.values(name, feature, at)[rows], engine, progress=progress)}

    def _features(self, name: str) -> dict[tuple[str, str], Tensor]:
        """("features" or "logits", exit) -> [N, D] or [N, K], from one pass."""
        model, method = self.network(name)
        x, _ = self.runs[name].images("test", self.limit)

        def both(part: Tensor) -> dict:
            out = model.forward_features(part)
            features, logits = method.features(out), method.exits(out, part)
            return {("features", e): f for e, f in features.items()} | {("logits", e): logits[e] for e in features}

        return analysis.collect_features(both, x, modules=[model, method])

    def values(self, name: str, feature: str, epoch: int | None, kind: str = "features") -> Tensor:
        """A run's "features" or "logits" of the images looked at, [N, D] or [N, K]."""
        return self.found["outputs", name][epoch] if feature == LOGITS else self.found["features", name][kind, feature]

    def planes(self, state: FeatureState) -> tuple[dict[str, analysis.Projection], dict[str, analysis.Separation]]:
        """The projections of the runs shown, and of these the separations that are known already."""
        apart = {name: self.found.get(self._apart(name, state)) for name in self.shows(state)}
        return {n: self.found[k][state.epoch] for n, k in self._planes(state).items()}, {n: s for n, s in apart.items() if s}

    def _apart(self, name: str, state: FeatureState) -> tuple:
        return ("apart", name, state.feature, state.epoch, state.classes)

    def _judge(self, state: FeatureState) -> None:
        """Measures how well the classes are separated. This takes longer than the picture, which then gets the numbers."""
        missing = [name for name in self.shows(state) if self._apart(name, state) not in self.found]
        places = self.places(state.classes, state.feature)
        for name in missing:
            values = self.values(name, state.feature, state.epoch)[self._rows(places, state.feature)]
            self.found[self._apart(name, state)] = analysis.separation_of(values, self.images.test.y[places])
        if missing and self.wanted[:-1] == state[:-1]:
            self.drawing.ask(self.wanted)

    def wait(self, timeout: float = 60) -> bool:
        return super().wait(timeout) and self.judging.wait(timeout) and self.drawing.wait(timeout)

    # what is drawn

    def _among(self, state: FeatureState) -> list[int]:
        """The classes that colours are for: all, where the eye can tell them apart, otherwise those chosen."""
        return list(range(len(self.names))) if len(self.names) <= 42 else sorted(state.classes)

    def frame_of(self, state: FeatureState) -> Hashable:
        return tuple((name, p.engine) for name, p in self.planes(state)[0].items()), tuple(self._among(state)), state.classes

    def frame(self, state: FeatureState) -> Figure:
        planes, among = self.planes(state)[0], self._among(state)
        figure, axes = figures.feature_panels(len(planes), len(among))
        engines = {name: p.engine for name, p in planes.items()}
        figures.feature_frame(engines, among, axes, self.names, sorted(state.classes))
        return figure

    def layer_of(self, state: FeatureState) -> Hashable:
        return (state[:-1], *self.planes(state)[1])

    def layer(self, state: FeatureState, axes: Sequence[Axes]) -> list[Artist]:
        planes, apart = self.planes(state)
        y = self.images.test.y[self.places(state.classes, state.feature)]
        every = {name: [p.points for p in self.found[key].values()] for name, key in self._planes(state).items()}
        reach = {name: analysis.reach(points) for name, points in every.items()}  # one for all epochs that share their axes
        return figures.feature_points(planes, y, self._among(state), axes, apart, reach)

    def marks(self, state: FeatureState, axes: Sequence[Axes]) -> list[Artist]:
        return figures.feature_marks(self.planes(state)[0], min(state.chosen, self.point.max), axes)

    def draw(self, state: FeatureState) -> None:
        if not self.shows(state):
            raise ValueError(f"none of these runs has recorded {state.feature}: choose another exit")
        self.plane.value = self.png(state)
        self.judging.ask(state)
        places = self.places(state.classes, state.feature)
        chosen = min(state.chosen, len(places) - 1)
        at, row = int(places[chosen]), self._rows(places[chosen : chosen + 1], state.feature)
        self.image.value = figures.thumbnail(self.shown_image(at))
        rows = {}
        for name in self.shows(state):
            answer = analysis.answers(self.values(name, state.feature, state.epoch, "logits")[row])
            rows[name] = [self.names[int(answer.label)], f"{float(answer.confidence):.1%}"]
        true = self.names[int(self.images.test.y[at])]
        answers = table(rows, ["answers", "confidence"])
        self.about.value = Markup("test image {}, true class <b>{}</b>{}").format(at, true, answers)
        end = "after the last epoch: features of the exits are recorded only there"
        when = end if state.epoch is None else f"epoch {state.epoch + 1}"
        self.page.tell("sdkit-image", told(self.about.value))
        apart = self.planes(state)[1]
        scores = ", ".join(f"{figures.label(n)}: silhouette {s.silhouette:.2f}" for n, s in apart.items())
        self.plane.about = f"{len(places)} test images as points of a plane, {state.feature}. {scores}. {KEYS}"
        self.says.value = f"{len(places)} test images, {state.feature}, {when}"

    # what the reader does

    def _on_place(self, change: Any) -> None:
        state = self.state()
        if change.new is None or not self.ready(state):
            return
        if cached := self.frames.get(self.frame_of(state)):
            planes = self.planes(state)[0].values()
            every = [cached.places(ax, p.points) for ax, p in zip(cached.figure.axes, planes, strict=True)]
            self.point.value = analysis.nearest(every, *change.new, cached.aspect)

    def _on_key(self, change: Any) -> None:
        step = ARROWS.get(change.new[0], 0)
        self.point.value = (self.point.value + step) % (self.point.max + 1)  # behind the last comes the first

    # what is exported

    def data(self) -> dict[str, list[Any]]:
        state = self.shown()
        places, y = self.places(state.classes, state.feature), self.images.test.y
        columns: dict[str, list] = {"test image": places.tolist(), "class": [self.names[c] for c in y[places].tolist()]}
        for name, p in self.planes(state)[0].items():
            columns[f"{name} x"], columns[f"{name} y"] = p.points.T.tolist()
            logits = self.values(name, state.feature, state.epoch, "logits")
            says = analysis.answers(logits[self._rows(places, state.feature)])
            columns[f"{name} answers"] = [self.names[c] for c in says.label.tolist()]
            columns[f"{name} confidence"] = says.confidence.tolist()
        return columns

    def lines(self, state: FeatureState) -> list[str]:
        names, k, along = self.shows(state), len(self.names), state.feature == LOGITS
        among = f"list(range({k}))" if len(self._among(state)) == k else str(self._among(state))
        seen = f"runs[{names[0]!r}].watched[:{self.limit}]" if along else f"range(min({self.limit}, len(data.test.y)))"
        values = [
            "    epochs, outputs = t.run.outputs()",
            f"    at = epochs.tolist().index({state.epoch})",
            "    f = outputs[at, rows]",
        ] if along else [
            f'    x, _ = t.images("test", {self.limit})',
            f"    f = analysis.collect_features(t.features, x, modules=[t.model, t.method])[{state.feature!r}][rows]",
        ]  # fmt: skip
        points = [
            "    every = analysis.project_epochs(outputs[:, rows])",
            "    points[name], reach[name] = every[at], analysis.reach([p.points for p in every])",
        ] if along and state.engine == "PCA" else [
            f"    points[name] = analysis.project(f, {state.engine!r})",
            "    reach[name] = analysis.reach([points[name].points])",
        ]  # fmt: skip
        return [
            f"data = runs[{names[0]!r}].data",
            f"seen = {seen}",  # places in the test set
            f"rows = analysis.of_classes(data.test.y[seen], {sorted(state.classes)}, {self.per_class})",
            "y, points, apart, reach = data.test.y[seen][rows], {}, {}, {}",
            f"for name in {names}:",
            "    t = runs[name]",
            *values,
            *points,
            "    apart[name] = analysis.separation_of(f, y)",
            f"among = {among}",
            "figure, axes = figures.feature_panels(len(points), len(among))",
            f"shown = {sorted(state.classes)}",
            "figures.feature_frame({name: p.engine for name, p in points.items()}, among, axes, data.classes, shown)",
            "figures.feature_points(points, y, among, axes, {n: s for n, s in apart.items() if s}, reach)",
            f"figures.feature_marks(points, {min(state.chosen, self.point.max)}, axes)",
        ]
