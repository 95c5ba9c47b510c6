"""Every analysis against its definition in plain NumPy, and the manners that all of them share."""

from __future__ import annotations

import copy
import math
import re
import sys
import time

import numpy as np
import plain_analysis as plain
import pytest
import torch
import torch.nn.functional as F
from manners import K, batch_of, ce, images, network, numbers, same, state
from torch import nn

from sdkit.analysis import (
    SPACES,
    NoiseCurve,
    calibration,
    collect_features,
    compare_times,
    count,
    exit_costs,
    forward_flops,
    grad_cam,
    gradient_statistics,
    host_syncs,
    last_convolution,
    noise_tolerance,
    on_object,
    operations,
    overlap,
    pearson,
    project_pca,
    project_tsne,
    ranked_along,
    ranked_output_variance,
    ranked_top,
    relative_time,
    selective_risk,
    separation,
    step_costs,
    time_per_iteration,
    tolerance,
)
from sdkit.core import Progress
from sdkit.methods import BYOT, DRG, Exit
from sdkit.models import four_stage

CLOCK = Progress(0, 0, 1, 10)


# ranked outputs


@pytest.mark.parametrize("space", SPACES)
def test_ranked_variance_is_the_mean_over_ranks_of_the_variance_over_images(space):
    z = 3 * numbers(11, 6)
    assert float(ranked_output_variance(z, space)) == pytest.approx(plain.ranked_variance(z.numpy(), space), rel=1e-12)
    assert float(ranked_output_variance(z, space, root=True)) == pytest.approx(
        plain.root_mean_squared_distance(z.numpy(), space), rel=1e-12
    )


@pytest.mark.parametrize("space", SPACES)
def test_ranked_variance_is_blind_to_the_names_of_classes(space):
    z = numbers(9, 6)
    shuffled = torch.stack([row[torch.randperm(6, generator=torch.Generator().manual_seed(i))] for i, row in enumerate(z)])
    assert float(ranked_output_variance(shuffled, space)) == pytest.approx(float(ranked_output_variance(z, space)), rel=1e-12)


def test_a_row_of_equal_logits_has_no_shape_and_no_nan():
    assert float(ranked_output_variance(torch.ones(4, 3), "standardised")) == 0


def test_when_logits_grow_probabilities_fall_raw_logits_rise_and_standardised_ones_stay():
    y = torch.arange(200) % 10
    z = 4 * F.one_hot(y, 10) + numbers(200, 10)
    outputs = torch.stack([s * z for s in (1, 2, 3, 5, 8)])
    along = ranked_along(outputs, torch.tensor([0.2, 0.4, 0.5, 0.6, 0.65]))
    assert (along.variance["probabilities"].diff() < 0).all() and (along.variance["logits"].diff() > 0).all()
    assert torch.allclose(along.variance["standardised"], along.variance["standardised"][:1], rtol=1e-9)
    assert along.pearson["probabilities"] < -0.7 and along.pearson["logits"] > 0.7  # the claim of paper 004 reverses
    assert along.spearman["probabilities"] == pytest.approx(-1) and along.spearman["logits"] == pytest.approx(1)


def test_pearson_by_hand_and_by_loops():
    # deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 * 2)
    assert pearson(torch.tensor([1.0, 2, 3]), torch.tensor([0.0, 2, 1])) == pytest.approx(0.5, abs=1e-15)
    a, b = numbers(8, seed=2), numbers(8, seed=3)
    assert pearson(a, b) == pytest.approx(plain.pearson(a.tolist(), b.tolist()), rel=1e-12)
    assert math.isnan(pearson(torch.ones(4), torch.arange(4.0))) and math.isnan(pearson(torch.ones(0), torch.ones(0)))


def test_along_training_is_every_epochs_own_variance():
    outputs, accuracy = (2 * numbers(4, 9, 5)).half(), torch.tensor([0.1, 0.5, 0.4, 0.7])
    along = ranked_along(outputs, accuracy, torch.tensor([0, 2, 4, 10]))
    assert along.progress.tolist() == [0, 0.2, 0.4, 1]
    for space in SPACES:
        v = [plain.ranked_variance(z.double().numpy(), space) for z in outputs]
        assert along.variance[space].tolist() == pytest.approx(v, rel=1e-9)
        assert along.pearson[space] == pytest.approx(plain.pearson(v, accuracy.tolist()), rel=1e-6)
        assert along.pearson_without_first[space] == pytest.approx(plain.pearson(v[1:], accuracy[1:].tolist()), rel=1e-6)
        assert along.spearman[space] == pytest.approx(plain.pearson(range(4), [sorted(v).index(u) for u in v]), abs=1e-12)


def test_ranked_top_by_hand():
    p = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25]], dtype=torch.float64)
    found = ranked_top(p.log(), torch.tensor([2, 1]), top=2)
    assert torch.allclose(found.probability, torch.tensor([[0.6, 0.3], [0.5, 0.25]], dtype=torch.float64))
    assert found.target_rank.tolist() == [1, 1]
    assert found.entropy.tolist() == pytest.approx([-sum(v * math.log(v) for v in row) for row in p.tolist()])
    assert found.max_probability.tolist() == pytest.approx([0.6, 0.5])
    assert ranked_top(p.log(), torch.tensor([2, 1])).probability.shape == (2, 3)  # 30 are asked for, three there


def test_a_certain_answer_has_no_entropy():
    assert ranked_top(torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([0])).entropy.item() == 0


# calibration


def test_calibration_of_four_images_by_hand():
    p = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.75, 0.25], [0.35, 0.65]], dtype=torch.float64)
    found = calibration(p.log(), torch.tensor([0, 1, 0, 1]), bins=10)
    assert found.ece == pytest.approx(0.5 * 0.45 + 0.25 * 0.25 + 0.25 * 0.35)  # 0.375
    assert found.mce == pytest.approx(0.45)
    assert found.nll == pytest.approx(-(math.log(0.95) + math.log(0.05) + math.log(0.75) + math.log(0.65)) / 4)
    assert found.brier == pytest.approx((2 * 0.05**2 + 2 * 0.95**2 + 2 * 0.25**2 + 2 * 0.35**2) / 4)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 0, 2]
    assert found.accuracy[9] == 0.5 and found.confidence[9] == pytest.approx(0.95) and found.confidence[0].isnan()


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_is_its_definition(bins):
    z, y = 2 * numbers(40, 6), torch.arange(40) % 6
    assert calibration(z, y, bins)[:4] == pytest.approx(plain.calibration(z.numpy(), y.tolist(), bins), rel=1e-10)


def test_selective_risk_is_its_definition_and_the_excess_that_over_the_best_order():
    z, y = 2 * numbers(30, 6), torch.arange(30) % 6
    found = selective_risk(z, y)
    curve, aurc, best = plain.selective_risk(z.numpy(), y.tolist())
    assert found.risk.tolist() == pytest.approx(curve) and found.coverage.tolist() == [(i + 1) / 30 for i in range(30)]
    assert found.aurc == pytest.approx(aurc) and found.e_aurc == pytest.approx(aurc - best) and best < aurc
    wrong = found.risk[-1].item()
    assert best == pytest.approx(wrong + (1 - wrong) * math.log(1 - wrong), abs=0.03), "the paper's limit for many images"


def test_who_is_surest_of_what_is_right_has_no_excess_and_who_is_equally_sure_of_all_the_error_itself():
    right, y = torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.zeros(4, dtype=torch.long)
    z = torch.stack([right, torch.zeros(4)], 1)
    z[2:] = z[2:].flip(1)  # the two that it is least sure of are wrong
    assert selective_risk(z, y).e_aurc == 0 < selective_risk(z, y).aurc == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    even = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        assert selective_risk(even[order], y).risk.tolist() == pytest.approx([0.5] * 4), "no order among equals"


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    assert calibration(torch.zeros(1, 2), torch.tensor([0]), bins=2).count.tolist() == [1, 0]


# weight noise


class Recorder(nn.Module):
    """Passes images on and keeps the weights that it did it with."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x):
        logits = self.net(x)
        self.seen.append(({k: v.double().clone() for k, v in self.net.state_dict().items()}, logits.double(), self.training))
        return logits


@pytest.mark.parametrize("relative", [False, True])
def test_noise_is_theta_plus_sigma_xi_on_convolutions_and_linear_layers_alone(relative):
    net, (x, y) = Recorder(network("backbone")), images(20)
    before = {k: v.double().clone() for k, v in net.net.state_dict().items()}
    sigmas = [0.0, 0.01, 0.1]
    curve = noise_tolerance(net, x, y, sigmas, draws=3, relative=relative, seed=4)
    noisy = [f"{n}.weight" for n, m in net.net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    xi = {}
    places = [(0, 0), *((s, r) for s in (1, 2) for r in range(3))]  # without noise one look is enough
    assert (curve.accuracy[0] == curve.accuracy[0, 0]).all() and (curve.loss[0] == curve.loss[0, 0]).all()
    for (s, r), (weights, logits, training) in zip(places, net.seen, strict=True):
        assert not training
        assert curve.accuracy[s, r] == (logits.argmax(1) == y).double().mean()
        assert curve.loss[s, r] == pytest.approx(-logits.log_softmax(1)[range(20), y].mean().item(), rel=1e-6)
        for name, w in weights.items():
            if name not in noisy or s == 0:
                assert torch.equal(w, before[name]), name
                continue
            unit = before[name].numpy().std() if relative else 1.0
            noise = (w - before[name]) / (sigmas[s] * unit)
            assert torch.allclose(xi.setdefault((r, name), noise), noise, atol=1e-3), "draws are common to all sigmas"
    for (r, name), noise in xi.items():
        assert r == 0 or not torch.allclose(xi[0, name], noise, atol=0.1)
    every = torch.cat([noise.flatten() for (r, _), noise in xi.items()])
    assert abs(every.mean()) < 0.01 and every.std() == pytest.approx(1, abs=0.01)


def test_noise_depends_on_its_seed_and_an_exit_shares_its_backbones_noise():
    net, (x, y) = network("backbone"), images()
    curve = noise_tolerance(net, x, y, [0.05], seed=0)
    assert not torch.equal(curve.loss, noise_tolerance(net, x, y, [0.05], seed=1).loss)
    assert torch.equal(curve.loss, noise_tolerance(Exit(net, DRG(net), "final"), x, y, [0.05], seed=0).loss)


def test_batches_change_nothing_but_rounding():
    net, (x, y) = network("backbone"), images(13)
    whole, parts = (noise_tolerance(net, x, y, [0.0, 0.1], batch_size=b) for b in (13, 4))
    assert torch.equal(whole.accuracy, parts.accuracy) and torch.allclose(whole.loss, parts.loss, rtol=1e-5)


def test_tolerance_is_the_share_of_accuracy_kept():
    accuracy = torch.tensor([[0.8, 0.8], [0.5, 0.3], [0.0, 0.0]])  # means 0.8, 0.4, 0; areas 0.6 * 1 + 0.2 * 3
    assert tolerance(NoiseCurve(torch.tensor([0.0, 1, 4]), accuracy, accuracy, False)) == pytest.approx(1.2 / 4 / 0.8)
    flat = torch.full((3, 2), 0.3)
    assert tolerance(NoiseCurve(torch.tensor([0.0, 1, 4]), flat, flat, False)) == pytest.approx(1)


# gradients


def test_gradient_magnitude_by_hand():
    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False))  # d mean(w x) / dw = mean x
    batches = [torch.full((2, 1, 4, 4), 3.0), torch.full((2, 1, 4, 4), -1.0)]
    found = gradient_statistics(net, batches, lambda net, x: net(x).mean())
    assert found.magnitude.tolist() == [2.0] and found.share.tolist() == [1.0] and found.stage == (-1,)


@pytest.mark.parametrize("train", [True, False])
def test_gradient_statistics_are_what_backward_leaves_in_every_convolution(train):
    net, (x, y) = network("backbone"), images(24)
    method = BYOT(net)
    batches = [batch_of(x[:12], y[:12]), batch_of(x[12:], y[12:])]

    def loss(model, batch):
        return sum(method.terms(model, model.forward_features(batch.x), batch, CLOCK).values())

    before = state(method)
    found = gradient_statistics(net, batches, loss, modules=[method], train=train)
    assert same(state(method), before), "the heads' running statistics are put back, too"
    reference, total = copy.deepcopy(net), {}
    method.train(train)
    for batch in batches:
        reference.train(train).zero_grad()
        loss(reference, batch).backward()
        for name, m in reference.named_modules():
            if isinstance(m, nn.Conv2d):
                total[name] = total.get(name, 0) + m.weight.grad.abs().mean().item() / 2
    assert found.layers == tuple(total)
    assert found.magnitude.tolist() == pytest.approx(list(total.values()), rel=1e-4)
    assert found.share.tolist() == pytest.approx([v / sum(total.values()) for v in total.values()], rel=1e-4)


def test_a_layer_knows_its_stage_and_one_that_the_loss_does_not_reach_gets_nothing():
    net, (x, y) = network("drg shallow 2"), images()
    found = gradient_statistics(net, [batch_of(x, y)], ce)
    stage = dict(zip(found.layers, found.stage, strict=True))
    assert stage["model.stem.0"] == -1 and stage["model.stages.0.0.branch.0"] == 0 and stage["model.stages.3.0.skip.0"] == 3
    assert stage["method.heads.0.features.0"] == -1
    for name, s, size in zip(found.layers, found.stage, found.magnitude, strict=True):
        assert (size == 0) == (s in (2, 3)), name  # the shallow exit leaves after stage 2


# features


def test_features_of_batches_are_the_features_of_the_whole():
    net, (x, _) = network("backbone"), images(13)
    method = BYOT(net)
    found = collect_features(lambda x: method.features(net.forward_features(x)), x, batch_size=5, modules=[net, method])
    net.eval()
    method.eval()
    with torch.no_grad():
        expected = method.features(net.forward_features(x))
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[k], expected[k], atol=1e-5) for k in expected)


def test_pca_keeps_the_directions_of_most_variance():
    f = numbers(60, 6) * torch.tensor([9.0, 1, 5, 1, 1, 1])
    found = project_pca(f)
    centred = f - f.mean(0)
    values, vectors = np.linalg.eigh((centred.T @ centred).numpy())
    expected = centred.numpy() @ vectors[:, ::-1][:, :2]
    assert np.allclose(np.abs(found.points.numpy()), np.abs(expected), atol=1e-4)
    assert found.explained.tolist() == pytest.approx((values[::-1][:2] / values.sum()).tolist(), rel=1e-5)


@pytest.mark.parametrize("engine, name", [("openTSNE", "openTSNE"), ("openTSNE-fft", "FIt-SNE"), ("sklearn", "scikit-learn")])
def test_every_t_sne_engine_finds_the_three_clouds_and_says_its_name(engine, name):
    y = torch.arange(150) % 3
    found = project_tsne(numbers(150, 60) + 7 * F.one_hot(y, 60), engine)
    assert found.points.shape == (150, 2) and name in found.engine
    distance = torch.cdist(found.points, found.points).fill_diagonal_(torch.inf)
    assert (y[distance.topk(5, largest=False).indices] == y[:, None]).double().mean() > 0.95


def test_watching_t_sne_does_not_change_it():
    from openTSNE import TSNE

    f, seen = numbers(40, 5), []

    def watch(items):
        for item in items:
            seen.append(item)
            yield item

    whole = TSNE(2, perplexity=5, initialization="pca", random_state=0, negative_gradient_method="bh", neighbors="exact").fit(
        f.numpy()
    )
    assert np.allclose(project_tsne(f, perplexity=5, progress=watch).points.numpy(), np.asarray(whole), rtol=1e-6)
    assert seen == list(range(30))


def test_without_opentsne_the_mend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openTSNE", None)
    with pytest.raises(ImportError, match="pip install openTSNE, or choose engine='sklearn'"):
        project_tsne(numbers(40, 5), perplexity=5)


def test_separation_of_four_points_on_the_circle_by_hand():
    f = torch.tensor([[2.0, 0], [0, 5], [-1, 0], [0, -3]])  # lengths do not matter: centres (.5, .5) and (-.5, -.5)
    found = separation(f, torch.tensor([0, 0, 1, 1]), k=1)
    assert (found.sse, found.ssb, found.ratio) == pytest.approx((0.5, 0.5, 1.0))


def test_separation_is_its_definition():
    y = torch.arange(30) % 3
    f = numbers(30, 4) + 1.5 * F.one_hot(y, 4)
    found = separation(f, y + 5, k=4)
    sse, ssb, silhouette, purity = plain.separation(f.numpy(), y.tolist(), 4)
    assert found == pytest.approx((sse, ssb, sse / ssb, silhouette, purity), rel=1e-9)


# Grad-CAM


@pytest.mark.parametrize("kind", ["backbone", "byot 1/4", "drg shallow 2"])
def test_grad_cam_is_the_mean_gradients_sum_over_channels(kind):
    net, (x, y) = network(kind), images(5)
    layer = {
        "backbone": lambda: net.stages[-2],
        "byot 1/4": lambda: net.method.heads[0].features[2],  # a ReLU: no parameters
        "drg shallow 2": lambda: last_convolution(net.method.heads[0]),
    }[kind]()
    net.requires_grad_(False)
    found = grad_cam(net, x, layer, y, batch_size=2)
    assert found.map.shape == (5, 16, 16) and found.map.dtype == torch.float32 and torch.equal(found.target, y)
    assert found.map.min() >= 0 and found.map.max() <= 1
    kept = []
    layer.register_forward_hook(lambda m, args, out: kept.append(out.requires_grad_()) or out)
    logits = net.eval()(x)
    gradient = torch.autograd.grad(logits[range(5), y].sum(), kept[-1])[0].double().numpy()
    for i in range(5):
        expected = plain.grad_cam(kept[-1][i].detach().double().numpy(), gradient[i], 16)
        assert np.abs(found.map[i].numpy() - expected).max() < 2e-3


def test_grad_cam_explains_the_networks_answer_unless_told_otherwise():
    net, (x, _) = network("byot ensemble"), images()
    answer = copy.deepcopy(net).eval()(x).argmax(1)
    found = grad_cam(net, x, net.model.stages[-1])
    assert torch.equal(found.target, answer)
    assert same(found, grad_cam(net, x, net.model.stages[-1], answer))


def test_overlap_is_the_intersection_over_the_union_of_the_hottest_pixels():
    a, b = numbers(4, 6, 5), (numbers(4, 6, 5, seed=2) > 0).double()  # b is full of ties
    for i, found in enumerate(overlap(a, b)):
        hot_a, hot_b = plain.top_pixels(a[i].numpy(), 6), plain.top_pixels(b[i].numpy(), 6)
        assert found == pytest.approx(len(hot_a & hot_b) / len(hot_a | hot_b))
    assert overlap(a, a).tolist() == [1.0] * 4 and overlap(a, -a, 0.5).tolist() == [0.0] * 4


def test_the_share_on_the_object_is_of_the_maps_mass():
    maps = torch.tensor([[[3.0, 1], [0, 0]], [[0, 0], [0, 0]]])
    mask = torch.tensor([[[True, False], [False, False]]]).expand(2, 2, 2)
    found = on_object(maps, mask)
    assert found.share.tolist() == [0.75, 0.25] and found.chance.tolist() == [0.25, 0.25]  # a blank map counts as uniform


def test_the_last_convolution_is_on_the_main_path():
    net = four_stage(K, width=8)
    assert last_convolution(net) is last_convolution(net.stages[-1]) is net.stages[-1][0].branch[3]
    head = DRG(net, head="separable").heads[0]
    assert last_convolution(head) is [m for m in head.modules() if isinstance(m, nn.Conv2d)][-1]


# cost


def test_flops_of_one_convolution_and_one_linear_layer_are_twice_their_products():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 16 * 16, 5))
    assert forward_flops(net, torch.randn(2, 3, 16, 16)) == 2 * (2 * 8 * 16 * 16 * 3 * 9 + 2 * 8 * 16 * 16 * 5)


def test_size_counts_parameters_once_and_buffers_as_bytes():
    layer = nn.Linear(3, 4)
    net = nn.ModuleList([layer, layer, nn.BatchNorm2d(5)])
    assert count(net) == (16 + 10, 4 * (16 + 10 + 10) + 8)  # num_batches_tracked is an int64


def test_an_earlier_exit_costs_less():
    net = four_stage(K, width=8)
    cut = nn.Sequential(net.stem, net.stages[0], net.neck, nn.Linear(8, K))
    costs = exit_costs({"1/4": cut, "4/4": net}, images(1, 32)[0], rounds=3)
    assert costs["1/4"].flops == forward_flops(cut, torch.randn(1, 3, 32, 32)) < costs["4/4"].flops
    assert costs["1/4"].parameters < costs["4/4"].parameters and costs["1/4"].bytes < costs["4/4"].bytes
    assert 0 < costs["1/4"].seconds < costs["4/4"].seconds


def test_times_are_taken_in_turns_there_and_back():
    calls = []
    compare_times({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=2, block=0, warmup=0)
    assert "".join(calls) == "abc" + "abccba" * 2  # one call each to see how long a block is


def test_twice_the_work_takes_twice_the_time():
    times = compare_times({"one": lambda: time.sleep(0.004), "two": lambda: time.sleep(0.008)}, rounds=5, block=0.02, warmup=1)
    assert times["one"].low <= times["one"].median <= times["one"].high and times["one"].median > 0.004
    assert relative_time(times["two"], times["one"]).median == pytest.approx(2, abs=0.5)
    alone = time_per_iteration(lambda: time.sleep(0.004), warmup=0, repeats=5)
    assert alone.median > 0.004 and len(alone.seconds) == 5


def test_operations_and_waits_are_counted_by_hand():
    a, w = torch.randn(3, 3), torch.randn(3, 3, requires_grad=True)
    assert operations(lambda: (a @ a).relu()) == 2
    assert operations(lambda: torch.autograd.grad((a * w).sum(), w)) > operations(lambda: (a * w).sum()) == 2
    assert host_syncs(lambda: (a @ a).relu()) == 0 and host_syncs(lambda: a.sum().item()) == 1


def test_a_steps_three_costs_are_multiples_of_the_references():
    """By hand: a product of [4, 4] matrices takes 2 * 4**3 FLOPs and is one operation; what waits takes time alone."""
    a = torch.randn(4, 4)
    steps = {"one": lambda: a @ a, "three": lambda: (a @ a @ a @ a).relu(), "late": lambda: (time.sleep(0.01), a @ a)}
    costs = step_costs(steps, "one", rounds=2, block=0.01)
    assert [(c.flops, c.operations) for c in costs.values()] == [(1, 1), (3, 4), (1, 1)]
    assert costs["one"].time == 1 and costs["late"].time > 10 and costs["late"].seconds.median > 0.01
    half = step_costs(steps, "three", rounds=1, block=0)["one"]
    assert (half.flops, half.operations) == (pytest.approx(1 / 3), 1 / 4)
    assert re.fullmatch(r"time x\d+\.\d\d, FLOPs x0.33, operations x0.25; \d+\.\d ms a step", str(half))


def test_a_steps_costs_are_those_of_its_pass_and_of_its_way_back():
    """A convolution's gradients, to the weights and to the images, take as many FLOPs each as the convolution."""
    layer, x = nn.Conv2d(3, 8, 3, padding=1), torch.randn(2, 3, 16, 16, requires_grad=True)
    steps = {"pass": lambda: layer(x), "step": lambda: layer(x).sum().backward()}
    assert step_costs(steps, "pass", rounds=1, block=0)["step"].flops == 3


def test_a_step_that_draws_is_counted_over_its_draws_after_its_memory_is_filled():
    a, calls = torch.randn(4, 4), []

    def drawing():  # the first call is another than all others; after it, one and three products in turn
        calls.append(1)
        return [a @ a for _ in range(50 if len(calls) == 1 else 1 + 2 * (len(calls) % 2))]

    costs = step_costs({"plain": lambda: a @ a, "draws": drawing}, "plain", rounds=1, block=0, draws={"draws": 4})
    assert (costs["draws"].flops, costs["draws"].operations) == (2, 2)


# errors

X, Y = images()
NET = network("backbone")


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (lambda: ranked_output_variance(torch.ones(4, 3), "logit"), "'probabilities', 'standardised', 'logits', got 'logit'"),
        (lambda: ranked_output_variance(torch.ones(4)), r"logits are \[N, K\].*got \[4\]"),
        (lambda: ranked_along(torch.ones(2, 4, 3), torch.ones(3)), r"\[2, 4, 3\] and \[3\]"),
        (
            lambda: ranked_along(torch.ones(2, 4, 3), torch.ones(2), torch.tensor([3, 3])),
            r"one rising number.*got \[3.0, 3.0\]",
        ),
        (lambda: ranked_top(torch.ones(2, 3), torch.tensor([0, 3])), "labels of 3 logits lie in 0..2, got 0 to 3"),
        (lambda: ranked_top(torch.ones(2, 3), torch.tensor([0, 1]), top=0), "at least 1, got 0"),
        (lambda: calibration(torch.ones(2, 3), torch.tensor([0.0, 1.0])), "whole numbers"),
        (lambda: calibration(torch.ones(2, 3), torch.tensor([0, 1]), bins=0), "at least one bin, got 0"),
        (lambda: noise_tolerance(NET, X.byte(), Y, [0.1]), "normalised floats, got torch.uint8: pass them through"),
        (lambda: noise_tolerance(NET, X, Y[:3], [0.1]), r"labels are \[12\] whole numbers"),
        (lambda: noise_tolerance(NET, X, Y, [0.1, -1]), r"finite sigmas >= 0, got draws=5, sigmas=\[0.1, -1.0\]"),
        (lambda: noise_tolerance(nn.Flatten(), X, Y, [0.1]), "Flatten has no convolution or linear layer"),
        (lambda: tolerance(NoiseCurve(torch.zeros(2), torch.ones(2, 1), torch.ones(2, 1), False)), "two or more rising sigmas"),
        (lambda: gradient_statistics(NET, [], ce), "at least one batch, got none"),
        (lambda: gradient_statistics(NET, [X], lambda net, x: net(x)), r"one number, got a tensor of shape \[12, 7\]"),
        (lambda: gradient_statistics(nn.Flatten(), [X], ce), "Flatten has no convolution"),
        (lambda: collect_features(lambda x: {}, X[0]), r"images are \[N, 3, H, W\]"),
        (lambda: project_pca(torch.ones(5, 3), dim=4), "1 to 3 principal components, got dim=4"),
        (lambda: project_tsne(numbers(20, 3)), "a perplexity of 30 needs at least 91 points, got 20"),
        (lambda: project_tsne(numbers(120, 3), "umap"), "'openTSNE', 'openTSNE-fft', 'sklearn', got 'umap'"),
        (lambda: project_pca(torch.ones(2, 3)), "N >= 3"),
        (lambda: project_pca(torch.full((5, 3), torch.nan)), "has diverged"),
        (lambda: separation(numbers(5, 3), torch.zeros(5).long(), 2), "two or more classes.*got 1 in 5 images"),
        (lambda: separation(numbers(5, 3), torch.arange(5), 2), "more images than that, got 5 in 5"),
        (lambda: separation(numbers(5, 3), torch.arange(5) % 2, 5), "k is 1 to 4, got 5"),
        (lambda: grad_cam(NET, X, nn.ReLU()), "no part of the network"),
        (lambda: grad_cam(NET, X, NET.stages[-1], Y + K), "targets are classes 0..6, got 1"),
        (lambda: grad_cam(Exit(NET, DRG(NET), "shallow 2"), X, NET.stages[-1]), "do not depend on the layer"),
        (lambda: overlap(torch.ones(1, 2, 2), torch.ones(1, 2, 3)), r"\[1, 2, 2\] and \[1, 2, 3\]"),
        (lambda: overlap(torch.ones(1, 2, 2), torch.ones(1, 2, 2), 0), r"in \(0, 1\], got 0"),
        (lambda: on_object(torch.ones(1, 2, 2), torch.ones(1, 2, 2)), "a bool mask"),
        (lambda: last_convolution(nn.Linear(2, 2)), "Linear has no convolution"),
        (lambda: time_per_iteration(lambda: None, repeats=0), "at least one repeat, got 0"),
        (lambda: compare_times({}), "got 0 steps and 7 rounds"),
        (lambda: step_costs({"a": lambda: X @ X.mT}, "b"), r"one of the steps \['a'\], got 'b'"),
        (lambda: step_costs({"a": lambda: X + X}, "a"), r"FLOPs and operations to divide by, got \(0.0, 1.0\) of 'a'"),
        (lambda: step_costs({"a": lambda: X @ X.mT}, "a", draws={"a": 0}), "at least one step, got 0"),
    ],
)
def test_an_error_says_what_was_expected_and_what_came(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        wrong()
