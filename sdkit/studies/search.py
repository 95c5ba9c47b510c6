"""A search of hyperparameters: every setting at every seed, chosen on validation images, reported on test images."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from ..core import as_declared
from ..experiment import Experiment
from .gather import gather
from .grid import points, put
from .tune import _lost, _mean, _on, _test, _validation, whole


class Setting(NamedTuple):
    """One setting of the searched fields. Accuracies in [0, 1], a value a seed; what diverged counts as 0."""

    at: dict[str, Any]  # field -> value
    validation: list[float]  # of the images that were set aside: what chooses
    test: list[float]  # of the same networks: what chose nothing

    @property
    def mean(self) -> float:
        """Validation accuracy, mean over the seeds."""
        return statistics.mean(self.validation)


class Search(NamedTuple):
    """What a search found. Printed, it is a table."""

    base: Experiment
    names: tuple[str, ...]  # the fields that were searched
    settings: list[Setting]  # in the order they were asked for
    chosen: Setting  # the best on validation images, mean over the seeds
    tested: list[float]  # test accuracy of the chosen, no training image set aside, a value a seed
    seeds: tuple[int, ...]
    validation: int  # how many training images chose

    def __str__(self) -> str:
        """A row a setting, then what was chosen by which images and what it does on others."""
        heads = [*self.names, f"validation, {self.validation} images", "test, of the same"]
        rows = [[*map(_written, s.at.values()), _mean(s.validation), _mean(s.test)] for s in self.settings]
        wide = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, wide, strict=True)) for row in (heads, *rows)]
        lines = [line + lost for line, lost in zip(lines, ["", *(_lost(s.test) for s in self.settings)], strict=True)]
        lines[1 + self.settings.index(self.chosen)] += "  <- chosen"
        at = ", ".join(f"{name} {_written(value)}" for name, value in self.chosen.at.items())
        seeds = f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}"
        return "\n".join([
            *lines,
            f"chosen on the validation images: {at} ({_mean(self.chosen.validation)}, {seeds}{_lost(self.chosen.test)})",
            f"on the test images, which chose nothing, trained on {self._of(self.chosen)}all training images: "
            f"{_mean(self.tested)} ({seeds}{_lost(self.tested)})",
        ])  # fmt: skip

    def _of(self, setting: Setting) -> str:
        """How many of the images that are left were trained on, where not all."""
        size = put(self.base, setting.at).dataset.get("train_size")
        return f"{size} of " if size else ""

    def csv(self) -> str:
        """A row a run: its setting, its seed, its accuracies in [0, 1], and the images that it was trained on."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow([*self.names, "seed", "validation_accuracy", "test_accuracy", "trained_on", "chosen"])
        for s in self.settings:
            for seed, val, test in zip(self.seeds, s.validation, s.test, strict=True):
                last = [f"{self._of(s)}all but the validation images", int(s is self.chosen)]
                table.writerow([*map(_written, s.at.values()), seed, val, test, *last])
        images = f"{self._of(self.chosen)}all training images"
        for seed, test in zip(self.seeds, self.tested, strict=True):
            table.writerow([*map(_written, self.chosen.at.values()), seed, "", test, images, 1])
        return out.getvalue()


def searched(base: Experiment, over: Mapping[str, Any], seeds: Iterable[int], validation: int = 500) -> list[Experiment]:
    """The trainings of a search, every setting at one seed before the next seed.

    Args:
        base: what stays as it is.
        over: the fields that are searched, as `search` takes them.
        seeds: of every setting.
        validation: how many training images are set aside to choose by.

    Returns:
        The experiments, with the images set aside.

    Raises:
        KeyError: a field that nothing has.
        ValueError: fewer than two settings, no seed, no image to choose by, or a value that its field refuses.
    """
    found, each_seed = points(over), list(seeds)
    if len(found) < 2 or not each_seed or validation < 1:
        raise ValueError(
            "a search has two settings and more, a seed and an image to choose by, got "
            f"{len(found)} settings, {len(each_seed)} seeds and validation={validation}"
        )
    each = [_on(put(base, point), validation) for point in found]
    return [replace(e, seed=seed) for seed in each_seed for e in each]


def search(
    base: Experiment, over: Mapping[str, Any], seeds: Iterable[int] = range(3), validation: int = 500,
    jobs: int | None = None, progress: bool = True, own: bool = False,
) -> Search:  # fmt: skip
    """Trains every setting at every seed, chooses one on validation images, and reports that one on test images.

    The mean accuracy over the seeds on validation images, set aside from the training images, chooses, as in `tune`. Then the
    chosen setting is trained with no image set aside, and tested on test images, which chose nothing.
    Every training is a run that is stored: a call that was interrupted goes on, and one value more trains that value alone.

    Args:
        base: what stays as it is; its own seed says nothing.
        over: a field's name -> its values: `{"alpha": {"log": [0.01, 1, 7]}, "temperature": [1, 2, 4]}`. A name is that of a
            knob, a field of the recipe, an option of the network or of the data set, in full "recipe.lr" or "network.width".
            Values are a list, numbers between two ends, {"log" | "linear" | "whole": [low, high, n]}, or random draws,
            {"random": {"log": [low, high]}, "n": 8, "seed": 0}.
        seeds: of every setting.
        validation: how many training images choose.
        jobs: as `run_all`'s.
        progress: whether a bar is shown.
        own: whether to train what is only recorded.

    Returns:
        Every setting, the chosen one, and what that does on test images.

    Raises:
        KeyError: a field that nothing has.
        ValueError: fewer than two settings, no seed, no image to choose by, or a value that its field refuses.
        RuntimeError: a run has no result, of a cluster: nothing is chosen without it.
    """
    seeds = [as_declared("a search's seed", seed, int) for seed in seeds]
    listed = searched(base, over, seeds, validation)
    done = whole(gather(listed, own, jobs, progress))
    found = points(over)
    settings = [
        Setting(point, [_validation(t) for t in done[i :: len(found)]], [_test(t) for t in done[i :: len(found)]])
        for i, point in enumerate(found)
    ]
    chosen = max(settings, key=lambda s: s.mean)
    last = [_on(replace(put(base, chosen.at), seed=seed), 0) for seed in seeds]
    tested = [_test(t) for t in whole(gather(last, own, jobs, progress))]
    return Search(base, tuple(over), settings, chosen, tested, tuple(seeds), validation)


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
