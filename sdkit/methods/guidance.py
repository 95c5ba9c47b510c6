"""Other ways to a student or an exit inside the network: dropped units, dropped weights, early exits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ..core import Knob, temperature
from ..losses import kd
from ..models import convolutions, still_statistics
from .base import Method, supervised
from .byot import BYOT


class DropoutGuidance(Method):
    """Self-Guidance (paper 002, Eq. 5) with another student: the network with some of its units, or of its weights, left out.

    L = CE(p_S, y) + CE(p_T, y) + λ τ^2 KL(p_T || p_S), S the network with something left out, T the whole one

    Costs a second pass. Memory: none.
    Helps where there are no residual blocks to drop: it works on any network.

    lam: weight of the distillation. 0 is two passes that learn from labels alone. temperature: of it, times T^2. Both are
    Self-Guidance's, 0.25 and 3.
    p: how much is left out; what stays is scaled by 1 / (1 - p). 0 is the whole network twice. Ours: 0.2.
    sampler: "dropout" leaves out units of every stage's map (Srivastava et al. 2014), "dropconnect" weights of every
    convolution (Wan et al. 2013). Running statistics are the whole network's alone.
    """

    reads_labels = True
    knobs = {
        "lam": Knob("λ", 0, 3, "the student learns from labels alone", "the whole network counts for more than labels"),
        "temperature": temperature("τ"),
        "p": Knob("p", 0, 0.8, "the student is the whole network", "hardly anything of it is left", most=0.99),
    }

    def __init__(self, model, *, lam: float = 0.25, temperature: float = 3.0, p: float = 0.2, sampler: str = "dropout") -> None:
        super().__init__()
        if sampler not in ("dropout", "dropconnect"):
            raise ValueError(f"the sampler is 'dropout' or 'dropconnect', got {sampler!r}")
        self.lam, self.temperature, self.p, self.sampler = lam, temperature, p, sampler

    def student(self, model: nn.Module, x: Tensor) -> Tensor:
        """A pass with something left out. [B, 3, H, W] -> logits [B, K]."""
        with still_statistics(model):
            if self.sampler == "dropconnect":
                kept = {f"{name}.weight": F.dropout(m.weight, self.p) for name, m in convolutions(model)}
                return functional_call(model, kept, (x,))
            with dropped(model, self.p):
                return model.forward_features(x).logits

    def terms(self, model, out, batch, progress):
        student = self.student(model, batch.x)
        return {
            "task": supervised(out.logits, batch),
            "student ce": supervised(student, batch),
            "kd": self.lam * kd(student, out.logits, self.temperature),
        }


@contextlib.contextmanager
def dropped(model: nn.Module, p: float) -> Iterator[None]:
    """Within, every stage's map loses each of its entries with probability p."""
    handles = [stage.register_forward_hook(lambda _, __, out: F.dropout(out, p)) for stage in model.stages]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class MultiExit(BYOT):
    """Distillation for multi-exit nets (Phuong and Lampert 2019, Sec. 3): early exits learn from the last one too.

    L = CE(p_C, y) + Σ_i<C [CE(p_i, y) + λ T^2 KL(p_C || p_i)], p_C constant in the KL; both at T there

    Costs the early exits. Memory: none.
    Helps when the network may be asked to answer early; unlike `BYOT` it has no hint and takes nothing off the labels.

    lam: weight of the last exit's answers. 0 is `DSN`. temperature: of them, times T^2. Our readings: 1, T = 4 and kept, and
    sums over exits where the paper takes means, so that the last exit weighs what it weighs in every method.
    head: as in BYOT.
    """

    knobs = {
        "lam": Knob("λ", 0, 3, "labels alone: a deeply supervised net", "the last exit counts for more than labels"),
        "temperature": temperature(),
    }

    def __init__(self, model, *, lam: float = 1.0, temperature: float = 4.0, head: str = "bottleneck") -> None:
        super().__init__(model, alpha=0.0, lam=0.0, temperature=temperature, head=head)
        self.without_hint = False  # its lam is another weight
        self.lam = lam

    def terms(self, model, out, batch, progress):
        early = [head(out.stages[head.stage])[0] for head in self.heads]
        return {
            "task": supervised(out.logits, batch),
            "head ce": sum(supervised(z, batch) for z in early),
            "kd": self.lam * sum(kd(z, out.logits, self.temperature) for z in early),
        }
