"""Networks that torchvision has: built by its own code, with its ImageNet weights on request."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def from_torchvision(name: str, num_classes: int, pretrained: bool = False, **options: Any) -> nn.Module:
    """torchvision's network `name`: random weights and `options`, or, with pretrained, its first ImageNet weights.

    These are IMAGENET1K_V1, downloaded once. For other than ImageNet's 1000 classes the last layer is new.
    ConnectionError where the weights are neither on disk nor to be fetched.
    """
    from torchvision import models

    build = getattr(models, name)
    if not pretrained:
        net = build(num_classes=num_classes, **options)
    else:
        weights = models.get_model_weights(name).IMAGENET1K_V1
        try:
            net = build(weights=weights, progress=False)
        except OSError as failure:
            raise ConnectionError(
                f"pretrained=True needs torchvision's weights of {name}, and fetching them failed ({failure}): "
                f"go online once, or put {weights.url} into {torch.hub.get_dir()}/checkpoints"
            ) from failure
        place, last = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
        if last.out_features != num_classes:
            holder, _, attribute = place.rpartition(".")
            setattr(net.get_submodule(holder), attribute, nn.Linear(last.in_features, num_classes))
    for module in net.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # a tapped map, or what a hook looks at, must stay as it is
    return net


def stem_size(stem: str, pretrained: bool = False) -> int:
    """How many pixels a cell of the first stage stands for, per side: 1 with CIFAR's stem, 4 with ImageNet's."""
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"the stem is 'cifar' (32 px) or 'imagenet' (224 px), got {stem!r}")
    if pretrained and stem == "cifar":
        raise ValueError("pretrained weights belong to ImageNet's stem: say stem='imagenet', or pretrained=False")
    return 1 if stem == "cifar" else 4
