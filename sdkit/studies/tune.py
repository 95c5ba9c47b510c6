"""Equal tuning: every method gets as many tries of its main weight as every other, chosen on validation images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from ..core import Knob
from ..experiment import Experiment, Trained
from ..experiment.sweep import taught_by
from .execute import ENDED
from .gather import gather

N = TypeVar("N", bound=Hashable)  # the name of a row

STEP = 10**0.5
"""A try's weight, or for a share its odds, over that of the try beside it."""

EDGE = 0.05
"""A share of 0 or 1 has no odds: its other tries are those of a share so far from the end."""


class Lost(float):
    """The accuracy of a training that diverged, or whose teacher did: 0, which a table tells from one that was measured."""


class Try(NamedTuple):
    """One setting of a method's main weight."""

    knobs: dict[str, float]  # the main weight, or those of methods that train together
    validation: list[float]  # accuracy in [0, 1], a value a seed; what diverged counts as 0


class Tuned(NamedTuple):
    """A method with its paper's knobs, and with the best of its tries. Accuracies in [0, 1]."""

    tries: list[Try]  # the paper's first
    chosen: Try  # the best on validation images
    paper: list[float]  # test accuracy with the paper's knobs, no training image set aside, a value a seed
    tuned: list[float]  # the same of the chosen


class EqualTuning(NamedTuple):
    """Methods with their papers' knobs and tuned alike. Printed, it is the table of both."""

    rows: dict[str, Tuned]
    tries: int

    def __str__(self) -> str:
        """A row a method: the accuracy on test images with the paper's knobs, tuned alike, and what was chosen."""
        lines = [
            f"{'':18}{'paper' + chr(39) + 's knobs':>18}{f'tuned alike, {self.tries} tries':>24}   chosen on validation images"
        ]
        for name, row in self.rows.items():
            chosen = ", ".join(f"{k} {v:.3g}" for k, v in row.chosen.knobs.items()) or "nothing to tune"
            same = " (the paper's)" if row.chosen is row.tries[0] and row.chosen.knobs else ""
            runs = [v for t in row.tries for v in t.validation] + row.paper
            runs += row.tuned if row.chosen is not row.tries[0] else []  # else the very same
            lines.append(f"{name:18}{_mean(row.paper):>18}{_mean(row.tuned):>24}   {chosen}{same}{_lost(runs)}")
        return "\n".join(lines)


def tune(
    experiments: Mapping[str, Experiment], tries: int = 5, seeds: Iterable[int] = (0,), validation: int = 500,
    jobs: int | None = None, progress: bool = True, own: bool = False,
) -> EqualTuning:  # fmt: skip
    """Gives every method the same number of tries of its main weight, and tells what that is worth beside its paper's knobs.

    The main weight is the first of a method's `knobs`. Its tries are its value in the experiment and steps of half a power of
    ten around it, of a share in [0, 1] in its odds; of methods that train together all main weights move by the same step.
    The mean accuracy over the seeds on validation images, set aside from the training images, chooses. Then the chosen and the
    given knobs are trained with no image set aside, and both are reported on test images, which chose nothing. A method
    without a main weight, such as plain training, has one try and two equal columns.
    Every training is a run that is stored: a call that was interrupted goes on, and one more method trains that method alone.
    What is recorded in git is not trained.

    Args:
        experiments: by the name of the row; what is said in `knobs` counts as the paper's.
        tries: of each method, its paper's knobs among them.
        seeds: of every try.
        validation: how many training images choose.
        jobs: as `run_all`'s.
        progress: whether a bar is shown.
        own: whether to train what is only recorded.

    Returns:
        A row for every experiment.

    Raises:
        ValueError: fewer than two tries, no seed or no image to choose by.
        RuntimeError: a run has no result, of a cluster: nothing is chosen without it.
    """
    seeds = list(seeds)
    if tries < 2 or not seeds or validation < 1:
        raise ValueError(
            f"equal tuning has two tries and more, a seed and an image to choose by, got {tries} tries, {len(seeds)} seeds and "
            f"validation={validation}"
        )
    found = tried(experiments, tries, seeds, validation, jobs, progress, own)
    chosen = {name: best(listed) for name, listed in found.items()}
    last = {
        (name, what, seed): _on(replace(e, knobs={**e.knobs, **knobs}, seed=seed), 0)
        for name, e in experiments.items()
        for what, knobs in (("paper", found[name][0].knobs), ("tuned", chosen[name].knobs))
        for seed in seeds
    }
    ended = gather(last, own, jobs, progress)
    tested = {key: _test(t) for key, t in zip(ended, whole(ended.values()), strict=True)}
    rows = {
        name: Tuned(found[name], chosen[name], *([tested[name, what, s] for s in seeds] for what in ("paper", "tuned")))
        for name in experiments
    }
    return EqualTuning(rows, tries)


def tried(
    experiments: Mapping[N, Experiment], tries: int, seeds: Sequence[int], validation: int,
    jobs: int | None = None, progress: bool = True, own: bool = False,
) -> dict[N, list[Try]]:  # fmt: skip
    """Trains the tries of every method; see `tune`.

    Returns:
        Of every experiment its tries, the given knobs first; the one try of a method without a main weight is not trained.
    """
    search = tries_of(experiments, tries, seeds, validation)
    ended = gather(search, own, jobs, progress)
    whole(ended.values())
    return {
        name: [
            Try(knobs, [_validation(ended[name, i, s]) for s in seeds if (name, i, s) in ended])
            for i, knobs in enumerate(settings(e, tries))
        ]
        for name, e in experiments.items()
    }


def tries_of(
    experiments: Mapping[N, Experiment], tries: int, seeds: Iterable[int], validation: int
) -> dict[tuple[N, int, int], Experiment]:
    """(Row, number of the try, seed) -> what is trained to choose."""
    given = {name: settings(e, tries) for name, e in experiments.items()}
    return {
        (name, i, seed): _on(replace(e, knobs={**e.knobs, **knobs}, seed=seed), validation)
        for seed in seeds
        for name, e in experiments.items()
        for i, knobs in enumerate(given[name] if len(given[name]) > 1 else [])
    }


def best(listed: Sequence[Try]) -> Try:
    """The try with the best mean on validation images; of equals the first."""
    return max(listed, key=lambda t: statistics.mean(t.validation or [0.0]))


def settings(experiment: Experiment, tries: int) -> list[dict[str, float]]:
    """The tries of an experiment's main weight, its own value first; of several methods of each the same step."""
    several = len(experiment.parts) > 1
    main = {
        f"{part}.{name}" if several else name: kind.knobs[name]
        for part, kind in experiment.methods.items()
        for name in list(kind.knobs)[:1]
    }
    if not main:
        return [{}]
    own = {name: float(experiment.knobs[name]) for name in main}
    steps = [(i // 2 + 1) * (1 if i % 2 else -1) for i in range(tries - 1)]  # -1, 1, -2, 2, ...
    return [own, *({name: moved(knob, own[name], step) for name, knob in main.items()} for step in steps)]


def moved(knob: Knob, value: float, steps: int) -> float:
    """A weight that many steps from a value, down below 0: multiplied, and of a share its odds."""
    if math.isinf(knob.most):
        return max((value or EDGE) * STEP**steps, knob.least)
    share = min(max(value, EDGE), 1 - EDGE)
    odds = share / (1 - share) * STEP**steps
    return odds / (1 + odds)


def _on(experiment: Experiment, validation: int) -> Experiment:
    """The same with so many training images set aside to choose by: from its teacher, too, which would know them else."""
    dataset = {k: v for k, v in experiment.dataset.items() if k != "validation"}
    dataset |= {"validation": validation} if validation else {}
    teacher = experiment.teacher and _on(experiment.teacher, validation)
    return replace(experiment, dataset=dataset, teacher=teacher)


def whole(gathered: Iterable[Trained]) -> list[Trained]:
    """Trainings that each have a result, or have none because they or their teachers diverged.

    Args:
        gathered: as `gather` gives them.

    Returns:
        The same.

    Raises:
        RuntimeError: one raised an error, or was given up, on a cluster.
    """
    done = list(gathered)
    lost = [t.experiment for t in done if t.run.status not in ENDED]
    lost = [e for e in lost if all(teacher.stored.status != "diverged" for teacher in taught_by(e))]
    if lost:
        raise RuntimeError(
            f"{len(lost)} of {len(done)} runs have no result, and nothing is chosen without them: the same call trains them; "
            f"if it cannot, leave out what they try. The first is {lost[0]}"
        )
    return done


def _validation(trained: Trained) -> float:
    """Accuracy after the last epoch; 0 of a training that diverged."""
    return trained.validation_accuracy if trained.run.status == "done" else Lost()


def _test(trained: Trained) -> float:
    """Accuracy on the test set after the last epoch; 0 of a training that diverged, or that lacks its teacher."""
    return trained.accuracy if trained.run.status == "done" else Lost()


def _mean(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread} %"


def _lost(values: Iterable[float]) -> str:
    """What must stand behind a mean in which trainings that diverged count as 0; else ""."""
    n = sum(isinstance(v, Lost) for v in values)
    return f", {n} diverged, counted as 0" if n else ""
