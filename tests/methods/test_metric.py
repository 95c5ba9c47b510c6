"""Metric learning: the losses as printed, the sampler's statistics, retrieval worked by hand, and the figures to find again."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from paper import cross_entropy, numeric_gradient

from sdkit import figures
from sdkit.analysis import retrieve
from sdkit.core import Batch, Features, Progress
from sdkit.data import DATASETS, Data, Images, reid
from sdkit.data.reid import CAMERAS, SEEN_BY, SOUGHT
from sdkit.methods import METHODS, RKD, Center, Combined, Contrastive, MultiSimilarity, SoftmaxTriplet, Triplet
from sdkit.models import four_stage
from sdkit.train import Recipe, Training

START = Progress(0, 0, 1, 1)
Y = np.array([0, 1, 0, 2, 1, 0, 1, 3])  # 2 and 3 have no positive


def embeddings(seed: int = 0, b: int = len(Y), d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(b, d))


def leaf(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def of_labels(method, values: np.ndarray, y: np.ndarray = Y) -> tuple[float, np.ndarray]:
    """A metric loss of given embeddings, and its gradient."""
    e = leaf(values)
    loss = method.of_labels(e, torch.as_tensor(y))
    loss.backward()
    return loss.item(), e.grad.numpy()


# the losses, in loops


def apart(e: np.ndarray, unit: bool) -> list[list[float]]:
    rows = [v / math.sqrt(sum(v * v)) if unit else v for v in e]
    return [[math.sqrt(sum((a - b) ** 2)) for b in rows] for a in rows]


def printed_batch_hard(e, y, margin, soft=False, unit=False):
    """Hermans et al. 2017, Eq. 5."""
    d, losses = apart(e, unit), []
    for a in range(len(y)):
        near = [d[a][p] for p in range(len(y)) if p != a and y[p] == y[a]]
        far = [d[a][n] for n in range(len(y)) if y[n] != y[a]]
        if near and far:
            gap = max(near) - min(far)
            losses.append(math.log(1 + math.exp(margin + gap)) if soft else max(0.0, margin + gap))
    return sum(losses) / len(losses) if losses else 0.0


def triplet_weights(e, y, unit):
    """Ristani and Tomasi 2018: a softmax over the positives' distances, and one over the negatives' negative ones."""
    d, weights = apart(e, unit), []
    for a in range(len(y)):
        near = {p: math.exp(d[a][p]) for p in range(len(y)) if p != a and y[p] == y[a]}
        far = {n: math.exp(-d[a][n]) for n in range(len(y)) if y[n] != y[a]}
        weights.append([{k: v / sum(part.values()) for k, v in part.items()} for part in (near, far)])
    return weights


def printed_weighted(e, y, margin, soft=False, unit=False, weights=None):
    """The triplet of the weighted means. weights: where they are not to be made anew, as for a gradient."""
    weights = triplet_weights(e, y, unit) if weights is None else weights
    d, losses = apart(e, unit), []
    for a, (near, far) in enumerate(weights):
        if near and far:
            gap = sum(w * d[a][p] for p, w in near.items()) - sum(w * d[a][n] for n, w in far.items())
            losses.append(math.log(1 + math.exp(margin + gap)) if soft else max(0.0, margin + gap))
    return sum(losses) / len(losses) if losses else 0.0


def printed_multi_similarity(e, y, alpha, beta, lam, epsilon, kept=None):
    """Wang et al. 2019, Eq. 11, 12 and 15. kept: the pairs that are mined, where they are not to be mined anew."""
    unit = [v / math.sqrt(sum(v * v)) for v in e]
    s, total = [[float(sum(a * b)) for b in unit] for a in unit], 0.0
    for i in range(len(y)):
        pulled, pushed = 0.0, 0.0
        for k in (mined(s, y, epsilon) if kept is None else kept)[i]:
            if y[k] == y[i]:
                pulled += math.exp(-alpha * (s[i][k] - lam))
            else:
                pushed += math.exp(beta * (s[i][k] - lam))
        total += math.log(1 + pulled) / alpha + math.log(1 + pushed) / beta
    return total / len(y)


def mined(s, y, epsilon):
    out = []
    for i in range(len(y)):
        positives = [s[i][k] for k in range(len(y)) if k != i and y[k] == y[i]]
        negatives = [s[i][k] for k in range(len(y)) if y[k] != y[i]]
        kept = set()
        for k in range(len(y)):
            if k != i and y[k] == y[i] and negatives and s[i][k] < max(negatives) + epsilon:
                kept.add(k)
            if y[k] != y[i] and positives and s[i][k] > min(positives) - epsilon:
                kept.add(k)
        out.append(kept)
    return out


def printed_contrastive(e, y, margin, unit=True):
    """Hadsell et al. 2006, Eq. 4, each half a mean over its pairs."""
    d, near, far = apart(e, unit), [], []
    for i in range(len(y)):
        for j in range(i):
            if y[i] == y[j]:
                near.append(d[i][j] ** 2 / 2)
            else:
                far.append(max(0.0, margin - d[i][j]) ** 2 / 2)
    return (sum(near) / len(near) if near else 0) + (sum(far) / len(far) if far else 0)


NETWORK = four_stage(5, width=8)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.equation("triplet")
def test_triplets_are_as_printed(soft, unit, margin, seed):
    e, options = embeddings(seed), {"margin": margin, "soft": soft, "unit": unit}
    loss, gradient = of_labels(Triplet(NETWORK, mining="hard", **options), e)
    assert loss == pytest.approx(printed_batch_hard(e, Y, **options), abs=1e-12)
    slow = numeric_gradient(lambda v: printed_batch_hard(v, Y, **options), e)
    assert gradient == pytest.approx(slow, abs=1e-7)

    loss, gradient = of_labels(Triplet(NETWORK, mining="weighted", **options), e)
    assert loss == pytest.approx(printed_weighted(e, Y, **options), abs=1e-12)
    weights = triplet_weights(e, Y, unit)
    slow = numeric_gradient(lambda v: printed_weighted(v, Y, weights=weights, **options), e)
    assert gradient == pytest.approx(slow, abs=1e-7), "no gradient reaches the weights"


def test_a_triplet_by_hand():
    """On a line at 0, 3 of one class and 1 of another: from 0, 3 is 2 farther than 1; from 3, 0 is 1 farther. m = 0.5."""
    e = np.array([[0.0], [3.0], [1.0]])
    loss, gradient = of_labels(Triplet(NETWORK, mining="hard", margin=0.5, soft=False), e, np.array([0, 0, 1]))
    assert loss == pytest.approx(((2 + 0.5) + (1 + 0.5)) / 2)
    # from 0: d(0, 3) - d(0, 1); from 3: d(3, 0) - d(3, 1); each with half the weight
    assert gradient[:, 0] == pytest.approx([(-1 + 1 - 1) / 2, (1 + 1 - 1) / 2, (-1 + 1) / 2])


@pytest.mark.parametrize("knobs", [{}, {"alpha": 5.0, "beta": 3.0}, {"lam": 0.0, "epsilon": 1.0}, {"epsilon": 0.0}])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.equation("multi-similarity")
def test_multi_similarity_is_as_printed(knobs, seed):
    e, settings = embeddings(seed), {"alpha": 2.0, "beta": 50.0, "lam": 0.5, "epsilon": 0.1} | knobs
    loss, gradient = of_labels(MultiSimilarity(NETWORK, **knobs), e)
    assert loss == pytest.approx(printed_multi_similarity(e, Y, **settings), rel=1e-10)
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    kept = mined(unit @ unit.T, Y, settings["epsilon"])
    slow = numeric_gradient(lambda v: printed_multi_similarity(v, Y, **settings, kept=kept), e)
    assert gradient == pytest.approx(slow, abs=1e-6)


def test_multi_similarity_survives_its_sharpest_settings():
    e = torch.ones(4, 3, requires_grad=True)  # float32: exp(100) is none
    loss = MultiSimilarity(NETWORK, beta=100.0, lam=0.0).of_labels(e, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(1 + math.log(2) / 100 + math.log(1 + math.exp(-2)) / 2, rel=1e-4)
    assert e.grad.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"margin": 0.3}, {"unit": False, "margin": 2.0}])
@pytest.mark.equation("contrastive")
def test_contrastive_is_as_printed(options):
    e, settings = embeddings(), {"margin": 1.0, "unit": True} | options
    loss, gradient = of_labels(Contrastive(NETWORK, **options), e)
    assert loss == pytest.approx(printed_contrastive(e, Y, **settings), rel=1e-10)
    assert gradient == pytest.approx(numeric_gradient(lambda v: printed_contrastive(v, Y, **settings), e), abs=1e-7)


@pytest.mark.parametrize("kind", [Triplet, MultiSimilarity, Contrastive])
@pytest.mark.parametrize("y", [[0, 0, 0, 0], [0, 1, 2, 3]])
def test_a_batch_without_strangers_or_without_relatives_has_a_finite_loss(kind, y):
    for mining in ("hard", "weighted") if kind is Triplet else (None,):
        method = kind(NETWORK, **({"mining": mining} if mining else {}))
        for values in (embeddings(b=4), np.zeros((4, 3)), np.ones((4, 3))):
            loss, gradient = of_labels(method, values, np.array(y))
            assert math.isfinite(loss) and np.isfinite(gradient).all()
            assert kind is not Triplet or (loss == 0 and not gradient.any()), "no image has both"


@pytest.mark.equation("center")
def test_center_loss_is_eq_2_to_5():
    """Two steps: the centres start at the origin, then go their share of the way."""
    e, z, y, rate = embeddings(b=6, d=3), embeddings(1, b=6, d=4), np.array([0, 1, 0, 0, 2, 1]), 0.5
    method, centres = Center(lam=0.2, rate=rate), np.zeros((4, 3))
    batch = Batch(None, torch.as_tensor(y), None)
    for seed in (2, 3):
        e = embeddings(seed, b=6, d=3)
        tensor = leaf(e)
        out = Features(torch.tensor(z), tensor, ())
        terms = method.terms(None, out, batch, START)
        slow = 0.2 / 2 * sum(sum((e[i] - centres[y[i]]) ** 2) for i in range(6)) / 6
        assert terms["center"].item() == pytest.approx(slow) and terms["task"].item() == pytest.approx(cross_entropy(z, y))
        terms["center"].backward()
        assert tensor.grad.numpy() == pytest.approx(0.2 / 6 * (e - centres[y])), "no gradient through the centres"
        with torch.no_grad():
            method.remember(out, batch, START)
        for k in range(4):
            own = [e[i] for i in range(6) if y[i] == k]
            centres[k] -= rate * sum((centres[k] - x for x in own), np.zeros(3)) / (1 + len(own))
        assert method.memory["centres"].numpy() == pytest.approx(centres)
    assert not centres[3].any(), "a class that never came stays at the origin"


def passed(name: str, **options):
    """A step's terms on digits, and the network."""
    torch.manual_seed(0)
    model, data = four_stage(10, width=8), DATASETS["digits"](train_size=100)
    method = METHODS[name](model, **options)
    batch = next(iter(data.batches(40, samples_per_class=4)))
    return model, method.terms(model, model.forward_features(batch.x), batch, START)


@pytest.mark.parametrize("name", ["triplet", "multi-similarity", "contrastive"])
def test_a_pure_metric_loss_leaves_the_classifier_to_read_and_nothing_else(name):
    model, terms = passed(name)
    assert terms.keys() == {"task", "readout ce"}
    deep, classifier = [p for n, p in model.named_parameters() if "classifier" not in n], [*model.classifier.parameters()]
    assert all(g is None for g in torch.autograd.grad(terms["readout ce"], deep, allow_unused=True, retain_graph=True))
    assert all(g is None for g in torch.autograd.grad(terms["task"], classifier, allow_unused=True))


@pytest.mark.equation("softmax-triplet")
def test_softmax_triplet_is_cross_entropy_and_triplets():
    (model, terms), (_, alone) = passed("softmax-triplet", lam=0.5), passed("triplet", neck=False)
    assert terms["triplet"].item() == pytest.approx(0.5 * alone["task"].item())
    assert terms["task"].item() == pytest.approx(alone["readout ce"].item()), "the same logits"
    gradients = torch.autograd.grad(terms["task"], [p for n, p in model.named_parameters() if "classifier" not in n])
    assert all(g.any() for g in gradients)


def test_metric_losses_train_together_with_a_teacher_s_relations():
    model, teacher = four_stage(10, width=8), four_stage(10, width=16)
    both = Combined(Triplet(model, samples_per_class=3), RKD(model, teacher=teacher, distance=1.0, angle=2.0))
    assert both.samples_per_class == 3
    batch = next(iter(DATASETS["digits"](train_size=100).batches(30, samples_per_class=3)))
    terms, alone = (m.terms(model, model.forward_features(batch.x), batch, START) for m in (both, both.methods[0]))
    assert terms.keys() == {"task", "readout ce", "distance", "angle"}
    assert terms["task"].item() == pytest.approx(alone["task"].item(), rel=1e-4), "the task is the triplets'"
    with pytest.raises(ValueError, match="samples_per_class would be 2 for softmaxtriplet, 3 for triplet: say the same to all"):
        Combined(Triplet(model, samples_per_class=3), SoftmaxTriplet(model))


@pytest.mark.parametrize("task", ["softmax-triplet", "triplet", "multi-similarity"])
@pytest.mark.parametrize("taught", ["rkd", "darkrank", "l2", "sfr-l2"])
def test_every_row_of_table_3_trains_beside_every_task_loss(task, taught):
    """Paper 000: the task's loss is the column's, whatever the row adds. Only SFR has labels of its own, and is told to leave
    them where the column's loss is another than theirs."""
    torch.manual_seed(0)
    model, teacher = four_stage(5, width=8), four_stage(5, width=16)
    offer = {"teacher": teacher} | ({"train_size": 8, "labels": "hard"} if taught == "sfr-l2" else {})
    first, second = METHODS[task](model), METHODS[taught](model, **offer)
    both = Combined(first, second)
    assert both.samples_per_class == first.samples_per_class
    batch = Batch(torch.randn(8, 3, 16, 16), torch.arange(4).repeat_interleave(2), torch.arange(8))
    out = model.train().forward_features(batch.x)
    progress = Progress(0, 0, 2, 1)
    terms, of_task = both.terms(model, out, batch, progress), first.terms(model, out, batch, progress)
    assert all(torch.equal(terms[k], v) for k, v in of_task.items())
    assert terms.keys() - of_task.keys() == {
        "rkd": {"distance", "angle"}, "darkrank": {"rank"}, "l2": {"l2"}, "sfr-l2": {"emd", "l2"},
    }[taught]  # fmt: skip
    if taught == "sfr-l2" and task != "softmax-triplet":
        with pytest.raises(ValueError, match="each replace the task loss"):
            Combined(first, METHODS[taught](model, teacher=teacher, train_size=8))


def test_the_neck_standardises_and_stays_behind():
    """With it the size of the network's embedding does not matter to the loss, and the network is the plain one."""
    torch.manual_seed(0)
    model, batch = four_stage(10, width=8), Batch(None, torch.as_tensor(Y), None)
    small, large = (Features(None, scale * torch.tensor(embeddings(d=64)).float() + 5, ()) for scale in (1, 100))
    with_neck, without = Triplet(model), Triplet(model, neck=False)
    assert with_neck.metric(small, batch).item() == pytest.approx(with_neck.metric(large, batch).item(), rel=1e-3)
    assert without.metric(small, batch).item() != pytest.approx(without.metric(large, batch).item(), rel=1e-3)
    assert not [*with_neck.parameters()]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (MultiSimilarity, {"epsilon": -0.1}, r"in \[0, 2\], got -0.1"),
        (Center, {"rate": 1.5}, r"rate lies in \[0, 1\], got 1.5"),
    ],
)
def test_what_is_no_knob_is_checked_at_the_door(kind, options, said):
    with pytest.raises(ValueError, match=said):
        kind(**({} if kind is Center else {"model": NETWORK}), **options)
    with pytest.raises(KeyError, match="no mining is called 'semi': "):
        Triplet(NETWORK, mining="semi")


@pytest.mark.parametrize("bad", [1, 0, 2.0, True])
def test_a_class_of_one_image_has_no_relatives(bad):
    with pytest.raises(ValueError, match="per_class is (at least 2 images|a whole number)"):
        Triplet(NETWORK, samples_per_class=bad)


# retrieval


POINTS = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
"""A gallery along a line: the query at 0 ranks it 0, 1, 2, 3, 4, 5."""


def test_one_ranking_by_hand():
    """Right at ranks 2, 3 and 6: AP = (1/2 + 2/3 + 3/6) / 3 = 5/9."""
    r = retrieve(torch.zeros(1, 1), POINTS, torch.tensor([7]), torch.tensor([1, 7, 7, 2, 3, 7]), distance="euclid", ranks=6)
    assert r.first[0].tolist() == [0, 1, 2, 3, 4, 5] and r.right[0].tolist() == [False, True, True, False, False, True]
    assert r.map == pytest.approx(5 / 9) and r.recall == {1: 0.0, 5: 1.0, 10: 1.0} and r.config == 1
    assert r.cmc.tolist() == [0, 1, 1, 1, 1, 1]


def test_the_same_identity_by_the_same_camera_is_no_find():
    """Images 1 (camera 4) and 2 (camera 5) are the query's identity; its camera is 4, so 1 leaves and 2 is second: AP = 1/2.

    Image 0 was taken by camera 4, too, but of another identity: it stays, and is wrong.
    """
    cameras = torch.tensor([4, 4, 5, 4, 5, 5])
    labels = torch.tensor([1, 7, 7, 2, 3, 4])
    r = retrieve(torch.zeros(1, 1), POINTS, torch.tensor([7]), labels, torch.tensor([4]), cameras, distance="euclid")
    assert r.first[0].tolist() == [0, 2, 3, 4, 5, -1] and r.map == pytest.approx(1 / 2)
    assert r.recall[1] == 0 and r.cmc[1] == 1


def test_a_query_with_nothing_to_find_counts_nowhere():
    queries, labels = torch.zeros(2, 1), torch.tensor([7, 9])
    r = retrieve(queries, POINTS, labels, torch.tensor([7, 1, 1, 1, 1, 1]), distance="euclid")
    assert r.config == 1 and r.map == 1 and r.recall[1] == 1 and r.precision.isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match="no query has a right image"):
        retrieve(queries, POINTS, torch.tensor([8, 9]), torch.tensor([7, 1, 1, 1, 1, 1]))


def test_leave_one_out_looks_among_the_others():
    """At 0, 1, 3, 7 on a line of classes a, a, b, b. From 0 and 1 the other is first. From 3: 1 and 0, then 7. From 7: 3."""
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    r = retrieve(x, None, torch.tensor([0, 0, 1, 1]), distance="euclid", ks=(1, 2, 3))
    assert r.recall == {1: 3 / 4, 2: 3 / 4, 3: 1.0} and r.map == pytest.approx((1 + 1 + 1 / 3 + 1) / 4)
    assert (r.first[:, :3] != torch.arange(4)[:, None]).all() and (r.first[:, 3] == -1).all()


def test_an_embedding_that_is_one_point_finds_nothing_by_luck():
    y = torch.tensor([0, 0, 1, 1])
    r = retrieve(torch.ones(4, 3), None, y)
    assert r.recall[1] == 0 and r.map == pytest.approx(1 / 3), "the right one is the last of three"


def slow_retrieval(q, g, qy, gy, qc, gc, distance, alone):
    """One query after the other: (average precision or None, rank of the first right image)."""
    out = []
    for i in range(len(q)):
        row = []
        for j in range(len(g)):
            if (alone and i == j) or (qc is not None and qy[i] == gy[j] and qc[i] == gc[j]):
                continue
            cosine = float(q[i] @ g[j] / np.linalg.norm(q[i]) / np.linalg.norm(g[j]))
            far = -cosine if distance == "cosine" else float(np.linalg.norm(q[i] - g[j]))
            row.append((far, bool(qy[i] == gy[j])))
        row.sort()
        ranks = [k for k, (_, right) in enumerate(row, 1) if right]
        out.append((sum(n / k for n, k in enumerate(ranks, 1)) / len(ranks), ranks[0]) if ranks else (None, None))
    return out


@pytest.mark.parametrize("distance", ["cosine", "euclid"])
@pytest.mark.parametrize("cameras", [True, False])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("chunk", [3, 100])
def test_retrieval_is_its_definition(distance, cameras, alone, chunk):
    rng = np.random.default_rng(3)
    q, qy, qc = rng.normal(size=(17, 3)), rng.integers(0, 5, 17), rng.integers(0, 3, 17)
    g, gy, gc = (q, qy, qc) if alone else (rng.normal(size=(29, 3)), rng.integers(0, 6, 29), rng.integers(0, 3, 29))
    if not cameras:
        qc = gc = None
    slow = [(ap, rank) for ap, rank in slow_retrieval(q, g, qy, gy, qc, gc, distance, alone) if rank]
    t = [None if v is None else torch.as_tensor(v) for v in (q, g, qy, gy, qc, gc)]
    if alone:
        t[1] = t[3] = t[5] = None
    r = retrieve(*t, distance=distance, chunk=chunk, ks=(1, 4))
    assert r.config == len(slow) and r.map == pytest.approx(np.mean([ap for ap, _ in slow]))
    for k in (1, 4):
        assert r.recall[k] == r.cmc[k - 1] == pytest.approx(np.mean([rank <= k for _, rank in slow]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"distance": "l2"}, "'cosine' or 'euclid', got 'l2'"),
        ({"gallery": torch.zeros(6, 2)}, "features of one size, got 1 and 2"),
        ({"gallery_y": None}, "a gallery has labels"),
        ({"query_camera": torch.zeros(1)}, "both query and gallery or of neither"),
        ({"query": torch.full((1, 1), torch.nan)}, "query of retrieve hold NaN"),
        ({"ks": (0,)}, "whole numbers from 1"),
        ({"gallery_y": torch.zeros(5, dtype=torch.long)}, r"labels are \[6\]"),
    ],
)
def test_retrieval_says_what_it_expected(change, said):
    given = {"query": torch.zeros(1, 1), "gallery": POINTS, "query_y": torch.tensor([7]), "gallery_y": torch.arange(6)}
    with pytest.raises(ValueError, match=said):
        retrieve(**given | change)


# batches of P classes, K images each


def toy(counts: list[int]) -> Data:
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = Images(torch.randint(0, 256, (len(y), 3, 6, 6), dtype=torch.uint8), y)
    none = Images(images.x[:0], y[:0])
    return Data("toy", tuple(map(str, range(len(counts)))), images, none, images, (0.5,) * 3, (0.3,) * 3, pad=0, mirror=False)


def test_a_batch_holds_k_different_images_of_p_classes():
    """Duke's 36 = 12 x 3."""
    data = toy([7, 3, 9, 4] * 5)
    loader = data.batches(36, samples_per_class=3)
    batches = list(loader)
    assert len(batches) == len(loader) == 115 // 36
    for b in batches:
        assert torch.equal(b.y, data.train.y[b.index])
        _, each = b.y.unique(return_counts=True)
        assert each.tolist() == [3] * 12 and len(b.index.unique()) == 36


def test_classes_come_equally_often_and_their_images_in_turn():
    data = toy([8, 40, 12, 20, 16])
    loader, seen, drawn = data.batches(8, samples_per_class=4), torch.zeros(96), torch.zeros(5)
    epochs = 300
    for _ in range(epochs):
        for b in loader:
            seen += torch.bincount(b.index, minlength=96)
            drawn += torch.bincount(b.y, minlength=5) / 4
    steps = epochs * len(loader)
    assert drawn.sum() == 2 * steps
    assert np.allclose(drawn / steps, 2 / 5, atol=5 * math.sqrt(0.4 * 0.6 / steps)), "two of five classes at each step"
    by_class = [seen[data.train.y == c] for c in range(5)]
    assert all(s.std() / s.mean() < 0.1 for s in by_class), "no image is preferred within its class"


def test_an_epoch_goes_through_a_class_before_it_begins_again():
    data = toy([12, 12, 12])  # 3 steps of 3 x 4
    index = torch.cat([b.index for b in data.batches(12, samples_per_class=4)])
    assert sorted(index.tolist()) == list(range(36))


def test_a_small_class_gives_every_image_before_it_gives_one_again():
    for b in toy([2, 2, 2, 2]).batches(6, samples_per_class=3):
        assert [sorted(b.index[b.y == c].bincount().tolist())[-2:] for c in b.y.unique()] == [[1, 2]] * 2


def test_fewer_classes_than_fit_give_more_images_each():
    (batch, *_) = toy([30, 30, 30]).batches(32, samples_per_class=4)
    assert torch.bincount(batch.y).tolist() == [10, 10, 10]


@pytest.mark.parametrize("pair", [None, "same image", "same class"])
def test_a_loader_by_classes_goes_on_where_its_state_was_taken(pair):
    straight, resumed = (toy([5, 6, 7, 8]).batches(8, samples_per_class=4, pair=pair, seed=s) for s in (0, 9))
    first = [b.index for b in straight]
    state = straight.state_dict()
    resumed.load_state_dict(state)
    again = [b.index for b in resumed]
    assert all(torch.equal(a, b.index) for a, b in zip(again, straight, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, again, strict=True)), "every epoch draws anew"


@pytest.mark.parametrize(("size", "each"), [(6, 4), (8, 0), (8, -1)])
def test_a_batch_of_one_class_is_refused(size, each):
    with pytest.raises(ValueError, match="cannot hold two of the 4 classes: take batch_size >="):
        toy([5, 6, 7, 8]).batches(size, samples_per_class=each)


def test_the_loop_gives_a_method_the_batches_it_asks_for():
    data = DATASETS["digits"](train_size=100)
    torch.manual_seed(0)
    model = four_stage(10, width=8)
    training = Training(model, METHODS["triplet"](model, samples_per_class=5), data, Recipe(1, 30, 0.01), on="cpu")
    for batch in training.loader:
        assert sorted(torch.bincount(batch.y).unique().tolist()) in ([5], [0, 5])
    assert Training(model, METHODS["vanilla"](), data, Recipe(1, 30, 0.01), on="cpu").loader.samples_per_class is None


# the figures to find again


def test_reid_keeps_identities_apart_and_knows_its_cameras():
    data = reid()
    query, gallery = data.retrieval()
    for images in (data.train, data.test, query, gallery):
        assert images.camera.shape == images.y.shape and 0 <= images.camera.min() and images.camera.max() < CAMERAS
        assert images.x.shape[1:] == (3, 32, 32) and images.x.dtype == torch.uint8
    assert set(query.y.tolist()) == set(gallery.y.tolist()) == set(range(SOUGHT))
    for who in range(SOUGHT):
        config, held = query.camera[query.y == who], gallery.camera[gallery.y == who]
        assert len(config) == len(config.unique()) == SEEN_BY and set(held.tolist()) == set(config.tolist())
        assert len(held) == 2 * SEEN_BY
    everything = torch.cat([i.x.flatten(1) for i in (data.train, data.test, query, gallery)])
    assert len(everything.unique(dim=0)) == len(everything), "an image is there twice"


def test_reid_is_its_seed_and_nobody_can_spoil_it():
    a, b, other = reid(), reid(), reid(seed=1)
    assert torch.equal(a.query.x, b.query.x) and not torch.equal(a.query.x, other.query.x)
    a.train.x.zero_()
    assert torch.equal(reid().train.x, b.train.x) and b.train.x.any()
    with pytest.raises(ValueError, match="a whole number from 0, got -1"):
        reid(seed=-1)


def test_reid_has_validation_images_as_any_set():
    data = reid(validation=120, train_size=300)
    assert len(data.val.y) == 120 and len(data.train.y) == 300 and data.val.camera.shape == (120,)
    assert len(set(data.train.y.tolist())) == data.num_classes == 60


def test_pixels_alone_do_not_find_figures_across_cameras():
    """Else there would be nothing to learn: by raw pixels the nearest images are of the same camera's place."""
    query, gallery = reid().retrieval()
    flat = [i.x.flatten(1).float() for i in (query, gallery)]
    r = retrieve(*flat, query.y, gallery.y, query.camera, gallery.camera)
    assert r.config == SOUGHT * SEEN_BY and r.recall[1] < 0.1
    same = (gallery.camera[r.first[:, 0]] == query.camera).double().mean()
    assert same > 0.5


def test_any_set_can_be_searched_in_its_test_images():
    data = DATASETS["digits"](train_size=100)
    query, gallery = data.retrieval()
    assert gallery is None and query is data.test


# pictures


def test_the_cmc_curve_is_in_percent_and_names_its_map():
    r = retrieve(torch.zeros(1, 1), POINTS, torch.tensor([7]), torch.tensor([1, 7, 7, 2, 3, 7]), distance="euclid")
    _, ax = figures.new()
    line = figures.cmc({"triplet": r}, ax).lines[0]
    assert line.get_ydata().tolist() == [0, 100, 100, 100, 100, 100] and line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    assert line.get_label() == "triplet (mAP 55.6 %)"


def test_hits_are_marked_without_colour_too():
    labels = torch.tensor([1, 7, 7, 2, 3, 7])
    r = retrieve(torch.zeros(1, 1), POINTS, torch.tensor([7]), labels, distance="euclid")
    figure, axes = figures.new(6, 1, squeeze=False)
    axes = np.asarray(axes).reshape(1, 6)
    figures.hits(r, torch.rand(1, 3, 8, 8), torch.rand(6, 3, 8, 8), [0], axes)
    assert [ax.get_title() for ax in axes[0]] == ["query", "✗", "✓", "✓", "✗", "✗"]
    frames = [ax.patches[-1].get_linestyle() for ax in axes[0]]
    assert frames[1] == frames[4] != frames[2] == frames[3]
    assert figures.png(figure)[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match=r"take axes of shape \(1, 4\)"):
        figures.hits(r, torch.rand(1, 3, 8, 8), torch.rand(6, 3, 8, 8), [0], axes, columns=3)
