"""CIFAR's ResNeXt (Xie et al. 2017, Sec. 5.3). ImageNet's is in resnet.py."""

from __future__ import annotations

from torch import nn

from .backbone import Backbone, Residual, initialise, linear_survival, pooled, sections_of, small_stem
from .options import network
from .resnet import shortcut


def grouped(c_in: int, c_out: int, stride: int, cardinality: int, width: int) -> nn.Sequential:
    """1x1 to cardinality x width channels, a 3x3 convolution in `cardinality` groups, and 1x1 to c_out."""
    c = cardinality * width
    return nn.Sequential(
        nn.Conv2d(c_in, c, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
        nn.Conv2d(c, c, 3, stride, 1, groups=cardinality, bias=False), nn.BatchNorm2d(c), nn.ReLU(),
        nn.Conv2d(c, c_out, 1, bias=False), nn.BatchNorm2d(c_out),
    )  # fmt: skip


@network
def cifar_resnext(
    depth: int, num_classes: int, cardinality: int = 8, width: int = 64, survival: float = 1.0, sections: int = 3
) -> Backbone:
    """ResNeXt-29, 8x64d, for 32x32 images: three stages of bottleneck blocks, 256 to 1024 wide.

    depth: 9n+2. cardinality, width: groups of the 3x3 convolutions, and how wide each is in the first stage; it doubles with
    every stage. survival: of the last block, see `Residual`. sections: 3, or 4 for BYOT's four exits, see `sections_of`.
    """
    blocks = (depth - 2) // 9
    if 9 * blocks + 2 != depth or blocks < 1:
        raise ValueError(f"CIFAR ResNeXts have depth 9n+2 (20, 29, 38, ...), got {depth}")
    if cardinality < 1 or width < 1:
        raise ValueError(f"ResNeXt needs one group of width 1 or more, got cardinality={cardinality}, width={width}")
    widths, c_in, rows = [256, 512, 1024], 64, []
    for s, c_out in enumerate(widths):
        row = []
        for b in range(blocks):
            stride = 2 if s > 0 and b == 0 else 1
            branch = grouped(c_in, c_out, stride, cardinality, width * 2**s)
            row.append(Residual(branch, shortcut(c_in, c_out, stride, "B")))
            c_in = c_out
        rows.append(row)
    stages, channels, strides = sections_of(rows, [[w] * blocks for w in widths], sections)
    model = Backbone(small_stem(64), stages, pooled(), nn.Linear(widths[-1], num_classes), channels, strides)
    initialise(model)
    linear_survival(model, survival)
    return model
