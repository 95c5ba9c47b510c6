"""The ranked-output viewer: the sorted outputs of networks along their training."""

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
from .parts import choice, picture
from .viewer import LABELS, Viewer, Watch, table

SPACES = {"probabilities": "probabilities", "standardised logits": "standardised", "raw logits": "logits"}


class RankedState(NamedTuple):
    epoch: int
    space: str
    top: int


class RankedViewer(Viewer):
    """The sorted outputs along training: how much each rank differs between images, epoch by epoch. Paper 004, Fig. 3 and 5.

    Only recorded epochs can be chosen.

    Args:
        runs: name -> finished run.
        limit: test images looked at.

    Raises:
        ValueError: no run has recorded its outputs.
    """

    name = "ranked-viewer"
    described = {"sdkit-curves": "The variance of the ranked outputs over the epochs, and the outputs of one epoch by rank."}
    redrawn = (1,)

    def __init__(self, runs: Mapping[str, Trained], limit: int = 2000) -> None:
        self.limit = limit
        super().__init__(runs, limit)
        every = sorted({e for epochs in self.recorded.values() for e in epochs})
        if not every:
            raise ValueError("none of these runs has recorded its outputs: train them again")
        k = self.images.num_classes
        self.space = self.keep("space", choice("outputs as", SPACES, "probabilities"))
        options = [(str(e + 1), e) for e in every]
        self.epoch = W.SelectionSlider(options=options, value=every[-1], description="epoch (recorded ones)", **LABELS)
        self.keep("epoch", self.epoch)
        self.top = self.keep("top", W.IntSlider(min(k, 10), 2, min(k, 50), description="k, largest outputs shown", **LABELS))
        self.curves = picture("sdkit-curves")
        self.lay_out(self.space, self.epoch, self.top, self.curves)

    def state(self) -> RankedState:
        return RankedState(self.epoch.value, self.space.value, self.top.value)

    def needs(self, state: RankedState) -> list[tuple]:
        return [("profile", name, state.space) for name, epochs in self.recorded.items() if epochs]

    def steps(self, key: tuple) -> int:
        return len(self.recorded[key[1]])

    def compute(self, key: tuple, progress: Watch) -> analysis.RankedProfile:
        _, outputs = self.runs[key[1]].run.outputs()
        return analysis.ranked_profile(outputs[:, : self.limit], key[2], self.top.max, progress)

    def along(self, state: RankedState) -> dict[str, analysis.RankedProfile]:
        """run -> its profile at every recorded epoch."""
        return {key[1]: self.found[key] for key in self.needs(state)}

    def frame_of(self, state: RankedState) -> str:
        return state.space

    def frame(self, state: RankedState) -> Figure:
        figure, (left, _) = figures.ranked_panels()
        figures.ranked_view(self.along(state), self.recorded, left)
        return figure

    def layer_of(self, state: RankedState) -> int:
        return state.top

    def layer(self, state: RankedState, axes: Sequence[Axes]) -> list[Artist]:
        return [figures.ranked_frame(self.along(state), axes[1], state.space, state.top)]

    def marks(self, state: RankedState, axes: Sequence[Axes]) -> list[Artist]:
        return figures.ranked_marks(self.along(state), self.recorded, state.epoch, axes, state.top)

    def draw(self, state: RankedState) -> None:
        self.curves.value = self.png(state)
        rows = {}
        for name, a in self.along(state).items():
            if state.epoch not in self.recorded[name]:
                rows[name] = ["not recorded", "", ""]
                continue
            e = self.recorded[name].index(state.epoch)
            accuracy = self.runs[name].history[state.epoch].accuracy["final"]
            largest = f"{float(a.mean[e, 0]):.3g} ± {float(a.sd[e, 0]):.2g}"
            rows[name] = [f"{float(a.variance[e]):.3g}", largest, f"{accuracy:.1%}"]
        head = ["variance of the ranked outputs", "largest output, mean ± sd", "test accuracy"]
        self.says.value = Markup("After epoch {}:{}").format(state.epoch + 1, table(rows, head))

    def data(self) -> dict[str, list[Any]]:
        state = self.shown()
        columns: dict[str, list] = {}
        for name, a in self.along(state).items():
            epochs = self.recorded[name]
            columns |= {f"{name} epoch": [e + 1 for e in epochs], f"{name} variance": a.variance.tolist()}
            if state.epoch in epochs:
                e = epochs.index(state.epoch)
                columns |= {f"{name} rank {of}": getattr(a, of)[e, : state.top].tolist() for of in ("mean", "sd")}
        return columns

    def lines(self, state: RankedState) -> list[str]:
        return [
            "epochs, along = {}, {}",
            "for name, t in runs.items():",
            "    recorded, outputs = t.run.outputs()",
            "    epochs[name] = recorded.tolist()",
            f"    along[name] = analysis.ranked_profile(outputs[:, :{self.limit}], {state.space!r}, top={self.top.max})",
            "figure, axes = figures.ranked_panels()",
            "figures.ranked_view(along, epochs, axes[0])",
            f"figures.ranked_frame(along, axes[1], {state.space!r}, {state.top})",
            f"figures.ranked_marks(along, epochs, {state.epoch}, axes, {state.top})",
        ]
