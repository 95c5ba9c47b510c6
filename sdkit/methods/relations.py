"""Learning the relations among a batch's images from a trained teacher: distances, angles, kernels, ranks.

What is compared is B x B (or B x B x B) numbers, never the embeddings themselves: the teacher's may have any size, and it
may know other classes. Public code reads the embedding that the classifier reads, and so do these. All is computed in
float32 or better: a difference of near embeddings has few digits.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import torch
from torch import Tensor, nn

from ..core import Knob, pick
from ..losses import (
    angles,
    bilinear_kernel,
    distances,
    kernel_gap,
    list_log_likelihood,
    rank_scores,
    relation_gap,
    relative_distances,
    taylor_kernel,
)
from ..models.backbone import full_precision
from .base import Frozen, Method, both_show_stages, supervised

LONGEST = 6
"""Of a list whose every order is looked at: 720 of them."""


class Relational(Method):
    """The labels, and relations among the batch's embeddings that a frozen teacher has too."""

    def __init__(self, model: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        both_show_stages(model, teacher)
        self.teacher = Frozen(teacher)

    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """What the embeddings' relations differ by, as weighted terms. [B, D], [B, E] -> []."""
        raise NotImplementedError(f"{type(self).__name__} must say what it compares: write relations()")

    def task(self, model, out, batch) -> Tensor:
        """The term against the labels."""
        return supervised(out.logits, batch)

    def terms(self, model, out, batch, progress):
        taught = self.teacher.forward_features(batch.x).embedding
        with torch.autocast(taught.device.type, enabled=False):
            relations = self.relations(full_precision(out.embedding), full_precision(taught))
        return {"task": self.task(model, out, batch)} | relations


class RKD(Relational):
    """Distances and angles among a batch's images are the teacher's (Park et al. 2019, Sec. 3.2).

    L = CE + λ_D mean_ij huber(d_ij^S - d_ij^T) + λ_A mean_ijk huber(cos_ijk^S - cos_ijk^T), d_ij = |e_i - e_j| / their mean

    distance: weight of the distances, which are divided by their mean. 0 leaves the angles alone. angle: weight of the cosines
    at every corner of every triplet. 0 leaves the distances alone. The paper uses 25 and 50 for classification (the default)
    and, for metric learning, 1 and 2.
    task: False is "without the task loss": the embedding learns from the relations alone, and the labels reach nothing but the
    classifier that reads it, so that accuracy stays readable.
    samples_per_class: images of each class in a batch, as metric losses have them; None takes batches as they come.

    Self-distillation in metric learning is this method with a teacher of the same network: teacher=Experiment(...) with the
    same model. The published code takes means over all B^2 pairs and B^3 triplets where the paper prints sums; the weights
    belong to the means. One image has no distance, and two have no relative distance and no angle: their terms are 0.
    Costs the teacher's pass and, for the angles, B^3 D multiplications. Memory B^2 D and B^3 numbers.
    Helps when the teacher's embedding has another size, and when embeddings are wanted for retrieval.
    """

    knobs = {
        "distance": Knob("λ_D", 0, 100, "distances are ignored", "distances weigh more than labels"),
        "angle": Knob("λ_A", 0, 200, "angles are ignored", "angles weigh more than labels"),
    }

    def __init__(
        self, model, *, teacher: nn.Module, distance: float = 25.0, angle: float = 50.0, task: bool = True,
        samples_per_class: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(model, teacher)
        if samples_per_class is not None and (isinstance(samples_per_class, bool) or samples_per_class < 1):
            raise ValueError(f"samples_per_class is images of each class in a batch, 3 for example, got {samples_per_class!r}")
        self.samples_per_class = samples_per_class
        self.distance, self.angle, self.with_task = distance, angle, task
        self.replaces_task_loss = not task

    def relations(self, student, teacher):
        return {
            "distance": self.distance * relation_gap(relative_distances(student), relative_distances(teacher)),
            "angle": self.angle * relation_gap(angles(student), angles(teacher)),
        }

    def task(self, model, out, batch):
        logits = out.logits if self.with_task else full_precision(model.classifier(out.embedding.detach()))
        return supervised(logits, batch)


class CC(Relational):
    """Correlation congruence (Peng et al. 2019, Sec. 3.2 and 3.3): the batch's kernel matrix is the teacher's.

    L = CE + β / B^2 Σ_ij (K_ij^S - K_ij^T)^2, K_ij = exp(-γ |e_i - e_j|^2), to second order in e_i e_j

    beta: weight of the mean squared difference of the matrices, which is about a hundredth at first. 0 is vanilla training.
    Default: 100, as a public collection trains this form, weighs about as labels do. The 0.02 of another collection belongs to
    another loss, and here it is not felt.
    gamma: of the Gaussian kernel exp(-γ |x - y|^2) between unit vectors, which is expanded to second order around orthogonal
    ones. 0 sees no difference at all; the paper uses 0.4. kernel: "rbf" or "bilinear", the cosine itself.
    The paper trains it beside soft targets: that is "cc+kd". A batch of one image has one entry, 1: its term is 0.

    Costs the teacher's pass and B^2 D multiplications. Memory B^2 numbers.
    Helps when classes overlap: the teacher says how much.
    """

    knobs = {
        "beta": Knob("β", 0, 1000, "the teacher is ignored", "the teacher's kernel weighs more than labels"),
        "gamma": Knob("γ", 0.1, 2, "nearly every pair is alike", "only near pairs are alike"),
    }

    def __init__(self, model, *, teacher: nn.Module, beta: float = 100.0, gamma: float = 0.4, kernel: str = "rbf") -> None:
        super().__init__(model, teacher)
        self.beta, self.gamma, self.kernel = beta, gamma, pick(kernel, ("rbf", "bilinear"), "kernel")

    def relations(self, student, teacher):
        matrices = [
            bilinear_kernel(e) if self.kernel == "bilinear" else taylor_kernel(e, self.gamma) for e in (student, teacher)
        ]
        return {"cc": self.beta * kernel_gap(*matrices)}


class DarkRank(Relational):
    """An image's nearest neighbours come in the teacher's order (Chen et al. 2018).

    L = CE - λ Σ_i ln [exp S_i / Σ_k≥i exp S_k] in the teacher's order, S = -α d^β   (soft=True: L = CE + λ KL(P^T || P^S))

    An order's likelihood is Plackett and Luce's, with the score -α d^β of a neighbour at distance d. Hard (the default)
    minimises -log of the likelihood of the teacher's order, which is ListMLE; soft minimises the KL divergence over all
    orders of the list.
    alpha: 0 makes every order as likely; at 10 near neighbours alone decide. beta: at 1 the score falls as the distance does;
    at 5 only what is far away is told apart. The paper uses 3 and 3. lam: weight. 0 is vanilla training; ours is 1.
    length: neighbours in a list, the teacher's nearest first; 4 as RKD's authors have it. A batch with fewer other images has
    shorter lists; of two images there is one order, and the term is 0. unit: embeddings have unit length, our reading; False
    takes them as they are, and their size then decides how sure an order is.

    Costs the teacher's pass and B^2 D multiplications; soft adds length! orders an image. Memory B^2 numbers.
    Helps when embeddings are wanted for retrieval.
    """

    knobs = {
        "lam": Knob("λ", 0, 5, "the teacher is ignored", "ranks weigh more than labels"),
        "alpha": Knob("α", 0.5, 10, "all orders are nearly as likely", "one order is nearly certain"),
        "beta": Knob("β", 1, 5, "the score falls as the distance", "only far neighbours are told apart", least=1),
    }

    def __init__(
        self,
        model,
        *,
        teacher: nn.Module,
        alpha: float = 3.0,
        beta: float = 3.0,
        lam: float = 1.0,
        length: int = 4,
        soft: bool = False,
        unit: bool = True,
    ) -> None:
        super().__init__(model, teacher)
        if length < 2 or (soft and length > LONGEST):
            raise ValueError(
                f"a list has at least 2 neighbours and, if soft, {LONGEST} at most (its orders are counted out), got {length}"
            )
        self.alpha, self.beta, self.lam, self.length, self.soft = alpha, beta, lam, int(length), soft
        self.unit = unit

    def relations(self, student, teacher):
        both = [nn.functional.normalize(e) if self.unit else e for e in (student, teacher)]
        said, told = (rank_scores(distances(e), self.alpha, self.beta) for e in both)
        itself = torch.eye(len(told), dtype=torch.bool, device=told.device)
        nearest = told.masked_fill(itself, -torch.inf).topk(min(self.length, len(told) - 1), dim=1).indices  # [B, L]
        said, told = said.gather(1, nearest), told.gather(1, nearest)
        if not self.soft:
            return {"rank": -self.lam * list_log_likelihood(said).mean()}
        every = orders(nearest.shape[1], nearest.device)
        said, told = (list_log_likelihood(z[:, every]) for z in (said, told))  # [B, L!]
        return {"rank": self.lam * nn.functional.kl_div(said, told, reduction="batchmean", log_target=True)}


@cache
def orders(length: int, device: torch.device) -> Tensor:
    """Every order of a list, [L!, L]."""
    return torch.tensor(list(permutations(range(length))), dtype=torch.long, device=device)
