"""Bad inputs as they are made by hand: a wrong word, a wrong number, broken images, lost labels, for every door of sdkit.

`cases()` is a Hypothesis strategy; `answer(case)` says what came of one. `python tests/bad.py 3000` counts many of them.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import io
import linecache
import math
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sdkit
from sdkit import analysis, cli
from sdkit.core import Batch
from sdkit.data import DATASETS, as_data
from sdkit.experiment import Experiment
from sdkit.methods import METHODS
from sdkit.models import MODELS, four_stage
from sdkit.train import Recipe

OURS = str(Path(sdkit.__file__).parent)


class Case(NamedTuple):
    """One bad input."""

    door: str
    said: str
    call: Callable[[], Any]


class Answer(NamedTuple):
    """What came of it."""

    kind: str  # "clear": sdkit's own sentence; "raw": another's error; "accepted": nothing was said; "slow": it took too long
    words: str


SLOW = 20.0  # seconds


def answer(case: Case) -> Answer:
    """Tries a bad input."""
    began = time.perf_counter()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            got = case.call()
    except SystemExit as stop:
        kind = "clear" if stop.code == 2 or stop.__cause__ is not None and own(stop.__cause__) else "raw"
        return Answer(kind, str(stop.code))
    except Exception as error:
        return Answer("clear" if own(error) else "raw", f"{type(error).__name__}: {str(error)[:300]}")
    if time.perf_counter() - began > SLOW:
        return Answer("slow", f"{time.perf_counter() - began:.0f} s")
    return Answer("accepted", repr(got)[:200])


def own(error: BaseException) -> bool:
    """Whether sdkit raised it itself, with a sentence: the last line that ran is a `raise` of sdkit's."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    here = last.filename.startswith(OURS) and linecache.getline(last.filename, last.lineno).strip().startswith("raise")
    return here and len(str(error).split()) >= 5


# what is wrong with a value

JUNK: list[Any] = [
    True, False, 0, 3, -1, -7, 2**70, 0.5, -0.5, 1e308, math.nan, math.inf, -math.inf, "false", "no", "", "None", "0.5",
    "nosuchword", None, [], {}, (), [1, "a"], ["x"], {"a": 1}, {1}, b"1", 1j, object, len, np.float32("nan"), np.arange(3),
    torch.ones(2), range(2),
]  # fmt: skip
STRANGE = st.one_of(
    st.sampled_from(JUNK),
    st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1, max_size=6).map("?".__add__),
    st.integers(-50, -1),
    st.floats(-50, -0.001),
    st.lists(st.sampled_from(["?", None, -1, math.nan]), min_size=1, max_size=3),
)


def fits(value: Any, declared: str, least: float = 0) -> bool:
    """Whether a value may be what an annotation says: loosely, so that what does not fit is bad for certain."""
    if declared.startswith("<class") or "." in declared:  # a type in place of its name
        declared = declared.removeprefix("<class '").removesuffix("'>").replace("collections.abc.", "").replace("pathlib.", "")
    declared = "Sequence[str]" if declared.startswith("Sequence[typing.Literal") else declared
    number = isinstance(value, int | float | np.floating) and not isinstance(value, bool) and math.isfinite(value)
    several = isinstance(value, list | tuple | range | np.ndarray)
    plain = {
        "list": isinstance(value, list | tuple | range | str | dict | set | np.ndarray | torch.Tensor),
        "None": value is None,
        "bool": isinstance(value, bool),
        "int": number and isinstance(value, int) and least <= value < (1000 if not least else 2**63),
        "float": number and least <= value < (1000 if not least else math.inf),
        "str": False,  # no word above is one that any argument knows
        "Path": isinstance(value, str | Path),
        "Sequence[str]": several and not len(value),
        "Sequence[int]": several and all(isinstance(v, int | np.integer) for v in value),
        "Sequence[float]": several and all(isinstance(v, int | np.integer) for v in value),
        "tuple[float, ...]": several and all(isinstance(v, int | np.integer) for v in value),
        "Mapping[str, Any]": value == {} if isinstance(value, dict) else False,
        "dict[str, Any]": value == {} if isinstance(value, dict) else False,
    }
    return any(plain.get(kind, False) for kind in declared.split(" | "))


def declared(thing: Any, hide: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """The arguments that can be said of a thing, each with its annotation as it is written."""
    found = inspect.signature(thing).parameters.values()
    return [(p.name, str(p.annotation)) for p in found if p.name not in hide and p.default is not p.empty]


HANDED_IN = ("model", "teacher", "train_size", "num_classes", "side", "root", "seed")
NAMES = {"folder", "peer", "backbone"}  # any word is a folder, and "?" is looked up as a network
QUICK = (
    "four-stage",
    "resnet8",
    "vgg-tiny",
    "densenet-tiny",
    "mobilenet-tiny",
    "resnet20",
    "shake-resnet26",
)  # built in no time


@functools.cache
def tiny() -> Any:
    g = torch.Generator().manual_seed(0)
    x = torch.randint(256, (24, 3, 16, 16), generator=g, dtype=torch.uint8)
    return ((x, torch.arange(24) % 3), (x[:9], torch.arange(9) % 3))


def built(**said: Any) -> Any:
    method = said.get("method", "vanilla")
    needs = isinstance(method, str) and any("teacher" in METHODS[m].handed_in() for m in method.split("+") if m in METHODS)
    teacher = Experiment(data=tiny(), network={"width": 4}, recipe=Recipe(epochs=0)) if needs else None
    said = {"data": tiny(), "network": {"width": 4}} | ({"teacher": teacher} if needs else {}) | said
    return Experiment(**said).build(progress=False)[1:2]


@st.composite
def of_methods(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(sorted(METHODS)))
    known = declared(METHODS[name], HANDED_IN)
    if not known:
        return Case("method", f"{name} no_such=1", lambda: built(method=name, knobs={"no_such": 1}))
    argument, kind = draw(st.sampled_from(known))
    value = draw(STRANGE.filter(lambda v: not fits(v, kind)))
    return Case("method", f"{name} {argument}={value!r} ({kind})", lambda: built(method=name, knobs={argument: value}))


@st.composite
def of_networks(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from([*sorted(MODELS), *QUICK, *QUICK]))
    argument, kind = draw(st.sampled_from(declared(MODELS[name], (*HANDED_IN, *NAMES))))
    value = draw(STRANGE.filter(lambda v: not fits(v, kind, 0 if name in QUICK else -math.inf)))  # found when it is built

    def call() -> Any:
        said = Experiment(model=name, network={argument: value})
        return built(model=name, network={argument: value}) if name in QUICK else said.network

    return Case("network", f"{name} {argument}={value!r} ({kind})", call)


@st.composite
def of_sets(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from([*sorted(DATASETS), "digits", "digits", "tensors", "tensors"]))
    thing = tiny() if name == "tensors" else name
    known = declared(sdkit.data.reader(thing), ("root", "folder", "norm", "name", "classes"))
    quick = name in ("digits", "tensors")
    argument, kind = draw(st.sampled_from([*known, ("seed", "int"), *([("norm", "norm")] if quick else [])]))
    value = draw(STRANGE.filter(lambda v: not fits(v, "None" if kind == "norm" else kind, 0 if quick else -math.inf)))

    def call() -> Any:
        said = Experiment(data=thing, dataset={argument: value})
        return said.load_data().name if quick else said.dataset

    return Case("data set", f"{name} {argument}={value!r} ({kind})", call)


@st.composite
def of_recipes(draw: st.DrawFn) -> Case:
    f = draw(st.sampled_from(fields(Recipe)))
    value = draw(STRANGE.filter(lambda v: not fits(v, f.type)))
    return Case("recipe", f"{f.name}={value!r} ({f.type})", lambda: Recipe(**{f.name: value}))


@st.composite
def of_experiments(draw: st.DrawFn) -> Case:
    f = draw(st.sampled_from(fields(Experiment)))
    value = draw(STRANGE)
    empty = isinstance(value, dict) and not value
    right = {"teacher": value is None, "seed": fits(value, "int"), "recipe": empty}
    if right.get(f.name, f.name in ("knobs", "network", "dataset", "schedule") and empty):
        return Case("experiment", "model=None", lambda: built(model=None))
    if f.name in ("knobs", "network", "dataset", "schedule") and draw(st.booleans()):
        value = {value: value} if isinstance(value, str | int | float) else {"alpha": value}
    return Case("experiment", f"{f.name}={value!r}", lambda: built(**{f.name: value}))


@st.composite
def of_own_data(draw: st.DrawFn) -> Case:
    x, y = tiny()[0]
    bad = draw(st.sampled_from(sorted(BROKEN)))
    split = draw(st.sampled_from(["train", "test"]))
    where = {"train": 0, "test": 1}[split]
    as_numpy = draw(st.booleans())

    def call() -> Any:
        parts = [tuple(t.clone() for t in part) for part in tiny()]
        parts[where] = BROKEN[bad](*parts[where])
        if as_numpy:
            parts = [tuple(t.numpy() if isinstance(t, torch.Tensor) else t for t in part) for part in parts]
        return as_data(tuple(parts)).name

    return Case("own data", f"{split}: {bad}{' (numpy)' if as_numpy else ''}", call)


def _put(t: torch.Tensor, value: float) -> torch.Tensor:
    t = t.clone()
    t.view(-1)[-2:] = value
    return t


BROKEN: dict[str, Callable[..., Any]] = {
    "two channels": lambda x, y: (x[:, :2], y),
    "four channels": lambda x, y: (torch.cat([x, x[:, :1]], 1), y),
    "four channels, last": lambda x, y: (torch.cat([x, x[:, :1]], 1).permute(0, 2, 3, 1), y),
    "five dimensions": lambda x, y: (x[None], y),
    "flat": lambda x, y: (x.flatten(1), y),
    "CHWN": lambda x, y: (x.permute(1, 2, 3, 0), y),
    "HWNC": lambda x, y: (x.permute(2, 3, 0, 1).contiguous(), y),
    "no images": lambda x, y: (x[:0], y[:0]),
    "no pixels": lambda x, y: (x[:, :, :0], y),
    "complex": lambda x, y: (x.to(torch.complex64), y),
    "bool": lambda x, y: (x > 9, y),
    "floats to 255": lambda x, y: (x.float(), y),
    "normalised": lambda x, y: (x.float() / 127 - 1, y),
    "divided twice": lambda x, y: (x.float() / 255 / 255, y),
    "floats cut to bytes": lambda x, y: ((x.float() / 255).round().byte(), y),
    "NaN in an image": lambda x, y: (_put(x.float() / 255, math.nan), y),
    "infinity in an image": lambda x, y: (_put(x.float() / 255, math.inf), y),
    "16 bits": lambda x, y: (x.int() * 257, y),
    "negative": lambda x, y: (x.int() - 128, y),
    "text": lambda x, y: ("images", y),
    "nothing": lambda x, y: (None, y),
    "numbers": lambda x, y: (3, y),
    "fewer labels": lambda x, y: (x, y[:-1]),
    "more labels": lambda x, y: (x, torch.cat([y, y])),
    "a label of -1": lambda x, y: (x, _put(y, -1)),
    "a label of -100": lambda x, y: (x, _put(y, -100)),
    "labels from 1": lambda x, y: (x, y + 1),
    "a huge label": lambda x, y: (x, _put(y, 10**12)),
    "labels in halves": lambda x, y: (x, y + 0.5),
    "labels as floats": lambda x, y: (x, y.float()),
    "NaN labels": lambda x, y: (x, y * math.nan),
    "one-hot": lambda x, y: (x, torch.eye(3)[y]),
    "a column": lambda x, y: (x, y[:, None]),
    "bool labels": lambda x, y: (x, y > 0),
    "text labels": lambda x, y: (x, [*"abc"] * (len(y) // 3)),
    "no labels": lambda x, y: (x, None),
    "one label": lambda x, y: (x, 3),
    "ragged labels": lambda x, y: (x, [[1], [1, 2]]),
    "three things": lambda x, y: (x, y, y),
    "one thing": lambda x, y: (x,),
    "swapped": lambda x, y: (y, x),
    "other sizes": lambda x, y: (x[..., :-3], y),
}


@st.composite
def of_sets_built_by_hand(draw: st.DrawFn) -> Case:
    data = as_data(tiny())
    name, values = draw(st.sampled_from(sorted(FIELDS.items())))
    value = draw(st.sampled_from(values) if isinstance(values, list) else values)
    from dataclasses import replace

    def call() -> Any:
        broken = replace(data, **{name: value})
        return as_data(broken).batches(8), broken.batches(8)

    return Case("Data", f"{name}={value!r}", call)


FIELDS: dict[str, Any] = {
    "mean": [(125.3, 123.0, 113.9), (0.5,), (math.nan,) * 3, 0.5, ("a",) * 3, None, (-1.0, 0.5, 0.5), (0.5,) * 4],
    "std": [(0.0,) * 3, (63.0,) * 3, (0.2,), (math.nan,) * 3, (-0.2,) * 3, None, 0.2, (math.inf,) * 3],
    "pad": [-1, 1.5, "4", None, True, 10**6],
    "mirror": ["no", 2, None],
    "classes": [(), ("a",), ("a", "b"), None, 3, "ab"],
    "mixup": STRANGE.filter(lambda v: not fits(v, "float")),
    "cutout": STRANGE.filter(lambda v: not fits(v, "int")),
    "distort": STRANGE.filter(lambda v: not (isinstance(v, list | tuple | dict) and not v)),
}


@st.composite
def of_batches(draw: st.DrawFn) -> Case:
    data = as_data(tiny())
    name, kind = draw(st.sampled_from([("batch_size", "int"), ("pair", "str | None"), ("samples_per_class", "int | None"),
                                       ("seed", "int"), ("split", "str"), ("evaluated", "int")]))  # fmt: skip
    value = draw(STRANGE.filter(lambda v: not fits(v, kind)))
    if name == "split":
        return Case("batches", f"evaluation({value!r})", lambda: len(list(data.evaluation(value))))
    if name == "evaluated":
        return Case("batches", f"evaluation(batch_size={value!r})", lambda: len(list(data.evaluation(batch_size=value))))
    return Case("batches", f"{name}={value!r}", lambda: len(list(data.batches(**{"batch_size": 8} | {name: value}))))


# words of the command line

WORDS = {
    "bool": ["maybe", "2", "ja", "", "0.5", "nan", "truee", "[True]", "{}"],
    "int": ["abc", "1.5", "nan", "inf", "True", "", "[1]", "1e3", "-3", "--1", "3 4", "none of it"],
    "float": ["abc", "nan", "inf", "-inf", "True", "", "[1]", "-3", "1,5", "0..5", "{}"],
    "str": ["nosuchword", "3", "True", ""],
    "Sequence[str]": ["nosuchword", "3", "['x']", "[1]", "{"],
    "Sequence[int]": ["abc", "[a]", "['x']", "1.5", "[9]", "[-1]", "("],
    "Sequence[float]": ["abc", "[a]", "['x']", "nan", "[nan]", "("],
}
FIXED = ["train", "--dry-run"]


@st.composite
def of_words(draw: st.DrawFn) -> Case:
    what = draw(st.sampled_from(["knob", "network", "dataset"]))
    table = {"knob": METHODS, "network": MODELS, "dataset": DATASETS}[what]
    option = {"knob": "--method", "network": "--model", "dataset": "--data"}[what]
    every = [(n, a, k) for n, t in sorted(table.items()) for a, k in declared(t, (*HANDED_IN, *NAMES, "norm"))]
    name, argument, kind = draw(st.sampled_from(every))
    first = kind.split(" | ")[0]
    first = first.removeprefix("<class '").removesuffix("'>").replace("collections.abc.", "")
    quick = what == "knob" or name in (*QUICK, "digits")
    words = WORDS.get("str" if "Literal" in first else first, ["nosuchword"])
    word = draw(st.sampled_from([w for w in words if quick or w != "-3"]))
    optional = "None" in kind and word in ("none of it",)
    teacher = ["--teacher", "four-stage"] if what == "knob" and "teacher" in METHODS[name].handed_in() else []
    line = [*FIXED, option, name, *teacher, f"--{what}", f"{argument}={'abc' if optional else word}"]
    return Case("words", " ".join(line) + f" ({kind})", lambda: _line(line, what))


def _line(line: list[str], what: str) -> Any:
    """A line of the command line; what is only found when something is built is built."""
    made: list[Experiment] = []
    kept = Experiment.__post_init__

    def post(self: Experiment) -> None:
        kept(self)
        made.append(self)

    Experiment.__post_init__ = post
    try:
        cli.main(line)
    finally:
        Experiment.__post_init__ = kept
    e = made[-1]
    if what == "knob":
        return built(method=e.method, knobs=e.knobs)
    if what == "network" and e.model in QUICK:
        return built(model=e.model, network=e.network)
    if what == "dataset" and e.data == "digits":
        return e.load_data().name
    return str(e)


@st.composite
def of_lines(draw: st.DrawFn) -> Case:
    option = draw(st.sampled_from(sorted(OPTIONS)))
    letters = st.text(st.characters(min_codepoint=ord("a"), max_codepoint=ord("z")), min_size=3, max_size=8)
    word = draw(st.sampled_from(OPTIONS[option]) | letters.map("q".__add__))
    line = [option, word] if option in VERBS else [*FIXED, option, word]
    return Case("line", " ".join(line), lambda: cli.main(line))


VERBS = ("show", "list", "record", "figures")
OPTIONS = {
    "show": ["", "zzz", "-", "../x"],
    "list": ["", "method", "tablse"],
    "record": ["nosuch", "/nowhere.json", "../x"],
    "figures": ["04", "nosuch"],
    "--method": ["", "drg+", "+", "drg+drg", "dgr", "kd", "-1"],
    "--model": ["", "resnet21", "torchvision:", "timm:", "x:y", "resnet18:"],
    "--data": ["", "cifar", "/nowhere/at/all", "digit"],
    "--recipe": ["", "quik"],
    "--knob": ["", "alpha", "=", "=3", "alpha=", "alpha=3"],
    "--network": ["", "width", "=", "widht=8", "width=0", "width="],
    "--dataset": ["", "train_size", "=", "trian_size=3", "train_size="],
    "--epochs": ["-1", "1.5", "ten", "nan", "", "1e3", "True"],
    "--batch-size": ["0", "1", "-5", "x", "2.5"],
    "--lr": ["0", "-1", "nan", "inf", "x"],
    "--gamma": ["-1", "nan", "inf", "2", "x"],
    "--momentum": ["2", "-1", "nan", "1", "x"],
    "--weight-decay": ["-1", "nan", "inf", "x"],
    "--schedule": ["linear", "", "steps"],
    "--optimizer": ["adam", "", "SGD"],
    "--milestones": ["0", "-1", "nan", "500", "x"],
    "--seed": ["-1", "1.5", "x", "nan", str(2**70)],
    "--teacher": ["four-stage", "nosuch"],
    "--teacher-recipe": ["quik", "epochs=-1", "epochs=x", "="],
    "--paper": ["nosuch", "", "table1"],
    "--row": ["teacher=1", "x"],
    "--from": ["/nowhere.py", ""],
}


# analyses

N, K = 12, 4


@functools.cache
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return four_stage(K, width=4).eval()


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@functools.cache
def analyses() -> dict[str, tuple[Callable, dict[str, Any]]]:
    x, y = _numbers(N, 3, 16, 16), torch.arange(N) % K
    z, f = _numbers(N, K), _numbers(N, 5)
    a = analysis
    deep = {"1/2": z, "full": 2 * z}
    costs = {"1/2": 1.0, "full": 2.0}
    run, more = {"model": net(), "x": x, "y": y}, {"seed": 0, "batch_size": 8}
    return {
        "ranked variance": (a.ranked_output_variance, {"logits": z, "space": "probabilities", "root": False}),
        "ranked along": (a.ranked_along, {"outputs": _numbers(3, N, K), "accuracy": _numbers(3)}),
        "ranked top": (a.ranked_top, {"logits": z, "y": y, "top": 3}),
        "calibration": (a.calibration, {"logits": z, "y": y, "bins": 5}),
        "selective risk": (a.selective_risk, {"logits": z, "y": y}),
        "weight noise": (a.noise_tolerance, {**run, "sigmas": [0.0], "draws": 1, "relative": False, **more}),
        "fgsm": (a.fgsm, {**run, "epsilons": [0.1], "temperature": 1.0, "batch_size": 8}),
        "loss slice": (a.loss_slice, {**run, "span": 0.5, "points": 3, "seed": 0, "directions": 1, "batch_size": 8}),
        "loss between": (a.loss_between, {"first": net(), "second": net(), "x": x, "y": y, "points": 2, "batch_size": 8}),
        "curvature": (a.curvature, {"model": net(), "x": x[:4], "y": y[:4], "top": 1, "probes": 1, **more}),
        "single directions": (a.single_directions, {**run, "layer": net().stages[-1], "fractions": [0], "orders": 1, **more}),
        "gradients": (a.gradient_statistics, {"model": net(), "batches": [Batch(x, y, y)], "loss": _loss, "seed": 0}),
        "features": (a.collect_features, {"features": _features, "x": x, "batch_size": 8}),
        "pca": (a.project_pca, {"features": f, "dim": 2, "seed": 0}),
        "t-sne": (a.project_tsne, {"features": f, "engine": "openTSNE", "perplexity": 3, "seed": 0}),
        "separation": (a.separation, {"features": f, "y": y, "k": 2}),
        "retrieval": (a.retrieve, {"query": f, "gallery": None, "query_y": y, "distance": "cosine", "chunk": 8}),
        "cka": (a.cka, {"a": f, "b": f}),
        "procrustes": (a.procrustes, {"a": f, "b": f}),
        "grad-cam": (a.grad_cam, {"network": net(), "x": x[:2], "layer": net().stages[-1], "batch_size": 8}),
        "flops": (a.forward_flops, {"network": net(), "x": x[:1]}),
        "threshold policy": (a.threshold_policy, {"logits": deep, "y": y, "costs": costs, "thresholds": [0.5]}),
        "fixed policy": (a.fixed_policy, {"logits": deep, "y": y, "costs": costs}),
        "time": (a.time_per_iteration, {"step": int, "warmup": 1, "repeats": 2}),
        "term shares": (a.term_shares, {"of": None, "batches": 1}),
        "bootstrap": (a.bootstrap, {"values": [0.1, 0.2], "level": 0.9, "draws": 100, "seed": 0}),
        "answers": (a.answers, {"logits": z}),
        "overlap": (a.overlap, {"a": x[:, 0].abs(), "b": x[:, 1].abs(), "top": 0.2}),
    }  # fmt: skip


def _loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(batch.x), batch.y)


def _features(x: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"final": net().forward_features(x).embedding}


TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "NaN": lambda t: _put(t, math.nan),
    "infinity": lambda t: _put(t, math.inf),
    "all NaN": lambda t: t * math.nan,
    "empty": lambda t: t[:0],
    "a number": lambda t: t[(0,) * t.ndim],
    "one dimension more": lambda t: t[None],
    "complex": lambda t: t + 1j,
    "text": lambda t: "tensor",
    "nothing": lambda t: None,
    "a list": lambda t: t.tolist(),
    "an object": lambda t: object(),
}
LABELS: dict[str, Callable[[torch.Tensor], Any]] = {
    "shorter": lambda t: t[:-1],
    "one-hot": lambda t: torch.eye(K)[t],
    "floats": lambda t: t.float(),
    "a list": lambda t: t.tolist(),
    "nothing": lambda t: None,
    "text": lambda t: "labels",
}
CLASSES = {"negative": lambda t: _put(t, -1), "of no class": lambda t: _put(t, 99)}
ANY_LABEL = ("separation", "retrieval")  # whose labels are names alone


@st.composite
def of_analyses(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(sorted(analyses())))
    function, right = analyses()[name]
    argument = draw(st.sampled_from(sorted(right)))
    value = right[argument]
    if isinstance(value, torch.Tensor):
        ways = TENSORS if value.is_floating_point() else LABELS if name in ANY_LABEL else LABELS | CLASSES
        if name == "bootstrap":
            ways = {"nothing": ways["nothing"]}
        what = draw(st.sampled_from(sorted(ways)))
        bad = ways[what](value)
    else:
        kind = {bool: "bool", int: "int", float: "float", str: "str", list: "Sequence[float]"}.get(type(value), "-")
        kind = "float" if argument in ("perplexity", "span") else "None" if value is None and argument != "of" else kind
        if argument in ("sigmas", "epsilons", "fractions", "thresholds", "values"):
            kind = "Sequence[int]"
        if argument == "batches":
            kind = "list"
        empty = {} if isinstance(value, dict) else "?"
        bad = draw(
            STRANGE.filter(
                lambda v: not fits(v, kind) and v is not int and not callable(v) and not (argument == "gallery" and v is None)
            )
        )
        what, _ = repr(bad), empty
    call = functools.partial(function, **right | {argument: bad})
    return Case("analysis", f"{name} {argument}: {what}", call)


# files

GOOD = {"train/a/1.png": 1, "train/a/2.png": 2, "train/b/1.png": 3, "train/b/2.png": 4, "test/a/1.png": 5, "test/b/1.png": 6}


def _png(seed: int, size: int = 12) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@st.composite
def of_files(draw: st.DrawFn) -> Case:
    whole = _png(1)
    ways = {
        "cut": whole[: draw(st.integers(0, len(whole) - 30))],
        "text": draw(st.text(max_size=40)).encode(),
        "bytes": draw(st.binary(max_size=60)),
        "head alone": whole[:33],
        "zeros": bytes(200),
    }
    what = draw(st.sampled_from(sorted(ways)))

    def call() -> Any:
        with tempfile.TemporaryDirectory() as top:
            for name, seed in GOOD.items():
                place = Path(top, "pets", name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(ways[what] if name == "train/a/2.png" else _png(seed))
            return as_data(str(Path(top, "pets")), root=top, size=8).train.x[:].shape

    return Case("files", f"{what}, {len(ways[what])} bytes", call)


def cases() -> st.SearchStrategy[Case]:
    """Bad inputs of every door."""
    doors = [of_methods(), of_methods(), of_networks(), of_sets(), of_recipes(), of_experiments(), of_own_data(), of_words(),
             of_words(), of_lines(), of_analyses(), of_analyses(), of_sets_built_by_hand(),
             of_batches(), of_files()]  # fmt: skip
    return st.one_of(doors)


def census(many: int, say: Callable[[Case, Answer], None] | None = None) -> list[tuple[Case, Answer]]:
    """Tries many and stops at none."""
    found: list[tuple[Case, Answer]] = []
    seen: set[tuple[str, str]] = set()

    @settings(max_examples=many, database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def each(case: Case) -> None:
        if (case.door, case.said) not in seen:
            seen.add((case.door, case.said))
            found.append((case, answer(case)))
            if say:
                say(*found[-1])

    each()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ.setdefault("SDKIT_HOME", tempfile.mkdtemp())
    import torch.hub

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("nothing is fetched here")

    torch.hub.load_state_dict_from_url = refuse
    import sklearn.datasets

    sklearn.datasets.load_digits = functools.cache(sklearn.datasets.load_digits)
    began = time.perf_counter()

    def say(case: Case, got: Answer) -> None:
        if got.kind != "clear" or len(sys.argv) > 2:
            first = got.words.partition(chr(10))[0]
            print(f"{got.kind:<9} {case.door:<10} {case.said}  ->  {first}", flush=True)

    every = census(int(sys.argv[1]), say)
    count = collections.Counter((case.door, got.kind) for case, got in every)
    for door in sorted({door for door, _ in count}):
        print(f"{door:<12}", *(f"{kind} {count[door, kind]}" for kind in ("clear", "raw", "accepted", "slow")))
    print(len(every), collections.Counter(got.kind for _, got in every), f"{time.perf_counter() - began:.0f} s")
