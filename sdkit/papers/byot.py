"""Paper 003's claims on a run's own numbers. Accuracies are in [0, 1], over seeds; n is how many images they are counted on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from .checks import Verdict, all_of, compare_accuracy, faster, higher, label, paired, points, seeds, sign


def three_sources(terms: Mapping[str, float]) -> Verdict:
    """The slide of the method: labels, the deepest output and the deepest features each send a loss to the shallow exits."""
    names = {"head ce": "labels", "kd": "deepest output", "hint": "deepest features"}
    said = ", ".join(f"{words} {terms.get(name, 0):.2g}" for name, words in names.items())
    return Verdict("Three sources of loss teach the shallow classifiers", said, all(terms.get(name, 0) > 0 for name in names))


def flatter_along(ours: Sequence[float], base: Sequence[float]) -> Verdict:
    """Fig. 3, which the paper only sketches: the loss rises less around the self-distilled network.

    Mean rise of the loss in nats along random directions, the same for both networks, paired.
    """
    return Verdict(
        "The loss rises less around the self-distilled network",
        f"mean rise {mean(ours):.2f} against {mean(base):.2f} nats ({len(ours)} directions)",
        paired(base, ours),
    )


def ensemble_gains(ensemble: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Claim byot_c1: the ensemble of the exits beats plain training (the paper: by 2.65 points on average)."""
    return higher("The ensemble of the exits beats plain training", ensemble, base, n)


def exit_gains(name: str, exit: Sequence[float], base: Sequence[float], n: int) -> Verdict:
    """Claims byot_c1 and byot_c2: one exit beats plain training of the whole network (at 3/4: 8 of the paper's 10 networks)."""
    return higher(f"Classifier {name} beats plain training of the whole network", exit, base, n)


def ensemble_may_lose(ensemble: Sequence[float], deepest: Sequence[float], n: int) -> Verdict:
    """Claim byot_c3: the ensemble can be worse than the deepest classifier alone (ImageNet, ResNet18 and 50)."""
    difference, error = compare_accuracy(deepest, ensemble, n)
    return Verdict(
        "The ensemble can be worse than the deepest classifier",
        f"the deepest {points(difference)} ± {200 * error:.1f} points beside the ensemble; no single run can refute it",
        sign(difference, error) or None,
    )


def beats_teachers(ours: Sequence[float], rivals: Mapping[str, Sequence[float]], n: int) -> Verdict:
    """Claim byot_c4: self-distillation beats distillation from a teacher. rivals: those that were trained."""
    found = {name: compare_accuracy(ours, theirs, n) for name, theirs in rivals.items()}
    said = ", ".join(f"{points(d)} ± {200 * e:.1f} points beside {label(name)}" for name, (d, e) in found.items())
    return Verdict(
        f"Without a teacher better than {', '.join(map(label, rivals))}",
        f"{mean(ours):.1%}: {said} ({seeds(len(ours))})",
        all_of([sign(*f) for f in found.values()]),
    )


def beats_deep_supervision(
    ours: Mapping[str, Sequence[float]], dsn: Mapping[str, Sequence[float]], n: int
) -> tuple[Verdict, Verdict]:
    """Claims byot_c5 and byot_c6, Table 4: better than deep supervision in every classifier, the shallow ones gaining more.

    exit -> accuracies over the same seeds, shallow to deep, without the ensemble. Seeds are paired; the second claim needs
    two or more of them.
    """
    found = {name: compare_accuracy(ours[name], dsn[name], n) for name in ours}
    said = ", ".join(f"{name} {points(d)}" for name, (d, _) in found.items())
    error = max(e for _, e in found.values())
    every = Verdict(
        "Better than deep supervision (labels alone) in every classifier",
        f"{said} points, each ± {200 * error:.1f} ({seeds(len(next(iter(ours.values()))))})",
        all_of([sign(*f) for f in found.values()]),
    )
    names = list(ours)
    half = len(names) // 2
    gain = {name: [a - b for a, b in zip(ours[name], dsn[name], strict=True)] for name in names}
    shallow = [mean(g) for g in zip(*(gain[name] for name in names[:half]), strict=True)]
    deep = [mean(g) for g in zip(*(gain[name] for name in names[half:]), strict=True)]
    more = Verdict(
        "Shallow classifiers gain more from the deepest than deep ones",
        f"mean gain {points(mean(shallow))} points in the shallow half, {points(mean(deep))} in the deep half",
        paired(shallow, deep),
    )
    return every, more


def one_step(seconds: Mapping[str, Any], ours: Sequence[float], kd: Sequence[float], n: int) -> tuple[Verdict, Verdict]:
    """Claim byot_c7, Fig. 1: one step takes less time than two (the paper: 4.6 times less), and is more accurate.

    seconds: of "teacher", "kd" and "byot" trainings, as `faster` takes them; or what they are beside one and the same step's,
    round by round (`analysis.relative_time`), which a busy spell of the machine does not move. The ratio belongs to the pair
    of networks: tested is "less".
    """
    steps = [seconds["teacher"], seconds["kd"]]
    middle, low, high = (sum(getattr(s, k, s) for s in steps) for k in ("median", "low", "high"))
    byot = seconds["byot"]
    ratio = middle / getattr(byot, "median", byot)
    byot_low, byot_high = getattr(byot, "low", byot), getattr(byot, "high", byot)
    held = True if byot_high < low else False if byot_low >= high else None
    time = Verdict(
        "Self-distillation takes less training time than teacher and student (the paper: 4.6 times less)",
        f"teacher and student take {ratio:.2f} times as long",
        held,
    )
    return time, higher("... and reaches a higher accuracy than the distilled student", ours, kd, n)


def dearer_than_plain(byot: Any, vanilla: Any) -> Verdict:
    """What Fig. 1 shows without saying it: self-distillation costs more than plain training (5.87 against 4.03 hours)."""
    ratio = getattr(byot, "median", byot) / getattr(vanilla, "median", vanilla)
    return Verdict(
        "One step costs more than plain training (the paper: 1.46 times)", f"{ratio:.2f} times", faster(vanilla, byot)
    )


def tolerates_noise(
    sigma: Sequence[float], ours: Sequence[Sequence[float]], base: Sequence[Sequence[float]], of: str, kind: str
) -> Verdict:
    """Claim byot_c8, Fig. 4: under weight noise accuracy falls less, and loss rises less, with self-distillation.

    sigma [S] rising; ours, base [S][R]: accuracy or loss at every sigma and draw, the draws' noise the same for both.
    of: "accuracy" or "loss". kind: "absolute" or "relative". Tested is the mean over sigma (the area under the curve), paired
    by draw.
    """
    a, b = (_areas(sigma, values) for values in (ours, base))
    better = paired(a, b) if of == "accuracy" else paired(b, a)
    shown = (lambda v: f"{v:.1%}") if of == "accuracy" else (lambda v: f"{v:.2f} nats")
    return Verdict(
        f"The self-distilled network tolerates weight noise better: {of}, {kind} noise",
        f"mean {of} over σ: {shown(mean(a))} against {shown(mean(b))} ({len(a)} draws)",
        better,
    )


def _areas(sigma: Sequence[float], values: Sequence[Sequence[float]]) -> list[float]:
    """Trapezoids over sigma divided by its range, of every draw."""
    span, gaps = sigma[-1] - sigma[0], [b - a for a, b in zip(sigma, sigma[1:], strict=False)]
    return [
        sum(g * (a + b) / 2 for g, a, b in zip(gaps, draw, draw[1:], strict=False)) / span
        for draw in map(list, zip(*values, strict=True))
    ]


def larger_gradients(ours: Sequence[float], base: Sequence[float], what: str) -> Verdict:
    """Claim byot_c9, Fig. 5: larger gradients in the first two stages. Mean sizes, a value for each group of batches, paired.

    what: "mean |∂L/∂W|" or "share of all layers' gradient"; more terms in a loss make its gradients larger anyway.
    """
    logs = [math.log(a / b) for a, b in zip(ours, base, strict=True)]
    error = stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return Verdict(
        f"Larger gradients in the first two stages: {what}",
        f"{math.exp(mean(logs)):.2f} times plain training's ({len(logs)} groups of batches)",
        sign(mean(logs), error),
    )


def separates_with_depth(ratio: Mapping[str, Sequence[float]]) -> Verdict:
    """Claim byot_c10, Fig. 6: SSE/SSB falls from exit to exit.

    ratio: exit -> on disjoint parts of the images, exits shallow to deep.
    """
    said = ", ".join(f"{name} {mean(values):.2f}" for name, values in ratio.items())
    every = list(ratio.values())
    said += f" (means over {len(every[0])} parts of the images, which read lower than all of them together)"
    falls = [paired(shallow, deep) for shallow, deep in zip(every, every[1:], strict=False)]
    return Verdict("Deeper classifiers separate the classes better: SSE/SSB falls with depth", said, all_of(falls))


def rises_with_depth(accuracy: Mapping[str, float], n: int) -> Verdict:
    """Fig. "depth-scalable inference": every deeper exit is more accurate."""
    said = ", ".join(f"{name} {a:.1%}" for name, a in accuracy.items())
    every = list(accuracy.values())
    rises = [sign(*compare_accuracy([deep], [shallow], n)) for shallow, deep in zip(every, every[1:], strict=False)]
    return Verdict("Every deeper exit is more accurate: depth buys accuracy", said, all_of(rises))


def cut_to_target(accuracy: Mapping[str, float], cost: Mapping[str, float], target: float, n: int | None = None) -> Verdict:
    """Claim byot_c11: the network may be cut where the accuracy suffices. cost: FLOPs of every exit, shallow to deep.

    n: images that accuracies and target are counted on; then an exit that misses the target within the error cannot be told.
    """
    enough = [name for name in accuracy if accuracy[name] >= target]
    if not enough:
        best = max(accuracy, key=accuracy.__getitem__)
        gap, error = compare_accuracy([accuracy[best]], [target], n) if n else (accuracy[best] - target, 0.0)
        said = f"no exit reaches {target:.1%}; exit {best} is {points(gap)} ± {200 * error:.1f} points beside it"
        return Verdict("The network can be cut to meet an accuracy target", said, None if sign(gap, error) is None else False)
    name, whole = min(enough, key=lambda e: cost[e]), max(cost.values())
    return Verdict(
        "The network can be cut to meet an accuracy target",
        f"for {target:.1%} exit {name} is enough: {accuracy[name]:.1%} at {cost[name] / whole:.0%} of the FLOPs",
        cost[name] < whole,
    )


def beats_fixed_exits(own: Mapping[str, float], fixed: Mapping[str, float], n: int) -> Verdict:
    """SCAN: a threshold beats the fixed exits at no more cost. exit -> accuracy of the policy of its cost, and its own.

    The thresholds must be chosen on other images than the n that count here.
    """
    found = {name: compare_accuracy([own[name]], [fixed[name]], n) for name in own}
    said = ", ".join(f"at the cost of {name} {points(d)} ± {200 * e:.1f} points" for name, (d, e) in found.items())
    return Verdict(
        "Exits chosen image by image beat a fixed exit of the same cost", said, all_of([sign(*f) for f in found.values()])
    )
