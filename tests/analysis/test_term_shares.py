"""Is a term felt? Shares of gradients against plain ones, and every method's at its defaults.

`python3 start.py test tests/analysis/test_term_shares.py -s` prints the table.
"""

from __future__ import annotations

from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from drawn import pulls, told
from tiny import build

from sdkit import figures
from sdkit.analysis import SOFT, TermShares, shares_now, term_shares
from sdkit.core import Batch, Moment, Progress
from sdkit.experiment import Experiment
from sdkit.methods import BYOT, DRG, LSR, METHODS, Method, Vanilla
from sdkit.models import four_stage
from sdkit.train import Recipe

EARLY, LATE = Progress(0, 0, 40, 50), Progress(39, 39 * 50, 40, 50)


class Held:
    """A method's first step, or one of its last epoch, on a few digits."""

    def __init__(self, name: str, size: int = 16, **moments: Progress) -> None:
        self.model, self.method, data = build(name)
        loader = data.batches(size, pair=self.method.pair, samples_per_class=self.method.samples_per_class)
        self.batches, self.at = list(islice(loader, 2)), moments or {"early": EARLY}
        noise = torch.Generator().manual_seed(5)
        self.earlier = [b._replace(x=b.x + 0.5 * torch.randn(b.x.shape, generator=noise)) for b in self.batches]

    def moments(self, batches: int) -> dict[str, Moment]:
        return {name: Moment(self.model, self.method, self.batches, at, self.earlier) for name, at in self.at.items()}


def batch(n: int = 6, k: int = 5, **more) -> Batch:
    g = torch.Generator().manual_seed(2)
    return Batch(torch.randn(n, 3, 16, 16, generator=g), torch.randint(k, (n,), generator=g), torch.arange(n), **more)


def net(k: int = 5) -> torch.nn.Module:
    torch.manual_seed(1)
    return four_stage(k, width=8)


def plain_gradient(model, of, x) -> torch.Tensor:
    """Of a loss, over all weights of a network in training mode, in one row."""
    model.train()
    model.zero_grad()
    of(model.forward_features(x)).backward()
    return torch.cat([p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in model.parameters()])


class Known(Method):
    """Twice the cross entropy, a square of the logits, a constant, and what another network learns."""

    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.Linear(2, 2)

    def terms(self, model, out, batch, progress):
        task = F.cross_entropy(out.logits, batch.y)
        square, other = 0.3 * out.logits.square().mean(), self.other(torch.ones(1, 2)).sum()
        return {"task": task, "twice": 2 * task, "square": square, "later": out.logits.new_zeros(()), "other": other}


def test_a_share_is_a_terms_gradient_beside_that_of_the_labels():
    model, b = net(), batch()
    found = shares_now(model, Known(), b, EARLY)
    label = plain_gradient(model, lambda out: F.cross_entropy(out.logits, b.y), b.x)
    square = plain_gradient(model, lambda out: 0.3 * out.logits.square().mean(), b.x)
    share = found.of("now")
    assert share["twice"] == pytest.approx(2, rel=1e-5)
    assert share["square"] == pytest.approx(float(square.norm() / label.norm()), rel=1e-4)
    assert torch.allclose(found.by_part[0, 1], torch.full((6,), 2.0).double(), rtol=1e-4), "in every part of the network"
    whole = 3 * label + square
    assert float(found.cosine) == pytest.approx(float(whole @ label / whole.norm() / label.norm()), rel=1e-4)
    assert [found.mark("now", t) for t in ("later", "other", "twice")] == ["off", "elsewhere", ""]
    assert found.parts == ("stem", "stage 1", "stage 2", "stage 3", "stage 4", "classifier")
    assert SOFT not in found.terms, "a task that is cross entropy has nothing beyond it"


def test_what_softens_the_label_is_a_term_of_its_own():
    """Beyond its multiple of the cross entropy: in the direction that is at right angles to it."""
    model, b = net(), batch()
    label = plain_gradient(model, lambda out: F.cross_entropy(out.logits, b.y), b.x)
    smooth = plain_gradient(model, lambda out: F.cross_entropy(out.logits, b.y, label_smoothing=0.3), b.x)
    beyond = smooth - (smooth @ label) / (label @ label) * label
    found = shares_now(model, LSR(model, epsilon=0.3), b, EARLY)
    assert found.of("now") == {SOFT: pytest.approx(float(beyond.norm() / label.norm()), rel=1e-3)}
    assert 0.01 < found.of("now")[SOFT] and float(found.cosine) < 1


def test_plain_training_is_plain_training_of_mixtures_too():
    mixed = batch(mix=(torch.tensor([4, 3, 2, 1, 0, 1]), torch.tensor(0.7)))
    for b in (batch(), mixed):
        found = shares_now(net(), Vanilla(), b, EARLY)
        assert found.terms == ("task",) and float(found.share) == pytest.approx(1) and float(found.cosine) == pytest.approx(1)
        assert found.inert("now") and found.said("now") == "the labels alone pull"


def test_a_term_is_felt_where_it_reaches():
    """DRG's auxiliary classifier stands on stage 2: what is behind it learns nothing from it."""
    model = net()
    found = shares_now(model, DRG(model), batch(), EARLY)
    shallow = dict(zip(found.parts, found.by_part[0, found.terms.index("shallow ce")].tolist(), strict=True))
    assert shallow["stage 2"] > 0 and shallow["stage 3"] == shallow["stage 4"] == shallow["classifier"] == 0


def test_the_first_step_fills_the_memory_and_nothing_is_left_of_it():
    held = Held("dsr")
    assert shares_now(held.model, held.method, held.batches[0], EARLY).mark("now", "sr") == "off"
    assert term_shares(held).of("early")["sr"] > 0 and not held.method.memory


@pytest.mark.parametrize(
    ("name", "term"), [("ps-kd", SOFT), ("sfr", SOFT), ("codistillation", "agree"), ("ss-kd", "snapshot"), ("ols", "ols")]
)
def test_what_an_epoch_leaves_is_felt_in_the_last_one(name, term):
    held = Held(name, early=EARLY, late=LATE)
    before = {k: v.clone() for k, v in held.method.state_dict().items() if isinstance(v, torch.Tensor)}
    found = term_shares(held)
    assert found.of("late")[term] > 0
    assert name == "ols" or found.mark("early", term) == "off"
    assert all(torch.equal(before[k], v) for k, v in held.method.state_dict().items() if k in before), "copies stay"


def test_a_term_whose_weight_is_0_is_told_from_one_that_has_no_target_yet():
    """Deep supervision is BYOT with both weights at 0; PS-KD waits for an epoch that taught it something."""
    held = Held("byot")
    held.method.alpha = held.method.lam = 0.0
    found = term_shares(held)
    assert found.weightless == ("kd", "hint") and (held.method.alpha, held.method.lam) == (0.0, 0.0)
    ax = figures.term_shares({"byot": found}, figures.new(width=9, height=2.6)[1])
    assert [t.get_text() for t in ax.texts if t.get_style() == "italic"] == ["weight 0", "weight 0"]
    held = Held("ss-kd")
    assert term_shares(held).weightless == () and term_shares(held).mark("early", "snapshot") == "off"
    linear = BYOT(model := net(), head="linear", lam=0.0, alpha=0.0)
    held.model, held.method, held.batches = model, linear, [batch(), batch()]
    assert term_shares(held).weightless == ("kd",), "a linear head has no hint at any weight"


def test_a_panel_s_words_and_marks():
    model = net()
    said = shares_now(model, BYOT(model), batch(), EARLY).said("now")
    assert said.startswith("head ce ") and " % (inert) of the task's pull" in said


@pytest.mark.parametrize(("early", "late", "inert"), [(0.001, 0.001, True), (0.5, 0.001, False), (0.0, 0.5, False)])
def test_a_method_is_inert_where_nothing_is_felt_early_and_late(early, late, inert):
    share = torch.tensor([[1, early], [1, late]]).double()
    found = TermShares(("task", "kd"), ("early", "late"), ("stem",), share, share[..., None], torch.ones(2))
    assert found.inert() is inert and found.inert("early") == (early < 0.01) and found.inert("late") == (late < 0.01)
    first = TermShares(found.terms, ("early",), found.parts, share[:1], share[:1, :, None], torch.ones(1))
    assert not first.inert(), "a term may have no target yet"


def test_an_experiment_has_its_first_steps_and_once_it_ran_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    e = Experiment("drg", data="digits", recipe=Recipe(epochs=1, batch_size=32, lr=0.05), dataset={"train_size": 64})
    first = term_shares(e, 1)
    assert first.moments == ("early",)
    trained = e.run(progress=False)
    weights = {k: v.clone() for k, v in trained.model.state_dict().items()}
    both = term_shares(trained, 1)
    assert both.moments == ("early", "late") and torch.equal(both.share[0], first.share[0])
    assert not torch.equal(both.share[1], both.share[0])
    assert torch.equal(term_shares(e, 1).share, both.share), "an experiment that ran is its run"
    assert all(torch.equal(weights[k], v) for k, v in trained.model.state_dict().items()) and not trained.model.training
    with pytest.raises(ValueError, match="at least one batch, got 0"):
        term_shares(e, 0)


QUIET = {"vid", "defensive", "nasty"}
"""What is felt once it has trained: the variance that divides VID's term begins at 5; and networks that say nothing yet agree,
at a temperature of 20 (defensive) or with the network that the nasty teacher is to leave."""


@pytest.mark.parametrize("name", [*(n for n in METHODS if n != "vanilla"), "drg+dsr", "ddgsd+dsr", "sfr+byot"])
def test_at_its_defaults_no_method_is_plain_training_in_disguise(name):
    """One row of the table: each term's share in the last epoch, on digits, at fresh weights."""
    found = term_shares(Held(name, late=LATE))
    rows = [f"{term} {share:.3g} {found.mark('late', term)}".strip() for term, share in found.of("late").items()]
    print(f"\n{name:18}{', '.join(rows)}; cosine {float(found.cosine):.3f}", end="")
    assert found.inert("late") == (name in QUIET), f"{name} is plain training in disguise: {found.said('late')}"


# the figure


def test_a_term_that_is_not_felt_is_grey_and_one_that_swamps_the_labels_orange():
    """A row a term, and every mark at its share or at the end of the axis; words where there is nothing to mark."""
    ax = figures.term_shares(pulls(), figures.new(width=9, height=2.6)[1])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["head", "hint", "at", "peer", "agree"]
    assert {t.xy[1]: t.get_text() for t in ax.texts if hasattr(t, "xy")} == {0: "BYOT", 2: "AT", 3: "codistillation"}
    marks = [(line.get_xdata()[0], line.get_ydata()[0], line.get_color()) for line in ax.lines if line.get_marker() == "o"]
    blue, grey, orange = "#0072B2", "#6b6b6b", "#E69F00"
    assert marks == [
        (0.5, 0, blue), (0.7, 0, blue), (0.0005, 1, grey), (1e-4, 1, grey), (80, 2, orange), (300, 2, orange), (0.2, 4, blue)
    ]  # fmt: skip
    said = {t.get_position()[1]: t.get_text() for t in ax.texts if t.get_style() == "italic"}
    assert said == {3: "teaches other weights alone", 4: "no target yet"}
    with pytest.raises(ValueError, match="no term to the labels"):
        figures.term_shares({"vanilla": told(["late"])}, ax)
