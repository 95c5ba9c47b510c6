"""The papers' loss terms as pure functions of tensors. No classes, no state, no weights.

Everywhere: KL and cross entropy are means over the batch of sums over the classes, and the target side of a KL is
detached. Paper 004 prints a further 1/K (Eq. 2, 4); `per_class_mean=True` of its methods divides by K.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def kl(student: Tensor, teacher: Tensor, temperature: float, detach: bool = True) -> Tensor:
    """KL(teacher || student) of the softened outputs, mean over the batch. logits [B, K] x2 -> []. DDGSD Eq. 3, DRG Eq. 4.

    No gradient reaches the teacher unless `detach` is False.
    """
    teacher = teacher.detach() if detach else teacher
    log_p = (student / temperature).log_softmax(1)
    log_q = (teacher / temperature).log_softmax(1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def kd(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 `kl`, whose gradient keeps its size as T grows. [B, K] x2 -> []. DRG Eq. 9, 11; Hinton et al. 2015, Sec. 2."""
    return temperature**2 * kl(student, teacher, temperature)


def hint(feature: Tensor, target: Tensor) -> Tensor:
    """Squared L2 distance, summed over features, mean over the batch. [B, D] x2 -> []. BYOT, loss source 3.

    No gradient reaches the target.
    """
    return (feature - target.detach()).square().flatten(1).sum(1).mean()


def hint_norm(feature: Tensor, target: Tensor) -> Tensor:
    """The un-squared L2 norm over the whole batch, as BYOT's journal code has it. [B, D] x2 -> []."""
    return (feature - target.detach()).flatten().norm()


def ranked(logits: Tensor) -> Tensor:
    """Each row in ascending order: the output's shape without the classes' names. [B, K] -> [B, K]. DRG/DSR Sec. IV-B."""
    return logits.sort(1).values
