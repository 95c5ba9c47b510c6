"""Self-Feature Regularisation (Hou & Fan): paper 000. The record of an earlier version of it is withdrawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Features, Knob, Progress
from ..losses import cross_reference, ground_cost, local_vectors, marginal_error, sinkhorn_plan, soft_cross_entropy
from ..models import residuals
from ..models.backbone import constant, full_precision
from .base import Method, TransportPlans, VectorNorm, labels_of, mixed

GRID = 4
"""Maps are compared on at most this many cells a side: a plan has GRID^4 entries."""


LIKENESS = 0.1
"""The temperature of the softmax over cosines that weighs the stages under attention="cosine"."""


class Inspection(NamedTuple):
    """How the shallower stages of a batch compare with the last one. N cells a map, S-1 shallower stages."""

    distance: Tensor  # [B, S-1] earth mover's distance, of unit vectors in [0, 4]
    weight: Tensor  # [B, S-1] attention, rows sum to 1
    error: Tensor  # [S-1] how far the plans are from moving all of it: 0 is exact, 1 moves nothing
    plan: Tensor  # [S-1, B, N, N] what moves from each cell of the stage to each cell of the last map
    cost: Tensor  # [S-1, B, N, N] what moving one unit costs


class SFR(Method):
    """The last feature map teaches every shallower one by earth mover's distance; last epoch's outputs soften the labels.

    L = -Σ_k y~_k ln p_k + λ_f Σ_s w_s EMD(U_s, V), w_s = softmax over stages of q k_s / √d
    EMD(U, V) = min_X Σ_ij X_ij |u_i - v_j|^2;   y~_y = 1 - ε, y~_k = ε p'_k / Σ_j≠y p'_j, p' last epoch's outputs

    Costs 1x1 convolutions and a transport plan per stage and image. Memory: one answer per training image.
    Helps when maps have more than one cell, so that features have somewhere to go.

    The paper prints no formula: this is our reading, from what it says and the methods it names (Sec. 3).

    Every map is averaged to the last one's height and width, GRID cells a side at most, and a shallower one goes through a 1x1
    convolution and batch normalisation to the last one's channels. The last map is constant, in the distance as in the query,
    and so are the plan and its marginals: gradients pass through the cost, into the shallower maps and what lifts them.

    lam: weight of the feature loss. 0 is dynamic label smoothing alone.
    epsilon: share of the label that the wrong classes get. 0 is hard labels.
    students: "stages" compares every shallower stage with the last map, "blocks" every residual block but the last.
    attention: "learned" weighs the stages by queries and keys of their pooled maps; "afd" as the released code of Ji et al.
    (2021) does: keys pass a ReLU and one more linear layer for all stages, and a stage has a number of its own (our reading of
    their product of two learned vectors); "cosine" by the likeness of the pooled maps; "uniform" alike. detach_attention=True
    lets no gradient into w: its projections stay as they were drawn, and every stage keeps a share. False trains them by the
    loss that they weigh, which comes to prefer the easiest stage. Ours is True, by what 15 epochs on the shapes left of the
    three distances, mean over 3 seeds: 0.91, 0.90, 0.68; with False 1.24, 1.02, 0.57, and 0.97 of the weight on the last.
    cost: "l2" of unit vectors; "centred l2" of unit vectors after each one's mean over channels is taken off, as in DeepEMD's
    code; "raw l2" of the vectors as they are.
    labels: "dynamic" shares epsilon among the wrong classes as last epoch's outputs did; "ps-kd" mixes in last epoch's
    outputs, ever more, up to 0.8; "ols" mixes in the mean of the class's right outputs; "uniform" is label smoothing; "hard"
    leaves them as they are, and to a method beside it: "multi-similarity+sfr-l2" of Table 3 wants that.
    solver: "sinkhorn", or "exact", a linear program for each pair of maps, seconds a step. entropy: what Sinkhorn's plan is
    smoothed by, as a share of the pair's mean cost; near 0 it is the exact plan, and takes more iterations to move everything.
    iterations: of Sinkhorn. `inspect` says by how much its plans miss their marginals.
    """

    replaces_task_loss = True
    knobs = {
        "lam": Knob("λ_f", 0, 3, "labels alone", "features weigh more than labels"),
        "epsilon": Knob("ε", 0, 0.5, "hard labels", "half of the label goes to wrong classes", most=1),
    }

    def __init__(
        self,
        model,
        *,
        train_size: int,
        lam: float = 1.0,
        epsilon: float = 0.1,
        attention: str = "learned",
        labels: str = "dynamic",
        students: str = "stages",
        cost: str = "l2",
        entropy: float = 0.05,
        detach_attention: bool = True,
        dim: int = 128,
        solver: str = "sinkhorn",
        iterations: int = 20,
    ) -> None:
        super().__init__()
        if attention not in ("learned", "afd", "cosine", "uniform"):
            raise ValueError(f"attention is 'learned', 'afd', 'cosine' or 'uniform', got {attention!r}")
        if labels not in ("dynamic", "ps-kd", "ols", "uniform", "hard"):
            raise ValueError(f"labels are 'dynamic', 'ps-kd', 'ols', 'uniform' or 'hard', got {labels!r}")
        if solver not in ("sinkhorn", "exact"):
            raise ValueError(f"the solver is 'sinkhorn' or 'exact', got {solver!r}")
        if students not in ("stages", "blocks"):
            raise ValueError(f"students are 'stages' or 'blocks', got {students!r}")
        if cost not in ("l2", "centred l2", "raw l2"):
            raise ValueError(f"the ground cost is 'l2' (of unit vectors), 'centred l2' or 'raw l2', got {cost!r}")
        if not entropy > 0:
            raise ValueError(
                f"entropy is a share of the mean cost above 0, 0.05 for example, got {entropy}: solver='exact' has none"
            )
        if iterations < 1:
            raise ValueError(f"Sinkhorn needs at least one iteration, got {iterations}")
        self.lam, self.epsilon, self.attention, self.labels, self.entropy = lam, epsilon, attention, labels, entropy
        self.replaces_task_loss = labels != "hard"
        self.solver, self.iterations, self.cost, self.detach_attention = solver, int(iterations), cost, detach_attention
        self.train_size, self.num_classes = train_size, model.num_classes
        *shallow, deep = model.channels
        if students == "blocks":
            shallow = channels_of_blocks(model)[:-1]
            self.capture_blocks(model)
        self.lift = nn.ModuleList(nn.Sequential(nn.Conv2d(c, deep, 1, bias=False), nn.BatchNorm2d(deep)) for c in shallow)
        if attention in ("learned", "afd"):
            self.query = projection(deep, dim)
            self.keys = nn.ModuleList(projection(c, dim) for c in shallow)
        if attention == "afd":
            self.bilinear, self.place = projection(dim, dim), nn.Parameter(torch.zeros(len(shallow)))
        if detach_attention:
            constant(self, but="lift")

    def terms(self, model, out, batch, progress):
        stages = self.maps(out)
        distance = self.distances(stages)  # [B, S-1]
        weights = self.weights(stages)
        weights = weights.detach() if self.detach_attention else weights
        return {
            "task": soft_cross_entropy(out.logits, self.targets(batch, progress)),
            "emd": self.lam * (weights * distance).sum(1).mean(),
        }

    def maps(self, out: Features) -> tuple[Tensor, ...]:
        """The students' maps of a pass, and the last map."""
        return (*out.blocks[:-1], out.stages[-1]) if self.captures_blocks else out.stages

    def aligned(self, stages) -> tuple[list[Tensor], Tensor]:
        """Every shallower stage's local vectors, pooled and lifted to the last one's shape, and the last one's: [B, N, C]."""
        *shallow, deep = stages
        size = [min(s, GRID) for s in deep.shape[2:]]
        teacher = local_vectors(F.adaptive_avg_pool2d(deep.detach(), size))
        lifted = [lift(F.adaptive_avg_pool2d(f, size)) for lift, f in zip(self.lift, shallow, strict=True)]
        return [local_vectors(f) for f in lifted], teacher

    def transport(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, C] x2 -> the ground cost and the plan [B, N, N], and the plan's marginal error []. In whole precision."""
        with torch.autocast(u.device.type, enabled=False):
            u, v = full_precision(u), full_precision(v)
            if self.cost == "centred l2":
                u, v = u - u.mean(2, keepdim=True), v - v.mean(2, keepdim=True)
            cost = torch.cdist(u, v).square() if self.cost == "raw l2" else ground_cost(u, v)
            a, b = cross_reference(u, v), cross_reference(v, u)
            exact = self.solver == "exact"
            plan = exact_plan(cost, a, b) if exact else sinkhorn_plan(cost, a, b, self.entropy, self.iterations)
            return cost, plan, marginal_error(plan, a, b)

    @torch.no_grad()
    def inspect(self, out: Features) -> Inspection:
        """Distances, attention, plans and marginal errors of one pass, in eval mode and without a trace on the method."""
        training = self.training
        self.eval()
        try:
            maps = self.maps(out)
            students, teacher = self.aligned(maps)
            cost, plan, error = zip(*(self.transport(u, teacher) for u in students), strict=True)
            plans, costs = torch.stack(plan), torch.stack(cost)
            distance = (plans * costs).sum((2, 3)).T
            return Inspection(distance, self.weights(maps), torch.stack(error), plans, costs)
        finally:
            self.train(training)

    def transport_plans(self, out):
        seen = self.inspect(out)
        return TransportPlans(seen.plan, seen.distance, seen.weight)

    def distances(self, stages) -> Tensor:
        """The earth mover's distance of every shallower stage to the last, [B, S-1]. Gradients pass through the cost alone."""
        students, teacher = self.aligned(stages)
        every = torch.cat(students)  # all stages in one batch
        cost, plan, _ = self.transport(every, teacher.repeat(len(students), 1, 1))
        return (plan * cost).sum((1, 2)).view(len(students), -1).T

    def weights(self, stages) -> Tensor:
        """How much each shallower stage counts for each image; rows sum to 1. [B, S-1]. Sec. 3.3."""
        *shallow, deep = [f.mean((2, 3)) for f in stages]
        if self.attention == "uniform":
            return deep.new_full((len(deep), len(shallow)), 1 / len(shallow))
        if self.attention == "cosine":
            students, teacher = self.aligned(stages)
            last = full_precision(teacher).mean(1)
            like = [F.cosine_similarity(full_precision(u).mean(1), last) for u in students]
            return (torch.stack(like, 1) / LIKENESS).softmax(1).detach()
        query = self.query(deep.detach())
        keys = torch.stack([key(f) for key, f in zip(self.keys, shallow, strict=True)], 1)  # [B, S-1, d]
        if self.attention == "afd":
            keys = self.bilinear(keys.relu().flatten(0, 1)).view_as(keys)
        with torch.autocast(query.device.type, enabled=False):
            near = (full_precision(keys) @ full_precision(query)[:, :, None]).squeeze(2) / query.shape[1] ** 0.5
        return (near + self.place if self.attention == "afd" else near).softmax(1)

    def targets(self, batch: Batch, progress: Progress) -> Tensor:
        """The labels of this step as distributions, [B, K]. Sec. 3.4; the first epoch's are hard."""
        hard = labels_of(batch, self.num_classes)
        if self.labels == "uniform":
            return (1 - self.epsilon) * hard + self.epsilon / self.num_classes
        if self.labels == "hard" or "past" not in self.memory:
            return hard
        if self.labels == "ols":
            return 0.5 * hard + 0.5 * mixed(batch, lambda y: self.memory["past"][y])
        past = self.memory["past"][batch.index]
        seen = past.sum(1, keepdim=True) > 0
        if self.labels == "ps-kd":
            share = 0.8 * (progress.epoch + 1) / progress.epochs
            return torch.where(seen, (1 - share) * hard + share * past, hard)
        wrong = past * (hard == 0)  # under mixup: of neither label
        total = wrong.sum(1, keepdim=True)
        wrong = wrong / total.clamp_min(1e-12)
        return torch.where(total > 0, (1 - self.epsilon) * hard + self.epsilon * wrong, hard)

    def remember(self, out, batch, progress):
        if self.labels in ("uniform", "hard"):
            return
        rows = self.num_classes if self.labels == "ols" else self.train_size
        if "next" not in self.memory:
            self.memory["next"] = out.logits.new_zeros(rows, self.num_classes)
        said = out.logits.softmax(1).to(self.memory["next"].dtype)
        if self.labels == "ols":
            right = (said.argmax(1) == batch.y).float()[:, None]
            self.memory["next"].index_add_(0, batch.y, said * right)
        else:
            self.memory["next"][batch.index] = said
        if progress.ends_epoch:  # what this epoch said is the next one's memory
            table = self.memory.pop("next")
            if self.labels == "ols":
                total = table.sum(1, keepdim=True)
                eye = torch.eye(rows, device=table.device)
                table = torch.where(total > 0, table / total.clamp_min(1e-12), eye)
            self.memory["past"] = table


def channels_of_blocks(model: nn.Module) -> list[int]:
    """The width of every residual block's map, shallow to deep. ValueError where there are fewer than two blocks."""
    blocks = [(block, c) for stage, c in zip(model.stages, model.channels, strict=True) for block in residuals(stage)]
    channels = [width_of(block.branch, c) for block, c in blocks]
    if len(channels) < 2:
        raise ValueError(
            f"students='blocks' needs a network of two or more residual blocks, this one has {len(channels)}: "
            "take students='stages' or a ResNet"
        )
    return channels


def width_of(branch: nn.Module, other: int) -> int:
    """How many channels its last layer gives, which need not be its stage's; `other` where it has no layer that says so."""
    layers = [m for m in branch.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    return other if not layers else layers[-1].out_channels if isinstance(layers[-1], nn.Conv2d) else layers[-1].num_features


def projection(c_in: int, dim: int) -> nn.Sequential:
    """A linear layer and batch normalisation: a query or a key."""
    return nn.Sequential(nn.Linear(c_in, dim, bias=False), VectorNorm(dim))


def exact_plan(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Optimal transport by linear programming, one pair after the other. cost [B, M, N], a [B, M], b [B, N] -> [B, M, N].

    Without gradient. Milliseconds a pair on 4x4 maps: to check Sinkhorn by, and for tiny trainings.
    """
    from scipy.optimize import linprog
    from scipy.sparse import identity, kron, vstack

    m, n = cost.shape[1:]
    sums = vstack([kron(identity(m), [[1.0] * n]), kron([[1.0] * m], identity(n))]).tocsr()[:-1]  # the last sum follows
    plans = []
    for c, p, q in zip(*(t.detach().double().cpu().numpy() for t in (cost, a, b)), strict=True):
        marginals = [*(p / p.sum()), *(q / q.sum())][:-1]
        plans.append(torch.from_numpy(linprog(c.ravel(), A_eq=sums, b_eq=marginals, method="highs").x.reshape(m, n)))
    return torch.stack(plans).to(cost)
