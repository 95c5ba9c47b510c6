"""Runs a script or a module as on a machine that has only torch, torchvision, NumPy, scikit-learn, Pillow,
safetensors and what they need.

`python tests/bare.py benchmarks/speed.py --quick` is a script, `python tests/bare.py -m pytest` a module;
`--with pytest` before either is one thing more that the machine has.
"""

from __future__ import annotations

import re
import runpy
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[1]
PROMISED = ("torch", "torchvision", "numpy", "scikit-learn", "pillow", "safetensors")


def plain(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(promised: list[str]) -> set[str]:
    """Distributions and, transitively, what they cannot do without."""
    found, left = set(), [*promised]
    while left:
        name = plain(left.pop())
        if name not in found:
            found.add(name)
            try:
                lines = requires(name) or []
            except PackageNotFoundError:  # of another platform
                continue
            left += [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]
    return found


class Bare(PathFinder):
    """Finds what a bare machine has: nothing of other distributions, sdkit's own checkout apart."""

    refused: ClassVar[set[str]] = set()

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if path is None and fullname in cls.refused else super().find_spec(fullname, path, target)


def main(arguments: list[str]) -> None:
    more = []
    while arguments[0] == "--with":
        more, arguments = [*more, arguments[1]], arguments[2:]
    known = {*needed([*PROMISED, *more]), "sdkit"}
    Bare.refused = {module for module, owners in packages_distributions().items() if not {*map(plain, owners)} & known}
    sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [p for p in sys.path if p != here]
    if arguments[0] == "-m":
        sys.path.insert(0, str(ROOT))
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
