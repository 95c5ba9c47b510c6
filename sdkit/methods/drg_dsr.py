"""Reverse guidance and shape-wise regularisation (Wang, Han & Guo, 2023): paper 004."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from ..core import Knob, pick, temperature
from ..losses import kd, ranked
from ..models import Head, still_statistics
from .base import Method, RankedTarget, supervised


class DRG(Method):
    """A shallow classifier, a deliberately poor teacher, guides the whole network (Alg. 1, Eq. 10).

    L = CE(q, y) + CE(p, y) + α τ^2 KL(q || p), q the shallow classifier's outputs, constant in the KL   (Eq. 8 to 10)
    Several shallow classifiers: the sum over them of CE(q, y) and of the KL.

    Costs one auxiliary classifier's pass. Memory: its weights, not deployed.
    Helps when the network is over-confident: the shallow exit's outputs are softer.

    stages: which stages carry an auxiliary classifier, counted from 1 as in Table IV. The paper settles on (2,).
    alpha: weight of the guidance. 0 is two classifiers that ignore each other. The paper uses 0.2.
    temperature: of the guidance. The paper finds 1 best (Fig. 6); its released code has 4.
    head: the auxiliary classifier: "bottleneck", "separable" (the released code) or "linear". Our reading: "bottleneck",
    because the paper does not describe it and one kind for BYOT and DRG lets their costs be compared.
    detach: False lets the KL's gradient reach the shallow classifier too, which then comes to meet the whole network.
    per_class_mean: every term times 1/K, as the paper prints it (Eq. 2, 4), the labels' too: a learning rate K times smaller.
    """

    reads_labels = True
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
        detach: bool = True,
        per_class_mean: bool = False,
    ) -> None:
        super().__init__()
        depth = len(model.channels)
        if not stages or len({*stages}) != len(stages) or not all(1 <= s < depth for s in stages):
            raise ValueError(f"DRG's stages are a choice from 1 to {depth - 1} without repeats, got {tuple(stages)}")
        self.alpha, self.temperature, self.stages, self.detach = alpha, temperature, tuple(stages), detach
        self.task_weight = 1 / model.num_classes if per_class_mean else 1.0
        self.heads = nn.ModuleList(Head(model, s - 1, head) for s in self.stages)

    def terms(self, model, out, batch, progress):
        shallow = [head(out.stages[s - 1])[0] for head, s in zip(self.heads, self.stages, strict=True)]
        guidance = sum(kd(out.logits, z, self.temperature, self.detach) for z in shallow)
        return {
            "task": self.task_weight * supervised(out.logits, batch),  # Eq. 8
            "shallow ce": self.task_weight * sum(supervised(z, batch) for z in shallow),  # Eq. 8
            "rg": self.task_weight * self.alpha * guidance,  # Eq. 9
        }

    def auxiliary_heads(self):
        return {f"shallow {head.stage + 1}": head for head in self.heads}


class DSR(Method):
    """Ranked outputs keep the shape they had one iteration ago (Alg. 2, Eq. 12).

    L = CE(p, y) + β τ^2 KL(p(z~_t-1) || p(z~_t)), z~ the logits in ascending order, t the iteration   (Eq. 11, 12)

    Costs a sort of the logits. Memory: one batch of logits.
    Helps when there are many classes; with few, a ranked output has little shape.

    The target is what the last iteration's batch said then, other images by other weights, and it is constant. The batch that
    ends an epoch is no target where it is smaller: the last whole one stays.

    beta: weight of the regulariser. 0 is vanilla training. The paper uses 1.
    temperature: of the regulariser. The paper finds 4 best (Fig. 6).
    pair: "position" compares the i-th image with the i-th of the last batch, as far as both go; "mean" with the mean of the
    last batch's ranked probabilities, whose gradient is that of comparing with every image of it.
    first: "skip" gives the very first step no target; "uniform" is Alg. 2 to the letter, with logits of 0 before it.
    reset_each_epoch: the released code, which forgets at every epoch's start.
    detach: False asks the last batch's images again, by today's weights (a second pass, which leaves running statistics as
    they are), and lets the gradient reach both sides.
    per_class_mean: every term times 1/K, as the paper prints it (Eq. 2, 4), the labels' too: a learning rate K times smaller.
    """

    knobs = {"beta": Knob("β", 0.1, 3, "the shape is nearly free", "one shape for all images"), "temperature": temperature("τ")}

    def __init__(
        self,
        model,
        *,
        beta: float = 1.0,
        temperature: float = 4.0,
        pair: str = "position",
        first: str = "skip",
        reset_each_epoch: bool = False,
        detach: bool = True,
        per_class_mean: bool = False,
    ) -> None:
        super().__init__()
        if first not in ("skip", "uniform"):
            raise ValueError(f"the first step's target is 'skip' or 'uniform', got {first!r}")
        self.beta, self.temperature, self.first, self.reset_each_epoch = beta, temperature, first, reset_each_epoch
        self.pairing, self.detach = pick(pair, ("position", "mean"), "way to pair two batches"), detach
        self.task_weight = 1 / model.num_classes if per_class_mean else 1.0

    def terms(self, model, out, batch, progress):
        z, target = ranked(out.logits), self.ranked_target(out, progress)
        sr = z.new_zeros(())
        if target is not None:
            before = target.logits
            if not self.detach and "x" in self.memory:
                with still_statistics(model):
                    before = self.paired(ranked(model.forward_features(self.memory["x"]).logits), len(z))
            n = min(len(z), len(before))
            sr = kd(z[:n], before[:n], self.temperature, self.detach)  # Eq. 11
        return {"task": self.task_weight * supervised(out.logits, batch), "sr": self.task_weight * self.beta * sr}

    def paired(self, before, images):
        """What a batch's ranked logits [B, K] are as a target: themselves, or for so many images the mean of their outputs."""
        if self.pairing == "position":
            return before
        t = self.temperature
        mean = (before / t).log_softmax(1).logsumexp(0) - math.log(len(before))
        return (t * mean).expand(images, -1)

    def ranked_target(self, out, progress):
        before = self.memory.get("ranked")
        if self.reset_each_epoch and progress.step % progress.steps_per_epoch == 0:
            before = None
        if before is None and self.first == "uniform":
            before = out.logits.detach() * 0
        return None if before is None else RankedTarget(self.paired(before, len(out.logits)), self.temperature)

    def remember(self, out, batch, progress):
        if "ranked" in self.memory and progress.ends_epoch and len(out.logits) < len(self.memory["ranked"]):
            return
        self.memory["ranked"] = ranked(out.logits)
        if not self.detach:
            self.memory["x"] = batch.x
