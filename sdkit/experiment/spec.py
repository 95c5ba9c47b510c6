"""An experiment: names, numbers and parts of your own become a network, a method and data, and a run that is kept."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import count
from typing import Any

import torch

from .. import runs
from ..core import Moment, Progress, Word, as_declared, check_arguments, pick
from ..data import DATASETS, Data, as_data, content_of, reader
from ..methods import Combined, Method
from ..models import MODELS, Backbone, as_backbone
from ..models.options import check_options
from ..rng import LocalRNG
from ..runs import Run, find_checkpoint
from ..train import Epoch, Recipe, Training, recipe_name
from . import options, own
from .bars import beside_a_bar
from .trained import Trained, first_steps

FORMAT = 3
"""Raised when the same names and numbers would no longer give the same run."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """One training run, said in names, numbers and parts of your own. Two that say the same are the same run.

    Args:
        method: a name of METHODS, a `Method` class of your own, or several, in any order: "drg+dsr", or `("drg", Mine)`.
        model: a name of MODELS, "torchvision:resnet18", "timm:convnext_atto", or your own: a module, a class, a factory.
        data: a name of DATASETS, or your own: tensors `((x, y), (x_test, y_test))`, two torch data sets, a folder, a function.
        knobs: the method's arguments; of several methods `{"drg.alpha": 0.2}` or, where only one has it, `{"alpha": 0.2}`.
        network: options of the network, such as `{"width": 8}`.
        dataset: options of the data set, such as `{"train_size": 5000}`.
        recipe: a name of RECIPES, "quick" for example, a `Recipe`, or its fields, `{"epochs": 300}`.
        teacher: for methods that learn from a trained network, the experiment that trains it; with `Recipe(epochs=0)` its
            network is taken as it is, such as a pretrained one.
        seed: of the first weights, the order of the images and all else that is drawn.
        schedule: knobs that change while it trains, by the epochs before: `{4: {"beta": 3.0}}`; 4.5 is amid the fifth epoch.

    Raises:
        KeyError: a name that nothing has; the nearest are suggested.
        ValueError: a value outside its range, a teacher missing or not needed.
        TypeError: something that is no part of its kind.

    Examples:
        >>> e = Experiment("drg+dsr", knobs={"alpha": 0.3}, data="digits")
        >>> e.parts, e.knobs["drg.alpha"]
        (['drg', 'dsr'], 0.3)
        >>> e.key == Experiment("drg+dsr", knobs={"drg.alpha": 0.3}, data="digits").key
        True
    """

    method: Any = "vanilla"
    model: Any = "four-stage"
    data: Any = "shapes"
    recipe: Any = "quick"
    knobs: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    teacher: Experiment | None = None
    seed: int = 0
    schedule: dict[float, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("knobs", "network", "dataset"):
            self._set(name, as_declared(f"an experiment's {name}", getattr(self, name), dict[str, Any]))
        self._set("seed", as_declared("an experiment's seed", self.seed, int))
        said = self.method if isinstance(self.method, tuple | list) and self.method else [self.method]
        each = [p for m in said for p in ([*map(str.strip, m.split("+"))] if isinstance(m, str) else [m])]
        self._set("method", "+".join(sorted(own.named(p, "method") for p in each)))
        self._set("model", own.named(self.model, "model"))
        self._set("data", own.named(self.data, "data"))
        for name in ("knobs", "network", "dataset"):
            self._set(name, {k: tuple(v) if isinstance(v, list) else v for k, v in getattr(self, name).items()})
        if not isinstance(self.teacher, Experiment | None):
            raise TypeError(f"a teacher is an Experiment, Experiment(model='resnet34') for example, got {self.teacher!r}")
        self._set("recipe", Recipe.of(self.recipe))
        for name in self.network if self.model in MODELS else ():
            pick(name, options.known(MODELS[self.model]), f"option of the network {self.model}")
        check = check_options if self.model in MODELS else check_arguments
        self._set("network", check(own.find(self.model, "model"), self.network, own.short(self.model)))
        data = own.find(self.data, "data")
        reads = data if callable(data) else reader(data)
        for name in self.dataset if self.data in DATASETS or reads is not data else ():
            pick(name, options.known(reads, hide=()), f"option of the data set {own.short(self.data)}")
        self._set("dataset", check_arguments(reads, self.dataset, own.short(self.data)))
        if self.seed < 0:
            raise ValueError(f"the seed is a whole number from 0, got {self.seed!r}")
        self._set("knobs", self._arguments | self._in_full(self.knobs))
        self._set("schedule", self._planned())
        needs = [n for n, kind in self.methods.items() if "teacher" in kind.handed_in()]
        if needs and self.teacher is None:
            raise ValueError(
                f"{needs[0]} learns from a trained network: say which, teacher=Experiment(model=...) or --teacher resnet34"
            )
        if self.teacher is not None and not needs:
            raise ValueError(f"{self.method} learns from no teacher: leave teacher out, or choose a method such as kd")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def of(cls, config: dict[str, Any]) -> Experiment:
        """The experiment that a run's `config` says. ValueError where none here says the same."""
        try:
            model, data = config["model"], config["data"]
            again = cls(
                config["method"],
                model,
                data,
                Recipe(**config["recipe"]),
                knobs=config["knobs"],
                network=options.changed(config["network"], options.known(MODELS[model]) if model in MODELS else {}),
                dataset=options.changed(config["dataset"], options.of_set(data)),
                teacher=cls.of(config["teacher"]) if config["teacher"] else None,
                seed=config["seed"],
                schedule=config.get("schedule", {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            words = error.args[0] if error.args else error
            raise ValueError(f"no line of code repeats this run here: {words}") from error
        if again.config.get("content") != config.get("content"):
            raise ValueError(f"this run saw other images than {again.config['dataset']['folder']} holds now")
        if again.config != config:
            raise ValueError(f"this run was made by another version of sdkit: the nearest line of today makes another: {again}")
        return again

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Experiment) and self.key == other.key

    @property
    def parts(self) -> list[str]:
        """The names of the methods that train together, without digests."""
        return [own.short(p) for p in self.method.split("+")]

    @cached_property
    def methods(self) -> dict[str, type[Method]]:
        """The methods' classes by these names."""
        kinds = {own.short(p): own.find(p, "method") for p in self.method.split("+")}
        if len(kinds) < len(self.parts):
            raise ValueError(f"{self.method} names a method twice: say each once")
        return kinds

    @cached_property
    def _arguments(self) -> dict[str, Any]:
        return options.arguments(self.methods)

    def _planned(self) -> dict[float, dict[str, float]]:
        """`schedule` in the order of time, knobs by their full names. A change to what a knob is already is left out."""
        now, out = {k: v for k, v in self.knobs.items() if self._knob(k)}, {}
        for when, knobs in options.in_time(self.schedule):
            if not 0 < when < self.recipe.epochs:
                raise ValueError(
                    f"knobs change between the start and the end of {self.recipe.epochs} epochs, got {when:g}: "
                    "what holds from the start is said in knobs"
                )
            for name in knobs:
                self._full_name(name, [*now])
            new = {k: v for k, v in self._in_full(knobs).items() if v != now[k]}
            now |= new
            if new:
                out[int(when) if when.is_integer() else when] = new
        return out

    def _knob(self, full: str) -> Any:
        """The `Knob` of a full name, None for other arguments."""
        part, _, name = full.rpartition(".")
        return self.methods[part or self.parts[0]].knobs.get(name)

    def _full_name(self, name: str, known: Iterable[str]) -> str:
        fits = [k for k in known if k == name or k.partition(".")[2] == name]
        if len(fits) > 1:
            raise KeyError(f"{name} is a knob of several of {self.method}: say {' or '.join(fits)}")
        return fits[0] if fits else pick(name, known, f"knob of {self.method}")

    def _in_full(self, knobs: dict[str, Any]) -> dict[str, Any]:
        """Knobs by their full names, each checked."""
        given = {}
        for name, value in knobs.items():
            full = self._full_name(name, self._arguments)
            part, _, short = full.rpartition(".")
            knob = self._knob(full)
            if knob is None or isinstance(value, Word):
                value = check_arguments(self.methods[part or self.parts[0]], {short: value}, part or self.parts[0])[short]
            as_it_is = knob is None or value is self._arguments[full]  # a default may be None: the method's own choice
            given[full] = value if as_it_is else knob.check(short, value)
        return given

    @cached_property
    def config(self) -> dict[str, Any]:
        """Itself as plain JSON values, every default filled in: what the run's key is made of."""
        network = (options.known(MODELS[self.model]) if self.model in MODELS else {}) | self._cut | self.network
        dataset = options.of_set(self.data) | self.dataset
        plain = {
            "format": FORMAT,
            "method": self.method,
            "model": self.model,
            "data": self.data,
            "seed": self.seed,
            "recipe": asdict(self.recipe),
            "knobs": self.knobs,
            "network": network,
            "dataset": {k: v for k, v in dataset.items() if k not in options.PLACES},
            "teacher": self.teacher.config if self.teacher else None,
        }
        content = content_of(self.data, **self.dataset)
        return options.plain(
            plain | ({"schedule": self.schedule} if self.schedule else {}) | ({"content": content} if content else {})
        )

    @cached_property
    def key(self) -> str:
        """Twelve hex digits of its content."""
        return runs.key_of(self.config)

    @property
    def images(self) -> str:
        """Twelve hex digits of what it sees: the data set and its options."""
        return runs.key_of({part: self.config.get(part) for part in ("data", "dataset", "content")})

    @property
    def stored(self) -> Run:
        """Its run on disk, whether or not it exists yet."""
        return Run(runs.root() / self.key)

    def __str__(self) -> str:
        """The line of code that makes it, defaults left out."""
        knobs = {k: v for k, v in self.knobs.items() if self._arguments[k] != v}
        name = recipe_name(self.recipe)
        method = [own.spoken(p) for p in self.method.split("+")]
        ours = not any("@" in p for p in self.method.split("+"))
        said = {
            "method": repr(self.method) if ours else method[0] if len(method) == 1 else f"({', '.join(method)})",
            "model": own.spoken(self.model),
            "data": own.spoken(self.data),
        }
        rest = {"recipe": self.recipe if name == "own" else name, "knobs": knobs}
        rest |= {k: getattr(self, k) for k in ("network", "dataset", "teacher", "seed", "schedule")}
        blank = {"recipe": "quick", "teacher": None, "seed": 0}
        said |= {k: str(v) if k == "teacher" else repr(v) for k, v in rest.items() if v != blank.get(k, {})}
        return f"Experiment({', '.join(f'{k}={v}' for k, v in said.items())})"

    def load_data(self) -> Data:
        """The data set with this experiment's options. ValueError where its folder is no longer what it was."""
        if self.images in own.SENT:
            return own.SENT[self.images]
        data = own.find(self.data, "data")
        if content_of(self.data, **self.dataset) != self.config.get("content"):
            raise ValueError(f"the images in {self.dataset['folder']} have changed: make the experiment anew, it is another")
        return data(**self.dataset) if callable(data) else as_data(data, **self.dataset)

    def build(self, progress: bool = True) -> tuple[Backbone, Method, Data]:
        """The untrained network, the method around it, the data. The same seed gives the same first weights.

        progress: whether a teacher that has to be trained first shows a bar.
        """
        teacher = self.teacher.trained_network(progress) if self.teacher else None
        data = self.load_data()
        with LocalRNG(self.seed):  # not the global generator's: another training may be drawing from it
            model = as_backbone(
                own.find(self.model, "model"), data.num_classes, data.train.x.shape[-1], **self._cut | self.network
            )
            offer = {"model": model, "teacher": teacher, "train_size": len(data.train.y)}
            built = [self._method(part, kind, offer) for part, kind in self.methods.items()]
        return model, built[0] if len(built) == 1 else Combined(*built, names=self.parts), data

    def _method(self, part: str, kind: type[Method], offer: dict[str, Any]) -> Method:
        several = len(self.parts) > 1
        knobs = {k.removeprefix(f"{part}."): v for k, v in self.knobs.items() if not several or k.startswith(f"{part}.")}
        return kind.built(offer, **knobs)

    def training(self, threads: int | None = None, progress: bool = True) -> Training:
        """Everything assembled on the device, before its first step. threads: of a CPU; default: of idle cores."""
        model, method, data = self.build(progress)
        training = Training(model, method, data, self.recipe, seed=self.seed, threads=threads)
        if not training.own_rng:
            torch.manual_seed(self.seed)
        training.schedule, training.environment = self.schedule, {"sources": self.sources(), "source": own.source_digest()}
        return training

    def moments(self, batches: int = 4) -> dict[str, Moment]:
        """As `Trained.moments`, without "late" where the run is not done. A teacher is trained first where it is not yet."""
        if self.stored.status == "done":
            return Trained(self).moments(batches)
        return {"early": first_steps(self, self.build(), batches)}

    def sources(self) -> dict[str, str]:
        """Digests of the files in which sdkit's parts of this experiment are written, by the part's name."""
        return own.module_digests(self.methods | {n: own.find(n, k) for n, k in ((self.model, "model"), (self.data, "data"))})

    def iterate(self, threads: int | None = None, progress: bool = True) -> Iterator[Progress | Epoch]:
        """Trains and records, yielding a Progress after every step and an Epoch after every epoch; nothing where it is done.

        What a panel has kept of the same training is not trained again. threads: as `training`'s.
        """
        build = partial(self.training, threads, progress)
        return self.stored.follow(self.config, build, start=find_checkpoint(self.config, self.recipe.epochs))

    def fork(self, epochs: float, knobs: dict[str, float]) -> Experiment:
        """The same training with other knobs after so many epochs: what was planned for later is dropped."""
        before = {when: planned for when, planned in self.schedule.items() if when < epochs}
        return replace(self, schedule=before | {epochs: knobs})

    def untaught(self) -> Experiment:
        """The same beside a teacher that nobody trained: of the same shapes, and built in a moment."""
        if self.teacher is None:
            return self
        plain = replace(self.teacher.untaught(), recipe=replace(self.teacher.recipe, epochs=0), schedule={})
        return replace(self, teacher=plain)

    def as_steered(self, history: Iterable[Epoch], steps_per_epoch: int) -> Experiment:
        """The experiment that repeats a training of this one whose knobs were moved by hand, step for step."""
        start, plan = {}, {}
        for t in (t for e in history for t in e.changes):
            when = t["step"] / steps_per_epoch
            rounded = round(when, 4)
            place = plan.setdefault(rounded if round(rounded * steps_per_epoch) == t["step"] else when, {})
            (place if t["step"] else start)[t["knob"]] = t["after"]
        return replace(self, knobs=self.knobs | start, schedule={when: knobs for when, knobs in plan.items() if knobs})

    def run(self, progress: bool = True, threads: int | None = None, fresh: bool = False) -> Trained:
        """The recorded run: trained now, continued after a crash, or found again.

        Args:
            progress: whether a bar is shown.
            threads: as `training`'s.
            fresh: whether a stored run is thrown away first, and trained anew.

        Warns where the stored run was trained by other code of the same parts.
        """
        if not self.recipe.epochs:
            raise ValueError("a recipe of 0 epochs trains nothing, it is for teachers that are taken as they are: say epochs=1")
        if fresh:
            self.stored.delete()
        if self.stored.status != "done" or self.stored.resumable():
            with contextlib.closing(self.iterate(threads, progress)) as events:  # an interrupt lets go of the run's lock, too
                for _ in beside_a_bar(events, f"{'+'.join(self.parts)} on {own.short(self.data)}") if progress else events:
                    pass
        elif old := self.outdated():
            warnings.warn(
                f"run {self.key} was trained by another version of the code of {' and '.join(old)}: "
                "run(fresh=True) trains it anew",
                stacklevel=2,
            )
        return Trained(self)

    def trained_network(self, progress: bool = True) -> Backbone:
        """The network after training, in eval mode; one whose recipe has 0 epochs as it is built, for example pretrained."""
        return self.run(progress).model if self.recipe.epochs else self.build(progress)[0].eval()

    @cached_property
    def _cut(self) -> dict[str, int]:
        """Into how many sections the network is cut, where a method wants more than its stages and it can."""
        can = self.model in MODELS and self.model not in ONE_BLOCK and "sections" in options.known(MODELS[self.model])
        wanted = max(kind.sections for kind in self.methods.values())
        return {"sections": wanted} if can and wanted else {}

    def outdated(self) -> list[str]:
        """The parts whose code is not today's in the stored run."""
        then = self.stored.environment.get("sources", {})
        return [name for name, digest in self.sources().items() if then.get(name, digest) != digest]


def repeated(run: Run) -> Experiment:
    """The experiment that repeats a run, with the knobs that were turned by hand. ValueError where no line of today does."""
    experiment = Experiment.of(run.config)
    if run.key == experiment.key:
        return experiment
    history = run.history()
    if not any(e.changes for e in history):
        return experiment
    if (steps := run.environment.get("steps per epoch")) is None:
        raise ValueError(f"run {run.key} does not say how many steps an epoch has: train it again to repeat its turns")
    return experiment.as_steered(history, steps)


def live_folder(experiment: Experiment) -> Run:
    """A fresh folder for a training whose knobs may be turned while it runs: it is never found as the plain experiment."""
    runs.root().mkdir(parents=True, exist_ok=True)
    for n in count(1):
        folder = runs.root() / f"{experiment.key}-live-{n}"
        with contextlib.suppress(FileExistsError):  # another panel was quicker
            folder.mkdir()
            return Run(folder)


ONE_BLOCK = ("resnet8",)
"""Networks whose last stage cannot be halved."""
