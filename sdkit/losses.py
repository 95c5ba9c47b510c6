"""The papers' loss terms as pure functions of tensors. No classes, no state, no weights.

Everywhere: KL and cross entropy are means over the batch of sums over the classes, and the target side of a KL is
detached. Paper 004 prints a further 1/K (Eq. 2, 4); `per_class_mean=True` of its methods divides by K.
"""

from __future__ import annotations

import torch
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


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of the batches' mean features. [B, D] x2 -> []. DDGSD Eq. 1."""
    return (a.mean(0) - b.mean(0)).square().sum()


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy against a distribution. logits, target: [B, K] -> []. SFR Sec. 3.4."""
    return -(target * logits.log_softmax(1)).sum(1).mean()


def local_vectors(feature: Tensor) -> Tensor:
    """A map as a set of local features: [B, C, H, W] -> [B, H*W, C]. SFR Sec. 3.2."""
    return feature.flatten(2).mT


def ground_cost(u: Tensor, v: Tensor) -> Tensor:
    """Squared L2 between unit vectors, 2 (1 - cos). [B, M, C], [B, N, C] -> [B, M, N], in [0, 4]. SFR Sec. 3.2, our reading."""
    return 2 * (1 - F.normalize(u, dim=2) @ F.normalize(v, dim=2).mT).clamp_min(0)


def cross_reference(u: Tensor, v: Tensor, floor: float = 1e-3) -> Tensor:
    """How much each node of u resembles the other side's mean: weights that sum to 1. [B, M, C], [B, N, C] -> [B, M].

    Without gradient. SFR Sec. 3.2 ("nodes important for the comparison weigh more"), after DeepEMD.
    """
    weight = (u.detach() @ v.detach().mean(1, keepdim=True).mT).squeeze(2).clamp_min(0) + floor
    return weight / weight.sum(1, keepdim=True)


def sinkhorn_plan(cost: Tensor, a: Tensor, b: Tensor, epsilon: float = 0.05, iterations: int = 50) -> Tensor:
    """Entropic optimal transport in the log domain. cost [B, M, N], a [B, M], b [B, N] -> plan [B, M, N], without gradient.

    epsilon: of the entropy, in the cost's unit: the smaller, the nearer to the exact value and the slower to meet the
    marginals. The default ends within 15 % of the linear program on 4x4 maps.
    """
    cost = cost.detach()
    f, g, log_a, log_b = torch.zeros_like(a), torch.zeros_like(b), a.log(), b.log()
    for _ in range(iterations):
        f = epsilon * (log_a - ((g[:, None] - cost) / epsilon).logsumexp(2))
        g = epsilon * (log_b - ((f[:, :, None] - cost) / epsilon).logsumexp(1))
    return ((f[:, :, None] + g[:, None] - cost) / epsilon).exp()


def marginal_error(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """How far a plan is from moving exactly a to b: the mean absolute error of both marginals' sums. -> []."""
    return ((plan.sum(2) - a).abs().sum(1) + (plan.sum(1) - b).abs().sum(1)).mean() / 2
