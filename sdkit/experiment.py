"""The assembly room: names and numbers become a network, a method and data, and a run that is recorded."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import count, product
from typing import Any

import torch
from torch import Tensor, nn

from . import fast, runs
from .core import LocalRNG, Progress, home, pick
from .data import DATASETS, Data
from .methods import METHODS, Combined, Exit, Method
from .models import MODELS, Backbone
from .runs import Run, find_checkpoint
from .train import RECIPES, Diverged, Epoch, Recipe, Training, device, recipe_name

FORMAT = 2
"""Raised when the same names and numbers would no longer give the same run."""


@dataclass(frozen=True)
class Experiment:
    """One training run, said in names and numbers. Two that say the same are the same run.

    method: a name of METHODS, or several joined by "+", such as "drg+dsr".
    knobs: the method's arguments; of several methods, `{"drg.alpha": 0.2}` or, where only one has it, `{"alpha": 0.2}`.
    network, dataset: options of the network and the data set, such as `{"width": 8}` and `{"train_size": 5000}`.
    recipe: "smoke", "quick", "lab", "paper" or a Recipe of your own.
    teacher: for methods that learn from a trained network, the experiment that trains it.
    schedule: knobs turned while it trains, by the epochs that end before: `{4: {"beta": 3.0}}`; 4.5 is amid the fifth epoch.
    """

    method: str = "vanilla"
    model: str = "four-stage"
    data: str = "shapes"
    recipe: str | Recipe = "quick"
    knobs: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    teacher: Experiment | None = None
    seed: int = 0
    schedule: dict[float, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.method, str):
            raise TypeError(
                f"an experiment names its method, 'byot' for example; sdkit.train.fit trains your own: {self.method!r}"
            )
        if not isinstance(self.teacher, Experiment | None):
            raise TypeError(f"a teacher is an Experiment, Experiment(model='resnet34') for example, got {self.teacher!r}")
        for part in self.parts:
            pick(part, METHODS, "method")
        pick(self.model, MODELS, "network")
        pick(self.data, DATASETS, "data set")
        if isinstance(self.recipe, str):
            object.__setattr__(self, "recipe", RECIPES[pick(self.recipe, RECIPES, "recipe")])
        for name in self.network:
            pick(name, _options(MODELS[self.model]), f"option of the network {self.model}")
        for name in self.dataset:
            pick(name, _options(DATASETS[self.data], hide=()), f"option of the data set {self.data}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"the seed is a whole number from 0, got {self.seed!r}")
        object.__setattr__(self, "knobs", self._spelled_out())
        object.__setattr__(self, "schedule", self._planned())
        needs = [p for p in self.parts if "teacher" in inspect.signature(METHODS[p]).parameters]
        if needs and self.teacher is None:
            raise ValueError(f"{needs[0]} learns from a trained network: say which, teacher=Experiment(model=...)")
        if self.teacher is not None and not needs:
            raise ValueError(f"{self.method} learns from no teacher: leave teacher out, or choose a method such as kd")

    @classmethod
    def of(cls, config: dict[str, Any]) -> Experiment:
        """The experiment that a recorded run's `config` says. ValueError where this sdkit has none that asks the same."""
        method, model, data = (config[name] for name in ("method", "model", "data"))
        if not {*method.split("+")} <= {*METHODS} or model not in MODELS or data not in DATASETS:
            said = " · ".join((method, model, data))
            raise ValueError(f"{said}: one of these is not in this sdkit's lists, so that no line of code can repeat the run")
        try:
            again = cls(
                method, model, data, Recipe(**_as_written(config["recipe"], asdict(Recipe()))),
                knobs=_as_written(config["knobs"], _arguments(method)),
                network=_chosen(config["network"], _options(MODELS[model])),
                dataset=_chosen(config["dataset"], _options(DATASETS[data], PLACES)),
                teacher=cls.of(config["teacher"]) if config["teacher"] else None,
                seed=int(config["seed"]),
                schedule={float(when): knobs for when, knobs in config.get("schedule", {}).items()},
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"this run was made by another version of sdkit, and none of today's repeats it: {error}"
            ) from error
        if again.config != config:
            raise ValueError(
                f"this run was made by another version of sdkit: the nearest line of today makes another run: {again}"
            )
        return again

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def parts(self) -> list[str]:
        """The names of the methods that train together."""
        return self.method.split("+")

    def _spelled_out(self) -> dict[str, Any]:
        """Every argument of the method, defaults included; of several methods each as "method.argument"."""
        known = _arguments(self.method)
        return known | self._in_full(self.knobs, known)

    def _planned(self) -> dict[float, dict[str, float]]:
        """`schedule` in the order of time, knobs by their full names. A turn to what a knob is already is left out."""
        known = {
            k: v for k, v in self.knobs.items() if k.rpartition(".")[2] in METHODS[k.rpartition(".")[0] or self.method].knobs
        }
        now, out = dict(known), {}
        for when, knobs in sorted((float(when), knobs) for when, knobs in self.schedule.items()):
            if not 0 < when < self.recipe.epochs:
                raise ValueError(
                    f"knobs turn between the start and the end of {self.recipe.epochs} epochs, got {when:g}: "
                    "what holds from the start is said in knobs"
                )
            moved = {k: v for k, v in self._in_full(knobs, known).items() if v != now[k]}
            now |= moved
            if moved:
                out[int(when) if when.is_integer() else when] = moved
        return out

    def _in_full(self, knobs: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
        """Knobs by their names among the `known` ones, each checked."""
        given = {}
        for name, value in knobs.items():
            fits = [k for k in known if k == name or k.partition(".")[2] == name]
            if len(fits) > 1:
                raise KeyError(f"{name} is a knob of several of {self.method}: say {' or '.join(fits)}")
            full = fits[0] if fits else pick(name, known, f"knob of {self.method}")
            part, _, knob = full.rpartition(".")
            kind = METHODS[part or self.method]
            as_it_is = knob not in kind.knobs or value is known[full]  # a default may be None: the method's own choice
            given[full] = value if as_it_is else kind.knobs[knob].check(knob, value)
        return given

    @cached_property
    def config(self) -> dict[str, Any]:
        """Itself as plain JSON values, every default filled in: what the run's key is made of."""
        plain = {
            "format": FORMAT,
            "method": self.method,
            "model": self.model,
            "data": self.data,
            "seed": self.seed,
            "recipe": asdict(self.recipe),
            "knobs": {k: v for k, v in self.knobs.items() if self._says(k, v)},
            "network": {k: v for k, v in (_options(MODELS[self.model]) | self.network).items() if _counts(k, v)},
            "dataset": {k: v for k, v in (_options(DATASETS[self.data], PLACES) | self.dataset).items() if _counts(k, v)},
            "teacher": self.teacher.config if self.teacher else None,
        }
        return _plain(plain | ({"schedule": self.schedule} if self.schedule else {}))

    def _says(self, knob: str, value: Any) -> bool:
        """Whether an argument of the method is part of what makes a run."""
        full = knob if "." in knob else f"{self.method}.{knob}"
        return full not in LATER or value != _arguments(self.method)[knob]

    @cached_property
    def key(self) -> str:
        """Twelve hex digits of its content."""
        return runs.key_of(self.config)

    @property
    def record(self) -> Run:
        """Its run on disk, whether or not it exists yet."""
        return Run(runs.root() / self.key)

    def __str__(self) -> str:
        """The line of code that makes it, defaults left out."""
        defaults = _arguments(self.method)
        knobs = {k: v for k, v in self.knobs.items() if defaults[k] != v}
        name = recipe_name(self.recipe)
        said = {
            "method": self.method,
            "model": self.model,
            "data": self.data,
            "recipe": self.recipe if name == "own" else name,
            "knobs": knobs,
            "network": self.network,
            "dataset": self.dataset,
            "teacher": self.teacher,
            "seed": self.seed,
            "schedule": self.schedule,
        }
        blank = {"recipe": "quick", "knobs": {}, "network": {}, "dataset": {}, "teacher": None, "seed": 0, "schedule": {}}
        spoken = [f"{k}={v!s}" if k == "teacher" else f"{k}={v!r}" for k, v in said.items() if v != blank.get(k)]
        return f"Experiment({', '.join(spoken)})"

    def load_data(self) -> Data:
        """The data set with this experiment's options."""
        return DATASETS[self.data](**self.dataset)

    def build(self) -> tuple[Backbone, Method, Data]:
        """The untrained network, the method around it, the data. The same seed gives the same first weights."""
        teacher = self.teacher.run().model if self.teacher else None
        data = self.load_data()
        with LocalRNG(self.seed):  # not the global generator's: another training may be drawing from it
            model = MODELS[self.model](num_classes=data.num_classes, **self.network)
            methods = [self._method(p, model, {"teacher": teacher, "train_size": len(data.train.y)}) for p in self.parts]
        return model, methods[0] if len(methods) == 1 else Combined(*methods, names=self.parts), data

    def _method(self, part: str, model: Backbone, offer: dict[str, Any]) -> Method:
        kind, several = METHODS[part], len(self.parts) > 1
        wanted = inspect.signature(kind).parameters
        knobs = {k.removeprefix(f"{part}."): v for k, v in self.knobs.items() if not several or k.startswith(f"{part}.")}
        before = [model] if "model" in wanted else []
        return kind(*before, **{k: v for k, v in offer.items() if k in wanted}, **knobs)

    def training(self, threads: int | None = None) -> Training:
        """Everything assembled on the device, before its first step. threads: of a CPU; default: of idle cores."""
        model, method, data = self.build()
        torch.manual_seed(self.seed)
        training = Training(model, method, data, self.recipe, seed=self.seed, threads=threads)
        training.schedule = self.schedule
        return training

    def iterate(self, threads: int | None = None) -> Iterator[Progress | Epoch]:
        """Trains and records, yielding a Progress after every step and an Epoch after every epoch; nothing where it is done.

        What a panel has kept of the same training is not trained again. threads: as `training`'s.
        """
        build = partial(self.training, threads)
        return self.record.follow(self.config, build, start=find_checkpoint(self.config, self.recipe.epochs))

    def fork(self, epochs: float, knobs: dict[str, float]) -> Experiment:
        """The same training with other knobs after so many epochs: what was planned for later is dropped."""
        before = {when: planned for when, planned in self.schedule.items() if when < epochs}
        return replace(self, schedule=before | {epochs: knobs})

    def as_turned(self, history: Iterable[Epoch], steps_per_epoch: int) -> Experiment:
        """The experiment that repeats a training of this one whose knobs were turned by hand, step for step."""
        start, plan = {}, {}
        for t in (t for e in history for t in e.changes):
            when = t["step"] / steps_per_epoch
            short = round(when, 4)
            place = plan.setdefault(short if round(short * steps_per_epoch) == t["step"] else when, {})
            (place if t["step"] else start)[t["knob"]] = t["after"]
        return replace(self, knobs=self.knobs | start, schedule={when: knobs for when, knobs in plan.items() if knobs})

    def run(self, progress: bool = True, threads: int | None = None) -> Trained:
        """The recorded run: trained now, continued after a crash, or found again. threads: as `training`'s."""
        if self.record.status != "done":
            walk = self.iterate(threads)
            for _ in _watched(self, walk) if progress else walk:
                pass
        return Trained(self)


def base_experiment(data: str = "shapes", model: str = "four-stage", recipe: str = "quick", **options: Any) -> Experiment:
    """The vanilla run that a notebook's other runs vary: `replace(base, method="drg")`. Options: an Experiment's.

    $SDKIT_DATA, $SDKIT_MODEL, $SDKIT_RECIPE, $SDKIT_TRAIN_SIZE and $SDKIT_SEED win over what is said here, so that the same
    notebook runs unattended on other data.
    """
    size = os.environ.get("SDKIT_TRAIN_SIZE")
    said = Experiment(
        data=os.environ.get("SDKIT_DATA", data),
        model=os.environ.get("SDKIT_MODEL", model),
        recipe=os.environ.get("SDKIT_RECIPE", recipe),
        **options,
    )
    dataset = said.dataset | ({"train_size": int(size)} if size else {})
    return replace(said, dataset=dataset, seed=int(os.environ.get("SDKIT_SEED", said.seed)))


def small_experiment(base: Experiment, **options: Any) -> Experiment:
    """The small vanilla run that sweeps vary: 200 digits to learn from and 400 to choose by, seconds a run.

    Its recipe is "quick", or the base's where that is a smaller one.
    """
    recipe = min(base.recipe, RECIPES["quick"], key=lambda r: r.epochs)
    return Experiment(data="digits", recipe=recipe, dataset={"train_size": 200, "validation": 400}, seed=base.seed, **options)


class Trained:
    """A finished run with its network. What figures and analyses start from.

    run: a panel's, where the experiment only repeats it; else the experiment's own.
    """

    def __init__(self, experiment: Experiment, run: Run | None = None) -> None:
        self.experiment, self.run = experiment, run or experiment.record
        self.history = self.run.history()

    @cached_property
    def _built(self) -> tuple[Backbone, Method, Data]:
        model, method, data = self.experiment.build()
        weights = self.run.weights()
        model.load_state_dict(weights["model"])
        method.load_state_dict(weights["method"], strict=False)  # memory is scaffolding: it is not kept
        where = {"device": device(), "memory_format": torch.channels_last}
        return model.to(**where).eval(), method.to(**where).eval(), data

    @property
    def model(self) -> Backbone:
        """The trained network, in eval mode."""
        return self._built[0]

    @property
    def method(self) -> Method:
        """The scaffolding it was trained with: its heads hold the other exits."""
        return self._built[1]

    @property
    def data(self) -> Data:
        return self._built[2]

    @property
    def accuracy(self) -> float:
        """Test accuracy of the final exit after the last epoch, in [0, 1]: the headline."""
        return self.history[-1].test["final"]

    @property
    def best_accuracy(self) -> float:
        """The best epoch's on the watched test images, which chose it: higher than an honest choice would give."""
        return max(e.accuracy["final"] for e in self.history)

    @property
    def judges(self) -> str:
        """Which of two claims a comparison with this run bears on: how a method ends, or how fast it learns.

        A network that knows its training images has little left to learn; one that does not was stopped on its way.
        """
        learned = self.history[-1].train_accuracy
        return f"{'how it ends' if learned >= KNOWN else 'how fast it learns'} is judged (training {learned:.0%})"

    @cached_property
    def watched(self) -> Tensor:
        """The places of the test images that every epoch was tested on, [W], ascending: the rows of `run.outputs()`."""
        places = self.data.watched("test", self.run.outputs()[1].shape[1])
        return torch.arange(len(self.data.test.y)) if places is None else places

    @property
    def validation_accuracy(self) -> float:
        """Of the final exit after the last epoch on the validation images, in [0, 1]: what choices may be made by."""
        if not self.history[-1].validation:
            raise ValueError("this run set no validation images aside: say dataset={'validation': 500}, for example")
        return self.history[-1].validation["final"]

    @property
    def seconds(self) -> float:
        """Of training, evaluation left out."""
        return sum(e.seconds for e in self.history)

    def exit(self, name: str = "final") -> nn.Module:
        """One exit as a network of its own, images [B, 3, H, W] to logits [B, K]."""
        return Exit(self.model, self.method, name)

    def exit_names(self) -> list[str]:
        """Every exit that this run recorded."""
        return [*self.history[-1].accuracy]

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> the pooled features of every exit, [B, D]."""
        return self.method.features(self.model.forward_features(x))

    def images(self, split: str = "test", limit: int | None = None) -> tuple[Tensor, Tensor]:
        """The first images of a split, normalised and on the device [N, 3, H, W], and their labels [N]."""
        images = getattr(self.data, split)
        x = self.data.normalised(images.x[:limit], device())
        return x, images.y[:limit].to(device())

    def logits(self, exit: str = "final", split: str = "test") -> Tensor:
        """What an exit says of every image of a split, [N, K] on the CPU."""
        network = self.exit(exit)
        with torch.inference_mode():
            return torch.cat([network(b.x).float().cpu() for b in self.data.evaluation(split, device=device())])

    def labels(self, split: str = "test") -> Tensor:
        """The labels of a split, [N]."""
        return getattr(self.data, split).y

    def ranked(self, after: float = 0.0) -> tuple[Tensor, Tensor]:
        """The recorded outputs of the watched test images after every epoch [E, W, K] and the accuracy on them [E].

        after: of epochs that end behind this fraction of training alone.
        """
        epochs, outputs = self.run.outputs()
        kept = epochs + 1 > after * len(self.history)
        return outputs[kept], torch.tensor([self.history[e].accuracy["final"] for e in epochs[kept]])

    def __repr__(self) -> str:
        return f"<{self.experiment}: {self.accuracy:.1%} test, run {self.run.key}>"


KNOWN = 0.9
"""From this accuracy on the last epoch's training batches on, a network knows its training images."""

HANDED_IN = ("model", "teacher", "train_size", "num_classes", "side")
"""Arguments of methods and networks that come from the experiment, not from its knobs."""

PLACES = ("root", "download")
"""Options of data sets that say where the images lie, and so do not change a run."""

LATER = (
    "distort", "cutout", "mixup", "pretrained", "norm",
    "byot.ensemble", "at.distance", "fitnet.hint_share", "fitnet.alpha", "fitnet.temperature", "lsr.over",
)  # fmt: skip
"""Options younger than the first recorded runs: of data sets and networks, and of methods as "method.option".

Switched off, or at a method's default, they are left out of a run's name, which stays what it was before there was the option.
"""


def _counts(option: str, value: Any) -> bool:
    """Whether an option of a data set or a network is part of what makes a run."""
    return option not in PLACES and not (option in LATER and not value)


def _options(kind: Any, hide: Iterable[str] = HANDED_IN) -> dict[str, Any]:
    """The options that a method, a network or a data set takes, with their defaults."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in hide and p.default is not p.empty}


def _arguments(method: str) -> dict[str, Any]:
    """The knobs of a method with their defaults; of several joined by "+" each as "method.knob"."""
    parts = method.split("+")
    return {f"{p}.{k}" if len(parts) > 1 else k: v for p in parts for k, v in _options(METHODS[p]).items()}


def _plain(value: Any) -> Any:
    """The same as JSON would give it back, so that a key does not depend on tuples or on int 1 against float 1.0."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _as_written(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """What `_plain` made of values, as code writes them: 16.0 where the default is a float, 16 elsewhere; tuples likewise."""
    return {k: _written(v, defaults.get(k)) for k, v in values.items()}


def _written(value: Any, default: Any) -> Any:
    if isinstance(value, dict):
        return _as_written(value, default if isinstance(default, dict) else {})
    if isinstance(value, list):
        like = default[0] if isinstance(default, tuple) and default else None
        return (tuple if isinstance(default, tuple) else list)(_written(v, like) for v in value)
    return int(value) if isinstance(value, float) and value.is_integer() and not isinstance(default, float) else value


def _chosen(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The options that are not what they would be unsaid, as code writes them."""
    return {k: v for k, v in _as_written(values, defaults).items() if k not in defaults or defaults[k] != v}


def _watched(experiment: Experiment, walk: Iterable[Progress | Epoch]) -> Iterator[Progress | Epoch]:
    """The same events beside a progress bar."""
    from tqdm import tqdm

    bar = None
    for event in walk:
        if isinstance(event, Progress):
            if bar is None:
                bar = tqdm(
                    total=event.epochs * event.steps_per_epoch,
                    initial=event.step,
                    unit="step",
                    file=_bars(),
                    mininterval=1.0,
                    desc=f"{experiment.method} on {experiment.data}",
                    dynamic_ncols=True,
                    leave=True,
                )
            bar.update(event.step + 1 - bar.n)
        elif bar is not None:
            bar.set_postfix_str(f"test {event.accuracy['final']:.1%}", refresh=False)
        yield event
    if bar is not None:
        bar.close()


def _bars() -> Any:
    """Where progress bars go: beside a command's output, and in a notebook where they are not taken for errors."""
    return sys.stdout if "ipykernel" in sys.modules else sys.stderr


def live_record(experiment: Experiment) -> Run:
    """A fresh folder for a training whose knobs may be turned while it runs: it is never found as the plain experiment."""
    runs.root().mkdir(parents=True, exist_ok=True)
    for n in count(1):
        folder = runs.root() / f"{experiment.key}-live-{n}"
        with contextlib.suppress(FileExistsError):  # another panel was quicker
            folder.mkdir()
            return Run(folder)


def sweep(base: Experiment, seeds: Iterable[int] = (0,), **axes: Iterable[Any]) -> list[Experiment]:
    """Every combination of the knobs' values, at every seed."""
    if isinstance(seeds, int):
        raise TypeError(f"the seeds of a sweep are a list, range({seeds}) for example, got {seeds}")
    return [
        replace(base, knobs={**base.knobs, **dict(zip(axes, values, strict=True))}, seed=seed)
        for values in product(*axes.values())
        for seed in seeds
    ]


def by_knob(runs_of: Iterable[Trained], knob: str) -> dict[Any, list[float]]:
    """Finished runs of a sweep -> the validation accuracies of every value of one knob, a list over the seeds."""
    grouped: dict[Any, list[float]] = {}
    for t in runs_of:
        value = t.experiment.knobs[pick(knob, t.experiment.knobs, "knob of this run")]
        grouped.setdefault(tuple(value) if isinstance(value, list) else value, []).append(t.validation_accuracy)
    return grouped


def run_all(
    experiments: Iterable[Experiment] | Mapping[str, Experiment],
    jobs: int | None = None,
    progress: bool = True,
    diverged: bool = False,
) -> list[Trained] | dict[str, Trained]:
    """Runs independent experiments, `jobs` at a time through joblib, each once. Finished ones are found again.

    A dict gives a dict. jobs: None is one per core on a CPU, where two small trainings side by side take little longer than
    one, and 1 on a card; so each has one thread, with fewer jobs an equal share of them, or as many as $SDKIT_THREADS says.
    diverged: whether a run that diverges is kept as what it is; else it raises.
    Inside `joblib.parallel_config(backend="dask")` (or "ray") the same call runs on that cluster.
    """
    if isinstance(experiments, Experiment):
        raise TypeError("run_all takes a list of experiments, or a dict of them by name: a single one has .run()")
    if isinstance(experiments, Mapping):
        return dict(zip(experiments, run_all(experiments.values(), jobs, progress, diverged), strict=True))
    experiments = list(experiments)
    ended, borne = (("done", "diverged"), (Diverged,)) if diverged else (("done",), ())
    taught = [e for e in experiments if e.teacher]
    first = [*(t for e in taught for t in _taught_by(e)), *taught]  # the longest way: teachers, then their students
    waiting = [e for e in dict.fromkeys([*first, *experiments]) if e.record.status not in ended]
    cores, said = torch.get_num_threads(), fast.threads_said()
    if jobs is None:
        jobs = min(max(cores // (said or 1), 1), 8) if device().type == "cpu" else 1
    if jobs == 1 or len(waiting) < 2:
        for e in waiting:
            with contextlib.suppress(*borne):
                e.run(progress)
    else:
        from joblib import Parallel, delayed

        threads = said or max(cores // jobs, 1)
        work = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)(
            delayed(_train)(e, threads, str(home()), borne) for e in _in_turn(waiting)
        )
        with _counted(waiting) if progress else contextlib.nullcontext():
            for _ in work:
                pass
    return [Trained(e) for e in experiments]


def _in_turn(waiting: list[Experiment]) -> Iterator[Experiment]:
    """Asked for the next one to train: the first whose teachers are trained, and only if there is none, the first."""
    left = list(waiting)
    while left:
        ready = (e for e in left if all(t.record.status == "done" for t in _taught_by(e)))
        yield left.pop(left.index(next(ready, left[0])))


def _taught_by(experiment: Experiment) -> list[Experiment]:
    """Its teacher, and the teacher's teachers before that."""
    teacher = experiment.teacher
    return [] if teacher is None else [*_taught_by(teacher), teacher]


@contextlib.contextmanager
def _counted(experiments: list[Experiment]) -> Iterator[None]:
    """Within, a bar of the epochs that other processes record for these experiments."""
    from tqdm import tqdm

    ended = threading.Event()
    bar = tqdm(
        total=sum(e.recipe.epochs for e in experiments), unit="epoch", desc=f"{len(experiments)} runs", file=_bars(),
        dynamic_ncols=True,
    )  # fmt: skip

    def count_epochs() -> None:
        last = False
        while not last:
            last = ended.wait(1.0)
            bar.update(sum(len(e.record.history()) for e in experiments) - bar.n)

    counter = threading.Thread(target=count_epochs, daemon=True)
    counter.start()
    try:
        yield
    finally:
        ended.set()
        counter.join()
        bar.close()


def _train(experiment: Experiment, threads: int, where: str, borne: tuple[type[Exception], ...]) -> None:
    os.environ["SDKIT_HOME"] = where  # a worker may be older than the caller's
    torch.set_num_threads(threads)
    for e in (*_taught_by(experiment), experiment):
        with contextlib.suppress(*borne):
            e.run(progress=False, threads=threads)
