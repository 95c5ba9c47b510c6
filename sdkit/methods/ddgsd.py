"""Data-Distortion Guided Self-Distillation (Xu & Liu, AAAI 2019): paper 001."""

from __future__ import annotations

from ..core import Features, Knob, temperature
from ..losses import kl, mmd
from .base import Method, supervised


class DDGSD(Method):
    """Two distortions of each image teach each other, through one network and in one pass (Eq. 5).

    L = CE_a + CE_b + λ [KL(p_b || p_a) + KL(p_a || p_b)] + μ |mean h(x_a) - mean h(x_b)|^2   (Eq. 1, 3, 4; T in the KL alone)

    Costs two passes, over the two views. Memory: none beyond the step's.
    Helps when augmentation is strong and time is no matter: the network must answer alike however it looks.

    lam: weight of the KL both ways. mu: weight of the MMD between the two views' features. With both 0 it is the paper's
    "two-branch" ablation. The paper uses 1 and 1e-4 to 5e-4.
    temperature: inside the KL, without a factor T^2. Default: the paper's 2 for up to 10 classes, else 3.
    one_pass: both views share the batch norms' statistics, as the paper's figure has it; False sends them through one by one.
    t_squared: T^2 times the KL. branch_mean: half the sum of the cross entropies. detach=False lets gradients into the targets.
    """

    replaces_task_loss = True
    pair = "same image"
    knobs = {
        "lam": Knob("λ", 0, 3, "the views share only weights", "agreement counts for more than labels"),
        "mu": Knob("μ", 0, 0.01, "features may differ", "the views' mean features must meet"),
        "temperature": temperature(),
    }

    def __init__(
        self,
        model,
        *,
        lam: float = 1.0,
        mu: float = 5e-4,
        temperature: float | None = None,
        one_pass: bool = True,
        t_squared: bool = False,
        branch_mean: bool = False,
        detach: bool = True,
    ) -> None:
        super().__init__()
        self.lam, self.mu = lam, mu
        self.temperature = (2.0 if model.num_classes <= 10 else 3.0) if temperature is None else temperature
        self.both_views, self.t_squared, self.branch_mean, self.detach = one_pass, t_squared, branch_mean, detach

    def terms(self, model, out, batch, progress):
        n = len(batch.y)
        if self.both_views:
            a, b = Features(out.logits[:n], out.embedding[:n], ()), Features(out.logits[n:], out.embedding[n:], ())
        else:
            a, b = out, model.forward_features(batch.pair)
        task = supervised(a.logits, batch) + supervised(b.logits, batch)  # Eq. 4
        t, free = self.temperature, self.detach
        agree = kl(a.logits, b.logits, t, free) + kl(b.logits, a.logits, t, free)  # Eq. 3
        return {
            "task": task / 2 if self.branch_mean else task,
            "kl": self.lam * (t**2 if self.t_squared else 1.0) * agree,
            "mmd": self.mu * mmd(a.embedding, b.embedding),  # Eq. 1
        }
