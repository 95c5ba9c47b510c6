"""Verdicts on paper 000 (SFR). Its record is withdrawn: `PAPERS["sfr"].notice` stands beside every number of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from .checks import Verdict, all_of, compare_accuracy, points, sign

LATENCY = (0.95, 1.05)
"""The ratio of two networks' times that counts as the same response time."""


def every_map_named(words: Sequence[str], students: Sequence[str], teacher: str) -> Verdict:
    """Fig. 1: the diagram names every student stage and the teacher map of the network that is trained."""
    missing = [name for name in (*students, teacher) if not any(name in word for word in words)]
    return Verdict(
        "The diagram names every student stage and the teacher map of the network",
        f"{len(students)} student stages and {teacher}" + (f"; missing: {', '.join(missing)}" if missing else ", all named"),
        not missing,
    )


def near_exact(sinkhorn: Sequence[float], exact: Sequence[float], error: float, margin: float = 0.15) -> Verdict:
    """Whether the distances of the training loop are the linear program's, to a share of its mean.

    error: the Sinkhorn plans' marginal error. A plan that moves less than all of it may look cheaper than the optimum.
    """
    gap = mean(abs(s - e) for s, e in zip(sinkhorn, exact, strict=True)) / mean(exact)
    return Verdict(
        f"Sinkhorn's distance is within {margin:.0%} of the exact one, and its plan moves all there is to move",
        f"mean {mean(sinkhorn):.4f} against {mean(exact):.4f}, {gap:.1%} apart on average over {len(exact)} pairs of maps; "
        f"of the worst plan {error:.1%} are not where they belong (1 % may be)",
        gap < margin and error < 0.01,
    )


def _told(accuracy: Mapping[str, Sequence[float]], parts: Sequence[bool | None]) -> bool | None:
    """All of the parts; nothing can be told where the teacher is no better than its student ("teacher", "student")."""
    weak = "teacher" in accuracy and mean(accuracy["teacher"]) <= mean(accuracy["student"])
    return None if weak else all_of(parts)


def improves(accuracy: Mapping[str, Sequence[float]], n: int) -> Verdict:
    """Claim sfr_c1: SFR with AT, L2 or FitNet is above that method alone. accuracy: "at", "sfr-at", ... -> over seeds."""
    found = {x: compare_accuracy(accuracy[f"sfr-{x}"], accuracy[x], n) for x in ("at", "l2", "fitnet")}
    names = {"at": "AT", "l2": "L2", "fitnet": "FitNet"}
    said = ", ".join(f"SFR-{names[x]} {points(d)} ± {200 * e:.1f}" for x, (d, e) in found.items())
    return Verdict(
        "SFR improves AT, L2 and FitNet",
        f"{said} points beside each alone ({len(accuracy['at'])} seeds)",
        _told(accuracy, [sign(*f) for f in found.values()]),
    )


def best_with_teacher(accuracy: Mapping[str, Sequence[float]], n: int) -> Verdict:
    """Claim sfr_c2, of the rivals that are run: SFR-L2 is above KD, AT, L2 and FitNet."""
    found = {x: compare_accuracy(accuracy["sfr-l2"], accuracy[x], n) for x in ("kd", "at", "l2", "fitnet")}
    said = ", ".join(f"{x} {points(d)} ± {200 * e:.1f}" for x, (d, e) in found.items())
    return Verdict(
        "SFR-L2 outperforms the others (here KD, AT, L2, FitNet; the paper's narrowest rival is CRD)",
        f"SFR-L2 {mean(accuracy['sfr-l2']):.1%}; above {said} points",
        _told(accuracy, [sign(*f) for f in found.values()]),
    )


def l2_leads(accuracy: Mapping[str, Sequence[float]], n: int) -> Verdict:
    """Claim sfr_c3: plain L2 is above FitNet and AT."""
    found = {x: compare_accuracy(accuracy["l2"], accuracy[x], n) for x in ("fitnet", "at")}
    said = ", ".join(f"{x} {points(d)} ± {200 * e:.1f}" for x, (d, e) in found.items())
    return Verdict(
        "L2 outperforms FitNet and AT",
        f"L2 {mean(accuracy['l2']):.1%}; above {said} points",
        _told(accuracy, [sign(*f) for f in found.values()]),
    )


def nothing_added(graphs: Sequence[str], parameters: Sequence[int], flops: Sequence[int], seconds: float) -> Verdict:
    """Claim sfr_c7: the deployed network is the plain one: graph, parameters, FLOPs. Each is (SFR's, plain).

    seconds: ratio of the two times, SFR's by the plain one's. Two equal graphs whose times differ say that the machine was
    not at rest: then it cannot be told.
    """
    same = graphs[0] == graphs[1] and parameters[0] == parameters[1] and flops[0] == flops[1]
    as_fast = LATENCY[0] <= seconds <= LATENCY[1]
    return Verdict(
        "SFR costs nothing at inference",
        f"graph {'identical' if graphs[0] == graphs[1] else 'differs'}; parameters {parameters[0]:,} and {parameters[1]:,}; "
        f"FLOPs an image {flops[0]:,} and {flops[1]:,}; time ratio {seconds:.2f}",
        False if not same else True if as_fast else None,
    )


def runs_at_depths(accuracy: Mapping[str, float], flops: Mapping[str, int], n: int, classes: int) -> Verdict:
    """Claim sfr_c8: one network may be executed at several depths. accuracy, flops: exit -> shallow to deep.

    Held where every exit costs more than the one before and answers better than chance.
    """
    exits = list(accuracy)
    costs = [flops[e] for e in exits]
    cheaper = all(a < b for a, b in zip(costs, costs[1:], strict=False))
    useful = [sign(*compare_accuracy([accuracy[e]], [1 / classes], n)) for e in exits]
    said = ", ".join(f"{e} {accuracy[e]:.1%} at {flops[e] / costs[-1]:.0%} of the FLOPs" for e in exits)
    return Verdict("One network can be executed at different depths", said, all_of([cheaper, *useful]))
