"""Every network by name, each a `Backbone`: called with `num_classes` and the network's own options."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .backbone import Backbone, Head, Residual, convolutions, parameters, residuals, sampled, still_statistics
from .resnet import cifar_resnet, four_stage, imagenet_resnet

MODELS: dict[str, Callable[..., Backbone]] = {
    "four-stage": four_stage,
    **{f"resnet{d}": partial(cifar_resnet, d) for d in (20, 32, 56, 110)},
    **{f"resnet{d}": partial(imagenet_resnet, d) for d in (18, 34, 50)},
}

ABOUT: dict[str, str] = {
    "four-stage": "four stages of one basic block, 16 to 128 wide: the laptop's network",
    **{f"resnet{d}": f"CIFAR ResNet-{d}, three stages of basic blocks (He et al. 2016)" for d in (20, 32, 56, 110)},
    **{f"resnet{d}": f"ResNet-{d}, four stages; stem='cifar' (default) or 'imagenet'" for d in (18, 34, 50)},
}

__all__ = [
    "ABOUT", "MODELS", "Backbone", "Head", "Residual", "cifar_resnet", "convolutions", "four_stage", "imagenet_resnet",
    "parameters", "residuals", "sampled", "still_statistics",
]  # fmt: skip
