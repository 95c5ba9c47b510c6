"""A gain against the length of training: what learns faster, and what ends better.

`by_length` takes records that differ in method, seed and number of epochs, each a whole schedule of its own, such as those of
the plan `length`. A method is always beside plain training of the same length and seed. Some may be missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ..papers.checks import label as written
from ..train import RECIPES, Recipe
from .compare import network_and_images, optimised, plain_for, tables
from .gains import Gain, Pairs, alike, gain_of, gap_table, judged, partners, spread, spreads
from .result import Result, result_label
from .rows import at_any_length

ENOUGH = 3
"""Degrees of freedom from which the runs of one length say by themselves what a seed does; below, those of the nearest do.
A method that clearly moves more than the others keeps its own spread, however few they are.

Few are enough, since Student's t counts them, and lengths differ: in the middle of learning seeds lie many times farther apart
than on the plateau.
"""

WORDS = {
    "better": "Ends better: above plain training at the longest training",
    "faster": "Learns faster: above plain training after a shorter training, by a lead that shrinks until none is told",
    "worse": "Ends worse: below plain training at the longest training",
    "cannot be told": "Cannot be told at this scale",
}
"""What a method may turn out to be, and what is meant by it."""


class Level(NamedTuple):
    """Plain training of one length: accuracies of the last epoch, in [0, 1], a value a seed."""

    epochs: int
    test: list[float]
    train: list[float]  # on the batches as they came


class Said(NamedTuple):
    """What the gains of a method come to."""

    word: str  # of WORDS
    because: str


@dataclass(frozen=True, eq=False)
class ByLength:
    """Records of one network, data set and device, and of one recipe but for its length. `by_length` makes them."""

    groups: dict[str, list[Result]]  # name of a row -> its runs of every length and seed, plain training first

    @property
    def recipe(self) -> str:
        """The name of the recipe that was lengthened, or "own"."""
        return next((name for name, known in RECIPES.items() if replace(self._recipe, epochs=known.epochs) == known), "own")

    @property
    def usual(self) -> int | None:
        """The recipe's own number of epochs, where it has a name."""
        return RECIPES[self.recipe].epochs if self.recipe in RECIPES else None

    @property
    def _first(self) -> Result:
        return next(iter(self.groups.values()))[0]

    @property
    def _recipe(self) -> Recipe:
        return Recipe(**self._first.config["recipe"])

    @property
    def lengths(self) -> list[int]:
        """Every number of epochs that something was trained for."""
        return sorted({_epochs(r) for group in self.groups.values() for r in group})

    @property
    def label(self) -> str:
        """ "recorded, on DEVICE, recipe R at n lengths, m seeds"; where they differ, from the least seeds on."""
        counts = [len(g.seeds) for gains in self.gains.values() for g in gains]
        counts = counts or [len(level.test) for level in self.plain] or [1]
        seeds = f"{max(counts)} seed{'s' if max(counts) > 1 else ''}"
        if min(counts) < max(counts):
            seeds = f"{min(counts)} to {seeds}"
        n = len(self.lengths)
        return result_label(self._first, seeds, f"{self.recipe} at {n} length{'s' if n > 1 else ''}")

    @property
    def setting(self) -> str:
        """The network, the images and the recipe in words."""
        spoken = " and ".join(filter(None, [", ".join(map(str, self.lengths[:-1])), str(self.lengths[-1])]))
        return f"{network_and_images(self._first)}, {spoken} epochs, {optimised(self._recipe)}"

    @property
    def margins(self) -> str:
        """What the margins rest on, in words."""
        if not any(math.isfinite(g.margin) for gains in self.gains.values() for g in gains):
            return "No margin yet: one seed does not say what a seed does"
        pairs = [pair for seeds in self._pairs.values() for pair in seeds.values()]
        paired = sum(gap_table([pair]) is not None for pair in pairs)
        how = "image by image" if paired == len(pairs) else "image by image where that is known" if paired else "cautiously"
        few = any(spread([p for (_, m), p in self._pairs.items() if m == n])[1] < ENOUGH for n in {m for _, m in self._pairs})
        seeds = "one spread over seeds for all methods of a length but those that clearly move more"
        nearest = ",\nthe nearest length's where one has too few; " if few else ";\n"
        intervals = f"Intervals: Student's t, {seeds}{nearest}the test images are a sample, compared {how}"
        return f"{intervals}.\nTold apart: all methods of a length judged together (Holm)"

    @cached_property
    def plain(self) -> list[Level]:
        """Plain training at every length."""
        group = next(iter(self.groups.values()))
        runs: dict[int, list[Result]] = {}
        for r in group if group[0]["method"] == "vanilla" else []:
            if r.status == "done":
                runs.setdefault(_epochs(r), []).append(r)
        of = ("accuracy.final", "train_accuracy")
        return [Level(n, *([float(r[column]) for r in runs[n]] for column in of)) for n in sorted(runs)]

    @cached_property
    def gains(self) -> dict[str, list[Gain]]:
        """Row -> its gain at every length that it has a seed of in common with plain training, short ones first."""
        out: dict[str, list[Gain]] = {}
        for n in self.lengths:
            cells = {row: self._gain(row, n, pairs) for (row, at), pairs in self._pairs.items() if at == n}
            for name, gain in judged(cells).items():
                out.setdefault(name, []).append(gain)
        return {name: out[name] for name in self.groups if name in out}

    def _gain(self, name: str, epochs: int, pairs: Pairs) -> Gain:
        cells = {row: p for (row, n), p in self._pairs.items() if n == epochs}
        own = spreads(cells)[name]
        return gain_of(pairs, *(own if own[1] >= ENOUGH or name not in alike(cells) else self._spread_near(epochs)), epochs)

    def _spread_near(self, epochs: int) -> tuple[float, float]:
        """Of the length nearest in its logarithm that says by itself what a seed does, the longer of two; else of all."""
        for n in sorted(self.lengths, key=lambda n: (abs(math.log(n / epochs)), -n)):
            found = spread([pairs for (_, m), pairs in self._pairs.items() if m == n])
            if found[1] >= ENOUGH:
                return found
        return spread(list(self._pairs.values()))

    @cached_property
    def _pairs(self) -> dict[tuple[str, int], Pairs]:
        """(row, epochs) -> its runs beside plain training's."""
        found: dict[tuple[str, int], Pairs] = {}
        for name, group in self.groups.items():
            base = plain_for(group, self.groups.values())
            for n in self.lengths if base is not group else []:
                pairs = partners(*([r for r in runs if _epochs(r) == n] for runs in (group, base)))
                found |= {(name, n): pairs} if pairs else {}
        return found

    @cached_property
    def said(self) -> dict[str, Said]:
        """Row -> what its gains come to."""
        return {name: _said(gains, self.usual) for name, gains in self.gains.items()}

    def grouped(self) -> dict[str, list[str]]:
        """What is meant by a word -> the rows that it holds for, a sentence each. Words that hold for none are left out."""
        sentences = {w: [f"{_written(name)}: {s.because}" for name, s in self.said.items() if s.word == w] for w in WORDS}
        return {WORDS[word]: rows for word, rows in sentences.items() if rows}


def _written(name: str) -> str:
    """A row's name with its method as the paper writes it."""
    method, comma, rest = name.partition(",")
    return written(method) + comma + rest.replace("=", " ")


def by_length(records: Iterable[Result]) -> list[ByLength]:
    """The records, together where they differ in method, seed and number of epochs alone; most records first."""
    found = [ByLength(rows) for rows in tables(records, at_any_length)]
    return sorted(found, key=lambda c: -sum(map(len, c.groups.values())))


def _epochs(record: Result) -> int:
    return int(record["recipe.epochs"])


def _said(gains: Sequence[Gain], usual: int | None) -> Said:
    """usual: the length that the longest must reach for a word on how a method ends."""
    *shorter, last = gains
    lead = next((g for g in shorter if g.told and g.mean - last.mean > math.hypot(g.margin, last.margin)), None)
    n = len(last.seeds)
    shown = [f"{first} points at {first.epochs} epochs" for first in [lead or gains[0]] if first is not last]
    numbers = ", ".join([*shown, f"{last} at {last.epochs}" if shown else f"{last} points at {last.epochs} epochs"])
    because = f"{numbers} ({n} seed{'s' if n > 1 else ''})"
    if usual and last.epochs < usual:
        return Said("cannot be told", f"{because}; no training yet as long as the recipe's {usual} epochs")
    if n == 1:
        return Said("cannot be told", f"{because}; one seed is too few")
    if last.told is not None:
        return Said("better" if last.told else "worse", because)
    return Said("faster" if lead else "cannot be told", because)
