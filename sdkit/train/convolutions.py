"""Whether a CPU's convolutions in bfloat16 are right: each shape is tried once, and one that is not runs in float32.

A kernel of a single pixel is a product and is not tried: with a stride, the trial itself could end the process, see
`models.Projection`.

Some are not: with PyTorch 2.13 on a processor with AVX512-BF16, in channels-last order, a kernel of 8x8 over 8 channels, or of
4x4 over 16, that leaves a single column gives numbers that have nothing to do with its input, while its gradients are right.
Such convolutions stand in the shallow exits of a network for images of 8x8 pixels.

References:
    Incorrect bf16 results in Conv. https://github.com/pytorch/pytorch/issues/163347
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

WRONG = 0.05
"""Relative error of an output or a gradient beyond which it is no rounding: bfloat16 has 8 bits, and leaves 0.003."""


class Shape(NamedTuple):
    """Of a convolution, all that decides how it is computed."""

    images: tuple[int, ...]  # [B, C, H, W]
    weight: tuple[int, ...]
    stride: Any
    padding: Any
    dilation: Any
    groups: int
    channels_last: tuple[bool, bool]  # images, weight


@functools.cache
def watch() -> None:
    """From now on every `nn.Conv2d` of this process, of more than a pixel, is right in bfloat16 on a CPU or done in float32."""
    nn.modules.module.register_module_forward_hook(_right)


def _right(module: nn.Module, given: tuple[Any, ...], out: Any) -> Any:
    """A hook: the convolution in float32, where it is wrong in bfloat16; None leaves it as it is."""
    if not isinstance(module, nn.Conv2d) or max(module.kernel_size) == 1:
        return None
    if out.dtype != torch.bfloat16 or out.device.type != "cpu":
        return None
    x, w = given[0], module.weight
    last = (x.is_contiguous(memory_format=torch.channels_last), w.is_contiguous(memory_format=torch.channels_last))
    if error(Shape(x.shape, w.shape, module.stride, module.padding, module.dilation, module.groups, last)) <= WRONG:
        return None
    with torch.autocast("cpu", enabled=False):
        return module._conv_forward(x.float(), w.float(), None if module.bias is None else module.bias.float())


@functools.lru_cache(maxsize=4096)
def error(shape: Shape) -> float:
    """The largest relative error of such a convolution's output and gradients in bfloat16, on random numbers."""
    chance = torch.Generator().manual_seed(0)
    order = [torch.channels_last if last else torch.contiguous_format for last in shape.channels_last]
    sizes = shape.images, shape.weight
    with torch.inference_mode(False), torch.enable_grad():
        x, w = (
            torch.randn(*size, generator=chance).contiguous(memory_format=form) for size, form in zip(sizes, order, strict=True)
        )
        found, pull = [], None
        for half in (False, True):
            inputs = x.clone().requires_grad_(), w.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = F.conv2d(*inputs, None, shape.stride, shape.padding, shape.dilation, shape.groups).float()
            pull = torch.randn(out.shape, generator=chance) if pull is None else pull
            found.append((out.detach(), *torch.autograd.grad(out, inputs, pull)))
    return max(float((a - b).norm() / a.norm().clamp_min(1e-12)) for a, b in zip(*found, strict=True))
