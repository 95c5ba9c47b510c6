"""Residual networks: CIFAR's (He et al. 2016, Sec. 4.2), ImageNet's with either stem, and the small one of our labs."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone, Projection, Residual, initialise, linear_survival, pooled, sections_of, small_stem
from .borrowed import Stem, from_torchvision, stem_size
from .options import network

Block = Literal["basic", "projected", "bottleneck"]


class Shrink(nn.Module):
    """The parameter-free shortcut (option A): every stride-th pixel, the new channels zero."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = c_out - c_in, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


def basic(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """Two 3x3 convolutions."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(),
        nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out),
    )  # fmt: skip


def bottleneck(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """1x1 to a quarter of the width, 3x3, and 1x1 back."""
    c = c_out // 4
    return nn.Sequential(
        nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
        nn.Conv2d(c, c, 3, stride, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
        nn.Conv2d(c, c_out, 1, bias=False), nn.BatchNorm2d(c_out),
    )  # fmt: skip


def shortcut(c_in: int, c_out: int, stride: int, option: str) -> nn.Module:
    """Option A pads with zeros, option B projects with a 1x1 convolution where the shape changes."""
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    if option == "A":
        return Shrink(c_in, c_out, stride)
    return nn.Sequential(Projection(c_in, c_out, stride), nn.BatchNorm2d(c_out))


def rows_of_blocks(c_in: int, widths: list[int], blocks: int, option: str, branch=basic) -> list[list[Residual]]:
    """One row of blocks per width, each but the first halving the map."""
    rows = []
    for s, c_out in enumerate(widths):
        row = []
        for b in range(blocks):
            stride = 2 if s > 0 and b == 0 else 1
            row.append(Residual(branch(c_in, c_out, stride), shortcut(c_in, c_out, stride, option)))
            c_in = c_out
        rows.append(row)
    return rows


@network
def cifar_resnet(
    depth: int, num_classes: int, width: int = 16, block: Block = "basic", survival: float = 1.0, sections: int = 3
) -> Backbone:
    """CIFAR ResNet for 32x32 images: three stages of blocks with parameter-free shortcuts.

    depth: 6n+2 with basic blocks (20, 32, 56, 110), 9n+2 with block="bottleneck" (paper 002's ResNet-110, 1.15M; its
    shortcuts project). block="projected" is basic blocks whose shortcuts project: with them, and not without, ResNet-32 and
    ONE and OKDDip on it have every count that paper 002 prints. width: of the first stage, 16; paper 003's WideResNet20-8
    and 44-8 have 8 times that. survival: of the last block, see `Residual`. sections: 3, or 4 for BYOT's four exits, see
    `sections_of`.
    """
    kinds = {"basic": (6, basic, 1, "A"), "projected": (6, basic, 1, "B"), "bottleneck": (9, bottleneck, 4, "B")}
    if block not in kinds:
        raise ValueError(f"a block is 'basic', 'projected' or 'bottleneck', got {block!r}")
    per, branch, wider, option = kinds[block]
    blocks = (depth - 2) // per
    if per * blocks + 2 != depth or blocks < 1:
        examples = "20, 32, 56, 110" if per == 6 else "29, 56, 110"
        raise ValueError(f"CIFAR ResNets of {block} blocks have depth {per}n+2 ({examples}, ...), got {depth}")
    widths = [wider * width * 2**s for s in range(3)]
    rows = rows_of_blocks(width, widths, blocks, option, branch)
    stages, channels, strides = sections_of(rows, [[w] * blocks for w in widths], sections)
    model = Backbone(small_stem(width), stages, pooled(), nn.Linear(channels[-1], num_classes), channels, strides)
    initialise(model)
    linear_survival(model, survival)
    return model


@network
def four_stage(num_classes: int, width: int = 8, blocks: int = 1, survival: float = 1.0) -> Backbone:
    """ResNet-18's outline at an eighth of its width and half its depth, for a laptop: four stages of `blocks` basic blocks."""
    if width < 4 or blocks < 1:
        raise ValueError(f"the four-stage network needs width >= 4 and blocks >= 1, got width={width}, blocks={blocks}")
    widths = [width, 2 * width, 4 * width, 8 * width]
    stages = [nn.Sequential(*row) for row in rows_of_blocks(width, widths, blocks, "B")]
    model = Backbone(small_stem(width), stages, pooled(), nn.Linear(widths[-1], num_classes), widths, (1, 2, 4, 8))
    initialise(model)
    linear_survival(model, survival)
    return model


@network
def imagenet_resnet(
    depth: int, num_classes: int, stem: Stem = "cifar", survival: float = 1.0, pretrained: bool = False
) -> Backbone:
    """torchvision's ResNet-18/34/50/101/152. stem: "cifar" is one 3x3 convolution with stride 1 and no pooling (32 px);
    "imagenet" is 7x7 with stride 2 and max pooling (224 px). pretrained: ImageNet weights, see `from_torchvision`."""
    if depth not in (18, 34, 50, 101, 152):
        raise ValueError(f"ImageNet ResNets have depth 18, 34, 50, 101, 152, got {depth}")
    return of_four_layers(f"resnet{depth}", num_classes, stem, survival, pretrained)


@network
def imagenet_resnext(num_classes: int, stem: Stem = "cifar", survival: float = 1.0, pretrained: bool = False) -> Backbone:
    """torchvision's ResNeXt-50 (32x4d), with the options of `imagenet_resnet`. Paper 004 puts CIFAR's stem before it."""
    return of_four_layers("resnext50_32x4d", num_classes, stem, survival, pretrained)


def of_four_layers(name: str, num_classes: int, stem: str, survival: float, pretrained: bool) -> Backbone:
    """A residual network of torchvision's: its four layers as stages, every block's branch and shortcut told apart."""
    base = stem_size(stem, pretrained)
    net = from_torchvision(name, num_classes, pretrained)
    if stem == "cifar":
        first = small_stem(64)
        initialise(first)
    else:
        first = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    stages = [nn.Sequential(*map(opened, layer)) for layer in (net.layer1, net.layer2, net.layer3, net.layer4)]
    widths = [net.fc.in_features // 2**s for s in (3, 2, 1, 0)]
    model = Backbone(first, stages, pooled(), net.fc, widths, [base * 2**s for s in range(4)])
    linear_survival(model, survival)
    return model


def opened(block: nn.Module) -> Residual:
    """torchvision's residual block with its branch and its shortcut told apart, the same weights inside."""
    layers = [block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2]
    if hasattr(block, "conv3"):
        layers += [nn.ReLU(), block.conv3, block.bn3]
    return Residual(nn.Sequential(*layers), block.downsample or nn.Identity())
