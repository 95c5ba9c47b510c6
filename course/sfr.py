"""Notebook 05's exercises, solved as a student would."""

import torch
import torch.nn.functional as F


def ground_cost(u, v):
    u, v = F.normalize(u, dim=2), F.normalize(v, dim=2)
    return (u[:, :, None] - v[:, None]).square().sum(3)


def cell_weights(u, v):
    like = (u * v.mean(1, keepdim=True)).sum(2).clamp_min(0) + 1e-3
    return (like / like.sum(1, keepdim=True)).detach()


def transported(plan, cost):
    return (plan.detach() * cost).sum((1, 2))


def marginal_gap(plan, a, b):
    rows, columns = (plan.sum(2) - a).abs().sum(1), (plan.sum(1) - b).abs().sum(1)
    return ((rows + columns) / 2).mean()


def dynamic_labels(y, past, epsilon):
    label = F.one_hot(y, past.shape[1]).to(past)
    others = past * (1 - label)
    return (1 - epsilon) * label + epsilon * others / others.sum(1, keepdim=True)


def soft_labels_loss(logits, target):
    return -(target * logits.log_softmax(1)).sum(1).mean()


def stage_attention(query, keys):
    scores = torch.einsum("bd,bsd->bs", query, keys)
    return (scores / query.shape[1] ** 0.5).softmax(1)


CHANGES = {
    "MySFR": (
        "target = self.targets(batch, progress)  # [B, K] the dynamic labels",
        "hard = F.one_hot(batch.y, model.num_classes).float()\n"
        "        target = (1 - self.epsilon) * hard + self.epsilon / model.num_classes",
    )
}
