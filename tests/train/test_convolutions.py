"""A CPU's convolutions in bfloat16 are right, or they are done in float32."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sdkit import Experiment
from sdkit.models import Projection
from sdkit.train import autocast, convolutions

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def sixteen_bits(monkeypatch):
    monkeypatch.setenv("SDKIT_PRECISION", "bfloat16")


@pytest.mark.parametrize("method", ["byot", "drg+dsr", "multi-exit", "frskd"])
def test_exits_of_a_network_for_small_images_say_what_they_say_in_float32(method, tmp_path, monkeypatch):
    """On a CPU with AVX512-BF16, a kernel of 8x8 over 8 channels gave noise, and DRG 76 % of the digits where it has 96 %."""
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    model, method, data = Experiment(method, data="digits").build(progress=False)
    x = data.normalised(data.test.x[:32]).contiguous(memory_format=torch.channels_last)
    model.to(memory_format=torch.channels_last).eval(), method.to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        whole = method.exits(model.forward_features(x), x)
        with autocast(CPU):
            half = method.exits(model.forward_features(x), x)
    assert len(whole) > 1
    for name, logits in whole.items():
        assert (half[name].float() - logits).norm() < 0.05 * logits.norm(), name


def test_a_convolution_that_is_wrong_in_16_bits_is_done_in_float32(monkeypatch):
    conv, x = nn.Conv2d(3, 5, 3, padding=1), torch.randn(2, 3, 6, 6, requires_grad=True)
    right = conv(x)
    with autocast(CPU):
        assert conv(x).dtype == torch.bfloat16
        monkeypatch.setattr(convolutions, "error", lambda shape: 1.0)
        mended, alike = conv(x), copy.deepcopy(conv)(x)
    assert mended.dtype == torch.float32 and torch.equal(mended, right) and torch.equal(alike, right)
    (pull,) = torch.autograd.grad(mended.sum(), x)
    assert torch.equal(pull, torch.autograd.grad(right.sum(), x)[0])
    with autocast(CPU), torch.autocast("cpu", enabled=False):
        assert torch.equal(conv(x), right), "what is done in float32 anyway is left alone"


def test_each_shape_is_tried_once_and_draws_nothing_from_what_others_draw(monkeypatch):
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 9, 9)
    torch.manual_seed(0)
    said = torch.rand(1)
    torch.manual_seed(0)
    with autocast(CPU), torch.inference_mode():
        conv(x)
        tried = convolutions.error.cache_info().misses
        conv(2 * x)
    assert convolutions.error.cache_info().misses == tried and torch.equal(torch.rand(1), said)
    shape = convolutions.Shape((2, 3, 9, 9), (4, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1, (False, False))
    assert 0 < convolutions.error(shape) < 0.01, "rounding to 8 bits"


def test_a_strided_convolution_of_single_pixels_is_not_tried(monkeypatch):
    """Under AVX-512 the trial's own gradient wrote past its memory, and a training on images of 64 pixels ended its process."""
    monkeypatch.setattr(convolutions, "error", lambda shape: pytest.fail(f"{shape} was tried"))
    layer = Projection(8, 16, 2).to(memory_format=torch.channels_last)
    with autocast(CPU):
        out = layer(torch.randn(12, 8, 112, 112).contiguous(memory_format=torch.channels_last))
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16 and layer.weight.grad.isfinite().all()
