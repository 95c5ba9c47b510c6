"""What no paper prints and every result depends on: what is constant, who is paired with whom, what a skipped block gets."""

from __future__ import annotations

import numpy as np
import paper
import pytest
import torch
from paper import gaussian
from taught import seen
from tiny import bare, build, built, case, leaves, sfr

from sdkit.core import Batch, Features, Progress
from sdkit.data import DATASETS
from sdkit.losses import cross_reference, ground_cost, kd, marginal_error, sinkhorn_plan, target_kl
from sdkit.methods import BYOT, DML, DRG, DSR, ONE, DarkRank, FitNet, OKDDip, SelfGuidance, Vanilla
from sdkit.methods.sfr import LIKENESS, exact_plan
from sdkit.methods.sfr_teacher import attention_map, squared
from sdkit.models import four_stage, residuals
from sdkit.train import Recipe, Training, fit

NOW = Progress(0, 1, 2, 4)


def out_of(z):
    return Features(torch.as_tensor(z), None, ())


def labelled(y):
    return Batch(None, torch.as_tensor(y), None)


# under autocast layers give 16 bits, and what a loss makes of them is computed in 32


class Half(torch.nn.Module):
    """A layer as autocast leaves its output."""

    def forward(self, x):
        return x.bfloat16()


def rough(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def test_distances_of_maps_and_their_variances_are_in_float32():
    student, teacher, said = rough(4, 9), rough(4, 9, seed=1), rough(4, 9, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        found = squared(student, teacher, said)
        attended = attention_map(rough(4, 6, 3, 3))
    assert found.dtype == attended.dtype == torch.float32
    assert torch.equal(found, squared(student.float(), teacher.float(), said.float()))
    assert torch.equal(attended, attention_map(rough(4, 6, 3, 3).float()))


@pytest.mark.parametrize("attention", ["learned", "afd", "cosine"])
def test_the_attention_of_sfr_is_in_float32(attention):
    _, method = sfr(attention=attention)
    method.lift = torch.nn.ModuleList([Half()] * 3)
    if attention != "cosine":
        method.query, method.keys = Half(), torch.nn.ModuleList([Half()] * 3)
        method.bilinear = Half()
    stages = [rough(4, 8, 2, 2, seed=i) for i in range(4)]
    with torch.autocast("cpu", torch.bfloat16):
        found = method.weights(stages)
    *keys, query = torch.stack([f.mean((2, 3)) for f in stages]).float()
    near = [(k.relu() if attention == "afd" else k) @ query.T / 8**0.5 for k in keys]
    if attention == "cosine":
        means = [f.flatten(2).float().mean(2) for f in stages]
        near = [torch.diag(torch.cosine_similarity(m, means[-1])) / LIKENESS for m in means[:-1]]
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.stack([n.diag() for n in near], 1).softmax(1), atol=1e-6)


def test_the_attention_of_peers_is_in_float32():
    method = OKDDip(four_stage(5, width=4))
    method.query = method.key = Half()
    embeddings = [0.2 * rough(4, 32, seed=i) for i in range(3)]  # no peer is far nearer than another
    with torch.autocast("cpu", torch.bfloat16):
        found = method.attention(embeddings)
    f = torch.stack(embeddings, 1).float()
    assert found.dtype == torch.float32 and torch.allclose(found, (f @ f.mT).softmax(2), atol=1e-6)


# distillation: float32 holds what T^2 multiplies


@pytest.mark.parametrize("temperature", [1.0, 4.0, 100.0, 1e4])
def test_kd_is_that_of_float64_at_any_temperature(temperature):
    g = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, 32, 100, generator=g)
    small, exact = student.clone().requires_grad_(), student.double().requires_grad_()
    said, true = kd(small, teacher, temperature), kd(exact, teacher.double(), temperature)
    said.backward(), true.backward()
    assert said.dtype == small.grad.dtype == torch.float32
    assert said.item() == pytest.approx(true.item(), rel=1e-6)
    assert torch.allclose(small.grad.double(), exact.grad, rtol=1e-5, atol=1e-9)
    if temperature == 1e4:  # Hinton et al. 2015, Eq. 4: half the squared difference of the centred logits, over K
        centred = [z.double() - z.double().mean(1, keepdim=True) for z in (student, teacher)]
        assert said.item() == pytest.approx(((centred[0] - centred[1]).square().sum(1) / 200).mean().item(), rel=1e-3)


def test_the_label_against_the_rest_is_that_of_float64_too():
    g = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, 32, 100, generator=g)
    y = torch.arange(32)
    said, true = (1e8 * target_kl(s, t, y, 1e4) for s, t in ((student, teacher), (student.double(), teacher.double())))
    assert said.dtype == torch.float32 and said.item() == pytest.approx(true.item(), rel=1e-5)


# stochastic depth


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_block_that_was_skipped_goes_on_by_its_momentum_and_decay(optimizer):
    """Huang et al. step every weight, with gradient 0 where the pass left it out."""
    torch.manual_seed(0)
    data = DATASETS["digits"](train_size=64)
    model = four_stage(10, width=4, survival=0.5)
    training = Training(model, Vanilla(), data, Recipe(4, 16, 0.05, optimizer=optimizer, weight_decay=0.01), on="cpu")
    block, batches = residuals(model)[-1], iter(training.loader)
    weight = block.branch[0].weight
    block.forced = True
    training._step(next(batches), Progress(0, 0, 4, 4))
    block.forced, before = False, weight.detach().clone()
    state = training.optimiser.state[weight]
    if optimizer == "sgd":
        momentum, recipe = state["momentum_buffer"].clone(), training.recipe
        training._step(next(batches), Progress(0, 1, 4, 4))
        buffer = recipe.momentum * momentum + recipe.weight_decay * before
        step = recipe.momentum * buffer + recipe.weight_decay * before  # Nesterov's, of gradient 0
        assert torch.allclose(weight.detach(), before - recipe.lr * step, atol=1e-7)
    else:
        training._step(next(batches), Progress(0, 1, 4, 4))
        assert state["step"] == 2
    assert not torch.equal(weight, before)
    assert not weight.grad.any()


def test_a_peers_skipped_blocks_go_on_as_well():
    model = four_stage(10, width=4, survival=0.5)
    method = DML(model)
    training = Training(model, method, DATASETS["digits"](train_size=64), Recipe(1, 16, 0.05), on="cpu")
    own = {id(p) for p in training.sampled}
    for net in (model, *method.peer_networks().values()):
        assert {id(p) for p in net.sampled_parameters()} <= own and net.sampled_parameters()


@pytest.mark.parametrize("kind", [ONE, OKDDip])
def test_a_branchs_skipped_blocks_go_on_as_well(kind):
    """A branch is no whole network, and its blocks are sampled as the network's are."""
    model = four_stage(10, width=4, survival=0.5)
    method = kind(model)
    training = Training(model, method, DATASETS["digits"](train_size=64), Recipe(1, 16, 0.05), on="cpu")
    within = [p for block in residuals(method) for p in block.branch.parameters()]
    wanted = {*map(id, within), *map(id, model.sampled_parameters())}
    assert within and {*map(id, training.sampled)} == wanted and len(training.sampled) == len(wanted)


def test_a_network_without_stochastic_depth_has_nothing_to_fill_up():
    assert not four_stage(10, width=4).sampled_parameters()
    assert len(four_stage(10, width=4, survival=0.5).sampled_parameters()) > 0


# DSR: who is compared with whom


def steps(method, *batches):
    """The target that a method has after batches, each given as logits and whether it ended its epoch."""
    for z, ends in batches:
        method.remember(out_of(z), None, Progress(0, 3 if ends else 1, 2, 4))
    return method.ranked_target(out_of(batches[0][0]), Progress(1, 4, 2, 4))


def test_the_short_batch_that_ends_an_epoch_is_no_target():
    whole, short, longer = case(6, seed=0)[0], case(1, seed=1)[0], case(7, seed=2)[0]
    model = four_stage(5, width=8)
    kept = steps(DSR(model), (whole, False), (short, True)).logits
    assert torch.equal(kept, torch.as_tensor(whole).sort(1).values), "the last whole batch stays"
    assert len(steps(DSR(model), (longer, True), (whole, False)).logits) == 6, "a batch that one image joined is replaced"
    z, y, _ = case(6, seed=3)
    method = DSR(model)
    steps(method, (whole, False), (short, True))
    said = method.terms(None, out_of(z), labelled(y), Progress(1, 4, 2, 4))["sr"].item()
    assert said == pytest.approx(paper.dsr(z, whole, y, 1.0, 4.0)["sr"])


def test_the_mean_of_a_batch_pulls_as_all_of_its_images_do():
    (before, *_), (z, y, _) = case(5, seed=0), case(4, seed=1)
    method = DSR(four_stage(5, width=8), pair="mean")
    method.remember(out_of(before), None, NOW)
    (a,) = leaves(z)
    method.terms(None, out_of(a), labelled(y), NOW)["sr"].backward()
    all_pairs = lambda v: np.mean([paper.dsr(v, before[[i] * 4], y, 1.0, 4.0)["sr"] for i in range(5)])  # noqa: E731
    assert a.grad.numpy() == pytest.approx(paper.numeric_gradient(all_pairs, z), abs=1e-7)
    with pytest.raises(KeyError, match="no way to pair two batches is called 'random'"):
        DSR(four_stage(5, width=8), pair="random")


def test_dsr_without_detaching_asks_the_last_batch_again_and_pulls_both_sides():
    torch.manual_seed(0)
    model = four_stage(5, width=8).train()
    x, y = torch.randn(2, 6, 3, 16, 16), torch.arange(6) % 5
    method = DSR(model, detach=False)
    first = Batch(x[0], y, torch.arange(6))
    method.remember(model.forward_features(x[0]), first, NOW)
    given = leaves(case(6, seed=1)[0])[0].float().detach()  # constant: what is pulled is the other side
    statistics = {n: b.clone() for n, b in model.named_buffers() if "running" in n}
    method.terms(model, out_of(given), Batch(x[1], y, None), NOW)["sr"].backward()
    assert model.classifier.weight.grad.any()
    assert all(torch.equal(b, model.get_buffer(n)) for n, b in statistics.items())
    assert "x" not in DSR(model).memory


# what else is constant, and what it does when it is not


def test_byot_without_detaching_pulls_the_deepest_too():
    (z1, y, f1), (z2, _, f2) = case(seed=0), case(seed=1)
    a1, a2, g1, g2 = leaves(z1, z2, f1, f2)
    method = bare(BYOT, [(a1, g1)], detach=False, lam=0.01)
    terms = method.terms(None, Features(a2, g2, (None,) * 4), labelled(y), NOW)
    (terms["kd"] + terms["hint"]).backward()
    of = lambda z, f: paper.byot([z1, z], [f1, f], y, 0.3, 0.01, 3.0)  # noqa: E731
    assert a2.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: of(v, f2)["kd"], z2), abs=1e-7)
    assert g2.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: of(z2, v)["hint"], f2), abs=1e-7)


def test_byots_hint_has_a_weight_for_every_exit():
    (z1, y, f1), (z2, _, f2), (z3, _, f3) = (case(seed=s) for s in range(3))
    heads = [tuple(map(torch.tensor, pair)) for pair in ((z1, f1), (z2, f2))]
    out = Features(torch.tensor(z3), torch.tensor(f3), (None,) * 4)

    def hint(hints):
        return bare(BYOT, heads, hints=hints).terms(None, out, labelled(y), NOW)["hint"].item()

    assert hint((0, 2, 1)) == pytest.approx(2 * paper.byot([z2, z3], [f2, f3], y, 0.3, 1e-4, 3.0)["hint"])
    assert hint((0, 0, 1)) == 0
    assert hint(None) == hint((1, 1, 1))
    with pytest.raises(ValueError, match="one for each of the 3 shallower exits, got"):
        BYOT(four_stage(5, width=8), hints=(1, 1))


def test_drg_and_self_guidance_without_detaching_pull_the_teacher_too():
    (z, y, _), (s, *_) = case(seed=0), case(seed=1)
    a, b = leaves(z, s)
    bare(DRG, [(b, b)], detach=False).terms(None, Features(a, None, (None,) * 4), labelled(y), NOW)["rg"].backward()
    printed = paper.numeric_gradient(lambda v: paper.drg(z, [v], y, 0.2, 1.0)["rg"], s)
    assert b.grad.numpy() == pytest.approx(printed, abs=1e-7)

    model = four_stage(5, width=8, survival=0.5)
    for options, of in (({}, lambda t: paper.kl(t, z, 3.0)), ({"reverse": True}, lambda t: paper.kl(z, t, 3.0))):
        (t,) = leaves(s)
        model.forward_features = lambda x: out_of(z)
        method = SelfGuidance(model, detach=False, **options)
        method.terms(model, Features(t, None, ()), labelled(y), NOW)["kd"].backward()
        printed = paper.numeric_gradient(lambda v, of=of: 0.25 * 9 * of(v), s)
        assert t.grad.numpy() == pytest.approx(printed, abs=1e-7)
    with pytest.raises(ValueError, match="teacher_learns=False forbids it"):
        SelfGuidance(four_stage(5, width=8, survival=0.5), detach=False, teacher_learns=False)


# CRD: the bank


def test_the_bank_takes_what_the_step_compared_not_what_the_step_made_of_it():
    method, out, batch = seen(momentum=0.0)
    method.terms(None, out, batch, NOW)
    with torch.no_grad():
        said = {"student": method.student(out.embedding), "teacher": method.taught(method.teacher.given.embedding)}
        for p in method.parameters():
            p.add_(1.0)  # the optimiser's step
        method.remember(out, batch, NOW)
    for side, v in said.items():
        assert torch.allclose(
            method.memory[side][batch.index], torch.nn.functional.normalize(v).to(method.memory[side]), atol=1e-6
        )


# FitNet and DarkRank: options of public code


def test_fitnets_hint_may_be_the_middle_stage_and_end_with_a_relu():
    model, method, batch = built(FitNet, stages=(2,), relu=True)
    out, told = model.forward_features(batch.x), method.teacher.forward_features(batch.x)
    mine = method.distance.regressor[0](out.stages[1]).relu().detach().numpy()
    assert method.distance.stages == [1]
    assert method.distance(out, told).item() == pytest.approx(gaussian(mine, told.stages[1].numpy()), rel=1e-5)
    assert built(FitNet)[1].distance.stages == [-1]
    with pytest.raises(ValueError, match=r"from 1 to 4 without repeats, got \(5,\)"):
        built(FitNet, stages=(5,))


def test_ranks_of_embeddings_as_they_are_depend_on_their_size():
    _, method, _ = built(DarkRank)
    s, t = torch.randn(2, 6, 4, dtype=torch.float64)
    rank = lambda scale: method.relations(scale * s, t)["rank"].item()  # noqa: E731
    assert rank(0.1) == pytest.approx(rank(1.0))
    method.unit = False
    assert rank(0.1) != pytest.approx(rank(1.0), rel=0.1)
    assert not built(DarkRank, unit=False)[1].unit


# SFR: plans in any unit


def clouds():
    """Pairs of sets of local vectors [6, 16, 32]: apart, of one direction, the same."""
    g = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 6, 16, 32, generator=g)
    centre = torch.randn(6, 1, 32, generator=g).relu() + 0.5
    return {
        "apart": (u.relu() + 0.3, v.relu() + 0.3),
        "far apart": (5 * u, 5 * v),
        "one direction": (centre + 0.1 * u, centre + 0.1 * v),
        "nearly the same": (u + 0.05 * v, u),
        "the same": (centre + 0.1 * u, centre + 0.1 * u),
    }


@pytest.mark.parametrize("cost", ["l2", "raw l2"])
@pytest.mark.parametrize("name", clouds())
def test_a_plan_nears_the_linear_program_and_its_marginals_whatever_the_cost_is_measured_in(name, cost):
    u, v = clouds()[name]
    table = ground_cost(u, v) if cost == "l2" else torch.cdist(u, v).square()
    a, b = cross_reference(u, v), cross_reference(v, u)
    plan, exact = sinkhorn_plan(table, a, b), exact_plan(table, a, b)
    gap = ((plan - exact) * table).sum((1, 2)).abs() / table.mean((1, 2))
    assert marginal_error(plan, a, b) < (0.02 if name == "nearly the same" else 0.01)
    assert gap.max() < 0.05
    assert torch.allclose(plan, sinkhorn_plan(1000 * table, a, b), atol=1e-5), "a plan knows no unit"


def test_less_entropy_is_nearer_to_the_linear_program_and_is_said_by_name():
    maps = [torch.randn(4, 8, 4, 4), torch.randn(4, 16, 4, 4), torch.randn(4, 32, 4, 4), torch.randn(4, 64, 4, 4)]
    exact = sfr(solver="exact")[1].distances(maps)
    apart = [(sfr(entropy=e, iterations=200)[1].distances(maps) - exact).abs().mean().item() for e in (0.2, 0.05, 0.01)]
    assert apart[0] > 2 * apart[1] > 4 * apart[2]
    with pytest.raises(ValueError, match="share of the mean cost above 0"):
        sfr(entropy=0)


def test_a_centred_cost_is_blind_to_what_all_channels_share():
    method = sfr(cost="centred l2")[1]
    u, v = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    cost, _, _ = method.transport(u, v)
    for i, j in np.ndindex(6, 6):
        assert cost[0, i, j].item() == pytest.approx(2 - 2 * np.corrcoef(u[0, i], v[0, j])[0, 1])
    assert torch.allclose(cost, method.transport(u + 3, v - 1)[0])


def test_attention_as_afd_has_it_is_its_formula_and_learns():
    model, method = sfr(attention="afd", detach_attention=False)
    model.train(), method.eval()
    x = torch.randn(6, 3, 16, 16)
    out = model.forward_features(x)
    torch.nn.init.normal_(method.place)
    *shallow, deep = (f.mean((2, 3)) for f in out.stages)
    query, scores = method.query(deep), []
    for stage, (key, f) in enumerate(zip(method.keys, shallow, strict=True)):
        scores.append((method.bilinear(key(f).relu()) * query).sum(1) / 128**0.5 + method.place[stage])
    assert torch.allclose(method.weights(out.stages), torch.stack(scores, 1).softmax(1), atol=1e-6)
    batch = Batch(x, torch.arange(6) % 5, torch.arange(6))
    sum(method.train().terms(model, out, batch, Progress(0, 0, 2, 1)).values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in method.parameters())


def test_the_last_map_is_constant_in_the_distance_and_in_the_query():
    for attention in ("learned", "afd", "cosine", "uniform"):
        model, method = sfr(attention=attention, detach_attention=False)
        stages = [s.detach().requires_grad_() for s in model.forward_features(torch.randn(4, 3, 16, 16)).stages]
        (method.weights(stages) * method.distances(stages)).sum().backward()
        assert stages[-1].grad is None


# labels


def test_what_a_training_cannot_take_is_said_at_the_door():
    digits, model = DATASETS["digits"](train_size=32), four_stage(10, width=4)
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    tensors = (digits.train.x, digits.train.y), (digits.test.x, digits.test.y)
    for parts, said in (
        ((plain, Vanilla(), digits), r"shows its stages, .* got a Sequential: say Backbone.adapt\(network\)"),
        ((model, Vanilla, digits), r"a method is built around the network, .* got Vanilla"),
        ((model, "byot", digits), r"a method is built around the network, .* got 'byot'"),
        ((model, Vanilla(), tensors), r"got a tuple: say as_data\(yours\), or Experiment\(data=yours\)"),
    ):
        with pytest.raises(TypeError, match=said):
            fit(*parts, Recipe(1, 16, 0.05))
    plain.forward_features = plain.forward  # as timm's networks have it: one tensor
    with pytest.raises(TypeError, match=r"shows its stages, .* got a Sequential"):
        [*fit(plain, Vanilla(), digits, Recipe(1, 16, 0.05), on="cpu")]


@pytest.mark.parametrize("wrong", [-100, 10])
def test_an_image_without_a_label_is_refused_at_the_door_and_in_fit(wrong):
    data, model = DATASETS["digits"](train_size=64), four_stage(10, width=4)
    y = data.train.y.clone()
    y[3] = wrong
    with pytest.raises(ValueError, match=f"train of digits has the label {wrong}, expected are 0 to 9"):
        type(data)(**{**data.__dict__, "train": data.train._replace(y=y)})
    data.train.y[3] = wrong  # after the door
    with pytest.raises(ValueError, match=f"labels are 0 to 9, got {wrong}: leave out images without a label"):
        list(fit(model, Vanilla(), data, Recipe(1, 16, 0.05), on="cpu"))


# other second passes


def test_dlbs_second_pass_moves_the_running_statistics_and_says_so():
    model, method, data = build("dlb")
    first, second, *_ = data.batches(32, pair=method.pair)
    method.remember(model.train().forward_features(first.x), first, NOW)
    out = model.forward_features(second.x)
    before = [b.clone() for b in model.buffers()]
    method.terms(model, out, second, NOW)
    assert not all(map(torch.equal, before, model.buffers()))
    assert "running statistics" in type(method).__doc__
