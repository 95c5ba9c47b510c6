"""The manners that all analyses share: they leave everything as it was, repeat themselves, and report their way."""

from __future__ import annotations

import copy

import pytest
import torch
from manners import K, Stands, batch_of, ce, exits, first_convolution, images, network, numbers, same, state, tangle
from torch import nn

from sdkit import analysis
from sdkit.analysis import (
    ANALYSES,
    calibration,
    cka,
    collect_features,
    curvature,
    exit_costs,
    factors,
    fgsm,
    fixed_policy,
    forward_flops,
    grad_cam,
    gradient_statistics,
    last_convolution,
    loss_between,
    loss_slice,
    noise_tolerance,
    procrustes,
    project_pca,
    project_tsne,
    ranked_along,
    ranked_output_variance,
    ranked_top,
    retrieve,
    selective_risk,
    separation,
    single_directions,
    term_shares,
    threshold_policy,
    time_per_iteration,
)

CALLS = {
    "ranked variance": lambda net, x, y: ranked_output_variance(numbers(9, K)),
    "ranked along training": lambda net, x, y: ranked_along(numbers(3, 9, K), numbers(3)),
    "ranked top": lambda net, x, y: ranked_top(numbers(len(y), K), y, 3),
    "calibration": lambda net, x, y: calibration(numbers(len(y), K), y),
    "selective risk": lambda net, x, y: selective_risk(numbers(len(y), K), y),
    "weight noise": lambda net, x, y: noise_tolerance(net, x, y, [0.0, 0.1], draws=2),
    "gradients": lambda net, x, y: gradient_statistics(net, [batch_of(x, y)], ce),
    "term shares": lambda net, x, y: term_shares(Stands(net, x, y)),
    "features": lambda net, x, y: collect_features(lambda x: {"logits": net(x)}, x, modules=[net]),
    "pca": lambda net, x, y: project_pca(numbers(20, 5)),
    "t-sne": lambda net, x, y: project_tsne(numbers(40, 5), perplexity=5),
    "separation": lambda net, x, y: separation(numbers(len(y), 5), y // 4, 3),
    "grad-cam": lambda net, x, y: grad_cam(net, x, next(m for m in net.modules() if isinstance(m, nn.Conv2d))),
    "flops": lambda net, x, y: forward_flops(net, x),
    "exit costs": lambda net, x, y: {k: c[:3] for k, c in exit_costs({"one": net}, x, rounds=1, block=0).items()},
    "time": lambda net, x, y: len(time_per_iteration(lambda: None, repeats=2).seconds),
    "loss slice": lambda net, x, y: loss_slice(net, x, y, 0.5, points=3, directions=2),
    "loss between": lambda net, x, y: loss_between(net, copy.deepcopy(net).requires_grad_(False), x, y, 3, statistics=x),
    "curvature": lambda net, x, y: curvature(net, x[:4], y[:4], probes=2),
    "single directions": lambda net, x, y: single_directions(net, x, y, first_convolution(net), [0, 0.5, 1], 2, mode="mean"),
    "fgsm": lambda net, x, y: fgsm(net, x, y, [0.0, 0.1], std=(0.2, 0.3, 0.25)),
    "cka": lambda net, x, y: cka(numbers(9, 4), numbers(9, 5, seed=2)),
    "procrustes": lambda net, x, y: procrustes(numbers(9, 4), numbers(9, 5, seed=2)),
    "factors": lambda net, x, y: factors(numbers(len(y), K), y % 2, [k % 2 for k in range(K)]),
    "retrieval": lambda net, x, y: retrieve(x.flatten(1), None, y),
    "threshold policy": lambda net, x, y: threshold_policy(*exits(), [0.1, 0.5]),
    "fixed policy": lambda net, x, y: fixed_policy(*exits()),
}
NETWORKS = ["backbone", "byot 1/4", "drg shallow 2"]
PASSES = {
    "weight noise": 2,
    "loss slice": 2,
    "loss between": 2,
    "curvature": 2,
    "single directions": 2,
    "fgsm": 2,
} | dict.fromkeys(["gradients", "term shares", "features", "grad-cam", "flops", "exit costs"], 0)
"""Analyses that run a network, and how many passes are over when weights, statistics or hooks are changed."""


def test_every_analysis_is_named_described_and_held_to_the_contract():
    assert ANALYSES.keys() == CALLS.keys()
    assert all(f.__doc__.partition("\n")[0].endswith(".") for f in ANALYSES.values())


def test_what_the_room_offers_is_there():
    assert not [name for name in analysis.__all__ if not hasattr(analysis, name)]


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in CALLS for k in (NETWORKS if n in PASSES else ["backbone"])])
def test_an_analysis_leaves_everything_as_it_was_and_repeats_itself(name, kind, capsys):
    net, (x, y) = network(kind), images()
    tangle(net)
    before, inputs = state(net), (x.clone(), y.clone())
    first = CALLS[name](net, x, y)
    assert same(state(net), before) and same((x, y), inputs)
    torch.manual_seed(99)  # the global generator has no say
    assert same(CALLS[name](net, x, y), first)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["backbone", "byot ensemble"])
@pytest.mark.parametrize("name", PASSES)
def test_an_analysis_that_fails_midway_leaves_everything_as_it_was(name, kind):
    net, (x, y) = network(kind), images()
    passes = iter([*[False] * PASSES[name], True])

    def fail(*_):
        if next(passes):
            raise RuntimeError("out of luck")

    last_convolution(net).register_forward_hook(fail)
    tangle(net)
    before = state(net)
    with pytest.raises(RuntimeError, match="out of luck"):
        CALLS[name](net, x, y)
    assert same(state(net), before)
    assert {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def test_the_second_network_of_a_line_is_left_as_it_was_too():
    first, second, (x, y) = network("backbone"), network("backbone"), images()
    tangle(second)
    before = state(second)
    loss_between(first, second, x, y, 3)
    assert same(state(second), before)


def test_long_analyses_report_every_step_of_their_way():
    net, (x, y) = network("backbone"), images()
    seen = []

    def watch(items):
        items = list(items)
        for item in items:
            seen.append(len(items))
            yield item

    noise_tolerance(net, x, y, [0.0, 0.1, 0.2], draws=2, progress=watch)
    gradient_statistics(net, [batch_of(x, y)] * 4, ce, progress=watch)
    grad_cam(net, x, net.stages[-1], batch_size=5, progress=watch)
    ranked_along(numbers(5, 4, 3), numbers(5), progress=watch)
    assert seen == [6] * 6 + [4] * 4 + [3] * 3 + [5] * 5
