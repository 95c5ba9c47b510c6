"""The options of networks, checked where one is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..core import check_arguments

P, T = ParamSpec("P"), TypeVar("T")


def network(make: Callable[P, T]) -> Callable[P, T]:
    """A function that makes a network: its options by name are of their declared types, numbers from 1, shares in [0, 1].

    Args:
        make: the function. Its whole numbers are widths, depths and classes; its floats are probabilities.

    Returns:
        The same function, which refuses other options with a sentence.

    Raises:
        ValueError: when it is called: a whole number below 1, a share outside [0, 1].
    """

    @functools.wraps(make)
    def build(*parts: P.args, **options: P.kwargs) -> T:
        options.update(check_arguments(make, options, make.__name__))
        for name, value in options.items():
            if type(value) is int and value < 1:
                raise ValueError(f"{make.__name__} {name} is a whole number from 1, got {value}: say {name}=2, for example")
            if type(value) is float and not 0 <= value <= 1:
                raise ValueError(f"{make.__name__} {name} is a share in [0, 1], got {value:g}: say {name}=0.5, for example")
        return make(*parts, **options)

    return build
