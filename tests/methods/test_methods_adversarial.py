"""AI-KD's three lessons and its judge, against plain NumPy."""

from __future__ import annotations

import numpy as np
import paper
import pytest
import torch
from taught import Says, answers

from sdkit.core import Batch, Features, Progress
from sdkit.methods import AIKD, PSKD
from sdkit.models import four_stage

SECOND = Progress(1, 1, 4, 1)


def made(b, **options):
    """The method in its second epoch: what the student says now, said last epoch, and the teacher says, and the labels."""
    torch.manual_seed(0)
    z, past, taught = (answers(b, seed) for seed in range(3))
    y = np.random.default_rng(9).integers(0, 5, b)
    method = AIKD(four_stage(5, width=8), teacher=Says(taught), train_size=b, **options).double()
    batch = Batch("x", torch.as_tensor(y), torch.arange(b))
    method.remember(Features(torch.tensor(past), None, ()), batch, Progress(0, 0, 4, 1))
    return method, batch, z, past, taught, y


def score(weights, p):
    """The judge on one image's probabilities, neuron by neuron."""
    w1, b1, w2, b2 = weights
    total, p = b2[0], 5**0.5 * p
    for i in range(len(b1)):
        h = sum(w1[i, k] * p[k] for k in range(len(p))) + b1[i]
        total += w2[0, i] * (h if h > 0 else 0.2 * h)
    return total


def logistic(v):
    return 1 / (1 + np.exp(-v))


@pytest.mark.parametrize("options", [{}, {"alpha": 0.0, "lam": 0.5, "mu": 1.0, "temperature": 1.0, "width": 3}, {"mu": 0.0}])
@pytest.mark.parametrize("b", [1, 6])
@pytest.mark.equation("ai-kd")
def test_ai_kd_is_ps_kd_a_teacher_and_a_judge(options, b):
    method, batch, z, past, taught, y = made(b, **options)
    settings = {"alpha": 0.8, "lam": 1.0, "mu": 0.1, "temperature": 4.0} | options
    weights = [p.detach().numpy() for p in method.judge.parameters()]

    def task(v):
        return paper.ps_kd(v, y, paper.softmax(past), settings["alpha"], 1, 4)["task"]

    def kd(v):
        tau = settings["temperature"]
        return settings["lam"] * tau**2 * paper.kl(taught, v, tau)

    def fool(v):
        return -settings["mu"] * np.mean([np.log(logistic(score(weights, p))) for p in paper.softmax(v)])

    def judge(of):
        right = np.mean([np.log(logistic(score(of, p))) for p in paper.softmax(taught)])
        return -right - np.mean([np.log(1 - logistic(score(of, p))) for p in paper.softmax(z)])

    a = torch.tensor(z, requires_grad=True)
    terms = method.terms(None, Features(a, None, ()), batch, SECOND)
    printed = {"task": task(z), "kd": kd(z), "fool": fool(z), "judge": judge(weights)}
    assert terms.keys() == printed.keys()
    for name, value in printed.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-9, abs=1e-12), name

    sum(terms.values()).backward()
    slope = paper.numeric_gradient(lambda v: task(v) + kd(v) + fool(v), z)
    assert a.grad.numpy() == pytest.approx(slope, abs=2e-7), "the judge's own loss does not reach the student"
    for i, p in enumerate(method.judge.parameters()):
        moved = lambda v, i=i: judge([v if j == i else w for j, w in enumerate(weights)])  # noqa: E731
        expected = paper.numeric_gradient(moved, weights[i])
        assert p.grad.numpy() == pytest.approx(expected, abs=2e-7), "to be fooled does not teach the judge"


def test_a_judge_that_cannot_tell_costs_ln_4_and_one_that_can_is_fooled_at_a_price():
    """By hand: scores of 0 are doubt, -2 ln(1/2); the student that is found out with score -3 pays ln(1 + e^3)."""
    from sdkit.methods.adversarial import fooled, judged

    doubt = torch.zeros(4, 1)
    assert judged(doubt, doubt).item() == pytest.approx(np.log(4), rel=1e-6)
    assert judged(doubt + 3, doubt - 3).item() == pytest.approx(2 * np.log1p(np.exp(-3)), rel=1e-6)
    assert fooled(doubt - 3).item() == pytest.approx(np.log1p(np.exp(3)), rel=1e-6)


def test_without_teacher_and_judge_ai_kd_is_ps_kd():
    method, batch, z, past, _, _ = made(4, lam=0.0, mu=0.0)
    plain = PSKD(four_stage(5, width=8), train_size=4)
    plain.remember(Features(torch.tensor(past), None, ()), batch, Progress(0, 0, 4, 1))
    out = Features(torch.tensor(z), None, ())
    terms = method.terms(None, out, batch, SECOND)
    assert terms["task"] == plain.terms(None, out, batch, SECOND)["task"] and terms["kd"] == terms["fool"] == 0


def test_the_judge_learns_to_tell_the_teacher_from_the_student():
    method, batch, z, *_ = made(6)
    adam = torch.optim.Adam(method.judge.parameters(), lr=0.02)
    losses = []
    for _ in range(200):
        adam.zero_grad()
        terms = method.terms(None, Features(torch.tensor(z), None, ()), batch, SECOND)
        sum(terms.values()).backward()
        adam.step()
        losses.append(terms["judge"].item())
    assert losses[0] == pytest.approx(np.log(4), abs=0.3) and losses[-1] < losses[0] / 4
    assert terms["fool"] > 0.1 * np.log(2), "who is found out pays more than at a judge in doubt"


def test_ai_kd_refuses_what_cannot_be_meant():
    model = four_stage(5, width=8)
    with pytest.raises(ValueError, match="the teacher knows 7 classes and the student 5"):
        AIKD(model, teacher=four_stage(7, width=8), train_size=9)
    with pytest.raises(ValueError, match="width is a whole number from 1, got 0"):
        AIKD(model, teacher=four_stage(5, width=8), train_size=9, width=0)
