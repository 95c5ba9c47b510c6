"""The small things that every part of sdkit passes around: a batch, what a pass left, where training stands, a knob."""

from __future__ import annotations

import ast
import collections.abc
import contextlib
import difflib
import inspect
import math
import os
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import numpy as np
import torch
from torch import Tensor


class Batch(NamedTuple):
    """One mini-batch, already augmented and on the device."""

    x: Tensor  # [B, 3, H, W] normalised images
    y: Tensor  # [B] int64 labels
    index: Tensor  # [B] int64, each image's place in the training set
    pair: Tensor | None = None  # [B, 3, H, W] a partner per image, when the method asks for one
    mix: tuple[Tensor, Tensor] | None = None  # under mixup: the labels [B] of what is mixed in, and the share [] of x's own


class Features(NamedTuple):
    """What one forward pass leaves behind for a method or an analysis to look at."""

    logits: Tensor  # [B, K]
    embedding: Tensor  # [B, D] the vector that the classifier reads
    stages: tuple[Tensor, ...]  # S feature maps, [B, C_s, H_s, W_s], shallow to deep
    blocks: tuple[Tensor, ...] = ()  # every residual block's map, where a method asked the network for them


class Progress(NamedTuple):
    """Where training stands."""

    epoch: int  # 0-based
    step: int  # 0-based, over the whole run
    epochs: int
    steps_per_epoch: int

    @property
    def fraction(self) -> float:
        """The fraction of training done, in [0, 1)."""
        return self.step / (self.epochs * self.steps_per_epoch)

    @property
    def ends_epoch(self) -> bool:
        """Whether this step is its epoch's last."""
        return (self.step + 1) % self.steps_per_epoch == 0


class Moment(NamedTuple):
    """A training held at one place of its way, for an analysis of its loss."""

    model: Any
    method: Any
    batches: Sequence[Batch]  # that follow each other: the first fills the method's memory
    progress: Progress  # of the first batch
    earlier: Sequence[Batch] = ()  # the same images as the last epoch saw them


HUGE = 1e12
"""No hyperparameter is larger: far beyond it the loss is no number in float32."""


class Knob(NamedTuple):
    """A hyperparameter as a reader meets it: its symbol in the paper, the range worth exploring, what both ends mean."""

    symbol: str
    low: float  # of a slider
    high: float
    at_low: str = ""  # what the method becomes at the low end
    at_high: str = ""
    least: float = 0.0  # of any value that makes sense at all
    most: float = math.inf

    def check(self, name: str, value: float) -> float:
        """`value` as a float. ValueError outside [least, most] or not finite, TypeError where it is no number."""
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(
                f"{name} ({self.symbol}) is a number in [{self.least:g}, {self.most:g}], got {value!r}: "
                f"values worth trying are {self.low:g} to {self.high:g}"
            )
        if not self.least <= value <= self.most or value > HUGE:
            lost = ", which is too large for any loss" if value > HUGE else ""
            raise ValueError(
                f"{name} ({self.symbol}) must lie in [{self.least:g}, {self.most:g}], got {value!r}{lost}: "
                f"values worth trying are {self.low:g} to {self.high:g}"
            )
        return float(value)


def temperature(symbol: str = "T", high: float = 10.0) -> Knob:
    """The knob of a softmax temperature."""
    return Knob(symbol, 1, high, "the outputs as they are", "nearly uniform: only the order of the classes is left", least=0.05)


# the arguments of methods, networks, data sets and recipes


class BadArgument(TypeError, ValueError):
    """An argument is not of its declared type, or no value of it that can be used: what was expected, what came, the mend."""


class Word(str):
    """A value as it was typed on a command line: it is read as what its argument is declared to be."""

    def literal(self) -> Any:
        """What it would be in Python; what is no Python literal is text."""
        try:
            return ast.literal_eval(self)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return str(self)


SWITCH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
"""How a switch is typed."""

LARGEST = 2**63
"""Whole numbers are smaller: neither torch nor NumPy holds a larger one."""


def declared(thing: Any) -> dict[str, Any]:
    """The types that a function, or a class's constructor, declares of its arguments, by name; unreadable ones left out."""
    try:
        found = inspect.signature(thing, eval_str=True).parameters.values()
    except (NameError, TypeError, ValueError, AttributeError):  # names that a type checker alone sees; no Python function
        return {}
    return {p.name: p.annotation for p in found if p.annotation is not p.empty and p.kind is not p.VAR_KEYWORD}


def check_arguments(thing: Any, said: Mapping[str, Any], what: str = "") -> dict[str, Any]:
    """Arguments as a function, or a class's constructor, declares them: words read, whole numbers made floats.

    What has no declared type, and what is the default itself, stays as it is.

    Args:
        thing: the function or class.
        said: its arguments by name.
        what: what it is called, for the sentence.

    Returns:
        The same arguments, in the same order.

    Raises:
        BadArgument: a value of another type, a word that cannot be read so, a number that is not finite or too large.
    """
    if not said:
        return {}
    kinds = declared(thing)
    try:
        defaults = {p.name: p.default for p in inspect.signature(thing).parameters.values()}
    except (TypeError, ValueError):
        defaults = {}
    found = {}
    for name, value in said.items():
        kind = kinds.get(name, Any)
        if isinstance(value, Word) and kind is Any:
            value = value.literal()
        found[name] = value if value is defaults.get(name, said) else as_declared(f"{what} {name}".strip(), value, kind)
    return found


def as_declared(what: str, value: Any, kind: Any) -> Any:
    """One value as a type wants it, see `check_arguments`; `what` it is called in the sentence, its name last."""
    try:
        return _read(value, kind)
    except (TypeError, ValueError, OverflowError):
        shown = " ".join(repr(str(value) if isinstance(value, Word) else value).split())
        shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
        example = _example(kind)
        mend = f": say {what.split()[-1]}={example}, for example" if example else ""
        raise BadArgument(f"{what} is {_spoken(kind)}, got {shown}{mend}") from None


def _read(value: Any, kind: Any) -> Any:
    """The value; TypeError where it is of another type, ValueError where it is none that can be used."""
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _first_of(value, sorted(inside, key=lambda k: (k is str, k is not type(None))))  # any word is text
    if isinstance(value, Word) and kind not in (str, Path) and origin is not Literal:
        value = _typed(value, kind, origin)
    if origin is Literal:
        value = next((k for k in inside if str(k) == value), str(value)) if isinstance(value, Word) else value
        if not any(value is k or (type(value) is type(k) and value == k) for k in inside):
            raise ValueError
        return value
    if origin in LISTS:
        return _each(value, origin, inside)
    if isinstance(value, np.generic) or (kind in (int, float) and isinstance(value, Tensor) and not value.ndim):
        value = value.item()
    if kind is int or kind is float:
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise TypeError
        if not (abs(value) < LARGEST if kind is int else math.isfinite(value)):
            raise ValueError
        return kind(value)
    if kind is str:
        said = value.literal() if isinstance(value, Word) else value  # quotes may be typed
        value = said if isinstance(said, str) else str(value) if isinstance(value, Word) else value
    wanted = (str, Path) if kind is Path else type(None) if kind is None else origin
    if isinstance(wanted, type | tuple) and not getattr(wanted, "_is_protocol", False) and not isinstance(value, wanted):
        raise TypeError
    if isinstance(value, Mapping) and inside:
        return {_read(k, inside[0]): _read(v, inside[1]) for k, v in value.items()}
    return value


def _typed(word: Word, kind: Any, origin: Any) -> Any:
    """A word as a plain value for `_read`: a switch, a number, a list with or without brackets."""
    if kind is bool:
        return SWITCH.get(word.strip().lower(), str(word))
    if kind is int or kind is float:
        return kind(word)
    if kind in (None, type(None)) and word.strip().lower() == "none":
        return None
    said = word.literal()
    if origin in LISTS and not isinstance(said, tuple | list):
        return [Word(part.strip()) for part in word.split(",")]
    return said


def _each(value: Any, origin: Any, inside: tuple[Any, ...]) -> Any:
    """A list or tuple, its members read: a list where one is declared, else a tuple."""
    if isinstance(value, np.ndarray | Tensor):
        value = value.tolist()
    if not isinstance(value, collections.abc.Sequence) or isinstance(value, str | bytes):
        raise TypeError
    fixed = origin is tuple and inside and Ellipsis not in inside
    if fixed and len(value) != len(inside):
        raise ValueError
    kinds = inside if fixed else [inside[0] if inside else Any] * len(value)
    return (list if origin is list else tuple)(_read(v, k) for v, k in zip(value, kinds, strict=True))


def _first_of(value: Any, kinds: Iterable[Any]) -> Any:
    """The value as the first of the types that takes it."""
    for kind in kinds:
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return _read(value, kind)
    raise TypeError


LISTS = (tuple, list, collections.abc.Sequence)

SPOKEN = {
    bool: ("True or False", "True"),
    int: ("a whole number", "2"),
    float: ("a finite number", "0.5"),
    str: ("text", "'name'"),
    Path: ("a path", "'folder'"),
    type(None): ("None", "None"),
    Tensor: ("a tensor", "torch.tensor([[1.0, 2.0]])"),
    torch.nn.Module: ("a network, an nn.Module", "MODELS['resnet20'](num_classes=10)"),
}
"""Types in words, and a value of each."""


def _spoken(kind: Any) -> str:
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if kind in SPOKEN:
        return SPOKEN[kind][0]
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_spoken, inside)))
    if origin is Literal:
        return " or ".join(", ".join(map(repr, inside)).rsplit(", ", 1))
    if origin in LISTS:
        many = f"{len(inside)} values" if origin is tuple and inside and Ellipsis not in inside else "a list"
        return f"{many}, each {_spoken(inside[0])}" if inside else many
    if origin in (dict, collections.abc.Mapping):
        return "a dict by names" if inside and inside[0] is str else "a dict"
    return f"a {getattr(kind, '__name__', kind)}"


def _example(kind: Any) -> str:
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if kind in SPOKEN:
        return SPOKEN[kind][1]
    if origin in (Union, types.UnionType):
        return _example(inside[0])
    if origin is Literal:
        return repr(inside[0])
    if origin in LISTS:
        many = len(inside) if origin is tuple and inside and Ellipsis not in inside else 1
        return f"({', '.join([_example(inside[0]) if inside else '1'] * many)}{',' * (many == 1)})"
    return "{'name': 1}" if origin in (dict, collections.abc.Mapping) else ""


# names

MANY = 16
"""More names than a sentence should list."""


def pick(name: str, known: Iterable[str], what: str, lister: str = "sdkit list") -> str:
    """`name` if it is known; otherwise a KeyError that suggests the nearest ones."""
    known = list(known)
    if name in known:
        return name
    near = difflib.get_close_matches(str(name).lower(), known, n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    listed = f"known are {', '.join(known) or 'none'}" if len(known) <= MANY else f"`{lister}` names all {len(known)}"
    raise KeyError(Sentence(f"no {what} is called {name!r}: {hint}{listed}"))


class Sentence(str):
    """A message that a KeyError prints as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def home() -> Path:
    """The folder that holds `data/`, `runs/` and `figures/`: $SDKIT_HOME, else the checkout above here, else here."""
    if os.environ.get("SDKIT_HOME"):
        return Path(os.environ["SDKIT_HOME"]).expanduser()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").exists() and (folder / "sdkit").is_dir():
            return folder
    return here


FEW = 2**20
"""Numbers that one thread is through with before others have begun: those that waited for long sleep."""


@contextlib.contextmanager
def one_thread(numbers: int, device: torch.device) -> Iterator[None]:
    """Within, a CPU works with one thread where there are but FEW numbers to work on. For what adds up nothing: bits stay."""
    before = torch.get_num_threads()
    if device.type != "cpu" or numbers > FEW or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
