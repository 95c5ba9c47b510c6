"""AutoAugment's learned policy for CIFAR (Cubuk et al. 2019), by torchvision, with draws of the loader's own generator."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..vision import ensure

GREY = 128  # what comes in from outside an image, as in public code of BYOT's journal version


def autoaugmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image under one of the policy's 25 pairs of operations. [B, 3, H, W] of 0..255 -> the same as float32.

    torchvision does an image at a time: tens of times slower than the other distortions.

    Args:
        x: The images.
        generator: Of the draws, on the images' device.

    Returns:
        The images, changed.

    References:
        AutoAugment: Learning Augmentation Strategies from Data, Cubuk, Zoph, Mané, Vasudevan and Le, CVPR 2019,
        https://arxiv.org/abs/1805.09501
    """
    policy, n = _policy(), len(x)
    drawn = torch.rand(n, 5, generator=generator, device=generator.device).tolist()  # which pair; whether, and its sign, of two
    images = x.round().clamp(0, 255).to(torch.uint8)
    out = torch.empty_like(x)
    for k, (which, *rest) in enumerate(drawn):
        policy.drawn = int(which * len(policy.policies)), rest[:2], [int(sign < 0.5) for sign in rest[2:]]
        out[k] = policy(images[k])
    return out


@cache
def _policy() -> Any:
    ensure()
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    class Policy(AutoAugment):
        """With draws that are handed in: the global generator is nobody's here."""

        drawn: tuple[int, list[float], list[int]]

        def get_params(self, transform_num: int) -> Any:  # noqa: ARG002
            which, whether, signs = self.drawn
            return which, torch.tensor(whether), torch.tensor(signs)

    return Policy(AutoAugmentPolicy.CIFAR10, fill=[GREY] * 3)
