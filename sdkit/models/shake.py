"""Blocks that shake: branches weighed at random, forward and backward each anew (Gastaldi 2017; Yamada et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .backbone import Backbone, PlainSum, Projection, initialise, pooled, residuals, sections_of
from .options import network
from .pyramid import pyramidnet
from .resnet import cifar_resnet

Per = Literal["image", "batch"]


def shaken(x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """`forward` times x, whose gradient is `backward` times what comes back. [B, C, H, W], weights [B, 1, 1, 1] -> as x."""
    return backward * x + ((forward - backward) * x).detach()


def drawn(x: Tensor, low: float = 0.0, alike: bool = False) -> Tensor:
    """Uniform numbers from `low` to 1, one an image, or with `alike` one for the batch. -> [B or 1, 1, 1, 1]."""
    n = 1 if alike else len(x)
    return (low + (1 - low) * torch.rand(n, 1, 1, 1, device=x.device)).to(x.dtype)


class ShakeShake(nn.Module):
    """α f_1(x) + (1 - α) f_2(x) forward, and backward as if α were β; both uniform in [0, 1]. In evaluation α is 1/2.

    Args:
        first: A branch, images' maps in and out.
        second: Another one of the same sizes.
        per: "image": α and β are each image's own, the paper's best. "batch": one of each for all images.

    Raises:
        ValueError: `per` is neither.

    References:
        Shake-Shake regularization. X. Gastaldi, 2017, Sec. 1.2. https://arxiv.org/abs/1705.07485
    """

    def __init__(self, first: nn.Module, second: nn.Module, per: str = "image") -> None:
        super().__init__()
        if per not in ("image", "batch"):
            raise ValueError(f"Shake-Shake draws per 'image' or per 'batch', got {per!r}")
        self.first, self.second, self.alike = first, second, per == "batch"

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C_out, H_out, W_out]."""
        one, two = self.first(x), self.second(x)
        if not self.training:
            return (one + two) / 2
        alpha, beta = drawn(one, alike=self.alike), drawn(one, alike=self.alike)
        return shaken(one, alpha, beta) + shaken(two, 1 - alpha, 1 - beta)


class ShakeDrop(nn.Module):
    """The end of a residual branch: (b + α - b α) x forward, (b + β - b β) times the gradient backward, p x in evaluation.

    b is 1 with probability p, one draw for the batch; α is uniform in [-1, 1] and β in [0, 1], each image's own: p is the mean.

    Args:
        survival: p, in (0, 1]. 1 leaves the branch as it is.

    References:
        ShakeDrop Regularization for Deep Residual Learning. Y. Yamada, M. Iwamura, T. Akiba and K. Kise, IEEE Access, 2019,
        Sec. III. https://arxiv.org/abs/1802.02375
    """

    def __init__(self, survival: float) -> None:
        super().__init__()
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        if not self.training:
            return self.survival * x
        stays = (torch.rand((), device=x.device) < self.survival).to(x.dtype)
        alpha, beta = drawn(x, -1.0), drawn(x)
        return shaken(x, stays + (1 - stays) * alpha, stays + (1 - stays) * beta)


def shake_drop(model: Backbone, last: float) -> Backbone:
    """The network itself, each residual branch ending in `ShakeDrop`, p_l = 1 - l / L (1 - p_L) for l = 1 ... L.

    Args:
        model: A residual network.
        last: p_L, of the last block, in (0, 1]. The paper's 0.5.

    Returns:
        `model`, changed.

    Raises:
        ValueError: `last` is no such probability.
    """
    if not 0 < last <= 1:
        raise ValueError(f"ShakeDrop's last block stays with a probability in (0, 1], got {last}")
    blocks = residuals(model)
    for place, block in enumerate(blocks, 1):
        block.branch = nn.Sequential(*block.branch.children(), ShakeDrop(1 - place / len(blocks) * (1 - last)))
    return model


@network
def shakedrop_resnet(depth: int, num_classes: int, width: int = 16, last: float = 0.5, sections: int = 3) -> Backbone:
    """`cifar_resnet` of basic blocks with `shake_drop`. last: of its last block. sections: 3, or 4 for BYOT's four exits."""
    return shake_drop(cifar_resnet(depth, num_classes, width, sections=sections), last)


@network
def shakedrop_pyramidnet(depth: int, num_classes: int, alpha: int = 240, last: float = 0.5, sections: int = 3) -> Backbone:
    """`pyramidnet` with `shake_drop`. last: of its last block. sections: 3, or 4 for BYOT's four exits."""
    return shake_drop(pyramidnet(depth, num_classes, alpha, sections=sections), last)


class TwoFlows(nn.Module):
    """Shake-Shake's shortcut where the shape changes: half the channels of every stride-th pixel, half of that right below."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = Projection(c_in, c_out // 2, stride), Projection(c_in, c_out // 2, stride)
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C_out, H / stride, W / stride]."""
        x = x.relu()
        return self.norm(torch.cat([self.one(x), self.two(F.pad(x, (-1, 1, -1, 1)))], 1))


def path(c_in: int, c_out: int, stride: int) -> nn.Sequential:
    """ReLU, 3x3, batch norm, ReLU, 3x3, batch norm: one of a block's two branches."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out),
        nn.ReLU(), nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out),
    )  # fmt: skip


@network
def shake_resnet(depth: int, num_classes: int, width: int = 32, per: Per = "image", sections: int = 3) -> Backbone:
    """Shake-Shake's residual network for 32x32 images: three stages of blocks with two branches, `ShakeShake`.

    Args:
        depth: 6n+2; the paper's 26.
        num_classes: K.
        width: Of the first stage, even: "26 2x32d" has 32, its wider ones 64 and 96.
        per: Who shares a draw, see `ShakeShake`.
        sections: 3, or 4 for BYOT's four exits, see `sections_of`.

    Returns:
        The network. The last ReLU belongs to the last stage.

    Raises:
        ValueError: A depth that is none of these, or an odd width.

    References:
        Shake-Shake regularization. X. Gastaldi, 2017, Sec. 2. https://arxiv.org/abs/1705.07485
    """
    blocks = (depth - 2) // 6
    if 6 * blocks + 2 != depth or blocks < 1 or width < 2 or width % 2:
        raise ValueError(f"Shake-Shake has depth 6n+2 (20, 26, 32, ...) and an even width, got {depth=}, {width=}")
    rows, c_in = [], 16
    for s in range(3):
        row = []
        for b in range(blocks):
            c, stride = width * 2**s, 2 if s and not b else 1
            skip = nn.Identity() if c == c_in and stride == 1 else TwoFlows(c_in, c, stride)
            row.append(PlainSum(ShakeShake(path(c_in, c, stride), path(c_in, c, stride), per), skip))
            c_in = c
        rows.append(row)
    stages, channels, strides = sections_of(rows, [[width * 2**s] * blocks for s in range(3)], sections, [nn.ReLU()])
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
    model = Backbone(stem, stages, pooled(), nn.Linear(c_in, num_classes), channels, strides)
    initialise(model)
    return model
