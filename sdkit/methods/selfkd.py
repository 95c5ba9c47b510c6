"""Self-distillation over iterations and epochs, without a teacher or extra parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..core import Knob, temperature
from ..losses import kd, soft_cross_entropy
from .base import Method


class DLB(Method):
    """Self-distillation from the last mini-batch (Shen et al. 2022, Eq. 4): a second view of it agrees with what was said then.

    alpha: weight of the agreement. 0 only trains twice on every image. The paper's code uses 1, with T = 3.
    Costs a second pass over the batch, and the memory of one batch.
    """

    own_task = True
    pair = "same image"
    knobs = {
        "alpha": Knob("α", 0, 3, "two passes that ignore each other", "the last answer weighs three labels"),
        "temperature": temperature("τ"),
    }

    def __init__(self, model, *, alpha: float = 1.0, temperature: float = 3.0) -> None:
        super().__init__()
        self.alpha, self.temperature = alpha, temperature

    def terms(self, model, out, batch, clock):
        if not self.memory:
            return {"task": F.cross_entropy(out.logits, batch.y), "lb": out.logits.new_zeros(())}
        again = model.tap(self.memory["x"]).logits
        logits, labels = torch.cat([out.logits, again]), torch.cat([batch.y, self.memory["y"]])
        return {"task": F.cross_entropy(logits, labels), "lb": self.alpha * kd(again, self.memory["logits"], self.temperature)}

    def remember(self, out, batch, clock):
        self.memory = {"x": batch.pair, "y": batch.y, "logits": out.logits.detach()}


class PSKD(Method):
    """Progressive self-distillation (Kim et al. 2021, Eq. 5): what the network said last epoch softens the label, ever more.

    alpha: share of last epoch's answer in the last epoch's label; it grows from 0 in equal steps. 0 is vanilla training.
    The paper uses 0.8. The first epoch has hard labels. Costs no pass; its memory is N x K numbers.
    """

    own_task = True
    knobs = {"alpha": Knob("α_T", 0, 1, "hard labels", "in the end, last epoch's answer alone", most=1)}

    def __init__(self, model, *, train_size: int, alpha: float = 0.8) -> None:
        super().__init__()
        self.alpha, self.train_size = alpha, train_size

    def terms(self, model, out, batch, clock):
        target = F.one_hot(batch.y, out.logits.shape[1]).to(out.logits.dtype)
        if clock.epoch > 0 and "past" in self.memory:
            share = self.alpha * (clock.epoch + 1) / clock.epochs
            target = (1 - share) * target + share * self.memory["past"][batch.index]
        return {"task": soft_cross_entropy(out.logits, target)}

    def remember(self, out, batch, clock):
        if "past" not in self.memory:
            self.memory["past"] = out.logits.new_zeros(self.train_size, out.logits.shape[1])
        self.memory["past"][batch.index] = out.logits.softmax(1).to(self.memory["past"].dtype)
