"""Softer labels without a teacher: from the ranks of the outputs, from a rule, from the class's own past."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Batch, Knob, temperature
from ..losses import others, soft_cross_entropy
from .base import Method, labels_of, mixed, supervised


def ranks(scores: Tensor) -> Tensor:
    """Each entry's rank in its row, 1 for the largest; ties share the smaller rank. [B, K] -> [B, K] int64."""
    falling = -scores.detach()
    return torch.searchsorted(falling.sort(1).values, falling.contiguous()) + 1


def zipf(scores: Tensor, y: Tensor, power: float = 1.0) -> Tensor:
    """Zipf's law over the wrong classes: 1 / rank^power, ranks over all classes. [B, K], [B] -> [B, K - 1]."""
    share = others(ranks(scores), y).to(scores.dtype) ** -power
    return share / share.sum(1, keepdim=True)


def zipf_kl(logits: Tensor, scores: Tensor, y: Tensor, power: float = 1.0) -> Tensor:
    """KL(Zipf || softmax of the wrong classes' logits), mean over the batch. [B, K] x2, labels [B] -> []. ZF-LS, Sec. 3."""
    return F.kl_div(others(logits, y).log_softmax(1), zipf(scores, y, power), reduction="batchmean")


class ZFLS(Method):
    """Zipf's label smoothing, ZF-LS_lb (Liang et al. 2022, Sec. 3): wrong classes follow Zipf's law, as they rank.

    L = CE + λ KL(ζ || p^), ζ_k = rank_k^-power / Σ_j≠y rank_j^-power, p^ = softmax of z_k, both over k ≠ y

    Costs a sort of the logits. Memory: none.
    Helps when there are many classes: label smoothing that costs nothing and knows which classes are alike.

    lam: weight of the law. 0 is vanilla training. The paper's code uses 0.1.
    power: of 1 / rank. 0 makes all wrong classes alike, as in label smoothing; the paper uses 1.
    dense: rank by votes: the classifier reads every place of the last map, and each place votes for its largest class. Classes
    without a vote share the last rank. By default the pooled logits rank.
    """

    reads_labels = True
    knobs = {
        "lam": Knob("λ", 0, 1, "labels alone", "the law weighs as much as the labels"),
        "power": Knob("power", 0, 3, "all wrong classes alike", "nearly all on the first wrong class"),
    }

    def __init__(self, model, *, lam: float = 0.1, power: float = 1.0, dense: bool = False) -> None:
        super().__init__()
        if dense and model.channels[-1] != model.classifier.in_features:
            raise ValueError(
                f"dense votes need a classifier that reads the last map's {model.channels[-1]} channels, and this network's "
                f"reads {model.classifier.in_features} features: use dense=False"
            )
        self.lam, self.power, self.dense = lam, power, dense

    def terms(self, model, out, batch, progress):
        scores = votes(model.classifier, out.stages[-1]) if self.dense else out.logits
        law = zipf_kl(out.logits, scores, batch.y, self.power)
        return {"task": supervised(out.logits, batch), "zipf": self.lam * law}


@torch.no_grad()
def votes(classifier: torch.nn.Linear, feature: Tensor) -> Tensor:
    """How many places of a map each class wins. [B, C, H, W] -> [B, K]."""
    winners = classifier(feature.flatten(2).mT).argmax(2)  # [B, H W]
    counts = torch.zeros(len(winners), classifier.out_features, device=feature.device)
    return counts.scatter_add_(1, winners, torch.ones_like(winners, dtype=counts.dtype))


class TFKDReg(Method):
    """Teacher-free regularisation, Tf-KD_reg (Yuan et al. 2020, Sec. 4): a virtual teacher that is nearly always right.

    L = (1 - α) CE(p, y) + α m KL(softmax(v / τ) || p), v_y = correct, v_k = (1 - correct) / (K - 1)
    printed=True: L = (1 - α) CE(p, y) + α m KL(v^(1/τ) / Σ v^(1/τ) || softmax(z / τ))

    Costs nothing. Memory: none.
    Helps when a teacher cannot be had; it is label smoothing by another name.

    By default what the released code computes, and with it the numbers of paper 004: it takes the teacher's probabilities for
    logits, and leaves the student at T = 1. At τ = 20 the target is nearly uniform, and the loss nearly label smoothing by α.
    As the paper prints it, both sides are softened and no T^2 makes up for that: at τ = 20 the term's gradient is about a
    thousandth of the labels', and what is left is (1 - α) CE.

    alpha: weight of the virtual teacher. 0 is vanilla training; 1 learns from it alone. The paper uses 0.1.
    temperature: 20. correct: the virtual teacher's probability of the label, above 1 / K.
    multiplier: of the KL. The released code's stands before a mean over classes too: its 100, on 100 classes, is 1 here, and
    the 1 that it gives DenseNet-121 is 0.01. τ^2 gives the printed form the factor that distillation has.
    """

    reads_labels = True
    replaces_task_loss = True
    knobs = {
        "alpha": Knob("α", 0, 1, "labels alone", "the virtual teacher alone", most=1),
        "temperature": temperature("τ", 40),
        "multiplier": Knob("m", 0, 10, "labels alone, 1 - α of them", "the virtual teacher ten times"),
    }

    def __init__(
        self,
        model,
        *,
        alpha: float = 0.1,
        temperature: float = 20.0,
        correct: float = 0.99,
        multiplier: float = 1.0,
        printed: bool = False,
    ) -> None:
        super().__init__()
        if not 1 / model.num_classes < correct < 1:
            raise ValueError(f"correct lies between 1/{model.num_classes}, a guess among the classes, and 1, got {correct:g}")
        self.alpha, self.temperature, self.correct = alpha, temperature, correct
        self.multiplier, self.printed = multiplier, printed

    def virtual(self, batch: Batch, num_classes: int) -> Tensor:
        """The virtual teacher's probabilities, [B, K]."""
        labels = labels_of(batch, num_classes)
        return self.correct * labels + (1 - self.correct) / (num_classes - 1) * (1 - labels)

    def terms(self, model, out, batch, progress):
        teacher, t = self.virtual(batch, out.logits.shape[1]), self.temperature
        target = ((teacher.log() if self.printed else teacher) / t).log_softmax(1)
        student = (out.logits / t if self.printed else out.logits).log_softmax(1)
        apart = F.kl_div(student, target, reduction="batchmean", log_target=True)
        return {"task": (1 - self.alpha) * supervised(out.logits, batch), "reg": self.alpha * self.multiplier * apart}


class OLS(Method):
    """Online label smoothing (Zhang et al. 2021, Sec. III): a class's label is what was rightly said of it last epoch.

    L = -Σ_k [α 1_y + (1 - α) S_y]_k ln p_k, S_y the mean of p over last epoch's right answers of class y

    Costs nothing. Memory: two K x K tables.
    Helps when classes come in groups that look alike: the smoothing finds them.

    alpha: share of the hard label. 1 is vanilla training; 0 learns from the class's table alone. The paper uses 0.5.
    The table begins with hard labels; a class that was never right in an epoch keeps its row (our reading).
    """

    reads_labels = True
    replaces_task_loss = True
    knobs = {"alpha": Knob("α", 0, 1, "the class's past answers alone", "hard labels alone", most=1)}

    def __init__(self, model, *, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = alpha
        k = model.num_classes
        self.memory = {"table": torch.eye(k), "sum": torch.zeros(k, k), "count": torch.zeros(k)}

    def terms(self, model, out, batch, progress):
        soft = mixed(batch, lambda y: self.memory["table"][y])
        return {
            "task": self.alpha * supervised(out.logits, batch),
            "ols": (1 - self.alpha) * soft_cross_entropy(out.logits, soft),
        }

    def remember(self, out, batch, progress):
        table, total, count = self.memory["table"], self.memory["sum"], self.memory["count"]
        right = (out.logits.argmax(1) == batch.y).to(count.dtype)
        total.index_add_(0, batch.y, out.logits.softmax(1).to(total.dtype) * right[:, None])
        count.index_add_(0, batch.y, right)
        if progress.ends_epoch:
            table.copy_(torch.where(count[:, None] > 0, total / count[:, None].clamp_min(1), table))
            total.zero_(), count.zero_()
