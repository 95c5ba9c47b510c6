"""Information that the student's features hold of a trained teacher's: two lower bounds on it, VID and CRD."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Knob
from ..losses import contrast, variational_gap
from ..models.backbone import full_precision
from .base import Frozen, Method, both_show_stages, supervised
from .sfr_teacher import last_stages, to_smaller

LEAST_VARIANCE = 1e-5
"""What VID's variance never falls below."""

SIDES = ("student", "teacher")


class GaussianRegressor(nn.Module):
    """A Gaussian over a teacher's map, given the student's: a mean from 1x1 convolutions, one variance for each channel."""

    def __init__(self, c_in: int, c_out: int, variance: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(c_in, c_out, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 1, bias=False),
        )
        self.raw = nn.Parameter(torch.full((c_out,), math.log(math.expm1(variance - LEAST_VARIANCE))))

    @property
    def variance(self) -> Tensor:
        """[C], above LEAST_VARIANCE."""
        return F.softplus(self.raw) + LEAST_VARIANCE

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        student, teacher = to_smaller(student, teacher)
        return variational_gap(full_precision(self.mean(student)), self.variance, full_precision(teacher))


class VID(Method):
    """Variational information distillation (Ahn et al. 2019, Sec. 2): the student's maps foretell the teacher's, as a Gaussian.

    L = CE + β Σ_j mean [(t_j - m(s_j))^2 / σ_c^2 + ln σ_c^2] / 2, m three 1x1 convs, σ_c one for each channel

    beta: weight of the negative log-likelihood, a mean over entries, summed over stages. 0 is vanilla training; far above 1
    the labels hardly count. Default: 1, as in public collections. The value may be negative: a density may exceed 1.
    last: how many stages are compared, from the end, at most; the paper takes four, the ends of four groups of blocks.
    variance: where each channel's starts. A channel whose variance grows is one that the student gives up on.

    Costs the teacher's pass and three 1x1 convolutions a stage. Memory: their maps, nothing between steps.
    Helps when the teacher's maps hold what the student has no use for: the variance lets that go.
    """

    knobs = {"beta": Knob("β", 0, 10, "the teacher is ignored", "the teacher's maps weigh more than the labels")}

    def __init__(self, model, *, teacher: nn.Module, beta: float = 1.0, last: int = 4, variance: float = 5.0) -> None:
        super().__init__()
        if variance <= LEAST_VARIANCE:
            raise ValueError(f"variance is what each channel's starts at, above {LEAST_VARIANCE:g}, got {variance:g}")
        self.stages = last_stages(model, teacher, last)
        self.beta, self.teacher = beta, Frozen(teacher)
        self.foretold = nn.ModuleList(GaussianRegressor(model.channels[i], teacher.channels[i], variance) for i in self.stages)

    def terms(self, model, out, batch, progress):
        taught = self.teacher.forward_features(batch.x).stages
        gaps = [say(out.stages[i], taught[i]) for say, i in zip(self.foretold, self.stages, strict=True)]
        return {"task": supervised(out.logits, batch), "vid": self.beta * sum(gaps)}


class CRD(Method):
    """Contrastive representation distillation (Tian et al. 2020, Sec. 3.1): whose teacher's embedding is it, among many?

    L = CE - β mean [ln h(s, t') + Σ_n ln (1 - h(s, t_n)) + ln h(t, s') + Σ_n ln (1 - h(t, s_n))], h the critic below,
    t', s' the image's own entries of the bank, t_n, s_n others'

    Both embeddings are projected to unit vectors of `dim` numbers. An image's own pair is told from pairs with images of other
    classes that a memory bank holds, with the student's vector as the anchor and with the teacher's.
    beta: weight. 0 is vanilla training; at 3 labels hardly count. Default: 0.8, as in public collections. temperature: of the
    similarities. At 0.03 only the nearest negatives count; at 0.5 all do. Default: 0.07.
    negatives: how many entries of the bank a step draws, with repetition, for the whole batch at once (our reading: to draw
    for each image costs B times the memory traffic and expects the same). All of the bank where it has no more than that;
    entries of the image's class, itself among them, do not count. momentum: share that an entry keeps of itself when its image
    comes by. in_batch: the negatives are the batch's other images, and there is no bank: the more classes and the larger the
    batch, the better.

    The critic is h = e^z / (e^z + N Z), z the similarity over temperature. The paper prints 1 / M for Z, M the training set;
    its code sets Z to the mean of e^z over its first batch, when the bank is random unit vectors. That mean is
    exp(1 / (2 dim temperature^2)) to a hundredth, which is what we take: nothing to measure or to store.
    The bank takes the vectors that the step itself compared, as in the code.
    The positive pair is an image's vector and its own entry of the bank, as in the code. Were it the step's own pair, entries
    would be told by their age alone: all images may then come to one point.

    Costs the teacher's pass and 2 B N dim multiplications. Memory: the bank is 2 N_train dim numbers, and in the checkpoint.
    Helps when the teacher is another architecture, and when embeddings are wanted for transfer.
    """

    reads_labels = True
    knobs = {
        "beta": Knob("β", 0, 3, "the teacher is ignored", "the contrast weighs more than labels"),
        "temperature": Knob("τ", 0.03, 0.5, "only the nearest negatives count", "all negatives count alike", least=0.01),
    }

    def __init__(
        self,
        model,
        *,
        teacher: nn.Module,
        train_size: int,
        beta: float = 0.8,
        temperature: float = 0.07,
        negatives: int = 16384,
        momentum: float = 0.5,
        dim: int = 128,
        in_batch: bool = False,
    ) -> None:
        super().__init__()
        both_show_stages(model, teacher)
        if negatives < 1 or dim < 2:
            raise ValueError(f"CRD needs at least 1 negative and 2 dimensions, got negatives={negatives} and dim={dim}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is the share that an entry of the bank keeps, in [0, 1), got {momentum:g}")
        self.beta, self.temperature, self.momentum = beta, temperature, momentum
        self.negatives, self.dim, self.in_batch = int(negatives), int(dim), in_batch
        self.student = nn.Linear(model.classifier.in_features, dim)
        self.taught = nn.Linear(teacher.classifier.in_features, dim)
        self.teacher, self.projected = Frozen(teacher), None
        if not in_batch:
            for side in SIDES:
                self.memory[side] = F.normalize(torch.randn(train_size, dim))
            self.memory["label"] = torch.full((train_size,), -1)

    def project(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [B, D], [B, E] -> unit vectors [B, dim] of the student and of the teacher."""
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = self.student(full_precision(student)), self.taught(full_precision(teacher))
            return F.normalize(student), F.normalize(teacher)

    def terms(self, model, out, batch, progress):
        said, told = self.project(out.embedding, self.teacher.forward_features(batch.x).embedding)
        self.projected = batch.x, said.detach(), told.detach()  # before the step moves what projects: this goes to the bank
        with torch.autocast(said.device.type, enabled=False):
            return {"task": supervised(out.logits, batch), "crd": self.beta * self.gap(said, told, batch)}

    def gap(self, student: Tensor, teacher: Tensor, batch) -> Tensor:
        """The contrast from both sides, unit vectors [B, dim] x2 -> []."""
        level = 1 / (2 * self.dim * self.temperature**2)
        if self.in_batch:
            bank = own = {"student": student, "teacher": teacher}
            counts = batch.y != batch.y[:, None]
        else:
            drawn = self.drawn(batch.index.device)
            bank, own = ({side: self.memory[side][at].to(student.dtype) for side in SIDES} for at in (drawn, batch.index))
            counts = (self.memory["label"][drawn] != batch.y[:, None]) & (drawn != batch.index[:, None])
        total = student.new_zeros(())
        for anchor, other in ((student, "teacher"), (teacher, "student")):
            pair = (anchor * own[other]).sum(1) / self.temperature
            total = total + contrast(pair, anchor @ bank[other].mT / self.temperature, counts, level)
        return total

    def drawn(self, device: torch.device) -> Tensor:
        """The places in the bank that a step compares with: all, or as many as `negatives` says. [N]."""
        size = len(self.memory["label"])
        if size <= self.negatives:
            return torch.arange(size, device=device)
        return torch.randint(size, (self.negatives,), device=device)

    def remember(self, out, batch, progress):
        if self.in_batch:
            return
        if self.projected and self.projected[0] is batch.x:
            _, *both = self.projected
        else:
            both = self.project(out.embedding, self.teacher.forward_features(batch.x).embedding)
        self.projected = None
        for side, new in zip(SIDES, both, strict=True):
            bank = self.memory[side]
            old = bank[batch.index]
            bank[batch.index] = F.normalize(self.momentum * old + (1 - self.momentum) * new.to(old.dtype))
        self.memory["label"][batch.index] = batch.y
