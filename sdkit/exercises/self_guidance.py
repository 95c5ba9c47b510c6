"""Exercises on Self-Guidance: the whole network teaches the sub-network that stochastic depth samples (paper 002)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses import kd, kl
from ..methods import SelfGuidance
from ..models import sampled, still_statistics
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
    two_outputs,
    with_options,
    with_terms,
)
from .exercise import Exercise


def survivals(blocks: int, last: float) -> Tensor:
    """How probably each block survives, first to last: falls in equal steps to `last`. -> [blocks]."""
    return torch.tensor([1 - place / blocks * (1 - last) for place in range(1, blocks + 1)], dtype=torch.float64)


def student_block(h: Tensor, branch: Tensor, keep: bool) -> Tensor:
    """Eq. 3: a block's output, its branch kept or not. maps [B, C, H, W] x2 -> [B, C, H, W]."""
    return F.relu(branch + h) if keep else F.relu(h)


def teacher_block(h: Tensor, branch: Tensor, p: float) -> Tensor:
    """Eq. 4: a block's output, its branch scaled by its survival. maps [B, C, H, W] x2 -> [B, C, H, W]."""
    return F.relu(p * branch + h)


def expected_cost(whole: float, without: Tensor, survival: Tensor) -> Tensor:
    """The mean FLOPs of a sampled pass. whole: of all blocks; without [L]: with one block left out -> []."""
    cost = torch.tensor(whole, dtype=torch.float64)
    for less, p in zip(without, survival, strict=True):
        cost = cost - (1 - p) * (whole - less)
    return cost


def distillation(student_logits: Tensor, teacher_logits: Tensor, tau: float) -> Tensor:
    """The third term of Eq. 5 without λ: tau^2 KL(teacher || student). logits [B, K] x2 -> []."""
    return tau**2 * divergence(student_logits, teacher_logits, tau)


def sg_loss(student_logits: Tensor, teacher_logits: Tensor, y: Tensor, lam: float, tau: float) -> Tensor:
    """Eq. 5: both cross entropies and lam times the distillation. logits [B, K] x2, labels [B] -> []."""
    both = F.cross_entropy(student_logits, y) + F.cross_entropy(teacher_logits, y)
    return both + lam * kd(student_logits, teacher_logits, tau)


def draw_block(g: torch.Generator) -> tuple[Any, ...]:
    """Two maps."""
    shape = size(g, 2, 3), size(g, 2, 3), size(g, 2, 4), size(g, 2, 4)
    return normal(g, *shape), normal(g, *shape)


def draw_costs(g: torch.Generator) -> tuple[Any, ...]:
    """FLOPs of a network and of what it is without each block, and the survivals."""
    n = size(g, 3, 6)
    whole = number(g, 50, 100)
    shares = torch.rand(n, generator=g, dtype=torch.float64) / n
    return whole, whole * (1 - shares), 0.3 + 0.6 * torch.rand(n, generator=g, dtype=torch.float64)


def draw_loss(g: torch.Generator) -> tuple[Any, ...]:
    """Both passes' logits, labels, a weight and a temperature."""
    n, k = batch_and_classes(g)
    return normal(g, n, k), normal(g, n, k), labels(g, n, k), number(g, 0.2, 0.4), number(g, 1.5, 3)


def places(blocks: int) -> Tensor:
    """1 to the number of blocks."""
    return torch.arange(1, blocks + 1, dtype=torch.float64)


def nearly(student: Any = 1, teacher: Any = 1, distil: Callable[..., Any] | None = None) -> Callable[..., Tensor]:
    """Eq. 5 with parts of it changed: a cross entropy's weight, or the distillation."""

    def loss(s: Tensor, q: Tensor, y: Tensor, lam: float, t: float) -> Tensor:
        weights = [w(lam) if callable(w) else w for w in (student, teacher)]
        taught = distil(s, q, lam, t) if distil else lam * kd(s, q, t)
        return weights[0] * F.cross_entropy(s, y) + weights[1] * F.cross_entropy(q, y) + taught

    return loss


CELL = '''class MySelfGuidance(sdkit.methods.SelfGuidance):
    """Self-Guidance's loss, to be changed."""

    def terms(self, model, out, batch, progress):
        wide = sdkit.losses.wide  # 64 bits, in which sdkit has its KL
        tau, teacher = self.temperature, out.logits
        with models.sampled(model), models.still_statistics(model):
            student = model.forward_features(batch.x).logits
        log_student = (wide(student) / tau).log_softmax(1)
        log_teacher = (wide(teacher.detach()) / tau).log_softmax(1)
        kl = (log_teacher.exp() * (log_teacher - log_student)).sum(1).mean().float()
        return {"task": F.cross_entropy(teacher, batch.y),
                "student ce": F.cross_entropy(student, batch.y),
                "kd": self.lam * tau**2 * kl}'''


def distilled(distil: Callable[..., Tensor], student: float = 1, teacher: float = 1) -> type[SelfGuidance]:
    """Self-Guidance with another distillation: of the student's and the teacher's logits, lam and tau."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        with sampled(model), still_statistics(model):
            z = model.forward_features(batch.x).logits
        return {
            "task": teacher * F.cross_entropy(out.logits, batch.y),
            "student ce": student * F.cross_entropy(z, batch.y),
            "kd": distil(z, out.logits, self.lam, self.temperature),
        }

    return with_terms(SelfGuidance, terms)  # type: ignore[return-value]


def backwards(z: Tensor, q: Tensor, lam: float, t: float) -> Tensor:
    """KL(student || teacher), the teacher constant."""
    return lam * kd(q.detach(), z, t, detach=False)


EXERCISES = [
    gap(
        "self_guidance.points_gained",
        "Read the runs of *Train*: how many percentage points does Self-Guidance lie above `vanilla` after the *last* epoch? "
        "A negative number is an answer, too.",
        "self-guidance",
        "vanilla",
        "its best epoch",
        "The accuracies are printed there in percent: the first column, not the second.",
        '{n: t.accuracy for n, t in trained.items()}\nseen |= {"its best epoch": trained["self-guidance"].best_accuracy}',
    ),
    Exercise(
        "self_guidance.survivals",
        "Write $p_l$ for blocks $l=1$ to $L$: it falls in equal steps and reaches `last` at the last block.",
        "$p_l=1-\\tfrac{l}{L}(1-p_L)$; a list or a tensor will do.",
        lambda g: (size(g, 4, 9), number(g, 0.3, 0.7)),
        survivals,
        {
            "You count from 0: the first block is number 1, and the last has `last`.": lambda n, p: (
                1 - (places(n) - 1) / n * (1 - p)
            ),
            "The first block survives surely here: it has 1 - (1 - last) / L.": lambda n, p: torch.linspace(
                1, p, n, dtype=torch.float64
            ),
            "It is the wrong way round: the first blocks survive most often.": lambda n, p: survivals(n, p).flip(0),
            "All blocks survive alike here: p falls from the first to the last.": lambda n, p: p + 0 * places(n),
            "Those are the probabilities to be dropped: take them from 1.": lambda n, p: 1 - survivals(n, p),
            "This falls to 0: the last block has `last`.": lambda n, p: 1 - places(n) / n,
            "This rises to `last`: it falls from 1.": lambda n, p: places(n) / n * p,
            "This falls to 1 - last: the last block has `last`.": lambda n, p: 1 - places(n) / n * p,
            "This falls by a factor each time: it falls in equal steps.": lambda n, p: p ** (places(n) / n),
            "You divide by L + 1: the last block has `last`.": lambda n, p: 1 - places(n) / (n + 1) * (1 - p),
            "You multiplied the survivals up: each block is drawn by itself.": lambda n, p: survivals(n, p).cumprod(0),
            "Each block is halfway to its number: the first is number 1.": lambda n, p: 1 - (places(n) - 0.5) / n * (1 - p),
        },
    ),
    Exercise(
        "self_guidance.student_block",
        "Write Eq. 3 for one block: `branch` is $f_l(H_{l-1})$, and `keep` is the drawn $b_l$.",
        "A block that is left out hands on the ReLU of what came in.",
        lambda g: (*draw_block(g), bool(size(g, 0, 1))),
        student_block,
        {
            "`keep` is the wrong way round.": lambda h, f, b: student_block(h, f, not b),
            "The ReLU is missing.": lambda h, f, b: b * f + h,
            "The ReLU stands before the addition: add first.": lambda h, f, b: b * F.relu(f) + h,
            "Only what is kept has a ReLU: a block that is left out has one, too.": lambda h, f, b: (
                F.relu(f + h) if b else 1 * h
            ),
            "The whole block is gone where the branch is dropped: the shortcut stays.": lambda h, f, b: b * F.relu(f + h),
            "The shortcut is missing: add what came in.": lambda h, f, b: F.relu(b * f) + 0 * h,
            "The branch is always there: leave it out where `keep` is false.": lambda h, f, b: F.relu(f + h),
            "The branch is never there: add it where `keep` is true.": lambda h, f, b: F.relu(h) + 0 * f,
            "The shortcut is dropped instead of the branch.": lambda h, f, b: F.relu(f + b * h),
            "A kept branch has lost its shortcut: add what came in.": lambda h, f, b: F.relu(f if b else h),
            "A kept branch is scaled: b is 0 or 1 here.": lambda h, f, b: F.relu(b * f / 2 + h),
            "The branch is taken off: add it.": lambda h, f, b: F.relu(h - b * f),
            "The branch and the shortcut each have a ReLU: add first.": lambda h, f, b: b * F.relu(f) + F.relu(h),
        },
    ),
    Exercise(
        "self_guidance.teacher_block",
        "Write Eq. 4 for one block, the rule that is deployed: `p` is the block's survival.",
        "Only the branch is scaled.",
        lambda g: (*draw_block(g), number(g, 0.3, 0.8)),
        teacher_block,
        {
            "The shortcut is scaled, too: p multiplies the branch alone.": lambda h, f, p: F.relu(p * (f + h)),
            "You divided by p, as dropout in training does: multiply.": lambda h, f, p: F.relu(f / p + h),
            "The ReLU is missing.": lambda h, f, p: p * f + h,
            "The ReLU stands before the addition: add first.": lambda h, f, p: p * F.relu(f) + h,
            "The branch and the shortcut each have a ReLU: add first.": lambda h, f, p: p * F.relu(f) + F.relu(h),
            "The ReLU is the shortcut's alone: add first.": lambda h, f, p: p * f + F.relu(h),
            "The branch has 1 - p: it survives with p.": lambda h, f, p: F.relu((1 - p) * f + h),
            "This is a weighted mean of branch and shortcut: the shortcut keeps its weight 1.": lambda h, f, p: F.relu(
                p * f + (1 - p) * h
            ),
            "p multiplies the shortcut: it belongs to the branch.": lambda h, f, p: F.relu(f + p * h),
            "The shortcut is missing: add what came in.": lambda h, f, p: F.relu(p * f) + 0 * h,
            "The branch is not scaled.": lambda h, f, p: F.relu(f + h),
            "p is squared here.": lambda h, f, p: F.relu(p**2 * f + h),
            "The branch is taken off: add it.": lambda h, f, p: F.relu(h - p * f),
        },
    ),
    Exercise(
        "self_guidance.expected_cost",
        "What does a sampled pass cost on average? `whole` are the FLOPs with all blocks, `without[l]` those without block l.",
        "Leaving block l out saves <code>whole - without[l]</code>; how often is it left out?",
        draw_costs,
        expected_cost,
        {
            "p and 1 - p are exchanged: block l is left out with 1 - p.": lambda w, o, p: w - (p * (w - o)).sum(),
            "All blocks are always left out here: each only with probability 1 - p.": lambda w, o, p: w - (w - o).sum(),
            "You took off what is left instead of what is saved: whole - without[l] is saved.": lambda w, o, p: (
                w - ((1 - p) * o).sum()
            ),
            "You took the mean over the blocks: the savings add up.": lambda w, o, p: w - ((1 - p) * (w - o)).mean(),
            "The whole is counted once for every block: take the savings off it once.": lambda w, o, p: (
                p * w + (1 - p) * o
            ).sum(),
            "The savings are added: take them off.": lambda w, o, p: w + ((1 - p) * (w - o)).sum(),
            "Those are the savings alone: take them off the whole.": lambda w, o, p: ((1 - p) * (w - o)).sum(),
            "That is the whole times the mean survival: blocks cost differently, and something is outside of them.": (
                lambda w, o, p: w * p.mean()
            ),
            "Those are the blocks alone: what is outside of them costs, too.": lambda w, o, p: (p * (w - o)).sum(),
            "What is left after each block is multiplied up: savings add up.": lambda w, o, p: (
                w * (1 - (1 - p) * (1 - o / w)).prod()
            ),
            "The probability that all are left out is no weight: each block is drawn by itself.": lambda w, o, p: (
                w - (1 - p).prod() * (w - o).sum()
            ),
            "The smallest of the networks is no mean.": lambda w, o, p: o.min() + 0 * p.sum(),
            "The mean drop is no weight for every block: each has its own.": lambda w, o, p: w - (1 - p).mean() * (w - o).sum(),
        },
        gradients=False,
    ),
    Exercise(
        "self_guidance.distillation",
        "Write the third term of Eq. 5 without its λ: the whole network teaches, and is constant.",
        "τ² gives the gradient back what the temperature takes.",
        two_logits,
        distillation,
        kl_mistakes(2),
    ),
    Exercise(
        "self_guidance.sg_loss",
        "Put Eq. 5 together: student and teacher learn from the labels (at temperature 1), the student from the teacher, too.",
        "Two cross entropies without a weight, and λ times <code>distillation</code>.",
        draw_loss,
        sg_loss,
        {
            "The teacher's cross entropy is missing: the whole network learns from the labels, too.": nearly(teacher=0),
            "The student's cross entropy is missing.": nearly(student=0),
            "The labels weigh 1 - λ here: Eq. 5 gives them no weight.": nearly(lambda a: 1 - a, lambda a: 1 - a),
            "The student's labels weigh 1 - λ here: Eq. 5 gives them no weight.": nearly(student=lambda a: 1 - a),
            "λ weighs the whole loss: it belongs to the distillation.": nearly(lambda a: a, lambda a: a),
            "The mean of the two cross entropies is taken: Eq. 5 adds them.": nearly(0.5, 0.5),
            "The distillation has no weight: it weighs λ.": nearly(distil=lambda s, q, a, t: kd(s, q, t)),
            "The distillation is missing.": nearly(distil=lambda s, q, a, t: 0),
            "You forgot τ² in the distillation.": nearly(distil=lambda s, q, a, t: a * kl(s, q, t)),
            "The factor in the distillation is τ: it should be τ².": nearly(distil=lambda s, q, a, t: a * t * kl(s, q, t)),
            "The student teaches here: the whole network does.": nearly(distil=lambda s, q, a, t: a * kd(q, s, t)),
            "The distillation is not softened: divide both logits by τ.": nearly(
                distil=lambda s, q, a, t: a * t**2 * kl(s, q, 1)
            ),
            "The distillation is averaged over the classes, too.": nearly(
                distil=lambda s, q, a, t: a * kd(s, q, t) / s.shape[1]
            ),
            "The distillation is taken off: add it.": nearly(distil=lambda s, q, a, t: -a * kd(s, q, t)),
            "The cross entropies are softened: they are at temperature 1.": lambda s, q, y, a, t: (
                F.cross_entropy(s / t, y) + F.cross_entropy(q / t, y) + a * kd(s, q, t)
            ),
        }
        | two_outputs("λ", "distillation"),
    ),
    Exercise(
        "self_guidance.MySelfGuidance",
        "Change `MySelfGuidance` above: read Eq. 5 the other way, KL(student‖teacher), the teacher constant all the same. Run "
        "its cells again: does it matter?",
        "Which distribution weighs the gap of the logarithms?",
        step("four-stage", survival=0.5),
        with_options(SelfGuidance, reverse=True),
        {
            "Not changed yet: the teacher's distribution still weighs.": SelfGuidance,
            "The logarithms are not exchanged: the gap has the other sign, too.": distilled(
                lambda s, q, a, t: (
                    a * t**2 * ((s / t).softmax(1) * ((q.detach() / t).log_softmax(1) - (s / t).log_softmax(1))).sum(1).mean()
                )
            ),
            "Only the logarithms are exchanged: the student's distribution has to weigh.": distilled(
                lambda s, q, a, t: -a * kd(s, q, t)
            ),
            "The teacher is no constant now: detach it.": distilled(lambda s, q, a, t: a * kd(q, s, t, detach=False)),
            "The student is constant, and the teacher learns: the other way.": distilled(lambda s, q, a, t: a * kd(q, s, t)),
            "λ is gone: leave it.": distilled(lambda s, q, a, t: backwards(s, q, 1, t)),
            "τ² is gone: leave it.": distilled(lambda s, q, a, t: backwards(s, q, a, t) / t**2),
            "The temperature is gone: leave it.": distilled(lambda s, q, a, t: t**2 * backwards(s, q, a, 1)),
            "The distillation is gone.": distilled(lambda s, q, a, t: 0 * s.sum()),
            "Both directions are added: one is asked for.": distilled(
                lambda s, q, a, t: backwards(s, q, a, t) + a * kd(s, q, t)
            ),
            "The student's cross entropy is gone: leave it.": distilled(backwards, student=0),
            "The teacher's cross entropy is gone: leave it.": distilled(backwards, teacher=0),
            "It is averaged over the classes now: sum over them.": distilled(
                lambda s, q, a, t: backwards(s, q, a, t) / s.shape[1]
            ),
        },
        call=partial(loss_of, lam=0.5),
        given=STEP,
        cell=CELL,
    ),
]
