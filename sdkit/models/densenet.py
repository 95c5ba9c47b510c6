"""Densely connected networks (Huang et al. 2017): CIFAR's plain ones, and ImageNet's DenseNet-121 with either stem.

A stage is a dense block with the transition before it; the last batch norm and ReLU belong to the last stage.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .backbone import Backbone, initialise, pooled, sections_of, small_stem
from .borrowed import Stem, from_torchvision, stem_size
from .options import network


class Dense(nn.Module):
    """What came in, and `growth` new maps of it."""

    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.grown = nn.Sequential(nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, growth, 3, 1, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.grown(x)], 1)


@network
def densenet(depth: int, num_classes: int, growth: int = 12, sections: int = 3) -> Backbone:
    """DenseNet without bottlenecks and compression for 32x32 images: three blocks of (depth - 4) / 3 layers.

    depth: 3n+4. growth: new maps per layer, k. sections: 3, or 4 for BYOT's four exits, see `sections_of`.
    """
    layers = (depth - 4) // 3
    if 3 * layers + 4 != depth or layers < 1:
        raise ValueError(f"DenseNets without bottlenecks have depth 3n+4 (22, 40, 100, ...), got {depth}")
    if growth < 1:
        raise ValueError(f"a dense layer adds at least one map, got growth={growth}")
    c, rows, widths = 16, [], []
    for s in range(3):
        row, wide = [], []
        for n in range(layers):
            layer = Dense(c, growth)
            if s > 0 and n == 0:
                layer = nn.Sequential(*transition(c), layer)
            row.append(layer)
            c += growth
            wide.append(c)
        rows.append(row)
        widths.append(wide)
    stages, channels, strides = sections_of(rows, widths, sections, [nn.BatchNorm2d(c), nn.ReLU()])
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False))
    model = Backbone(stem, stages, pooled(), nn.Linear(c, num_classes), channels, strides)
    initialise(model)
    return model


def transition(c: int) -> list[nn.Module]:
    """Between two blocks: a 1x1 convolution that keeps the width, and means of 2x2 pixels."""
    return [nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 1, bias=False), nn.AvgPool2d(2)]


@network
def densenet_121(num_classes: int, stem: Stem = "cifar", pretrained: bool = False) -> Backbone:
    """torchvision's DenseNet-121. stem: "cifar" is one 3x3 convolution at full size (32 px, paper 004), "imagenet" is 7x7 with
    stride 2 and max pooling (224 px). pretrained: ImageNet weights, see `from_torchvision`."""
    base = stem_size(stem, pretrained)
    net = from_torchvision("densenet121", num_classes, pretrained)
    parts = dict(net.features.named_children())
    if stem == "cifar":
        first = small_stem(64)
        initialise(first)
    else:
        first = nn.Sequential(*(parts[name] for name in ("conv0", "norm0", "relu0", "pool0")))
    stages = [nn.Sequential(parts["denseblock1"])]
    stages += [nn.Sequential(parts[f"transition{s}"], parts[f"denseblock{s + 1}"]) for s in (1, 2, 3)]
    stages[-1].extend([parts["norm5"], nn.ReLU()])
    return Backbone(first, stages, pooled(), net.classifier, (256, 512, 1024, 1024), [base * 2**s for s in range(4)])
