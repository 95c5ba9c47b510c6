"""Self-distillation over iterations and epochs, without a teacher or extra parameters."""

from __future__ import annotations

import torch

from ..core import Batch, Knob, temperature
from ..losses import kd, soft_cross_entropy
from .base import Method, labels_of, supervised


class DLB(Method):
    """Self-distillation from the last mini-batch (Shen et al. 2022, Eq. 4): a second view of it agrees with what was said then.

    L = CE(p_t, y_t) over this batch and the last one's second view, mean over both, + α τ^2 KL(p_t-1 || p_t) on the last one

    Costs a second pass, over the last batch, in training mode: it moves the batch norms' running statistics once more, as in
    the released code. Memory: one batch of images and logits.
    Helps when batches are small and answers waver from step to step.

    alpha: weight of the agreement. 0 only trains twice on every image. The paper's code uses 1, with T = 3.
    """

    replaces_task_loss = True
    pair = "same image"
    knobs = {
        "alpha": Knob("α", 0, 3, "two passes that ignore each other", "the last answer weighs three labels"),
        "temperature": temperature("τ"),
    }

    def __init__(self, model, *, alpha: float = 1.0, temperature: float = 3.0) -> None:
        super().__init__()
        self.alpha, self.temperature = alpha, temperature

    def terms(self, model, out, batch, progress):
        if not self.memory:
            return {"task": supervised(out.logits, batch), "lb": out.logits.new_zeros(())}
        again = model.forward_features(self.memory["x"]).logits
        both = torch.cat([out.logits, again])
        return {
            "task": supervised(both, self.joined(batch)),
            "lb": self.alpha * kd(again, self.memory["logits"], self.temperature),
        }

    def remember(self, out, batch, progress):
        self.memory = {"x": batch.pair, "y": batch.y, "logits": out.logits.detach()}
        if batch.mix is not None:  # the second view is the same mixture
            partner, share = batch.mix
            self.memory |= {"partner": partner, "share": share.repeat(len(partner))}

    def joined(self, batch: Batch) -> Batch:
        """The labels of this batch, then of the last one, [2B]; under mixup with each image's share, [2B]."""
        y, mix = torch.cat([batch.y, self.memory["y"]]), None
        if batch.mix is not None:
            partner, share = batch.mix
            share = share.repeat(len(partner))
            mix = torch.cat([partner, self.memory["partner"]]), torch.cat([share, self.memory["share"]])
        return batch._replace(y=y, mix=mix)


class PSKD(Method):
    """Progressive self-distillation (Kim et al. 2021, Eq. 5): what the network said last epoch softens the label, ever more.

    L = -Σ_k y~_k ln p_k, y~ = (1 - α_t) 1_y + α_t p_t-1, α_t = α_T t / E, t the epoch of E, from 1

    Costs no pass. Memory: one answer per training image, N x K numbers.
    Helps when training is long: the label softens as the network gets better.

    alpha: share of last epoch's answer in the last epoch's label; it grows from 0 in equal steps. 0 is vanilla training.
    The paper uses 0.8. The first epoch has hard labels. Under mixup (our reading) it remembers what was said of the mixture
    in which an image was the larger part.
    """

    replaces_task_loss = True
    knobs = {"alpha": Knob("α_T", 0, 1, "hard labels", "in the end, last epoch's answer alone", most=1)}

    def __init__(self, model, *, train_size: int, alpha: float = 0.8) -> None:
        super().__init__()
        self.alpha, self.train_size = alpha, train_size

    def terms(self, model, out, batch, progress):
        target = labels_of(batch, out.logits.shape[1]).to(out.logits.dtype)
        if progress.epoch > 0 and "past" in self.memory:
            share = self.alpha * (progress.epoch + 1) / progress.epochs
            past = self.memory["past"][batch.index]
            seen = past.sum(1, keepdim=True) > 0  # batches of so many images a class leave some out of an epoch
            target = torch.where(seen, (1 - share) * target + share * past, target)
        return {"task": soft_cross_entropy(out.logits, target)}

    def remember(self, out, batch, progress):
        if "past" not in self.memory:
            self.memory["past"] = out.logits.new_zeros(self.train_size, out.logits.shape[1])
        self.memory["past"][batch.index] = out.logits.softmax(1).to(self.memory["past"].dtype)


class CSKD(Method):
    """Class-wise self-distillation (Yun et al. 2020, Sec. 2): an image's answer follows that of another image of its class.

    L = CE(p(x), y) + λ T^2 KL(p(x') || p(x)), x' another image of x's class, constant; both at T in the KL

    Costs a second forward pass, without gradients. Memory: none.
    Helps when classes are many and images few, as in fine-grained sets: it evens out what is said within a class.

    lam: weight of the agreement. 0 is vanilla training. The paper's code uses 1, with T = 4 and T^2.
    The partner goes through the training network, whose batch norms see it, but no gradient does.
    """

    pair = "same class"
    knobs = {"lam": Knob("λ", 0, 3, "labels alone", "agreement counts for more than labels"), "temperature": temperature()}

    def __init__(self, model, *, lam: float = 1.0, temperature: float = 4.0) -> None:
        super().__init__()
        self.lam, self.temperature = lam, temperature

    def terms(self, model, out, batch, progress):
        with torch.no_grad():
            partner = model.forward_features(batch.pair).logits
        return {"task": supervised(out.logits, batch), "cs": self.lam * kd(out.logits, partner, self.temperature)}
