"""The options of networks, checked where one is made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from ..core import check_arguments

P = ParamSpec("P")
T = TypeVar("T")


def check_options(make: Callable[..., Any], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Options of what makes a network, of their declared types, whole numbers from 1, floats as shares in [0, 1].

    Args:
        make: the function. Its whole numbers are widths, depths and classes; its floats are probabilities.
        options: by name.
        what: the network's name, for the sentence.

    Returns:
        The same options, see `core.check_arguments`.

    Raises:
        ValueError: a whole number below 1, a share outside [0, 1], a value of another type.
    """
    said = check_arguments(make, options, what)
    for name, value in said.items():
        if type(value) is int and value < 1:
            raise ValueError(f"{what} {name} is a whole number from 1, got {value}: say {name}=2, for example")
        if type(value) is float and not 0 <= value <= 1:
            raise ValueError(f"{what} {name} is a share in [0, 1], got {value:g}: say {name}=0.5, for example")
    return said


def network(make: Callable[P, T]) -> Callable[P, T]:
    """A function that makes a network, and looks at the options that it is given by name: see `check_options`."""

    @functools.wraps(make)
    def build(*parts: P.args, **options: P.kwargs) -> T:
        options.update(check_options(make, options, make.__name__))
        return make(*parts, **options)

    return build
