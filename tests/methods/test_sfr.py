"""Paper 000 with a teacher, its inspection, its figures and its verdicts. References are written from the page, slowly."""

from __future__ import annotations

import copy

import numpy as np
import paper
import pytest
import torch
from drawn import illegible, on_screen, unreadable
from paper import attention, gaussian, pool
from tiny import built, draw, taps
from torch import nn

from sdkit import figures, papers
from sdkit.core import Batch, Progress
from sdkit.methods import AT, L2, METHODS, SFR, SFRAT, SFRL2, Combined, FitNet, Method, SFRFitNet
from sdkit.methods.sfr import exact_plan
from sdkit.methods.sfr_teacher import EVEN, AttentionDistance, EmbeddingDistance, RegressorDistance
from sdkit.models import cifar_resnet, four_stage
from sdkit.papers import sfr as verdicts

# the page, in loops


def batch_norm(x):
    """Columns of [M, C] with the batch's own mean and biased variance."""
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def pointwise(f, weight):
    """1x1 convolution without bias, then batch normalisation. f [B, C, H, W], weight [D, C]."""
    b, _, h, w = f.shape
    rows = np.array([weight @ f[n, :, i, j] for n in range(b) for i in range(h) for j in range(w)])
    return batch_norm(rows).reshape(b, h, w, -1).transpose(0, 3, 1, 2)


def numpy_of(module):
    return module[0].weight.detach().numpy().reshape(module[0].weight.shape[:2])


def agrees(distance, out, taught, printed, x):
    """The value and the gradient of x [float64 array] against the page's."""
    leaf = torch.tensor(x, requires_grad=True)
    target = taught()
    value = distance(out(leaf), target)
    assert value.shape == () and value.item() == pytest.approx(printed(x), rel=1e-9)
    value.backward()
    assert leaf.grad.numpy() == pytest.approx(paper.numeric_gradient(printed, x), abs=1e-6)
    assert all(t.grad is None for t in [target.embedding, *target.stages]), "the teacher is constant"


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("its", [4, 3])
@pytest.mark.equation("l2")
def test_l2_is_the_pages_squared_error_of_embeddings(variance, its):
    torch.manual_seed(0)
    student, teacher = four_stage(5, width=8), four_stage(5, width=8)
    student.classifier, teacher.classifier = nn.Linear(4, 5), nn.Linear(its, 5)
    distance = EmbeddingDistance(student, teacher, variance).double().train()
    x, t = draw(6, 4), draw(6, its, seed=1)

    def printed(e):
        s = e
        if its != 4:
            s = e @ distance.adapter.weight.detach().numpy().T + distance.adapter.bias.detach().numpy()
        return gaussian(s, t, EVEN * batch_norm(e @ numpy_of(distance.variance).T) if variance else None)

    assert isinstance(distance.adapter, nn.Identity) == (its == 4), "the adapter is there where sizes differ"
    agrees(distance, lambda e: taps(embedding=e), lambda: taps(embedding=torch.tensor(t, requires_grad=True)), printed, x)


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("sides", [(4, 4), (4, 2), (2, 4)])
@pytest.mark.equation("at")
def test_at_is_the_squared_difference_of_attention_maps(variance, sides):
    torch.manual_seed(0)
    student, teacher = four_stage(5, width=8), four_stage(5, width=16)
    distance = AttentionDistance(student, teacher, variance, last=1).double().train()
    x, t = draw(3, 64, sides[0], sides[0]), draw(3, 128, sides[1], sides[1], seed=1)
    small = min(sides)

    def printed(f):
        said = None
        if variance:
            grid = EVEN * batch_norm(f.mean((2, 3)) @ numpy_of(distance.variance[0]).T).reshape(3, 1, 4, 4)
            said = pool(grid, small).reshape(3, -1)
        return gaussian(attention(pool(f, small)), attention(pool(t, small)), said)

    leaf = torch.tensor(x, requires_grad=True)
    value = distance(taps([leaf]), taps([torch.tensor(t)]))
    assert value.item() == pytest.approx(printed(x), rel=1e-9)
    value.backward()
    for k in [(0, 0, 0, 0), (1, 5, 1, 0), (2, 63, 1, 1)]:
        up, down = x.copy(), x.copy()
        up[k] += 1e-5
        down[k] -= 1e-5
        assert leaf.grad[k].item() == pytest.approx((printed(up) - printed(down)) / 2e-5, abs=1e-7)


@pytest.mark.parametrize("variance", [False, True])
@pytest.mark.parametrize("sides", [(2, 2), (4, 2), (2, 4)])
@pytest.mark.equation("fitnet")
def test_fitnet_is_the_squared_error_behind_a_regressor(variance, sides):
    torch.manual_seed(0)
    student, teacher = four_stage(5, width=8), four_stage(5, width=8)
    student.channels, teacher.channels = (1, 1, 2, 3), (1, 2, 2, 4)
    distance = RegressorDistance(student, teacher, variance, last=2).double().train()
    x, deep = draw(3, 3, sides[0], sides[0]), draw(3, 2, 4, 4, seed=3)
    t, other = draw(3, 4, sides[1], sides[1], seed=1), draw(3, 2, 2, 2, seed=2)
    small = min(sides)

    def one(place, mine, its):
        said = EVEN * pointwise(mine, numpy_of(distance.variance[place])) if variance else None
        return gaussian(pointwise(mine, numpy_of(distance.regressor[place])), its, said)

    def printed(f):
        return one(0, pool(deep, 2), other) + one(1, pool(f, small), pool(t, small))

    def taught():
        return taps([torch.tensor(other, requires_grad=True), torch.tensor(t, requires_grad=True)])

    agrees(distance, lambda f: taps([torch.tensor(deep), f]), taught, printed, x)


# methods


@pytest.mark.parametrize(("kind", "term", "beta"), [(L2, "l2", 1), (AT, "at", 1000), (FitNet, "fitnet", 100)])
def test_a_plain_distance_stands_beside_hard_labels_weighted(kind, term, beta):
    model, method, batch = built(kind)
    out, progress = model.forward_features(batch.x), Progress(0, 0, 1, 1)
    terms = method.terms(model, out, batch, progress)
    assert set(terms) == {"task", term} and method.beta == beta
    assert terms["task"].item() == pytest.approx(
        paper.cross_entropy(out.logits.detach().double().numpy(), batch.y.numpy()), 1e-5
    )
    assert terms[term].item() == pytest.approx(
        beta * method.distance(out, method.teacher.forward_features(batch.x)).item(), 1e-5
    )
    assert method.distance.variance is None, "the variance branch belongs to SFR's versions"


@pytest.mark.parametrize(
    ("kind", "beside", "options"), [(SFRL2, L2, {}), (SFRAT, AT, {"last": 4}), (SFRFitNet, FitNet, {"last": 2})]
)
@pytest.mark.parametrize("variance", [True, False])
@pytest.mark.equation("sfr-l2", "sfr-at", "sfr-fitnet")
def test_sfr_with_a_teacher_is_the_two_methods_together(kind, beside, options, variance):
    """The same first weights, terms and gradients, of a network and of what stands around it, also when a knob is turned."""

    def after_a_step(make):
        torch.manual_seed(0)
        model, teacher = four_stage(5, width=8), four_stage(5, width=16)
        method = make(model.train(), teacher).train()
        batch = Batch(torch.randn(6, 3, 16, 16), torch.arange(6) % 5, torch.arange(6))
        with torch.no_grad():
            method.remember(model.forward_features(batch.x), batch, Progress(0, 0, 2, 1))
        for knob in method.knobs:
            if knob.rpartition(".")[2] in ("beta", "epsilon"):
                setattr(method, knob, 0.7 if knob.endswith("beta") else 0.3)
        terms = method.terms(model, model.forward_features(batch.x), batch, Progress(1, 1, 2, 1))
        sum(terms.values()).backward()
        gradients = [p.grad for p in model.parameters()]
        scaffolding = {n.removeprefix("methods.0.").removeprefix("methods.1."): p.grad for n, p in method.named_parameters()}
        return terms, gradients, scaffolding, method

    def both(model, teacher):
        other = beside(model, teacher=teacher, variance=variance, **options)
        return Combined(SFR(model, train_size=20), other)

    given = {} if variance else {"variance": False}
    *preset, method = after_a_step(lambda model, teacher: kind(model, teacher=teacher, train_size=20, **given))
    *parts, _ = after_a_step(both)
    assert preset[0].keys() == {"task", "emd", beside.term}
    torch.testing.assert_close(preset, parts)
    assert (method.distance.variance is not None) == variance
    assert not any(k.startswith("teacher") for k in method.state_dict())


def test_as_many_stages_are_compared_as_both_networks_have():
    three, four = cifar_resnet(20, 5), four_stage(5, width=8)
    assert AT(four, teacher=three).distance.stages == [-3, -2, -1]
    assert AT(four, teacher=four_stage(5, width=16)).distance.stages == [-4, -3, -2, -1]
    out, taught = four.forward_features(torch.randn(4, 3, 32, 32)), three.forward_features(torch.randn(4, 3, 32, 32))
    assert torch.isfinite(AT(four, teacher=three).distance(out, taught)), "maps of 16 and 32 pixels meet at 16"
    for kind in (AT, FitNet):
        with pytest.raises(ValueError, match="from the end: at least 1, got 0"):
            kind(four, teacher=three, last=0)
        with pytest.raises(TypeError, match="the teacher must show its stages, .* got Linear"):
            kind(four, teacher=nn.Linear(3, 5))
    with pytest.raises(TypeError, match="the teacher must show its stages"):
        L2(four, teacher=nn.Linear(3, 5))


# inspection and solvers


def stages_of(method_options=None, b=4):
    torch.manual_seed(0)
    model = four_stage(5, width=8)
    return model, SFR(model, train_size=20, **(method_options or {})), torch.randn(b, 3, 32, 32)


def test_an_inspection_is_what_the_loss_sees_and_leaves_no_trace():
    model, method, x = stages_of()
    model.train(), method.train()
    out = model.forward_features(x)
    before, memory = copy.deepcopy(method.state_dict()), dict(method.memory)
    seen = method.inspect(out)
    assert method.training and memory == method.memory
    assert all(torch.equal(before[k], v) for k, v in method.state_dict().items() if isinstance(v, torch.Tensor))
    method.eval()
    assert torch.allclose(seen.distance, method.distances(out.stages), atol=1e-6)
    assert torch.equal(seen.weight, method.weights(out.stages))
    assert seen.plan.shape == seen.cost.shape == (3, 4, 16, 16) and seen.error.shape == (3,)
    assert torch.allclose(seen.plan.sum((2, 3)), torch.ones(3, 4), atol=0.01) and (seen.error < 0.01).all()
    assert not seen.distance.requires_grad
    again = method.inspect(out)
    assert all(torch.equal(a, b) for a, b in zip(seen, again, strict=True))


def test_the_exact_solver_is_the_linear_program_and_meets_its_marginals():
    g = torch.Generator().manual_seed(0)
    cost = torch.rand(3, 6, 5, generator=g)
    a, b = torch.rand(3, 6, generator=g).softmax(1), torch.rand(3, 5, generator=g).softmax(1)
    plan = exact_plan(cost, a, b)
    for i in range(3):
        exact = paper.exact_emd(*(t.double().numpy() for t in (cost[i], a[i], b[i])))
        assert (plan[i] * cost[i]).sum().item() == pytest.approx(exact, abs=1e-6)
    assert torch.allclose(plan.sum(2), a, atol=1e-6) and torch.allclose(plan.sum(1), b, atol=1e-6) and (plan >= 0).all()


def test_the_default_of_training_is_within_15_percent_of_the_exact_distance_before_and_after_training():
    from sdkit.data import DATASETS
    from sdkit.train import Recipe, fit

    torch.manual_seed(0)
    data = DATASETS["digits"](train_size=200)
    model = four_stage(10, width=8)
    fast, x = SFR(model, train_size=200), torch.nn.functional.interpolate(data.normalised(data.test.x[:6]), size=32)
    exact = SFR(model, train_size=200, solver="exact")
    for epochs in (0, 6):
        if epochs:
            list(fit(model, fast, data, Recipe(epochs=epochs, batch_size=32, lr=0.05), on="cpu"))
        exact.load_state_dict(fast.state_dict())
        with torch.no_grad():
            out = model.eval().forward_features(x)
        ours, best = fast.inspect(out), exact.inspect(out)
        assert ours.error.max() < 0.01 and best.error.max() < 1e-6
        assert (ours.distance - best.distance).abs().mean() < 0.15 * best.distance.mean()


def test_sfr_refuses_solvers_that_are_not_there():
    for options, said in (({"solver": "lp"}, "'sinkhorn' or 'exact', got 'lp'"), ({"iterations": 0}, "at least one iteration")):
        with pytest.raises(ValueError, match=said):
            stages_of(options)


# verdicts


def test_verdicts_say_what_the_numbers_allow():
    names = ["stage 1", "stage 2"]
    assert verdicts.every_map_named(["stage 1\n8", "stage 2\n16", "stage 3"], names, "stage 3").held
    missing = verdicts.every_map_named(["stage 1"], names, "stage 3")
    assert missing.held is False and "stage 2, stage 3" in missing.measured

    assert verdicts.near_exact([0.11, 0.1], [0.1, 0.1], 1e-3).held
    assert verdicts.near_exact([0.2, 0.1], [0.1, 0.1], 1e-3).held is False
    assert verdicts.near_exact([0.1], [0.1], 0.1).held is False, "a plan that does not move everything is no distance"

    far = {"kd": [0.5], "at": [0.4], "l2": [0.6], "fitnet": [0.3], "sfr-at": [0.6], "sfr-l2": [0.9], "sfr-fitnet": [0.5]}
    assert (
        verdicts.improves(far, 1000).held and verdicts.best_with_teacher(far, 1000).held and verdicts.l2_leads(far, 1000).held
    )
    assert verdicts.improves(far | {"sfr-at": [0.41]}, 100).held is None
    assert verdicts.improves(far | {"sfr-at": [0.1]}, 1000).held is False
    assert verdicts.l2_leads(far | {"at": [0.7]}, 1000).held is False
    guided = far | {"student": [0.5]}
    assert verdicts.l2_leads(guided | {"teacher": [0.6]}, 1000).held
    assert verdicts.l2_leads(guided | {"teacher": [0.4]}, 1000).held is None, "a teacher that knows less shows nothing"

    assert verdicts.nothing_added(("a", "a"), (5, 5), (7, 7), 1.01).held
    assert verdicts.nothing_added(("a", "a"), (5, 5), (7, 7), 1.5).held is None
    assert verdicts.nothing_added(("a", "b"), (5, 5), (7, 7), 1.0).held is False

    exits = {"1/2": 0.5, "2/2": 0.9}
    assert verdicts.runs_at_depths(exits, {"1/2": 10, "2/2": 20}, 1000, 10).held
    assert verdicts.runs_at_depths(exits, {"1/2": 30, "2/2": 20}, 1000, 10).held is False
    assert verdicts.runs_at_depths({"1/2": 0.11, "2/2": 0.9}, {"1/2": 10, "2/2": 20}, 100, 10).held is None


def test_every_method_of_the_papers_tables_that_is_run_is_found_in_them():
    printed = {row["method"] for row in papers.table("sfr_table1")}
    assert {"AT", "L2", "FitNet", "SFR-AT", "SFR-L2", "SFR-FitNet"} <= printed
    assert {"at", "l2", "fitnet", "sfr-at", "sfr-l2", "sfr-fitnet"} <= METHODS.keys()
    assert all(issubclass(METHODS[m], Method) for m in ("at", "sfr-at"))


# figures

STAGES = [("stage 1", 16, 32), ("stage 2", 32, 16), ("stage 3", 64, 8), ("stage 4", 128, 4)]


def overview(stages=STAGES):
    n = len(stages) - 1
    fig, ax = figures.new(width=11, height=4.6)
    figures.self_features(ax, stages, [1 / n] * n, [0.5] * n, cells=4)
    return fig


def plan():
    fig, ax = figures.new(width=5, height=4)
    figures.transport_plan(torch.rand(16, 16), ax, "stage 1, EMD 0.31")
    return fig


def along():
    fig, ax = figures.new()
    figures.along_stages({n: [0.3, 0.5, 0.2] for n, *_ in STAGES[:-1]}, ax, "attention", even=1 / 3)
    return fig


def label_map():
    fig, ax = figures.new(width=6, height=3.6)
    figures.wrong_classes(torch.rand(12, 10).softmax(1), 3, [f"class {k}" for k in range(10)], ax)
    return fig


def rows():
    fig, ax = figures.new(width=8, height=3.4)
    figures.variants({"SFR": [0.8, 0.82], "labels: hard": [0.7, 0.75], "attention: uniform": [0.79, 0.81]}, ax, "SFR")
    return fig


GALLERY = {
    "overview": overview,
    "overview of three": lambda: overview(STAGES[1:]),
    "overview of two": lambda: overview(STAGES[2:]),
    "plan": plan,
    "along": along,
    "labels": label_map,
    "variants": rows,
}


@pytest.mark.parametrize("name", GALLERY)
def test_every_figure_draws_without_a_warning_and_all_its_words_can_be_read(name):
    assert on_screen(GALLERY[name])[1] == []


@pytest.mark.parametrize("name", GALLERY)
def test_every_figure_can_be_read_in_a_column(name):
    assert illegible(GALLERY[name], "column") == []


def test_the_overview_names_every_stage_of_the_network_that_it_is_given():
    words = [t.get_text() for t in overview().axes[0].texts]
    assert verdicts.every_map_named(words, [n for n, *_ in STAGES[:-1]], "stage 4").held
    fig, ax = figures.new()
    with pytest.raises(ValueError, match="3 shallower stages need as many weights"):
        figures.self_features(ax, STAGES, [0.5, 0.5], [0.1] * 3, 4)
    with pytest.raises(ValueError, match="got 3 columns and 2 classes"):
        figures.wrong_classes(torch.rand(4, 3), 0, ["a", "b"], ax)


def test_the_right_class_is_masked_out_of_the_map_of_wrong_ones():
    shown = label_map().axes[0].images[0].get_array()
    assert shown.mask[3].all() and not shown.mask[[0, 1, 2, 4, 5]].any()


def test_of_a_hundred_classes_the_map_shows_those_that_get_the_most():
    labels = torch.full((5, 100), 1e-3)
    labels[:, 70] = 0.5
    fig, ax = figures.new(width=7, height=3.8)
    figures.wrong_classes(labels, 99, [f"class {k}" for k in range(100)], ax)
    rows = [t.get_text() for t in ax.get_yticklabels()]
    assert len(rows) == 20 and {"class 70", "class 99"} <= {*rows}
    assert ax.images[0].get_array().mask[rows.index("class 99")].all()
    assert not unreadable(fig)
