"""Distillation from a trained teacher (Hinton et al. 2015), and label smoothing (Szegedy et al. 2016)."""

from __future__ import annotations

from torch import nn

from ..core import Knob, pick, temperature
from ..losses import kd, soft_cross_entropy
from .base import Frozen, Method, labels_of, same_classes, supervised


class KD(Method):
    """A trained teacher's softened outputs beside the labels (Hinton et al. 2015, Sec. 2).

    L = (1 - α) CE(p, y) + α T^2 KL(t || p), t the teacher's outputs; both at T in the KL

    Costs a forward pass of the teacher, after the teacher's own training. Memory: the teacher.
    Helps when a better network on the same classes is at hand.

    alpha: weight of the teacher, in [0, 1]. 0 is vanilla training; 1 never looks at a label. Default: 0.9, T = 4, the
    common practice of public distillation collections.
    """

    replaces_task_loss = True
    knobs = {"alpha": Knob("α", 0, 1, "labels alone", "the teacher alone", most=1), "temperature": temperature()}

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 0.9, temperature: float = 4.0) -> None:
        super().__init__()
        same_classes(model, teacher)
        self.alpha, self.temperature, self.teacher = alpha, temperature, Frozen(teacher)

    def terms(self, model, out, batch, progress):
        soft = self.teacher.forward_features(batch.x).logits
        return {
            "task": (1 - self.alpha) * supervised(out.logits, batch),
            "kd": self.alpha * kd(out.logits, soft, self.temperature),
        }


class LSR(Method):
    """Label smoothing (Szegedy et al. 2016, Sec. 7): epsilon / K of the label goes to every class.

    L = -Σ_k q_k ln p_k, q = (1 - ε) 1_y + ε / K   (over="wrong": q_k = ε / (K - 1) for k ≠ y, q_y = 1 - ε)

    Costs nothing. Memory: none.
    Helps when the network is too sure of itself; it blurs which wrong classes are alike.

    epsilon: in [0, 1]. 0 is vanilla training; 1 teaches that every class is as likely, or under "wrong" that the label is not.
    over: who shares epsilon: "all" classes, the label too, or the "wrong" ones alone, so that the label keeps 1 - epsilon.
    """

    replaces_task_loss = True
    knobs = {"epsilon": Knob("ε", 0, 0.5, "hard labels", "half of the label is spread over all classes", most=1)}

    def __init__(self, model, *, epsilon: float = 0.1, over: str = "all") -> None:
        super().__init__()
        self.epsilon, self.over = epsilon, pick(over, ("all", "wrong"), "way to share epsilon")

    def terms(self, model, out, batch, progress):
        if self.over == "wrong":
            k = out.logits.shape[1]
            labels = labels_of(batch, k).to(out.logits.dtype)
            smooth = (1 - self.epsilon) * labels + self.epsilon / (k - 1) * (1 - labels)
            return {"task": soft_cross_entropy(out.logits, smooth)}
        return {"task": supervised(out.logits, batch, self.epsilon)}
