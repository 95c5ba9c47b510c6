"""What is learnt from a trained teacher: each loss against its paper's equation in loops, and what must not change it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import paper
import pytest
import torch
from taught import Teacher, made, seen, tensor
from tiny import draw
from torch import nn

from sdkit import losses
from sdkit.core import Batch, Features, Progress
from sdkit.methods import CC, CRD, DKD, METHODS, RKD, VID, DarkRank, LogitRegression
from sdkit.models import MODELS, four_stage

NAMES = ["rkd", "cc", "darkrank", "vid", "crd", "dkd", "logits"]
CLOCK = Progress(1, 5, 2, 5)


def related(kind, s, t, **options):
    """The method's relation terms for two given embeddings."""
    return made(kind, **options).relations(s, torch.as_tensor(t))


def agrees(kind, s, t, printed, **options):
    """Values and gradients of the relation terms against `printed(s, t)`, which gives them by name."""
    leaf = tensor(s)
    terms = related(kind, leaf, t, **options)
    expected = printed(s, t)
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-9, abs=1e-12), name
    sum(terms.values()).backward()
    numeric = paper.numeric_gradient(lambda v: sum(printed(v, t).values()), s)
    assert leaf.grad.numpy() == pytest.approx(numeric, abs=2e-7)


# RKD


def huber(a, b):
    return 0.5 * (a - b) ** 2 if abs(a - b) <= 1 else abs(a - b) - 0.5


def length(v):
    return math.sqrt(sum(x * x for x in v))


def rkd(s, t, distance=25.0, angle=50.0):
    """Sec. 3.2: distances over their mean, and cosines at the middle one of three; means over all B^2 and all B^3 entries."""
    b = len(s)

    def apart(e):
        mean = sum(length(e[i] - e[j]) for i in range(b) for j in range(b) if i != j) / max(b * (b - 1), 1)
        return [[length(e[i] - e[j]) / mean if mean else 0.0 for j in range(b)] for i in range(b)]

    def cosine(e, i, j, k):
        u, v = e[i] - e[j], e[k] - e[j]
        return sum(u * v) / length(u) / length(v) if length(u) > 0 and length(v) > 0 else 0.0

    (ds, dt), spots = (apart(s), apart(t)), range(b)
    return {
        "distance": distance * sum(huber(ds[i][j], dt[i][j]) for i in spots for j in spots) / b**2,
        "angle": angle * sum(huber(cosine(s, i, j, k), cosine(t, i, j, k)) for i in spots for j in spots for k in spots) / b**3,
    }


@pytest.mark.parametrize("shape", [(5, 4, 3), (4, 2, 6), (3, 1, 1), (2, 3, 3), (1, 3, 2)])
@pytest.mark.parametrize("options", [{}, {"distance": 1.0, "angle": 2.0}])
@pytest.mark.equation("rkd")
def test_rkd_is_sec_3_2_as_printed(shape, options):
    b, d, e = shape
    agrees(RKD, draw(b, d), draw(b, e, seed=1) * 3, lambda s, t: rkd(s, t, **options), **options)


def test_rkd_of_too_few_images_is_nothing():
    """One image has no distance; two have one distance, which is its own mean, and no angle."""
    for b in (1, 2):
        leaf = tensor(draw(b, 4))
        terms = related(RKD, leaf, draw(b, 3, seed=1))
        sum(terms.values()).backward()
        assert all(abs(t) < 1e-12 for t in terms.values()) and leaf.grad.abs().max() < 1e-12
    assert related(RKD, tensor(draw(3, 4)), draw(3, 3, seed=1))["angle"] > 0.1


def test_rkd_is_blind_to_scale_place_and_rotation_and_sees_a_stretch():
    t = draw(6, 4)
    turn = np.linalg.qr(draw(4, 4, seed=1))[0]
    same = related(RKD, tensor(t @ turn * 7 + 3), t)
    assert all(v.item() == pytest.approx(0, abs=1e-12) for v in same.values())
    stretched = related(RKD, tensor(t * np.array([4, 1, 1, 1])), t)
    assert all(v > 0.1 for v in stretched.values())


def test_rkd_without_the_task_teaches_the_classifier_alone_by_labels():
    model = four_stage(5, width=8)
    method = RKD(model, teacher=four_stage(5, width=8), task=False)
    batch = Batch(torch.randn(6, 3, 8, 8), torch.arange(6) % 5, torch.arange(6))
    terms = method.terms(model, model.forward_features(batch.x), batch, CLOCK)
    terms["task"].backward(retain_graph=True)
    assert model.classifier.weight.grad.abs().sum() > 0
    assert all(p.grad is None or not p.grad.any() for p in [*model.stem.parameters(), *model.stages.parameters()])
    model.zero_grad()
    (terms["distance"] + terms["angle"]).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.stages.parameters()) and model.classifier.weight.grad is None
    learns = RKD(model, teacher=four_stage(5, width=8))
    learns.terms(model, model.forward_features(batch.x), batch, CLOCK)["task"].backward()
    assert any(p.grad.abs().sum() > 0 for p in model.stem.parameters())


# CC


def cc(s, t, beta=100.0, gamma=0.4, kernel="rbf"):
    """Sec. 3.2 and 3.3: mean squared difference of the kernel matrices; the Gaussian by its Taylor series to order 2."""

    def entry(u, v):
        c = sum(u * v) / length(u) / length(v)
        if kernel == "bilinear":
            return c
        return sum(math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * c**p for p in range(3))

    b = len(s)
    return {"cc": beta * sum((entry(s[i], s[j]) - entry(t[i], t[j])) ** 2 for i in range(b) for j in range(b)) / b**2}


@pytest.mark.parametrize("options", [{}, {"beta": 30.0, "gamma": 1.0}, {"beta": 30.0, "kernel": "bilinear"}])
@pytest.mark.parametrize("shape", [(6, 4, 3), (2, 2, 5), (1, 3, 3)])
@pytest.mark.equation("cc")
def test_cc_is_the_printed_one(shape, options):
    b, d, e = shape
    agrees(CC, draw(b, d), draw(b, e, seed=1), lambda s, t: cc(s, t, **options), **options)


def test_the_taylor_kernel_nears_the_gaussian_where_vectors_are_orthogonal():
    """The rest of the series is (2γc)^3 / 6 and less, at cosine c."""
    e = torch.eye(5, dtype=torch.float64) + 0.05
    unit = e / e.norm(dim=1, keepdim=True)
    exact = (-0.4 * torch.cdist(unit, unit).square()).exp()
    gap = (losses.taylor_kernel(e, 0.4) - exact).abs()
    assert gap[~torch.eye(5, dtype=torch.bool)].max() < 1e-4
    assert gap.diagonal().max() < math.exp(-0.8) * 0.8**3 / 6 * 1.3


@pytest.mark.parametrize("kernel", ["rbf", "bilinear"])
def test_cc_is_blind_to_the_order_of_the_batch_and_to_the_size_of_embeddings(kernel):
    s, t, order = draw(6, 4), draw(6, 3, seed=1), np.array([3, 1, 5, 0, 2, 4])
    options = {"beta": 10.0, "kernel": kernel}
    value = related(CC, tensor(s), t, **options)["cc"].item()
    assert related(CC, tensor(s[order]), t[order], **options)["cc"].item() == pytest.approx(value)
    assert related(CC, tensor(s[order]), t, **options)["cc"].item() != pytest.approx(value, rel=1e-3)
    sizes = np.linspace(0.1, 9, 6)[:, None]
    assert related(CC, tensor(s * sizes), t, **options)["cc"].item() == pytest.approx(value)


# DarkRank


def likelihood(scores):
    """Plackett and Luce: draw the first among all, the second among the rest, and so on."""
    out = 1.0
    for i in range(len(scores)):
        out *= math.exp(scores[i]) / sum(math.exp(scores[k]) for k in range(i, len(scores)))
    return out


def darkrank(s, t, alpha=3.0, beta=3.0, lam=1.0, length_=4, soft=False):
    unit = lambda e: [v / length(v) for v in e]  # noqa: E731
    s, t = unit(s), unit(t)
    score = lambda e, i, j: -alpha * length(e[i] - e[j]) ** beta  # noqa: E731
    total = 0.0
    for i in range(len(s)):
        near = sorted((j for j in range(len(s)) if j != i), key=lambda j: -score(t, i, j))[:length_]
        if not soft:
            total -= math.log(likelihood([score(s, i, j) for j in near]))
            continue
        for order in itertools.permutations(near):
            p, q = (likelihood([score(e, i, j) for j in order]) for e in (t, s))
            total += p * math.log(p / q)
    return {"rank": lam * total / len(s)}


@pytest.mark.parametrize("options", [{}, {"alpha": 1.0, "beta": 1.0, "lam": 2.0}, {"soft": True}, {"length": 2, "soft": True}])
@pytest.mark.parametrize("shape", [(7, 4, 3), (5, 3, 4), (3, 2, 2), (2, 2, 2), (1, 2, 3)])
@pytest.mark.equation("darkrank")
def test_darkrank_is_the_likelihood_of_the_teachers_order(shape, options):
    b, d, e = shape
    given = {"length_" if k == "length" else k: v for k, v in options.items()}
    agrees(DarkRank, draw(b, d), draw(b, e, seed=1), lambda s, t: darkrank(s, t, **given), **options)


@pytest.mark.parametrize("items", [2, 3, 4])
def test_the_likelihoods_of_all_orders_sum_to_one_and_the_best_is_the_sorted(items):
    scores = torch.tensor(draw(items))
    every = torch.stack([scores[list(order)] for order in itertools.permutations(range(items))])
    said = losses.list_log_likelihood(every)
    assert said.exp().sum().item() == pytest.approx(1)
    assert torch.equal(every[said.argmax()], scores.sort(descending=True).values)


def test_a_list_worked_by_hand():
    """Weights 3, 2, 1 in this order: 3/6 x 2/3 x 1/1 = 1/3. Turned round: 1/6 x 2/5 x 1 = 1/15."""
    scores = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64).log()
    assert losses.list_log_likelihood(scores).exp().item() == pytest.approx(1 / 3)
    assert losses.list_log_likelihood(scores.flip(0)).exp().item() == pytest.approx(1 / 15)


def test_soft_ranks_are_met_by_the_teacher_itself_and_hard_ones_by_being_surer():
    t = draw(6, 4)
    assert related(DarkRank, tensor(t), t, soft=True)["rank"].item() == pytest.approx(0, abs=1e-12)
    leaf = tensor(t)
    related(DarkRank, leaf, t)["rank"].backward()
    assert leaf.grad.abs().max() > 0.01, "the likelihood of the right order can still grow"


def test_an_image_is_not_its_own_neighbour_even_beside_its_double():
    """The third image sees two at one distance: either may come first."""
    s, t = draw(3, 4), draw(3, 3, seed=1)
    t[1] = t[0]
    either = [darkrank(s, t + step * np.array([[1], [0], [0]]) * (t[2] - t[0]))["rank"] for step in (1e-9, -1e-9)]
    value = related(DarkRank, tensor(s), t)["rank"].item()
    assert abs(either[0] - either[1]) > 0.01 and min(abs(value - e) for e in either) < 1e-6


@pytest.mark.parametrize(
    ("kind", "options"), [(RKD, {}), (CC, {}), (DarkRank, {}), (DarkRank, {"soft": True}), (DarkRank, {"beta": 1.0})]
)
@pytest.mark.parametrize("alike", [2, 5])
def test_doubles_in_a_batch_have_finite_gradients(kind, options, alike):
    """The student may not tell images apart that the teacher does: no gradient of a root at zero, no direction of nothing."""
    s, t = draw(5, 4), draw(5, 3, seed=1)
    s[:alike] = s[0]
    for dtype in (torch.float32, torch.float64):
        leaf = torch.tensor(s, dtype=dtype, requires_grad=True)
        terms = made(kind, **options).relations(leaf, torch.tensor(t, dtype=dtype))
        sum(terms.values()).backward()
        assert all(torch.isfinite(v) for v in terms.values())
        assert torch.isfinite(leaf.grad).all() and leaf.grad.abs().max() < 1e3
    if kind is RKD:
        assert {k: v.item() for k, v in terms.items()} == pytest.approx(rkd(s, t))


# VID


def vid(s, t, weights, raw, floor=1e-5):
    """Sec. 2: mean of ((t - mu)^2 / sigma^2 + ln sigma^2) / 2, sigma^2 = ln(1 + e^raw) + floor for each channel."""
    b, c, h, w = t.shape
    total = 0.0
    for i, y, x in itertools.product(range(b), range(h), range(w)):
        v = s[i, :, y, x]
        for k, m in enumerate(weights):
            v = m @ v if k == len(weights) - 1 else np.maximum(m @ v, 0)
        for j in range(c):
            variance = math.log(1 + math.exp(raw[j])) + floor
            total += ((t[i, j, y, x] - v[j]) ** 2 / variance + math.log(variance)) / 2
    return total / (b * c * h * w)


def halved(a):
    return a.reshape(*a.shape[:2], a.shape[2] // 2, 2, a.shape[3] // 2, 2).mean((3, 5))


@pytest.mark.parametrize("last", [1, 3])
@pytest.mark.parametrize("b", [1, 2])
@pytest.mark.equation("vid")
def test_vid_is_the_printed_likelihood(last, b):
    sizes = [(8, 12), (16, 24), (32, 48), (64, 96)]
    student, teacher = ([draw(b, c[k], 4, 4, seed=i) for i, c in enumerate(sizes)] for k in (0, 1))
    teacher[-1] = halved(teacher[-1])  # a teacher of another stride: the larger map is averaged
    method = made(VID, Teacher(stages=[torch.tensor(a) for a in teacher]), last=last, beta=0.7)
    with torch.no_grad():
        for m in method.foretold:
            m.raw.add_(torch.tensor(draw(len(m.raw))))
    leaves, z, y = [tensor(a) for a in student], draw(b, 5), np.arange(b) % 5
    out = Features(tensor(z), None, leaves)
    terms = method.terms(None, out, Batch(None, torch.as_tensor(y), None), CLOCK)

    def printed(raws):
        total = 0.0
        for m, i, raw in zip(method.foretold, range(4 - last, 4), raws, strict=True):
            weights = [k.weight.detach().numpy()[:, :, 0, 0] for k in m.mean if isinstance(k, nn.Conv2d)]
            total += vid(halved(student[i]) if i == 3 else student[i], teacher[i], weights, raw)
        return 0.7 * total

    raws = [m.raw.detach().numpy() for m in method.foretold]
    assert terms["vid"].item() == pytest.approx(printed(raws), rel=1e-9)
    assert terms["task"].item() == pytest.approx(paper.cross_entropy(z, y))
    terms["vid"].backward()
    assert all((leaf.grad is not None) == (i >= 4 - last) for i, leaf in enumerate(leaves))
    step, first = 1e-6, method.foretold[0].raw.grad.numpy()
    for j in (0, 3):
        moved = [[r + step * sign * (np.arange(len(r)) == j) if k == 0 else r for k, r in enumerate(raws)] for sign in (1, -1)]
        assert first[j] == pytest.approx((printed(moved[0]) - printed(moved[1])) / (2 * step), abs=1e-8)


def test_vid_starts_at_a_variance_of_five_and_is_best_at_the_residuals_own():
    for start in (5.0, 0.3):
        method = made(VID, variance=start) if start != 5.0 else made(VID)
        assert len(method.foretold) == 4
        assert all(m.variance.detach().numpy() == pytest.approx(start) for m in method.foretold)
    mean, t = torch.tensor(draw(4, 3, 5, 5)), torch.tensor(draw(4, 3, 5, 5, seed=1) * 2)
    best = (t - mean).square().mean((0, 2, 3))
    at = lambda v: losses.variational_gap(mean, v, t)  # noqa: E731
    assert all(at(best) < at(best * f) for f in (0.9, 1.1, 3))


# CRD


def crd(s, t, y, index, bank_s, bank_t, labels, tau, dim):
    """Sec. 3.1: -log h of the pair, - sum of log(1 - h) of the N pairs with images of other classes, from both sides.

    h = e^z / (e^z + N Z), Z the mean of e^z over a random bank. The pair's other half is in the bank.
    """
    z_bank = math.exp(1 / (2 * dim * tau**2))
    total = 0.0
    for anchor, bank in ((s, bank_t), (t, bank_s)):
        for i in range(len(s)):
            far = [j for j in range(len(bank)) if labels[j] != y[i] and j != index[i]]
            n = max(len(far), 1)
            h = lambda z, n=n: math.exp(z) / (math.exp(z) + n * z_bank)  # noqa: E731
            total -= math.log(h(sum(anchor[i] * bank[index[i]]) / tau))
            total -= sum(math.log(1 - h(sum(anchor[i] * bank[j]) / tau)) for j in far)
    return total / len(s)


def units(*shape, seed=0):
    a = draw(*shape, seed=seed)
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


@pytest.mark.parametrize("b", [1, 4])
@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("tau", [0.07, 0.3])
@pytest.mark.equation("crd")
def test_crd_tells_the_pair_from_the_bank(b, in_batch, tau):
    dim, s, t = 6, units(b, 6), units(b, 6, seed=1)
    y, index = np.arange(b) % 3, np.arange(b) * 4 + 2
    method = made(CRD, dim=dim, temperature=tau, in_batch=in_batch)
    batch = Batch(None, torch.as_tensor(y), torch.as_tensor(index))
    if not in_batch:
        method.memory["label"][::3] = torch.arange(7) % 3  # some have been seen
        bank = {k: v.numpy().copy() for k, v in method.memory.items()}
    a, c = tensor(s), tensor(t)

    def printed(s, t):
        if in_batch:
            return crd(s, t, y, np.arange(b), s, t, y, tau, dim)
        return crd(s, t, y, index, bank["student"], bank["teacher"], bank["label"], tau, dim)

    loss = method.gap(a, c, batch)
    assert loss.item() == pytest.approx(printed(s, t), rel=1e-6 if in_batch else 1e-9)
    loss.backward()
    assert a.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(v, t), s), rel=1e-5, abs=1e-6)
    assert c.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(s, v), t), rel=1e-5, abs=1e-6)


def test_the_critics_constant_is_the_mean_over_a_random_bank():
    for dim, tau in ((128, 0.07), (64, 0.1), (128, 0.3)):
        z = units(60_000, dim, seed=3)[:, 0] / tau  # the similarity of any unit vector with random ones
        assert math.exp(1 / (2 * dim * tau**2)) == pytest.approx(np.exp(z).mean(), rel=0.03)


def test_the_bank_moves_half_way_to_what_was_said_and_only_where_an_image_came_by():
    method, out, batch = seen(momentum=0.5)
    before = {k: v.clone() for k, v in method.memory.items()}
    method.terms(None, out, batch, CLOCK)
    assert all(torch.equal(before[k], v) for k, v in method.memory.items())
    with torch.no_grad():
        method.remember(out, batch, CLOCK)
    assert method.teacher.config == 1, "a step asks the teacher once"
    heads = {"student": (method.student, out.embedding), "teacher": (method.taught, method.teacher.given.embedding)}
    for side, (head, e) in heads.items():
        w, bias, e = head.weight.detach().numpy(), head.bias.detach().numpy(), e.detach().numpy()
        expected = before[side].numpy().copy()
        for row, place in enumerate(batch.index.tolist()):
            new = w @ e[row] + bias
            mixed = 0.5 * expected[place] + 0.5 * new / length(new)
            expected[place] = mixed / length(mixed)
        assert method.memory[side].numpy() == pytest.approx(expected, abs=1e-6)
    label = np.full(20, -1)
    label[batch.index.numpy()] = batch.y.numpy()
    assert method.memory["label"].tolist() == label.tolist()
    method.remember(out, batch, CLOCK)
    assert method.teacher.config == 2, "and again where no terms came before"


def test_images_of_the_same_class_are_no_negatives():
    method, out, batch = seen()
    method.memory["label"][:] = torch.arange(20) % 5
    value = lambda: method.terms(None, out, batch, CLOCK)["crd"].item()  # noqa: E731
    first = value()
    anchors = [(i, y) for i, y in zip(batch.index.tolist(), batch.y.tolist(), strict=True)]
    only = made(CRD, method.teacher)  # one image, whose class fills the bank but for one entry
    only.load_state_dict(method.state_dict())
    place, y = anchors[0]
    one = Batch(batch.x[:1], batch.y[:1], batch.index[:1])
    only.teacher = Teacher(None, method.teacher.given.embedding[:1])
    given = Features(out.logits[:1], out.embedding[:1], ())
    only.memory["label"] = torch.full((20,), y)
    alone = only.terms(None, given, one, CLOCK)["crd"].item()
    others = torch.arange(20) != place  # its own entry is the pair's other half
    only.memory["teacher"] = torch.where(others[:, None], -only.memory["teacher"], only.memory["teacher"])
    assert only.terms(None, given, one, CLOCK)["crd"].item() == alone
    only.memory["label"][(place + 1) % 20] = (y + 1) % 5
    assert only.terms(None, given, one, CLOCK)["crd"].item() != alone
    method.memory["student"] = -method.memory["student"]
    assert value() != first


def test_a_step_draws_as_many_negatives_as_asked_and_no_more_than_there_are():
    method = made(CRD, negatives=7)
    torch.manual_seed(3)
    drawn = [method.drawn(torch.device("cpu")) for _ in range(50)]
    assert all(d.shape == (7,) for d in drawn) and set(torch.cat(drawn).tolist()) == set(range(20))
    torch.manual_seed(3)
    assert torch.equal(method.drawn(torch.device("cpu")), drawn[0]), "the same seed draws the same"
    assert made(CRD).drawn(torch.device("cpu")).tolist() == list(range(20))
    assert not made(CRD, in_batch=True).memory


# the logits


def dkd(z, t, y, alpha, beta, tau):
    """Sec. 3: b = (p of the label, all the rest); q = the other classes' shares of the rest. Both times tau^2."""
    tckd = nckd = 0.0
    p, q = paper.softmax(t, tau), paper.softmax(z, tau)
    for i in range(len(y)):
        rest_p, rest_q = 1 - p[i, y[i]], 1 - q[i, y[i]]
        tckd += p[i, y[i]] * math.log(p[i, y[i]] / q[i, y[i]]) + rest_p * math.log(rest_p / rest_q)
        for k in range(z.shape[1]):
            if k != y[i]:
                nckd += p[i, k] / rest_p * math.log(p[i, k] / rest_p / (q[i, k] / rest_q))
    return {"tckd": alpha * tau**2 * tckd / len(y), "nckd": beta * tau**2 * nckd / len(y)}


@pytest.mark.parametrize("options", [{}, {"alpha": 0.5, "beta": 2.0, "temperature": 1.0}])
@pytest.mark.parametrize("shape", [(6, 5), (1, 5), (4, 2)])
@pytest.mark.equation("dkd")
def test_dkd_is_its_two_parts(shape, options):
    b, k = shape
    z, t, y = draw(b, k) * 2, draw(b, k, seed=1) * 2, np.arange(b) % k
    leaf, method = tensor(z), made(DKD, Teacher(torch.tensor(t)), **options)
    terms = method.terms(None, Features(leaf, None, ()), Batch(None, torch.as_tensor(y), None), CLOCK)
    settings = [options.get(n, d) for n, d in (("alpha", 1.0), ("beta", 8.0), ("temperature", 4.0))]
    printed = lambda v: {"task": paper.cross_entropy(v, y)} | dkd(v, t, y, *settings)  # noqa: E731
    assert {n: v.item() for n, v in terms.items()} == pytest.approx(printed(z), abs=1e-12)
    sum(terms.values()).backward()
    assert leaf.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: sum(printed(v).values()), z), abs=1e-6)


def test_hintons_divergence_is_tckd_and_the_teachers_doubt_times_nckd():
    z, t, y = (torch.tensor(a) for a in (draw(1, 6), draw(1, 6, seed=1), np.array([2])))
    doubt = 1 - (t / 3).softmax(1)[0, 2]
    whole = losses.target_kl(z, t, y, 3.0) + doubt * losses.other_kl(z, t, y, 3.0)
    assert losses.kl(z, t, 3.0).item() == pytest.approx(whole.item())
    moved = z.clone()
    moved[0, 2] += 5
    assert losses.other_kl(moved, t, y, 3.0) == losses.other_kl(z, t, y, 3.0), "the others' shares do not know the label"


def test_dkd_stays_finite_where_a_softmax_is_full():
    leaf, t, y = tensor(np.array([[900.0, 0, 0]])), torch.tensor([[0.0, 900, 0]]).double(), torch.tensor([0])
    loss = losses.target_kl(leaf, t, y, 1.0) + losses.other_kl(leaf, t, y, 1.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(leaf.grad).all()


def test_dkds_weights_climb_over_a_twelfth_of_the_training():
    method = made(DKD)
    climbs = [method.climb(Progress(s // 10, s, 12, 10)) for s in (0, 4, 9, 10, 119)]
    assert climbs == pytest.approx([0.1, 0.5, 1, 1, 1])
    assert made(DKD, warmup=0.0).climb(Progress(0, 0, 12, 10)) == 1


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.equation("logits")
def test_logit_regression_is_half_the_squared_distance(mean, alpha):
    z, t, y = draw(4, 5), draw(4, 5, seed=1), np.arange(4)
    leaf, method = tensor(z), made(LogitRegression, Teacher(torch.tensor(t)), alpha=alpha, per_class_mean=mean)
    terms = method.terms(None, Features(leaf, None, ()), Batch(None, torch.as_tensor(y), None), CLOCK)
    squares = sum((z[i, k] - t[i, k]) ** 2 for i in range(4) for k in range(5)) / (2 * 4) / (5 if mean else 1)
    expected = {"task": (1 - alpha) * paper.cross_entropy(z, y), "logits": alpha * squares}
    assert {n: v.item() for n, v in terms.items()} == pytest.approx(expected)
    terms["logits"].backward()
    assert leaf.grad.numpy() == pytest.approx(alpha * (z - t) / 4 / (5 if mean else 1))


# all


def test_no_gradient_reaches_the_teachers_side():
    y = torch.tensor([0, 1, 2])
    for f, shape, rest in [
        (losses.relation_gap, (3, 3), ()),
        (losses.kernel_gap, (3, 3), ()),
        (losses.target_kl, (3, 5), (y, 2.0)),
        (losses.other_kl, (3, 5), (y, 2.0)),
        (losses.logit_regression, (3, 5), ()),
    ]:
        s, t = tensor(draw(*shape)), tensor(draw(*shape, seed=1))
        f(s, t, *rest).backward()
        assert s.grad.abs().sum() > 0 and t.grad is None, f.__name__
    s, t = tensor(draw(2, 3, 4, 4)), tensor(draw(2, 3, 4, 4, seed=1))
    losses.variational_gap(s, torch.ones(3), t).backward()
    assert s.grad.abs().sum() > 0 and t.grad is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", ["resnet20", "four-stage"])
def test_the_teacher_may_be_another_network_and_learns_nothing(name, other):
    """Another width, another number of stages, and maps of another size."""
    torch.manual_seed(0)
    model, teacher = four_stage(5, width=8), MODELS[other](5, width=24) if other == "four-stage" else MODELS[other](5)
    method = METHODS[name](model, teacher=teacher, **({"train_size": 12} if name == "crd" else {}))
    weights = {k: v.clone() for k, v in teacher.state_dict().items()}
    batch = Batch(torch.randn(6, 3, 16, 16), torch.arange(6) % 5, torch.arange(6) * 2)
    terms = method.terms(model, model.forward_features(batch.x), batch, CLOCK)
    sum(terms.values()).backward()
    assert all(torch.isfinite(v) for v in terms.values())
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(weights[k], v) for k, v in teacher.state_dict().items())
    own = {id(p) for p in method.parameters()}
    assert not own & {id(p) for p in teacher.parameters()} and all(p.grad is not None for p in method.parameters())


@pytest.mark.parametrize("name", ["rkd", "cc", "darkrank", "crd"])
def test_relations_are_computed_in_whole_precision_under_autocast(name):
    s, t = torch.tensor(draw(6, 64) + 4).float(), torch.tensor(draw(6, 96, seed=1) + 4).float()
    method = made(METHODS[name], Teacher(None, t)).float()
    out, batch = Features(torch.zeros(6, 5), s, ()), Batch(torch.zeros(6), torch.arange(6) % 5, torch.arange(6))
    plain = method.terms(None, out, batch, CLOCK)
    with torch.autocast("cpu", torch.bfloat16):
        fast = method.terms(None, out, batch, CLOCK)
    assert all(torch.equal(plain[k], fast[k]) for k in plain)
    half = method.terms(None, out._replace(embedding=s.bfloat16()), batch, CLOCK)
    assert all(v.dtype == torch.float32 and torch.isfinite(v) for v in half.values())
    method.remember(out._replace(embedding=s.bfloat16()), batch, CLOCK)


def test_what_cannot_be_meant_is_refused_in_a_sentence():
    model, teacher = four_stage(5, width=8), four_stage(7, width=8)
    for kind in (DKD, LogitRegression):
        with pytest.raises(ValueError, match="the teacher knows 7 classes and the student 5: train both on one set"):
            kind(model, teacher=teacher)
    for kind, options in ((RKD, {}), (CC, {}), (DarkRank, {}), (VID, {}), (CRD, {"train_size": 9})):
        kind(model, teacher=teacher, **options)
        with pytest.raises(TypeError, match="the teacher must show its stages"):
            kind(model, teacher=nn.Linear(2, 2), **options)
    with pytest.raises(KeyError, match="no kernel is called 'gauss'"):
        CC(model, teacher=teacher, kernel="gauss")
    for options, said in (({"length": 1}, "at least 2 neighbours"), ({"length": 7, "soft": True}, "6 at most")):
        with pytest.raises(ValueError, match=said):
            DarkRank(model, teacher=teacher, **options)
    for options in ({"negatives": 0}, {"dim": 1}, {"momentum": 1.0}):
        with pytest.raises(ValueError, match=r"CRD needs at least|momentum is the share"):
            CRD(model, teacher=teacher, train_size=9, **options)
    with pytest.raises(ValueError, match="above 1e-05, got 0"):
        VID(model, teacher=teacher, variance=0)
    with pytest.raises(ValueError, match="warmup is the share of the training"):
        DKD(model, teacher=model, warmup=20)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        VID(model, teacher=teacher, last=0)
