"""The Grad-CAM viewer: where every exit of several networks looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ..methods import Exit
from .parts import beside, choice, picture
from .viewer import LABELS, Viewer, Watch, table

TARGETS = {"the class that the exit answers": "answer", "the true class": "true"}

NO_EXIT = "no exit is chosen: choose one or more in the list"


class CamState(NamedTuple):
    image: int
    exits: tuple[str, ...]
    target: str | int  # "answer", "true" or a class
    top: float


class CamViewer(Viewer):
    """Grad-CAM of every exit of several networks side by side: where each looks, and whether that is the object. Paper 004.

    The heat maps of all images are computed at once for every exit and class that is asked for.

    Args:
        runs: name -> finished run, a row each.
        limit: test images to walk through.
    """

    name = "cam-viewer"

    def __init__(self, runs: Mapping[str, Trained], limit: int = 32) -> None:
        super().__init__(runs, limit)
        self.limit = min(limit, len(self.images.test.y))
        exits = list(dict.fromkeys(e for own in self.own_exits.values() for e in own))
        self.image = self.keep("image", W.IntSlider(0, 0, self.limit - 1, description="test image", **LABELS))
        self.exits = W.SelectMultiple(options=exits, value=tuple(exits[:3]), description="exits", rows=min(len(exits), 6))
        self.keep("exits", self.exits)
        targets = TARGETS | {f"class {name}": c for c, name in enumerate(self.images.classes)}
        self.target = self.keep("target", choice("explain", targets, "answer"))
        hottest = "hottest share of the pixels, for the overlap of two maps"
        self.top = self.keep("top", W.FloatSlider(0.2, min=0.05, max=0.5, step=0.05, description=hottest, **LABELS))
        self.maps = picture("sdkit-maps")
        self.lay_out(self.image, beside(self.exits, self.target), self.top, self.maps)

    def state(self) -> CamState:
        return CamState(self.image.value, self.exits.value, self.target.value, self.top.value)

    def needs(self, state: CamState) -> list[tuple]:
        return [("maps", name, e, state.target) for name, own in self.own_exits.items() for e in state.exits if e in own]

    def compute(self, key: tuple, progress: Watch) -> tuple[analysis.HeatMaps, analysis.Answers]:
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

    def shown_maps(self, state: CamState) -> dict[str, dict[str, Tensor]]:
        """network -> exit -> the image's map [H, W]."""
        return {
            name: {e: self.found["maps", name, e, state.target][0].map[state.image] for e in state.exits if e in own}
            for name, own in self.own_exits.items()
        }

    def mask(self, state: CamState) -> Tensor | None:
        """Where the object is, [H, W] bool, or None where the data set does not know."""
        mask = self.images.test.mask
        return None if mask is None else mask[state.image]

    def measured(self, state: CamState) -> list[dict[str, Any]]:
        """A row for every map: who, what is explained, the answer, and how much of the map lies on the object."""
        rows, mask, classes = [], self.mask(state), self.images.classes
        true = int(self.images.test.y[state.image])
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
        """What stands below each map, and whether the answer is right."""
        said: dict[str, dict[str, tuple[str, bool]]] = {name: {} for name in self.runs}
        for row in self.measured(state):
            iou = f"\nIoU {row['IoU with the object']:.2f}" if "IoU with the object" in row else ""
            text = f"{'✓' if row['right'] else '✗'} {row['answer']} {row['confidence']:.0%}{iou}"
            said[row["run"]][row["exit"]] = (text, row["right"])
        return said

    def frame_of(self, state: CamState) -> tuple[str, ...]:
        return state.exits

    def frame(self, state: CamState) -> Figure:
        figure, axes = figures.cards(len(self.runs), 1 + len(state.exits), side=1.7)
        figures.cam_cards(self.own_exits, state.exits, axes)
        return figure

    def marks(self, state: CamState, axes: Sequence[Axes]) -> list[Artist]:
        width = 1 + len(state.exits)
        grid = [axes[i : i + width] for i in range(0, len(axes), width)]
        title = f"true: {self.images.classes[int(self.images.test.y[state.image])]}"
        image, mask = self.shown_image(state.image), self.mask(state)
        return figures.cam_marks(image, self.shown_maps(state), self.words(state), state.exits, grid, mask, title)

    def draw(self, state: CamState) -> None:
        if not state.exits:
            raise ValueError(NO_EXIT)
        self.maps.value = self.png(state)
        answers = "; ".join(
            f"{figures.label(r['run'])} {r['exit']} for class {r['explained']}: {r['answer']} with {r['confidence']:.0%}"
            for r in self.measured(state)
        )
        true = self.images.classes[int(self.images.test.y[state.image])]
        self.page.tell("sdkit-maps", f"Heat maps of test image {state.image}, true class {true}: {answers}.")
        named = {f"{figures.label(n)} {e}": m for n, maps in self.shown_maps(state).items() for e, m in maps.items()}
        rows = {f"{a} and {b}": [f"{v:.2f}"] for (a, b), v in analysis.overlaps(named, state.top).items()}
        chance = analysis.chance_overlap(state.top)
        said = ["Bright is what the explained class rests on."]
        if self.mask(state) is not None:
            said.append("The object is outlined; IoU compares it with as many of the hottest pixels.")
        if rows:
            said.append(table(rows, [f"IoU of the hottest {state.top:.0%} (two unrelated maps: about {chance:.2f})"]))
        self.says.value = Markup(" ").join(said)

    def data(self) -> dict[str, list[Any]]:
        rows = self.measured(self.shown())
        if not rows:
            raise ValueError(NO_EXIT)
        return {column: [row[column] for row in rows] for column in rows[0]}

    def lines(self, state: CamState) -> list[str]:
        targets = {"answer": "None", "true": "y"}.get(state.target, f"y.new_full(y.shape, {state.target})")
        iou = [
            "        iou = analysis.mask_iou(maps[name][exit][None], data.test.mask[image][None])",
            "        text += f'\\nIoU {float(iou):.2f}'",
        ] if self.mask(state) is not None else []  # fmt: skip
        return [
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
        ]
