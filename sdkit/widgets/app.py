"""All panels on one page: what `sdkit app` shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as W
from IPython.display import display

from .. import figures, runs
from ..core import pick
from ..experiment import DATASETS, MODELS, RECIPES, Experiment, Trained
from ..methods import METHODS
from .explorer import Explorer
from .inspector import LossInspector
from .panel import TrainingPanel
from .parts import choice, kept, notice, sentence
from .viewers import CamViewer, FeatureViewer, NoiseViewer, RankedViewer

TOGETHER = ("drg+dsr",)
"""Joined methods that the list offers beside the single ones."""

VIEWERS = {"weight noise": NoiseViewer, "features": FeatureViewer, "Grad-CAM": CamViewer, "ranked outputs": RankedViewer}


class App:
    """Tabs of panels. A tab's panel is made when it is first opened, so that the page is there at once."""

    def __init__(self, first: str = "Train") -> None:
        self.makers: dict[str, Callable[[], Any]] = {
            "Train": Choose,
            "Recorded runs": Explorer,
            "Loss inspector": lambda: OfRuns({"loss inspector": lambda shown: LossInspector(*shown.values())}, several=False),
            "Viewers": lambda: OfRuns(VIEWERS),
        }
        pick(first, self.makers, "tab")
        self.panels: dict[str, Any] = {}
        self.tabs = W.Tab([W.VBox() for _ in self.makers], titles=list(self.makers))
        self.tabs.add_class("sdkit-app")
        self.tabs.observe(lambda change: self._open(change.new), "selected_index")
        self.tabs.selected_index = list(self.makers).index(first)
        self._open(self.tabs.selected_index)

    def _open(self, i: int | None) -> None:
        if i is None:
            return
        name = list(self.makers)[i]
        if name in self.panels:
            if isinstance(self.panels[name], OfRuns):
                self.panels[name].look()
            return
        try:
            self.panels[name] = self.makers[name]()
            shown = self.panels[name].box
        except Exception as error:  # one panel that cannot open leaves the others alone
            shown = W.HTML(sentence(error))
        self.tabs.children[i].children = [shown]

    def _ipython_display_(self) -> None:
        display(self.tabs)


class Choose:
    """What to train, by lists, and its training panel."""

    def __init__(self) -> None:
        self.method = choice("method", [*METHODS, *TOGETHER], TOGETHER[0])
        self.model = choice("network", list(MODELS), "four-stage")
        self.data = choice("data", list(DATASETS), "digits")
        self.recipe = choice("recipe", list(RECIPES), "quick")
        self.seed = W.BoundedIntText(description="seed", value=0, min=0, max=10**6, layout=W.Layout(width="12em"))
        self.notice, self.place = notice(), W.VBox()
        self.lists = {"method": self.method, "model": self.model, "data": self.data, "recipe": self.recipe, "seed": self.seed}
        for name, box in self.lists.items():
            box.add_class(f"sdkit-choose-{name}")
            box.observe(lambda _: self._show(), "value")
        row = W.HBox(list(self.lists.values()), layout=W.Layout(flex_flow="row wrap"))
        self.box = W.VBox([row, self.notice, self.place])
        self._show()

    def _show(self) -> None:
        """The panel of what is chosen: a training that runs goes on, and is there again when it is chosen again."""
        try:
            chosen = {name: box.value for name, box in self.lists.items()}
            vanilla = Experiment(**chosen | {"method": "vanilla"})
            try:
                experiment = Experiment(**chosen)
            except ValueError:  # it learns from a trained network
                experiment = Experiment(**chosen, teacher=vanilla)
            self.place.children = [TrainingPanel(experiment).box]
            self.notice.value = ""
        except Exception as error:
            self.notice.value, self.place.children = sentence(error), []


class OfRuns:
    """A finished run from a list, and a panel that shows it. several: a second run of the same data may stand beside it.

    panels: name -> what makes a panel of runs by name.
    """

    def __init__(self, panels: Mapping[str, Callable[[dict[str, Trained]], Any]], several: bool = True) -> None:
        self.panels, self.several, self._quiet = panels, several, False
        self.found: dict[str, runs.RunRow] = {}
        self.run, self.beside = choice("run", {}, None), choice("beside it", {}, None)
        self.kind = choice("viewer", list(panels), next(iter(panels)))
        self.refresh = W.Button(description="Refresh", tooltip="look for runs that have finished since")
        self.notice, self.place = notice(), W.VBox()
        for name in ("run", "beside", "kind", "refresh"):
            getattr(self, name).add_class(f"sdkit-of-{name}")
        self.refresh.on_click(lambda _: self.look())
        self.run.observe(lambda _: self._on_run(), "value")
        for box in (self.beside, self.kind):
            box.observe(lambda _: self._show(), "value")
        lists = [*([self.kind] if len(panels) > 1 else []), self.run, *([self.beside] if several else []), self.refresh]
        self.box = W.VBox([W.HBox(lists, layout=W.Layout(flex_flow="row wrap")), self.notice, self.place])
        self._offered: Any = None
        self.look()

    def look(self) -> None:
        """Reads the records again. What is chosen stays chosen."""
        self.found = {r.run.key: r for r in reversed(runs.records()) if r.status == "done"}
        if [*self.found] == self._offered:
            return
        self._offered, wish = [*self.found], self.run.value
        self._quietly(self.run, {said(r): key for key, r in self.found.items()}, wish)
        self._on_run()

    def _on_run(self) -> None:
        if not self._quiet and self.run.value:
            chosen = self.found[self.run.value]
            same = {said(r): key for key, r in self.found.items() if r["data"] == chosen["data"] and r is not chosen}
            self._quietly(self.beside, {"nothing": None, **same}, self.beside.value)
        self._show()

    def _quietly(self, box: W.Dropdown, options: dict[str, Any], wish: Any) -> None:
        """New options for a list; the wish where it is among them, else the first."""
        self._quiet = True
        box.options = list(options.items())
        box.value = wish if wish in options.values() else next(iter(options.values()), None)
        self._quiet = False

    def _show(self) -> None:
        if self._quiet:
            return
        if not self.found:
            self.notice.value, self.place.children = "No run has finished yet: train one in the first tab, then come back.", []
            return
        self.notice.value = ""
        try:
            records = [self.found[key] for key in (self.run.value, self.beside.value) if key in self.found]
            shown = {}
            for record in records if self.several else records[:1]:
                name = record["method"]
                shown[f"{name} {record.run.key}" if name in shown else name] = opened(record)
            self.place.children = [self.panels[self.kind.value](shown).box]
        except Exception as error:  # of another sdkit, or without its images
            self.notice.value, self.place.children = sentence(error), []


def opened(record: runs.RunRow) -> Trained:
    """A finished run with its network, a panel's included; loaded once."""

    def load() -> Trained:
        experiment, history = Experiment.of(record.run.config), record.run.history()
        if any(e.changes for e in history):
            experiment = experiment.as_steered(history, record.run.environment["steps per epoch"])
        return Trained(experiment, record.run)

    return kept("opened", str(record.run.folder), load)


def said(record: runs.RunRow) -> str:
    """A run in a list."""
    words = [figures.label(record["method"]), record["model"], record["data"], f"{record['accuracy.final']:.1%}"]
    turned = ["knobs turned"] if record["steered"] else []
    return " · ".join([*words, f"seed {record['seed']:g}", *turned, record.run.key])
