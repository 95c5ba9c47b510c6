"""Paper 002's claims on a run's own numbers. Accuracies are in [0, 1], over seeds; n is how many images they are counted on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from .checks import Verdict, all_of, compare_accuracy, higher, points, seeds, sign, standard_error

STALLS = 0.01
"""A test error that falls by less than a point over the last quarter of the training counts as stalled. Our reading."""


def schedule(survival: Sequence[float], last: float = 0.5) -> Verdict:
    """Fig. 1: earlier blocks survive more, the last with probability 0.5."""
    said = ", ".join(f"{p:.2g}" for p in survival)
    falls = all(a > b for a, b in zip(survival, survival[1:], strict=False))
    return Verdict(f"Survival falls from block to block, to {last:g}", said, falls and math.isclose(survival[-1], last))


def no_parameters(ours: int, base: int) -> Verdict:
    """Claim sg_c10: nothing is added to the network."""
    return Verdict("Self-Guidance adds no parameters", f"{ours:,} trained numbers against {base:,}", ours == base)


def beats(ours: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Claim sg_c1: the error falls."""
    return higher("Self-Guidance reduces the error against plain training", ours, base, n)


def smaller_gap(
    train: Mapping[str, float], test: Mapping[str, float], n_train: int, n_test: int, ours: str = "self-guidance"
) -> Verdict:
    """Claim sg_c5, Fig. 2: the last epoch's gap between training and test error is smaller than that of "vanilla".

    train: accuracy on the augmented training images, test: on clean test images, each by method.
    """
    gap = {m: train[m] - test[m] for m in train}
    error = math.sqrt(sum(standard_error([a[m]], n) ** 2 for m in train for a, n in ((train, n_train), (test, n_test))))
    difference = gap["vanilla"] - gap[ours]
    said = f"test - train error {points(gap[ours])} against {points(gap['vanilla'])} points, ± {200 * error:.1f}"
    return Verdict("The gap between training and test error shrinks", said, sign(difference, error))


def keeps_improving(ours: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Claim sg_c5, Fig. 2: after three quarters of training the standard network stalls, ours improves on.

    ours, base: test accuracy after every epoch. Under a schedule without the paper's drop at 75 % both may still move.
    """
    claim = "After 75 % of training the plain network stalls while Self-Guidance still improves"
    if len(ours) < 8 or len(base) < 8:
        return Verdict(claim, f"{min(len(ours), len(base))} epochs are too few to tell a trend (8 or more)", None)
    found = [compare_accuracy([a[-1]], [a[round(0.75 * len(a)) - 1]], n) for a in (ours, base)]
    (up, up_error), (flat, flat_error) = found
    said = f"test accuracy from 75 % to the end: {points(up)} with, {points(flat)} without, each ± {200 * up_error:.1f} points"
    stalls = False if flat - STALLS > 2 * flat_error else True if flat <= STALLS else None
    return Verdict(claim, said, all_of([sign(up, up_error), stalls]))


def blows_up(accuracy: Sequence[float], diverged: int, chance: float, n: int, lam: float = 3.0) -> Verdict:
    """Claim sg_c6, Table 5: at λ = 3 the training blows up on CIFAR-10 (90 % error; not on CIFAR-100).

    accuracy: of the seeds that ended, diverged: how many did not. A run has blown up where its loss is no number any more, or
    where its accuracy is not above chance.
    """
    lost = diverged + sum(not sign(a - chance, standard_error([a], n)) for a in accuracy)
    total = diverged + len(accuracy)
    said = f"{lost} of {total} runs ({diverged} without a finite loss)" + (
        f"; accuracy of those that ended {mean(accuracy):.1%}" if accuracy else ""
    )
    return Verdict(
        f"Training blows up at λ = {lam:g}", said, None if not total else lost == total if lost in (0, total) else None
    )


def components(rows: Mapping[str, Sequence[float]], n: int) -> list[Verdict]:
    """Claims sg_c7 and sg_c8, Table 6. rows: "baseline", "stochastic depth", "λ = 0", "no teacher backward", "full"."""
    full, zero, still = (rows[r] for r in ("full", "λ = 0", "no teacher backward"))
    order = [compare_accuracy(full, zero, n), compare_accuracy(zero, still, n)]
    said = (
        f"full {mean(full):.1%}, λ = 0 {mean(zero):.1%}, no backward {mean(still):.1%}, "
        f"differences ± {200 * max(e for _, e in order):.1f} points ({seeds(len(full))})"
    )
    first = Verdict("Full is better than λ = 0, and that better than no backward pass of the teacher", said,
                    all_of([sign(*o) for o in order]))  # fmt: skip
    if min(len(a) for a in (full, still)) < 3:
        spread = Verdict("Without the teacher's backward pass runs differ more", "three seeds or more are needed", None)
    else:
        said = f"sd over {len(still)} seeds {100 * stdev(still):.1f} against {100 * stdev(full):.1f} points"
        ratio = stdev(still) / max(stdev(full), 1e-9)
        # of two samples of k seeds the ratio of deviations must be well above 1 to mean anything
        limit = {3: 4.4, 4: 3.0, 5: 2.5}.get(min(len(full), len(still)), 2.0)  # F test at 5 %, one-sided
        spread = Verdict("Without the teacher's backward pass runs differ more", said,
                         True if ratio > limit else False if ratio < 1 / limit else None)  # fmt: skip
    gap, error = compare_accuracy(zero, rows["stochastic depth"], n)
    near = True if abs(gap) + 2 * error < 0.005 else False if abs(gap) - 2 * error > 0.005 else None
    alike = Verdict("λ = 0 is about stochastic depth (within half a point)", f"{points(gap)} ± {200 * error:.1f} points", near)
    return [first, spread, alike]


def teacher_is_tighter(silhouette: Mapping[str, Sequence[float]], teacher: str = "teacher") -> Verdict:
    """Claim sg_c9, Fig. 5: at the end the teacher's classes are more concentrated than those of every student.

    silhouette: row -> of every column, early to late. Single numbers of one run: the sign counts.
    """
    said = ", ".join(f"{name} {s[-1]:.3f}" for name, s in silhouette.items())
    students = [s[-1] for name, s in silhouette.items() if name != teacher]
    return Verdict(
        "The teacher's clusters are tighter than the students'", f"silhouette {said}", silhouette[teacher][-1] > max(students)
    )


def students_differ(similarity: float, of_itself: float) -> Verdict:
    """Claim sg_c9: students of equal capacity see the same images differently. Linear CKA, 1: alike up to rotation and scale.

    of_itself: CKA of one student with itself on other images' batch statistics: what chance alone takes away.
    """
    said = f"CKA of A and B {similarity:.3f}; of A with itself under other batch statistics {of_itself:.3f}"
    return Verdict("Students of equal capacity differ", said, similarity < of_itself)


def separates(silhouette: Mapping[str, Sequence[float]]) -> Verdict:
    """Claim sg_c9: features separate more as training goes on."""
    said = "; ".join(f"{name} " + ", ".join(f"{v:.2f}" for v in s) for name, s in silhouette.items())
    rises = [all(b >= a for a, b in zip(s, s[1:], strict=False)) for s in silhouette.values()]
    return Verdict("The classes separate more as training goes on", f"silhouette {said}", all(rises))


def skipped_cost(measured: float, expected: float, full: float, tolerance: float = 0.05) -> Verdict:
    """The sampled student computes only what it kept: mean FLOPs of sampled passes against the expectation over the masks."""
    said = f"{measured / full:.3f} of the whole network's FLOPs, expected {expected / full:.3f}"
    return Verdict("Skipped blocks are not computed", said, abs(measured / expected - 1) <= tolerance)
