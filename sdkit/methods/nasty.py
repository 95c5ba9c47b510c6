"""A teacher from which nobody can learn."""

from __future__ import annotations

from torch import nn

from ..core import Knob, temperature
from ..losses import kd
from .base import Frozen, Method, same_classes, supervised


class NastyTeacher(Method):
    """A nasty teacher (Ma et al. 2021, Eq. 2): right as often as a normal one, and as far from its soft outputs as can be.

    L = CE(p, y) - ω T^2 KL(p || t), t a normal network's outputs; both at T in the KL

    Costs a forward pass of the normal network, after its whole training. Memory: that network.
    Helps its owner, whose network others cannot copy: in the paper a student of it, here
    `Experiment("kd", teacher=Experiment("nasty", ...))`, does worse than without a teacher.

    omega: how much being different counts. 0 is vanilla training; from some tenths on the labels are lost.
    temperature: of both sides, times T^2: the one that a student is expected to use. 4 is the paper's for ten classes, 20 for
    more; 0.04 is the released code's for ten classes. The gradient reaches the nasty side, the KL's first.

    References:
        Undistillable: Making A Nasty Teacher That CANNOT Teach Students. H. Ma, T. Chen, T.-K. Hu, C. You, X. Xie and Z. Wang,
        ICLR 2021. https://arxiv.org/abs/2105.07381
    """

    knobs = {
        "omega": Knob("ω", 0, 0.5, "an honest teacher", "to mislead counts for more than to be right"),
        "temperature": temperature("T", 20),
    }

    def __init__(self, model, *, teacher: nn.Module, omega: float = 0.04, temperature: float = 4.0) -> None:
        super().__init__()
        same_classes(model, teacher)
        self.omega, self.temperature, self.teacher = omega, temperature, Frozen(teacher)

    def terms(self, model, out, batch, progress):
        normal = self.teacher.forward_features(batch.x).logits
        apart = kd(normal, out.logits, self.temperature, detach=False)
        return {"task": supervised(out.logits, batch), "apart": -self.omega * apart}
