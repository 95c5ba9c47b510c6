"""The fast gradient sign method as an analysis: against a network whose gradient can be written down, and what heat hides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sdkit import figures
from sdkit.analysis import AttackCurve, fgsm


def two_class(scale: float = 1.0) -> nn.Sequential:
    """Logits (0, scale times the sum of the pixels), of images with one pixel of three colours."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    net[1].weight.data = torch.tensor([[0.0] * 3, [scale] * 3])
    return net


def pixels(n: int = 50):
    x = torch.randn(n, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    return x, (x.sum((1, 2, 3)) > 0).long()


def test_an_image_falls_where_the_attack_moves_its_sum_across_zero():
    """Every pixel moves by epsilon against the label, the sum by three times that: right as long as |sum| > 3 epsilon."""
    (x, y), epsilons = pixels(), [0.0, 0.1, 0.3, 1.0]
    curve = fgsm(two_class(), x, y, epsilons, batch_size=7)
    sums = x.sum((1, 2, 3)).abs().numpy()
    assert curve.accuracy.tolist() == pytest.approx([np.mean(sums > 3 * e) for e in epsilons])
    loss = [np.mean(np.log1p(np.exp(-(sums - 3 * e)))) for e in epsilons]
    assert curve.loss.tolist() == pytest.approx(loss, rel=1e-5) and curve.silent == 0
    assert curve.epsilon.tolist() == epsilons


def test_with_the_deviation_epsilon_is_in_the_unit_of_pixels():
    x, y = pixels()
    sums = x.sum((1, 2, 3)).abs().numpy()
    curve = fgsm(two_class(), x, y, [0.05], std=(0.2, 0.25, 0.5))
    assert curve.accuracy.tolist() == pytest.approx([np.mean(sums > 0.05 * (5 + 4 + 2))])


def test_a_network_that_is_too_sure_shows_no_gradient_until_it_is_asked_at_its_temperature():
    """What defensive distillation does: the images fall as before, but the attacker cannot see where to."""
    (x, y), epsilons = pixels(), [0.0, 0.3, 1.0]
    plain, sure = fgsm(two_class(), x, y, epsilons), fgsm(two_class(1e4), x, y, epsilons)
    assert sure.silent > 0.9 and sure.accuracy[-1] > 0.9 > plain.accuracy[-1]
    seen = fgsm(two_class(1e4), x, y, epsilons, temperature=1e4)
    assert seen.silent == 0 and torch.equal(seen.accuracy, plain.accuracy)


@pytest.mark.parametrize("given", [{"epsilons": []}, {"epsilons": [-0.1]}, {"epsilons": [0.1], "temperature": 0.0}])
def test_what_is_no_attack_is_refused(given):
    with pytest.raises(ValueError, match="an attack has finite epsilons >= 0 and a temperature > 0"):
        fgsm(two_class(), *pixels(), **given)


def test_the_figure_says_accuracy_in_percent_grey_levels_and_where_the_attack_is_blind():
    epsilon = torch.tensor([0.0, 4 / 255], dtype=torch.float64)
    curves = {"vanilla": AttackCurve(epsilon, torch.tensor([0.9, 0.3]), epsilon, 0.0)}
    curves["defensive"] = AttackCurve(epsilon, torch.tensor([0.9, 0.8]), epsilon, 0.75)
    _, ax = figures.new()
    assert figures.under_attack(curves, ax) is ax
    drawn = {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in ax.lines}
    assert drawn["vanilla"] == (pytest.approx([0, 4]), pytest.approx([90, 30]))
    assert drawn["defensive (no gradient: 75 %)"][1] == pytest.approx([90, 80])
