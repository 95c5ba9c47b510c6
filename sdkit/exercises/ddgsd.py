"""Exercises on DDGSD: two views of an image teach each other (paper 001)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import kl, mmd
from ..methods import DDGSD
from .common import (
    STEP,
    batch_and_classes,
    divergence,
    gap,
    labels,
    loss_of,
    normal,
    number,
    step,
    two_logits,
    with_options,
    with_terms,
)
from .exercise import Exercise


def both_labels(logits: Tensor, y: Tensor) -> Tensor:
    """Eq. 4: the sum of both views' cross entropies. logits [2B, K], all of view a first; labels [B] -> []."""
    a, b = logits[: len(y)], logits[len(y) :]
    return F.cross_entropy(a, y) + F.cross_entropy(b, y)


def agreement(z_a: Tensor, z_b: Tensor, temperature: float) -> Tensor:
    """Eq. 3: KL(b || a) + KL(a || b), each first one constant, mean over the batch. logits [B, K] x2 -> []."""
    return divergence(z_a, z_b, temperature) + divergence(z_b, z_a, temperature)


def mean_discrepancy(h_a: Tensor, h_b: Tensor) -> Tensor:
    """Eq. 1: squared distance of the batches' mean features. [B, D] x2 -> []."""
    gap_of_means = h_a.sum(0) / len(h_a) - h_b.sum(0) / len(h_b)
    return (gap_of_means**2).sum()


def ddgsd_loss(logits: Tensor, features: Tensor, y: Tensor, lam: float, mu: float, temperature: float) -> Tensor:
    """Eq. 5, of both views: all of view a first. logits [2B, K], features [2B, D], labels [B] -> []."""
    (z_a, z_b), (h_a, h_b) = logits.split(len(y)), features.split(len(y))
    return both_labels(logits, y) + lam * agreement(z_a, z_b, temperature) + mu * mmd(h_a, h_b)


def printed_gradient(z_a: Tensor, z_b: Tensor, temperature: float) -> Tensor:
    """The gradient of KL(b || a) at the logits of view a, written out, not by autograd. [B, K] x2 -> [B, K]."""
    gap_of_views = (z_a / temperature).softmax(1) - (z_b / temperature).softmax(1)
    return gap_of_views / (len(z_a) * temperature)


def draw_views(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Logits of two views one below the other, and labels."""
    n, k = batch_and_classes(g)
    return normal(g, 2 * n, k), labels(g, n, k)


def draw_features(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features of two views."""
    n, d = batch_and_classes(g)
    return normal(g, n, d), normal(g, n, d)


def draw_loss(g: torch.Generator) -> tuple[Any, ...]:
    """All of Eq. 5."""
    n, k = batch_and_classes(g)
    made = normal(g, 2 * n, k), normal(g, 2 * n, k + 2), labels(g, n, k)
    return *made, number(g, 0.5, 0.9), number(g, 0.1, 0.3), number(g, 1.5, 3)


def nearly(
    task: float = 1,
    agree: Callable[..., Any] | None = None,
    apart: Callable[..., Any] | None = None,
    split: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
    entropy: Callable[..., Tensor] = lambda a, b, y: F.cross_entropy(a, y) + F.cross_entropy(b, y),
) -> Callable[..., Tensor]:
    """Eq. 5 with parts of it changed."""

    def loss(z: Tensor, h: Tensor, y: Tensor, lam: float, mu: float, t: float) -> Tensor:
        cut = split or (lambda rows: rows.split(len(y)))
        (a, b), (f, e) = cut(z), cut(h)
        labelled = task * entropy(a, b, y)
        agreed = agree(a, b, lam, t) if agree else lam * agreement(a, b, t)
        return labelled + agreed + (apart(f, e, mu) if apart else mu * mmd(f, e))

    return loss


CELL = '''class MyDDGSD(sdkit.methods.DDGSD):
    """DDGSD's loss, to be changed."""

    def terms(self, model, out, batch, progress):
        n, wide = len(batch.y), sdkit.losses.wide  # 64 bits, in which sdkit has its KL
        (z_a, z_b), (h_a, h_b) = out.logits.split(n), out.embedding.split(n)
        T, task = self.temperature, F.cross_entropy(z_a, batch.y) + F.cross_entropy(z_b, batch.y)
        log_a, log_b = (wide(z_a) / T).log_softmax(1), (wide(z_b) / T).log_softmax(1)
        b_teaches = F.kl_div(log_a, log_b.detach(), reduction="batchmean", log_target=True)
        a_teaches = F.kl_div(log_b, log_a.detach(), reduction="batchmean", log_target=True)
        apart = (h_a.mean(0) - h_b.mean(0)).square().sum()
        agree = (b_teaches + a_teaches).float()
        return {"task": task, "kl": self.lam * agree, "mmd": self.mu * apart}'''


def weighed(task: float = 1, agree: float = 1, apart: float = 1, **options: Any) -> type[DDGSD]:
    """DDGSD with its terms multiplied."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        found = DDGSD.terms(self, model, out, batch, progress)
        return {"task": task * found["task"], "kl": agree * found["kl"], "mmd": apart * found["mmd"]}

    return with_terms(with_options(DDGSD, **options), terms)  # type: ignore[return-value,arg-type]


def one_view(a: float, b: float) -> type[DDGSD]:
    """DDGSD whose views' cross entropies have weights of their own."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        found, (z, q) = DDGSD.terms(self, model, out, batch, progress), out.logits.split(len(batch.y))
        return found | {"task": a * F.cross_entropy(z, batch.y) + b * F.cross_entropy(q, batch.y)}

    return with_terms(DDGSD, terms)  # type: ignore[return-value]


def view_mean() -> type[DDGSD]:
    """DDGSD with one cross entropy, of the views' mean logits."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        a, b = out.logits.split(len(batch.y))
        return DDGSD.terms(self, model, out, batch, progress) | {"task": F.cross_entropy((a + b) / 2, batch.y)}

    return with_terms(DDGSD, terms)  # type: ignore[return-value]


EXERCISES = [
    gap(
        "ddgsd.points_over_two_branch",
        "Read the runs of *Train*: how many percentage points does `ddgsd` lie above `two-branch`, its honest opponent, in "
        "the last epoch? A negative number is an answer, too.",
        "ddgsd",
        "two-branch",
        "vanilla",
        "The accuracies are printed there in percent: subtract.",
        "{n: t.accuracy for n, t in trained.items()}",
    ),
    Exercise(
        "ddgsd.both_labels",
        "Write Eq. 4. Both views came through the network in one pass: rows 0 to B-1 are view a, the others view b.",
        "<code>logits.split(len(y))</code>",
        draw_views,
        both_labels,
        {
            "You took the mean of the two: Eq. 4 adds them.": lambda z, y: F.cross_entropy(z, torch.cat([y, y])),
            "The views are not interleaved: all of view a comes first.": lambda z, y: (
                F.cross_entropy(z[::2], y) + F.cross_entropy(z[1::2], y)
            ),
            "The two cross entropies are multiplied: Eq. 4 adds them.": lambda z, y: (
                F.cross_entropy(z[: len(y)], y) * F.cross_entropy(z[len(y) :], y)
            ),
            "That is view a alone: add view b's.": lambda z, y: F.cross_entropy(z[: len(y)], y),
            "That is view b alone: add view a's.": lambda z, y: F.cross_entropy(z[len(y) :], y),
            "You summed over the images: take the mean of each view.": lambda z, y: F.cross_entropy(
                z, torch.cat([y, y]), reduction="sum"
            ),
            "The softmax is taken twice: F.cross_entropy wants logits.": lambda z, y: (
                2 * F.cross_entropy(z.softmax(1), torch.cat([y, y]))
            ),
            "F.nll_loss wants log-probabilities: give it log_softmax, or take F.cross_entropy.": lambda z, y: (
                2 * F.nll_loss(z, torch.cat([y, y]))
            ),
            "You averaged the views' logits first: each view learns by itself.": lambda z, y: (
                2 * F.cross_entropy((z[: len(y)] + z[len(y) :]) / 2, y)
            ),
            "The difference of the two views: Eq. 4 adds them.": lambda z, y: (
                F.cross_entropy(z[: len(y)], y) - F.cross_entropy(z[len(y) :], y)
            ),
            "You averaged over the classes, too.": lambda z, y: 2 * F.cross_entropy(z, torch.cat([y, y])) / z.shape[1],
            "View a counts twice, view b never.": lambda z, y: 2 * F.cross_entropy(z[: len(y)], y) + 0 * z.sum(),
        },
    ),
    Exercise(
        "ddgsd.agreement",
        "Write Eq. 3: each view teaches the other. The teaching side of each KL is constant. No factor $T^2$.",
        "Two KLs, two <code>detach()</code>: one for each direction.",
        two_logits,
        agreement,
        {
            "Only b teaches a here: add the other direction.": lambda a, b, t: divergence(a, b, t),
            "Only a teaches b here: add the other direction.": lambda a, b, t: divergence(b, a, t),
            "You took the mean of the two directions: Eq. 3 adds them.": lambda a, b, t: agreement(a, b, t) / 2,
            "The temperature is missing.": lambda a, b, t: agreement(a, b, 1),
            "You multiplied the logits by the temperature: divide them.": lambda a, b, t: agreement(a, b, 1 / t),
            "There is a factor T² too much: this paper has none.": lambda a, b, t: t**2 * agreement(a, b, t),
            "There is a factor T too much: this paper has none.": lambda a, b, t: t * agreement(a, b, t),
            "You averaged over the classes, too: sum over them, mean over the batch alone.": lambda a, b, t: (
                agreement(a, b, t) / a.shape[1]
            ),
            "You summed over the batch: take the mean over the images.": lambda a, b, t: agreement(a, b, t) * len(a),
            "The softmax runs over the batch: the classes are dimension 1.": lambda a, b, t: (
                divergence(a, b, t, dim=0) + divergence(b, a, t, dim=0)
            ),
            "No target is detached: the value is right, the gradient is another.": lambda a, b, t: (
                kl(a, b, t, detach=False) + kl(b, a, t, detach=False)
            ),
            "This is a Jensen-Shannon divergence, against the mean of the two: Eq. 3 compares them directly.": lambda a, b, t: (
                sum(
                    ((z / t).softmax(1) * ((z / t).log_softmax(1) - ((a / t).softmax(1) + (b / t).softmax(1)).div(2).log()))
                    .sum(1)
                    .mean()
                    for z in (a, b)
                )
            ),
            "The gap of the two probabilities is squared here: Eq. 3 is a KL.": lambda a, b, t: (
                ((a / t).softmax(1) - (b / t).softmax(1)).square().sum(1).mean()
            ),
            "One direction is taken off the other: add them.": lambda a, b, t: divergence(a, b, t) - divergence(b, a, t),
            "Probabilities went in where F.kl_div wants their logarithm: use log_softmax for the side that learns.": (
                lambda a, b, t: sum(
                    F.kl_div((z / t).softmax(1), (q.detach() / t).softmax(1), reduction="batchmean")
                    for z, q in ((a, b), (b, a))
                )
            ),
            "The softmax is taken twice on the side that learns: log_softmax wants logits.": lambda a, b, t: sum(
                F.kl_div((z / t).softmax(1).log_softmax(1), (q.detach() / t).softmax(1), reduction="batchmean")
                for z, q in ((a, b), (b, a))
            ),
            "The same direction is there twice, b teaches a: a teaches b, too.": lambda a, b, t: 2 * divergence(a, b, t),
            "The same direction is there twice, a teaches b: b teaches a, too.": lambda a, b, t: 2 * divergence(b, a, t),
            "The side that teaches is not softened: divide both logits by T.": lambda a, b, t: (
                divergence(a, b, t, 1) + divergence(b, a, t, 1)
            ),
        },
    ),
    Exercise(
        "ddgsd.mean_discrepancy",
        "Write Eq. 1, the MMD of the two views' features: it compares the batches' means. Both sides learn.",
        "The mean is over dimension 0; single images may still differ.",
        draw_features,
        mean_discrepancy,
        {
            "You compared image by image: take the mean over the batch first.": lambda a, b: (a - b).square().sum(1).mean(),
            "You took the means over the features: over the batch, dimension 0.": lambda a, b: (
                (a.mean(1) - b.mean(1)).square().sum()
            ),
            "This is the distance, not its square: leave the root out.": lambda a, b: (a.mean(0) - b.mean(0)).norm(),
            "Absolute differences: Eq. 1 squares them.": lambda a, b: (a.mean(0) - b.mean(0)).abs().sum(),
            "The square is missing: differences of both signs cancel.": lambda a, b: (a.mean(0) - b.mean(0)).sum(),
            "You averaged over the features: sum over them.": lambda a, b: (a.mean(0) - b.mean(0)).square().mean(),
            "You summed over the batch: take its mean.": lambda a, b: (a.sum(0) - b.sum(0)).square().sum(),
            "You compared the mean over all numbers: one mean for each feature.": lambda a, b: (a.mean() - b.mean()).square(),
            "View b is constant here: both sides learn.": lambda a, b: mmd(a, b.detach()),
            "View a is constant here: both sides learn.": lambda a, b: mmd(a.detach(), b),
            "You squared the sum: square each difference first.": lambda a, b: (a.mean(0) - b.mean(0)).sum().square(),
            "You compared the means of squares: square the gap of the means.": lambda a, b: (
                a.square().mean(0) - b.square().mean(0)
            ).sum(),
            "Squares of the means are subtracted: subtract first, then square.": lambda a, b: (
                a.mean(0).square() - b.mean(0).square()
            ).sum(),
            "The two means are added: subtract.": lambda a, b: (a.mean(0) + b.mean(0)).square().sum(),
        },
    ),
    Exercise(
        "ddgsd.printed_gradient",
        "Write the gradient that the paper prints under Eq. 3, with the factors that it leaves out (mean over the batch, "
        "temperature). By hand: what would autograd say at `z_a`?",
        "It stands in <i>The loss in code</i> below <code>backward()</code>, in two lines.",
        two_logits,
        printed_gradient,
        {
            "The factor 1/T is missing.": lambda a, b, t: printed_gradient(a, b, t) * t,
            "The factor 1/B is missing, of the mean over the batch.": lambda a, b, t: printed_gradient(a, b, t) * len(a),
            "Both factors are missing, 1/B and 1/T.": lambda a, b, t: printed_gradient(a, b, t) * len(a) * t,
            "You multiplied by T: divide by it.": lambda a, b, t: printed_gradient(a, b, t) * t**2,
            "The factor is 1/T² here: 1/T.": lambda a, b, t: printed_gradient(a, b, t) / t,
            "The softmax has no temperature.": lambda a, b, t: printed_gradient(a, b, 1) / t,
            "You divided by the number of classes: by that of images.": lambda a, b, t: (
                printed_gradient(a, b, t) * len(a) / a.shape[1]
            ),
            "That is the gradient at view b: the sign is the other one.": lambda a, b, t: printed_gradient(b, a, t),
            "The logits are subtracted: their softmax is.": lambda a, b, t: (a - b) / (len(a) * t),
            "The logarithms are subtracted: the probabilities are.": lambda a, b, t: (
                ((a / t).log_softmax(1) - (b / t).log_softmax(1)) / (len(a) * t)
            ),
            "The softmax runs over the batch: the classes are dimension 1.": lambda a, b, t: (
                ((a / t).softmax(0) - (b / t).softmax(0)) / (len(a) * t)
            ),
            "That is p_a alone: the target is taken off.": lambda a, b, t: (a / t).softmax(1) / (len(a) * t),
        },
        gradients=False,
    ),
    Exercise(
        "ddgsd.ddgsd_loss",
        "Put Eq. 5 together from the three parts; λ weighs the agreement and μ the MMD.",
        "The functions of the exercises before are its parts; the labels have no weight.",
        draw_loss,
        ddgsd_loss,
        {
            "λ and μ are exchanged.": lambda z, h, y, lam, mu, t: ddgsd_loss(z, h, y, mu, lam, t),
            "λ is missing.": nearly(agree=lambda a, b, lam, t: agreement(a, b, t)),
            "μ is missing.": nearly(apart=lambda f, e, mu: mmd(f, e)),
            "The MMD is missing.": nearly(apart=lambda f, e, mu: 0),
            "The agreement is missing.": nearly(agree=lambda a, b, lam, t: 0),
            "The labels are missing.": nearly(task=0),
            "The cross entropies are averaged: Eq. 4 adds them.": nearly(task=0.5),
            "One direction of the agreement is missing: a teaches b, too.": nearly(
                agree=lambda a, b, lam, t: lam * divergence(a, b, t)
            ),
            "One direction of the agreement is missing: b teaches a, too.": nearly(
                agree=lambda a, b, lam, t: lam * divergence(b, a, t)
            ),
            "The agreement carries T²: this paper has none.": nearly(
                agree=lambda a, b, lam, t: lam * t**2 * agreement(a, b, t)
            ),
            "The agreement is not softened: divide the logits by T.": nearly(
                agree=lambda a, b, lam, t: lam * agreement(a, b, 1)
            ),
            "The features are compared image by image: the MMD compares means.": nearly(
                apart=lambda f, e, mu: mu * (f - e).square().sum(1).mean()
            ),
            "The agreement is the mean of its two directions: Eq. 3 adds them.": nearly(
                agree=lambda a, b, lam, t: lam * agreement(a, b, t) / 2
            ),
            "The agreement is averaged over the classes, too: sum over them.": nearly(
                agree=lambda a, b, lam, t: lam * agreement(a, b, t) / a.shape[1]
            ),
            "The MMD is the distance, not its square: leave the root out.": nearly(
                apart=lambda f, e, mu: mu * (f.mean(0) - e.mean(0)).norm()
            ),
            "The MMD is averaged over the features: sum over them.": nearly(
                apart=lambda f, e, mu: mu * (f.mean(0) - e.mean(0)).square().mean()
            ),
            "The MMD is taken off: add it.": nearly(apart=lambda f, e, mu: -mu * mmd(f, e)),
            "View b's label is missing: both views learn theirs.": nearly(entropy=lambda a, b, y: F.cross_entropy(a, y)),
            "View a's label is missing: both views learn theirs.": nearly(entropy=lambda a, b, y: F.cross_entropy(b, y)),
            "The softmax is taken twice in the cross entropies: they want logits.": nearly(
                entropy=lambda a, b, y: F.cross_entropy(a.softmax(1), y) + F.cross_entropy(b.softmax(1), y)
            ),
            "The labels weigh 1 - λ here: Eq. 5 gives them no weight.": lambda z, h, y, lam, mu, t: (
                ddgsd_loss(z, h, y, lam, mu, t) - lam * both_labels(z, y)
            ),
            "The views are not interleaved: all of view a comes first.": nearly(split=lambda rows: (rows[::2], rows[1::2])),
        },
    ),
    Exercise(
        "ddgsd.MyDDGSD",
        "Change `MyDDGSD` above: take *half* the sum of the cross entropies, so that the labels pull as hard as in plain "
        "training. Run its cells again: is the gain still there?",
        "One factor, on one term; the agreement and the MMD stay.",
        step("four-stage"),
        with_options(DDGSD, branch_mean=True),
        {
            "Not changed yet: the cross entropies are still added.": weighed(),
            "Everything is halved: the cross entropies alone.": weighed(0.5, 0.5, 0.5),
            "The agreement is halved: the cross entropies are to be.": weighed(agree=0.5),
            "The agreement is halved, too: leave it.": weighed(0.5, 0.5),
            "The cross entropies are doubled: halve them.": weighed(task=2),
            "A quarter is too little: half the sum of the two.": weighed(task=0.25),
            "The agreement is doubled instead: halve the cross entropies.": weighed(agree=2),
            "The agreement is gone: leave it.": weighed(0.5, 0),
            "The MMD is gone: leave it.": weighed(0.5, apart=0),
            "The MMD is halved, too: leave it.": weighed(0.5, apart=0.5),
            "Only view b's cross entropy is halved: both are to be.": one_view(1, 0.5),
            "Only view a's cross entropy is halved: both are to be.": one_view(0.5, 1),
            "Only view a learns its label now: both do, each half.": one_view(1, 0),
            "Only view b learns its label now: both do, each half.": one_view(0, 1),
            "The views' logits are averaged now: average the two cross entropies.": view_mean(),
            "The targets of the agreement get a gradient now: leave them detached.": with_options(
                DDGSD, branch_mean=True, detach=False
            ),
            "The agreement carries T² now: leave it.": with_options(DDGSD, branch_mean=True, t_squared=True),
        },
        call=partial(loss_of, mu=0.5),
        given=STEP,
        cell=CELL,
    ),
]
