"""Learning a trained teacher's logits other than by Hinton's one divergence: regressed, or in two parts."""

from __future__ import annotations

from torch import nn

from ..core import Knob, temperature
from ..losses import logit_regression, other_kl, target_kl
from .base import Frozen, Method, same_classes, supervised


class LogitRegression(Method):
    """The student's logits regress the teacher's (Ba and Caruana 2014, Eq. 1): no softmax, no temperature.

    L = (1 - α) CE + α / (2 K) |z_S - z_T|^2   (per_class_mean=False: α / 2)

    alpha: weight of half the squared distance, in [0, 1]; labels have the rest. 0 is vanilla training; 1, the paper's, never
    looks at a label.
    per_class_mean: False is the printed sum over classes. Its gradient grows with the classes and with the logits' gaps, and
    wants a smaller learning rate than cross entropy; True (default, ours) divides by K, as a mean squared error does.

    Costs the teacher's pass. Memory: none. Helps when the teacher is sure: what a softmax flattens to zero, logits still tell.
    """

    replaces_task_loss = True
    knobs = {"alpha": Knob("α", 0, 1, "labels alone", "the teacher alone", most=1)}

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 1.0, per_class_mean: bool = True) -> None:
        super().__init__()
        same_classes(model, teacher)
        self.alpha, self.per_class_mean, self.teacher = alpha, per_class_mean, Frozen(teacher)

    def terms(self, model, out, batch, progress):
        gap = logit_regression(out.logits, self.teacher.forward_features(batch.x).logits)
        return {
            "task": (1 - self.alpha) * supervised(out.logits, batch),
            "logits": self.alpha * (gap / out.logits.shape[1] if self.per_class_mean else gap),
        }


class DKD(Method):
    """Decoupled distillation (Zhao et al. 2022, Sec. 3): how sure the label is, and how the other classes share the rest.

    L = CE + T^2 (α TCKD + β NCKD), both at T: TCKD = KL of (p_y, 1 - p_y), NCKD = KL of p_k / (1 - p_y) over k ≠ y

    Hinton's divergence is TCKD + (1 - p_label of the teacher) NCKD, so that a sure teacher says little of the other classes;
    here each part has a weight of its own.
    alpha: weight of the label against the rest. 0 leaves the other classes alone; the paper uses 1. beta: weight of the other
    classes among themselves. 0 leaves the label's part alone. The paper uses 8 on CIFAR-100 for most pairs of networks, less
    where the teacher is less sure. temperature: 4, and the parts are multiplied by its square.
    warmup: share of the training over which both weights climb from nothing, in equal steps; the paper's 20 of 240 epochs.

    Costs the teacher's pass. Memory: none. Helps when the teacher is sure of nearly every image.
    """

    reads_labels = True
    knobs = {
        "alpha": Knob("α", 0, 5, "how sure the teacher is does not matter", "being as sure as the teacher weighs most"),
        "beta": Knob("β", 0, 12, "the other classes are all alike", "the other classes weigh more than the label"),
        "temperature": temperature(),
    }

    def __init__(
        self,
        model,
        *,
        teacher: nn.Module,
        alpha: float = 1.0,
        beta: float = 8.0,
        temperature: float = 4.0,
        warmup: float = 1 / 12,
    ) -> None:
        super().__init__()
        same_classes(model, teacher)
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup is the share of the training in which the weights climb, in [0, 1], got {warmup:g}")
        self.alpha, self.beta, self.temperature, self.warmup = alpha, beta, temperature, warmup
        self.teacher = Frozen(teacher)

    def terms(self, model, out, batch, progress):
        soft = self.teacher.forward_features(batch.x).logits
        climb = self.temperature**2 * self.climb(progress)
        return {
            "task": supervised(out.logits, batch),
            "tckd": climb * self.alpha * target_kl(out.logits, soft, batch.y, self.temperature),
            "nckd": climb * self.beta * other_kl(out.logits, soft, batch.y, self.temperature),
        }

    def climb(self, progress) -> float:
        """The share of both weights that this step has, in (0, 1]."""
        steps = self.warmup * progress.epochs * progress.steps_per_epoch
        return min((progress.step + 1) / steps, 1.0) if steps else 1.0
