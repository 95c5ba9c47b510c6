"""What students hand in that is not one formula: unusual right answers, and slips that torch words badly."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sdkit
from sdkit.exercises import EXERCISES
from sdkit.exercises.exercise import drawn, sizes
from sdkit.exercises.judging import judge


def p(z, t):
    return (z / t).softmax(1)


def log_p(z, t):
    return (z / t).log_softmax(1)


def taught(z, q, t):
    return F.kl_div(log_p(z, t), p(q.detach(), t), reduction="batchmean")


def loops(z, q, t):
    total, own, other = 0.0, p(z, t), p(q.detach(), t)
    for i in range(len(z)):
        for k in range(z.shape[1]):
            total = total + other[i, k] * (torch.log(other[i, k]) - torch.log(own[i, k]))
    return total / len(z)


def without_gradient(z, q, t):
    with torch.no_grad():
        target = F.softmax(q / t, dim=1)
    return F.kl_div(F.log_softmax(z / t, dim=1), target, reduction="none").sum(dim=1).mean()


def bubbled(z):
    rows = []
    for row in z:
        v = list(row)
        for i in range(len(v)):
            for j in range(len(v) - 1 - i):
                if v[j] > v[j + 1]:
                    v[j], v[j + 1] = v[j + 1], v[j]
        rows.append(torch.stack(v))
    return torch.stack(rows)


def cloned(y, past, epsilon):
    share = past.clone()
    share[torch.arange(len(y)), y] = 0
    share = epsilon * share / share.sum(1, keepdim=True)
    share[torch.arange(len(y)), y] = 1 - epsilon
    return share


def by_autograd(a, b, t):
    taught(a, b, t).backward()
    return a.grad


C = torch.distributions.Categorical
UNUSUAL = {
    "byot.soften": [
        lambda z, t: (z / t - (z / t).logsumexp(1, keepdim=True)).exp(),
        lambda z, t: z.softmax(1) ** (1 / t) / (z.softmax(1) ** (1 / t)).sum(1, keepdim=True),
        lambda z, t: torch.nn.Softmax(dim=-1)(z.float() / torch.tensor(t)),
    ],
    "byot.exit_kl": [
        loops,
        without_gradient,
        lambda z, q, t: torch.distributions.kl_divergence(C(logits=q.detach() / t), C(logits=z / t)).mean(),
        lambda z, q, t: F.cross_entropy(z / t, p(q.data, t)) - C(logits=q.data / t).entropy().mean(),
        lambda z, q, t: F.kl_div(log_p(z, t).log_softmax(1), p(q, t).detach(), reduction="sum") / z.size(0),
        lambda z, q, t: (p(q.data, t) * ((p(q.data, t) + 1e-8).log() - (p(z, t) + 1e-8).log())).sum(-1).mean(),
        lambda z, q, t: taught(z.float(), q.float(), t),
    ],
    "byot.exit_labels": [
        lambda e, y, a: (1 - a) * F.cross_entropy(torch.cat(e), y.repeat(len(e))) * len(e),
        lambda e, y, a: (1 - a) * sum(F.cross_entropy(z, F.one_hot(y, z.shape[1]).float()) for z in e),
    ],
    "byot.feature_hint": [
        lambda f, d: F.mse_loss(f, d.data) * f.shape[1],
        lambda f, d: F.pairwise_distance(f, d.detach(), eps=0).pow(2).mean(),
    ],
    "ddgsd.mean_discrepancy": [lambda a, b: (a @ a.T).mean() + (b @ b.T).mean() - 2 * (a @ b.T).mean()],
    "ddgsd.printed_gradient": [by_autograd],
    "self_guidance.survivals": [
        lambda n, p: list(np.linspace(1, p, n + 1)[1:]),
        lambda n, p: tuple(1 - (i + 1) / n * (1 - p) for i in range(n)),
    ],
    "self_guidance.student_block": [lambda h, f, b: torch.where(h + int(b) * f > 0, h + int(b) * f, 0.0)],
    "self_guidance.expected_cost": [
        lambda w, o, p: w - sum((1 - a) * (w - b) for a, b in zip(p.tolist(), o.tolist(), strict=True))
    ],
    "drg_dsr.ranked": [bubbled, lambda z: -(-z).topk(z.size(1)).values, lambda z: torch.msort(z.T).T],
    "drg_dsr.shape_kl": [lambda z, q, t: t**2 * taught(-(-z).sort(1).values.flip(1), q.sort(1).values, t)],
    "sfr.ground_cost": [lambda u, v: 2 * (1 - F.cosine_similarity(u[:, :, None], v[:, None], dim=3))],
    "sfr.dynamic_labels": [cloned],
    "sfr.soft_labels_loss": [F.cross_entropy],
    "sfr.stage_attention": [lambda q, k: torch.bmm(q[:, None], k.mT).squeeze(1).mul(q.shape[1] ** -0.5).softmax(1)],
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_right_answer_passes_however_it_is_written(name):
    for answer in UNUSUAL[name]:
        verdict = judge(EXERCISES[name], answer, seed=3)
        assert verdict, verdict


def divided_in_place(z, q, t):
    z /= t
    return taught(z, q, 1)


def detached_in_place(z, q, t):
    q.detach_()
    return taught(z, q, t)


def backwards(z, q, t):
    loss = taught(z, q, t)
    loss.backward()
    return loss


def saved_changed(z, q, t):
    own = p(z, t)
    logarithm = own.log()
    own += 1e-12
    return (p(q.data, t) * (log_p(q.data, t) - logarithm)).sum(1).mean()


def emptied(exits):
    total, n = exits.pop(0), len(exits) + 1
    while exits:
        total = total + exits.pop(0)
    return total / n


SLIPS = [
    ("byot.exit_kl", divided_in_place, "Your function changes its arguments"),
    ("byot.exit_kl", detached_in_place, "Your function changes its arguments"),
    ("byot.ensemble_logits", emptied, "Your function changes its arguments"),
    ("byot.exit_kl", backwards, "Your function calls backward"),
    ("byot.exit_kl", saved_changed, "Your function changes a tensor in place that its gradient still needs"),
    ("byot.exit_kl", lambda z, q, t: taught(z, q, t).numpy(), "Your function computes with numpy"),
    ("byot.exit_kl", lambda z, q, t: np.float64(taught(z, q, t).item()), "Your function returns a float64. .* numpy"),
    ("byot.exit_kl", lambda z, q, t: [taught(z, q, t)], "Your function returns a list: return one tensor"),
    ("ddgsd.both_labels", lambda z, y: tuple(F.cross_entropy(v, y) for v in z.chunk(2)), "Your function returns a tuple"),
    ("drg_dsr.ranked", lambda z: [row.sort().values for row in z], "Your function returns a list"),
    ("drg_dsr.ranked", lambda z: z.sort(1), "Your function returns a pair, .* `.values`"),
    ("byot.exit_kl", lambda z, q, t: taught(z, q, t)[None], r"Your answer has the shape \[1\].* this is one number"),
    ("ddgsd.mean_discrepancy", lambda a, b: (a.mean(0) - b.mean(0)) ** 2, r".* sum over the classes or features first"),
    (
        "byot.exit_labels",
        lambda e, y, a: torch.stack([F.cross_entropy(z, y) for z in e]),
        "Your answer has .* several numbers still",
    ),
    (
        "byot.exit_kl",
        lambda z, q, t: F.kl_div(log_p(z, t), log_p(q.data, t), reduction="batchmean"),
        "Your answer has NaN.* log_target=True",
    ),
    ("byot.soften", lambda z, t: (z.log() / t).softmax(1), "Your answer has NaN[^_]*$"),
    ("byot.exit_kl", lambda z, q, t: t ^ taught(z, q, t), "An operator .* a power is [*][*]"),
    (
        "byot.exit_labels",
        lambda e, y, a: sum(F.cross_entropy(z, F.one_hot(y, 20).double()) for z in e),
        "F.cross_entropy got .* number of classes typed in",
    ),
    ("byot.exit_kl", lambda z, q, t: taught(z, q, t) * len(z) / 8, r"Your answer is exit_logits.shape\[0\] / 8 times"),
    ("byot.soften", lambda z, t: z.long().softmax(1), "Your code raised .* not implemented for 'Long'"),
    ("drg_dsr.guidance", lambda z, q, t: t**3 * taught(z, q, t), "Your answer is tau times the right one"),
    ("drg_dsr.guidance", lambda z, q, t: 9 * taught(z, q, 3), "`tau` has no effect on your answer"),
    ("byot.exit_loss", lambda *g: EXERCISES["byot.exit_loss"].solution(*g[:5], 0.3, g[6]), "`alpha` has no effect"),
    ("self_guidance.student_block", lambda h, f, b: F.relu(h + b * F.dropout(f)), "Your function answers something else"),
    ("self_guidance.student_block", lambda h, f, b: F.leaky_relu(h + b * f), "Not yet"),
    ("sfr.cell_weights", lambda u, v: weights(u, v, 0), "The 0.001 is missing|Your answer has NaN"),
    ("sfr.cell_weights", lambda u, v: weights(u, v, 1e-6), "Not yet"),
    ("byot.exit_kl", lambda z, q, t: F.mse_loss(p(z, t), p(q.data, t)), "The gap of two probabilities is squared .*Besides"),
]  # fmt: skip


def weights(u, v, more):
    like = (u * v.mean(1, keepdim=True)).sum(2).clamp(min=0) + more
    return (like / like.sum(1, keepdim=True)).detach()


@pytest.mark.parametrize(("name", "answer", "says"), SLIPS, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(SLIPS)])
def test_a_slip_is_told_in_a_students_terms(name, answer, says):
    for seed in range(3):
        verdict = judge(EXERCISES[name], answer, seed=seed)
        assert not verdict and re.match(says, verdict.says), verdict


def test_a_size_that_is_typed_in_shows_since_no_size_is_the_same_on_all_inputs():
    for exercise in EXERCISES.values():
        for seed in range(0 if exercise.reads or exercise.given else 20):
            measured = [sizes(exercise, given) for given in drawn(exercise, seed)]
            alike = [name for name in measured[0] if len({m[name] for m in measured}) == 1]
            assert not alike, f"{exercise.name}: {alike}"
    assert "blocks" in sizes(EXERCISES["self_guidance.survivals"], (5, 0.5)), "a whole number is a size"


SMOOTH = "0.9 * F.one_hot(batch.y, model.num_classes) + 0.1 / model.num_classes"


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("byot.MyBYOT", "self.alpha * F.kl_div", "self.alpha * self.temperature^2 * F.kl_div", "An operator .* a power is"),
        ("byot.MyBYOT", "self.alpha * F.kl_div", "9 * self.alpha * F.kl_div", "9 is typed in"),
        ("sfr.MySFR", "self.targets(batch, progress)", SMOOTH, "0.1 is typed in for ε"),
        ("ddgsd.MyDDGSD", '"task": task, "kl"', '"task": task / 3, "kl"', r"Not yet: [^,]*, on out.logits [^.]*, batch.y"),
    ],
)  # fmt: skip
def test_a_method_with_a_slip_is_told_it(name, old, new, says):
    space = {"sdkit": sdkit, "F": F, "torch": torch, "models": sdkit.models}
    assert old in EXERCISES[name].cell
    exec(EXERCISES[name].cell.replace(old, new), space)
    verdict = judge(EXERCISES[name], space[EXERCISES[name].function], seed=1)
    assert not verdict and re.match(says, verdict.says), verdict
