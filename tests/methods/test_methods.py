"""One contract, every method; then each equation as printed."""

from __future__ import annotations

import copy
import inspect
from functools import partial

import numpy as np
import paper
import pytest
import torch
import torch.nn.functional as F
from tiny import COMBINATIONS, RECIPE, agree, bare, build, case, leaves, second_step, sfr, terms_of

from sdkit.core import Batch, Features, Progress
from sdkit.data import DATASETS
from sdkit.methods import (
    BYOT,
    DDGSD,
    DLB,
    DRG,
    DSN,
    DSR,
    KD,
    LSR,
    METHODS,
    PSKD,
    SFR,
    Combined,
    EarlyExit,
    Exit,
    Method,
    MultiExit,
    SelfGuidance,
    Vanilla,
)
from sdkit.methods.sfr import channels_of_blocks
from sdkit.models import MODELS, four_stage, pyramidnet
from sdkit.train import Recipe, Training, fit


@pytest.fixture(params=[*METHODS, *COMBINATIONS])
def name(request):
    return request.param


def test_terms_are_finite_scalars_and_every_parameter_learns(name):
    model, method, data = build(name)
    model.train(), method.train()
    out, batch, progress = second_step(model, method, data)
    if method.samples_per_class:
        assert batch.y.unique(return_counts=True)[1].min() >= method.samples_per_class, "every class in its batch comes often"
    terms = method.terms(model, out, batch, progress)
    assert "task" in terms
    assert all(t.shape == () and torch.isfinite(t) for t in terms.values()), terms
    sum(terms.values()).backward()
    for key, p in [*model.named_parameters(), *method.named_parameters()]:
        assert p.grad is not None and torch.isfinite(p.grad).all(), key
        assert p.grad.abs().sum() > 0, f"{key} gets no gradient"


def test_terms_only_read_memory(name):
    model, method, data = build(name)
    out, batch, progress = second_step(model, method, data)
    before = copy.deepcopy([m.memory for m in method.modules() if isinstance(m, Method)])
    torch.manual_seed(1)
    a = method.terms(model, out, batch, progress)
    torch.manual_seed(1)
    b = method.terms(model, out, batch, progress)
    assert all(torch.equal(a[k], b[k]) for k in a)
    after = [m.memory for m in method.modules() if isinstance(m, Method)]
    for x, y in zip(before, after, strict=True):
        assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


@pytest.mark.parametrize("name", [c for c in COMBINATIONS if c != "drg+dsr"])
def test_training_from_a_checkpoint_is_the_straight_training(name):
    """Of each method alone, and of DRG+DSR, `test_runs.py` holds it."""
    straight, state = Training(*build(name), RECIPE, on="cpu"), None
    for event in straight.iterate():
        if state is None and hasattr(event, "accuracy"):
            state = copy.deepcopy(straight.state_dict())
    torch.manual_seed(99)
    resumed = Training(*build(name), RECIPE, on="cpu")
    resumed.load_state_dict(state)
    for _ in resumed.iterate():
        pass
    for part in ("model", "method"):
        a, b = getattr(straight, part).state_dict(), getattr(resumed, part).state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a if isinstance(a[k], torch.Tensor)), part
    momenta = [t.optimiser.state_dict()["state"] for t in (straight, resumed)]
    assert all(torch.equal(momenta[0][k]["momentum_buffer"], momenta[1][k]["momentum_buffer"]) for k in momenta[0])


def test_one_image_is_enough_or_the_method_says_why_not(name):
    """A network can train on one image of 32 pixels; what normalises vectors over the batch cannot."""
    model, method, data = build(name)
    g = torch.Generator().manual_seed(1)
    x, pair = torch.randn(2, 1, 3, 32, 32, generator=g)
    batch = Batch(x, torch.tensor([3]), torch.tensor([5]), pair if method.pair else None)
    model.train(), method.train()
    if any(isinstance(m, torch.nn.BatchNorm1d) for m in method.modules()):
        with pytest.raises(ValueError, match="at least 2 images a batch, got 1"):
            method.terms(model, model.forward_features(method.view(batch)), batch, Progress(0, 0, 2, 1))
        return
    for step in range(2):
        progress = Progress(step, step, 2, 1)
        out = model.forward_features(method.view(batch))
        terms = method.terms(model, out, batch, progress)
        with torch.no_grad():
            method.remember(out, batch, progress)
    sum(terms.values()).backward()
    assert all(torch.isfinite(t) for t in terms.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for m in (model, method) for p in m.parameters())


def test_the_teacher_is_left_alone():
    model, method, data = build("kd")
    before = copy.deepcopy(method.teacher.net.state_dict())
    list(fit(model, method, data, RECIPE, on="cpu"))
    assert all(torch.equal(before[k], v) for k, v in method.teacher.net.state_dict().items())
    assert not any(k.startswith("teacher") for k in method.state_dict())
    assert not method.teacher.net.training and not [*method.parameters()]


def tensors(state):
    """Every tensor in a nest of dicts and lists."""
    if isinstance(state, torch.Tensor):
        return [state]
    inside = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [t for part in inside for t in tensors(part)]


TAUGHT = [name for name, kind in METHODS.items() if "teacher" in inspect.signature(kind).parameters]


@pytest.mark.parametrize("name", TAUGHT)
def test_no_teacher_is_in_an_optimiser_or_a_checkpoint(name):
    model, method, data = build(name)
    teacher = method.teacher.net
    weights = copy.deepcopy(teacher.state_dict())
    training = Training(model, method, data, RECIPE, on="cpu")
    model.train(), method.train()
    batch = next(iter(training.loader))
    for step in range(2):
        training._step(batch, Progress(0, step, 2, 3))
    moved = {id(p) for group in training.optimiser.param_groups for p in group["params"]}
    assert moved == {id(p) for m in (model, method) for p in m.parameters()}
    assert not moved & {id(p) for p in teacher.parameters()} and not teacher.training
    assert all(torch.equal(weights[k], v) for k, v in teacher.state_dict().items())
    drawn = [w for w in weights.values() if w.dim() == 4]
    assert drawn and not [t for t in tensors(training.state_dict()) for w in drawn if t.shape == w.shape and torch.equal(t, w)]


DEFAULTS = {  # of the papers, or of the code and the collections that the method's docstring names
    "lsr": {"epsilon": 0.1},
    "kd": {"alpha": 0.9, "temperature": 4},
    "byot": {"alpha": 0.3, "temperature": 3, "lam": 1e-4, "t_squared": False, "deepest_alpha": False},
    "ddgsd": {"lam": 1, "mu": 5e-4, "t_squared": False, "one_pass": True},
    "self-guidance": {"lam": 0.25, "temperature": 3, "teacher_learns": True, "both_statistics": False},
    "drg": {"alpha": 0.2, "temperature": 1, "stages": (2,), "per_class_mean": False},
    "dsr": {"beta": 1, "temperature": 4, "first": "skip", "reset_each_epoch": False, "per_class_mean": False},
    "frskd": {"alpha": 2, "beta": 100, "temperature": 4, "width": 2},
    "sfr": {"lam": 1, "epsilon": 0.1, "attention": "learned", "labels": "dynamic", "students": "stages"},
    "l2": {"variance": False},
    "at": {"beta": 1000, "last": 4, "variance": False},
    "fitnet": {"beta": 100, "variance": False},
    "sfr-l2": {"variance": True},
    "sfr-at": {"last": 4, "variance": True},
    "sfr-fitnet": {"last": 2, "variance": True},
    "rkd": {"distance": 25, "angle": 50, "task": True},
    "cc": {"beta": 100, "gamma": 0.4, "kernel": "rbf"},
    "vid": {"beta": 1, "variance": 5},
    "crd": {"beta": 0.8, "temperature": 0.07, "negatives": 16384, "momentum": 0.5, "in_batch": False},
    "darkrank": {"alpha": 3, "beta": 3, "length": 4, "soft": False},
    "dml": {"lam": 1, "temperature": 1},
    "one": {"branches": 3, "temperature": 3, "ramp_up": 80},
    "okddip": {"peers": 3, "temperature": 3, "ramp_up": 80},
    "cs-kd": {"lam": 1, "temperature": 4},
    "ps-kd": {"alpha": 0.8},
    "dlb": {"alpha": 1, "temperature": 3},
    "zf-ls": {"lam": 0.1, "power": 1, "dense": False},
    "tf-kd-reg": {"alpha": 0.1, "temperature": 20, "correct": 0.99, "multiplier": 1, "printed": False},
    "ols": {"alpha": 0.5},
    "dkd": {"alpha": 1, "beta": 8, "temperature": 4},
    "center": {"lam": 0.003, "rate": 0.5},
    "multi-similarity": {"alpha": 2, "beta": 50, "epsilon": 0.1},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_without_options_a_method_is_the_paper_s(name):
    takes = inspect.signature(METHODS[name]).parameters
    assert {k: takes[k].default for k in DEFAULTS[name]} == DEFAULTS[name]


def test_knobs_are_constructor_arguments_whose_default_is_worth_exploring(name):
    for part in name.split("+"):
        kind = METHODS[part]
        default_of = build(part)[1].settings()
        for knob, k in kind.knobs.items():
            default = default_of[knob]
            assert knob in inspect.signature(kind).parameters
            assert k.low <= default <= k.high and k.least <= k.low < k.high <= k.most, (part, knob)
            assert k.at_low and k.at_high, f"{part}.{knob} does not say what its ends mean"


def test_a_knob_moves_the_loss_while_training(name):
    model, method, data = build(name)
    out, batch, progress = second_step(model, method, data)
    model.train(), method.train()
    for knob, value in method.settings().items():
        torch.manual_seed(4)
        before = sum(method.terms(model, out, batch, progress).values())
        setattr(method, knob, value * 1.5 if value * 1.5 <= 1 or "alpha" not in knob else value / 2)
        torch.manual_seed(4)
        assert sum(method.terms(model, out, batch, progress).values()) != before, knob
        setattr(method, knob, value)


@pytest.mark.parametrize(
    ("knob", "bad"), [("alpha", -0.1), ("alpha", 1.5), ("temperature", 0), ("temperature", float("nan")), ("lam", -1)]
)
def test_a_knob_out_of_range_is_refused_at_any_time(knob, bad):
    model = four_stage(5, width=8)
    with pytest.raises(ValueError, match=rf"{knob} .* must lie in \["):
        BYOT(model, **{knob: bad})
    method = BYOT(model)
    with pytest.raises(ValueError, match="values worth trying"):
        setattr(method, knob, bad)
    with pytest.raises(TypeError, match="is a number"):
        setattr(method, knob, "high")


def test_features_are_what_the_exits_classify(name):
    model, method, data = build(name)
    model.eval(), method.eval()
    x = data.normalised(data.test.x[:4])
    out = model.forward_features(x)
    exits, features = method.exits(out, x), method.features(out)
    assert torch.equal(exits["final"], out.logits)
    assert features.keys() <= exits.keys()
    assert all(f.shape == (4, 64) for f in features.values())
    for exit_name, z in exits.items():
        assert torch.equal(Exit(model, method, exit_name)(x), z)
    with pytest.raises(KeyError, match="this run has no exit 'deep': it has final"):
        Exit(model, method, "deep")(x)


def test_a_network_cut_at_an_exit_says_what_the_exit_says(name):
    model, method, data = build(name)
    model.eval(), method.eval()
    x = data.normalised(data.test.x[:4])
    exits = method.exits(model.forward_features(x), x)
    for exit_name, head in method.auxiliary_heads().items():
        cut = EarlyExit(model, head)
        assert torch.equal(cut(x), exits[exit_name])
        assert len(cut.front) < 1 + len(model.stages), "what is behind the exit is gone"


def test_the_deployed_network_is_the_plain_one(name):
    """What is kept after training has the plain network's weights by name, and nothing else."""
    model, _, _ = build(name)
    assert model.state_dict().keys() == four_stage(10, width=8).state_dict().keys()


# equations


@pytest.mark.parametrize(
    "options",
    [{}, {"alpha": 0.0}, {"alpha": 1.0, "lam": 0.01}, {"temperature": 1.0}, {"t_squared": True, "deepest_alpha": True}],
)
@pytest.mark.parametrize("shape", [(6, 5, 7), (1, 5, 7), (3, 2, 1)])
@pytest.mark.equation("byot")
def test_byot_is_the_loss_slide(options, shape):
    b, k, d = shape
    (z1, y, f1), (z2, _, f2), (z3, _, f3) = (case(b, k, d, seed) for seed in range(3))
    tensors = leaves(z1, z2, z3, f1, f2, f3)
    a1, a2, a3, g1, g2, g3 = tensors
    heads = [(a1, g1), (a2, g2)]
    terms = terms_of(bare(BYOT, heads, **options), a3, g3, y)
    settings = {"alpha": 0.3, "lam": 1e-4, "tau": 3.0} | {"tau" if n == "temperature" else n: v for n, v in options.items()}
    agree(terms, paper.byot([z1, z2, z3], [f1, f2, f3], y, **settings))

    sum(terms.values()).backward()
    printed = lambda z, f: sum(paper.byot([z, z2, z3], [f, f2, f3], y, **settings).values())  # noqa: E731
    assert a1.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(v, f1), z1), abs=1e-7)
    if options.get("lam", 1):
        assert g1.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(z1, v), f1), abs=1e-7)
    weight = 1 - settings["alpha"] if options.get("deepest_alpha") else 1
    task = paper.numeric_gradient(lambda v: weight * paper.cross_entropy(v, y), z3)
    assert a3.grad.numpy() == pytest.approx(task, abs=1e-7), "the deepest classifier learns from the labels alone"
    assert g3.grad is None or not g3.grad.any(), "the hint does not pull the deepest features"


def test_a_linear_head_refuses_a_hint_whenever_it_is_asked_for():
    """A knob may be turned while training: refused is then the turn, and not the step after it."""
    with pytest.raises(ValueError, match="a linear head has no features of the last stage's width for the hint: use"):
        BYOT(four_stage(5, width=4), head="linear")
    model = four_stage(5, width=4)
    method = BYOT(model, head="linear", lam=0.0)
    with pytest.raises(ValueError, match="a linear head has no features of the last stage's width for the hint: use"):
        method.lam = 1e-4
    batch = Batch(torch.randn(4, 3, 16, 16), torch.arange(4), torch.arange(4))
    assert method.lam == 0 and method.loss(model, batch).isfinite()
    MultiExit(model, head="linear").lam = 2.0  # another weight


@pytest.mark.equation("dsn")
def test_dsn_is_byot_without_soft_targets_and_hints():
    (z1, y, f1), (z2, _, f2) = case(seed=0), case(seed=1)
    a1, a2, g1, g2 = leaves(z1, z2, f1, f2)
    terms = terms_of(bare(DSN, [(a1, g1)]), a2, g2, y)
    agree(terms, {"task": paper.cross_entropy(z2, y), "head ce": paper.cross_entropy(z1, y)})


@pytest.mark.parametrize("knobs", [{}, {"alpha": 1.0, "temperature": 4.0}])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("b", [1, 6])
@pytest.mark.equation("drg")
def test_drg_is_eq_8_to_10(knobs, heads, b):
    (z, y, f), *rest = (case(b, seed=s) for s in range(heads + 1))
    a, *shallow = leaves(z, *(r[0] for r in rest))
    pairs = [(s, s) for s in shallow]
    method = bare(DRG, pairs, stages=tuple(range(1, heads + 1)), **knobs)
    terms = terms_of(method, a, None, y)
    alpha, tau = knobs.get("alpha", 0.2), knobs.get("temperature", 1.0)
    agree(terms, paper.drg(z, [r[0] for r in rest], y, alpha, tau))

    sum(terms.values()).backward()
    printed = lambda v: sum(paper.drg(v, [r[0] for r in rest], y, alpha, tau).values())  # noqa: E731
    assert a.grad.numpy() == pytest.approx(paper.numeric_gradient(printed, z), abs=1e-7)
    own = paper.numeric_gradient(lambda v: paper.cross_entropy(v, y), rest[0][0])
    assert shallow[0].grad.numpy() == pytest.approx(own, abs=1e-7), "the poor teacher learns from the labels alone"


@pytest.mark.parametrize("knobs", [{}, {"beta": 3.0, "temperature": 1.0}])
@pytest.mark.parametrize("sizes", [(6, 6), (6, 4), (3, 6), (1, 1)])
@pytest.mark.equation("dsr")
def test_dsr_is_eq_11_and_12(knobs, sizes):
    (before, *_), (z, y, _) = case(sizes[0], seed=0), case(sizes[1], seed=1)
    method, batch = DSR(four_stage(5, width=8), **knobs), Batch(None, torch.as_tensor(y), None)
    first = Features(torch.tensor(before), None, ())
    assert (
        method.terms(None, first, Batch(None, torch.zeros(sizes[0], dtype=torch.long), None), Progress(0, 0, 1, 2))["sr"] == 0
    )
    method.remember(first, None, None)
    (a,) = leaves(z)
    terms = method.terms(None, Features(a, None, ()), batch, Progress(0, 1, 1, 2))
    beta, tau = knobs.get("beta", 1.0), knobs.get("temperature", 4.0)
    agree(terms, paper.dsr(z, before, y, beta, tau))
    sum(terms.values()).backward()
    printed = lambda v: sum(paper.dsr(v, before, y, beta, tau).values())  # noqa: E731
    assert a.grad.numpy() == pytest.approx(paper.numeric_gradient(printed, z), abs=1e-7)


def test_dsr_is_blind_to_the_names_of_classes():
    (before, *_), (z, y, _) = case(seed=0), case(seed=1)
    values = []
    for order in (np.arange(5), np.array([3, 1, 4, 0, 2])):
        method = DSR(four_stage(5, width=8))
        method.remember(Features(torch.tensor(before[:, order]), None, ()), None, None)
        values.append(
            method.terms(
                None, Features(torch.tensor(z), None, ()), Batch(None, torch.as_tensor(y), None), Progress(0, 1, 1, 2)
            )["sr"]
        )
    assert values[0] == values[1] != 0


def test_dsr_offers_algorithm_2_to_the_letter_and_the_released_code():
    z, y, _ = case(seed=1)
    batch = Batch(None, torch.as_tensor(y), None)
    out = Features(torch.tensor(z), None, ())
    model = four_stage(5, width=8)
    uniform = DSR(model, first="uniform").terms(None, out, batch, Progress(0, 0, 1, 2))["sr"]
    assert uniform.item() == pytest.approx(paper.dsr(z, np.zeros_like(z), y, 1.0, 4.0)["sr"])
    released = DSR(model, reset_each_epoch=True)
    released.remember(Features(torch.tensor(case(seed=3)[0]), None, ()), None, None)
    assert released.terms(None, out, batch, Progress(1, 2, 2, 2))["sr"] == 0
    assert released.terms(None, out, batch, Progress(1, 3, 2, 2))["sr"] > 0
    with pytest.raises(ValueError, match="'skip' or 'uniform', got 'zero'"):
        DSR(model, first="zero")


def test_the_printed_1_over_k_scales_every_term_alike():
    z, y, _ = case()
    (s, _, _), a = case(seed=1), torch.tensor(z)
    heads = [(torch.tensor(s), torch.tensor(s))]
    plain = terms_of(bare(DRG, heads), a, None, y)
    printed = terms_of(bare(DRG, heads, per_class_mean=True), a, None, y)
    assert all(printed[k].item() == pytest.approx(plain[k].item() / 5) for k in plain)


def test_drg_refuses_stages_that_are_not_there():
    model = four_stage(5, width=8)
    for stages in ((), (0,), (4,), (2, 2)):
        with pytest.raises(ValueError, match="a choice from 1 to 3 without repeats"):
            DRG(model, stages=stages)


@pytest.mark.parametrize("alpha", [0.0, 0.9, 1.0])
@pytest.mark.equation("kd")
def test_kd_is_hinton_2015(alpha):
    (z, y, _), (t, _, _) = case(seed=0), case(seed=1)

    class Teacher(torch.nn.Module):
        num_classes = 5

        def forward_features(self, x):
            return Features(torch.tensor(t), None, ())

    (a,) = leaves(z)
    method = KD(four_stage(5, width=8), teacher=Teacher(), alpha=alpha)
    terms = method.terms(None, Features(a, None, ()), Batch(None, torch.as_tensor(y), None), Progress(0, 0, 1, 1))
    agree(terms, paper.kd(z, t, y, alpha, 4.0))
    sum(terms.values()).backward()
    printed = lambda v: sum(paper.kd(v, t, y, alpha, 4.0).values())  # noqa: E731
    assert a.grad.numpy() == pytest.approx(paper.numeric_gradient(printed, z), abs=1e-7)
    with pytest.raises(ValueError, match="the teacher knows 5 classes and the student 7"):
        KD(four_stage(7, width=8), teacher=Teacher())


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
@pytest.mark.equation("lsr", "vanilla")
def test_lsr_and_vanilla_are_their_cross_entropies(epsilon):
    z, y, _ = case()
    (a,) = leaves(z)
    out, batch, progress = Features(a, None, ()), Batch(None, torch.as_tensor(y), None), Progress(0, 0, 1, 1)
    terms = LSR(None, epsilon=epsilon).terms(None, out, batch, progress)
    agree(terms, {"task": paper.smoothed_cross_entropy(z, y, epsilon)})
    terms["task"].backward()
    printed = paper.numeric_gradient(lambda v: paper.smoothed_cross_entropy(v, y, epsilon), z)
    assert a.grad.numpy() == pytest.approx(printed, abs=1e-7)
    agree(Vanilla().terms(None, out, batch, progress), {"task": paper.cross_entropy(z, y)})


@pytest.mark.parametrize("sizes", [(6, 6), (4, 6), (1, 1)])
@pytest.mark.parametrize("knobs", [{}, {"alpha": 0.5, "temperature": 1.0}])
@pytest.mark.equation("dlb")
def test_dlb_is_eq_4(sizes, knobs):
    (z, y, _), (said, before, _), (again, _, _) = case(sizes[0]), case(sizes[1], seed=1), case(sizes[1], seed=2)
    a, b = leaves(z, again)

    class Network(torch.nn.Module):
        def forward_features(self, x):
            assert x == "the second view"
            return Features(b, None, ())

    method = DLB(None, **knobs)
    first = method.terms(None, Features(torch.tensor(said), None, ()), Batch(None, torch.as_tensor(before), None), None)
    agree(first, {"task": paper.cross_entropy(said, before), "lb": 0.0})
    method.remember(Features(torch.tensor(said), None, ()), Batch(None, torch.as_tensor(before), None, "the second view"), None)
    terms = method.terms(Network(), Features(a, None, ()), Batch(None, torch.as_tensor(y), None), None)
    alpha, tau = knobs.get("alpha", 1.0), knobs.get("temperature", 3.0)
    agree(terms, paper.dlb(z, y, again, said, before, alpha, tau))
    sum(terms.values()).backward()
    printed = lambda v, w: sum(paper.dlb(v, y, w, said, before, alpha, tau).values())  # noqa: E731
    assert a.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(v, again), z), abs=1e-7)
    assert b.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(z, v), again), abs=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.8, 1.0])
@pytest.mark.equation("ps-kd")
def test_ps_kd_is_eq_5(alpha):
    (z, y, _), (said, _, _) = case(), case(seed=1)
    method, index = PSKD(four_stage(5, width=8), train_size=20, alpha=alpha), torch.arange(6) + 3
    batch = Batch(None, torch.as_tensor(y), index)
    first = method.terms(None, Features(torch.tensor(z), None, ()), batch, Progress(0, 0, 4, 1))
    agree(first, {"task": paper.cross_entropy(z, y)})
    method.remember(Features(torch.tensor(said), None, ()), batch, Progress(0, 0, 4, 1))
    (a,) = leaves(z)
    terms = method.terms(None, Features(a, None, ()), batch, Progress(2, 2, 4, 1))
    agree(terms, paper.ps_kd(z, y, paper.softmax(said), alpha, 2, 4))
    terms["task"].backward()
    printed = paper.numeric_gradient(lambda v: paper.ps_kd(v, y, paper.softmax(said), alpha, 2, 4)["task"], z)
    assert a.grad.numpy() == pytest.approx(printed, abs=1e-7)


@pytest.mark.parametrize("knobs", [{}, {"lam": 0, "mu": 0}, {"lam": 2.0, "mu": 10.0, "temperature": 1.0}])
@pytest.mark.parametrize("b", [1, 6])
@pytest.mark.equation("ddgsd")
def test_ddgsd_is_eq_1_to_5(knobs, b):
    (za, y, ha), (zb, _, hb) = case(b), case(b, seed=1)
    tensors = leaves(np.concatenate([za, zb]), np.concatenate([ha, hb]))
    method = DDGSD(four_stage(5, width=8), **knobs)
    terms = method.terms(None, Features(*tensors, ()), Batch(None, torch.as_tensor(y), None), None)
    lam, mu, tau = knobs.get("lam", 1.0), knobs.get("mu", 5e-4), knobs.get("temperature", 2.0)
    agree(terms, paper.ddgsd(za, zb, ha, hb, y, lam, mu, tau))
    sum(terms.values()).backward()

    def printed(z, h):  # Eq. 3: "H(p_b) is constant, its gradient is zero", and so is the target's
        return paper.cross_entropy(z, y) + lam * paper.kl(zb, z, tau) + mu * paper.mmd(h, hb)

    assert tensors[0].grad[:b].numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(v, ha), za), abs=1e-7)
    assert tensors[1].grad[:b].numpy() == pytest.approx(paper.numeric_gradient(lambda v: printed(za, v), ha), abs=1e-6)
    by_hand = mu * 2 / b**2 * (hb.sum(0) - ha.sum(0))  # the page's gradient of Eq. 1, on the second view
    assert tensors[1].grad[b:].numpy() == pytest.approx(np.tile(by_hand, (b, 1)), abs=1e-9)


def test_ddgsd_offers_the_other_readings():
    (za, y, ha), (zb, _, hb) = case(), case(seed=1)
    out = Features(torch.tensor(np.concatenate([za, zb])), torch.tensor(np.concatenate([ha, hb])), ())
    batch, model = Batch(None, torch.as_tensor(y), None, "second view"), four_stage(5, width=8)
    plain = DDGSD(model).terms(None, out, batch, None)
    other = DDGSD(model, t_squared=True, branch_mean=True).terms(None, out, batch, None)
    assert other["kl"] == pytest.approx(4 * plain["kl"].item()) and other["task"] == pytest.approx(plain["task"].item() / 2)

    class Network(torch.nn.Module):
        def forward_features(self, x):
            assert x == "second view"
            return Features(torch.tensor(zb), torch.tensor(hb), ())

    two = DDGSD(model, one_pass=False)
    assert not two.both_views
    agree(
        two.terms(Network(), Features(torch.tensor(za), torch.tensor(ha), ()), batch, None),
        {k: v.item() for k, v in plain.items()},
    )
    assert DDGSD(four_stage(10, width=8)).temperature == 2 and DDGSD(four_stage(100, width=8)).temperature == 3


@pytest.mark.parametrize("knobs", [{}, {"lam": 0}, {"lam": 1.0, "temperature": 1.0}])
@pytest.mark.parametrize("b", [1, 6])
@pytest.mark.equation("self-guidance")
def test_self_guidance_is_eq_5(knobs, b):
    (zs, y, _), (zt, _, _) = case(b), case(b, seed=1)
    s, t = leaves(zs, zt)
    model = four_stage(5, width=8, survival=0.5)
    method, batch = SelfGuidance(model, **knobs), Batch(None, torch.as_tensor(y), None)
    model.forward_features = lambda x: Features(s, None, ())
    terms = method.terms(model, Features(t, None, ()), batch, None)
    lam, tau = knobs.get("lam", 0.25), knobs.get("temperature", 3.0)
    agree(terms, paper.self_guidance(zs, zt, y, lam, tau))
    sum(terms.values()).backward()
    printed = paper.numeric_gradient(lambda v: sum(paper.self_guidance(v, zt, y, lam, tau).values()), zs)
    assert s.grad.numpy() == pytest.approx(printed, abs=1e-7)
    labels_alone = paper.numeric_gradient(lambda v: paper.cross_entropy(v, y), zt)
    assert t.grad.numpy() == pytest.approx(labels_alone, abs=1e-7), "soft labels are targets, not a path for gradients"

    ablated = SelfGuidance(model, teacher_learns=False, **knobs).terms(model, Features(t, None, ()), batch, None)
    agree(ablated, {"task": paper.cross_entropy(zs, y), "kd": lam * tau**2 * paper.kl(zt, zs, tau)})
    other_way = SelfGuidance(model, reverse=True, **knobs).terms(model, Features(t, None, ()), batch, None)
    assert other_way["kd"].item() == pytest.approx(lam * tau**2 * paper.kl(zs, zt, tau))


def test_the_sampled_student_skips_blocks_and_leaves_running_statistics_to_the_teacher():
    from sdkit.models import residuals, sampled

    torch.manual_seed(0)
    model = four_stage(5, width=8, blocks=2, survival=0.5)
    method, x = SelfGuidance(model), torch.randn(8, 3, 16, 16)
    assert [b.survival for b in residuals(model)] == paper.survival(8, 0.5)
    model.train()
    out = model.forward_features(x)
    before = copy.deepcopy({k: v for k, v in model.state_dict().items() if "running" in k})
    computed = []
    hooks = [b.branch.register_forward_hook(lambda *a, i=i: computed.append(i)) for i, b in enumerate(residuals(model))]
    rounds = 200
    for _ in range(rounds):
        method.terms(model, out, Batch(x, torch.zeros(8, dtype=torch.long), None), None)
    for h in hooks:
        h.remove()
    for i, p in enumerate(paper.survival(8, 0.5)):
        share = computed.count(i) / rounds
        assert abs(share - p) < 4 * (p * (1 - p) / rounds) ** 0.5 + 1e-9, "a dropped block is not computed"
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items() if k in before)
    mask = [1, 0, 1, 1, 0, 1, 1, 0]
    with sampled(model, mask):
        assert torch.equal(model(x), model(x))
    model.eval()
    with torch.no_grad():
        h = model.stem(x)
        for block in residuals(model):
            h = (block.survival * block.branch(h) + block.skip(h)).relu()  # Eq. 4
        assert torch.allclose(model(x), model.classifier(model.neck(h)), atol=1e-6)


def test_stochastic_depth_alone_samples_in_training_and_never_in_evaluation():
    torch.manual_seed(0)
    model, x = four_stage(5, width=8, survival=0.5), torch.randn(4, 3, 16, 16)
    model.train()
    assert len({tuple(model(x).flatten().tolist()) for _ in range(20)}) > 1
    model.eval()
    assert len({tuple(model(x).flatten().tolist()) for _ in range(5)}) == 1


def test_self_guidance_says_what_it_needs():
    with pytest.raises(ValueError, match="build the network with survival < 1"):
        SelfGuidance(four_stage(5, width=8))
    with pytest.raises(ValueError, match=r"in \(0, 1\], got 0"):
        four_stage(5, width=8, survival=0)


def maps(b=3, c=6, n=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(b, n * n, c, generator=g, dtype=torch.float64)


def test_the_pieces_of_emd_are_the_printed_ones():
    from sdkit import losses

    u, v = maps(), maps(seed=1)
    cost, a = losses.ground_cost(u, v), losses.cross_reference(u, v)
    for i in range(3):
        assert cost[i].numpy() == pytest.approx(paper.unit_cost(u[i].numpy(), v[i].numpy()), abs=1e-12)
        assert a[i].numpy() == pytest.approx(paper.node_weights(u[i].numpy(), v[i].numpy()), abs=1e-12)
    assert torch.allclose(cost, 2 * (1 - torch.nn.functional.cosine_similarity(u[:, :, None], v[:, None], dim=3)))


def test_sinkhorn_is_within_15_percent_of_the_linear_program():
    from sdkit import losses

    u, v = torch.randn(10, 16, 32).relu() + 0.3, torch.randn(10, 16, 32).relu() + 0.3
    cost, a, b = losses.ground_cost(u, v), losses.cross_reference(u, v), losses.cross_reference(v, u)
    plan = losses.sinkhorn_plan(cost, a, b)
    ours = (plan * cost).sum((1, 2))
    exact = torch.tensor([paper.exact_emd(*(t.double().numpy() for t in (cost[i], a[i], b[i]))) for i in range(10)])
    gap = (ours - exact) / exact
    assert gap.abs().max() < 0.15, gap
    assert losses.marginal_error(plan, a, b) < 0.01


def test_emd_of_a_set_with_itself_is_nothing_and_blind_to_the_order():
    from sdkit import losses

    u = maps(b=1)[0]
    shuffled = u[torch.randperm(16)]
    a, b = losses.cross_reference(u[None], u[None])[0], losses.cross_reference(shuffled[None], u[None])[0]
    for v, w in ((u, a), (shuffled, b)):
        cost = losses.ground_cost(u[None], v[None])[0]
        assert paper.exact_emd(cost.numpy(), a.numpy(), w.numpy()) == pytest.approx(0, abs=1e-9)


@pytest.mark.equation("sfr")
def test_sfr_weighs_every_stages_distance_and_lets_no_gradient_into_the_last_map():
    model, method = sfr()
    model.train(), method.train()
    out = model.forward_features(torch.randn(6, 3, 16, 16))
    stages = [s.detach().requires_grad_() for s in out.stages]
    weights, distances = method.weights(stages), method.distances(stages)
    assert weights.shape == distances.shape == (6, 3)
    assert torch.allclose(weights.sum(1), torch.ones(6)) and (weights > 0).all() and (distances >= 0).all()
    students, teacher = method.aligned(stages)
    for s, u in enumerate(students):  # one stage and one image at a time, by the linear program
        cost = torch.tensor(np.array([paper.unit_cost(u[i].detach().numpy(), teacher[i].numpy()) for i in range(6)]))
        for i in range(6):
            a, b = (
                paper.node_weights(*p)
                for p in ((u[i].detach().numpy(), teacher[i].numpy()), (teacher[i].numpy(), u[i].detach().numpy()))
            )
            exact = paper.exact_emd(cost[i].numpy(), a, b)
            assert distances[i, s].item() == pytest.approx(exact, rel=0.15, abs=0.02)
    (weights * distances).sum().backward()
    assert stages[-1].grad is None and all(s.grad.abs().sum() > 0 for s in stages[:-1])
    for kind in ("cosine", "uniform"):
        w = sfr(attention=kind)[1].weights(stages)
        assert torch.allclose(w.sum(1), torch.ones(6)) and not w.requires_grad


def test_ps_kd_keeps_the_hard_label_of_an_image_that_the_last_epoch_left_out():
    method, index = PSKD(four_stage(5, width=8), train_size=4), torch.arange(4)
    z, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    method.remember(Features(z[:2], None, ()), Batch(None, y[:2], index[:2]), Progress(0, 0, 4, 1))
    task = method.terms(None, Features(z, None, ()), Batch(None, y, index), Progress(1, 1, 4, 1))["task"]
    target = F.one_hot(y, 5).float()
    target[:2] = 0.6 * target[:2] + 0.4 * z[:2].softmax(1)
    assert task.item() == pytest.approx(-(target * z.log_softmax(1)).sum(1).mean().item(), rel=1e-6)


def labelled(past, y, **options):
    """The targets in the second of four epochs, when the last one said `past` [N, K]."""
    _, method = sfr(**options)
    if past is not None:
        out = Features(torch.tensor(past).log(), None, ())
        index = torch.arange(len(y))
        method.remember(out, Batch(None, torch.as_tensor(y), index), Progress(0, 0, 4, 1))
    return method.targets(Batch(None, torch.as_tensor(y), torch.arange(len(y))), Progress(1, 1, 4, 1)).numpy()


def test_dynamic_labels_share_epsilon_as_the_last_epoch_did():
    z, y, _ = case()
    past = paper.softmax(z)
    hard = np.eye(5)[y]
    assert labelled(None, y) == pytest.approx(hard), "the first epoch's labels are hard"
    printed = np.zeros_like(past)
    for i in range(len(y)):
        rest = sum(past[i, j] for j in range(5) if j != y[i])
        for k in range(5):
            printed[i, k] = 1 - 0.1 if k == y[i] else 0.1 * past[i, k] / rest
    assert labelled(past, y) == pytest.approx(printed, abs=1e-6)
    assert labelled(past, y, labels="ps-kd") == pytest.approx((1 - 0.4) * hard + 0.4 * past, abs=1e-6)
    assert labelled(past, y, labels="uniform") == pytest.approx(0.9 * hard + 0.1 / 5, abs=1e-6)
    assert labelled(past, y, labels="hard") == pytest.approx(hard)
    table = np.eye(5)
    for k in range(5):
        rows = [past[i] for i in range(len(y)) if y[i] == k and past[i].argmax() == k]
        table[k] = sum(rows) / len(rows) if rows else table[k]
    assert labelled(past, y, labels="ols") == pytest.approx(0.5 * hard + 0.5 * table[y], abs=1e-6)


def test_sfr_of_blocks_compares_every_residual_block_but_the_last():
    torch.manual_seed(0)
    model = four_stage(5, width=8, blocks=2)
    method = SFR(model, train_size=20, students="blocks")
    x = torch.randn(6, 3, 16, 16)
    out = model.train().forward_features(x)
    maps = method.maps(out)
    assert [m.shape[1] for m in maps] == [8, 8, 16, 16, 32, 32, 64, 64]
    assert torch.equal(maps[1], out.stages[0]) and torch.equal(maps[-1], out.stages[-1]), "a stage ends with its last block"
    assert method.distances(maps).shape == method.weights(maps).shape == (6, 7)
    terms = method.terms(model, out, Batch(x, torch.arange(6) % 5, torch.arange(6)), Progress(0, 0, 2, 1))
    sum(terms.values()).backward()
    assert all(p.grad is not None for m in (model, method) for p in m.parameters())
    plain = four_stage(5, width=8, blocks=2)
    assert model.state_dict().keys() == plain.state_dict().keys()
    one_block = torch.nn.Module()
    one_block.stages, one_block.channels, one_block.num_classes = [torch.nn.Identity()], (8,), 5
    with pytest.raises(ValueError, match="two or more residual blocks"):
        SFR(one_block, train_size=20, students="blocks")


@pytest.mark.parametrize(
    ("name", "options"),
    [("mobilenet-v2", {}), ("mobilenet-tiny", {}), ("pyramidnet", {"depth": 20, "alpha": 24}), ("resnet20", {"width": 4})],
)
def test_sfr_of_blocks_takes_networks_whose_blocks_are_not_as_wide_as_their_stage(name, options):
    torch.manual_seed(0)
    kind = partial(pyramidnet, num_classes=5) if "depth" in options else partial(MODELS[name], num_classes=5)
    model = kind(**options).train()
    method = SFR(model, train_size=20, students="blocks")
    x = torch.randn(4, 3, 32, 32)
    out = model.forward_features(x)
    assert channels_of_blocks(model) == [m.shape[1] for m in out.blocks]
    terms = method.terms(model, out, Batch(x, torch.arange(4), torch.arange(4)), Progress(0, 0, 2, 1))
    assert all(t.isfinite() for t in terms.values())


def test_sfr_offers_the_raw_cost_and_attention_that_the_loss_cannot_bend():
    model, method = sfr(cost="raw l2")
    u, v = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    cost, _, _ = method.transport(u, v)
    for b, i, j in np.ndindex(2, 3, 3):
        assert cost[b, i, j].item() == pytest.approx(sum((u[b, i, c].item() - v[b, j, c].item()) ** 2 for c in range(4)))
    batch = Batch(torch.randn(6, 3, 16, 16), torch.arange(6) % 5, torch.arange(6))
    for detached in (False, True):
        model, method = sfr(detach_attention=detached)
        out = model.train().forward_features(batch.x)
        sum(method.terms(model, out, batch, Progress(0, 0, 2, 1)).values()).backward()
        assert (method.query[0].weight.grad is None) == detached


def test_sfr_refuses_what_it_does_not_know():
    for option in ({"attention": "dot"}, {"labels": "soft"}, {"students": "dot"}, {"cost": "soft"}):
        with pytest.raises(ValueError, match="got '(dot|soft)'"):
            sfr(**option)


# composition


def test_together_is_eq_13():
    model, both, data = build("drg+dsr")
    drg, dsr = both.methods
    out, batch, progress = second_step(model, both, data)
    terms = both.terms(model, out, batch, progress)
    assert set(terms) == {"task", "shallow ce", "rg", "sr"}
    separate = drg.terms(model, out, batch, progress) | dsr.terms(model, out, batch, progress)
    assert all(torch.equal(terms[k], separate[k]) for k in separate)
    assert both.settings() == {"drg.alpha": 0.2, "drg.temperature": 1.0, "dsr.beta": 1.0, "dsr.temperature": 4.0}


def test_methods_that_want_different_partners_do_not_mix():
    class Views(Vanilla):
        pair = "same image"

    class Classmates(Vanilla):
        pair = "same class"

    with pytest.raises(ValueError, match="its pair would be 'same class' for classmates, 'same image' for views: take one"):
        Combined(Views(), Classmates())


def test_the_method_that_softens_the_label_keeps_its_task_in_either_order():
    model = four_stage(10, width=8)
    data = DATASETS["digits"](train_size=100)
    batch = next(iter(data.batches(32)))
    out = model.forward_features(batch.x)
    softened = LSR(model).terms(model, out, batch, None)["task"]
    for pair in ((LSR(model), DRG(model)), (DRG(model), LSR(model))):
        assert Combined(*pair).terms(model, out, batch, None)["task"] == softened
    with pytest.raises(ValueError, match="lsr and sfr each replace the task loss"):
        Combined(LSR(model), SFR(model, train_size=100))


def test_your_own_method_needs_no_registration():
    class Confidence(Method):
        def terms(self, model, out, batch, progress):
            p = out.logits.softmax(1)
            return {"task": F.cross_entropy(out.logits, batch.y), "entropy": 0.1 * (p * p.log()).sum(1).mean()}

    torch.manual_seed(0)
    data = DATASETS["digits"](train_size=400)
    *_, last = fit(
        four_stage(10, width=8), Confidence(), data, Recipe(epochs=6, batch_size=32, lr=0.05, schedule="one cycle"), on="cpu"
    )
    assert last.accuracy["final"] > 0.8 and last.terms.keys() == {"task", "entropy"}


LEARNED: dict[str, torch.Tensor] = {}


def course(epochs: int) -> Recipe:
    return Recipe(epochs=epochs, batch_size=50, lr=0.05, schedule="one cycle")


def learned(net, data) -> dict[str, torch.Tensor]:
    """The weights of a teacher, which is every method's: it is trained once."""
    if not LEARNED:
        net = copy.deepcopy(net).requires_grad_(True)
        list(fit(net, Vanilla(), data, course(8), on="cpu"))
        LEARNED.update(net.state_dict())
    return LEARNED


def accuracy(name: str, epochs: int) -> float:
    """At the end of a whole course, of 10 steps an epoch."""
    model, method, data = build(name, train_size=500, quick=True)
    if hasattr(method, "teacher"):
        method.teacher.net.load_state_dict(learned(method.teacher.net, data))
    *_, last = fit(model, method, data, course(epochs), on="cpu")
    return last.accuracy["final"]


def test_every_method_learns(name):
    """A short course is enough for most; maps that weigh a thousandfold and embeddings take a longer one."""
    slow = name in ("frskd", "defensive")  # a second network begins with this one; at a temperature of 20 all is soft
    courses = (20, 40) if slow else (4, 10, 40)
    assert any(accuracy(name, epochs) > 0.5 for epochs in courses), "500 digits are enough for five times chance"
