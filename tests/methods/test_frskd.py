"""FRSKD against its paper, slowly: the loss, who learns from what, and the two paths of the self-teacher."""

from __future__ import annotations

import numpy as np
import paper
import pytest
import torch
from torch import nn

from sdkit.core import Batch, Features, Progress
from sdkit.methods import FRSKD
from sdkit.methods.frskd import SelfTeacher
from sdkit.models import Backbone, four_stage

NOW = Progress(0, 0, 1, 1)


def leaf(array):
    return torch.tensor(array, dtype=torch.float64, requires_grad=True)


class Given(nn.Module):
    """A self-teacher whose refined maps and logits are given."""

    def __init__(self, refined, logits):
        super().__init__()
        self.given = refined, logits

    def forward(self, stages):
        return self.given


@pytest.mark.parametrize("b", [1, 3])
@pytest.mark.parametrize("knobs", [{}, {"alpha": 0.0}, {"beta": 7.0, "temperature": 1.5}])
@pytest.mark.equation("frskd")
def test_frskd_is_the_loss_as_printed_and_what_is_distilled_teaches_the_network_alone(b, knobs):
    g = np.random.default_rng(0)
    z, taught, y = 2 * g.normal(size=(b, 5)), 2 * g.normal(size=(b, 5)), g.integers(0, 5, b)
    maps = [g.normal(size=(b, 2, 4, 4)), g.normal(size=(b, 3, 2, 2))]
    refined = [g.normal(size=(b, 4, 4, 4)), g.normal(size=(b, 6, 2, 2))]
    own, its, mine, theirs = leaf(z), leaf(taught), [*map(leaf, maps)], [*map(leaf, refined)]
    method = FRSKD(four_stage(5, width=4), **knobs)
    method.self_teacher = Given(theirs, its)
    terms = method.terms(None, Features(own, None, tuple(mine)), Batch(None, torch.as_tensor(y), None), NOW)
    settings = {"alpha": 2.0, "beta": 100.0, "tau": 4.0} | {"tau" if k == "temperature" else k: v for k, v in knobs.items()}
    printed = paper.frskd(z, maps, taught, refined, y, **settings)
    assert {k: t.item() for k, t in terms.items()} == pytest.approx(printed, rel=1e-9, abs=1e-12)

    sum(terms.values()).backward()
    total = lambda z, f: sum(paper.frskd(z, [f, maps[1]], taught, refined, y, **settings).values())  # noqa: E731
    assert own.grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: total(v, maps[0]), z), abs=1e-6)
    assert mine[0].grad.numpy() == pytest.approx(paper.numeric_gradient(lambda v: total(z, v), maps[0]), abs=1e-5)
    labels = paper.numeric_gradient(lambda v: paper.cross_entropy(v, y), taught)
    assert its.grad.numpy() == pytest.approx(labels, abs=1e-7), "the self-teacher learns from the labels alone"
    assert all(f.grad is None for f in theirs), "no refined map is pulled towards the network's"


def test_the_self_teacher_s_two_paths_are_the_printed_sums():
    """Its convolutions aside: every sum of maps, the order of both paths, who feeds whom and how maps change their size."""
    g = np.random.default_rng(1)
    maps = [g.normal(size=(2, 3, side, side)) for side in (8, 4, 4, 2)]
    teacher = SelfTeacher(four_stage(5, width=4), 1).double()
    weights = {}
    for path in ("down", "up"):
        for refine in getattr(teacher, path):
            refine.adapter = refine.convolutions = nn.Identity()
            refine.weight.data = torch.rand(len(refine.weight), generator=torch.Generator().manual_seed(2)).double()
        weights[path] = [refine.weight.detach().numpy() for refine in getattr(teacher, path)]
    teacher.lateral, teacher.classifier = nn.ModuleList(nn.Identity() for _ in maps), nn.Identity()
    refined, pooled = teacher([*map(torch.tensor, maps)])
    printed = paper.two_paths(maps, **weights)
    assert all(f.detach().numpy() == pytest.approx(p, abs=1e-9) for f, p in zip(refined, printed, strict=True))
    assert pooled.detach().numpy() == pytest.approx(printed[-1].mean((2, 3)), abs=1e-9)


def test_labels_reach_the_network_through_the_self_teacher_and_a_map_is_refined_by_all_others():
    torch.manual_seed(0)
    model = four_stage(5, width=4).train()
    method = FRSKD(model, width=1).train()
    stages = [torch.randn(4, c, side, side, requires_grad=True) for c, side in zip(model.channels, (16, 8, 4, 2), strict=True)]
    refined, logits = method.self_teacher(stages)
    assert [f.shape for f in refined] == [f.shape for f in stages] and logits.shape == (4, 5)
    for f in (logits, *refined):
        gradients = torch.autograd.grad(f.square().sum(), stages, retain_graph=True)
        assert all(d.any() for d in gradients)


def test_the_self_teacher_is_an_exit_that_can_be_read():
    torch.manual_seed(0)
    model = four_stage(5, width=4).eval()
    method, x = FRSKD(model).eval(), torch.randn(2, 3, 32, 32)
    out = model.forward_features(x)
    exits = method.exits(out, x)
    assert exits.keys() == {"final", "self-teacher"} and not torch.equal(*exits.values())


def test_frskd_refuses_one_stage_and_a_width_that_is_none():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with pytest.raises(ValueError, match="take a network of 2 stages or more, this one has 1"):
        FRSKD(Backbone.adapt(module, stages=["0"]))
    with pytest.raises(ValueError, match="width is a whole number from 1, got 0"):
        FRSKD(four_stage(5, width=4), width=0)


def test_maps_of_odd_sizes_are_refined_at_their_own_size():
    torch.manual_seed(0)
    model = four_stage(5, width=4).train()
    method = FRSKD(model).train()
    out = model.forward_features(torch.randn(2, 3, 37, 29))
    refined, _ = method.self_teacher(out.stages)
    assert [f.shape[2:] for f in refined] == [f.shape[2:] for f in out.stages] and out.stages[-1].shape[2] % 2
