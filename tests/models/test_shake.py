"""Shake-Shake and ShakeDrop as printed: what goes forward, what comes back, and what is left in evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sdkit.methods import SelfGuidance
from sdkit.models import (
    MODELS,
    ShakeDrop,
    ShakeShake,
    cifar_resnet,
    parameters,
    residuals,
    sampled,
    shake_drop,
    shake_resnet,
    shakedrop_pyramidnet,
    shakedrop_resnet,
)  # fmt: skip
from sdkit.models.shake import TwoFlows


def ones(n: int) -> torch.Tensor:
    return torch.ones(n, 2, 3, 3, dtype=torch.float64, requires_grad=True)


def shaken(block: nn.Module, n: int, seed: int = 0):
    """Of a block of branches that pass ones on: what each image's ones became, [n], and what came back of a gradient of 1."""
    torch.manual_seed(seed)
    x = ones(n)
    out = block(x)
    out.sum().backward()
    assert (out == out[:, :1, :1, :1]).all() and (x.grad == x.grad[:, :1, :1, :1]).all(), "one number for a whole image"
    return out[:, 0, 0, 0].detach().numpy(), x.grad[:, 0, 0, 0].numpy()


class Times(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x):
        return self.by * x


@pytest.mark.parametrize("per", ["image", "batch"])
def test_shake_shake_weighs_two_branches_forward_and_backward_each_anew(per):
    """x_out = α 10 x + (1 - α) 20 x, so that α is told by the sum; backward the same with β, gradients alone."""
    block = ShakeShake(Times(10.0), Times(20.0), per).train()
    out, back = shaken(block, 400)
    alpha, beta = (20 - out) / 10, (20 - back) / 10
    for draws in (alpha, beta):
        assert (draws >= 0).all() and (draws <= 1).all()
        assert len(np.unique(draws.round(9))) == (400 if per == "image" else 1)
    assert not np.allclose(alpha, beta)
    if per == "image":
        assert abs(alpha.mean() - 0.5) < 0.05 and abs(alpha.std() - 12**-0.5) < 0.03, "uniform in [0, 1]"
        assert abs(np.corrcoef(alpha, beta)[0, 1]) < 0.15, "one says nothing of the other"
    out, back = shaken(block.eval(), 3)
    assert out.tolist() == back.tolist() == [15.0] * 3, "1/2 of each in evaluation"


def test_shake_drop_keeps_a_branch_or_shakes_it():
    """With b = 1 the branch goes through; with b = 0 times α in [-1, 1] forward and β in [0, 1] backward, per image."""
    block, kept = ShakeDrop(0.7).train(), 0
    alphas, betas = [], []
    for seed in range(300):
        out, back = shaken(block, 4, seed)
        if np.allclose(out, 1):
            assert np.allclose(back, 1)
            kept += 1
        else:
            assert len(np.unique(out)) == len(np.unique(back)) == 4
            alphas, betas = [*alphas, *out], [*betas, *back]
    assert abs(kept / 300 - 0.7) < 0.08
    assert -1 <= min(alphas) < -0.9 and 0.9 < max(alphas) <= 1 and abs(np.mean(alphas)) < 0.15
    assert 0 <= min(betas) < 0.1 and 0.9 < max(betas) <= 1 and abs(np.mean(betas) - 0.5) < 0.08
    out, back = shaken(block.eval(), 3)
    assert out == pytest.approx(0.7) and back == pytest.approx(0.7), "the mean of b + α - b α is p"


def test_p_falls_on_a_line_from_the_first_block_to_the_last():
    model = shake_drop(cifar_resnet(20, 5, width=4), 0.5)
    ends = [block.branch[-1] for block in residuals(model)]
    assert all(isinstance(end, ShakeDrop) for end in ends)
    assert [end.survival for end in ends] == pytest.approx([1 - place / 9 * 0.5 for place in range(1, 10)])
    with pytest.raises(ValueError, match=r"a probability in \(0, 1\], got 0"):
        shakedrop_resnet(20, 5, last=0)


@pytest.mark.parametrize("name", ["shakedrop-resnet20", "shakedrop-pyramidnet101-240"])
def test_a_network_that_shakes_has_the_weights_of_the_one_that_does_not(name):
    plain = name.removeprefix("shakedrop-")
    with torch.device("meta"):
        a, b = MODELS[name](num_classes=7), MODELS[plain](num_classes=7)
    assert a.state_dict().keys() == b.state_dict().keys() and parameters(a) == parameters(b)


@pytest.mark.parametrize(("width", "millions"), [(32, 2.9), (64, 11.7), (96, 26.2)])
def test_shake_shake_has_the_parameters_that_its_paper_prints(width, millions):
    with torch.device("meta"):
        assert round(parameters(shake_resnet(26, 10, width)) / 1e6, 1) == millions


def test_the_shortcut_sees_two_pixels_of_every_four():
    """Half of the channels see every second pixel, half the one right below it; beyond the edge there is none."""
    flows = TwoFlows(1, 2, 2).double()
    flows.norm = nn.Identity()
    for flow in (flows.one, flows.two):
        flow.weight.data.fill_(1)
    x = torch.arange(25.0, dtype=torch.float64).view(1, 1, 5, 5)
    first, second = flows(x)[0]
    assert first.tolist() == [[0, 2, 4], [10, 12, 14], [20, 22, 24]]
    assert second.tolist() == [[6, 8, 0], [16, 18, 0], [0, 0, 0]]


def test_training_passes_differ_and_evaluation_repeats_itself():
    for model in (shake_resnet(8, 5, 4), shakedrop_resnet(20, 5, 4), shakedrop_pyramidnet(11, 5, 12)):
        x = torch.randn(4, 3, 16, 16)
        assert not torch.equal(model.train()(x), model(x))
        assert torch.equal(model.eval()(x), model(x))


def test_self_guidance_can_sample_a_network_that_shakes():
    """A block that shakes is a residual block: it can be left out as any other."""
    torch.manual_seed(0)
    model, x = shake_resnet(8, 5, 4).eval(), torch.randn(2, 3, 16, 16)
    with sampled(model, [True] * 3):
        whole = model(x)
    with sampled(model, [True, False, True]):
        assert not torch.equal(model(x), whole)
    with pytest.raises(ValueError, match="survival"):
        SelfGuidance(model)


def test_shapes_that_are_none_are_refused():
    with pytest.raises(ValueError, match="depth 6n.2 .* even width, got depth=27"):
        shake_resnet(27, 5)
    with pytest.raises(ValueError, match="per is 'image' or 'batch', got 'pixel'"):
        shake_resnet(26, 5, per="pixel")
