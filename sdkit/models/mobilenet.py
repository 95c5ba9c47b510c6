"""MobileNetV2 (Sandler et al. 2018): torchvision's, its blocks grouped by the size of their maps, and a tiny one."""

from __future__ import annotations

from torch import nn

from .backbone import Backbone, PlainSum, initialise, linear_survival
from .borrowed import Stem, from_torchvision, stem_size
from .options import network

Rows = list[list[int]]
"""A row of blocks: how much the channels grow inside, the channels that come out, how many blocks, the first one's stride."""


@network
def mobilenet_v2(
    num_classes: int, stem: Stem = "cifar", survival: float = 1.0, dropout: float = 0.2, pretrained: bool = False
) -> Backbone:
    """MobileNetV2 in four stages that end at 24, 32, 96 and 1280 channels.

    stem: "imagenet" is torchvision's (224 px); "cifar" is the same with stride 1 in the first convolution and in the first
    row that would halve the map (32 and 64 px). survival: of the last block with a shortcut, see `Residual`.
    dropout: probability, before the classifier. pretrained: ImageNet weights, see `from_torchvision`.
    """
    base = stem_size(stem, pretrained)
    stride = 1 if stem == "cifar" else 2
    rows = [[1, 16, 1, 1], [6, 24, 2, stride], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]]
    options = {} if pretrained else {"inverted_residual_setting": rows}
    net = from_torchvision("mobilenet_v2", num_classes, pretrained, **options)
    net.features[0][0].stride = (stride, stride)
    return in_four_stages(net, (2, 4, 7, 14), [24, 32, 96, 1280], [base * 2**s for s in range(4)], survival, dropout)


@network
def mobilenet_tiny(num_classes: int, survival: float = 1.0, dropout: float = 0.0) -> Backbone:
    """MobileNetV2's outline for a laptop: two blocks per stage, 16 to 128 wide, the first convolution halving the image.

    Options as of `mobilenet_v2`.
    """
    rows = [[1, 8, 1, 1], [4, 16, 2, 1], [4, 24, 2, 2], [4, 32, 2, 2], [4, 64, 2, 2]]
    net = from_torchvision("mobilenet_v2", num_classes, inverted_residual_setting=rows)
    net.features[-1] = nn.Sequential(nn.Conv2d(64, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU6())
    net.classifier[-1] = nn.Linear(128, num_classes)
    initialise(net)
    return in_four_stages(net, (2, 4, 6, 8), [16, 24, 32, 128], [2, 4, 8, 16], survival, dropout)


def in_four_stages(
    net: nn.Module, starts: tuple[int, ...], channels: list[int], strides: list[int], survival: float, dropout: float
) -> Backbone:
    """torchvision's network with four stages that begin at its features `starts`."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a probability in [0, 1), got {dropout}")
    layers = [opened(layer) for layer in net.features]
    ends = [*starts[1:], len(layers)]
    stages = [nn.Sequential(*layers[a:b]) for a, b in zip(starts, ends, strict=True)]
    neck = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
    model = Backbone(nn.Sequential(*layers[: starts[0]]), stages, neck, net.classifier[-1], channels, strides)
    linear_survival(model, survival)
    return model


def opened(layer: nn.Module) -> nn.Module:
    """torchvision's inverted residual with its branch told apart, the same weights inside; other layers as they are."""
    return PlainSum(layer.conv, nn.Identity()) if getattr(layer, "use_res_connect", False) else layer
