"""Learning an earlier training's answers by fooling a judge of them, beside learning them one by one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..core import Knob, temperature
from ..losses import kd
from ..models.backbone import full_precision
from .base import Frozen, same_classes
from .online import check_int
from .selfkd import PSKD


def judged(of_teacher: Tensor, of_student: Tensor) -> Tensor:
    """A judge's loss: -mean log s(D(p_T)) - mean log (1 - s(D(p_S))), s the logistic function. scores [B, 1] x2 -> []."""
    return F.softplus(-full_precision(of_teacher)).mean() + F.softplus(full_precision(of_student)).mean()


def fooled(of_student: Tensor) -> Tensor:
    """What fools the judge: -mean log s(D(p_S)). scores [B, 1] -> []. Goodfellow et al. 2014, Sec. 3."""
    return F.softplus(-full_precision(of_student)).mean()


class AIKD(PSKD):
    """AI-KD (Kim et al. 2024): labels softened as in `PSKD`, the network's own earlier training as teacher, and a judge.

    L = -Σ_k y~_k ln p_k + λ T^2 KL(t || p) - μ ln s(D(p)), y~ as in `PSKD`; the judge D: -ln s(D(t)) - ln (1 - s(D(p)))

    Costs a forward pass of the teacher, after the teacher's whole training. Memory: the teacher, the judge, and PSKD's.
    Helps when the teacher's single answers are too hard to copy: to fool the judge they need only look like the teacher's.

    The judge tells the teacher's probabilities from the student's, and the student learns to be taken for the teacher. One
    step moves both: no gradient of the judge's loss reaches the student, and none of the student's the judge.
    Our readings, from the paper's abstract and the methods it starts from: the judge is two linear layers on the
    probabilities times the root of K, in the common form of Goodfellow et al. 2014; lam and mu are ours.
    alpha: share of last epoch's answer in the last epoch's label, as in PSKD. 0 is hard labels.
    lam: weight of T^2 KL to the teacher. 0 leaves the teacher to the judge. mu: weight of fooling it. 0 is PSKD with a teacher.
    width: of the judge's hidden layer.
    """

    knobs = PSKD.knobs | {
        "lam": Knob("λ", 0, 3, "the teacher is heard through the judge alone", "the teacher counts for more than labels"),
        "mu": Knob("μ", 0, 1, "nobody is fooled", "to be taken for the teacher weighs as much as labels"),
        "temperature": temperature(),
    }

    def __init__(
        self,
        model,
        *,
        teacher: nn.Module,
        train_size: int,
        alpha: float = 0.8,
        lam: float = 1.0,
        mu: float = 0.1,
        temperature: float = 4.0,
        width: int = 64,
    ) -> None:
        super().__init__(model, train_size=train_size, alpha=alpha)
        same_classes(model, teacher)
        self.lam, self.mu, self.temperature = lam, mu, temperature
        self.teacher = Frozen(teacher)
        width = check_int("width", width, 1)
        self.judge = nn.Sequential(nn.Linear(model.num_classes, width), nn.LeakyReLU(0.2), nn.Linear(width, 1))

    def terms(self, model, out, batch, progress):
        taught = self.teacher.forward_features(batch.x).logits
        root = out.logits.shape[1] ** 0.5  # gives a sure answer's entries a mean square of 1, which the judge learns well from
        said, told = root * out.logits.softmax(1), root * taught.softmax(1)
        as_it_is = {name: p.detach() for name, p in self.judge.named_parameters()}
        return super().terms(model, out, batch, progress) | {
            "kd": self.lam * kd(out.logits, taught, self.temperature),
            "fool": self.mu * fooled(functional_call(self.judge, as_it_is, (said,))),
            "judge": judged(self.judge(told), self.judge(said.detach())),
        }
