"""Paper 001's claims on a run's own numbers. Accuracies are in [0, 1], over seeds; n is how many images they are counted on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from .checks import Verdict, all_of, compare_accuracy, higher, points, seeds, sign

RANGE = 0.01
"""What figures.csv calls insensitive: the largest and the smallest mean accuracy differ by at most one point."""


def no_parameters(ours: int, base: int) -> Verdict:
    """Claim ddgsd_c2, Fig. 2: one classifier for both streams, nothing besides the network."""
    return Verdict("DDGSD adds no parameters", f"{ours:,} trained numbers against {base:,}", ours == base)


def second_network(views: int, peers: int, network: int) -> Verdict:
    """Fig. 1: a fellow student (b) is a second network, a second view of the data (c) is none. Counts of trained numbers."""
    return Verdict(
        "A fellow student is a second network, a second view is none",
        f"beside the network's {network:,} trained numbers (b) adds {peers:,}, (c) {views:,}",
        views == 0 and peers >= network,
    )


def beats(ours: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Claim ddgsd_c3: the error falls. The baseline saw each image once a step where DDGSD sees it twice."""
    return higher("DDGSD reduces the error against plain training", ours, base, n)


def beyond_a_point(ours: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Claim ddgsd_c4: with many classes the gain is more than a point."""
    gain, error = compare_accuracy(ours, base, n)
    said = f"{points(gain)} ± {200 * error:.1f} points ({seeds(len(ours))})"
    return Verdict("The gain with many classes is more than a point", said, sign(gain - 0.01, error))


def gains_more(
    many: tuple[Sequence[float], Sequence[float], int], few: tuple[Sequence[float], Sequence[float], int]
) -> Verdict:
    """Claim ddgsd_c5: the gain is larger with more classes. Each: accuracies with DDGSD and without, and on how many images."""
    found = [compare_accuracy(*each) for each in (many, few)]
    said = " and ".join(f"{points(gain)} ± {200 * error:.1f}" for gain, error in found)
    return Verdict(
        "The gain is larger with many classes than with few",
        f"{said} points",
        sign(found[0][0] - found[1][0], math.hypot(*(error for _, error in found))),
    )


def beats_two_branch(ours: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Table 6: against the same two views with labels alone, which costs the same and sees the same images."""
    return higher("DDGSD reduces the error against two branches with labels alone, which cost the same", ours, base, n)


def insensitive(grid: Mapping[float, Sequence[float]], n: int, high: float = 10.0) -> Verdict:
    """Claim ddgsd_c8, Table 5: over a wide range of the weight of MMD the error hardly moves.

    Held where the mean accuracies below `high` lie within a point; noise can only widen their range. It did not hold where
    the range is above a point by more than two standard errors.
    """
    inside = {v: a for v, a in grid.items() if v < high}
    claim = "The error hardly depends on µ (the paper's 0 to 0.01): at most one point from best to worst"
    if len(inside) < 2:
        return Verdict(claim, f"tried {len(inside)} value(s) below {high:g}: two or more are needed", None)
    best, worst = (f(inside, key=lambda v: mean(inside[v])) for f in (max, min))
    spread, error = compare_accuracy(inside[best], inside[worst], n)
    said = f"best at {best:g}, worst at {worst:g}: {100 * spread:.1f} ± {200 * error:.1f} points apart"
    return Verdict(claim, said, True if spread <= RANGE else False if spread - RANGE > 2 * error else None)


def too_much(grid: Mapping[float, Sequence[float]], n: int, default: float = 5e-4, high: float = 10.0) -> Verdict:
    """Claim ddgsd_c8, text: an overly high weight of MMD degrades."""
    claim = f"An overly high µ ({high:g}) is worse than {default:g}"
    if default not in grid or high not in grid:
        return Verdict(claim, f"both values are needed, tried {', '.join(f'{v:g}' for v in grid)}", None)
    difference, error = compare_accuracy(grid[default], grid[high], n)
    said = (
        f"accuracy {mean(grid[high]):.1%} against {mean(grid[default]):.1%}: "
        f"{points(-difference)} ± {200 * error:.1f} points ({seeds(len(grid[high]))})"
    )
    return Verdict(claim, said, sign(difference, error))


def components(rows: Mapping[str, Sequence[float]], n: int) -> list[Verdict]:
    """Claim ddgsd_c9, Table 6. rows: "baseline", "two-branch", "MMD", "KL", "SD" -> accuracies.

    That labels alone do not help holds where a gain of a point would have been seen; a wide error is no proof of it.
    """
    gap, error = compare_accuracy(rows["two-branch"], rows["baseline"], n)
    clear = sign(gap, error)
    said = f"{points(gap)} ± {200 * error:.1f} points against the baseline"
    little = True if gap + 2 * error <= RANGE else None  # an error that would hide a gain of a point shows none
    labels = Verdict("Two branches with labels alone do not clearly help", said, False if clear else little)
    found = {r: compare_accuracy(rows[r], rows["two-branch"], n) for r in ("MMD", "KL")}
    said = ", ".join(f"{r} {points(d)} ± {200 * e:.1f}" for r, (d, e) in found.items())
    each = Verdict("MMD alone and KL alone each help (against two branches)", said, all_of([sign(*f) for f in found.values()]))
    best = {r: compare_accuracy(rows["SD"], rows[r], n) for r in ("KL", "MMD")}
    said = ", ".join(f"{points(d)} ± {200 * e:.1f} against {r}" for r, (d, e) in best.items())
    return [labels, each, Verdict("Both together are best", said, all_of([sign(*b) for b in best.values()]))]


def less_reliant(ours: Sequence[float], base: Sequence[float]) -> Verdict:
    """Claim ddgsd_c10: the area under the ablation curve, one value for every random order."""
    difference = mean(ours) - mean(base)
    error = math.hypot(*(stdev(a) / math.sqrt(len(a)) if len(a) > 1 else math.inf for a in (ours, base)))
    said = f"area {mean(ours):.3f} against {mean(base):.3f}: {difference:+.3f} ± {2 * error:.3f} ({len(ours)} orders)"
    return Verdict("DDGSD rests less on single feature maps", said, sign(difference, error))
