"""Self-training, adversarial pairs and nasty teachers against their papers, slowly: the loss, and who learns from what."""

from __future__ import annotations

import copy
import re

import numpy as np
import paper
import pytest
import torch
import torch.nn.functional as F
from taught import Says, answers
from torch import nn

from sdkit.core import Batch, Features, Progress
from sdkit.experiment import Experiment
from sdkit.methods import DDGSD, METHODS, AdversarialDDGSD, Combined, FewLabels, NastyTeacher, SelfTraining
from sdkit.methods.attack import attacked
from sdkit.methods.selftraining import is_labelled
from sdkit.models import four_stage

NOW = Progress(0, 0, 1, 1)


def leaf(array):
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def few(b, seed=0):
    """Logits, what a teacher says, labels, and which of the images 0 to b - 1 have one at a share of one half."""
    z, taught, y = answers(b, seed), answers(b, seed + 1), np.random.default_rng(9).integers(0, 5, b)
    return z, taught, y, [i * 40503 % 65536 < 32768 for i in range(b)]


# -- self-training -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_of_every_row_of_neighbours_the_share_has_labels(share):
    """So it is of every class, whether the classes lie in rows or in turn."""
    known = is_labelled(Batch(None, None, torch.arange(5000)), share)
    rows = known.view(10, 500).float().mean(1).tolist() + known.view(500, 10).float().mean(0).tolist()
    assert rows == pytest.approx([share] * 20, abs=0.02)
    assert (
        is_labelled(Batch(None, None, torch.arange(50)), 1.0).all()
        and not is_labelled(Batch(None, None, torch.arange(50)), 0.0).any()
    )


def printed_self_training(z, taught, y, known, lam, threshold):
    task = pseudo = 0.0
    for i in range(len(y)):
        t = softmax(taught[i])
        if known[i]:
            task -= np.log(softmax(z[i])[y[i]])
        elif t.max() >= threshold:
            pseudo -= np.log(softmax(z[i])[t.argmax()])
    return {"task": task / len(y), "pseudo": lam * pseudo / len(y)}


@pytest.mark.parametrize(("lam", "threshold"), [(1.0, 0.0), (0.3, 0.7)])
@pytest.mark.equation("self-training")
def test_self_training_is_the_loss_as_printed(lam, threshold):
    z, taught, y, known = few(40)
    own = leaf(z)
    method = SelfTraining(four_stage(5, width=4), teacher=Says(taught), lam=lam, threshold=threshold)
    terms = method.terms(None, Features(own, None, ()), Batch("x", torch.as_tensor(y), torch.arange(40)), NOW)
    printed = printed_self_training(z, taught, y, known, lam, threshold)
    assert {k: t.item() for k, t in terms.items()} == pytest.approx(printed, rel=1e-9)
    assert 0 < sum(softmax(t).max() >= 0.7 for t in taught) < 40, "the threshold divides them"
    sum(terms.values()).backward()
    total = lambda z: sum(printed_self_training(z, taught, y, known, lam, threshold).values())  # noqa: E731
    assert own.grad.numpy() == pytest.approx(paper.numeric_gradient(total, z), abs=1e-7)


@pytest.mark.equation("few-labels")
def test_few_labels_are_the_cross_entropy_of_those_that_are_known():
    z, taught, y, known = few(40)
    own = leaf(z)
    terms = FewLabels(None).terms(None, Features(own, None, ()), Batch("x", torch.as_tensor(y), torch.arange(40)), NOW)
    printed = lambda z: printed_self_training(z, taught, y, known, 0.0, 2.0)["task"]  # noqa: E731
    assert terms.keys() == {"task"} and terms["task"].item() == pytest.approx(printed(z), rel=1e-9)
    terms["task"].backward()
    assert own.grad.numpy() == pytest.approx(paper.numeric_gradient(printed, z), abs=1e-7)


def test_a_label_that_is_hidden_is_not_looked_at():
    z, taught, y, known = few(40)
    other = np.where(known, y, (y + 1) % 5)
    for method in (FewLabels(None), SelfTraining(four_stage(5, width=4), teacher=Says(taught))):
        a, b = (
            method.terms(None, Features(torch.tensor(z), None, ()), Batch("x", torch.as_tensor(labels), torch.arange(40)), NOW)
            for labels in (y, other)
        )
        assert all(torch.equal(a[k], b[k]) for k in a)


def two_steps(model, method, *labels) -> list[dict]:
    """The terms of two steps over the same images, their labels given for each; what the first leaves is remembered."""
    g, found = torch.Generator().manual_seed(0), []
    x, pair = torch.randn(2, 12, 3, 16, 16, generator=g)
    for step, y in enumerate(labels):
        batch, now = Batch(x, y, torch.arange(12), pair), Progress(step, step, 2, 1)
        torch.manual_seed(step)
        out = model.forward_features(method.view(batch))
        found.append({k: t.detach() for k, t in method.terms(model, out, batch, now).items()})
        with torch.no_grad():
            method.remember(out, batch, now)
    return found


def around(*names):
    """A network and methods around it, joined where they are several; the same whenever it is asked for."""
    torch.manual_seed(0)
    model = four_stage(5, width=4, survival=0.5).train()
    offer, methods = {"model": model, "teacher": four_stage(5, width=4), "train_size": 12}, []
    for name in names:
        torch.manual_seed(1)
        methods.append(METHODS[name].built(offer).train())
    return model, methods[0] if len(methods) == 1 else Combined(*methods, names=names).train()


Y = torch.arange(12) % 3
KNOWN = is_labelled(Batch(None, None, torch.arange(12)), 0.5)
OTHER = torch.where(KNOWN, Y, (Y + 1) % 3)
"""Labels, and others that differ where they are hidden."""


def changed(*names) -> set[str]:
    """The terms that other labels of the hidden images change."""
    plain, others = two_steps(*around(*names), Y, Y), two_steps(*around(*names), OTHER, OTHER)
    return {k for a, b in zip(plain, others, strict=True) for k in a if not torch.equal(a[k], b[k])}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_whether_it_looks_at_labels_beside_its_task(name):
    assert METHODS[name].reads_labels == bool(changed(name) - {"task"})


@pytest.mark.parametrize("name", [n for n in METHODS if n not in ("few-labels", "self-training")])
def test_what_trains_beside_few_labels_sees_no_hidden_label_or_is_refused(name):
    try:
        around("few-labels", name)
    except ValueError as error:
        assert re.search("few-labels hides labels, and|each replace the task loss and cannot train together", str(error))
    else:
        assert not changed("few-labels", name)


@pytest.mark.parametrize("name", ["drg", "byot", "dml", "one", "cs-kd", "softmax-triplet"])
def test_a_partner_that_reads_labels_elsewhere_is_refused_in_one_sentence(name):
    with pytest.raises(ValueError, match=f"few-labels hides labels, and {name} would look at them .*: take a method that"):
        around("few-labels", name)
    Experiment("few-labels+dsr", network={"width": 4}, data="digits").build(progress=False)


def test_with_every_label_self_training_is_vanilla():
    z, taught, y, _ = few(7)
    method = SelfTraining(four_stage(5, width=4), teacher=Says(taught), labelled=1.0)
    terms = method.terms(None, Features(torch.tensor(z), None, ()), Batch("x", torch.as_tensor(y), torch.arange(7)), NOW)
    assert terms["task"].item() == pytest.approx(paper.cross_entropy(z, y)) and terms["pseudo"] == 0


def test_data_distillation_asks_the_teacher_for_the_mirror_image_too():
    torch.manual_seed(0)
    teacher, x = four_stage(5, width=4), torch.randn(3, 3, 16, 16)
    method = SelfTraining(four_stage(5, width=4), teacher=teacher, mirror=True)
    mean = (teacher(x).softmax(1) + teacher(torch.from_numpy(x.numpy()[..., ::-1].copy())).softmax(1)) / 2
    assert torch.allclose(method.guesses(x), mean)
    assert torch.allclose(method.guesses(x), method.guesses(x.flip(3)))


def test_self_training_refuses_mixtures_and_a_threshold_that_is_no_probability():
    batch = Batch("x", torch.zeros(2).long(), torch.arange(2), mix=(torch.zeros(2).long(), torch.tensor(0.7)))
    with pytest.raises(ValueError, match="train it with mixup=0"):
        FewLabels(None).terms(None, Features(torch.zeros(2, 5), None, ()), batch, NOW)
    with pytest.raises(ValueError, match=r"threshold is a probability, in \[0, 1\], got 2"):
        SelfTraining(four_stage(5, width=4), teacher=four_stage(5, width=4), threshold=2)


# -- adversarial pairs ---------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """Logits W x of images of one pixel, whose gradient can be written down."""

    num_classes = 5

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(np.random.default_rng(3).normal(size=(5, 3))))

    def forward_features(self, x):
        v = x.flatten(1)
        return Features(v @ self.w.T, v, ())


def one_pixel(b=6):
    g = np.random.default_rng(4)
    return g.normal(size=(b, 3, 1, 1)), g.integers(0, 5, b)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_attack_follows_the_sign_of_the_gradient_that_is_written_down(steps):
    """d CE / d x = W^T (softmax(W x) - 1_y); each number moves by epsilon / steps, whatever the size of the gradient."""
    model, (x, y) = Linear(), one_pixel()
    found = attacked(model, Batch(torch.tensor(x), torch.as_tensor(y), None), 0.3, steps)
    w = model.w.detach().numpy()
    for i in range(len(y)):
        v = x[i].ravel().copy()
        for _ in range(steps):
            v += 0.3 / steps * np.sign(w.T @ (softmax(w @ v) - np.eye(5)[y[i]]))
        assert found[i].flatten().numpy() == pytest.approx(v, rel=1e-12)
    assert model.w.grad is None and not found.requires_grad


def test_the_attack_leaves_the_network_s_statistics_and_gradients_alone_and_raises_the_loss():
    torch.manual_seed(0)
    model = four_stage(5, width=4).train()
    batch = Batch(torch.randn(16, 3, 16, 16), torch.arange(16) % 5, torch.arange(16))
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        x = attacked(model, batch, 0.05)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items() if "num_batches" not in k)
    assert all(p.grad is None for p in model.parameters()) and model.training
    assert torch.allclose((x - batch.x).abs(), torch.full_like(x, 0.05), atol=1e-6)
    with torch.no_grad():
        assert F.cross_entropy(model(x), batch.y) > F.cross_entropy(model(batch.x), batch.y) + 0.05


@pytest.mark.equation("adversarial-ddgsd")
def test_adversarial_ddgsd_is_ddgsd_on_the_image_and_its_example():
    model, (x, y) = Linear(), one_pixel()
    batch = Batch(torch.tensor(x), torch.as_tensor(y), None)
    method, plain = AdversarialDDGSD(model, epsilon=0.3), DDGSD(model, one_pass=False)
    assert method.pair is None, "the loader need not make a second view"
    out = model.forward_features(batch.x)
    terms = method.terms(model, out, batch, NOW)
    assert terms == plain.terms(model, out, batch._replace(pair=attacked(model, batch, 0.3)), NOW)
    z, v = out.logits.detach().numpy(), out.embedding.numpy()
    b = attacked(model, batch, 0.3).flatten(1).numpy()
    w = model.w.detach().numpy()
    printed = paper.ddgsd(z, b @ w.T, v, b, y, 1.0, 5e-4, 2.0)
    assert {k: t.item() for k, t in terms.items()} == pytest.approx(printed, rel=1e-9)


# -- the nasty teacher ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("omega", "temperature"), [(0.04, 4.0), (0.3, 1.5)])
@pytest.mark.equation("nasty")
def test_a_nasty_teacher_is_the_loss_as_printed_and_its_own_side_of_the_kl_learns(omega, temperature):
    z, normal, y = answers(6, 0), answers(6, 1), np.random.default_rng(9).integers(0, 5, 6)
    own = leaf(z)

    def printed(z):
        apart = 0.0
        for i in range(len(y)):
            p, t = softmax(z[i] / temperature), softmax(normal[i] / temperature)
            apart += sum(p[k] * np.log(p[k] / t[k]) for k in range(5))
        return {"task": paper.cross_entropy(z, y), "apart": -omega * temperature**2 * apart / len(y)}

    method = NastyTeacher(four_stage(5, width=4), teacher=Says(normal), omega=omega, temperature=temperature)
    terms = method.terms(None, Features(own, None, ()), Batch("x", torch.as_tensor(y), None), NOW)
    assert {k: t.item() for k, t in terms.items()} == pytest.approx(printed(z), rel=1e-9)
    sum(terms.values()).backward()
    assert own.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda z: sum(printed(z).values()), z), abs=1e-7)
