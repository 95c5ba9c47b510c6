"""Landscape, curvature, single directions, exit policies and similarity against their definitions, and the common manners."""

from __future__ import annotations

import copy
import math

import numpy as np
import plain_analysis as plain
import pytest
import torch
import torch.nn.functional as F
from manners import K, exits, numbers, same
from torch import nn

from sdkit.analysis import (
    AblationCurve,
    FixedPolicy,
    LossSlice,
    PolicyCurve,
    barrier,
    cka,
    curvature,
    dominates,
    fixed_policy,
    loss_between,
    loss_slice,
    procrustes,
    reliance,
    sharpness,
    single_directions,
    threshold_policy,
)
from sdkit.analysis.hessian import hessian_product


def small(seed: int = 0) -> nn.Sequential:
    """Convolution, BatchNorm with statistics, ReLU, pooling, linear: 3 classes, float64."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).double()
    for _ in range(3):
        net(numbers(16, 3, 6, 6, seed=seed) + 0.3)
    return net.eval()


class Idle(nn.Sequential):
    """A network whose answer does not ask its layers."""

    def forward(self, x):
        return x.flatten(1)[:, :K]


def small_images(n: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    return numbers(n, 3, 6, 6, seed=9), torch.randint(3, (n,), generator=torch.Generator().manual_seed(9))


def measured(net: nn.Module, x, y) -> tuple[float, float]:
    """Cross entropy and accuracy, plainly."""
    with torch.no_grad():
        z = net(x).numpy()
    return plain.calibration(z, y.numpy(), 1)[2], float((z.argmax(1) == y.numpy()).mean())


def with_spare_layer(net: nn.Sequential) -> nn.Sequential:
    """The same network, which also holds a layer that its logits do not pass through."""
    net[2].behind = nn.Linear(7, 7).double()
    return net


def test_long_analyses_report_every_step_of_their_way():
    net, (x, y), seen = small(), small_images(), []

    def watch(items):
        items = list(items)
        for item in items:
            seen.append(len(items))
            yield item

    loss_slice(net, x, y, points=5, progress=watch)
    loss_slice(net, x, y, points=3, directions=2, progress=watch)
    loss_between(net, small(1), x, y, 4, progress=watch)
    curvature(net, x, y, probes=2, progress=watch)
    single_directions(net, x, y, net[2], [0, 0.5, 1], 3, progress=watch)  # none and all once: 1 + 3 + 1
    assert seen == [5] * 5 + [9] * 9 + [4] * 4 + [3] * 3 + [5] * 5


# landscape


def walked(net: nn.Module, call) -> list[dict]:
    """The parameters and buffers at every pass that `call` makes."""
    seen = []
    handle = net.register_forward_pre_hook(lambda m, _: seen.append(copy.deepcopy(m.state_dict())))
    call()
    handle.remove()
    return seen


def test_a_slice_moves_every_filter_by_its_own_norm_and_nothing_else():
    net, (x, y) = small(), small_images()
    with torch.no_grad():
        net[0].weight[1] *= 50
        net[0].weight[2] = 0
    states = walked(net, lambda: loss_slice(net, x, y, 0.5, points=5))
    origin = net.state_dict()
    assert len(states) == 5 and same(dict(states[2]), dict(origin))
    for at, moved in zip([-0.5, -0.25, 0.25, 0.5], [states[i] for i in (0, 1, 3, 4)], strict=True):
        for name, value in origin.items():
            step = moved[name] - value
            if name in ("0.weight", "5.weight"):
                for f in range(len(value)):
                    assert float(step[f].norm()) == pytest.approx(abs(at) * float(value[f].norm()), rel=1e-9)
                torch.testing.assert_close(step / at, (states[4][name] - value) / 0.5)  # one direction for all points
            else:
                assert not step.any()


def test_a_slice_holds_loss_and_accuracy_of_the_moved_network():
    net, (x, y) = small(), small_images()
    states = walked(net, lambda: loss_slice(net, x, y, 2.0, points=3, directions=2, seed=4))
    found, other = loss_slice(net, x, y, 2.0, points=3, directions=2, seed=4, batch_size=7), copy.deepcopy(net)
    for i, held in enumerate(states):
        other.load_state_dict(held)
        loss, accuracy = measured(other, x, y)
        assert float(found.loss[i // 3, i % 3]) == pytest.approx(loss, rel=1e-9)
        assert float(found.accuracy[i // 3, i % 3]) == pytest.approx(accuracy)
    assert found.loss.unique().numel() == 9


def test_the_line_is_the_middle_of_the_plane_and_seeds_are_directions():
    net, (x, y) = small(), small_images()
    line, plane = loss_slice(net, x, y, points=5), loss_slice(net, x, y, points=5, directions=2)
    assert same(line.loss, plane.loss[:, 2]) and line.at.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert not same(line.loss, plane.loss[2])
    assert not same(line.loss, loss_slice(net, x, y, points=5, seed=1).loss)


def test_a_slice_is_blind_to_a_scale_that_batch_norm_takes_out():
    net, (x, y) = small(), small_images()
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight *= 4
        other[0].bias *= 4
        other[1].running_mean *= 4
        other[1].running_var.mul_(16).add_(15 * other[1].eps)  # eps scaled as well
    torch.testing.assert_close(loss_slice(other, x, y).loss, loss_slice(net, x, y).loss)


def test_a_line_between_two_networks_mixes_weights_and_statistics():
    first, second, (x, y) = small(0), small(1), small_images()
    found = loss_between(first, second, x, y, 5)
    assert found.at.tolist() == [0, 0.25, 0.5, 0.75, 1]
    mixed, a, b = small(), first.state_dict(), second.state_dict()
    for p, t in enumerate(found.at.tolist()):
        mixed.load_state_dict({k: (1 - t) * a[k] + t * b[k] for k in a})
        loss, accuracy = measured(mixed, x, y)
        assert float(found.loss[p]) == pytest.approx(loss, rel=1e-9) and float(found.accuracy[p]) == pytest.approx(accuracy)
    back = loss_between(second, first, x, y, 5)
    torch.testing.assert_close(back.loss.flip(0), found.loss)
    assert loss_between(first, first, x, y, 3).loss.unique().numel() == 1


def test_statistics_are_estimated_anew_on_the_images_given():
    first, second, (x, y) = small(0), small(1), small_images()
    own = numbers(24, 3, 6, 6, seed=3) + 1
    found = loss_between(first, second, x, y, 3, statistics=own, batch_size=12)
    mixed, a, b = small(), first.state_dict(), second.state_dict()
    for p, t in enumerate([0, 0.5, 1]):
        mixed.load_state_dict({k: (1 - t) * a[k] + t * b[k] for k in a})
        with torch.no_grad():
            halves = [mixed[0](part).transpose(0, 1).flatten(1) for part in (own[:12], own[12:])]
            mixed[1].running_mean.copy_(sum(h.mean(1) for h in halves) / 2)
            mixed[1].running_var.copy_(sum(h.var(1) for h in halves) / 2)
        assert float(found.loss[p]) == pytest.approx(measured(mixed, x, y)[0], rel=1e-9)


def test_sharpness_is_the_mean_rise_and_a_barrier_the_largest_one_above_the_straight_line():
    at = torch.tensor([-1.0, 0, 1]).double()
    assert sharpness(LossSlice(at, torch.tensor([4.0, 1, 1]).double(), at)) == pytest.approx(1)
    assert sharpness(LossSlice(at, torch.tensor([[2.0, 2, 11], [2, 2, 2], [2, 2, 2]]).double(), at)) == pytest.approx(1)
    line = LossSlice(torch.tensor([0, 0.5, 1]).double(), torch.tensor([1.0, 5, 3]).double(), at)
    assert barrier(line) == pytest.approx(3)
    assert barrier(line._replace(loss=torch.tensor([1.0, 0, 3]).double())) == 0
    with pytest.raises(ValueError, match="around a network"):
        sharpness(line)
    with pytest.raises(ValueError, match="between two networks"):
        barrier(LossSlice(at, at, at))


# curvature


def exact_hessian(net: nn.Module, x, y) -> torch.Tensor:
    names = ["0.weight", "5.weight"]
    held = dict(net.named_parameters())
    sizes = [held[n].numel() for n in names]

    def loss(flat):
        parts = {n: v.view_as(held[n]) for n, v in zip(names, flat.split(sizes), strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, parts, (x,)), y)

    return torch.autograd.functional.hessian(loss, torch.cat([held[n].detach().flatten() for n in names]))


def test_curvature_is_the_exact_hessians():
    net, (x, y) = small(), small_images()
    exact = exact_hessian(net, x, y)
    found = curvature(net, x, y, top=3, probes=200, batch_size=8)  # 20 images: batches of unlike size
    assert found.parameters == len(exact) == 4 * 27 + 12
    torch.testing.assert_close(found.top, torch.linalg.eigvalsh(exact).flip(0)[:3], rtol=1e-4, atol=0)
    assert abs(found.trace - float(exact.trace())) < 4 * found.trace_error
    # Hutchinson's variance for random signs: twice the squares off the diagonal
    spread = math.sqrt(2 * float((exact - exact.diag().diag()).square().sum()) / 200)
    assert found.trace_error == pytest.approx(spread, rel=0.3)


def test_a_hessian_product_is_the_dense_hessian_times_the_vector():
    net, (x, y) = small(), small_images()
    exact, weights = exact_hessian(net, x, y), [net[0].weight, net[5].weight]
    data = list(zip(x.split(8), y.split(8), strict=True))  # batches of unlike size
    columns = [hessian_product(net, data, weights, v) for v in torch.eye(len(exact), dtype=x.dtype)]
    torch.testing.assert_close(torch.stack(columns, 1), exact, rtol=1e-10, atol=1e-12)
    assert all(w.grad is None for w in weights)


class Attention(nn.Module):
    """The places of a map attend to each other, in the fused kernel where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.classify = nn.Linear(3, 12), nn.Linear(4, 3)

    def forward(self, x):
        q, k, v = self.read(x.flatten(2).mT)[:, None].chunk(3, -1)
        return self.classify(F.scaled_dot_product_attention(q, k, v).mean((1, 2)))


def test_curvature_goes_through_attention():
    torch.manual_seed(0)
    net, (x, y) = Attention(), small_images()
    assert curvature(net, x.float(), y).top[0] > 0


def test_curvature_counts_probes_and_seeds():
    net, (x, y) = small(), small_images()
    one = curvature(net, x, y, probes=1)
    assert math.isnan(one.trace_error) and same(one.top, curvature(net, x, y, probes=3).top)
    assert one.trace != curvature(net, x, y, probes=1, seed=1).trace


def test_curvature_passes_over_weights_that_the_logits_do_not_rest_on():
    net, (x, y) = small(), small_images()
    found = curvature(net, x, y)
    assert same(curvature(with_spare_layer(net), x, y), found)


# single directions


@pytest.mark.parametrize("mode", ["zero", "mean"])
def test_ablating_a_map_is_taking_it_from_the_linear_layer(mode):
    net, (x, y) = small(), small_images()
    found = single_directions(net, x, y, net[2], [0, 0.3, 0.5, 1], 3, seed=6, mode=mode, batch_size=7)
    assert found.fraction.tolist() == [0, 0.25, 0.5, 1] and found.maps == 4
    with torch.no_grad():
        pooled = net[:5](x).numpy()
    w, b = net[5].weight.detach().numpy(), net[5].bias.detach().numpy()
    g = torch.Generator().manual_seed(6)
    for o in range(3):
        order = torch.randperm(4, generator=g).tolist()
        for f, n in enumerate([0, 1, 2, 4]):
            accuracy = plain.ablated_accuracy(pooled, w, b, y.tolist(), order[:n], mode)
            assert float(found.accuracy[f, o]) == pytest.approx(accuracy)


def test_reliance_is_the_area_under_the_normalised_accuracy():
    at = torch.tensor([0, 0.5, 1]).double()
    assert reliance(AblationCurve(at, torch.tensor([[0.8, 0.8], [0.6, 0.2], [0.0, 0.0]]).double(), 4)) == pytest.approx(0.5)
    assert reliance(AblationCurve(at, torch.full((3, 1), 0.3).double(), 4)) == pytest.approx(1)
    with pytest.raises(ValueError, match="rising fractions from 0"):
        reliance(AblationCurve(at[1:], at[1:, None], 4))


# leaving early


def test_a_threshold_policy_is_one_image_after_the_other():
    logits, y, costs = exits()
    thresholds = [0.0, 0.3, 0.6, 0.9, 1.1]
    found = threshold_policy(logits, y, costs, thresholds)
    z = [v.numpy() for v in logits.values()]
    for t, threshold in enumerate(thresholds):
        accuracy, cost, share = plain.leave_early(z, y.tolist(), [2.0, 5.0, 9.0], threshold)
        assert float(found.accuracy[t]) == pytest.approx(accuracy)
        assert float(found.cost[t]) == pytest.approx(cost)
        assert found.share[t].tolist() == pytest.approx(share)
    assert found.exits == ("1/3", "2/3", "full")


def test_thresholds_at_the_ends_are_the_first_and_the_last_exit():
    logits, y, costs = exits()
    curve, fixed = threshold_policy(logits, y, costs, [0.0, 1.1]), fixed_policy(logits, y, costs)
    assert same(curve.accuracy, fixed.accuracy[[0, 2]]) and curve.cost.tolist() == [2, 9]
    assert fixed.cost.tolist() == [2, 5, 9] and dominates(curve, fixed) == pytest.approx(2 / 3)
    assert fixed.accuracy[0] == np.mean(logits["1/3"].numpy().argmax(1) == y.numpy())
    only = threshold_policy({"1/3": logits["1/3"]}, y, costs, [0.5])
    assert only.share.tolist() == [[1]] and only.cost.tolist() == [2]


def test_a_curve_dominates_what_it_matches_at_no_more_cost():
    fixed = FixedPolicy(("a", "b", "c"), torch.tensor([0.5, 0.7, 0.8]).double(), torch.tensor([1.0, 2, 3]).double())

    def share(accuracy, cost, within=0.0):
        a, c = torch.tensor(accuracy).double(), torch.tensor(cost).double()
        return dominates(PolicyCurve(a, a, c, a, ()), fixed, within)

    assert share([0.8], [1.0]) == 1
    assert share([0.75], [2.0]) == pytest.approx(1 / 3)
    assert share([0.9], [3.5]) == 0
    assert share([0.5, 0.69], [1.0, 2.0]) == pytest.approx(1 / 3)
    assert share([0.5, 0.69], [1.0, 2.0], within=0.02) == pytest.approx(2 / 3)


# similarity


def test_cka_is_the_alignment_of_centred_gram_matrices():
    for d in (3, 40):  # fewer features than images, and more
        a, b = numbers(12, 5), numbers(12, d, seed=2)
        assert cka(a, b) == pytest.approx(plain.cka(a.numpy(), b.numpy()), rel=1e-10)


def test_on_one_feature_cka_and_procrustes_are_known_from_the_correlation():
    a, b = torch.tensor([[1.0], [2], [3]]), torch.tensor([[1.0], [0], [2]])  # r = 0.5
    assert cka(a, b) == pytest.approx(0.25) and procrustes(a, b) == pytest.approx(1)
    c = torch.tensor([[1.0], [-2], [1]])  # r = 0
    assert cka(a, c) == pytest.approx(0, abs=1e-12) and procrustes(a, c) == pytest.approx(math.sqrt(2))


def test_similarity_is_blind_to_rotation_scale_and_shift_and_sees_a_stretch():
    a = numbers(15, 4)
    turn = torch.linalg.qr(numbers(4, 4, seed=3)).Q
    assert cka(a, 3 * a @ turn + 5) == pytest.approx(1) and procrustes(a, 3 * a @ turn + 5) == pytest.approx(0, abs=1e-7)
    stretched = a * torch.tensor([1.0, 1, 1, 9])
    assert cka(a, stretched) < 0.9 and procrustes(a, stretched) > 0.3
    assert math.isnan(cka(a, torch.full((15, 2), 0.1))) and math.isnan(procrustes(a, torch.full((15, 2), 0.1)))


def test_procrustes_is_the_least_distance_over_all_turns_of_the_plane():
    a, b = numbers(9, 2), numbers(9, 2, seed=2)
    assert procrustes(a, b) == pytest.approx(plain.procrustes_in_the_plane(a.numpy(), b.numpy()), rel=1e-5)
    assert procrustes(a, b) == pytest.approx(procrustes(b, F.pad(a, (0, 3))))


# what comes in is checked


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda net, x, y: loss_slice(net, x, y, points=4), "odd and at least 3"),
        (lambda net, x, y: loss_slice(net, x, y, directions=3), "directions=1"),
        (lambda net, x, y: loss_slice(net, x, y, span=0), "span is how far"),
        (lambda net, x, y: loss_slice(nn.ReLU(), x, y), "no convolution or linear layer"),
        (lambda net, x, y: loss_between(net, nn.Sequential(*net[:5], nn.Linear(4, 2)), x, y), "differ in 5.bias, 5.weight"),
        (lambda net, x, y: loss_between(net, net, x, y, 1), "2 ends"),
        (lambda net, x, y: curvature(nn.Flatten(), x, y), "no convolution or linear layer"),
        (lambda net, x, y: curvature(Idle(nn.Linear(2, 2)), x, y), "rest on none of its convolutions"),
        (lambda net, x, y: curvature(net, x, y, top=0), "fewer than all"),
        (lambda net, x, y: curvature(net, x, y, probes=0), "one or more random probes"),
        (lambda net, x, y: single_directions(net, x, y, nn.ReLU()), "no part of the network"),
        (lambda net, x, y: single_directions(with_spare_layer(net), x, y, net[2].behind), "do not pass through"),
        (lambda net, x, y: single_directions(net, x, y, net[2], [1.5]), r"fractions in \[0, 1\]"),
        (lambda net, x, y: single_directions(net, x, y, net[2], mode="noise"), "'zero' or 'mean'"),
        (lambda net, x, y: threshold_policy({}, y, {}, [1]), "at least one exit"),
        (lambda net, x, y: threshold_policy({"a": net(x)}, y, {"b": 1}, [1]), "got none for a"),
        (lambda net, x, y: threshold_policy({"a": net(x)}, y, {"a": 1}, []), "one or more finite"),
        (lambda net, x, y: fixed_policy({"a": net(x)}, y, {"a": -1}), "finite numbers >= 0"),
        (lambda net, x, y: cka(numbers(4, 2), numbers(5, 2)), "same N >= 2 images"),
        (lambda net, x, y: procrustes(numbers(4, 2) * math.nan, numbers(4, 2)), "diverged"),
    ],
)
def test_an_impossible_question_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call(small(), *small_images())
