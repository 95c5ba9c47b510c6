"""Exercises on BYOT: the loss of a network that teaches its own shallow exits (paper 003)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import hint, kl
from ..methods import BYOT
from .common import (
    STEP,
    batch_and_classes,
    divergence,
    gap,
    kl_mistakes,
    labels,
    loss_of,
    normal,
    number,
    size,
    step,
    two_logits,
    with_options,
    with_terms,
)
from .exercise import Exercise


def soften(logits: Tensor, temperature: float) -> Tensor:
    """The softmax at a temperature. logits [B, K] -> probabilities [B, K]."""
    powers = (logits / temperature).exp()
    return powers / powers.sum(1, keepdim=True)


def exit_kl(exit_logits: Tensor, deepest_logits: Tensor, temperature: float) -> Tensor:
    """KL(deepest || exit) at a temperature, mean over the batch. logits [B, K] x2 -> []."""
    return divergence(exit_logits, deepest_logits, temperature)


def exit_labels(exits: Sequence[Tensor], y: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) times the exits' cross entropies. a list of logits [B, K], labels [B] -> []."""
    each = [-z.log_softmax(1)[torch.arange(len(y)), y].mean() for z in exits]
    return (1 - alpha) * torch.stack(each).sum()


def feature_hint(feature: Tensor, deepest: Tensor) -> Tensor:
    """Squared L2 distance to the deepest features, mean over the batch. [B, D] x2 -> []."""
    return ((feature - deepest.detach()) ** 2).sum(1).mean()


def ensemble_logits(exits: Sequence[Tensor]) -> Tensor:
    """The mean of the exits' logits. a list of logits [B, K] -> [B, K]."""
    total = exits[0]
    for z in exits[1:]:
        total = total + z
    return total / len(exits)


def exit_loss(
    exit_logits: Tensor, feature: Tensor, deepest_logits: Tensor, deepest: Tensor, y: Tensor, alpha: float, lam: float
) -> Tensor:
    """One exit's three sources of loss, weighted, at T = 3. logits [B, K] x2, features [B, D] x2, labels [B] -> []."""
    taught = alpha * kl(exit_logits, deepest_logits, 3.0)
    return (1 - alpha) * F.cross_entropy(exit_logits, y) + taught + lam * hint(feature, deepest)


def draw_exits(g: torch.Generator) -> tuple[list[Tensor], Tensor, float]:
    """Three or four exits' logits, labels and alpha."""
    n, k = batch_and_classes(g)
    return [normal(g, n, k) for _ in range(size(g, 3, 4))], labels(g, n, k), number(g, 0.1, 0.4)


def draw_features(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features [B, D] twice."""
    n, d = batch_and_classes(g)
    return normal(g, n, d), normal(g, n, d)


def draw_exit(g: torch.Generator) -> tuple[Any, ...]:
    """What one exit's loss takes."""
    n, k = batch_and_classes(g)
    d = k + 2
    made = normal(g, n, k), normal(g, n, d), normal(g, n, k), normal(g, n, d), labels(g, n, k)
    return *made, number(g, 0.1, 0.4), number(g, 0.05, 0.2)


def nearly(**changes: Any) -> Any:
    """One exit's loss with parts of it changed: what stands where, by name."""

    def loss(z: Tensor, f: Tensor, top: Tensor, deep: Tensor, y: Tensor, alpha: float, lam: float) -> Tensor:
        parts: dict[str, Any] = {
            "labels": lambda: F.cross_entropy(z, y),
            "kl": lambda: kl(z, top, 3.0),
            "hint": lambda: hint(f, deep),
            "a": lambda: 1 - alpha,
            "b": lambda: alpha,
            "c": lambda: lam,
        }
        local = {"z": z, "f": f, "top": top, "deep": deep, "y": y, "alpha": alpha, "lam": lam}
        v: dict[str, Any] = {name: changes[name](**local) if name in changes else part() for name, part in parts.items()}
        return v["a"] * v["labels"] + v["b"] * v["kl"] + v["c"] * v["hint"] + 0 * (z.sum() + f.sum())

    return loss


CELL = '''class MyBYOT(sdkit.methods.BYOT):
    """BYOT's loss, to be changed."""

    def terms(self, model, out, batch, progress):
        wide = sdkit.losses.wide  # 64 bits, in which sdkit has its KL
        loss = {"task": F.cross_entropy(out.logits, batch.y), "head ce": 0, "kd": 0, "hint": 0}
        teacher = (wide(out.logits.detach()) / self.temperature).softmax(1)
        for head in self.heads:
            z, feature = head(out.stages[head.stage])
            student = (wide(z) / self.temperature).log_softmax(1)
            loss["head ce"] += (1 - self.alpha) * F.cross_entropy(z, batch.y)
            loss["kd"] += self.alpha * F.kl_div(student, teacher, reduction="batchmean").float()
            loss["hint"] += self.lam * (feature - out.embedding.detach()).square().sum(1).mean()
        return loss'''


def changed(factor: float = 1, **powers: float) -> type[BYOT]:
    """BYOT whose terms are multiplied by powers of the temperature, by the term's name, and its KL by a factor."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        found = BYOT.terms(self, model, out, batch, progress)
        found["kd"] = factor * found["kd"]
        return {name: self.temperature ** powers.get(name.replace(" ", "_"), 0) * term for name, term in found.items()}

    return with_terms(BYOT, terms)  # type: ignore[return-value]


def hard_student(kind: type[BYOT]) -> type[BYOT]:
    """BYOT whose exits are not softened in the KL, without a factor."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        found = kind.terms(self, model, out, batch, progress)
        exits = [head(out.stages[head.stage])[0] for head in self.heads]
        return found | {"kd": self.alpha * sum(divergence(z, out.logits, 1, self.temperature) for z in exits)}

    return with_terms(kind, terms)  # type: ignore[return-value]


EXERCISES = [
    gap(
        "byot.points_of_the_ensemble",
        "Read the bars of *Every classifier*: how many percentage points does the ensemble lie above the first exit, 1/4?",
        "ensemble",
        "1/4",
        "2/4",
        "The figure's axis is in percent; <code>last</code> holds the same accuracies in [0, 1].",
        "last",
    ),
    Exercise(
        "byot.soften",
        "Write the softmax with a temperature: the larger $T$, the flatter the output.",
        "Divide first; the classes are dimension 1.",
        lambda g: two_logits(g)[1:],
        soften,
        {
            "You multiplied the logits by the temperature: divide them.": lambda z, t: (z * t).softmax(1),
            "The temperature is missing.": lambda z, t: z.softmax(1),
            "The softmax runs over the batch: each image's row has to sum to 1.": lambda z, t: (z / t).softmax(0),
            "These are logarithms: probabilities are asked for, softmax and not log_softmax.": lambda z, t: (z / t).log_softmax(
                1
            ),
            "You divided the probabilities by the temperature: divide the logits.": lambda z, t: z.softmax(1) / t,
            "You divided by the square of the temperature.": lambda z, t: (z / t**2).softmax(1),
            "You multiplied the probabilities by T²: that factor belongs to a loss.": lambda z, t: t**2 * (z / t).softmax(1),
            "These are exp(z / T) still: divide each row by its sum.": lambda z, t: (z / t).exp(),
            "This is a sigmoid: classes exclude each other, a row has to sum to 1.": lambda z, t: (z / t).sigmoid(),
            "These are the logits over T: the softmax is missing.": lambda z, t: z / t,
            "The softmax is taken twice.": lambda z, t: (z / t).softmax(1).softmax(1),
            "The exp is missing: a softmax shares out exp(z / T).": lambda z, t: z / z.sum(1, keepdim=True),
            "The sum runs over the whole batch: each image's row has to sum to 1.": lambda z, t: (
                (z / t).exp() / (z / t).exp().sum()
            ),
        },
    ),
    Exercise(
        "byot.exit_kl",
        "Write loss source 2 of one exit, the KL from the deepest classifier's softened output, without a factor $T^2$. "
        "The deepest classifier teaches and is constant.",
        "<code>F.kl_div(log_p, q, reduction='batchmean')</code> is KL(q‖p) and takes the logarithm of the student alone.",
        two_logits,
        exit_kl,
        kl_mistakes(0),
    ),
    Exercise(
        "byot.exit_labels",
        "Write loss source 1, what the labels teach all shallow exits together.",
        "A sum over the exits of means over the batch, times one weight.",
        draw_exits,
        exit_labels,
        {
            "The labels weigh α here: they weigh 1 - α, and the KL weighs α.": lambda e, y, a: (
                a * sum(F.cross_entropy(z, y) for z in e)
            ),
            "The weight 1 - α is missing.": lambda e, y, a: sum(F.cross_entropy(z, y) for z in e),
            "You took the mean over the exits: the paper sums over them.": lambda e, y, a: (
                (1 - a) * sum(F.cross_entropy(z, y) for z in e) / len(e)
            ),
            "You summed over the batch: take the mean over the images.": lambda e, y, a: (
                (1 - a) * sum(F.cross_entropy(z, y, reduction="sum") for z in e)
            ),
            "The softmax is taken twice: F.cross_entropy wants logits.": lambda e, y, a: (
                (1 - a) * sum(F.cross_entropy(z.softmax(1), y) for z in e)
            ),
            "F.nll_loss wants log-probabilities: give it log_softmax, or take F.cross_entropy.": lambda e, y, a: (
                (1 - a) * sum(F.nll_loss(z, y) for z in e)
            ),
            "That is the last exit alone: sum over all of them.": lambda e, y, a: (1 - a) * F.cross_entropy(e[-1], y),
            "That is the first exit alone: sum over all of them.": lambda e, y, a: (1 - a) * F.cross_entropy(e[0], y),
            "The last exit of the list is left out.": lambda e, y, a: (1 - a) * sum(F.cross_entropy(z, y) for z in e[:-1]),
            "You averaged the logits and took one cross entropy: each exit learns by itself.": lambda e, y, a: (
                (1 - a) * F.cross_entropy(torch.stack([*e]).mean(0), y)
            ),
            "You averaged over the classes, too: F.cross_entropy needs no further division.": lambda e, y, a: (
                (1 - a) * sum(F.cross_entropy(z, y) / z.shape[1] for z in e)
            ),
            "The first exit of the list is left out.": lambda e, y, a: (1 - a) * sum(F.cross_entropy(z, y) for z in e[1:]),
            "You added the logits and took one cross entropy: each exit learns by itself.": lambda e, y, a: (
                (1 - a) * F.cross_entropy(torch.stack([*e]).sum(0), y)
            ),
            "The weight is 1 + α here: it is 1 - α.": lambda e, y, a: (1 + a) * sum(F.cross_entropy(z, y) for z in e),
            "The logarithm is missing: F.nll_loss and sums like it want log_softmax.": lambda e, y, a: (
                (1 - a) * sum(F.nll_loss(z.softmax(1), y) for z in e)
            ),
            "1 - α is taken off instead of multiplied.": lambda e, y, a: sum(F.cross_entropy(z, y) for z in e) - (1 - a),
        },
    ),
    Exercise(
        "byot.feature_hint",
        "Write loss source 3, how far an exit's features are from the deepest ones; those are constant.",
        "Sum over the features, mean over the batch. <code>F.mse_loss</code> averages over both.",
        draw_features,
        feature_hint,
        {
            "You averaged over the features, too: sum over them, mean over the batch alone.": lambda f, d: F.mse_loss(
                f, d.detach()
            ),
            "You summed over the batch: take the mean over the images.": lambda f, d: (f - d.detach()).square().sum(),
            "This is the norm, not its square: leave the root out.": lambda f, d: (f - d.detach()).norm(dim=1).mean(),
            "This is one norm over the whole batch: square, sum over the features, mean over the images.": lambda f, d: (
                f - d.detach()
            ).norm(),
            "Absolute differences: the distance is a sum of squares.": lambda f, d: (f - d.detach()).abs().sum(1).mean(),
            "The square is missing: differences of both signs cancel.": lambda f, d: (f - d.detach()).sum(1).mean(),
            "The features are added: subtract.": lambda f, d: (f + d.detach()).square().sum(1).mean(),
            "Squares are subtracted: subtract first, then square.": lambda f, d: (f**2 - d.detach() ** 2).sum(1).mean(),
            "You compared the batch's mean features: compare image by image.": lambda f, d: (
                (f.mean(0) - d.detach().mean(0)).square().sum()
            ),
            "The features are scaled to length 1 first: the paper takes them as they are.": lambda f, d: (
                (F.normalize(f) - F.normalize(d.detach())).square().sum(1).mean()
            ),
            "You averaged over the features and summed over the batch: the other way round.": lambda f, d: (
                (f - d.detach()).square().mean(1).sum()
            ),
            "You squared the sum: square each difference first.": lambda f, d: (f - d.detach()).sum(1).square().mean(),
            "This is a cosine distance: the paper has the squared L2 distance.": lambda f, d: (
                1 - F.cosine_similarity(f, d.detach()).mean()
            ),
        },
    ),
    Exercise(
        "byot.ensemble_logits",
        "Write the ensemble of all classifiers as the authors' code has it: a mean of logits.",
        "<code>torch.stack</code> puts a list of tensors along a new first dimension.",
        lambda g: draw_exits(g)[:1],
        ensemble_logits,
        {
            "You summed: divide by the number of exits.": lambda e: sum(e),
            "You averaged probabilities: the authors' code averages logits.": lambda e: torch.stack(e).softmax(2).mean(0),
            "This is the logarithm of averaged probabilities: average the logits.": lambda e: (
                torch.stack(e).softmax(2).mean(0).log()
            ),
            "You took the largest logit: take the mean.": lambda e: torch.stack(e).amax(0),
            "You took the median: take the mean.": lambda e: torch.stack(e).median(0).values,
            "That is the deepest exit alone.": lambda e: e[-1] + 0 * e[0],
            "That is the first exit alone.": lambda e: e[0] + 0 * e[1],
            "The deepest exit is left out.": lambda e: torch.stack(e[:-1]).mean(0),
            "The first exit is left out.": lambda e: torch.stack(e[1:]).mean(0),
            "The mean is softened: logits are asked for, leave the softmax out.": lambda e: torch.stack(e).mean(0).softmax(1),
            "The mean went through log_softmax: logits are asked for.": lambda e: torch.stack(e).mean(0).log_softmax(1),
            "One exit, the deepest, is left out of the sum: range and slices stop before their end.": lambda e: (
                sum(e[:-1]) / len(e)
            ),
            "You multiplied probabilities: average the logits.": lambda e: torch.stack(e).softmax(2).prod(0),
            "You averaged log-probabilities: average the logits as they are.": lambda e: torch.stack(e).log_softmax(2).mean(0),
        },
    ),
    Exercise(
        "byot.exit_loss",
        "Put one exit's three sources of loss together with their weights α and λ; both of its targets are constant. $T=3$.",
        "(1 - α) labels, α the deepest output, λ the deepest features.",
        draw_exit,
        exit_loss,
        {
            "α and 1 - α are exchanged.": nearly(a=lambda alpha, **_: alpha, b=lambda alpha, **_: 1 - alpha),
            "The labels have no weight: they weigh 1 - α.": nearly(a=lambda **_: 1),
            "The KL has no weight: it weighs α.": nearly(b=lambda **_: 1),
            "The hint has no weight: it weighs λ.": nearly(c=lambda **_: 1),
            "The hint is missing.": nearly(c=lambda **_: 0),
            "The KL is missing.": nearly(b=lambda **_: 0),
            "The labels' cross entropy is missing.": nearly(a=lambda **_: 0),
            "The KL carries T²: this paper has none.": nearly(b=lambda alpha, **_: 9 * alpha),
            "The temperature is missing in the KL: it is 3.": nearly(kl=lambda z, top, **_: kl(z, top, 1.0)),
            "The cross entropy is softened: it is at temperature 1.": nearly(
                labels=lambda z, y, **_: F.cross_entropy(z / 3, y)
            ),
            "The hint is averaged over the features: sum over them.": nearly(
                hint=lambda f, deep, **_: F.mse_loss(f, deep.detach())
            ),
            "The KL is the wrong way round: the deepest output weighs.": nearly(kl=lambda z, top, **_: divergence(top, z, 3.0)),
            "The deepest classifier's cross entropy stands in place of the exit's.": nearly(
                labels=lambda top, y, **_: F.cross_entropy(top, y)
            ),
            "α weighs the hint, too: it weighs λ alone.": nearly(c=lambda alpha, lam, **_: alpha * lam),
            "1 - α weighs the KL, too: the KL has α.": nearly(b=lambda alpha, **_: 1 - alpha),
            "The KL carries T: this paper has no such factor.": nearly(b=lambda alpha, **_: 3 * alpha),
            "The softmax is taken twice in the cross entropy: it wants logits.": nearly(
                labels=lambda z, y, **_: F.cross_entropy(z.softmax(1), y)
            ),
            "The cross entropy is summed over the batch: take the mean.": nearly(
                labels=lambda z, y, **_: F.cross_entropy(z, y, reduction="sum")
            ),
            "The KL is averaged over the classes, too: sum over them.": nearly(
                kl=lambda z, top, **_: divergence(z, top, 3.0) / z.shape[1]
            ),
            "The KL is summed over the batch: take the mean over the images.": nearly(
                kl=lambda z, top, **_: divergence(z, top, 3.0) * len(z)
            ),
            "Only the exit's logits are softened in the KL: divide both by 3.": nearly(
                kl=lambda z, top, **_: divergence(z, top, 3.0, 1.0)
            ),
            "Only the deepest logits are softened in the KL: divide both by 3.": nearly(
                kl=lambda z, top, **_: divergence(z, top, 1.0, 3.0)
            ),
            "Probabilities went into the KL where F.kl_div wants log_softmax.": nearly(
                kl=lambda z, top, **_: F.kl_div((z / 3).softmax(1), (top.detach() / 3).softmax(1), reduction="batchmean")
            ),
            "The hint is summed over the batch: take the mean over the images.": nearly(
                hint=lambda f, deep, **_: (f - deep.detach()).square().sum()
            ),
            "The hint is the norm, not its square: leave the root out.": nearly(
                hint=lambda f, deep, **_: (f - deep.detach()).norm(dim=1).mean()
            ),
        },
    ),
    Exercise(
        "byot.MyBYOT",
        "Change `MyBYOT` above: let the KL carry the factor $T^2$, as the code linked by the paper has it. Run its cells "
        "again, and see what the exits make of it.",
        "One factor, in one line: <code>self.temperature**2</code>. The other terms stay.",
        step("four-stage"),
        with_options(BYOT, t_squared=True),
        {
            "Not changed yet: this is the loss as it was.": BYOT,
            "The factor in front of the KL is T: it should be T².": changed(kd=1),
            "T² multiplies the hint: it belongs to the KL.": changed(hint=2),
            "T² multiplies the exits' cross entropies: it belongs to the KL alone.": changed(head_ce=2),
            "T² multiplies the deepest classifier's cross entropy: it belongs to the KL alone.": changed(task=2),
            "T² multiplies the whole loss: it belongs to the KL alone.": changed(task=2, head_ce=2, kd=2, hint=2),
            "T² multiplies the hint as well: it belongs to the KL alone.": changed(kd=2, hint=2),
            "T² multiplies the cross entropies as well: it belongs to the KL alone.": changed(kd=2, head_ce=2),
            "You divided the KL by T²: multiply.": changed(kd=-2),
            "9 is typed in for T²: T may be another number, self.temperature.": changed(9),
            "The KL is gone: multiply it by T².": changed(0),
            "α is gone: leave it.": changed(2, kd=2),
            "The student's logits are not softened any more: leave the temperature there.": hard_student(BYOT),
            "T⁴ is too much: T².": changed(kd=4),
            "The deepest classifier's cross entropy is weighed by 1 - α: leave it as it was.": with_options(
                BYOT, t_squared=True, deepest_alpha=True
            ),
            "The hint is gone: leave it as it was.": with_options(BYOT, t_squared=True, lam=0.0),
        },
        call=partial(loss_of, lam=0.1, alpha=0.5, temperature=2.5),
        given=STEP,
        cell=CELL,
    ),
]
