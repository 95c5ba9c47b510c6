"""Self-distillation over iterations, without a teacher or extra parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..core import Knob, temperature
from ..losses import kd
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
