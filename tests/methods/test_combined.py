"""Methods that train together: in either order the sum of their terms, and every knob has one name from the experiment on."""

from __future__ import annotations

import inspect
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from sdkit.core import Batch, Features, Progress
from sdkit.experiment import Experiment
from sdkit.methods import (
    BYOT,
    CSKD,
    DDGSD,
    DML,
    DRG,
    DSN,
    DSR,
    KD,
    LSR,
    METHODS,
    PSKD,
    RKD,
    SFR,
    Combined,
    DropoutGuidance,
    MeanTeacher,
    Method,
    SelfGuidance,
    Vanilla,
)
from sdkit.methods.base import first_rows
from sdkit.models import four_stage, residuals
from sdkit.train import Recipe

CLOCK = Progress(0, 0, 1, 1)
B = 8

OPTIONS = {
    "ddgsd": [{"one_pass": False}],
    "self-guidance": [{"teacher_learns": False}],
    "byot": [{"deepest_alpha": True}],
    "drg": [{"per_class_mean": True}],
    "dsr": [{"per_class_mean": True}],
    "rkd": [{"task": False}],
    "sfr": [{"students": "blocks", "labels": "hard"}],
    "fitnet": [{"hint_share": 0.5}],
    "crd": [{"negatives": 3}],
}
"""Options that decide what a method's task is, what it reads of a pass, or how it draws, beside the defaults."""


def batch_of(classes: int = 4, size: int = B) -> Batch:
    """Four images of each class, so that methods that want positives have some; each with a partner."""
    g = torch.Generator().manual_seed(3)
    x, pair = torch.randn(2, size, 3, 16, 16, generator=g)
    return Batch(x, torch.arange(size) // 4 % classes, torch.arange(size), pair)


class World:
    """Every method around one network of width 4, in its second epoch, and what each says alone of the same two passes.

    The passes are given as leaves: gradients are those at what a pass put out, at the network's weights, where a further pass
    reaches them, and at the method's own. Random draws are held still: the terms of each method begin at one seed.
    """

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model, self.batch, self.now = four_stage(4, width=4, survival=0.5).train(), batch_of(), Progress(1, 1, 2, 1)
        offer = {"model": self.model, "teacher": Teacher(four_stage(4, width=4)), "train_size": B}
        self.methods: dict[str, Method] = {}
        for name, kind in METHODS.items():
            wanted = {k: v for k, v in offer.items() if k in inspect.signature(kind).parameters}
            for options in ({}, *OPTIONS.get(name, ())):
                title = " ".join([name, *(f"{k}={v}" for k, v in options.items())])
                self.methods[title] = held_still(kind(**wanted, **options).train())
        views = {False: self.batch.x, True: torch.cat([self.batch.x, self.batch.pair])}
        self.passes = {both: Features(*map(leaf, self.model.forward_features(x))) for both, x in views.items()}
        self.alone = {}  # of (name, both views): the terms, the gradient of the task and that of the others
        for name, m in self.methods.items():
            with torch.no_grad():
                m.remember(self.passes[m.both_views], self.batch, Progress(0, 0, 2, 1))
            for both in {m.both_views, True}:
                out = first_rows(self.passes[both], B * (1 + m.both_views))
                terms = m.terms(self.model, out, self.batch, self.now)
                rest = sum(t for k, t in terms.items() if k != "task")
                self.alone[name, both] = terms, self.gradient(terms["task"], m, both), self.gradient(rest, m, both)

    def gradient(self, total: torch.Tensor | int, m: Method, both: bool) -> dict[torch.Tensor, torch.Tensor]:
        """By the tensor that it is the gradient at."""
        out = self.passes[both]
        wanted = [out.logits, out.embedding, *out.stages, *out.blocks, *self.model.parameters(), *m.parameters()]
        if not isinstance(total, torch.Tensor) or not total.requires_grad:
            return {}
        found = torch.autograd.grad(total, wanted, allow_unused=True, retain_graph=True)
        return {w: g for w, g in zip(wanted, found, strict=True) if g is not None}


class Teacher(torch.nn.Module):
    """A network that answers the same images once, so that a thousand pairs need not wait for it."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net, self.known = net, {}
        self.channels, self.classifier, self.num_classes = net.channels, net.classifier, net.num_classes

    def forward_features(self, x):
        if x not in self.known:
            self.known[x] = self.net.forward_features(x)
        return self.known[x]


def leaf(part):
    return tuple(map(leaf, part)) if isinstance(part, tuple) else part.detach().requires_grad_()


def held_still(m: Method) -> Method:
    """The method, with terms that draw the same whenever they are asked for."""
    terms = m.terms

    def again(*given):
        torch.default_generator.manual_seed(5)
        return terms(*given)

    object.__setattr__(m, "terms", again)
    return m


def joined(world: World, *names: str) -> Combined | str:
    """Methods of the world together, or the sentence that refuses them."""
    try:
        return Combined(*(world.methods[n] for n in names), names=names)
    except ValueError as error:
        return str(error)


def alike(found: dict, expected: dict) -> bool:
    """The same but for rounding, as seen from the largest entry of each."""
    return found.keys() == expected.keys() and all(
        bool((found[k] - t).abs().max() <= 1e-4 * t.abs().max() + 1e-9) for k, t in expected.items()
    )


def own_task(m: Method) -> float | Method | None:
    """What it has for plain cross entropy: a weight of it, or another task."""
    return m if m.replaces_task_loss else None if m.task_weight == 1 else m.task_weight


def looks(m: Method) -> bool:
    """Whether labels tell it something beside its task: in a term, or by the images that it asks for."""
    return m.reads_labels or m.pair == "same class" or m.samples_per_class is not None


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_a_method_says_whether_its_task_is_plain_cross_entropy(world):
    for (name, both), (terms, gradient, _) in world.alone.items():
        m = world.methods[name]
        plain = m.task_weight * F.cross_entropy(world.passes[both].logits[:B], world.batch.y)
        same = alike({"task": terms["task"]}, {"task": plain}) and alike(gradient, world.gradient(plain, m, both))
        assert same != m.replaces_task_loss, name


def test_any_two_methods_are_in_either_order_the_sum_of_both_or_refused_in_one_sentence(world):
    for pair in combinations(world.methods, 2):
        one, other = joined(world, *pair), joined(world, *pair[::-1])
        parts = [world.methods[name] for name in pair]
        wishes = [{f(m) for m in parts} - {None} for f in (own_task, lambda m: m.pair, lambda m: m.samples_per_class)]
        secret = any(m.hides_labels for m in parts) and any(not m.hides_labels and looks(m) for m in parts)
        if secret or any(len(wish) > 1 for wish in wishes):
            assert isinstance(one, str) and one == other and all(name in one for name in pair), pair
            continue
        both = any(m.both_views for m in parts)
        alone = {name: world.alone[name, both] for name in pair}
        owner = next((name for name in pair if own_task(world.methods[name])), pair[0])
        gradient = {}
        for found in (alone[owner][1], *(rest for *_, rest in alone.values())):
            gradient |= {w: gradient[w] + g if w in gradient else g for w, g in found.items()}
        names = [k for terms, *_ in alone.values() for k in terms]
        terms = {"task": alone[owner][0]["task"]}
        for name, (of, *_) in alone.items():
            terms |= {k if names.count(k) == 1 else f"{name} {k}": t for k, t in of.items() if k != "task"}
        results = []
        for c in (one, other):
            said = c.terms(world.model, world.passes[both], world.batch, world.now)
            results.append((said, world.gradient(sum(said.values()), c, both)))
        assert alike(results[0][0], terms) and alike(results[0][1], gradient), pair
        for found, again in zip(*results, strict=True):
            assert found.keys() == again.keys() and all(torch.equal(t, again[k]) for k, t in found.items()), pair


def around(*kinds, **network) -> tuple[torch.nn.Module, list[Method]]:
    """A network of width 4 and methods around it, (class, options) each, whose first weights do not depend on the others."""
    torch.manual_seed(0)
    model = four_stage(4, width=4, **network).train()
    offer, methods = {"teacher": four_stage(4, width=4), "train_size": B}, []
    for kind, options in kinds:
        torch.manual_seed(1)
        takes = inspect.signature(kind).parameters
        given = {k: v for k, v in offer.items() if k in takes} | options
        methods.append(kind(model, **given).train() if "model" in takes else kind(**given).train())
    return model, methods


def first_step(model, method, seed: int = 2):
    """The pass and the terms of a first step, whose draws begin at the seed."""
    torch.manual_seed(seed)
    batch = batch_of()
    out = model.forward_features(method.view(batch))
    return out, method.terms(model, out, batch, CLOCK)


@pytest.mark.parametrize("turned", [False, True])
class TestInEitherOrder:
    """Options of one method that decide what the other trains on, by name."""

    def both(self, turned, *kinds, **network):
        model, methods = around(*kinds, **network)
        return model, methods, Combined(*(methods[::-1] if turned else methods))

    def test_a_teacher_that_does_not_learn_leaves_the_labels_to_the_sampled_student(self, turned):
        kinds = (DSR, {}), (SelfGuidance, {"teacher_learns": False})
        model, (_, guidance), both = self.both(turned, *kinds, survival=0.5)
        _, alone = first_step(model, guidance)
        out, terms = first_step(model, both)
        assert torch.equal(terms["task"], alone["task"])
        assert not torch.equal(terms["task"], F.cross_entropy(out.logits, batch_of().y))

    def test_without_the_task_loss_labels_reach_the_classifier_alone(self, turned):
        model, _, both = self.both(turned, (DSR, {}), (RKD, {"task": False}))
        _, terms = first_step(model, both)
        terms["task"].backward()
        assert {name for name, p in model.named_parameters() if p.grad is not None} == {"classifier.weight", "classifier.bias"}

    def test_the_deepest_classifier_keeps_the_share_of_the_labels_that_byot_leaves_it(self, turned):
        model, _, both = self.both(turned, (DSR, {}), (BYOT, {"deepest_alpha": True, "alpha": 0.9}))
        out, terms = first_step(model, both)
        assert terms["task"].item() == pytest.approx(0.1 * F.cross_entropy(out.logits, batch_of().y).item())

    def test_a_printed_1_over_k_scales_both_terms_of_paper_004_and_nothing_by_half(self, turned):
        model, (drg, dsr), both = self.both(turned, (DRG, {"per_class_mean": True}), (DSR, {"per_class_mean": True}))
        out, terms = first_step(model, both)
        assert terms["task"].item() == pytest.approx(F.cross_entropy(out.logits, batch_of().y).item() / 4)
        with pytest.raises(ValueError, match="drg and pskd each replace the task loss and cannot train together: take one"):
            self.both(turned, (PSKD, {}), (DRG, {"per_class_mean": True}))

    @pytest.mark.parametrize("other", [CSKD, SelfGuidance, DropoutGuidance, MeanTeacher, DDGSD])
    def test_a_further_pass_leaves_the_maps_of_the_first_to_sfr(self, turned, other):
        sfr = SFR, {"students": "blocks", "labels": "hard"}
        model, (_, sfr), both = self.both(turned, (other, {}), sfr, survival=0.5, blocks=2)
        for block in residuals(model):
            block.samples = False  # the first pass is one and the same
        batch = batch_of()
        out = model.forward_features(both.view(batch))
        alone = sfr.terms(model, first_rows(out, B), batch, CLOCK)
        terms = both.terms(model, out, batch, CLOCK)
        assert torch.equal(terms["emd"], alone["emd"])
        terms["emd"].backward()
        assert all(p.grad is not None and p.grad.any() for p in model.stages[0].parameters())


def test_a_network_that_cannot_show_its_blocks_is_refused():
    one = torch.nn.Module()
    one.stages, one.channels, one.num_classes = four_stage(4, width=4).stages, (4, 8, 16, 32), 4
    with pytest.raises(TypeError, match="a Module shows no residual blocks: take a residual network"):
        SFR(one, train_size=B, students="blocks")


def test_the_order_of_names_changes_no_draw_and_no_running_statistic():
    weights = []
    for order in (1, -1):
        kinds = (CSKD, {}), (SelfGuidance, {"both_statistics": True}), (DropoutGuidance, {})
        model, methods = around(*kinds, survival=0.5)
        both = Combined(*methods[::order])
        for step in range(2):
            out, terms = first_step(model, both, seed=step)
            sum(terms.values()).backward()
            with torch.no_grad():
                both.remember(out, batch_of(), CLOCK)
                for p in model.parameters():
                    p -= 0.1 * p.grad
        weights.append(model.state_dict())
    assert all(torch.equal(weights[0][k], t) for k, t in weights[1].items())


@pytest.mark.parametrize("kinds", [(DML, SelfGuidance), (SelfGuidance, DML)])
def test_a_peer_drops_its_blocks_whichever_method_was_built_first(kinds):
    model, methods = around(*((kind, {}) for kind in kinds), survival=0.5)
    peer = next(m for m in methods if isinstance(m, DML)).peers[0]
    assert all(block.samples for block in residuals(peer)) and not any(block.samples for block in residuals(model))


def test_no_exit_is_lost_where_two_have_one_name():
    model, (byot, dsn) = around((BYOT, {}), (DSN, {}))
    batch, both = batch_of(), Combined(byot, dsn)
    out = model.forward_features(batch.x)
    exits = both.exits(out, batch.x)
    assert exits.keys() == {"final", *(f"{m} {e}" for m in ("byot", "dsn") for e in ("1/4", "2/4", "3/4", "4/4", "ensemble"))}
    for name, part in (("byot", byot), ("dsn", dsn)):
        assert torch.equal(exits[f"{name} 1/4"], part.exits(out, batch.x)["1/4"])
        assert both.auxiliary_heads()[f"{name} 1/4"] is part.heads[0]
        assert torch.equal(both.features(out)[f"{name} 2/4"], part.features(out)["2/4"])


def test_two_of_a_kind_train_together_under_names_of_their_own():
    model, methods = around((DRG, {"stages": (1,)}), (DRG, {"stages": (2,)}))
    with pytest.raises(ValueError, match=r"have different names, got drg, drg: say names=\["):
        Combined(*methods)
    _, terms = first_step(model, Combined(*methods, names=["early", "late"]))
    assert terms.keys() == {"task", "early shallow ce", "late shallow ce", "early rg", "late rg"}


def test_combinations_combine():
    model, (lsr, drg, dsr) = around((LSR, {}), (DRG, {}), (DSR, {}))
    inner = Combined(lsr, drg)
    for order in ((inner, dsr), (dsr, inner)):
        both = Combined(*order)
        assert both.replaces_task_loss and both.settings()["combined.drg.alpha"] == drg.alpha
        assert torch.equal(first_step(model, both)[1]["task"], first_step(model, lsr)[1]["task"])


class Focal(Method):
    """A method of one's own whose task is not plain and that does not say so."""

    def terms(self, model, out, batch, progress):
        p = out.logits.log_softmax(1)[torch.arange(len(batch.y)), batch.y]
        return {"task": -((1 - p.exp()) ** 2 * p).mean()}


class Declared(Focal):
    replaces_task_loss = True


class Confidence(Method):
    """A regulariser, which leaves the labels to the method beside it."""

    def terms(self, model, out, batch, progress):
        return {"confidence": out.logits.softmax(1).square().mean()}


@pytest.mark.parametrize("order", [1, -1])
def test_a_task_of_its_own_counts_where_it_is_declared_and_is_never_dropped_in_silence(order):
    model, methods = around((Focal, {}), (DSR, {}))
    with pytest.raises(ValueError, match='focal\'s "task" is not plain cross entropy .* set replaces_task_loss = True'):
        first_step(model, Combined(*methods[::order]))
    model, (focal, dsr) = around((Declared, {}), (DSR, {}))
    assert torch.equal(first_step(model, Combined(*[focal, dsr][::order]))[1]["task"], first_step(model, focal)[1]["task"])
    model, (confidence, plain) = around((Confidence, {}), (Vanilla, {}))
    _, terms = first_step(model, Combined(*[confidence, plain][::order]))
    assert terms.keys() == {"task", "confidence"} and torch.equal(terms["task"], first_step(model, plain)[1]["task"])


def test_terms_of_one_name_each_count():
    """KD's and BYOT's "kd" are two terms; the task is KD's own."""
    torch.manual_seed(0)
    model = four_stage(10, width=4).train()
    kd, byot = KD(model, teacher=four_stage(10, width=4)), BYOT(model)
    batch = Batch(torch.randn(8, 3, 16, 16), torch.arange(8), torch.arange(8))
    out = model.forward_features(batch.x)
    alone = [m.terms(model, out, batch, CLOCK) for m in (kd, byot)]
    both = Combined(kd, byot).terms(model, out, batch, CLOCK)
    assert both.keys() == {"task", "kd kd", "byot kd", "head ce", "hint"}
    assert both["task"] == alone[0]["task"] and both["kd kd"] == alone[0]["kd"] and both["byot kd"] == alone[1]["kd"]
    total = sum(alone[0].values()) + sum(alone[1].values()) - alone[1]["task"]
    assert float(sum(both.values()).detach()) == pytest.approx(float(total.detach()))


def test_methods_are_called_as_whoever_joins_them_says():
    model = four_stage(10, width=4)
    plain = Combined(BYOT(model), DropoutGuidance(model))
    assert "byot.alpha" in plain.settings() and "dropoutguidance.p" in plain.settings()
    named = Combined(BYOT(model), DropoutGuidance(model), names=["byot", "dropout-guidance"])
    setattr(named, "dropout-guidance.p", 0.5)
    assert named.settings()["dropout-guidance.p"] == 0.5 == named.methods[1].p
    assert named.settings().keys() == named.knobs.keys()


def test_a_knob_of_joined_methods_has_one_name_from_the_experiment_to_the_history(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    small = {"network": {"width": 4}, "data": "digits", "dataset": {"train_size": 64}}
    plain = Experiment("cs-kd+drg", recipe=Recipe(epochs=2, batch_size=32, lr=0.05), **small)
    steered = plain.fork(1, {"cs-kd.lam": 2.0, "alpha": 0.5})
    done = steered.run(progress=False)
    turned = [(t["step"], t["knob"], t["after"]) for e in done.history for t in e.changes]
    assert sorted(turned) == [(2, "cs-kd.lam", 2.0), (2, "drg.alpha", 0.5)]
    assert plain.as_steered(done.history, 2) == steered


def test_methods_named_in_another_order_are_the_same_run():
    one, other = Experiment("drg+cs-kd"), Experiment(("cs-kd", "drg"))
    assert one == other and one.key == other.key and str(one) == str(other) and one.method == "cs-kd+drg"
