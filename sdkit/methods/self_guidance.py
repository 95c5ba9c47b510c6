"""Self-Guidance (Zheng & Peng, WACV 2022): paper 002."""

from __future__ import annotations

import contextlib

from ..core import Knob, temperature
from ..losses import kd
from ..models import residuals, sampled, still_statistics
from .base import Method, supervised


class SelfGuidance(Method):
    """The whole network teaches the sub-network that stochastic depth samples (Alg. 1, Eq. 5).

    L = CE(p_S, y) + CE(p_T, y) + λ τ^2 KL(p_T || p_S)   (Eq. 5; the teacher is constant in the KL)
    S: H_l = ReLU(b_l f_l(H_l-1) + H_l-1), b_l ~ Bernoulli(p_l)   (Eq. 3)   T: the same with p_l for b_l   (Eq. 4)

    Costs a second, partly skipped pass. Memory: none beyond the step's.
    Helps when a residual network is deep enough that stochastic depth does too.

    The loop's pass is the teacher's: every block, scaled by its survival (Eq. 4), as deployed. The student's is a second
    pass that computes only the blocks it kept (Eq. 3).

    lam: weight of the distillation. 0 is the paper's "W/O online distillation"; it finds 0.25 best and diverges at 3.
    teacher_learns: False is "W/O backward full network": no gradient and no labels for the whole network.
    reverse: KL(student || teacher), the other reading of Eq. 5; the teacher is detached all the same. both_statistics: the
    student's pass too moves the batch norms' running statistics; by default only the deployed rule does.
    detach: False lets the distillation's gradient reach the whole network's pass too, which then comes to meet the student.
    """

    reads_labels = True
    knobs = {
        "lam": Knob("λ", 0, 3, "the student learns from labels alone", "paper 002 diverges here"),
        "temperature": temperature("τ"),
    }

    def __init__(
        self,
        model,
        *,
        lam: float = 0.25,
        temperature: float = 3.0,
        teacher_learns: bool = True,
        reverse: bool = False,
        both_statistics: bool = False,
        detach: bool = True,
    ) -> None:
        super().__init__()
        blocks = residuals(model)
        if not blocks:
            raise ValueError("Self-Guidance samples residual blocks, and this network has none: use a ResNet")
        if all(b.survival == 1 for b in blocks):
            raise ValueError("Self-Guidance samples sub-networks: build the network with survival < 1, e.g. survival=0.5")
        if not (detach or teacher_learns):
            raise ValueError(
                "detach=False lets the whole network learn from the student, teacher_learns=False forbids it: say one"
            )
        for block in blocks:
            block.samples = False
        self.lam, self.temperature = lam, temperature
        self.replaces_task_loss = not teacher_learns
        self.teacher_learns, self.reverse, self.both_statistics = teacher_learns, reverse, both_statistics
        self.detach = detach

    def terms(self, model, out, batch, progress):
        with sampled(model), contextlib.nullcontext() if self.both_statistics else still_statistics(model):
            student = model.forward_features(batch.x)  # Eq. 3
        taught = out.logits.detach() if self.detach else out.logits
        pair = (taught, student.logits) if self.reverse else (student.logits, taught)
        distill = kd(*pair, self.temperature, detach=False)
        if not self.teacher_learns:
            return {"task": supervised(student.logits, batch), "kd": self.lam * distill}
        return {
            "task": supervised(out.logits, batch),
            "student ce": supervised(student.logits, batch),
            "kd": self.lam * distill,
        }
