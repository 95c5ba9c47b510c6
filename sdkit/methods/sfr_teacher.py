"""Learning from a trained teacher's features: L2, AT and FitNet, alone and with SFR (paper 000, Sec. 4, Tables 1 to 3).

The variance branch is the paper's ("FC+BN" for L2 and AT, "1x1 conv+BN" for FitNet, "to generate variance"): the student
says how sure it can be of each entry, and entries that it cannot reach weigh less. The paper prints no formula: ours is the
negative log-likelihood of a Gaussian, without its constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Features, Knob, pick
from ..losses import kd
from ..models.backbone import full_precision
from .base import Frozen, Method, both_show_stages, same_classes, supervised
from .kd import KD
from .sfr import GRID, SFR, projection

FLOOR = 1e-6
"""The least variance that divides a squared difference."""

EVEN = 0.1
"""What batch normalisation begins to scale a log-variance by: near 1 variance for every entry.

At torch's own 1, some entries weigh fifty times others before anything is known: on maps, the student then hardly learns.
"""


def squared(student: Tensor, teacher: Tensor, log_variance: Tensor | None = None) -> Tensor:
    """Mean of (t - s)^2, or of (t - s)^2 / (FLOOR + e^l) + l where l, the log-variance, is given. Same shapes -> [].

    No gradient reaches the teacher. With a variance the value may be negative.
    """
    gap = (full_precision(teacher).detach() - full_precision(student)).square()
    if log_variance is None:
        return gap.mean()
    log_variance = full_precision(log_variance)
    return (gap / (FLOOR + log_variance.exp()) + log_variance).mean()


def attention_map(feature: Tensor) -> Tensor:
    """Where a map is active: squares averaged over channels, unit length. [B, C, H, W] -> [B, H*W]. AT (2017), Eq. 2."""
    return F.normalize(full_precision(feature).square().mean(1).flatten(1), dim=1)


def half_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the L2 distance, not squared, mean over the batch. [B, N] x2 -> []. AT (2017), Eq. 2. No gradient to the teacher."""
    return (full_precision(teacher).detach() - full_precision(student)).norm(dim=1).mean() / 2


def to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [B, C, H, W] averaged to the smaller height and width of both; their channels stay."""
    size = [min(a, b) for a, b in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    return tuple(f if [*f.shape[2:]] == size else F.adaptive_avg_pool2d(f, size) for f in (student, teacher))


def last_stages(model: nn.Module, teacher: nn.Module, last: int) -> list[int]:
    """The stages that are compared, counted from the end: [-1], [-2, -1] ... As many as both networks have, `last` at most."""
    both_show_stages(model, teacher)
    if last < 1:
        raise ValueError(f"last says how many stages are compared, from the end: at least 1, got {last}")
    return list(range(-min(int(last), len(model.channels), len(teacher.channels)), 0))


class EmbeddingDistance(nn.Module):
    """Squared error of the last embeddings; a linear adapter where their sizes differ. variance: its branch is FC + BN."""

    def __init__(self, model: nn.Module, teacher: nn.Module, variance: bool) -> None:
        super().__init__()
        both_show_stages(model, teacher)
        mine, its = model.classifier.in_features, teacher.classifier.in_features
        self.adapter = nn.Identity() if mine == its else nn.Linear(mine, its)
        self.variance = _even(projection(mine, its)) if variance else None

    def forward(self, out: Features, taught: Features) -> Tensor:
        said = self.variance(out.embedding) if self.variance is not None else None
        return squared(self.adapter(out.embedding), taught.embedding, said)


class AttentionDistance(nn.Module):
    """Squared error of the attention maps of the last stages, or their `half_distance`, summed over stages.

    variance: FC + BN from each stage's pooled features to GRID x GRID entries, stretched to the map's size (our reading: a
    network does not know its maps' sizes before it sees an image).
    """

    def __init__(self, model: nn.Module, teacher: nn.Module, variance: bool, last: int, distance: str = "squared") -> None:
        super().__init__()
        self.distance = pick(distance, ("squared", "norm"), "distance of attention maps")
        if variance and distance == "norm":
            raise ValueError("a variance weighs single squared differences, and the norm has none: use distance='squared'")
        self.stages = last_stages(model, teacher, last)
        grids = (_even(projection(model.channels[i], GRID * GRID)) for i in self.stages)
        self.variance = nn.ModuleList(grids) if variance else None

    def forward(self, out: Features, taught: Features) -> Tensor:
        total = out.logits.new_zeros(())
        for place, i in enumerate(self.stages):
            mine, its = to_smaller(out.stages[i], taught.stages[i])
            said = None
            if self.variance is not None:
                grid = self.variance[place](out.stages[i].mean((2, 3))).unflatten(1, (1, GRID, GRID))
                said = F.adaptive_avg_pool2d(grid, mine.shape[2:]).flatten(1)
            mine, its = attention_map(mine), attention_map(its)
            total = total + (half_distance(mine, its) if self.distance == "norm" else squared(mine, its, said))
        return total


class RegressorDistance(nn.Module):
    """Squared error of some stages' maps after a regressor, 1x1 conv + BN, summed over stages. variance: another such.

    They are the last ones, or those that `stages` names, from 1. relu: the regressor ends with a ReLU, as the maps do.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module,
        variance: bool,
        last: int,
        stages: Sequence[int] | None = None,
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.stages, self.relu = last_stages(model, teacher, last), relu
        if stages is not None:
            depth = min(len(model.channels), len(teacher.channels))
            if not stages or len({*stages}) != len(stages) or not all(1 <= s <= depth for s in stages):
                raise ValueError(f"FitNet's stages are a choice from 1 to {depth} without repeats, got {tuple(stages)}")
            self.stages = [s - 1 for s in stages]
        sizes = [(model.channels[i], teacher.channels[i]) for i in self.stages]
        self.regressor = nn.ModuleList(pointwise(*size) for size in sizes)
        self.variance = nn.ModuleList(_even(pointwise(*size)) for size in sizes) if variance else None

    def forward(self, out: Features, taught: Features) -> Tensor:
        total = out.logits.new_zeros(())
        for place, i in enumerate(self.stages):
            mine, its = to_smaller(out.stages[i], taught.stages[i])
            said = self.variance[place](mine) if self.variance is not None else None
            mine = self.regressor[place](mine)
            total = total + squared(mine.relu() if self.relu else mine, its, said)
        return total


def pointwise(c_in: int, c_out: int) -> nn.Sequential:
    """A 1x1 convolution and batch normalisation."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))


def _even(branch: nn.Sequential) -> nn.Sequential:
    """A branch for a log-variance, which begins with nearly the same for all."""
    nn.init.constant_(branch[-1].weight, EVEN)
    return branch


def weight(high: float) -> dict[str, Knob]:
    """The knob of the teacher's weight, up to `high`."""
    return {"beta": Knob("β", 0, high, "the teacher is ignored", "the teacher's features weigh more than the labels")}


class Taught(Method):
    """Cross entropy against the labels, and one distance to a frozen teacher's features."""

    term: ClassVar[str]

    def __init__(self, teacher: nn.Module, distance: nn.Module, beta: float) -> None:
        super().__init__()
        self.teacher, self.distance, self.beta = Frozen(teacher), distance, beta

    def terms(self, model, out, batch, progress):
        apart = self.distance(out, self.teacher.forward_features(batch.x))
        return {"task": supervised(out.logits, batch), self.term: self.beta * apart}


class L2(Taught):
    """The student's embedding regresses the teacher's (paper 000, Sec. 4: "L2").

    L = CE + β mean (e_T - e_S)^2   (variance: β mean [(e_T - e_S)^2 / σ^2 + ln σ^2])

    Costs a forward pass of the teacher. Memory: the teacher and an adapter.
    Helps when both embeddings mean the same thing, as in metric learning.

    beta: weight of the mean squared error. 0 is vanilla training; far above 1 the labels hardly count. Ours: 1.
    variance: weigh each entry by the variance that the student expects.
    """

    term, knobs = "l2", weight(10)

    def __init__(self, model, *, teacher: nn.Module, beta: float = 1.0, variance: bool = False) -> None:
        super().__init__(teacher, EmbeddingDistance(model, teacher, variance), beta)


class AT(Taught):
    """Attention transfer (Zagoruyko and Komodakis 2017): the student looks where the teacher looks.

    L = CE + β Σ_j mean (a_T^j - a_S^j)^2   (distance="norm", the paper's Eq. 2: L = CE + β/2 Σ_j |a_T^j - a_S^j|)
    a = A / |A|, A = vec(mean_c F_c^2)

    Costs a forward pass of the teacher. Memory: the teacher.
    Helps when the maps are large enough to look somewhere; on a few cells it hurts.

    beta: 0 is vanilla training; above some thousands the labels hardly count. Default: 1000, as in public collections: the
    entries of a unit vector are small. last: how many stages are compared, from the end, at most; paper 000 takes four.
    distance: "squared", the mean over entries, or "norm", the un-squared distance of the whole map, which is not small: it
    wants a beta near 1, and has no variance.
    """

    term, knobs = "at", weight(5000)

    def __init__(
        self,
        model,
        *,
        teacher: nn.Module,
        beta: float = 1000.0,
        last: int = 4,
        variance: bool = False,
        distance: str = "squared",
    ) -> None:
        super().__init__(teacher, AttentionDistance(model, teacher, variance, last, distance), beta)


class FitNet(Taught):
    """Hints (Romero et al. 2015): a regressor on the student's map foretells the teacher's.

    L = CE + β mean (F_T - r(F_S))^2, r: 1x1 conv + BN
    in two stages (the paper's Alg. 1): L = β mean (F_T - r(F_S))^2, then L = (1 - α) CE + α T^2 KL(p_T || p_S)

    Costs a forward pass of the teacher and the regressors. Memory: the teacher and the regressors.
    Helps when the student is thinner than the teacher and cannot copy its answers alone.

    stages: which are compared, from 1, in place of the last ones: the hint of a popular collection (RepDistiller) is the middle
    one of three, stages=(2,), with relu=True: the regressor ends with a ReLU, as the maps do.
    beta: 0 is vanilla training; above some hundreds the labels hardly count. Default: 100 and one stage, as in public
    collections. last: how many stages are compared, from the end, at most; paper 000 takes two.
    hint_share: 0 trains by labels and hints at once. Above 0, in two stages: hints alone for this share of the epochs, which
    reach no layer behind the last map; then `KD` alone, with alpha and temperature. alpha=0 is labels alone, without a teacher.
    Our readings: the second stage has KD's weights, and the recipe's learning rate goes on, where the paper begins again.
    """

    term, knobs = "fitnet", weight(500)

    def __init__(
        self,
        model,
        *,
        teacher: nn.Module,
        beta: float = 100.0,
        last: int = 1,
        variance: bool = False,
        stages: Sequence[int] | None = None,
        relu: bool = False,
        hint_share: float = 0.0,
        alpha: float = 0.9,
        temperature: float = 4.0,
    ) -> None:
        super().__init__(teacher, RegressorDistance(model, teacher, variance, last, stages, relu), beta)
        if not 0 <= hint_share < 1:
            raise ValueError(
                f"hint_share is the share of the epochs before the labels come, in [0, 1), got {hint_share:g}: 0 is one stage"
            )
        if hint_share:
            same_classes(model, teacher)
        self.hint_share, self.replaces_task_loss = hint_share, hint_share > 0
        self.alpha, self.temperature = KD.knobs["alpha"].check("alpha", alpha), KD.knobs["temperature"].check("T", temperature)

    def terms(self, model, out, batch, progress):
        if not self.hint_share:
            return super().terms(model, out, batch, progress)
        taught, none = self.teacher.forward_features(batch.x), out.logits.new_zeros(())
        if progress.epoch < self.hint_share * progress.epochs:
            return {"task": none, "fitnet": self.beta * self.distance(out, taught), "kd": none}
        return {
            "task": (1 - self.alpha) * supervised(out.logits, batch),
            "fitnet": none,
            "kd": self.alpha * kd(out.logits, taught.logits, self.temperature),
        }


class WithSFR(SFR):
    """`SFR` and a method with a teacher, under one name: the terms of `Combined(SFR(...), AT(..., variance=True))`.

    beta: weight of the teacher; ours is 1 for all three. A variance takes the distance's unit away, so that AT's 1000 and
    FitNet's 100 have nothing to make up for; with variance=False say those. The other arguments are those of the two.
    """

    def __init__(self, model, taught: Taught, **sfr) -> None:
        super().__init__(model, **sfr)
        self.term, self.teacher, self.distance, self.beta = taught.term, taught.teacher, taught.distance, taught.beta

    def terms(self, model, out, batch, progress):
        apart = self.distance(out, self.teacher.forward_features(batch.x))
        return super().terms(model, out, batch, progress) | {self.term: self.beta * apart}


class SFRL2(WithSFR):
    """SFR and `L2` with its variance branch (paper 000, Sec. 4).

    L = SFR's + β mean [(e_T - e_S)^2 / σ^2 + ln σ^2], e the embeddings, σ foretold by the student

    Costs SFR's and a forward pass of the teacher. Memory: SFR's and the teacher.
    Helps when both the network's own last map and a teacher's embedding have something to say.
    """

    knobs = L2.knobs | SFR.knobs

    def __init__(
        self, model, *, teacher: nn.Module, train_size: int, beta: float = 1.0, variance: bool = True,
        lam: float = 1.0, epsilon: float = 0.1, attention: str = "learned", labels: str = "dynamic",
    ) -> None:  # fmt: skip
        l2 = L2(model, teacher=teacher, beta=beta, variance=variance)
        super().__init__(model, l2, train_size=train_size, lam=lam, epsilon=epsilon, attention=attention, labels=labels)


class SFRAT(WithSFR):
    """SFR and `AT` on the last four stages with its variance branch (paper 000, Sec. 4).

    L = SFR's + β Σ_j mean [(a_T^j - a_S^j)^2 / σ^2 + ln σ^2], a as in `AT`, σ foretold by the student

    Costs SFR's and a forward pass of the teacher. Memory: SFR's and the teacher.
    Helps where `AT` and `SFR` do.
    """

    knobs = AT.knobs | SFR.knobs

    def __init__(
        self, model, *, teacher: nn.Module, train_size: int, beta: float = 1.0, last: int = 4, variance: bool = True,
        lam: float = 1.0, epsilon: float = 0.1, attention: str = "learned", labels: str = "dynamic",
    ) -> None:  # fmt: skip
        at = AT(model, teacher=teacher, beta=beta, last=last, variance=variance)
        super().__init__(model, at, train_size=train_size, lam=lam, epsilon=epsilon, attention=attention, labels=labels)


class SFRFitNet(WithSFR):
    """SFR and `FitNet` on the last two stages with its variance branch (paper 000, Sec. 4).

    L = SFR's + β Σ_j mean [(F_T^j - r(F_S^j))^2 / σ^2 + ln σ^2], r as in `FitNet`, σ foretold by the student

    Costs SFR's and a forward pass of the teacher. Memory: SFR's and the teacher.
    Helps where `FitNet` and `SFR` do.
    """

    knobs = FitNet.knobs | SFR.knobs

    def __init__(
        self, model, *, teacher: nn.Module, train_size: int, beta: float = 1.0, last: int = 2, variance: bool = True,
        lam: float = 1.0, epsilon: float = 0.1, attention: str = "learned", labels: str = "dynamic",
    ) -> None:  # fmt: skip
        fitnet = FitNet(model, teacher=teacher, beta=beta, last=last, variance=variance)
        super().__init__(model, fitnet, train_size=train_size, lam=lam, epsilon=epsilon, attention=attention, labels=labels)
