"""The papers' loss terms as pure functions of tensors. No classes, no state, no weights.

Everywhere: KL and cross entropy are means over the batch of sums over the classes, and the target side of a KL is
detached. Paper 004 prints a further 1/K (Eq. 2, 4); `per_class_mean=True` of its methods divides by K.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-12
"""The least squared distance with a root's gradient and a direction: below it both are 0."""


def wide(x: Tensor) -> Tensor:
    """In float64, or as it is on a device without (Apple's)."""
    return x if x.device.type == "mps" else x.double()


def kl(student: Tensor, teacher: Tensor, temperature: float, detach: bool = True) -> Tensor:
    """KL(teacher || student) of the softened outputs, mean over the batch. logits [B, K] x2 -> []. DDGSD Eq. 3, DRG Eq. 4.

    No gradient reaches the teacher unless `detach` is False. Computed in float64: two nearly uniform distributions differ by
    less than what float32 rounds off, and T^2 multiplies that.

    Examples:
        >>> said, taught = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> [round(kl(said, taught, temperature=t).item(), 3) for t in (1, 4)]
        [1.523, 0.122]
    """
    teacher = teacher.detach() if detach else teacher
    log_p = (wide(student) / temperature).log_softmax(1)
    log_q = (wide(teacher) / temperature).log_softmax(1)
    found = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
    return found.to(torch.promote_types(student.dtype, torch.float32))


def kd(student: Tensor, teacher: Tensor, temperature: float, detach: bool = True) -> Tensor:
    """T^2 `kl`, whose gradient keeps its size as T grows. [B, K] x2 -> []. DRG Eq. 9, 11; Hinton et al. 2015, Sec. 2.

    No gradient reaches the teacher unless `detach` is False.

    Examples:
        >>> said, taught = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> round(kd(said, taught, temperature=4).item(), 3)  # 16 times what `kl` says
        1.959
    """
    return temperature**2 * kl(student, teacher, temperature, detach)


def hint(feature: Tensor, target: Tensor, detach: bool = True) -> Tensor:
    """Squared L2 distance, summed over features, mean over the batch. [B, D] x2 -> []. BYOT, loss source 3.

    No gradient reaches the target unless `detach` is False.

    Examples:
        >>> hint(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)).item()
        2.5
    """
    return (feature - (target.detach() if detach else target)).square().flatten(1).sum(1).mean()


def hint_norm(feature: Tensor, target: Tensor, detach: bool = True) -> Tensor:
    """The un-squared L2 norm over the whole batch, as BYOT's journal code has it. [B, D] x2 -> []. detach: as of `hint`."""
    return (feature - (target.detach() if detach else target)).flatten().norm()


def ranked(logits: Tensor) -> Tensor:
    """Each row in ascending order: the output's shape without the classes' names. [B, K] -> [B, K]. DRG/DSR Sec. IV-B.

    Examples:
        >>> ranked(torch.tensor([[3.0, 1.0, 2.0]]))
        tensor([[1., 2., 3.]])
    """
    return logits.sort(1).values


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance of the batches' mean features. [B, D] x2 -> []. DDGSD Eq. 1.

    Examples:
        >>> mmd(torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0]])).item()
        9.0
    """
    return (a.mean(0) - b.mean(0)).square().sum()


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy against a distribution. logits, target: [B, K] -> []. SFR Sec. 3.4.

    Examples:
        >>> round(soft_cross_entropy(torch.zeros(1, 4), torch.full((1, 4), 0.25)).item(), 4)  # ln 4
        1.3863
    """
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


def sinkhorn_plan(cost: Tensor, a: Tensor, b: Tensor, epsilon: float = 0.05, iterations: int = 20) -> Tensor:
    """Entropic optimal transport in the log domain. cost [B, M, N], a [B, M], b [B, N] -> plan [B, M, N], without gradient.

    epsilon: of the entropy, as a share of each pair's mean cost, so that a plan does not depend on the cost's unit: the
    smaller, the nearer to the exact value and the slower to meet the marginals. With the defaults, 4x4 maps come within 5 % of
    their mean cost to the linear program, and miss their marginals by less than 0.01, or 0.02 where two maps nearly agree.
    """
    cost = cost.detach()
    unit = cost.mean((1, 2), keepdim=True).clamp_min(TINY) * epsilon
    cost, log_a, log_b = cost / unit, a.log()[:, :, None], b.log()[:, None]
    g = torch.zeros_like(log_b)
    for _ in range(iterations):
        f = log_a - (g - cost).logsumexp(2, keepdim=True)
        g = log_b - (f - cost).logsumexp(1, keepdim=True)
    return (f + g - cost).exp()


def marginal_error(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """How far a plan is from moving exactly a to b: the mean absolute error of both marginals' sums. -> []."""
    return ((plan.sum(2) - a).abs().sum(1) + (plan.sum(1) - b).abs().sum(1)).mean() / 2


def distances(embedding: Tensor) -> Tensor:
    """Euclidean distances within a batch. [B, D] -> [B, B]. Between doubles both the distance and its gradient are 0.

    Examples:
        >>> distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    squares = (embedding[:, None] - embedding).square().sum(2)
    return torch.where(squares > TINY, squares.clamp_min(TINY).sqrt(), 0)


def relative_distances(embedding: Tensor) -> Tensor:
    """Distances divided by their mean over pairs of two images. [B, D] -> [B, B]. RKD Sec. 3.2.1."""
    apart = distances(embedding)
    pairs = max(len(apart) * (len(apart) - 1), 1)
    return apart / (apart.sum() / pairs).clamp_min(TINY**0.5)


def angles(embedding: Tensor) -> Tensor:
    """The cosine at j of the triplet i, j, k, at [j, i, k]. [B, D] -> [B, B, B], 0 where two are one point. RKD Sec. 3.2.2."""
    to = embedding - embedding[:, None]  # [j, i]: from j to i
    squares = to.square().sum(2, keepdim=True)
    direction = to * torch.where(squares > TINY, squares.clamp_min(TINY).rsqrt(), 0)
    return direction @ direction.mT


def relation_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Huber loss (δ = 1) of two tables of relations, of one shape. -> []. RKD Sec. 3.2, with means for sums.

    No gradient reaches the teacher.
    """
    return F.smooth_l1_loss(student, teacher.detach())


def bilinear_kernel(embedding: Tensor) -> Tensor:
    """Cosines within a batch. [B, D] -> [B, B]. CC Sec. 3.3, of unit vectors."""
    unit = F.normalize(embedding)
    return unit @ unit.mT


def taylor_kernel(embedding: Tensor, gamma: float) -> Tensor:
    """exp(-γ |x - y|^2) of unit vectors, to second order in their cosine c: e^(-2γ) (1 + 2γc + (2γc)^2 / 2). [B, D] -> [B, B].

    CC Sec. 3.3 with P = 2.
    """
    c = 2 * gamma * bilinear_kernel(embedding)
    return math.exp(-2 * gamma) * (1 + c + c.square() / 2)


def kernel_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of two kernel matrices. [B, B] x2 -> []. CC Sec. 3.2. No gradient reaches the teacher."""
    return (student - teacher.detach()).square().mean()


def rank_scores(distance: Tensor, alpha: float, beta: float) -> Tensor:
    """How near: -α d^β, entry by entry. DarkRank, score of a candidate."""
    return -alpha * distance.pow(beta)


def list_log_likelihood(scores: Tensor) -> Tensor:
    """Log-likelihood of drawing a list in the order it has (Plackett, Luce). scores [..., L] -> [...]. DarkRank."""
    return (scores - scores.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)


def others(values: Tensor, y: Tensor) -> Tensor:
    """Every row without its label's entry, such as the logits of the wrong classes. [B, K], labels [B] -> [B, K-1].

    Examples:
        >>> others(torch.tensor([[7.0, 8.0, 9.0]]), torch.tensor([1]))
        tensor([[7., 9.]])
    """
    k = torch.arange(values.shape[1] - 1, device=y.device)
    return values.gather(1, k + (k >= y[:, None]))


def target_kl(student: Tensor, teacher: Tensor, y: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of label against all other classes, mean over the batch. [B, K] x2, [B] -> []. DKD Sec. 3, TCKD.

    No gradient reaches the teacher.
    """

    def two(z: Tensor) -> Tensor:
        z = wide(z) / temperature
        return torch.stack([z.gather(1, y[:, None]).squeeze(1), others(z, y).logsumexp(1)], 1)

    return kl(two(student), two(teacher), 1.0).to(torch.promote_types(student.dtype, torch.float32))


def other_kl(student: Tensor, teacher: Tensor, y: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) among the classes that are not the label, mean over the batch. [B, K] x2, [B] -> []. DKD Sec. 3.

    No gradient reaches the teacher.
    """
    return kl(others(student, y), others(teacher, y), temperature)


def logit_regression(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared L2 distance of the logits, mean over the batch. [B, K] x2 -> []. Ba and Caruana 2014, Eq. 1.

    No gradient reaches the teacher.
    """
    return hint(student, teacher) / 2


def variational_gap(mean: Tensor, variance: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ((t - m)^2 / s + ln s) / 2: a Gaussian's negative log-likelihood, without its constant. -> []. VID Sec. 2.

    mean, teacher: [B, C, H, W]; variance: [C], or anything that broadcasts to [C, 1, 1]. No gradient reaches the teacher.
    """
    variance = variance.view(-1, 1, 1)
    return ((teacher.detach() - mean).square() / variance + variance.log()).mean() / 2


def contrast(positive: Tensor, negative: Tensor, counts: Tensor, level: float) -> Tensor:
    """Telling one pair of a joint draw from N of separate ones. positive [B], negative, counts [B, N] -> []. CRD Sec. 3.1.

    positive and negative are similarities over τ; a negative counts where `counts` is true. h(z) = e^z / (e^z + N e^level), N
    being how many count for the image, and the loss -log h(positive) - sum of log(1 - h(negative)), mean over the batch.
    """
    shift = level + counts.sum(1).clamp_min(1).to(positive.dtype).log()  # [B]
    wrong = torch.where(counts, F.logsigmoid(shift[:, None] - negative), 0).sum(1)
    return -(F.logsigmoid(positive - shift) + wrong).mean()
