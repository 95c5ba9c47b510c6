"""A run's numbers in, a verdict on the paper's claim out. Plain numbers only.

A difference counts as told apart when it is more than two standard errors; otherwise the verdict is that it cannot be
told at this scale. Where a sentence says "±", it is those two standard errors. Accuracies are in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """What a paper claims, what this run measured, and whether the claim held in it (None: it cannot be told)."""

    claim: str
    measured: str
    held: bool | None

    @property
    def word(self) -> str:
        return {True: "held", False: "did not hold", None: "cannot be told at this scale"}[self.held]

    def __str__(self) -> str:
        return f"{self.claim}: {self.word}\n   {self.measured}"


def all_of(parts: Sequence[bool | None]) -> bool | None:
    """False if any is False, else None if any is None or nothing was measured, else True."""
    return False if False in parts else None if None in parts or not parts else True


def standard_error(accuracies: Sequence[float], n: int) -> float:
    """Of the mean of runs scored on the same n images: sampling of images, and with two seeds or more the seeds' spread."""
    p = min(max(mean(accuracies), 0.5 / n), 1 - 0.5 / n)
    seeds = stdev(accuracies) ** 2 / len(accuracies) if len(accuracies) > 1 else 0.0
    return math.sqrt(p * (1 - p) / n + seeds)


def compare_accuracy(ours: Sequence[float], base: Sequence[float], n: int) -> tuple[float, float]:
    """The difference of two mean accuracies on n images, and its standard error.

    The images are the same for both, which makes this error a cautious one: it ignores that both err on the hard ones.
    """
    return mean(ours) - mean(base), math.hypot(standard_error(ours, n), standard_error(base, n))


def sign(difference: float, error: float) -> bool | None:
    """Whether a difference is positive; None within two standard errors."""
    return None if abs(difference) <= 2 * error else difference > 0


def paired(ours: Sequence[float], base: Sequence[float]) -> bool | None:
    """Whether a quantity measured on the same images is larger on average; None within two standard errors, or of one image.

    ValueError where the two are not of the same images.
    """
    if len(ours) != len(base):
        raise ValueError(f"paired values belong to the same images, got {len(ours)} and {len(base)}")
    gaps = [a - b for a, b in zip(ours, base, strict=True)]
    return sign(mean(gaps), stdev(gaps) / math.sqrt(len(gaps))) if len(gaps) > 1 else None


def points(accuracy: float) -> str:
    """A difference of accuracies in points, signed."""
    return f"{100 * accuracy:+.1f}"


def seeds(n: int) -> str:
    """How many trainings: "1 seed", "3 seeds"."""
    return f"{n} seed" + "s" * (n != 1)


def higher(claim: str, ours: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Whether one method's accuracy is above another's on n test images."""
    difference, error = compare_accuracy(ours, base, n)
    said = f"{mean(ours):.1%} against {mean(base):.1%}: {points(difference)} ± {200 * error:.1f} points ({seeds(len(ours))})"
    return Verdict(claim, said, sign(difference, error))


def in_order(claim: str, accuracy: Mapping[str, Sequence[float]], rising: Sequence[str], n: int) -> Verdict:
    """Whether accuracies on n images rise along a list of methods, each above the one before it."""
    said = " < ".join(f"{m} {mean(accuracy[m]):.1%}" for m in rising)
    steps = [compare_accuracy(accuracy[b], accuracy[a], n) for a, b in zip(rising, rising[1:], strict=False)]
    error = max(e for _, e in steps)
    return Verdict(
        claim,
        f"claimed {said}, each step ± {200 * error:.1f} points ({seeds(len(accuracy[rising[0]]))})",
        all_of([sign(*step) for step in steps]),
    )


def above_all(
    claim: str, accuracy: Mapping[str, Sequence[float]], ours: Sequence[str], others: Sequence[str], n: int
) -> Verdict:
    """Whether the best of our methods is above each of the others on n images. The best is chosen by these very images."""
    best = max(ours, key=lambda m: mean(accuracy[m]))
    found = {m: compare_accuracy(accuracy[best], accuracy[m], n) for m in others}
    said = ", ".join(f"{m} {points(d)} ± {200 * e:.1f}" for m, (d, e) in found.items())
    return Verdict(
        claim,
        f"{best} {mean(accuracy[best]):.1%}; above {said} points ({seeds(len(accuracy[best]))})",
        all_of([sign(*f) for f in found.values()]),
    )


def largest_gain(
    accuracy: Mapping[str, Sequence[float]],
    n: int,
    base: str = "vanilla",
    ours: Sequence[str] = ("drg", "dsr", "drg+dsr"),
    paper: float = 0.0287,
) -> Verdict:
    """Claim drg_c2: the best variant, chosen by these images, gains as much as the abstract's largest gain."""
    best = max(ours, key=lambda m: mean(accuracy[m]))
    difference, error = compare_accuracy(accuracy[best], accuracy[base], n)
    return Verdict(
        f"The largest gain reaches the paper's {100 * paper:.2f} points",
        f"{label(best)} {points(difference)} ± {200 * error:.1f} points ({seeds(len(accuracy[best]))})",
        sign(difference - paper, error),
    )


def gains(
    accuracy: Mapping[str, Sequence[float]], n: int, base: str = "vanilla", ours: Sequence[str] = ("drg", "dsr", "drg+dsr")
) -> Verdict:
    """Claim drg_c1: every variant beats vanilla training."""
    found = {m: compare_accuracy(accuracy[m], accuracy[base], n) for m in ours}
    error = max(e for _, e in found.values())
    said = ", ".join(f"{label(m)} {points(d)}" for m, (d, _) in found.items())
    return Verdict(
        "All variants beat vanilla training",
        f"against {mean(accuracy[base]):.1%}: {said} points, each ± {200 * error:.1f}",
        all_of([sign(*f) for f in found.values()]),
    )


def best_value(claim: str, grid: Mapping[float, Sequence[float]], paper_best: float, n: int) -> Verdict:
    """Whether a sweep's best value is the paper's. Only the best other value is compared.

    It cannot be told where the grid lacks the paper's value or holds nothing beside it.
    """
    if not grid:
        return Verdict(claim, f"no value was tried, the paper's is {paper_best:g}", None)
    best = max(grid, key=lambda v: mean(grid[v]))
    others = [v for v in grid if v != paper_best]
    if paper_best not in grid or not others:
        tried = ", ".join(f"{v:g} ({mean(grid[v]):.1%})" for v in grid)
        return Verdict(claim, f"tried {tried}: the paper's {paper_best:g} and another value are needed", None)
    rival = max(others, key=lambda v: mean(grid[v]))
    difference, error = compare_accuracy(grid[paper_best], grid[rival], n)
    return Verdict(
        claim,
        f"best here {best:g} ({mean(grid[best]):.1%}); the paper's {paper_best:g} has {mean(grid[paper_best]):.1%}, "
        f"{points(difference)} ± {200 * error:.1f} points beside {rival:g}",
        sign(difference, error),
    )


# paper 004


WRITTEN = {
    **{n: n.upper() for n in ("at", "byot", "cs-kd", "ddgsd", "dlb", "dml", "drg", "dsn", "dsr", "kd", "ps-kd", "sfr")},
    "fitnet": "FitNet",
    "self-guidance": "Self-Guidance",
}
"""Methods' names as the papers write them, where that differs."""


def label(name: str) -> str:
    """A method's name as its paper writes it, such as "DRG+DSR"; any other name as it is."""
    return "+".join(WRITTEN.get(part, part) for part in name.split("+"))


def one_classifier(extra: Mapping[str, int]) -> Verdict:
    """Fig. 1: multi-exit (a) adds a classifier to every block and DRG (d) one; the other kinds add nothing that is trained.

    extra: method -> numbers trained beside the network's own; "byot" and "drg" are among them.
    """
    said = ", ".join(f"{label(m)} {count:,}" for m, count in extra.items())
    none = all(count == 0 for m, count in extra.items() if m not in ("byot", "drg"))
    return Verdict(
        "DRG trains fewer auxiliary parameters than multi-exit, and the other kinds none",
        f"numbers trained beside the network's: {said}",
        none and 0 < extra["drg"] < extra["byot"],
    )


def shallow_exit(guided: Sequence[int], stages: int, deployed: int, plain: int) -> Verdict:
    """Fig. 2 left: one auxiliary classifier on a shallow stage is all that DRG adds, and it is not deployed.

    guided: stages with a classifier, counted from 1. deployed, plain: the parameters of DRG's network and of vanilla's.
    """
    return Verdict(
        "One shallow classifier is added, and none deployed",
        f"on stage {' and '.join(map(str, guided))} of {stages}; deployed {deployed:,} parameters, vanilla {plain:,}",
        len(guided) == 1 and guided[0] < stages and deployed == plain,
    )


def as_printed(equation: str, by_hand: float, computed: float) -> Verdict:
    """Whether a loss is its equation, as computed by hand on the same batch, to 1 part in 10,000."""
    return Verdict(
        f"The loss that is trained is {equation}",
        f"{computed:.6f}, by hand {by_hand:.6f}",
        math.isclose(by_hand, computed, rel_tol=1e-4),
    )


def constant_teacher(kl: float, labels: float) -> Verdict:
    """Alg. 1: the shallow classifier learns from the labels alone; its side of the KL is constant.

    kl, labels: the largest |gradient| that the term sends to the classifier's weights.
    """
    return Verdict(
        "The shallow classifier learns from the labels, not from the KL",
        f"largest gradient at its weights: {kl:.2g} from the KL, {labels:.2g} from the labels",
        kl == 0 < labels,
    )


def blind_to_names(value: float, renamed: float) -> Verdict:
    """Alg. 2: the outputs are ranked, so that Eq. 11 stays what it is when the classes trade their names."""
    return Verdict(
        "DSR does not see which class is which",
        f"Eq. 11 is {value:.6f}, with the classes in reverse {renamed:.6f}",
        math.isclose(value, renamed, rel_tol=1e-4),
    )


def variance_falls(spearman: Mapping[str, float], of: str = "probabilities") -> Verdict:
    """Fig. 3 left: the variance of ranked outputs decreases in training. of: which outputs; the paper does not say."""
    said = ", ".join(f"{label(name)} {rho:+.2f}" for name, rho in spearman.items())
    return Verdict(
        f"The variance of ranked outputs falls while the network learns, read as {of}",
        f"Spearman's ρ of epoch and variance: {said}",
        all_of([rho < 0 if math.isfinite(rho) else None for rho in spearman.values()]),
    )


def variance_against_accuracy(pearson: Mapping[str, float], of: str = "probabilities") -> Verdict:
    """Fig. 3 right: strongly negative correlation, taken as r < -0.5 for every run. of: which outputs."""
    said = ", ".join(f"{label(name)} {r:+.2f}" for name, r in pearson.items())
    return Verdict(
        f"Ranked variance is strongly negatively correlated with accuracy, read as {of}",
        f"Pearson's r: {said}",
        all_of([r < -0.5 if math.isfinite(r) else None for r in pearson.values()]),
    )


def faster(ours: Any, other: Any) -> bool | None:
    """Whether one timing is below another: seconds, or anything with `median`, `low` and `high`, such as analysis.Timing.

    None where the ranges from low to high overlap. Plain seconds have no range: then the smaller one is faster.
    """
    low, high = (getattr(ours, "low", ours), getattr(ours, "high", ours))
    if high < getattr(other, "low", other):
        return True
    return False if low >= getattr(other, "high", other) else None


def cost(seconds: Mapping[str, Any], size: Mapping[str, float]) -> Verdict:
    """Fig. 4: DRG+DSR is cheaper in time than BYOT and DLB, and in space than BYOT. DLB adds no parameters.

    seconds: per iteration, as `faster` takes them; or what they are beside one and the same step's, round by round
    (`analysis.relative_time`), which a busy spell of the machine does not move. Tested is "less", not the ratios: they belong
    to the paper's machine.
    """
    ratio = {m: _median(seconds["drg+dsr"]) / _median(seconds[m]) for m in ("byot", "dlb")}
    space = size["drg+dsr"] / size["byot"]
    return Verdict(
        "DRG+DSR takes less time than BYOT and DLB and less space than BYOT (the paper: about 0.70, and 0.67 to 0.83)",
        f"{ratio['byot']:.2f} of BYOT's time and {ratio['dlb']:.2f} of DLB's; {space:.2f} of BYOT's space",
        all_of([*(faster(seconds["drg+dsr"], seconds[m]) for m in ratio), space < 1]),
    )


def _median(timing: Any) -> float:
    return getattr(timing, "median", timing)


def less_confident(entropy: Mapping[str, float | Sequence[float]], ece: Mapping[str, float], base: str = "vanilla") -> Verdict:
    """Fig. 5: flatter ranked probabilities than the baseline, by entropy over the test set (nats).

    entropy: of every test image, the same images for all: then the errors are of paired differences. Of means alone the sign
    counts, however small the difference: they carry no error, so that it can always be told.
    """
    ours = [m for m in entropy if m != base]
    average = {m: e if isinstance(e, int | float) else mean(e) for m, e in entropy.items()}
    means_alone = any(isinstance(e, int | float) for e in entropy.values())
    said = ", ".join(f"{label(m)} {average[m]:.2f} (ECE {ece[m]:.3f})" for m in (base, *ours))
    return Verdict(
        "The networks become less over-confident: flatter ranked probabilities",
        f"mean entropy {said}",
        all_of([average[m] > average[base] if means_alone else paired(entropy[m], entropy[base]) for m in ours]),
    )


def merged_attention(drg_ac: Sequence[float], drg_byot: Sequence[float], ac_byot: Sequence[float]) -> Verdict:
    """Fig. 8: DRG's heat maps overlap with the shallow exit's and with BYOT's more than those two with each other.

    Overlaps per image; the errors are of paired differences.
    """
    return Verdict(
        "DRG merges the attention of the shallow exit and of the whole network",
        f"mean overlap DRG with shallow {mean(drg_ac):.2f}, DRG with BYOT {mean(drg_byot):.2f}, "
        f"shallow with BYOT {mean(ac_byot):.2f}",
        all_of([paired(ours, ac_byot) for ours in (drg_ac, drg_byot)]),
    )


def clearer_separation(silhouette: Mapping[str, Sequence[float]], purity: Mapping[str, Sequence[float]]) -> Verdict:
    """Fig. 9: DSR separates classes more clearly than vanilla training and DRG, by silhouette and by neighbours' classes.

    Both: method -> on disjoint parts of the images, the same parts for every method.
    """
    said = ", ".join(f"{label(m)} {mean(silhouette[m]):.3f} / {mean(purity[m]):.1%}" for m in silhouette)
    ahead = [paired(x["dsr"], x[m]) for x in (silhouette, purity) for m in ("vanilla", "drg")]
    return Verdict(
        "DSR shows a clearer decision boundary than vanilla training and DRG",
        f"silhouette / neighbours of the same class: {said}",
        all_of(ahead),
    )


def block_choice(accuracy: Mapping[str, Sequence[float]], seconds: Mapping[str, Any], n: int) -> Verdict:
    """Table IV: one exit on block 2 is best of one, block 3 the worst, and pairs cost more time (the paper: 17 to 22 %).

    seconds: as `cost` takes them.
    """
    first = sign(*compare_accuracy(accuracy["2"], accuracy["1"], n))
    last = sign(*compare_accuracy(accuracy["1"], accuracy["3"], n))
    couples = ("1+2", "1+3", "2+3")
    alone = ", ".join(f"block {b} {mean(accuracy[b]):.1%}" for b in ("1", "2", "3"))
    pairs = ", ".join(f"{b} x{_median(seconds[b]) / _median(seconds['2']):.2f}" for b in couples)
    return Verdict(
        "One exit on block 2 is enough: B2 > B1 > B3, and pairs cost more time (the paper: 17 to 22 %)",
        f"{alone}; time against block 2: {pairs}",
        all_of([first, last, *(faster(seconds["2"], seconds[b]) for b in couples)]),
    )
