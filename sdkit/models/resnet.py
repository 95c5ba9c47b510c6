"""Residual networks: CIFAR's (He et al. 2016, Sec. 4.2), ImageNet's with either stem, and the small one of our labs."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone, initialise, pooled


class Shrink(nn.Module):
    """The parameter-free shortcut (option A): every stride-th pixel, the new channels zero."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = c_out - c_in, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut. shortcut: "A" pads with zeros, "B" projects with a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        if stride == 1 and c_in == c_out:
            self.skip = nn.Identity()
        elif shortcut == "A":
            self.skip = Shrink(c_in, c_out, stride)
        else:
            self.skip = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return (self.branch(x) + self.skip(x)).relu()


def stages_of_blocks(c_in: int, widths: list[int], blocks: int, shortcut: str) -> list[nn.Sequential]:
    """One stage per width, each but the first halving the map."""
    stages = []
    for s, c_out in enumerate(widths):
        stride = 1 if s == 0 else 2
        first = BasicBlock(c_in, c_out, stride, shortcut)
        stages.append(nn.Sequential(first, *(BasicBlock(c_out, c_out, 1, shortcut) for _ in range(blocks - 1))))
        c_in = c_out
    return stages


def small_stem(width: int) -> nn.Sequential:
    """One 3x3 convolution at full size, for images of 32 pixels."""
    return nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def cifar_resnet(depth: int, num_classes: int, width: int = 16) -> Backbone:
    """ResNet-20/32/56/110 for 32x32 images: three stages of (depth - 2) / 6 basic blocks, parameter-free shortcuts."""
    blocks = (depth - 2) // 6
    if 6 * blocks + 2 != depth or blocks < 1:
        raise ValueError(f"CIFAR ResNets have depth 6n+2 (20, 32, 56, 110, ...), got {depth}")
    widths = [width, 2 * width, 4 * width]
    model = Backbone(
        small_stem(width),
        stages_of_blocks(width, widths, blocks, "A"),
        pooled(),
        nn.Linear(widths[-1], num_classes),
        widths,
        (1, 2, 4),
    )
    initialise(model)
    return model


def four_stage(num_classes: int, width: int = 16, blocks: int = 1) -> Backbone:
    """ResNet-18's outline at a quarter of its width and half its depth, for a laptop: four stages of `blocks` basic blocks."""
    if width < 4 or blocks < 1:
        raise ValueError(f"the four-stage network needs width >= 4 and blocks >= 1, got width={width}, blocks={blocks}")
    widths = [width, 2 * width, 4 * width, 8 * width]
    model = Backbone(
        small_stem(width),
        stages_of_blocks(width, widths, blocks, "B"),
        pooled(),
        nn.Linear(widths[-1], num_classes),
        widths,
        (1, 2, 4, 8),
    )
    initialise(model)
    return model


def imagenet_resnet(depth: int, num_classes: int, stem: str = "cifar") -> Backbone:
    """torchvision's ResNet-18/34/50/101/152. stem: "cifar" is one 3x3 convolution with stride 1 and no pooling (32 px);
    "imagenet" is 7x7 with stride 2 and max pooling (224 px)."""
    import torchvision

    known = {18: (1, 2), 34: (1, 2), 50: (4, 2), 101: (4, 2), 152: (4, 2)}
    if depth not in known:
        raise ValueError(f"ImageNet ResNets have depth {', '.join(map(str, known))}, got {depth}")
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"the stem is 'cifar' (32 px) or 'imagenet' (224 px), got {stem!r}")
    net = getattr(torchvision.models, f"resnet{depth}")(num_classes=num_classes)
    if stem == "cifar":
        first = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), net.bn1, net.relu)
        nn.init.kaiming_normal_(first[0].weight, mode="fan_out", nonlinearity="relu")
    else:
        first = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    widths = [c * known[depth][0] for c in (64, 128, 256, 512)]
    base = 1 if stem == "cifar" else 4
    return Backbone(
        first, [net.layer1, net.layer2, net.layer3, net.layer4], pooled(), net.fc, widths, [base * 2**s for s in range(4)]
    )
