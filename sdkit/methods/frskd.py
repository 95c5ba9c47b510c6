"""Feature refinement via self-knowledge distillation (Ji et al., CVPR 2021), which paper 004 names."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Features, Knob, temperature
from ..losses import TINY, kd
from ..models.backbone import Backbone, full_precision, pooled, unit
from .base import Method, supervised
from .online import check_int
from .sfr_teacher import attention_map, squared

DEPTH = 2
"""Depth-wise separable convolutions after every sum of maps, as in the released code."""


class Refinement(nn.Module):
    """Maps of one size and a neighbour's become one: a weighted mean, then depth-wise separable convolutions.

    The weights are learned, never negative, and sum to 1. The neighbour is brought to the maps' size, by the
    maximum of the cells that one covers, and to their width.

    Args:
        width: Channels of the maps, and of what comes out.
        neighbour: Channels of the neighbour.
        maps: How many maps there are beside the neighbour.
    """

    def __init__(self, width: int, neighbour: int, maps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(maps + 1))
        self.adapter = nn.Sequential(*unit(neighbour, width, 1))
        separable = (
            [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), *unit(width, width, 1)] for _ in range(DEPTH)
        )
        self.convolutions = nn.Sequential(*(layer for layers in separable for layer in layers))

    def forward(self, maps: Sequence[Tensor], neighbour: Tensor) -> Tensor:
        """[B, C, H, W] each, [B, C_n, H_n, W_n] -> [B, C, H, W]."""
        size = maps[0].shape[2:]
        neighbour = neighbour if neighbour.shape[2:] == size else F.adaptive_max_pool2d(neighbour, size)
        weight = self.weight.relu()
        weight = weight / (weight.sum() + TINY)
        return self.convolutions(sum(w * m for w, m in zip(weight, [*maps, self.adapter(neighbour)], strict=True)))


class SelfTeacher(nn.Module):
    """The refining network: lateral convolutions L, a top-down path P and a bottom-up path T, over a network's S stage maps.

    Args:
        model: The network; only its widths and its number of classes are looked at.
        width: How many times as many channels as the stage each refined map has.
    """

    def __init__(self, model: Backbone, width: int) -> None:
        super().__init__()
        wide = [width * c for c in model.channels]
        last = len(wide) - 1
        self.lateral = nn.ModuleList(nn.Sequential(*unit(c, w, 1)) for c, w in zip(model.channels, wide, strict=True))
        self.down = nn.ModuleList(Refinement(wide[i], wide[i + 1], 1) for i in range(last))
        self.up = nn.ModuleList(Refinement(wide[i], wide[i - 1], 1 if i == last else 2) for i in range(1, last + 1))
        self.pool, self.classifier = pooled(), nn.Linear(wide[-1], model.num_classes)

    def forward(self, stages: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """S maps [B, C_s, H_s, W_s] -> S refined maps [B, width * C_s, H_s, W_s], logits [B, K]."""
        across = [[convolution(f)] for convolution, f in zip(self.lateral, stages, strict=True)]
        top = across[-1][0]
        for maps, refine in zip(across[-2::-1], reversed(self.down), strict=True):
            top = refine(maps, top)
            maps.append(top)
        refined = [top]
        for maps, refine in zip(across[1:], self.up, strict=True):
            refined.append(refine(maps, refined[-1]))
        return refined, full_precision(self.classifier(self.pool(refined[-1])))


class FRSKD(Method):
    """A second network refines the stage maps, and teaches maps and answers back (Ji et al. 2021, Sec. 3).

    L = CE(p, y) + CE(q, y) + α T^2 KL(q || p) + β Σ_s mean (a(T_s) - a(F_s))^2, q and T_s the self-teacher's; T in the KL alone
    a(F) = A / |A|, A = vec(mean_c F_c^2)
    L_s = conv(F_s);   P_s = conv(w_1 L_s + w_2 P_s+1), P_S = L_S;   T_s = conv(w_1 L_s + w_2 P_s + w_3 T_s-1), T_1 = P_1

    Costs the self-teacher's pass, most of it on the largest map. Memory: its weights, none of them deployed.
    Helps when the maps are large enough to look somewhere, as in fine-grained images; a map of one cell learns nothing from it.

    alpha: weight of the refined soft label. 0 teaches by maps alone; above some units the self-teacher counts for more than the
    labels. The released code's command for CIFAR-100 has 2.
    beta: weight of the refined maps. 0 teaches by answers alone; above some hundreds the labels hardly count. There: 100.
    temperature: of both sides of the KL, times T^2. 1 is the outputs as they are, 10 nearly uniform. The released code's is 4.
    width: channels of the self-teacher, in those of the stages. 1 is the lightest, a whole number; each step up costs with its
    square. The released code's is 2.

    The self-teacher learns from the labels alone, and those reach the network through its maps; what is distilled teaches the
    network alone. Squares of the maps' distance, as the released code has them, go with beta = 100; a norm is not small.
    Our readings: both paths share one lateral convolution, and a map gets a neighbour's size by its cells' maxima, so that maps
    of any sizes fit, and token grids, whose maps have one size.

    References:
        Refine Myself by Teaching Myself: Feature Refinement via Self-Knowledge Distillation. M. Ji, S. Shin, S. Hwang, G. Park
        and I.-C. Moon, CVPR 2021. https://arxiv.org/abs/2103.08273
    """

    reads_labels = True
    knobs = {
        "alpha": Knob("α", 0, 5, "no soft label", "the self-teacher counts for more than the labels"),
        "beta": Knob("β", 0, 500, "no refined maps", "the refined maps count for more than the labels"),
        "temperature": temperature(),
    }

    def __init__(self, model, *, alpha: float = 2.0, beta: float = 100.0, temperature: float = 4.0, width: int = 2) -> None:
        super().__init__()
        if len(model.channels) < 2:
            raise ValueError(
                "FRSKD refines each map by the other stages' maps: take a network of 2 stages or more, this one has 1"
            )
        self.alpha, self.beta, self.temperature = alpha, beta, temperature
        self.self_teacher = SelfTeacher(model, check_int("width", width, 1))

    def terms(self, model, out, batch, progress):
        refined, logits = self.self_teacher(out.stages)
        apart = sum(squared(attention_map(f), attention_map(t)) for f, t in zip(out.stages, refined, strict=True))
        return {
            "task": supervised(out.logits, batch),
            "self-teacher ce": supervised(logits, batch),
            "kd": self.alpha * kd(out.logits, logits, self.temperature),
            "maps": self.beta * apart,
        }

    def exits(self, out: Features, x: Tensor) -> dict[str, Tensor]:
        return {"final": out.logits, "self-teacher": self.self_teacher(out.stages)[1]}
