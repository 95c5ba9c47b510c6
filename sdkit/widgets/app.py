"""All panels on one page: what `sdkit app` shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as W
from markupsafe import Markup

from .. import figures, runs
from ..core import pick
from ..data import DATASETS
from ..experiment import Experiment, Trained, repeated
from ..methods import METHODS
from ..models import MODELS
from ..train import RECIPES
from .cam import CamViewer
from .explorer import Explorer
from .features import FeatureViewer
from .inspector import LossInspector
from .noise import NoiseViewer
from .panel import TrainingPanel
from .parts import KEPT, Panel, Words, beside, choice, identity, kept, sentence, styled
from .ranked import RankedViewer

TOGETHER = ("drg+dsr",)
"""Joined methods that the list offers beside the single ones."""

OPENED = 8
"""Runs that are kept with their networks."""

INTRODUCTION = Markup(
    '<div style="line-height: 1.4; max-width: 60em"><h1 style="font-size: 1.5em; margin: 0.2em 0">'
    "Self-distillation, live</h1>A network that teaches itself: choose a method, press <b>Start</b>, and turn its knobs while "
    "it trains. What has finished can be compared under <b>Recorded runs</b>, taken apart term by term in the <b>Loss "
    "inspector</b>, and looked into with the <b>Viewers</b>. Every panel gives the code that repeats what it shows.</div>"
)

VIEWERS = {"weight noise": NoiseViewer, "features": FeatureViewer, "Grad-CAM": CamViewer, "ranked outputs": RankedViewer}


class App(Panel):
    """Tabs of panels. A tab's panel is made when it is first opened, so that the page is there at once.

    Args:
        first: the tab to open: "Train", "Recorded runs", "Loss inspector" or "Viewers".

    Raises:
        KeyError: there is no such tab.
    """

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
        self.box = W.VBox([Words(INTRODUCTION), self.tabs])
        styled(app=self.tabs)
        self.tabs.observe(lambda change: self._open(change.new), "selected_index")
        self.tabs.selected_index = list(self.makers).index(first)
        self._open(self.tabs.selected_index)

    def _open(self, i: int | None) -> None:
        if i is None:
            return
        name = list(self.makers)[i]
        if name in self.panels:
            if isinstance(self.panels[name], OfRuns | Explorer):
                self.panels[name].look()
            return
        try:
            self.panels[name] = self.makers[name]()
            shown = self.panels[name].box
        except Exception as error:  # one panel that cannot open leaves the others alone
            shown = Words(sentence(error))
        self.tabs.children[i].children = [shown]


class Choose(Panel):
    """What to train, by lists, and its training panel."""

    def __init__(self) -> None:
        self.method = choice("method", [*METHODS, *TOGETHER], TOGETHER[0])
        self.model = choice("network", list(MODELS), "four-stage")
        self.data = choice("data", list(DATASETS), "digits")
        self.recipe = choice("recipe", list(RECIPES), "quick")
        self.seed = W.BoundedIntText(
            description="seed", value=0, min=0, max=10**6, layout=W.Layout(width="9em"), style={"description_width": "initial"}
        )
        self.place = W.VBox()
        self.folder = W.Text(
            description="folder",
            placeholder="a folder with train/CLASS/* and test/CLASS/*",
            continuous_update=False,
            layout=W.Layout(width="36em", display="none"),
        )
        self.lists = {"method": self.method, "model": self.model, "data": self.data, "recipe": self.recipe, "seed": self.seed}
        styled(**{f"choose_{name}": box for name, box in self.lists.items()})
        styled(choose_folder=self.folder)
        for box in (*self.lists.values(), self.folder):
            box.observe(lambda _: self._show(), "value")
        self.box = self.framed(beside(*self.lists.values()), self.folder, self.notice, self.place)
        self._show()

    def _show(self) -> None:
        """The panel of what is chosen: a training that runs goes on, and is there again when it is chosen again."""
        try:
            chosen: dict[str, Any] = {name: box.value for name, box in self.lists.items()}
            own = self.data.value == "image_folder"
            self.folder.layout.display = None if own else "none"
            if own and not self.folder.value.strip():
                raise ValueError("say which folder holds your images: it has train/CLASS/* and test/CLASS/* within")
            chosen |= {"dataset": {"folder": self.folder.value.strip()}} if own else {}
            vanilla = Experiment(**chosen | {"method": "vanilla"})
            try:
                experiment = Experiment(**chosen)
            except ValueError:  # it learns from a trained network
                experiment = Experiment(**chosen, teacher=vanilla)
            self.place.children = [TrainingPanel(experiment).box]
            self.notice.value = ""
        except Exception as error:
            self.failed(error)
            self.place.children = []


class OfRuns(Panel):
    """A finished run from a list, and a panel that shows it.

    Args:
        panels: name -> what makes a panel of runs by name.
        several: whether a second run of the same data may stand beside the first.
    """

    def __init__(self, panels: Mapping[str, Callable[[dict[str, Trained]], Panel]], several: bool = True) -> None:
        self.panels, self.several = panels, several
        self.found: dict[str, runs.RunRow] = {}
        self.run, self.beside = choice("run", {}, None), choice("beside it", {}, None)
        self.kind = choice("viewer", list(panels), next(iter(panels)))
        self.refresh = W.Button(description="Refresh", tooltip="look for runs that have finished since")
        self.place = W.VBox()
        self.panel: Panel | None = None  # that stands there
        styled(of_run=self.run, of_beside=self.beside, of_kind=self.kind, of_refresh=self.refresh)
        self.refresh.on_click(lambda _: self.look())
        self.run.observe(lambda _: self._on_run(), "value")
        for box in (self.beside, self.kind):
            box.observe(lambda _: self._show(), "value")
        lists = [*([self.kind] if len(panels) > 1 else []), self.run, *([self.beside] if several else []), self.refresh]
        self.box = self.framed(beside(*lists), self.notice, self.place)
        self._offered: Any = None
        self.look()

    def look(self) -> None:
        """Reads the records again. What is chosen stays chosen."""
        self.found = {r.run.key: r for r in reversed(runs.records()) if r.status == "done"}
        now = {key: identity(r.run) for key, r in self.found.items()}
        if now == self._offered:
            return
        self._offered = now
        self.offer(self.run, {said(r): key for key, r in self.found.items()}, self.run.value)
        self._on_run()

    def _on_run(self) -> None:
        if not self.is_quiet and self.run.value:
            chosen = self.found[self.run.value]
            same = {said(r): key for key, r in self.found.items() if r["data"] == chosen["data"] and r is not chosen}
            self.offer(self.beside, {"nothing": None, **same}, self.beside.value)
        self._show()

    def _show(self) -> None:
        if self.is_quiet:
            return
        if not self.found:
            self.notice.value, self.place.children = "No run has finished yet: train one in the first tab, then come back.", []
            return
        self.notice.value, before, self.panel = "", self.panel, None
        try:
            records = [self.found[key] for key in (self.run.value, self.beside.value) if key in self.found]
            shown = {}
            for record in records if self.several else records[:1]:
                name = record["method"]
                shown[f"{name} {record.run.key}" if name in shown else name] = opened(record)
            self.panel = self.panels[self.kind.value](shown)
            self.place.children = [self.panel.box]
        except Exception as error:  # of another sdkit, or without its images
            self.failed(error)
            self.place.children = []
        if before is not None:
            before.close()


def opened(record: runs.RunRow) -> Trained:
    """A finished run with its network, loaded once, and kept while it is among the last few. FileNotFoundError if deleted."""
    which = identity(record.run)
    if not which[1]:
        raise FileNotFoundError(f"run {record.run.key} was deleted meanwhile: Refresh lists those that are there")
    found = kept("opened", which, lambda: Trained(repeated(record.run), record.run))
    for key in [key for key in KEPT if key[0] == "opened"][:-OPENED]:
        del KEPT[key]
    return found


def said(record: runs.RunRow) -> str:
    """A run in a list."""
    words = [figures.label(record["method"]), record["model"], record["data"], f"{record['accuracy.final']:.1%}"]
    turned = ["knobs turned"] if record["steered"] else []
    return " · ".join([*words, f"seed {record['seed']:g}", *turned, record.run.key])
