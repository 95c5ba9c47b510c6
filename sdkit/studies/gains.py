"""A method beside plain training, seed by seed and image by image: how large its gain is, and whether chance gives as much.

At one seed two methods begin with the same weights and see the same images in the same order, and all are tested on the same
images. So a gain is a mean of differences within seeds and within images. It has two errors: other seeds would move it, and
so would other test images. Both are said, and both count.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, TypeVar

import numpy as np

from .result import Result

Pairs = Mapping[int, tuple[Result, Result]]
"""Seed -> a method's run and plain training's."""

LEVEL = 0.05
"""Of twenty pictures in which no method changes anything, one shows a gain as told apart."""

MANY = 1000
"""Seeds beyond which nobody will train: then none are enough."""


@dataclass(frozen=True)
class Gain:
    """A method beside plain training. Accuracies in [0, 1]; only runs that ended well count."""

    seeds: dict[int, float]  # seed -> accuracy above that of plain training at this seed
    of_seeds: float  # variance of the mean because the seeds are a sample; nan without a spread over seeds
    of_images: float  # variance of the mean because the test images are a sample
    freedom: float  # degrees of freedom of the seeds' part
    told: bool | None = None  # whether the gain is positive; None where it is not told from none
    level: float = LEVEL  # at which that was judged: less than LEVEL where a picture has several gains
    epochs: int = 0  # of the trainings, where trainings of several lengths are compared

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.seeds.values())

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return math.sqrt(self.of_seeds + self.of_images)

    @property
    def margin(self) -> float:
        """The mean ± this holds the gain 19 times of 20, this gain alone; nan without a spread over seeds."""
        return _student(LEVEL, self._freedom) * self.error if self.freedom else math.nan

    @property
    def p(self) -> float:
        """How often chance gives as large a difference where there is none; nan without a spread over seeds."""
        from scipy.stats import t

        if not self.freedom:
            return math.nan
        if not self.error:
            return float(self.mean == 0)
        return float(2 * t.sf(abs(self.mean) / self.error, self._freedom))

    @property
    def _freedom(self) -> float:
        """Satterthwaite's: of the two parts of the variance the images' counts as known."""
        return self.freedom * ((self.of_seeds + self.of_images) / self.of_seeds) ** 2 if self.of_seeds else math.inf

    @property
    def needed(self) -> float:
        """How many seeds would tell a gain as large as this, by its spread; `inf` where no number would, nan where unknown."""
        if not self.freedom or not self.mean:
            return math.inf if self.freedom else math.nan
        n = len(self.seeds)
        for seeds in range(2, MANY):
            scaled = replace(self, of_seeds=self.of_seeds * n / seeds, freedom=self.freedom * (seeds - 1) / max(n - 1, 1))
            if abs(self.mean) > _student(self.level, scaled._freedom) * scaled.error:
                return seeds
        return math.inf

    @property
    def alone(self) -> bool | None:
        """Whether it is positive, judged as if it were the only gain; None where it is not told from none."""
        return None if math.isnan(self.p) or self.p > LEVEL else self.mean > 0

    def range_of_mean(self, seeds: int) -> tuple[float, float]:
        """Where the mean over further seeds falls 19 times of 20, on the same test images.

        Args:
            seeds: How many others.

        Returns:
            From, to: a prediction interval. Without a spread over seeds it is boundless.
        """
        if not self.freedom:
            return -math.inf, math.inf
        wide = _student(LEVEL, self.freedom) * math.sqrt(self.of_seeds * (1 + len(self.seeds) / seeds))
        return self.mean - wide, self.mean + wide

    def __str__(self) -> str:
        known = f" ± {100 * self.margin:.1f}" if math.isfinite(self.margin) else ""
        return f"{100 * self.mean:+.1f}{known}"

    @property
    def verdict(self) -> str:
        """Whether it is told apart, in words; where it is not, how many seeds would tell a gain as large as this."""
        if self.told is not None:
            return "yes, higher" if self.told else "yes, lower"
        if math.isnan(self.needed):
            return "no: one seed does not say what a seed does"
        if self.needed > max(100, len(self.seeds)):
            return "no: not by a hundred seeds either"
        more = max(self.needed, len(self.seeds) + 1) - len(self.seeds)
        return f"no: {more:.0f} more seed{'s' if more > 1 else ''} would tell as much"


def gain_of(pairs: Pairs, variance: float, freedom: float, epochs: int = 0) -> Gain:
    """The gain of a method from its runs beside plain training's.

    Args:
        pairs: The runs by seed.
        variance: Of a gain over seeds, as `spread` pools it.
        freedom: Its degrees of freedom.
        epochs: The trainings' length, where several are compared.

    Returns:
        The gain, not judged yet.
    """
    seeds = {seed: above(*pair) for seed, pair in pairs.items()}
    return Gain(seeds, variance / len(seeds), images_part(list(pairs.values())), freedom, epochs=epochs)


Name = TypeVar("Name", bound=Hashable)


def judged(gains: Mapping[Name, Gain]) -> dict[Name, Gain]:
    """The gains of one picture, each told apart or not: in all a picture gives a false alarm one time in twenty (Holm 1979).

    The least likely one is judged at LEVEL / n, the next at LEVEL / (n - 1), until one is not told; no more are all after it.

    Args:
        gains: By any name; those without a spread over seeds are left as they are.

    Returns:
        The same, with `told` and `level`.

    References:
        A simple sequentially rejective multiple test procedure. S. Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    known = sorted((name for name, g in gains.items() if not math.isnan(g.p)), key=lambda name: gains[name].p)
    out, open_ = dict(gains), True
    for i, name in enumerate(known):
        g, level = gains[name], LEVEL / (len(known) - i)
        open_ = open_ and g.p <= level
        out[name] = replace(g, told=g.mean > 0 if open_ else None, level=level)
    return out


def partners(ours: Sequence[Result], base: Sequence[Result]) -> Pairs:
    """The runs of both that ended well, by the seeds that they have in common.

    Args:
        ours: A method's runs.
        base: Those of plain training.

    Returns:
        Seed -> the run of each.
    """
    beside = {int(r["seed"]): r for r in base if r.status == "done"}
    found = {int(r["seed"]): r for r in ours if r.status == "done"}
    return {seed: (r, beside[seed]) for seed, r in found.items() if seed in beside}


def spread(cells: Sequence[Pairs]) -> tuple[float, float]:
    """Variance over seeds of a gain, pooled over (method, length), and its degrees of freedom.

    Methods of one length stand beside the same runs of plain training, so that what they say of a seed is said in part twice:
    the degrees of freedom are Satterthwaite's, of methods whose seeds move them as much as plain training's move it.

    Args:
        cells: The runs of each method and length beside plain training's.

    Returns:
        Both; nan and 0 with one seed each.
    """
    cells = [pairs for pairs in cells if len(pairs) > 1]
    free = sum(len(pairs) - 1 for pairs in cells)
    if not free:
        return math.nan, 0.0
    gains = [[above(*pair) for pair in pairs.values()] for pairs in cells]
    squares = sum((g - statistics.mean(own)) ** 2 for own in gains for g in own)
    twice = sum(_shared(a, b) for a, b in permutations(cells, 2))
    return squares / free, 4 * free**2 / (4 * free + twice)


def spreads(cells: Mapping[Name, Pairs]) -> dict[Name, tuple[float, float]]:
    """Each gain's variance over seeds and its degrees of freedom: those of all together, but for what clearly moves more.

    One by one, a method whose seeds move it more than the others' move them, as an F test says at LEVEL, is taken out and has
    its own spread. Its interval would be too narrow otherwise, and the others' too wide.

    Args:
        cells: The runs of each gain by its name.

    Returns:
        By the same names, what `spread` returns.
    """
    own = wild(cells)
    pooled = spread([pairs for name, pairs in cells.items() if name not in own])
    return {name: own.get(name, pooled) for name in cells}


def wild(cells: Mapping[Name, Pairs]) -> dict[Name, tuple[float, float]]:
    """The spreads of those methods that `spreads` takes out.

    Args:
        cells: The runs of each gain by its name.

    Returns:
        By the names of those alone, what `spread` returns of each by itself.
    """
    rest, own = dict(cells), {}
    while len(rest) > 1:
        found = {name: _apart(name, rest) for name, pairs in rest.items() if len(pairs) > 1}
        name = min(found, key=lambda n: found[n], default=None)
        if name is None or found[name] > LEVEL / len(found):
            break
        own[name] = spread([rest.pop(name)])
    return own


def _apart(name: Hashable, cells: Mapping[Any, Pairs]) -> float:
    """How often chance gives a spread as much larger than that of all others."""
    from scipy.stats import f

    (own, n), (others, m) = spread([cells[name]]), spread([pairs for k, pairs in cells.items() if k != name])
    return float(f.sf(own / others, n, m)) if m and others else 1.0


def _shared(a: Pairs, b: Pairs) -> float:
    """Degrees of freedom that two methods' spreads have in common through the same runs of plain training."""
    k = sum(seed in b and a[seed][1] is b[seed][1] for seed in a)
    return k * (1 - 1 / len(a)) * (1 - 1 / len(b)) + k * (k - 1) / (len(a) * len(b))


def tellable(variance: float, methods: int, seeds: int) -> float:
    """The smallest gain that seeds would tell, 19 times of 20, if so many methods had so many each beside plain training.

    Args:
        variance: Of a gain over seeds. That the test images are a sample comes on top.
        methods: How many stand beside the same runs of plain training.
        seeds: How many each has.

    Returns:
        The gain, in [0, 1].

    Raises:
        ValueError: Fewer than two seeds.
    """
    if seeds < 2:
        raise ValueError(f"a spread over seeds needs two and more, got {seeds}")
    return _student(LEVEL, 4 * methods * (seeds - 1) / (methods + 3)) * math.sqrt(variance / seeds)


def images_part(pairs: Sequence[tuple[Result, Result]]) -> float:
    """Variance of a mean gain because the test images are a sample: image by image where it is recorded which were right.

    That one seed errs on other images than the next is in the spread over seeds already, and is taken out here (the variance
    components of a table of seeds by images). Where it is not recorded, each side counts as if it had images of its own:
    cautious, since both err on the hard ones.

    Args:
        pairs: A method's runs and plain training's, a seed each.

    Returns:
        The variance.
    """
    images = pairs[0][0].environment["test images"]
    table = gap_table(pairs)
    if table is None:
        return sum(of_images([r["accuracy.final"] for r in side], images) for side in zip(*pairs, strict=True))
    seeds, n = table.shape
    by_image = table.mean(0)
    variance = by_image.var(ddof=1)
    if seeds > 1:
        rest = table - by_image - table.mean(1, keepdims=True) + table.mean()
        variance -= (rest**2).sum() / ((seeds - 1) * (n - 1)) / seeds
    return max(float(variance), 1 / n) / n  # never 0: all alike once is not all alike always


def gap_table(pairs: Sequence[tuple[Result, Result]]) -> np.ndarray | None:
    """1 where only the method is right of a test image, -1 where only plain training is, else 0.

    Args:
        pairs: A method's runs and plain training's, S seeds.

    Returns:
        [S, N] for N test images; None where it is not recorded of all of these runs which images were right.
    """
    if not all("right" in r.curves for pair in pairs for r in pair):
        return None
    kept = [[r.curves["right"] for r in pair] for pair in pairs]
    if len({c["images"] for pair in kept for c in pair}) > 1:
        return None
    ours, theirs = (np.stack([_bits(c) for c in side]) for side in zip(*kept, strict=True))
    return ours - theirs


def of_images(accuracy: Sequence[float], images: int) -> float:
    """Variance of an accuracy because the test images are a sample. Never 0: all right once is not all right always.

    Args:
        accuracy: A value a seed, in [0, 1].
        images: How many there are.

    Returns:
        That of their mean.
    """
    p = min(max(statistics.mean(accuracy), 0.5 / images), 1 - 0.5 / images)
    return p * (1 - p) / images


def _bits(right: dict) -> np.ndarray:
    return np.unpackbits(np.frombuffer(bytes.fromhex(right["bits"]), np.uint8), count=right["images"]).astype(float)


def above(ours: Result, theirs: Result) -> float:
    """By how much the last epoch's accuracy is above another run's.

    Args:
        ours: A run.
        theirs: Another.

    Returns:
        The difference, in [-1, 1].
    """
    return ours["accuracy.final"] - theirs["accuracy.final"]


def _student(level: float, freedom: float) -> float:
    """How many standard errors hold all but a share `level` of differences that are none: Student's t."""
    from scipy.stats import t

    return float(t.ppf(1 - level / 2, freedom))
