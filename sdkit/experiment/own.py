"""Parts of your own: a class, a factory, a network, a data set that goes wherever the names of sdkit's parts go.

A part gets a name that holds a digest of all that makes it, `Mine@3f2a91c0`: its import path, its source and that of the own
functions, classes and constants it uses, what its closure holds, its weights or its images. So an edited part is another run.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..core import Sentence, pick
from ..data import DATASETS, Data, as_data
from ..data import digest as digest_of_data
from ..methods import METHODS, Method
from ..models import MODELS
from ..models.borrowed import LIBRARIES as LENDERS

LIBRARIES = tuple(str(Path(sysconfig.get_paths()[k]).resolve()) for k in ("stdlib", "purelib", "platlib"))
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
    for line in _said(thing, set()):
        found.update(line.encode() if isinstance(line, str) else line)
        found.update(b"\0")
    return found.hexdigest()


def _said(thing: Any, seen: set[int]) -> Iterable[str | bytes]:
    """What a thing is, piece by piece; what was said already, or belongs to a library, by its path alone."""
    if isinstance(thing, Tensor):
        yield f"tensor {thing.dtype} {tuple(thing.shape)}"
        yield (
            thing.detach().cpu().contiguous().view(-1).numpy().tobytes()
            if thing.dtype.is_floating_point
            else repr(thing.tolist())
        )
    elif isinstance(thing, np.ndarray):
        yield f"array {thing.dtype} {thing.shape}"
        yield np.ascontiguousarray(thing).tobytes()
    elif thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        yield repr(thing)
    elif id(thing) in seen:
        yield "again"
    elif isinstance(thing, types.ModuleType):
        yield f"module {thing.__name__}"
    else:
        seen.add(id(thing))
        yield from _made(thing, seen)


def _made(thing: Any, seen: set[int]) -> Iterable[str | bytes]:
    if isinstance(thing, dict):
        for key in sorted(thing, key=repr):
            yield repr(key)
            yield from _said(thing[key], seen)
    elif isinstance(thing, list | tuple | set | frozenset):
        for value in sorted(thing, key=repr) if isinstance(thing, set | frozenset) else thing:
            yield from _said(value, seen)
    elif isinstance(thing, type | types.FunctionType | types.MethodType | types.BuiltinFunctionType):
        yield f"{getattr(thing, '__module__', '')}:{thing.__qualname__}"
        if not of_a_library(thing):
            yield from _source(thing, seen)
    elif isinstance(thing, nn.Module):
        yield from _said(type(thing), seen)
        yield repr(thing)
        yield from _said(dict(thing.state_dict()), seen)
    elif callable(getattr(thing, "func", None)) and hasattr(thing, "keywords"):  # functools.partial
        yield from _said([thing.func, list(thing.args), thing.keywords], seen)
    else:
        yield from _said(type(thing), seen)
        yield from _said(getattr(thing, "__dict__", None) or repr(thing), seen)


def of_a_library(thing: Any) -> bool:
    """Whether it comes with Python, an installed package or sdkit."""
    module = sys.modules.get(getattr(thing, "__module__", "") or "")
    where = getattr(module, "__file__", None)
    if module is not None and module.__name__ == "builtins":
        return True
    return bool(where) and str(Path(where).resolve()).startswith((*LIBRARIES, OURSELVES))


def _source(thing: Any, seen: set[int]) -> Iterable[str | bytes]:
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
            if not isinstance(used, types.ModuleType) and not (callable(used) and of_a_library(used)):
                yield name
                yield from _said(used, seen)


_UNSAID = {"__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__", "__annotations__"}
"""Attributes of a class that do not say what it does."""


def _code(code: types.CodeType) -> Iterable[str | bytes]:
    yield code.co_code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield repr(constant)


def _names(code: types.CodeType) -> set[str]:
    """The names that a function may read from its module, those of functions within it too."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner)) if code.co_consts else set(code.co_names)


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
