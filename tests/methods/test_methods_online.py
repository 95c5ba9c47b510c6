"""Peers, soft labels and generations: each loss against plain NumPy, each memory by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import paper
import pytest
import torch
import torch.nn.functional as F

from sdkit.core import Batch, Features, Progress
from sdkit.experiment import Experiment
from sdkit.methods import (
    ATS,
    BAN,
    CSKD,
    CTKD,
    DML,
    DSN,
    KD,
    METHODS,
    OLS,
    ONE,
    ZFLS,
    Codistillation,
    Combined,
    Defensive,
    DropoutGuidance,
    EMACopy,
    Ensemble,
    HighTemperature,
    LabelRefinery,
    MeanTeacher,
    MultiExit,
    OKDDip,
    SnapshotKD,
    TFKDReg,
    TFKDSelf,
    born_again,
)
from sdkit.methods.labels import ranks, votes, zipf
from sdkit.methods.online import ramp, redrawn
from sdkit.models import MODELS, four_stage
from sdkit.train import Recipe

MID = Progress(100, 100, 200, 1)  # every ramp is over
SIZES = [1, 6]


def logits(b=6, k=5, seed=0):
    g = np.random.default_rng(seed)
    return g.normal(size=(b, k)) * 2


def labels(b=6, k=5, seed=9):
    return np.random.default_rng(seed).integers(0, k, b)


def leaf(a):
    return torch.tensor(a, dtype=torch.float64, requires_grad=True)


def batch_of(y, x="x", pair="pair"):
    return Batch(x, torch.as_tensor(y), torch.arange(len(y)), pair)


class Says(torch.nn.Module):
    """A network whose answers are given: by what it is shown."""

    num_classes = 5

    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    def forward_features(self, x):
        return Features(self.answers[x], None, ())


class Branches(torch.nn.Module):
    """A branch whose logits and embedding are given."""

    def __init__(self, z, f=None):
        super().__init__()
        self.given = z, f

    def forward(self, feature):
        return self.given


def agree(terms, printed, rel=1e-9):
    assert terms.keys() == printed.keys()
    for name, value in printed.items():
        assert terms[name].item() == pytest.approx(value, rel=rel, abs=1e-12), name


def gradient(f, z):
    return pytest.approx(paper.numeric_gradient(f, z), abs=2e-7)


def net(**options):
    torch.manual_seed(0)
    return four_stage(5, width=8, **options)


# peers


@pytest.mark.parametrize(("lam", "tau", "peers"), [(1.0, 1.0, 1), (0.5, 2.0, 2), (0.0, 1.0, 3)])
@pytest.mark.parametrize("b", SIZES)
@pytest.mark.equation("dml")
def test_dml_is_labels_and_the_mean_of_the_peers(lam, tau, peers, b):
    y, zs = labels(b), [logits(b, seed=s) for s in range(peers + 1)]
    method, leaves = DML(net(), lam=lam, temperature=tau, peers=peers), [leaf(z) for z in zs]
    method.peers = torch.nn.ModuleList(Says(x=z) for z in leaves[1:])

    def printed(i, v):  # what network i minimises: the others are constant
        others = [z for j, z in enumerate(zs) if j != i]
        return paper.cross_entropy(v, y) + lam * sum(tau**2 * paper.kl(z, v, tau) for z in others) / peers

    terms = method.terms(None, Features(leaves[0], None, ()), batch_of(y), MID)
    agree(
        terms,
        {
            "task": paper.cross_entropy(zs[0], y),
            "peers ce": sum(paper.cross_entropy(z, y) for z in zs[1:]),
            "mutual": sum(printed(i, z) - paper.cross_entropy(z, y) for i, z in enumerate(zs)),
        },
    )
    sum(terms.values()).backward()
    for i, (a, z) in enumerate(zip(leaves, zs, strict=True)):
        assert a.grad.numpy() == gradient(lambda v, i=i: printed(i, v), z)


def test_peers_begin_with_other_weights_and_are_not_deployed():
    model = net()
    method = DML(model, peers=2)
    firsts = [n.stem[0].weight for n in (model, *method.peers)]
    assert not any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])
    assert method.peers[0].state_dict().keys() == model.state_dict().keys()
    twin = redrawn(model)
    spread = lambda n: [p.std().item() for name, p in n.named_parameters() if p.dim() == 4]  # noqa: E731
    assert spread(twin) == pytest.approx(spread(model), rel=0.2), "drawn from the same distribution"
    assert {(m.running_mean != 0).any().item() for m in twin.modules() if hasattr(m, "running_mean")} == {False}
    other = DML(model, peer="resnet20")
    assert other.peers[0].num_classes == 5 and len(other.peers[0].stages) == 3
    with pytest.raises(KeyError, match="did you mean 'resnet20'"):
        DML(model, peer="resnet-20")
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match="peers is a whole number"):
            DML(model, peers=bad)


def test_the_ramp_is_a_gaussian_up_to_its_epoch():
    at = lambda e, epochs, length: ramp(Progress(e, e, epochs, 1), length)  # noqa: E731
    assert at(0, 200, 80) == pytest.approx(math.exp(-5))
    assert at(40, 200, 80) == pytest.approx(math.exp(-5 * 0.25))
    assert at(80, 300, 80) == at(299, 300, 80) == at(0, 300, 0) == 1
    assert at(2, 10, 80) == pytest.approx(math.exp(-5 * 0.25)), "a short training climbs over its first 0.4"


def one(zs, trunk, **options):
    method = ONE(net(), branches=len(zs), shared=3, **options).double()
    method.branches = torch.nn.ModuleList(Branches(z) for z in zs[1:])
    return method, Features(zs[0], None, (None, None, trunk, None))


def gates(method, trunk):
    """softmax(relu(bn(W pool))), one number at a time."""
    w = method.gate[1].weight.detach().numpy()
    b, c = trunk.shape[:2]
    pool = np.array([[trunk[i, j].mean() for j in range(c)] for i in range(b)])
    raw = np.array([[sum(w[m, j] * pool[i, j] for j in range(c)) for m in range(len(w))] for i in range(b)])
    for m in range(len(w)):
        mean, var = raw[:, m].mean(), ((raw[:, m] - raw[:, m].mean()) ** 2).mean()
        raw[:, m] = np.maximum((raw[:, m] - mean) / math.sqrt(var + 1e-5), 0)
    return paper.softmax(raw)


@pytest.mark.parametrize(("alpha", "tau", "progress"), [(1.0, 3.0, MID), (0.5, 1.0, Progress(0, 0, 200, 1))])
@pytest.mark.parametrize(("b", "branches"), [(6, 3), (2, 2)])
@pytest.mark.equation("one")
def test_one_is_labels_for_all_and_the_gates_ensemble_for_each(alpha, tau, progress, b, branches):
    y, zs = labels(b), [logits(b, seed=s) for s in range(branches)]
    trunk = np.random.default_rng(5).normal(size=(b, 32, 3, 3))
    leaves = [leaf(z) for z in zs]
    method, out = one(leaves, torch.tensor(trunk), alpha=alpha, temperature=tau)
    g = gates(method, trunk)
    weight = alpha * (1.0 if progress is MID else math.exp(-5))
    mean = lambda these: sum(g[:, [i]] * z for i, z in enumerate(these))  # noqa: E731
    teacher = mean(zs)
    terms = method.terms(None, out, batch_of(y), progress)
    agree(
        terms,
        {
            "task": paper.cross_entropy(zs[0], y),
            "branches ce": sum(paper.cross_entropy(z, y) for z in zs[1:]),
            "ensemble ce": paper.cross_entropy(teacher, y),
            "kd": weight * sum(tau**2 * paper.kl(teacher, z, tau) for z in zs),
        },
    )
    sum(terms.values()).backward()
    for i, (a, z) in enumerate(zip(leaves, zs, strict=True)):
        with_ = lambda v, i=i: [v if j == i else other for j, other in enumerate(zs)]  # noqa: E731
        printed = lambda v, w=with_: (  # noqa: E731
            paper.cross_entropy(v, y) + paper.cross_entropy(mean(w(v)), y) + weight * tau**2 * paper.kl(teacher, v, tau)
        )
        assert a.grad.numpy() == gradient(printed, z)


def test_a_gate_needs_two_images_to_learn_and_one_to_answer():
    model = net()
    method, x = ONE(model), torch.randn(1, 3, 16, 16)
    with pytest.raises(ValueError, match="at least 2 images a batch, got 1"):
        method.terms(model, model.forward_features(x), batch_of([0], x), MID)
    model.eval(), method.eval()
    exits = method.exits(model.forward_features(x), x)
    assert list(exits) == ["final", "branch 2", "branch 3", "ensemble"]
    some = torch.stack([exits[n] for n in ("final", "branch 2", "branch 3")])
    assert (exits["ensemble"] <= some.amax(0) + 1e-6).all() and (exits["ensemble"] >= some.amin(0) - 1e-6).all()


@pytest.mark.parametrize("b", SIZES)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.equation("okddip")
def test_okddip_peers_follow_their_own_mean_and_the_leader_follows_them(b, detach):
    y, leader, zs = labels(b), logits(b, seed=7), [logits(b, seed=s) for s in range(3)]
    g = np.random.default_rng(3)
    fs = [g.normal(size=(b, 64)) for _ in range(3)]
    method = OKDDip(net(), detach=detach).double()
    wq, wk = (m.weight.detach().numpy() for m in (method.query, method.key))
    a, leaves, features = leaf(leader), [leaf(z) for z in zs], [leaf(f) for f in fs]
    method.branches = torch.nn.ModuleList(Branches(z, f) for z, f in zip(leaves, features, strict=True))

    def attention(wq, fs):
        rows = np.zeros((b, 3, 3))
        for i in range(b):
            for p in range(3):
                for q in range(3):
                    rows[i, p, q] = (wq @ fs[p][i]) @ (wk @ fs[q][i])
            rows[i] = paper.softmax(rows[i])
        return rows

    def peers(values, targets, wq, fs):
        rows = attention(wq, fs)
        weighed = [sum(rows[:, p, q, None] * targets[q] for q in range(3)) for p in range(3)]
        return 9 * sum(paper.kl(weighed[p], values[p], 3.0) for p in range(3))

    terms = method.terms(None, Features(a, None, (None,) * 4), batch_of(y), MID)
    printed = {
        "task": paper.cross_entropy(leader, y),
        "peers ce": sum(paper.cross_entropy(z, y) for z in zs),
        "peers kd": peers(zs, zs, wq, fs),
        "leader kd": 9 * paper.kl(sum(zs) / 3, leader, 3.0),
    }
    agree(terms, printed)
    sum(terms.values()).backward()
    own = lambda v: paper.cross_entropy(v, y) + 9 * paper.kl(sum(zs) / 3, v, 3.0)  # noqa: E731
    assert a.grad.numpy() == gradient(own, leader)
    swap = lambda v: [v, *zs[1:]]  # noqa: E731
    taught = lambda v: paper.cross_entropy(v, y) + peers(swap(v), zs if detach else swap(v), wq, fs)  # noqa: E731
    leads = lambda v: 0.0 if detach else 9 * paper.kl(sum(swap(v)) / 3, leader, 3.0)  # noqa: E731
    assert leaves[0].grad.numpy() == gradient(lambda v: taught(v) + leads(v), zs[0])
    rows = attention(wq, fs)
    assert np.allclose(method.attention(features).detach().numpy(), rows, atol=1e-12)
    assert (features[0].grad is None) == detach, "the embeddings are weighed, not taught"
    step = np.zeros_like(wq)
    step[0, 0] = 1e-5
    slope = (peers(zs, zs, wq + step, fs) - peers(zs, zs, wq - step, fs)) / 2e-5
    assert method.query.weight.grad[0, 0].item() == pytest.approx(slope, rel=1e-5, abs=1e-7), "attention learns"


def test_branches_share_the_first_stages_and_say_where_they_cannot():
    model = net()
    for shared in (1, 2, 3):
        method = OKDDip(model, shared=shared)
        assert len(method.branches[0].stages) == 4 - shared
        out = model.forward_features(torch.randn(2, 3, 16, 16))
        assert [*method.exits(out, None)] == ["final", "peer 1", "peer 2", "peer 3", "ensemble"]
        assert method.features(out)["peer 2"].shape == (2, 64)
    with pytest.raises(ValueError, match="share 1 to 3 of this network's 4 stages, got shared=4"):
        ONE(model, shared=4)
    with pytest.raises(ValueError, match="branches is a whole number from 2, got 1"):
        ONE(model, branches=1)
    with pytest.raises(ValueError, match="ramp_up is a number of epochs from 0, got -1"):
        ONE(model, ramp_up=-1)


@pytest.mark.parametrize("name", ["vgg-tiny", "densenet-tiny", "mobilenet-tiny", "resnet8"])
def test_branches_and_copies_grow_on_any_network(name):
    torch.manual_seed(0)
    model, x, y = MODELS[name](num_classes=5), torch.randn(4, 3, 16, 16), labels(4)
    batch = batch_of(y, x, x)
    for method in (OKDDip(model, shared=1), MeanTeacher(model)):
        sum(method.terms(model, model.forward_features(x), batch, MID).values()).backward()
        assert all(p.grad is not None for p in [*model.parameters(), *method.parameters()])
        model.eval(), method.eval()
        assert all(z.shape == (4, 5) and torch.isfinite(z).all() for z in method.exits(model.forward_features(x), x).values())
        model.train()
    method.mean.follow(model)
    assert torch.equal(method.mean.forward_features(x).logits, model.eval()(x))


# labels


@pytest.mark.parametrize(("lam", "tau"), [(1.0, 4.0), (0.0, 4.0), (2.0, 1.0)])
@pytest.mark.parametrize("b", SIZES)
@pytest.mark.equation("cs-kd")
def test_cs_kd_follows_the_classmate_that_learns_nothing(lam, tau, b):
    y, z, partner = labels(b), logits(b), logits(b, seed=1)
    a, p = leaf(z), leaf(partner)
    terms = CSKD(None, lam=lam, temperature=tau).terms(Says(pair=p), Features(a, None, ()), batch_of(y), MID)
    printed = lambda v: {"task": paper.cross_entropy(v, y), "cs": lam * tau**2 * paper.kl(partner, v, tau)}  # noqa: E731
    agree(terms, printed(z))
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: sum(printed(v).values()), z) and p.grad is None


def test_ranks_count_who_is_ahead_and_ties_share():
    assert ranks(torch.tensor([[4.0, 3, 3, 2, 1], [0.0, 0, 0, 0, 0]])).tolist() == [[1, 2, 2, 4, 5], [1, 1, 1, 1, 1]]
    law = zipf(torch.tensor([[4.0, 3, 3, 2, 1]]).double(), torch.tensor([1]))  # the label's own 1/2 is taken out
    whole = 1 + 1 / 2 + 1 / 4 + 1 / 5
    assert law[0].tolist() == pytest.approx([1 / whole, 1 / 2 / whole, 1 / 4 / whole, 1 / 5 / whole])


def plain_zipf(z, scores, y, power):
    total = 0.0
    for i in range(len(y)):
        wrong = [k for k in range(z.shape[1]) if k != y[i]]
        rank = {k: 1 + sum(scores[i, j] > scores[i, k] for j in range(z.shape[1])) for k in wrong}
        law, mass = {k: float(rank[k]) ** -power for k in wrong}, sum(math.exp(z[i, k]) for k in wrong)
        for k in wrong:
            p = law[k] / sum(law.values())
            total += p * (math.log(p) - math.log(math.exp(z[i, k]) / mass))
    return total / len(y)


@pytest.mark.parametrize(("b", "k"), [(1, 5), (6, 5), (4, 2), (3, 20)])
@pytest.mark.parametrize(("lam", "power"), [(0.1, 1.0), (1.0, 0.0), (0.5, 2.0)])
@pytest.mark.equation("zf-ls")
def test_zf_ls_is_zipfs_law_over_the_wrong_classes(b, k, lam, power):
    y, z = labels(b, k), logits(b, k)
    a = leaf(z)
    terms = ZFLS(net(), lam=lam, power=power).terms(None, Features(a, None, ()), batch_of(y), MID)
    law = plain_zipf(z, z, y, power)
    assert terms["task"].item() == pytest.approx(paper.cross_entropy(z, y))
    assert terms["zipf"].item() == pytest.approx(lam * law, abs=1e-12)
    terms["zipf"].backward()
    fixed = lambda v: lam * plain_zipf(v, z, y, power)  # noqa: E731  the ranks are the target
    assert a.grad.numpy() == gradient(fixed, z)
    assert a.grad.gather(1, torch.as_tensor(y)[:, None]).abs().max() == 0, "the label's own logit is left alone"


def test_dense_votes_are_counted_place_by_place():
    classifier = torch.nn.Linear(2, 3, bias=False)
    classifier.weight.data = torch.tensor([[1.0, 0], [0, 1.0], [-1.0, -1.0]])
    feature = torch.tensor([[[[1.0, 0.0], [2.0, -1.0]], [[0.0, 1.0], [0.0, -3.0]]]])  # places: class 0, 1, 0, 2
    assert votes(classifier, feature).tolist() == [[2, 1, 1]]
    model = net()
    x, y = torch.randn(4, 3, 16, 16), labels(4)
    out = model.forward_features(x)
    terms = ZFLS(model, dense=True).terms(model, out, batch_of(y, x), MID)
    counted = votes(model.classifier, out.stages[-1]).double().numpy()
    assert terms["zipf"].item() == pytest.approx(
        0.1 * plain_zipf(out.logits.detach().double().numpy(), counted, y, 1), rel=1e-4
    )
    model.classifier = torch.nn.Linear(7, 5)
    with pytest.raises(ValueError, match="dense votes need a classifier that reads the last map's 64 channels"):
        ZFLS(model, dense=True)


def plain_reg(z, y, alpha, tau, correct, multiplier, printed):
    k, total = z.shape[1], 0.0
    teacher = np.full_like(z, (1 - correct) / (k - 1))
    for i, label in enumerate(y):
        teacher[i, label] = correct
    target = paper.softmax(np.log(teacher) / tau) if printed else paper.softmax(teacher / tau)
    student = paper.softmax(z, tau) if printed else paper.softmax(z)
    for i in range(len(y)):
        for j in range(k):
            total += target[i, j] * math.log(target[i, j] / student[i, j])
    return {"task": (1 - alpha) * paper.cross_entropy(z, y), "reg": alpha * multiplier * total / len(y)}


@pytest.mark.parametrize(
    "options",
    [{}, {"alpha": 1.0, "temperature": 1.0, "correct": 0.9}, {"printed": True}, {"printed": True, "multiplier": 400.0}],
)
@pytest.mark.parametrize(("b", "k"), [(1, 5), (6, 5), (3, 2)])
@pytest.mark.equation("tf-kd-reg")
def test_tf_kd_reg_is_a_teacher_that_is_nearly_always_right(options, b, k):
    y, z = labels(b, k), logits(b, k)
    a = leaf(z)
    method = TFKDReg(four_stage(k, width=8), **options)
    s = {"alpha": 0.1, "tau": 20.0, "correct": 0.99, "multiplier": 1.0, "printed": False}
    s |= {"tau" if n == "temperature" else n: v for n, v in options.items()}
    terms = method.terms(None, Features(a, None, ()), batch_of(y), MID)
    agree(terms, plain_reg(z, y, **s), rel=1e-5)
    sum(terms.values()).backward()
    assert a.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: sum(plain_reg(v, y, **s).values()), z), abs=1e-6)


def test_tf_kd_reg_is_nearly_label_smoothing_and_as_printed_nearly_nothing_but_less_cross_entropy():
    """At T = 20 the gradient is that of alpha spread over the classes; the printed form's is 1 - alpha of the labels'."""
    y, z = labels(), logits()

    def pull(**options):
        a = leaf(z)
        sum(TFKDReg(net(), **options).terms(None, Features(a, None, ()), batch_of(y), MID).values()).backward()
        return a.grad.numpy()

    smooth = paper.numeric_gradient(lambda v: paper.smoothed_cross_entropy(v, y, 0.1), z)
    plain = 0.9 * paper.numeric_gradient(lambda v: paper.cross_entropy(v, y), z)
    assert np.abs(pull() - smooth).max() < 0.02 * np.abs(smooth).max()
    assert np.abs(pull(printed=True) - plain).max() < 0.002 * np.abs(plain).max()
    assert np.abs(pull() - plain).max() > 0.02 * np.abs(plain).max(), "the two can be told apart"


def test_tf_kd_regs_multiplier_is_the_released_codes_over_the_number_of_classes():
    """There the divergence is a mean over images and classes: its 5 on 5 classes is our 1."""
    y, z = labels(), logits()
    teacher = np.full_like(z, 0.01 / 4)
    teacher[np.arange(len(y)), y] = 0.99
    each = F.kl_div(torch.tensor(z).log_softmax(1), (torch.tensor(teacher) / 20).softmax(1), reduction="none")  # [B, K]
    released = each.mean().item()
    for theirs in (5.0, 100.0):
        term = TFKDReg(net(), multiplier=theirs / 5).terms(None, Features(torch.tensor(z), None, ()), batch_of(y), MID)["reg"]
        assert term.item() == pytest.approx(0.1 * theirs * released, rel=1e-4)
    for bad in (0.2, 1.0):
        with pytest.raises(ValueError, match="correct lies between 1/5"):
            TFKDReg(net(), correct=bad)


@pytest.mark.parametrize("alpha", [0.5, 0.0, 1.0])
@pytest.mark.equation("ols")
def test_ols_labels_are_what_was_rightly_said_in_the_last_epoch(alpha):
    y, z = labels(), logits()
    method = OLS(net(), alpha=alpha).double()
    first = method.terms(None, Features(torch.tensor(z), None, ()), batch_of(y), Progress(0, 0, 3, 2))
    assert sum(first.values()).item() == pytest.approx(paper.cross_entropy(z, y)), "the first epoch has hard labels"
    table, rows = np.eye(5), {k: [] for k in range(5)}
    for step in range(2):  # an epoch of two batches
        said, truth = logits(20, seed=step), labels(20, seed=20 + step)
        before = copy.deepcopy(method.memory)
        method.remember(Features(torch.tensor(said), None, ()), batch_of(truth), Progress(0, step, 3, 2))
        assert torch.equal(before["table"], method.memory["table"]) == (step == 0), "the table turns with the epoch"
        for p, label in zip(paper.softmax(said), truth, strict=True):
            if p.argmax() == label:
                rows[label].append(p)
    assert 0 < sum(bool(r) for r in rows.values())
    for k, seen in rows.items():
        table[k] = sum(seen) / len(seen) if seen else table[k]
    assert method.memory["table"].numpy() == pytest.approx(table, abs=1e-12)
    assert not method.memory["sum"].any() and not method.memory["count"].any()
    a = leaf(z)
    terms = method.terms(None, Features(a, None, ()), batch_of(y), Progress(1, 2, 3, 2))

    def printed(v):
        p = paper.softmax(v)
        soft = -sum(table[y[i], j] * math.log(p[i, j]) for i in range(len(y)) for j in range(5)) / len(y)
        return {"task": alpha * paper.cross_entropy(v, y), "ols": (1 - alpha) * soft}

    agree(terms, printed(z))
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: sum(printed(v).values()), z)


def test_labels_of_mixtures_are_softened_by_their_shares():
    y, partner, z = labels(), labels(seed=4), torch.tensor(logits())
    share, out = torch.tensor(0.7), Features(z, None, ())
    mixed = batch_of(y)._replace(mix=(torch.as_tensor(partner), share))
    ols, reg = OLS(net()).double(), TFKDReg(net(), printed=True)
    ols.memory["table"] = torch.tensor(paper.softmax(logits(seed=2)))
    for method, name, exact in ((ols, "ols", True), (reg, "reg", False)):
        of = lambda b, m=method, n=name: m.terms(None, out, b, MID)[n].item()  # noqa: E731
        mean = 0.7 * of(batch_of(y)) + 0.3 * of(batch_of(partner))
        assert of(mixed) == pytest.approx(mean, rel=1e-6) if exact else of(mixed) != pytest.approx(mean, rel=1e-3)
    teacher = reg.virtual(mixed, 5)
    rows = 0.7 * np.eye(5)[y] + 0.3 * np.eye(5)[partner]
    assert teacher.numpy() == pytest.approx(0.99 * rows + 0.01 / 4 * (1 - rows), abs=1e-6)
    assert teacher.sum(1).numpy() == pytest.approx(np.ones(6), abs=1e-6)


def test_a_class_that_was_never_right_keeps_its_label():
    method, y = OLS(net()), labels()
    wrong = np.eye(5)[(y + 1) % 5] * 9
    method.remember(Features(torch.tensor(wrong), None, ()), batch_of(y), Progress(0, 0, 2, 1))
    assert torch.equal(method.memory["table"], torch.eye(5))


# generations


@pytest.mark.parametrize(("kind", "alpha", "tau"), [(BAN, 0.5, 1.0), (TFKDSelf, 0.95, 6.0), (LabelRefinery, 1.0, 1.0)])
@pytest.mark.parametrize("b", SIZES)
@pytest.mark.equation("ban", "tf-kd-self", "label-refinery", "defensive")
def test_own_teachers_are_hintons_loss_at_their_own_settings(kind, alpha, tau, b):
    y, z, t = labels(b), logits(b), logits(b, seed=1)
    a = leaf(z)
    method = kind(net(), teacher=Says(x=torch.tensor(t)))
    terms = method.terms(None, Features(a, None, ()), batch_of(y), MID)
    agree(terms, paper.kd(z, t, y, alpha, tau))
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: sum(paper.kd(v, t, y, alpha, tau).values()), z)
    with pytest.raises(ValueError, match="the teacher knows 5 classes and the student 7"):
        kind(four_stage(7, width=8), teacher=Says())


def test_a_hot_teacher_as_sure_as_a_label_pulls_as_hard_as_the_label_does():
    """The gradient of defensive distillation at the logits is softmax(z / T) - q: of the size that labels have, whatever T."""
    z = leaf(logits(6))
    sure = 1e4 * np.eye(5)[labels(6)]
    terms = Defensive(net(), teacher=Says(x=torch.tensor(sure))).terms(None, Features(z, None, ()), batch_of(labels(6)), MID)
    assert terms.keys() == {"task", "kd"} and terms["task"] == 0
    terms["kd"].backward()
    expected = (paper.softmax(z.detach().numpy(), 20.0) - np.eye(5)[labels(6)]) / 6
    assert z.grad.numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("b", SIZES)
@pytest.mark.parametrize(("tau", "wrong"), [(4.0, 3.0), (5.0, 1.0), (4.0, 4.0)])
@pytest.mark.equation("ats")
def test_ats_softens_the_right_class_more(b, tau, wrong):
    y, z, t = labels(b), logits(b), logits(b, seed=1)
    a = leaf(z)
    scaled = np.array([[t[i, k] / (tau if k == y[i] else wrong) for k in range(5)] for i in range(b)])
    teacher = Says(x=torch.tensor(t))
    terms = ATS(net(), teacher=teacher, temperature=tau, wrong=wrong).terms(None, Features(a, None, ()), batch_of(y), MID)
    # paper.kl takes one temperature: tau times the scaled logits, softened by tau, are the scaled ones
    printed = lambda v: {  # noqa: E731
        "task": 0.1 * paper.cross_entropy(v, y),
        "kd": 0.9 * tau**2 * paper.kl(tau * scaled, v, tau),
    }
    agree(terms, printed(z))
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: sum(printed(v).values()), z)
    if tau == wrong:
        agree(terms, paper.kd(z, t, y, 0.9, tau))


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.0), (5, 0.5), (10, 1.0), (30, 1.0)])
@pytest.mark.equation("ctkd")
def test_ctkds_temperature_climbs_what_the_student_descends(epoch, weight):
    y, z, t = labels(), logits(), logits(seed=1)
    a = leaf(z)
    method = CTKD(net(), teacher=Says(x=torch.tensor(t))).double()
    tau = lambda r: 1 + 20 / (1 + math.exp(-r))  # noqa: E731
    terms = method.terms(None, Features(a, None, ()), batch_of(y), Progress(epoch, epoch, 40, 1))
    agree(terms, paper.kd(z, t, y, 0.9, tau(1.0)))
    sum(terms.values()).backward()
    loss = lambda r: sum(paper.kd(z, t, y, 0.9, tau(r)).values())  # noqa: E731
    slope = (loss(1 + 1e-5) - loss(1 - 1e-5)) / 2e-5
    assert method.r.grad.item() == pytest.approx(-weight * slope, rel=1e-5, abs=1e-9) and slope != 0
    assert a.grad.numpy() == gradient(lambda v: sum(paper.kd(v, t, y, 0.9, tau(1.0)).values()), z)


@pytest.mark.parametrize("tau", [1.0, 20.0])
@pytest.mark.equation("hot")
def test_hot_labels_ask_for_large_logits(tau):
    y, z = labels(), logits()
    a = leaf(z)
    terms = HighTemperature(net(), temperature=tau).terms(None, Features(a, None, ()), batch_of(y), MID)
    printed = lambda v: tau * paper.cross_entropy(v / tau, y)  # noqa: E731
    agree(terms, {"task": printed(z)})
    terms["task"].backward()
    assert a.grad.numpy() == gradient(printed, z)


def test_a_shadow_follows_and_never_learns():
    model = net().train()
    shadow = EMACopy(model).train()
    x = torch.randn(4, 3, 16, 16)
    assert not [*shadow.parameters()] and not shadow.net.training and not shadow.forward_features(x).logits.requires_grad
    weights = {k: v.clone() for k, v in shadow.net.state_dict().items()}
    assert weights.keys() == model.state_dict().keys()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    model(x)  # moves the running statistics and their counter
    assert torch.equal(shadow.net.stem[0].weight, weights["stem.0.weight"]), "it is a copy"
    place = shadow.net.stem[0].weight.data_ptr()
    shadow.follow(model, 0.75)
    for name, now in model.state_dict().items():
        expected = 0.75 * weights[name] + 0.25 * now if now.is_floating_point() else now
        assert torch.allclose(shadow.net.state_dict()[name], expected, atol=1e-6), name
    shadow.follow(model)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in shadow.net.state_dict().items())
    assert shadow.net.stem[0].weight.data_ptr() == place, "written in place"
    assert torch.equal(shadow.forward_features(x).logits, model.eval()(x))


def shadowed(kind, **options):
    """The method on a real network in its training."""
    model = net().train()
    return model, kind(model, **options).train()


def moved(model, by=0.5):
    with torch.no_grad():
        for p in model.parameters():
            p.add_(by)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_mean_teacher_is_the_mean_of_the_past_weights(decay):
    model, method = shadowed(MeanTeacher, decay=decay)
    mean = model.stem[0].weight.detach().clone()
    for step in range(4):
        moved(model)
        method.remember(None, None, Progress(0, step, 2, 10))
        rate = min(1 - 1 / (step + 1), decay)
        mean = rate * mean + (1 - rate) * model.stem[0].weight.detach()
    assert torch.allclose(method.mean.net.stem[0].weight, mean, atol=1e-5)
    with pytest.raises(ValueError, match=r"decay is a number in \[0, 1\), got 1"):
        MeanTeacher(model, decay=1)


@pytest.mark.parametrize(("progress", "weight"), [(MID, 1.0), (Progress(0, 0, 200, 1), math.exp(-5))])
@pytest.mark.parametrize("b", SIZES)
@pytest.mark.equation("mean-teacher")
def test_mean_teacher_is_the_squared_distance_of_probabilities(progress, weight, b):
    y, z, t = labels(b), logits(b), logits(b, seed=1)
    a, (_, method) = leaf(z), shadowed(MeanTeacher)
    method.mean.net = Says(pair=torch.tensor(t))

    def printed(v):
        p, q = paper.softmax(v), paper.softmax(t)
        apart = sum((p[i, k] - q[i, k]) ** 2 for i in range(b) for k in range(5)) / b
        return {"task": paper.cross_entropy(v, y), "consistency": 10 * weight * apart}

    terms = method.terms(None, Features(a, None, ()), batch_of(y), progress)
    agree(terms, printed(z))
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: sum(printed(v).values()), z)


@pytest.mark.parametrize(("method", "exit"), [("mean-teacher", "teacher"), ("dml", "peer 1"), ("one", "ensemble")])
def test_what_taught_beside_the_network_is_kept_with_the_run(method, exit, tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    recipe = Recipe(epochs=3, batch_size=32, lr=0.1, schedule="one cycle")
    trained = Experiment(method, network={"width": 8}, data="digits", dataset={"train_size": 200}, recipe=recipe, knobs={}).run(
        progress=False
    )
    right = (trained.logits(exit).argmax(1) == trained.labels()).float().mean().item()
    recorded = trained.history[-1].test
    assert right == pytest.approx(recorded[exit]) and exit in trained.exit_names()
    assert not torch.equal(trained.logits(exit), trained.logits())


@pytest.mark.parametrize("parts", [2, 3])
def test_snapshots_are_taken_where_a_part_ends(parts):
    model, method = shadowed(SnapshotKD, parts=parts)
    taken, before = [], method.snapshot.net.stem[0].weight.clone()
    for step in range(12):
        moved(model)
        method.remember(None, None, Progress(step // 2, step, 6, 2))
        if not torch.equal(before, method.snapshot.net.stem[0].weight):
            taken.append(step)
            before = method.snapshot.net.stem[0].weight.clone()
            assert torch.equal(before, model.stem[0].weight)
    assert taken == [12 // parts * p - 1 for p in range(1, parts)]


@pytest.mark.parametrize("b", SIZES)
@pytest.mark.equation("ss-kd")
def test_a_snapshot_teaches_from_the_second_part_on_and_it_alone_is_soft(b):
    y, z, t = labels(b), logits(b), logits(b, seed=1)
    a, (_, method) = leaf(z), shadowed(SnapshotKD)
    method.snapshot.net = Says(x=torch.tensor(t))
    out, batch = Features(a, None, ()), batch_of(y)
    agree(method.terms(None, out, batch, Progress(0, 0, 2, 1)), {"task": paper.cross_entropy(z, y), "snapshot": 0.0})
    printed = lambda v: {"task": paper.cross_entropy(v, y), "snapshot": paper.kl(t / 2, v, 1.0)}  # noqa: E731
    terms = method.terms(None, out, batch, Progress(1, 1, 2, 1))
    agree(terms, printed(z))
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: sum(printed(v).values()), z)


@pytest.mark.parametrize("b", SIZES)
@pytest.mark.equation("codistillation")
def test_codistillation_learns_from_the_others_old_answers(b):
    y, z, p, mine, its = labels(b), *(logits(b, seed=s) for s in range(4))
    a, c = leaf(z), leaf(p)
    method = Codistillation(net(), lam=0.5, temperature=2.0)
    method.peer = Says(x=c)
    for shadow, said in zip(method.copies, (mine, its), strict=True):
        shadow.net = Says(x=torch.tensor(said))
    ce = {"task": paper.cross_entropy(z, y), "peer ce": paper.cross_entropy(p, y)}
    agree(method.terms(None, Features(a, None, ()), batch_of(y), Progress(0, 0, 4, 3)), ce | {"agree": 0.0})
    terms = method.terms(None, Features(a, None, ()), batch_of(y), Progress(1, 3, 4, 3))
    agree(terms, ce | {"agree": 0.5 * 4 * (paper.kl(its, z, 2.0) + paper.kl(mine, p, 2.0))})
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: paper.cross_entropy(v, y) + 2 * paper.kl(its, v, 2.0), z)
    assert c.grad.numpy() == gradient(lambda v: paper.cross_entropy(v, y) + 2 * paper.kl(mine, v, 2.0), p)


def test_codistillations_copies_are_as_old_as_asked():
    model, method = shadowed(Codistillation, every=2)
    taken = []
    for step in range(12):
        moved(model)
        before = [s.net.stem[0].weight.clone() for s in method.copies]
        method.remember(None, None, Progress(step // 3, step, 4, 3))
        after = [s.net.stem[0].weight for s in method.copies]
        if not torch.equal(before[0], after[0]):
            taken.append(step)
            assert torch.equal(after[0], model.stem[0].weight) and torch.equal(after[1], method.peer.stem[0].weight)
    assert taken == [5, 11]


def test_born_again_generations_teach_each_other_in_turn(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    first = Experiment(
        network={"width": 8}, data="digits", dataset={"train_size": 100}, recipe=Recipe(epochs=2, batch_size=32, lr=0.05)
    )
    chain = born_again(first, 2)
    assert [e.method for e in chain] == ["vanilla", "ban", "ban"] and [e.seed for e in chain] == [0, 1, 2]
    assert chain[1].teacher == first and chain[2].teacher == chain[1]
    last = chain[2].run(progress=False)
    assert all(e.stored.status == "done" for e in chain), "the last one trained them all"
    x, _ = last.images(limit=8)
    nets = [e.run(progress=False).model for e in chain]
    with torch.no_grad():
        assert torch.allclose(Ensemble(*nets)(x), sum(n(x) for n in nets) / 3, atol=1e-6)
    turned = replace(first, method="dsr", schedule={1: {"beta": 2.0}})
    assert [e.schedule for e in born_again(turned, 2)] == [{1: {"beta": 2.0}}, {}, {}], "a plan is of the first method's knobs"
    again = born_again(replace(chain[1], schedule={1: {"alpha": 0.2}}), 1)
    assert again[1].schedule == {} and again[1].teacher.schedule
    with pytest.raises(ValueError, match="count is a whole number from 1, got 0"):
        born_again(first, 0)
    with pytest.raises(ValueError, match="at least one network"):
        Ensemble()


# guidance from within


@pytest.mark.parametrize("b", SIZES)
@pytest.mark.parametrize("sampler", ["dropout", "dropconnect"])
@pytest.mark.equation("dropout-guidance")
def test_dropout_guidance_is_eq_5_with_another_student(b, sampler):
    y, zs, zt = labels(b), logits(b), logits(b, seed=1)
    s, t = leaf(zs), leaf(zt)
    method = DropoutGuidance(net(), sampler=sampler)
    method.student = lambda model, x: s
    terms = method.terms(None, Features(t, None, ()), batch_of(y), MID)
    agree(terms, paper.self_guidance(zs, zt, y, 0.25, 3.0))
    sum(terms.values()).backward()
    assert s.grad.numpy() == gradient(lambda v: sum(paper.self_guidance(v, zt, y, 0.25, 3.0).values()), zs)
    assert t.grad.numpy() == gradient(lambda v: paper.cross_entropy(v, y), zt)


@pytest.mark.parametrize("sampler", ["dropout", "dropconnect"])
def test_what_is_left_out_is_drawn_afresh_and_the_network_is_left_whole(sampler):
    model, method = shadowed(DropoutGuidance, sampler=sampler, p=0.5)
    x = torch.randn(4, 3, 16, 16)
    before = {k: v.clone() for k, v in model.state_dict().items() if "running" in k or "weight" in k}
    a, b = method.student(model, x), method.student(model, x)
    assert not torch.allclose(a, b)
    torch.manual_seed(1)
    c = method.student(model, x)
    torch.manual_seed(1)
    assert torch.equal(c, method.student(model, x))
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert not any(stage._forward_hooks for stage in model.stages)
    method.p = 0.0
    assert torch.allclose(method.student(model, x), model(x), atol=1e-6), "nothing left out is the network itself"
    with pytest.raises(ValueError, match="'dropout' or 'dropconnect', got 'drop'"):
        DropoutGuidance(model, sampler="drop")


@pytest.mark.parametrize("b", SIZES)
@pytest.mark.equation("multi-exit")
def test_early_exits_learn_from_the_last_beside_their_labels(b):
    y, early, z = labels(b), [logits(b, seed=s) for s in range(3)], logits(b, seed=3)
    shallow, a = [leaf(e) for e in early], leaf(z)
    method = MultiExit(net())
    heads = [Branches(e, None) for e in shallow]
    for place, head in enumerate(heads):
        head.stage = place
    method.heads = torch.nn.ModuleList(heads)
    terms = method.terms(None, Features(a, None, (None,) * 4), batch_of(y), MID)
    agree(
        terms,
        {
            "task": paper.cross_entropy(z, y),
            "head ce": sum(paper.cross_entropy(e, y) for e in early),
            "kd": sum(16 * paper.kl(z, e, 4.0) for e in early),
        },
    )
    sum(terms.values()).backward()
    assert a.grad.numpy() == gradient(lambda v: paper.cross_entropy(v, y), z), "the last exit learns from labels alone"
    taught = lambda v: paper.cross_entropy(v, y) + 16 * paper.kl(z, v, 4.0)  # noqa: E731
    assert shallow[0].grad.numpy() == gradient(taught, early[0])


def test_multi_exit_without_the_last_exits_answers_is_a_deeply_supervised_net():
    model = net()
    torch.manual_seed(3)
    exits = MultiExit(model, lam=0.0)
    torch.manual_seed(3)
    plain = DSN(model)
    x, y = torch.randn(4, 3, 16, 16), labels(4)
    out = model.forward_features(x)
    ours, theirs = (m.terms(model, out, batch_of(y, x), MID) for m in (exits, plain))
    assert ours["head ce"] == theirs["head ce"] and ours["kd"] == 0
    assert [*exits.exits(out, x)] == [*plain.exits(out, x)]


# company


def test_methods_of_different_partners_or_two_ideas_of_the_labels_refuse_each_other():
    model = net()
    with pytest.raises(ValueError, match="'same class' for cskd, 'same image' for meanteacher: take one of them"):
        Combined(CSKD(model), MeanTeacher(model))
    with pytest.raises(ValueError, match="ols and tfkdreg each replace the task loss"):
        Combined(OLS(model), TFKDReg(model))
    assert issubclass(METHODS["ban"], KD)
