"""PyramidNet (Han et al. 2017): a residual network that widens a little with every block."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone, PlainSum, initialise, linear_survival, pooled, sections_of
from .options import network


class Widen(nn.Module):
    """The parameter-free shortcut: means of 2x2 pixels where the map halves, the new channels zero and last."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.extra, self.stride = c_out - c_in, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        return F.pad(x, (0, 0, 0, 0, 0, self.extra))


def bottleneck(c_in: int, c: int, stride: int) -> nn.Sequential:
    """1x1 to c, 3x3, 1x1 to 4c; a batch norm first and last, no ReLU before the first convolution."""
    return nn.Sequential(
        nn.BatchNorm2d(c_in), nn.Conv2d(c_in, c, 1, bias=False),
        nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 3, stride, 1, bias=False),
        nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 4 * c, 1, bias=False),
        nn.BatchNorm2d(4 * c),
    )  # fmt: skip


@network
def pyramidnet(depth: int, num_classes: int, alpha: int = 240, survival: float = 1.0, sections: int = 3) -> Backbone:
    """PyramidNet of bottleneck blocks for 32x32 images; block k of N is 4 (16 + alpha k / N) wide (Han et al. 2017, Eq. 3).

    depth: 9n+2. alpha: the widening, all blocks together. Our reading: widths are rounded, as in the released code.
    survival: of the last block, see `Residual`. sections: 3, or 4 for BYOT's four exits, see `sections_of`.
    The last batch norm and ReLU belong to the last stage.
    """
    blocks = (depth - 2) // 9
    if 9 * blocks + 2 != depth or blocks < 1:
        raise ValueError(f"PyramidNets of bottleneck blocks have depth 9n+2 (101, 110, 164, ...), got {depth}")
    if alpha < 0:
        raise ValueError(f"a PyramidNet widens by alpha >= 0 channels, got {alpha}")
    c_in, rows, widths = 16, [], []
    for s in range(3):
        row = []
        for b in range(blocks):
            c = round(16 + alpha * (s * blocks + b + 1) / (3 * blocks))
            stride = 2 if s > 0 and b == 0 else 1
            row.append(PlainSum(bottleneck(c_in, c, stride), Widen(c_in, 4 * c, stride)))
            c_in = 4 * c
        rows.append(row)
        widths.append([block.branch[-1].num_features for block in row])
    stages, channels, strides = sections_of(rows, widths, sections, [nn.BatchNorm2d(c_in), nn.ReLU()])
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
    model = Backbone(stem, stages, pooled(), nn.Linear(c_in, num_classes), channels, strides)
    initialise(model)
    linear_survival(model, survival)
    return model
