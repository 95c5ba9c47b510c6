"""Exercises on DRG and DSR: a poor teacher guides, and outputs keep the shape they had (paper 004)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import kd, kl
from ..methods import DRG
from .common import (
    STEP,
    Wrong,
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
    two_outputs,
    with_options,
    with_terms,
)
from .exercise import Exercise


def guidance(logits: Tensor, shallow_logits: Tensor, tau: float) -> Tensor:
    """Eq. 9: tau^2 KL(shallow || deep), mean over the batch. logits [B, K] x2 -> []."""
    return tau**2 * divergence(logits, shallow_logits, tau)


def drg_loss(logits: Tensor, shallow_logits: Tensor, y: Tensor, alpha: float, tau: float) -> Tensor:
    """Eq. 10: both cross entropies and alpha times the guidance. logits [B, K] x2, labels [B] -> []."""
    return F.cross_entropy(logits, y) + F.cross_entropy(shallow_logits, y) + alpha * kd(logits, shallow_logits, tau)


def uniform_guidance(logits: Tensor, tau: float) -> Tensor:
    """Eq. 9 with a teacher that finds all classes alike. logits [B, K] -> []."""
    return tau**2 * divergence(logits, torch.zeros_like(logits), tau)


def ranked(logits: Tensor) -> Tensor:
    """Each image's logits in ascending order. [B, K] -> [B, K]."""
    return torch.stack([torch.sort(row).values for row in logits])


def shape_kl(logits: Tensor, before: Tensor, tau: float) -> Tensor:
    """Eq. 11: tau^2 KL of the last batch's ranked output to this one's. logits [B, K] x2 -> []."""
    return tau**2 * divergence(ranked(logits), ranked(before), tau)


def dsr_loss(logits: Tensor, before: Tensor, y: Tensor, beta: float, tau: float) -> Tensor:
    """Eq. 12: cross entropy and beta times the ranked KL; before may have other rows. [B, K], [A, K], [B] -> []."""
    n = min(len(logits), len(before))
    return F.cross_entropy(logits, y) + beta * shape_kl(logits[:n], before[:n], tau)


def draw_loss(g: torch.Generator) -> tuple[Any, ...]:
    """Two logits, labels, a weight and a temperature."""
    n, k = batch_and_classes(g)
    return normal(g, n, k), normal(g, n, k), labels(g, n, k), number(g, 0.3, 0.7), number(g, 1.5, 3)


def draw_two_batches(g: torch.Generator) -> tuple[Any, ...]:
    """Logits of this batch and of one that may be longer or shorter, labels, beta and a temperature."""
    n, k = size(g, 4, 5), size(g, 6, 8)
    other = size(g, 2, 7)
    return normal(g, n, k), normal(g, other, k), labels(g, n, k), number(g, 0.3, 0.7), number(g, 1.5, 3)


def nearly(deep: Any = 1, shallow: Any = 1, guide: Callable[..., Any] | None = None) -> Callable[..., Tensor]:
    """Eq. 10 with parts of it changed: a cross entropy's weight, or what guides."""

    def loss(z: Tensor, q: Tensor, y: Tensor, a: float, t: float) -> Tensor:
        weights = [w(a) if callable(w) else w for w in (deep, shallow)]
        guided = guide(z, q, a, t) if guide else a * kd(z, q, t)
        return weights[0] * F.cross_entropy(z, y) + weights[1] * F.cross_entropy(q, y) + guided

    return loss


def of_ranks(rank: Callable[[Tensor], Tensor], rank_before: Callable[[Tensor], Tensor] | None = None) -> Callable[..., Tensor]:
    """Eq. 11 with another ranking."""
    return lambda z, q, t: t**2 * kl(rank(z), (rank_before or rank)(q), t)


def shape_mistakes() -> Wrong:
    """Wrong answers of (logits, before, tau): those of a KL, of ranked outputs, and those of the ranking."""

    def after(wrong: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda z, q, t: wrong(ranked(z), ranked(q), t)

    return {
        "Neither output is ranked: sort both.": of_ranks(lambda z: z),
        "The last batch's output is not ranked: sort both.": of_ranks(ranked, lambda z: z),
        "This batch's output is not ranked: sort both.": of_ranks(lambda z: z, ranked),
        "One side ascends and the other descends.": of_ranks(ranked, lambda z: ranked(z).flip(1)),
        "You sorted over the batch: each image's row is sorted by itself.": of_ranks(lambda z: z.sort(0).values),
        "Probabilities are ranked, and softened again: rank the logits.": lambda z, q, t: (
            t**2 * kl(ranked(z.softmax(1)), ranked(q.softmax(1)), t)
        ),
        "Softened probabilities are ranked, and softened again: rank the logits.": lambda z, q, t: (
            t**2 * kl(ranked((z / t).softmax(1)), ranked((q / t).softmax(1)), t)
        ),
    } | {sentence: after(wrong) for sentence, wrong in kl_mistakes(2).items()}


def dsr_nearly(
    task: Any = 1,
    guide: Callable[..., Any] | None = None,
    pair: Callable[..., Any] | None = None,
    entropy: Callable[..., Any] = lambda z, y, t: (z, y),
) -> Callable[..., Tensor]:
    """Eq. 12 with parts of it changed."""

    def loss(z: Tensor, q: Tensor, y: Tensor, b: float, t: float) -> Tensor:
        n = min(len(z), len(q))
        a, c = pair(z, q) if pair else (z[:n], q[:n])
        weight = task(b) if callable(task) else task
        return weight * F.cross_entropy(*entropy(z, y, t)) + (guide(a, c, b, t) if guide else b * shape_kl(a, c, t))

    return loss


CELL = '''class MyDRG(sdkit.methods.DRG):
    """DRG's loss, to be changed."""

    def terms(self, model, out, batch, progress):
        wide = sdkit.losses.wide  # 64 bits, in which sdkit has its KL
        tau, stage = self.temperature, self.stages[0]
        shallow, _ = self.heads[0](out.stages[stage - 1])
        log_p = (wide(out.logits) / tau).log_softmax(1)
        q = (wide(shallow.detach()) / tau).softmax(1)
        guidance = tau**2 * F.kl_div(log_p, q, reduction="batchmean").float()
        return {"task": F.cross_entropy(out.logits, batch.y),
                "shallow ce": F.cross_entropy(shallow, batch.y),
                "rg": self.alpha * guidance}'''


def guided(guide: Callable[..., Tensor], **options: Any) -> type[DRG]:
    """DRG with another guidance term: of the logits, the shallow logits, alpha and tau."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        shallow, _ = self.heads[0](out.stages[self.stages[0] - 1])
        found = DRG.terms(self, model, out, batch, progress)
        return found | {"rg": guide(out.logits, shallow, self.alpha, self.temperature)}

    return with_terms(with_options(DRG, **options), terms)  # type: ignore[return-value,arg-type]


EXERCISES = [
    gap(
        "drg_dsr.points_of_the_teacher",
        "DRG's teacher should be worse than its student: read off the figure of its exits by how many percentage points "
        "the network (`final`) lies above its shallow classifier, `shallow 2`.",
        "final",
        "shallow 2",
        "vanilla",
        "Accuracies are in [0, 1]; points are a hundredth each. With another sign it would be an ordinary teacher.",
        'trained["drg"].history[-1].test | {"vanilla": trained["vanilla"].accuracy}',
    ),
    Exercise(
        "drg_dsr.guidance",
        "Write Eq. 9, the reverse guidance: the *shallow* classifier teaches, and is constant.",
        "BYOT's KL with the roles exchanged, times τ².",
        two_logits,
        guidance,
        {
            "The deep output teaches here: that is BYOT's direction, DRG's is the reverse.": lambda z, q, t: (
                t**2 * divergence(q, z, t)
            )
        }
        | {s: w for s, w in kl_mistakes(2).items() if not s.startswith("The KL is the wrong way")},
    ),
    Exercise(
        "drg_dsr.drg_loss",
        "Put Eq. 10 together: both classifiers learn from the labels (at temperature 1), and the guidance weighs α.",
        "Eq. 8 has no weight; <code>guidance</code> from the exercise before does the rest.",
        draw_loss,
        drg_loss,
        {
            "The shallow classifier's cross entropy is missing: it learns from the labels, too.": nearly(shallow=0),
            "The network's own cross entropy is missing.": nearly(deep=0),
            "The labels weigh 1 - α here, as in BYOT: Eq. 8 has no weight.": nearly(lambda a: 1 - a, lambda a: 1 - a),
            "The network's labels weigh 1 - α here: Eq. 8 has no weight.": nearly(deep=lambda a: 1 - a),
            "α weighs the shallow cross entropy: it belongs to the guidance alone.": nearly(shallow=lambda a: a),
            "α weighs the whole loss: it belongs to the guidance.": nearly(lambda a: a, lambda a: a),
            "The guidance has no weight: it weighs α.": nearly(guide=lambda z, q, a, t: kd(z, q, t)),
            "The guidance is missing.": nearly(guide=lambda z, q, a, t: 0),
            "You forgot τ² in the guidance.": nearly(guide=lambda z, q, a, t: a * kl(z, q, t)),
            "The factor in the guidance is τ: it should be τ².": nearly(guide=lambda z, q, a, t: a * t * kl(z, q, t)),
            "The guidance is BYOT's: here the shallow output teaches.": nearly(guide=lambda z, q, a, t: a * kd(q, z, t)),
            "The guidance is not softened: divide both logits by τ.": nearly(guide=lambda z, q, a, t: a * t**2 * kl(z, q, 1)),
            "The guidance is averaged over the classes, too.": nearly(guide=lambda z, q, a, t: a * kd(z, q, t) / z.shape[1]),
            "The guidance is taken off: add it.": nearly(guide=lambda z, q, a, t: -a * kd(z, q, t)),
            "The mean of the two cross entropies is taken: Eq. 8 adds them.": nearly(0.5, 0.5),
            "The cross entropies are softened: they are at temperature 1.": lambda z, q, y, a, t: (
                F.cross_entropy(z / t, y) + F.cross_entropy(q / t, y) + a * kd(z, q, t)
            ),
        }
        | two_outputs("α", "guidance"),
    ),
    Exercise(
        "drg_dsr.uniform_guidance",
        "A teacher that knows nothing: write Eq. 9 with a uniform $q$ in place of the shallow classifier's. "
        "Up to a constant it is a method of the list (`sdkit list`): which?",
        "Write KL(u‖p) out: log u is a constant, and log p is averaged over the classes.",
        lambda g: two_logits(g)[1:],
        uniform_guidance,
        {
            "The KL is the wrong way round: the uniform distribution weighs, not the output.": lambda z, t: (
                t**2 * ((z / t).softmax(1) * ((z / t).log_softmax(1) + torch.tensor(z.shape[1]).log())).sum(1).mean()
            ),
            "The teacher's logarithm is missing: this is the cross entropy with a uniform target.": lambda z, t: (
                -(t**2) * (z / t).log_softmax(1).mean(1).mean()
            ),
            "You forgot τ².": lambda z, t: kl(z, 0 * z, t),
            "The factor in front is τ: it should be τ².": lambda z, t: t * kl(z, 0 * z, t),
            "The logits are not divided by τ.": lambda z, t: t**2 * kl(z, 0 * z, 1),
            "You multiplied the logits by τ: divide them.": lambda z, t: t**2 * kl(z, 0 * z, 1 / t),
            "You averaged over the classes once too often: u holds the 1/K already.": lambda z, t: (
                t**2 * kl(z, 0 * z, t) / z.shape[1]
            ),
            "The teacher sums to K: each class has 1/K, not 1.": lambda z, t: -(t**2) * (z / t).log_softmax(1).sum(1).mean(),
            "You divided by the number of images: each of the K classes has 1/K.": lambda z, t: (
                t**2 * F.kl_div((z / t).log_softmax(1), torch.full_like(z, 1 / len(z)), reduction="batchmean")
            ),
            "A number of classes is typed in, 10: it is logits.shape[1].": lambda z, t: (
                t**2 * F.kl_div((z / t).log_softmax(1), torch.full_like(z, 0.1), reduction="batchmean")
            ),
            "You summed over the batch: take the mean over the images.": lambda z, t: t**2 * kl(z, 0 * z, t) * len(z),
            "The softmax runs over the batch: the classes are dimension 1.": lambda z, t: (
                t**2 * F.kl_div((z / t).log_softmax(0), torch.full_like(z, 1 / z.shape[1]), reduction="batchmean")
            ),
            "This is the entropy of the output: that would be KL(p || u).": lambda z, t: (
                -(t**2) * ((z / t).softmax(1) * (z / t).log_softmax(1)).sum(1).mean()
            ),
            "The output's logarithm is missing: F.kl_div wants log_softmax.": lambda z, t: (
                t**2 * F.kl_div((z / t).softmax(1), torch.full_like(z, 1 / z.shape[1]), reduction="batchmean")
            ),
        },
    ),
    Exercise(
        "drg_dsr.ranked",
        "Write $\\tilde z$: what is left of an output when the classes' names are forgotten.",
        "<code>Tensor.sort</code> returns values and places.",
        lambda g: two_logits(g)[:1],
        ranked,
        {
            "This descends: Algorithm 2 ranks in ascending order.": lambda z: z.sort(1, descending=True).values,
            "You sorted over the batch: each image's row is sorted by itself.": lambda z: z.sort(0).values,
            "These are the places, not the values: argsort says where, sort says what.": lambda z: z.argsort(1),
            "These are the ranks, not the logits.": lambda z: z.argsort(1).argsort(1),
            "These are sorted probabilities: the logits are ranked.": lambda z: z.softmax(1).sort(1).values,
            "These are sorted log-probabilities: the logits are ranked.": lambda z: z.log_softmax(1).sort(1).values,
            "Sorted by size without sign: a large negative logit belongs to the front.": lambda z: z.gather(
                1, z.abs().argsort(1)
            ),
            "Those are absolute values: the sign counts.": lambda z: z.abs().sort(1).values,
            "The whole batch is sorted as one row: sort each image's.": lambda z: z.flatten().sort().values.view_as(z),
            "The logits are as they were: nothing is sorted.": lambda z: 1 * z,
            "The logits are turned around, not sorted.": lambda z: z.flip(1),
            "The images are sorted, by their largest logit: sort within each row.": lambda z: z[z.amax(1).argsort()],
        },
    ),
    Exercise(
        "drg_dsr.shape_kl",
        "Write Eq. 11: the ranked output of this batch against that of the batch before, which is constant.",
        "<code>ranked</code> for both, then the KL of <code>guidance</code>.",
        two_logits,
        shape_kl,
        shape_mistakes(),
    ),
    Exercise(
        "drg_dsr.dsr_loss",
        "Put Eq. 12 together. Row i meets row i of the batch before; where one batch is longer, its further rows meet none.",
        "<code>n = min(len(logits), len(before))</code>",
        draw_two_batches,
        dsr_loss,
        {
            "The cross entropy is missing.": dsr_nearly(task=0),
            "β weighs the cross entropy, too.": dsr_nearly(task=lambda b: b),
            "The labels weigh 1 - β here: Eq. 12 has no weight there.": dsr_nearly(task=lambda b: 1 - b),
            "The regulariser has no weight: it weighs β.": dsr_nearly(guide=lambda z, q, b, t: shape_kl(z, q, t)),
            "The regulariser is missing.": dsr_nearly(guide=lambda z, q, b, t: 0),
            "The regulariser is taken off: add it.": dsr_nearly(guide=lambda z, q, b, t: -b * shape_kl(z, q, t)),
            "You forgot τ².": dsr_nearly(guide=lambda z, q, b, t: b * kl(ranked(z), ranked(q), t)),
            "Neither output is ranked: sort both.": dsr_nearly(guide=lambda z, q, b, t: b * kd(z, q, t)),
            "The last batch's output is not ranked: sort both.": dsr_nearly(guide=lambda z, q, b, t: b * kd(ranked(z), q, t)),
            "The KL is the wrong way round: the earlier output weighs.": dsr_nearly(
                guide=lambda z, q, b, t: b * kd(ranked(q), ranked(z), t)
            ),
            "The last rows are paired: row i meets row i, from the front.": dsr_nearly(
                pair=lambda z, q: (z[-min(len(z), len(q)) :], q[-min(len(z), len(q)) :])
            ),
            "Only the first row is compared: all that both batches have.": dsr_nearly(pair=lambda z, q: (z[:1], q[:1])),
            "The regulariser is a sum over the images: take their mean.": dsr_nearly(
                guide=lambda z, q, b, t: b * shape_kl(z, q, t) * len(z)
            ),
            "This batch's output is not ranked: sort both.": dsr_nearly(guide=lambda z, q, b, t: b * kd(z, ranked(q), t)),
            "The factor in the regulariser is τ: it should be τ².": dsr_nearly(
                guide=lambda z, q, b, t: b * shape_kl(z, q, t) / t
            ),
            "The regulariser is averaged over the classes, too.": dsr_nearly(
                guide=lambda z, q, b, t: b * shape_kl(z, q, t) / z.shape[1]
            ),
            "The softmax is taken twice in the cross entropy: it wants logits.": dsr_nearly(
                entropy=lambda z, y, t: (z.softmax(1), y)
            ),
            "The cross entropy is softened: it is at temperature 1.": dsr_nearly(entropy=lambda z, y, t: (z / t, y)),
            "The cross entropy is of ranked logits: they have lost which class is which.": dsr_nearly(
                entropy=lambda z, y, t: (ranked(z), y)
            ),
            "The outputs are not softened: divide both by τ.": dsr_nearly(
                guide=lambda z, q, b, t: b * t**2 * kl(ranked(z), ranked(q), 1)
            ),
        },
    ),
    Exercise(
        "drg_dsr.MyDRG",
        "Change `MyDRG` above: let the guidance's gradient reach the shallow classifier, too, so that the two approach each "
        "other. Run its cells again: does the teacher get better, or the student worse?",
        "One call has to go.",
        step("four-stage"),
        with_options(DRG, detach=False),
        {
            "Not changed yet: the shallow classifier is still constant in the guidance.": DRG,
            "The guidance is turned round, and the deep output constant: both sides are to learn.": guided(
                lambda z, q, a, t: a * kd(q, z, t)
            ),
            "The guidance is turned round: the shallow output still weighs.": guided(
                lambda z, q, a, t: a * kd(q, z, t, detach=False)
            ),
            "The deep output is constant now: both sides are to learn.": guided(
                lambda z, q, a, t: a * kd(z.detach(), q, t, detach=False)
            ),
            "The weight α is gone: leave it.": guided(lambda z, q, a, t: kd(z, q, t, detach=False)),
            "The guidance is gone: leave it.": with_options(DRG, alpha=0.0),
            "Both directions are added: one is asked for, with a gradient to both.": guided(
                lambda z, q, a, t: a * (kd(z, q, t, detach=False) + kd(q, z, t, detach=False))
            ),
            "Both directions are added, each with a constant: one is asked for, with a gradient to both.": guided(
                lambda z, q, a, t: a * (kd(z, q, t) + kd(q, z, t))
            ),
            "The sign of the guidance has turned.": guided(lambda z, q, a, t: -a * kd(z, q, t, detach=False)),
            "The guidance is averaged over the classes now: sum over them.": guided(
                lambda z, q, a, t: a * kd(z, q, t, detach=False) / z.shape[1]
            ),
            "The factor is τ now: leave it τ².": guided(lambda z, q, a, t: a * t * kl(z, q, t, detach=False)),
            "The factor τ² is gone: leave it.": guided(lambda z, q, a, t: a * kl(z, q, t, detach=False)),
            "The guidance compares the logits now: keep the KL.": guided(lambda z, q, a, t: a * (z - q).square().sum(1).mean()),
            "The shallow classifier sits elsewhere: keep it behind stage 2.": with_options(DRG, detach=False, stages=(1,)),
        },
        call=partial(loss_of, alpha=0.5, temperature=2.0),
        given=STEP,
        cell=CELL,
    ),
]
