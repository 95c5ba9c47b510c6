"""Pre-activation ResNets (He et al. 2016b), and the wide ones made of the same block (Zagoruyko and Komodakis 2016).

Their last batch norm and ReLU belong to the last stage: its map is what the neck pools, and what Grad-CAM looks at.
"""

from __future__ import annotations

from torch import nn

from .backbone import Backbone, PlainSum, Projection, initialise, linear_survival, pooled, sections_of
from .options import network


def norm_relu(channels: int) -> list[nn.Module]:
    """What comes before a convolution here, and once more before the neck."""
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def block(c_in: int, c_out: int, stride: int) -> nn.Module:
    """Two 3x3 convolutions, each after a batch norm and a ReLU. Where the shape changes, the first pair of these stands before
    the shortcut too, a 1x1 convolution; a dropped block still computes it."""
    body = [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), *norm_relu(c_out), nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)]
    if stride == 1 and c_in == c_out:
        return PlainSum(nn.Sequential(*norm_relu(c_in), *body), nn.Identity())
    return nn.Sequential(*norm_relu(c_in), PlainSum(nn.Sequential(*body), Projection(c_in, c_out, stride)))


def rows_of_blocks(c_in: int, widths: list[int], blocks: list[int]) -> list[list[nn.Module]]:
    """One row of blocks per width, each but the first halving the map."""
    rows = []
    for s, (c_out, n) in enumerate(zip(widths, blocks, strict=True)):
        rows.append([block(c_in if b == 0 else c_out, c_out, 2 if s > 0 and b == 0 else 1) for b in range(n)])
        c_in = c_out
    return rows


@network
def preact_resnet(depth: int, num_classes: int, width: int = 64, survival: float = 1.0) -> Backbone:
    """Pre-activation ResNet-18 or -34 for 32x32 images: four stages, from `width` to 8 times that. survival: see `Residual`."""
    kinds = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}
    if depth not in kinds:
        raise ValueError(f"pre-activation ResNets have depth 18 or 34, got {depth}")
    widths = [width * 2**s for s in range(4)]
    rows = rows_of_blocks(width, widths, kinds[depth])
    rows[-1] += norm_relu(widths[-1])
    stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False))
    stages = [nn.Sequential(*row) for row in rows]
    model = Backbone(stem, stages, pooled(), nn.Linear(widths[-1], num_classes), widths, (1, 2, 4, 8))
    initialise(model)
    linear_survival(model, survival)
    return model


@network
def wide_resnet(depth: int, num_classes: int, widen: int = 10, survival: float = 1.0, sections: int = 3) -> Backbone:
    """WRN-depth-widen for 32x32 images: three stages of pre-activation blocks, `widen` times as wide as a CIFAR ResNet's.

    depth: 6n+4. survival: of the last block, see `Residual`. sections: 3, or 4 for BYOT's four exits, see `sections_of`.
    """
    blocks = (depth - 4) // 6
    if 6 * blocks + 4 != depth or blocks < 1:
        raise ValueError(
            f"wide ResNets have depth 6n+4 (16, 28, 40, ...), got {depth}: paper 003's WideResNet20-8 and 44-8 are "
            "cifar_resnet(20, width=128) and cifar_resnet(44, width=128)"
        )
    if widen < 1:
        raise ValueError(f"a wide ResNet is at least once as wide, got widen={widen}")
    widths = [16 * widen * 2**s for s in range(3)]
    rows = rows_of_blocks(16, widths, [blocks] * 3)
    stages, channels, strides = sections_of(rows, [[w] * blocks for w in widths], sections, norm_relu(widths[-1]))
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False))
    model = Backbone(stem, stages, pooled(), nn.Linear(widths[-1], num_classes), channels, strides)
    initialise(model)
    linear_survival(model, survival)
    return model
