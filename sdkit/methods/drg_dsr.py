"""Reverse guidance and shape-wise regularisation (Wang, Han & Guo, 2023): paper 004."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..core import Knob, temperature
from ..losses import kd, ranked
from ..models import Head
from .base import Method, RankedTarget, supervised


class DRG(Method):
    """A shallow classifier, a deliberately poor teacher, guides the whole network (Alg. 1, Eq. 10).

    L = CE(q, y) + CE(p, y) + α τ^2 KL(q || p), q the shallow classifier's outputs, constant in the KL   (Eq. 8 to 10)

    Costs one auxiliary classifier's pass. Memory: its weights, not deployed.
    Helps when the network is over-confident: the shallow exit's outputs are softer.

    stages: which stages carry an auxiliary classifier, counted from 1 as in Table IV. The paper settles on (2,).
    alpha: weight of the guidance. 0 is two classifiers that ignore each other. The paper uses 0.2.
    temperature: of the guidance. The paper finds 1 best (Fig. 6); its released code has 4.
    head: the auxiliary classifier: "bottleneck", "separable" (the released code) or "linear". Our reading: "bottleneck",
    because the paper does not describe it and one kind for BYOT and DRG lets their costs be compared.
    """

    knobs = {
        "alpha": Knob("α", 0.01, 1, "the shallow classifier hardly guides", "its guidance weighs as much as the labels"),
        "temperature": temperature("τ"),
    }

    def __init__(
        self,
        model,
        *,
        alpha: float = 0.2,
        temperature: float = 1.0,
        stages: Sequence[int] = (2,),
        head: str = "bottleneck",
        per_class_mean: bool = False,
    ) -> None:
        super().__init__()
        depth = len(model.channels)
        if not stages or len({*stages}) != len(stages) or not all(1 <= s < depth for s in stages):
            raise ValueError(f"DRG's stages are a choice from 1 to {depth - 1} without repeats, got {tuple(stages)}")
        self.alpha, self.temperature, self.stages = alpha, temperature, tuple(stages)
        self.task_weight = 1 / model.num_classes if per_class_mean else 1.0
        self.heads = nn.ModuleList(Head(model, s - 1, head) for s in self.stages)

    def terms(self, model, out, batch, progress):
        shallow = [head(out.stages[s - 1])[0] for head, s in zip(self.heads, self.stages, strict=True)]
        return {
            "task": self.task_weight * supervised(out.logits, batch),  # Eq. 8
            "shallow ce": self.task_weight * sum(supervised(z, batch) for z in shallow),  # Eq. 8
            "rg": self.task_weight * self.alpha * sum(kd(out.logits, z, self.temperature) for z in shallow),  # Eq. 9
        }

    def auxiliary_heads(self):
        return {f"shallow {head.stage + 1}": head for head in self.heads}


class DSR(Method):
    """Ranked outputs keep the shape they had one iteration ago (Alg. 2, Eq. 12).

    L = CE(p, y) + β τ^2 KL(p(z~_t-1) || p(z~_t)), z~ the logits in ascending order, t the iteration   (Eq. 11, 12)

    Costs a sort of the logits. Memory: one batch of logits.
    Helps when there are many classes; with few, a ranked output has little shape.

    beta: weight of the regulariser. 0 is vanilla training. The paper uses 1.
    temperature: of the regulariser. The paper finds 4 best (Fig. 6).
    first: "skip" gives the very first step no target; "uniform" is Alg. 2 to the letter, with logits of 0 before it.
    reset_each_epoch: the released code, which forgets at every epoch's start.
    """

    knobs = {"beta": Knob("β", 0.1, 3, "the shape is nearly free", "one shape for all images"), "temperature": temperature("τ")}

    def __init__(
        self,
        model,
        *,
        beta: float = 1.0,
        temperature: float = 4.0,
        first: str = "skip",
        reset_each_epoch: bool = False,
        per_class_mean: bool = False,
    ) -> None:
        super().__init__()
        if first not in ("skip", "uniform"):
            raise ValueError(f"the first step's target is 'skip' or 'uniform', got {first!r}")
        self.beta, self.temperature, self.first, self.reset_each_epoch = beta, temperature, first, reset_each_epoch
        self.task_weight = 1 / model.num_classes if per_class_mean else 1.0

    def terms(self, model, out, batch, progress):
        z, target = ranked(out.logits), self.ranked_target(out, progress)
        n = 0 if target is None else min(len(z), len(target.logits))
        sr = kd(z[:n], target.logits[:n], self.temperature) if n else z.new_zeros(())  # Eq. 11
        return {"task": self.task_weight * supervised(out.logits, batch), "sr": self.task_weight * self.beta * sr}

    def ranked_target(self, out, progress):
        before = self.memory.get("ranked")
        if self.reset_each_epoch and progress.step % progress.steps_per_epoch == 0:
            before = None
        if before is None and self.first == "uniform":
            before = out.logits.detach() * 0
        return None if before is None else RankedTarget(before, self.temperature)

    def remember(self, out, batch, progress):
        self.memory["ranked"] = ranked(out.logits)
