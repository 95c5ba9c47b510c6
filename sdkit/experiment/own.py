"""Parts of your own: a class, a factory, a network, a data set that goes wherever the names of sdkit's parts go.

A part gets a name that holds a digest of all that makes it, `Mine@3f2a91c0`: its import path, its source and that of the own
functions, classes, modules and constants it uses, what its closure holds, its weights, what else its modules were given, or its
images. So an edited part is another run.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import inspect
import logging
import random
import re
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core import Sentence, pick
from ..data import DATASETS, Data, as_data
from ..data import digest as digest_of_data
from ..methods import METHODS, Method
from ..models import MODELS
from ..models.borrowed import LIBRARIES as LENDERS

LIBRARIES = tuple(
    str(Path(p).resolve())
    for p in (*map(sysconfig.get_paths().__getitem__, ("stdlib", "purelib", "platlib")), site.getusersitepackages())
)
OURSELVES = str(Path(__file__).resolve().parents[1])
"""Code under these folders is no user's own."""

OWN: dict[str, Any] = {}
"""Every part of a user's own that this process has met, by its name with the digest."""

SENT: dict[str, Data] = {}
"""Data sets that another machine sent to this process, by `Experiment.images`."""

LISTS: dict[str, dict[str, Any]] = {"method": METHODS, "model": MODELS, "data": DATASETS}
"""Where a part's name is looked up, by what it is."""

OURS = {kind: dict(listed) for kind, listed in LISTS.items()}
"""The lists as sdkit comes."""

WORDS = {"method": "method", "model": "network", "data": "data set"}


def register(name: str, part: Any, kind: str | None = None) -> Any:
    """Gives a part of your own a name, for experiments, the command line and every list.

    Args:
        name: what it is called from now on, such as "mine".
        part: a `Method` class, a network (a class, a factory, a module) or a data set (a function, tensors, a folder).
        kind: "method", "model" or "data"; by default what the part shows itself to be.

    Returns:
        The part.

    Raises:
        ValueError: the name is one of sdkit's own, or holds one of the signs + @ :.
        TypeError: the part does not show what it is.

    Examples:
        >>> class Mine(Method):
        ...     knobs = {}
        >>> register("mine", Mine) is METHODS["mine"]
        True
    """
    if not name or set("+@:") & set(name):
        raise ValueError(f"a name holds none of + @ :, got {name!r}")
    kind = pick(kind, LISTS, "kind of part") if kind else _kind(part)
    if name in OURS[kind]:
        raise ValueError(f"{name!r} is a {WORDS[kind]} of sdkit's: take another name")
    LISTS[kind][name] = part
    return part


def _kind(part: Any) -> str:
    if isinstance(part, type) and issubclass(part, Method):
        return "method"
    if isinstance(part, nn.Module) or (isinstance(part, type) and issubclass(part, nn.Module)):
        return "model"
    raise TypeError(f"say what it is, register(name, part, kind='model') or 'data' for example: {part!r}")


def named(part: Any, kind: str) -> str:
    """The name under which an experiment keeps a part: a name of sdkit's as it is, an own part's with its digest.

    Raises:
        KeyError: no part has this name; the nearest are suggested.
        TypeError: it is nothing that could be a part of this kind.
    """
    listed = LISTS[kind]
    if not isinstance(part, str):
        if kind == "method" and not (isinstance(part, type) and issubclass(part, Method)):
            raise TypeError(f"a method is a name, 'byot' for example, or a class that inherits from Method, got {part!r}")
        if kind == "model" and not callable(part):
            raise TypeError(
                f"a network is a name, 'resnet20' for example, an nn.Module, or what makes one from num_classes, got {part!r}"
            )
        name = next((name for name, thing in listed.items() if thing is part), None)
        return name if name in OURS[kind] and OURS[kind][name] is part else _kept(name or _title(part), part, kind)
    if part in OWN:
        return part
    if kind == "model" and ":" in part:  # timm:NAME and torchvision:NAME are looked for when they are built
        if not part.endswith(":"):
            pick(part.partition(":")[0], LENDERS, "library of networks")
            return part
    name, at, _ = part.partition("@")
    if at:
        known = [n for n in OWN if n.startswith(f"{name}@")]
        why = f"it was edited, and is {known[-1]} now" if known else "import or define it first"
        raise KeyError(Sentence(f"{part} is a part of your own that this process does not hold: {why}"))
    pick(part, listed, WORDS[kind])
    return part if listed[part] is OURS[kind].get(part) else _kept(part, listed[part], kind)


def _title(part: Any) -> str:
    if isinstance(part, tuple | list | dict):
        return "tensors"
    name = getattr(part, "__name__", None) or getattr(part, "name", None) or type(part).__name__
    return "".join(c for c in str(name) if c not in "+@:<>") or "own"


def _kept(name: str, part: Any, kind: str) -> str:
    data = kind == "data" and not callable(part)
    full = f"{name}@{(digest_of_data(as_data(part)) if data else digest_of(part))[:8]}"
    OWN[full] = part
    return full


def find(name: str, kind: str) -> Any:
    """The part of that name. Of a network of another library its name, by which it is built."""
    return OWN[name] if name in OWN else LISTS[kind].get(name, name)


def short(name: str) -> str:
    """A part's name without its digest."""
    return name.partition("@")[0]


def spoken(name: str) -> str:
    """A part as code writes it: a name in quotes, an own class or function by its own name."""
    return repr(name) if name not in OWN else getattr(OWN[name], "__name__", short(name))


# digests


def digest_of(thing: Any) -> str:
    """Hexadecimal digits of all that makes a part: see the head of this file."""
    found = hashlib.sha256()
    for line in _said(thing, {}):
        found.update(line.encode() if isinstance(line, str) else line)
        found.update(b"\0")
    return found.hexdigest()


Seen = dict[int, Any]
"""What was said already, by its id; held here, so that nothing else gets this id meanwhile."""


def _said(thing: Any, seen: Seen) -> Iterable[str | bytes]:
    """What a thing is, piece by piece; what was said already, or belongs to a library, by its path alone."""
    if isinstance(thing, Tensor):
        yield f"tensor {thing.dtype} {tuple(thing.shape)}"
        yield (
            thing.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()  # NumPy has no bfloat16
            if thing.dtype.is_floating_point
            else repr(thing.tolist())
        )
    elif isinstance(thing, np.ndarray) and not thing.dtype.hasobject:
        yield f"array {thing.dtype} {thing.shape}"
        yield np.ascontiguousarray(thing).tobytes()
    elif thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        yield repr(thing)
    elif id(thing) in seen:
        yield "again"
    else:
        seen[id(thing)] = thing
        yield from _made(thing, seen)


def _made(thing: Any, seen: Seen) -> Iterable[str | bytes]:
    if isinstance(thing, dict):
        for key in sorted(thing, key=_words):
            yield _words(key)
            yield from _said(thing[key], seen)
    elif isinstance(thing, list | tuple | set | frozenset):
        for value in sorted(thing, key=_words) if isinstance(thing, set | frozenset) else thing:
            yield from _said(value, seen)
    elif isinstance(thing, types.ModuleType):
        yield f"module {thing.__name__}"
        if _is_own(thing):
            yield from _written(thing, seen)
    elif isinstance(thing, _CODE):
        yield f"{getattr(thing, '__module__', '')}:{thing.__qualname__}"
        if not of_a_library(thing):
            yield from _source(thing, seen)
            if isinstance(thing, types.MethodType):
                yield from _said(thing.__self__, seen)
    elif isinstance(thing, nn.Module):
        yield from _said(type(thing), seen)
        yield _words(thing)
        state = dict(thing.state_dict())
        yield from _said(state, seen)
        for rest in ({k: b for k, b in thing.named_buffers() if k not in state}, _plain_attributes(thing)):
            if rest:
                yield from _said(rest, seen)
    elif callable(getattr(thing, "func", None)) and hasattr(thing, "keywords"):  # functools.partial
        yield from _said([thing.func, list(thing.args), thing.keywords], seen)
    elif isinstance(thing, np.ndarray):
        yield from _said([thing.shape, thing.ravel().tolist()], seen)
    else:
        yield from _said(type(thing), seen)
        yield from _said(_state(thing), seen)


_CODE = type | types.FunctionType | types.MethodType | types.BuiltinFunctionType


def _words(thing: Any) -> str:
    """Its repr without its place in memory, which is another in every process."""
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(thing))


def _plain_attributes(network: nn.Module) -> dict[str, dict[str, Any]]:
    """What its modules were given that is no weight, by their paths: of own ones, and where their repr does not say it."""
    silent = nn.Module.extra_repr
    asked = ((path, m) for path, m in network.named_modules() if not of_a_library(type(m)) or type(m).extra_repr is silent)
    every = {path: {k: v for k, v in vars(m).items() if k not in _EVERY_MODULE_HAS} for path, m in asked}
    return {path: given for path, given in every.items() if given}


_EVERY_MODULE_HAS = {*vars(nn.Module())}


def _state(thing: Any) -> Any:
    """What an object holds; where it shows nothing, what a copy would be made of, or else its words."""
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    if isinstance(thing, random.Random):
        return thing.getstate()
    if isinstance(thing, logging.Logger):
        return thing.name
    if is_dataclass(thing) and of_a_library(type(thing)):  # without what it has looked up meanwhile
        return {f.name: getattr(thing, f.name, None) for f in fields(thing)}
    if getattr(thing, "__dict__", None):
        return vars(thing)
    if _words(thing) == repr(thing):
        return repr(thing)
    try:
        copy = thing.__reduce_ex__(2)
    except Exception:  # a lock, an open file
        return _words(thing)
    return [[*part] if isinstance(part, Iterator) else part for part in copy] if isinstance(copy, tuple) else _words(thing)


def of_a_library(thing: Any) -> bool:
    """Whether it comes with Python, an installed package or sdkit."""
    module = sys.modules.get(getattr(thing, "__module__", "") or "")
    if module is None or module.__name__ == "__main__":  # which a notebook is, whatever file has started its process
        return False
    where = getattr(module, "__file__", None)
    return module.__name__ == "builtins" or bool(where and _in_a_library(where))


def _in_a_library(file: str) -> bool:
    return str(Path(file).resolve()).startswith((*LIBRARIES, OURSELVES))


def _is_own(module: types.ModuleType) -> bool:
    """Whether a user wrote it, as a file or a folder of them; what a notebook holds has no file."""
    where = [f] if (f := getattr(module, "__file__", None)) else [*getattr(module, "__path__", ())]
    there = bool(where) and all(Path(w).exists() for w in where)
    return module.__name__ != "__main__" and there and not any(map(_in_a_library, where))


def _written(module: types.ModuleType, seen: Seen) -> Iterable[str | bytes]:
    """An own module's file, and those of the own modules that it has the name of, or a function or class from."""
    if where := getattr(module, "__file__", None):
        yield Path(where).read_bytes()
    values = [*vars(module).values()]
    held = (sys.modules.get(getattr(v, "__module__", None) or "") if isinstance(v, _CODE) else v for v in values)
    own = {m for m in held if isinstance(m, types.ModuleType) and m is not module and _is_own(m)}
    yield from _said(sorted(own, key=lambda m: m.__name__), seen)


def _source(thing: Any, seen: Seen) -> Iterable[str | bytes]:
    if isinstance(thing, type):
        yield from _said([b for b in thing.__mro__[1:] if not of_a_library(b)], seen)
        for name in sorted(vars(thing)):
            if name not in _UNSAID:
                yield name
                value = vars(thing)[name]
                value = next((found for a in ("__func__", "fget", "unchecked") if (found := getattr(value, a, None))), value)
                yield from _said(value, seen)
        return
    function = getattr(thing, "__func__", thing)
    code = getattr(function, "__code__", None)
    if code is None:
        return
    try:
        yield inspect.getsource(function)
    except (OSError, TypeError):  # typed where nothing keeps the text
        yield from _code(code)
    yield from _said([function.__defaults__, function.__kwdefaults__], seen)
    for cell in function.__closure__ or ():
        try:
            yield from _said(cell.cell_contents, seen)
        except ValueError:  # not filled yet: a class that names itself
            yield "empty"
    for name in sorted(_names(code)):
        if name in function.__globals__:
            used = function.__globals__[name]
            ours = _is_own(used) if isinstance(used, types.ModuleType) else not (isinstance(used, _CODE) and of_a_library(used))
            if ours:
                yield name
                yield from _said(used, seen)


_UNSAID = {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotations__"}
_UNSAID |= {"__annotate_func__", "__annotations_cache__"}  # Python 3.14's, the cache once somebody has asked
"""Attributes of a class that do not say what it does."""


def _code(code: types.CodeType) -> Iterable[str | bytes]:
    yield code.co_code
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield repr(sorted(constant, key=repr) if isinstance(constant, frozenset) else constant)


def _names(code: types.CodeType) -> set[str]:
    """The names that a function may read from its module, those of functions within it too; attributes are none of them."""
    read = {i.argval for i in dis.get_instructions(code) if i.opname in _READS}
    return read.union(*(_names(c) for c in code.co_consts if isinstance(c, types.CodeType)))


_READS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
"""What a function does to read a name of its module; the last is of a class within it, since Python 3.12."""


def module_digests(parts: dict[str, Callable]) -> dict[str, str]:
    """Twelve hex digits of the file in which each part is written, by the part's name; own parts say it in theirs."""
    found = {}
    for name, part in parts.items():
        where = getattr(sys.modules.get(getattr(part, "__module__", "") or ""), "__file__", None)
        if where and "@" not in name:
            found[name] = hashlib.sha256(Path(where).read_bytes()).hexdigest()[:12]
    return found


@functools.cache
def source_digest() -> str:
    """Twelve hex digits of all code that a training depends on, as it is when this process first asks."""
    rooms = ("core.py", "rng.py", "losses.py", "train", "experiment", "data", "methods", "models")
    here = [Path(OURSELVES) / room for room in rooms]
    files = sorted(f for room in here for f in ([room] if room.suffix else room.rglob("*.py")))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]
