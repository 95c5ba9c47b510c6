"""What methods offer beside their defaults, where papers and public code differ, against plain NumPy."""

from __future__ import annotations

import math
import re

import numpy as np
import paper
import pytest
import torch
from paper import attention, pool
from published import fake
from tiny import agree, bare, build, built, case, draw, leaves, taps

from sdkit.core import Batch, Features, Progress
from sdkit.data import DATASETS
from sdkit.methods import AT, BYOT, DSN, LSR, METHODS, SFRAT, Combined, FitNet, Vanilla
from sdkit.methods.sfr_teacher import AttentionDistance
from sdkit.models import four_stage
from sdkit.train import Recipe, Training

NOW = Progress(0, 0, 1, 1)


# BYOT: the ensemble


def ensemble(heads, out, **options):
    """What BYOT's exits say together, its heads given."""
    method = bare(BYOT, heads, **options)
    for stage, head in enumerate(method.heads):
        head.stage = stage
    return method.exits(out, None)["ensemble"]


@pytest.mark.parametrize("shape", [(6, 5, 7), (1, 2, 3)])
def test_an_ensemble_is_the_mean_of_probabilities_or_of_logits(shape):
    b, k, d = shape
    cases = [case(b, k, d, seed) for seed in range(3)]
    heads = [(torch.tensor(z), torch.tensor(f)) for z, _, f in cases[:2]]
    out = Features(torch.tensor(cases[2][0]), torch.tensor(cases[2][2]), (None,) * 4)
    mean = sum(z for z, _, _ in cases) / 3
    printed = sum(paper.softmax(z) for z, _, _ in cases) / 3
    says = {kind: ensemble(heads, out, ensemble=kind) for kind in ("logits", "probabilities")}
    assert says["logits"].numpy() == pytest.approx(mean)
    assert says["probabilities"].exp().numpy() == pytest.approx(printed), "logits whose softmax is the mean, as they are"
    assert says["probabilities"].softmax(1).numpy() == pytest.approx(printed)


def test_one_sure_exit_outvotes_two_in_logits_and_not_in_probabilities():
    """Two exits say class 1 with 0.9, the third says class 0 and is sure of it."""
    doubt, sure = torch.tensor([[0.0, math.log(9)]]), torch.tensor([[200.0, 0.0]])
    out, heads = Features(sure, None, (None,) * 4), [(doubt, None), (doubt, None)]
    assert ensemble(heads, out).argmax() == 0
    said = ensemble(heads, out, ensemble="probabilities")
    assert said.argmax() == 1 and said.softmax(1)[0, 1].item() == pytest.approx(0.6) and torch.isfinite(said).all()


def test_the_ensemble_changes_no_term_and_dsn_keeps_the_mean_of_logits():
    model = four_stage(5, width=8)
    with pytest.raises(ValueError, match="'logits' or 'probabilities', got 'votes'"):
        BYOT(model, ensemble="votes")
    (z, y, f), (z2, _, f2) = case(seed=0), case(seed=1)
    out, batch = Features(torch.tensor(z), torch.tensor(f), (None,) * 4), Batch(None, torch.as_tensor(y), None)
    heads = [(torch.tensor(z2), torch.tensor(f2))]
    terms = [bare(BYOT, heads, ensemble=kind).terms(None, out, batch, NOW) for kind in ("logits", "probabilities")]
    assert terms[0] == terms[1] and DSN(model).ensemble == "logits"


# LSR: who shares epsilon


def smoothed_over_wrong(z, y, epsilon):
    """1 - eps on the label, eps / (K - 1) on every other class."""
    p, total, classes = paper.softmax(z), 0.0, z.shape[1]
    for i in range(len(y)):
        for k in range(classes):
            total -= (1 - epsilon if y[i] == k else epsilon / (classes - 1)) * math.log(p[i, k])
    return total / len(y)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(6, 5), (3, 2)])
def test_epsilon_is_shared_by_the_wrong_classes_alone(epsilon, shape):
    z, y, _ = case(*shape)
    (a,) = leaves(z)
    terms = LSR(None, epsilon=epsilon, over="wrong").terms(
        None, Features(a, None, ()), Batch(None, torch.as_tensor(y), None), NOW
    )
    agree(terms, {"task": smoothed_over_wrong(z, y, epsilon)})
    terms["task"].backward()
    printed = paper.numeric_gradient(lambda v: smoothed_over_wrong(v, y, epsilon), z)
    assert a.grad.numpy() == pytest.approx(printed, abs=1e-7)
    with pytest.raises(KeyError, match="no way to share epsilon is called 'none'"):
        LSR(None, over="none")


def test_the_two_forms_are_one_at_another_epsilon():
    """eps / K on all is (1 - 1/K) eps shared by the wrong ones: 0.1 over 5 classes is 0.08 over the 4 wrong ones."""
    z, y, _ = case()
    out, batch = Features(torch.tensor(z), None, ()), Batch(None, torch.as_tensor(y), None)
    one, other = LSR(None, epsilon=0.1), LSR(None, epsilon=0.08, over="wrong")
    assert one.terms(None, out, batch, NOW)["task"].item() == pytest.approx(other.terms(None, out, batch, NOW)["task"].item())


def test_wrong_classes_share_epsilon_of_a_mixture_label_by_label():
    z, y, _ = case()
    out, partner, share = Features(torch.tensor(z), None, ()), torch.as_tensor((y + 2) % 5), torch.tensor(0.7).double()
    batch = Batch(None, torch.as_tensor(y), None, mix=(partner, share))
    said = LSR(None, epsilon=0.2, over="wrong").terms(None, out, batch, NOW)["task"].item()
    assert said == pytest.approx(0.7 * smoothed_over_wrong(z, y, 0.2) + 0.3 * smoothed_over_wrong(z, (y + 2) % 5, 0.2))


# AT: the paper's norm


def half_norm(f, t):
    """AT Eq. 2: half the norm of the difference of the unit maps, image by image; their mean."""
    total = 0.0
    for a, b in zip(attention(f), attention(t), strict=True):
        total += math.sqrt(sum((a[k] - b[k]) ** 2 for k in range(len(a)))) / 2
    return total / len(f)


@pytest.mark.parametrize("sides", [(4, 4), (4, 2), (2, 4)])
def test_at_offers_the_papers_norm_that_is_not_squared(sides):
    student, teacher = four_stage(5, width=8), four_stage(5, width=16)
    distance = AttentionDistance(student, teacher, False, last=2, distance="norm").double()
    x, deep = draw(3, 6, sides[0], sides[0]), draw(3, 5, 4, 4, seed=2)
    t, other = draw(3, 7, sides[1], sides[1], seed=1), draw(3, 4, 4, 4, seed=3)

    def printed(f):
        return half_norm(deep, other) + half_norm(pool(f, min(sides)), pool(t, min(sides)))

    leaf, target = torch.tensor(x, requires_grad=True), torch.tensor(t, requires_grad=True)
    value = distance(taps([torch.tensor(deep), leaf]), taps([torch.tensor(other), target]))
    assert value.shape == () and value.item() == pytest.approx(printed(x), rel=1e-9)
    value.backward()
    assert target.grad is None, "the teacher is constant"
    assert leaf.grad.numpy() == pytest.approx(paper.numeric_gradient(printed, x), abs=1e-6)


def test_a_student_that_looks_where_the_teacher_looks_gets_a_finite_gradient():
    network = four_stage(5, width=8)
    leaf = torch.randn(2, 64, 4, 4, dtype=torch.float64).requires_grad_()
    value = AttentionDistance(network, network, False, last=1, distance="norm")(taps([leaf]), taps([leaf.detach()]))
    value.backward()
    assert value == 0 and torch.isfinite(leaf.grad).all()


def test_at_weighs_the_norm_by_beta_and_refuses_a_variance_for_it():
    model, method, batch = built(AT, distance="norm", beta=2.0)
    out = model.forward_features(batch.x)
    told = method.teacher.forward_features(batch.x)
    maps = [(a.detach().double().numpy(), b.double().numpy()) for a, b in zip(out.stages, told.stages, strict=True)]
    assert method.terms(model, out, batch, NOW)["at"].item() == pytest.approx(2 * sum(half_norm(*m) for m in maps), rel=1e-5)
    with pytest.raises(ValueError, match="the norm has none: use distance='squared'"):
        built(AT, distance="norm", variance=True)
    with pytest.raises(KeyError, match="no distance of attention maps is called 'cosine'"):
        built(AT, distance="cosine")
    assert built(SFRAT)[1].distance.distance == "squared"


# FitNet: hints first


@pytest.mark.parametrize(("alpha", "tau"), [(0.9, 4.0), (0.0, 4.0), (1.0, 2.0)])
def test_fitnet_in_two_stages_is_hints_alone_then_kd_alone(alpha, tau):
    model, method, batch = built(FitNet, hint_share=0.4, alpha=alpha, temperature=tau, beta=3.0)
    y, out, told = batch.y.numpy(), model.forward_features(batch.x), method.teacher.forward_features(batch.x)
    hints = 3.0 * method.distance(out, told).item()
    printed = paper.kd(out.logits.detach().double().numpy(), told.logits.double().numpy(), y, alpha, tau)
    for epoch in range(10):  # 0.4 of them are four
        terms = {k: t.item() for k, t in method.terms(model, out, batch, Progress(epoch, epoch * 7, 10, 7)).items()}
        stage = {"task": 0.0, "fitnet": hints, "kd": 0.0} if epoch < 4 else printed | {"fitnet": 0.0}
        assert terms == pytest.approx(stage, rel=1e-5, abs=1e-6), epoch


def test_hints_reach_no_layer_behind_the_map_and_kd_no_regressor():
    for epoch, reached in ((0, {"stem", "stages", "distance"}), (1, {"stem", "stages", "neck", "classifier"})):
        model, method, batch = built(FitNet, hint_share=0.5)
        sum(method.terms(model, model.forward_features(batch.x), batch, Progress(epoch, epoch, 2, 1)).values()).backward()
        named = [*model.named_parameters(), *method.named_parameters()]
        parts = {name.partition(".")[0] for name, _ in named}
        assert {name.partition(".")[0] for name, p in named if p.grad is not None} == reached & parts


def test_the_second_stage_trains_what_the_first_left_and_the_classifier_waits():
    torch.manual_seed(0)
    _, _, data = build("vanilla")
    model, teacher = four_stage(10, width=8), four_stage(10, width=8)
    method = FitNet(model, teacher=teacher, hint_share=0.5)
    training = Training(model, method, data, Recipe(epochs=2, batch_size=50, lr=0.05, weight_decay=0.0), on="cpu")
    first, regressor = model.classifier.weight.detach().clone(), method.distance.regressor[0][0].weight
    seen = {}
    for event in training.iterate():
        if hasattr(event, "accuracy"):
            seen[event.epoch] = (model.classifier.weight.detach().clone(), regressor.detach().clone(), event.terms)
    assert torch.equal(seen[0][0], first) and not torch.equal(seen[1][0], first)
    assert torch.equal(seen[0][1], seen[1][1]), "nobody asks the regressor any more"
    assert seen[0][2]["task"] == seen[1][2]["fitnet"] == 0 and seen[0][2]["fitnet"] > 0 and seen[1][2]["kd"] > 0


def test_two_stages_own_the_task_and_are_refused_where_they_cannot_be_meant():
    model, method, _ = built(FitNet, hint_share=0.5)
    assert method.replaces_task_loss and not built(FitNet)[1].replaces_task_loss
    assert Combined(Vanilla(), method).terms is not None
    for share in (-0.1, 1.0, 2.0):
        with pytest.raises(ValueError, match=r"in \[0, 1\), got"):
            built(FitNet, hint_share=share)
    with pytest.raises(ValueError, match=r"alpha .* must lie in"):
        built(FitNet, hint_share=0.5, alpha=1.5)
    with pytest.raises(ValueError, match="the teacher knows 7 classes and the student 5"):
        FitNet(model, teacher=four_stage(7, width=8), hint_share=0.5)
    assert FitNet(model, teacher=four_stage(7, width=8)).hint_share == 0, "hints alone need no common classes"


# CIFAR: the statistics of public code


@pytest.mark.parametrize(("name", "own"), [("cifar10", (0.2470, 0.2435, 0.2616)), ("cifar100", (0.2673, 0.2564, 0.2762))])
def test_cifar_offers_the_statistics_of_public_code(name, own, tmp_path, monkeypatch):
    fake(name, tmp_path, monkeypatch)
    plain, legacy = DATASETS[name](root=tmp_path), DATASETS[name](root=tmp_path, norm="legacy")
    assert plain.std == own and legacy.std == (0.2023, 0.1994, 0.2010) and legacy.mean == (0.4914, 0.4822, 0.4465)
    assert torch.equal(plain.train.x, legacy.train.x)
    x = plain.train.x[:2]
    for data in (plain, legacy):
        mean, std = (np.array(v)[None, :, None, None] for v in (data.mean, data.std))
        assert data.normalised(x).numpy() == pytest.approx((x.numpy() / 255 - mean) / std, abs=1e-5)
    with pytest.raises(ValueError, match="norm is None, .* got 'own'"):
        DATASETS[name](root=tmp_path, norm="own")


# every method


@pytest.mark.parametrize("name", METHODS)
def test_a_docstring_prints_the_loss(name):
    kind = METHODS[name]
    assert re.search(r"^    L = \S", kind.__doc__, re.M), f"{name} prints no equation"
