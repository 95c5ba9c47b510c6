"""Networks that teach each other while they learn: no teacher is trained beforehand, and one of them is deployed."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core import Features, Knob, Progress, pick, temperature
from ..losses import kd
from ..models import as_backbone, residuals
from ..models.backbone import full_precision, initialise, pooled
from .base import Method, VectorNorm, supervised

RAMP_SHARE = 0.4
"""A training shorter than 200 epochs ramps 80 epochs' worth in this share of its own: our reading, no paper is so short."""


def ramp(progress: Progress, epochs: float) -> float:
    """exp(-5 (1 - e / epochs)^2) over the first epochs, then 1 (Laine and Aila 2017): how far to trust peers that know little.

    A training of fewer than 2.5 times as many epochs climbs over the first 0.4 of its own.
    """
    length = min(epochs, RAMP_SHARE * progress.epochs)
    left = max(1 - progress.epoch / length, 0.0) if length > 0 else 0.0
    return math.exp(-5 * left**2)


@torch.no_grad()
def redrawn(net: nn.Module) -> nn.Module:
    """A copy of a network with first weights of its own, from the global generator. Its blocks sample in training."""
    net = copy.deepcopy(net)
    for block in residuals(net):
        block.samples = True
    for m in net.modules():
        if hasattr(m, "reset_parameters"):
            m.reset_parameters()
    initialise(net)
    return net


def check_int(name: str, value: int, least: int) -> int:
    """A count that was handed in. ValueError where it is no whole number from `least` on."""
    if isinstance(value, bool) or int(value) != value or value < least:
        raise ValueError(f"{name} is a whole number from {least}, got {value!r}")
    return int(value)


def mutual(logits: list[Tensor], temperature: float) -> Tensor:
    """Each learns from all others: sum over i of the mean over j of T^2 KL(p_j || p_i). k of [B, K] -> []. DML, Sec. 3."""
    pairs = [kd(a, b, temperature) for i, a in enumerate(logits) for j, b in enumerate(logits) if i != j]
    return sum(pairs) / (len(logits) - 1)


class DML(Method):
    """Deep mutual learning (Zhang et al. 2018, Sec. 3): networks of equal rank learn from the labels and each other.

    L = Σ_i [CE(p_i, y) + λ T^2 / (n - 1) Σ_j≠i KL(p_j || p_i)] over n networks; targets are constant

    Costs a forward and a backward pass more per peer. Memory: the peers' weights; none of it is deployed.
    Helps when there is no teacher and time to train several students.

    lam: weight of the agreement. 0 is networks trained side by side; the paper uses 1, at T = 1.
    peers: how many besides the network that is deployed; paper 002's Table 2 takes two. peer: "same" is the network's own
    architecture with other first weights; "wrn-28-10", or any other name of a network, is another one (paper 001's
    student-to-student). peer_options: of that network, {"stem": "imagenet"}. peer_recipe: fields of the recipe that are the
    peers' own, {"weight_decay": 5e-4, "milestones": (0.3, 0.6, 0.9), "gamma": 0.2}; all train as long on the same batches.
    All see one batch and answer before any of them moves. Targets are detached, so one optimiser over all of them does what
    one for each would.
    """

    reads_labels = True
    knobs = {
        "lam": Knob("λ", 0, 3, "each network by itself", "agreement counts for more than labels"),
        "temperature": temperature(),
    }

    def __init__(
        self, model, *, lam: float = 1.0, temperature: float = 1.0, peers: int = 1, peer: str = "same",
        peer_options: Mapping[str, Any] | None = None, peer_recipe: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.lam, self.temperature = lam, temperature
        check_int("peers", peers, 1)
        if peer == "same" and peer_options:
            raise ValueError('peer="same" is the network once more, with its options: name another for options of its own')
        for name in peer_recipe or {}:
            pick(
                name,
                ("lr", "schedule", "milestones", "gamma", "momentum", "weight_decay", "nesterov"),
                "field of a peer's recipe",
            )
        self.peer_recipe = {**(peer_recipe or {})}
        self.peers = nn.ModuleList(
            redrawn(model) if peer == "same" else as_backbone(peer, model.num_classes, **(peer_options or {}))
            for _ in range(int(peers))
        )

    def terms(self, model, out, batch, progress):
        others = [peer.forward_features(batch.x).logits for peer in self.peers]
        return {
            "task": supervised(out.logits, batch),
            "peers ce": sum(supervised(z, batch) for z in others),
            "mutual": self.lam * mutual([out.logits, *others], self.temperature),
        }

    def own_recipes(self):
        return [(self.peers, self.peer_recipe)] if self.peer_recipe else []

    def peer_networks(self):
        return {f"peer {i}": peer for i, peer in enumerate(self.peers, 1)}

    def exits(self, out, x):
        return {"final": out.logits} | {name: peer(x) for name, peer in self.peer_networks().items()}


class Branch(nn.Module):
    """The network once more from some stage on, with first weights of its own."""

    def __init__(self, model: nn.Module, shared: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(redrawn(stage) for stage in list(model.stages)[shared:])
        self.neck, self.classifier = redrawn(model.neck), redrawn(model.classifier)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The last shared map [B, C, H, W] -> logits [B, K], embedding [B, D]."""
        for stage in self.stages:
            feature = stage(feature)
        embedding = self.neck(feature)
        return full_precision(self.classifier(embedding)), embedding


class Branches(Method):
    """What ONE and OKDDip share: branches on the network's first stages, and a weight that ramps up."""

    reads_labels = True
    called: ClassVar[tuple[str, int]] = ("branch", 2)
    """The exits' name, and the number of the first one beside the network's own."""

    def __init__(self, model, branches: int, shared: int | None, ramp_up: float) -> None:
        super().__init__()
        depth = len(model.channels)
        self.shared = depth - 1 if shared is None else check_int("shared", shared, 1)
        if self.shared >= depth:
            raise ValueError(f"branches share 1 to {depth - 1} of this network's {depth} stages, got shared={shared}")
        if not ramp_up >= 0:
            raise ValueError(f"ramp_up is a number of epochs from 0, got {ramp_up!r}")
        self.ramp_up = ramp_up
        self.branches = nn.ModuleList(Branch(model, self.shared) for _ in range(branches))

    def trunk(self, out: Features) -> Tensor:
        """The last map that all branches share, [B, C, H, W]."""
        return out.stages[self.shared - 1]

    def said(self, out: Features) -> tuple[list[Tensor], list[Tensor]]:
        """Every branch's logits [B, K] and embeddings [B, D], the network's own left out."""
        said = [branch(self.trunk(out)) for branch in self.branches]
        return [z for z, _ in said], [f for _, f in said]

    def named(self, values: list[Tensor]) -> dict[str, Tensor]:
        """One value of every branch, by the branch's name."""
        name, first = self.called
        return {f"{name} {i}": v for i, v in enumerate(values, first)}

    def features(self, out):
        return {"final": out.embedding} | self.named(self.said(out)[1])


class ONE(Branches):
    """On-the-fly native ensemble (Lan et al. 2018, Sec. 3): a gate makes one teacher of all branches, and it teaches each.

    L = Σ_i CE(p_i, y) + CE(p_e, y) + α w T^2 Σ_i KL(p_e || p_i), z_e = Σ_i g_i z_i, g the gate, w the ramp; both at T

    Costs the last stages once more per branch. Memory: their weights and the gate's; branch 1 alone is deployed.
    Helps when a deep network's last stages are cheap beside its first, and as a strong baseline of one-stage training.

    alpha: weight of the ensemble's soft targets. 0 is branches that share only their first stages. The paper's code uses 1.
    temperature: of the soft targets, times T^2; 3. branches: the network's own counts as one. shared: how many stages all
    branches use; default: all but the last. ramp_up: epochs over which the soft targets gain weight, see `ramp`.
    """

    knobs = {
        "alpha": Knob("α", 0, 3, "branches that ignore each other", "the ensemble counts for more than labels"),
        "temperature": temperature(),
    }

    def __init__(
        self,
        model,
        *,
        alpha: float = 1.0,
        temperature: float = 3.0,
        branches: int = 3,
        shared: int | None = None,
        ramp_up: float = 80.0,
    ) -> None:
        super().__init__(model, check_int("branches", branches, 2) - 1, shared, ramp_up)
        self.alpha, self.temperature = alpha, temperature
        width, branches = model.channels[self.shared - 1], len(self.branches) + 1
        self.gate = nn.Sequential(pooled(), nn.Linear(width, branches, bias=False), VectorNorm(branches), nn.ReLU())

    def ensemble(self, out: Features, logits: list[Tensor]) -> Tensor:
        """The gate's mean of all branches' logits. The pass, m of [B, K] -> [B, K]."""
        trunk = self.trunk(out)
        weights = full_precision(self.gate(trunk)).softmax(1)  # [B, m]
        return (weights[:, :, None] * torch.stack(logits, 1)).sum(1)

    def terms(self, model, out, batch, progress):
        others = self.said(out)[0]
        teacher = self.ensemble(out, [out.logits, *others])
        soft = sum(kd(z, teacher, self.temperature) for z in [out.logits, *others])
        return {
            "task": supervised(out.logits, batch),
            "branches ce": sum(supervised(z, batch) for z in others),
            "ensemble ce": supervised(teacher, batch),
            "kd": self.alpha * ramp(progress, self.ramp_up) * soft,
        }

    def exits(self, out, x):
        said = {"final": out.logits} | self.named(self.said(out)[0])
        return said | {"ensemble": self.ensemble(out, [*said.values()])}


class OKDDip(Branches):
    """Online distillation with diverse peers (Chen et al. 2020): each peer weighs the others its own way.

    L = Σ_a CE(p_a, y) + CE(p_0, y) + α w T^2 [Σ_a KL(t_a || p_a) + KL(m || p_0)], p_0 the leader, w the ramp; all at T
    t_a: of the logits Σ_b A_ab z_b, A_ab = softmax over b of q_a k_b;   m: of the peers' mean logits

    Costs the last stages once more per peer. Memory: their weights and two small projections; the leader alone is deployed.
    Helps when peers that all copy one ensemble grow alike too soon.

    The network is the group leader: it learns from the labels and the mean of its peers, which do not learn from it. Each
    peer learns from an average of all peers that attention over their embeddings weighs.
    alpha: weight of both soft targets. 0 is branches that share only their first stages. The paper's code uses 1.
    temperature: of the soft targets, times T^2; 3. peers: besides the leader; 3. factor: the projections are D / factor wide.
    shared, ramp_up: as in `ONE`.
    detach: our reading lets the distillation teach the attention, and not the peers whose answers it averages; False lets it
    reach the targets' logits and embeddings too, as the released code does.
    """

    called, knobs = ("peer", 1), ONE.knobs

    def __init__(
        self,
        model,
        *,
        alpha: float = 1.0,
        temperature: float = 3.0,
        peers: int = 3,
        factor: int = 8,
        shared: int | None = None,
        ramp_up: float = 80.0,
        detach: bool = True,
    ) -> None:
        super().__init__(model, check_int("peers", peers, 2), shared, ramp_up)
        self.alpha, self.temperature, self.detach = alpha, temperature, detach
        width = model.classifier.in_features
        narrow = max(width // check_int("factor", factor, 1), 1)
        self.query, self.key = (nn.Linear(width, narrow, bias=False) for _ in range(2))

    def attention(self, embeddings: list[Tensor]) -> Tensor:
        """How much each peer listens to each: rows sum to 1. m of [B, D] -> [B, m, m]."""
        f = torch.stack(embeddings, 1)
        f = f.detach() if self.detach else f
        query, key = self.query(f), self.key(f)
        with torch.autocast(f.device.type, enabled=False):
            return (full_precision(query) @ full_precision(key).mT).softmax(2)

    def terms(self, model, out, batch, progress):
        logits, embeddings = self.said(out)
        peers = torch.stack(logits, 1)
        heard = (peers.detach() if self.detach else peers)[:, None]
        targets = (self.attention(embeddings)[..., None] * heard).sum(2)  # [B, m, K], in whole precision under autocast
        group = sum(kd(z, t, self.temperature, detach=False) for z, t in zip(logits, targets.unbind(1), strict=True))
        mean = peers.mean(1)
        leader = kd(out.logits, mean, self.temperature, self.detach)
        weight = self.alpha * ramp(progress, self.ramp_up)
        return {
            "task": supervised(out.logits, batch),
            "peers ce": sum(supervised(z, batch) for z in logits),
            "peers kd": weight * group,
            "leader kd": weight * leader,
        }

    def exits(self, out, x):
        logits = self.said(out)[0]
        return {"final": out.logits} | self.named(logits) | {"ensemble": torch.stack(logits).mean(0)}
