"""Be Your Own Teacher (Zhang et al., ICCV 2019), and deeply supervised nets, which it grew from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from ..core import Knob, temperature
from ..losses import hint, hint_norm, kl
from ..models import Head
from .base import Method, supervised


class BYOT(Method):
    """The deepest classifier teaches one auxiliary classifier per shallower stage (paper 003, the loss slide).

    L = CE(q_C, y) + Σ_i<C [(1 - α) CE(q_i, y) + α KL(q_C || q_i) + λ |F_i - F_C|^2], T in the KL alone;
    q_C and F_C are constants in the bracket
    ensemble: z = (1/C) Σ_i z_i   ("probabilities": z = ln (1/C) Σ_i q_i)

    Costs the auxiliary classifiers' passes, a sixth more on ResNet-18. Memory: their weights, none of it deployed.
    Helps when early exits are wanted too, or the network is deep enough that its early stages learn slowly.

    alpha: weight of the soft target, in [0, 1]. 0 is deep supervision by labels alone; 1 learns from the deepest alone.
    lam: weight of the squared L2 hint between pooled features, summed over features and averaged over the batch.
    temperature: of both sides of the KL.
    head: "bottleneck" (the public port of the paper), "separable" (the journal's code) or "linear".
    t_squared: multiply the KL by T^2. deepest_alpha: take (1 - alpha) of the deepest classifier's CE too, as the port does.
    hint: "squared", or "norm", the journal code's un-squared norm, which goes with lam=0.03. hints: how much of lam each
    shallower exit takes, shallow to deep; None: each all of it. (0, 1, 1) spares the first, as an earlier journal code.
    detach: False lets the KL and the hint pull the deepest classifier and its features, too.
    ensemble: the mean of the exits' "logits", as the journal's code has it, or of their "probabilities".
    """

    reads_labels = True
    sections = 4  # the paper's tables have four exits, also of networks of three stages
    knobs = {
        "alpha": Knob("α", 0, 1, "labels alone: a deeply supervised net", "the deepest classifier alone", most=1),
        "lam": Knob("λ", 0, 1e-3, "no feature hint", "shallow features must copy the deepest"),
        "temperature": temperature(),
    }

    def __init__(
        self,
        model,
        *,
        alpha: float = 0.3,
        lam: float = 1e-4,
        temperature: float = 3.0,
        head: str = "bottleneck",
        t_squared: bool = False,
        deepest_alpha: bool = False,
        hint: str = "squared",
        hints: Sequence[float] | None = None,
        detach: bool = True,
        ensemble: str = "logits",
    ) -> None:
        super().__init__()
        if hint not in ("squared", "norm"):
            raise ValueError(f"the hint is 'squared' or 'norm', got {hint!r}")
        if ensemble not in ("logits", "probabilities"):
            raise ValueError(f"the ensemble is the mean of the exits' 'logits' or 'probabilities', got {ensemble!r}")
        self.without_hint = head == "linear" and len({*model.channels}) > 1
        self.alpha, self.lam, self.temperature = alpha, lam, temperature
        self.replaces_task_loss = deepest_alpha
        self.t_squared, self.deepest_alpha, self.hint, self.ensemble = t_squared, deepest_alpha, hint, ensemble
        self.heads = nn.ModuleList(Head(model, s, head) for s in range(len(model.channels) - 1))
        self.detach, self.hints = detach, tuple(hints) if hints is not None else (1.0,) * len(self.heads)
        if len(self.hints) != len(self.heads) or min(self.hints, default=0) < 0:
            raise ValueError(
                f"hints are weights from 0, one for each of the {len(self.heads)} shallower exits, got {self.hints}"
            )

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "lam" and self.lam > 0 and self.without_hint:
            object.__setattr__(self, "lam", 0.0)  # whoever catches the error goes on as before
            raise ValueError(
                "a linear head has no features of the last stage's width for the hint: use head='bottleneck' or lam=0"
            )

    def terms(self, model, out, batch, progress):
        heads = [head(f) for head, f in zip(self.heads, out.stages, strict=False)]
        distance = hint if self.hint == "squared" else hint_norm
        soft = sum(kl(z, out.logits, self.temperature, self.detach) for z, _ in heads)
        hinted = [(w, f) for w, (_, f) in zip(self.hints, heads, strict=False) if w]
        apart = sum(w * distance(f, out.embedding, self.detach) for w, f in hinted) if self.lam else 0
        deepest = 1 - self.alpha if self.deepest_alpha else 1.0
        return {
            "task": deepest * supervised(out.logits, batch),
            "head ce": (1 - self.alpha) * sum(supervised(z, batch) for z, _ in heads),  # loss source 1
            "kd": self.alpha * (self.temperature**2 if self.t_squared else 1.0) * soft,  # loss source 2
            "hint": self.lam * apart + out.logits.new_zeros(()),
        }  # loss source 3

    def auxiliary_heads(self):
        n = len(self.heads) + 1
        return {f"{head.stage + 1}/{n}": head for head in self.heads}

    def exits(self, out, x):
        exits = super().exits(out, x)
        deepest = f"{len(self.heads) + 1}/{len(self.heads) + 1}"
        every = torch.stack([exits[name] for name in self.auxiliary_heads()] + [out.logits])
        mean = every.mean(0) if self.ensemble == "logits" else every.log_softmax(2).logsumexp(0) - math.log(len(every))
        return {**exits, deepest: out.logits, "ensemble": mean}

    def features(self, out):
        n = len(self.heads) + 1
        return super().features(out) | {f"{n}/{n}": out.embedding}


class DSN(BYOT):
    """Deeply supervised nets (Lee et al. 2015): every head learns from the label alone. BYOT's Table 4 compares with it.

    L = CE(q_C, y) + Σ_i<C CE(q_i, y)   (BYOT's loss with α = λ = 0)

    Costs and memory: BYOT's.
    Helps when gradients hardly reach the early stages.
    """

    knobs = {}

    def __init__(self, model, *, head: str = "bottleneck") -> None:
        super().__init__(model, alpha=0.0, lam=0.0, head=head)

    def terms(self, model, out, batch, progress):
        terms = super().terms(model, out, batch, progress)
        return {"task": terms["task"], "head ce": terms["head ce"]}
