"""The network teaches itself over time: an earlier training of it, an earlier epoch, the mean of its past."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Features, Knob, Progress, temperature
from ..losses import kl
from ..models.backbone import constant
from .base import Method, supervised
from .kd import KD
from .online import check_int, ramp, redrawn


class EMACopy(nn.Module):
    """A copy of a network that follows it and never learns: always in eval mode, its weights are buffers.

    So no optimiser finds them, and a checkpoint, a run's weights and a move between devices take them along. They are
    written in place.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = constant(copy.deepcopy(net))
        self.train(False)

    def train(self, mode: bool = True) -> EMACopy:
        """It stays in eval mode, whatever its method does."""
        return super().train(False)

    @torch.no_grad()
    def forward_features(self, x: Tensor) -> Features:
        """[B, 3, H, W] -> its logits, embedding and stages."""
        return self.net.forward_features(x)

    @torch.no_grad()
    def follow(self, net: nn.Module, decay: float = 0.0) -> None:
        """own = decay x own + (1 - decay) x the network's, statistics of batch norms too. decay 0 copies."""
        theirs = {**dict(net.named_parameters()), **dict(net.named_buffers())}
        both = [(own, theirs[name]) for name, own in self.net.named_buffers()]
        numbers = [(a, b) for a, b in both if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in numbers], [b for _, b in numbers], 1 - decay)  # one launch for all
        for counter, its in both:
            if not counter.is_floating_point():
                counter.copy_(its)


class Watching(Method):
    """A method that looks at its network's weights when it remembers. It refers to the network and does not own it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "model", model)  # deliberately not a submodule


class BAN(KD):
    """Born-again networks (Furlanello et al. 2018, Sec. 3): a network learns from its own earlier training, and then teaches.

    L = (1 - α) CE(p, y) + α KL(p_n-1 || p_n), n the generation

    Costs a forward pass of the teacher, after the teacher's whole training. Memory: the teacher.
    Helps when training twice is cheap: a network of the same size often comes out better, and an `Ensemble` more so.

    The teacher is a training of the same architecture: `born_again(first, 3)` makes the chain.
    alpha: weight of the teacher. 0 is vanilla training; 1 is the paper's BAN that sees no label; 0.5, our default, weighs
    both alike, as its BAN+L does. The paper has no temperature: 1.
    """

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 0.5, temperature: float = 1.0) -> None:
        super().__init__(model, teacher=teacher, alpha=alpha, temperature=temperature)


def born_again(first: Any, count: int, method: str = "ban") -> list[Any]:
    """A chain of experiments: `first`, then `count` more, each taught by the one before, with the next seed.

    Running the last one runs them all. The knobs of the later ones are the method's defaults, and nothing turns them.
    """
    chain = [first]
    for _ in range(check_int("count", count, 1)):
        before = chain[-1]
        chain.append(replace(before, method=method, teacher=before, knobs={}, schedule={}, seed=before.seed + 1))
    return chain


class Ensemble(nn.Module):
    """The mean of several networks' logits: what a chain of generations says together (Furlanello et al. 2018, Sec. 3.1).

    Our reading: logits, as in BYOT's ensemble.
    """

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        if not networks:
            raise ValueError("an ensemble has at least one network, got none")
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, K]."""
        return torch.stack([network(x) for network in self.networks]).mean(0)


class TFKDSelf(KD):
    """Teacher-free distillation, Tf-KD_self (Yuan et al. 2020, Sec. 4): the network's own earlier training is its teacher.

    L = (1 - α) CE(p, y) + α T^2 KL(t || p), t the earlier training's outputs; both at T in the KL

    Costs a forward pass of the teacher, after the teacher's whole training. Memory: the teacher.
    Helps when no better teacher is at hand; it is `BAN` with a temperature and hardly any labels.

    alpha: weight of the teacher. 0 is vanilla training; 1 never looks at a label. 0.95 and T = 6 are those
    of public code that follows the paper.
    """

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 0.95, temperature: float = 6.0) -> None:
        super().__init__(model, teacher=teacher, alpha=alpha, temperature=temperature)


class LabelRefinery(KD):
    """Label refinery (Bagherinezhad et al. 2018, Sec. 3): the teacher labels the very crop that the student sees.

    L = (1 - α) CE(p, y) + α T^2 KL(t || p), t of the same crop; α = T = 1: L = KL(t || p)

    Costs a forward pass of the teacher, after the teacher's whole training. Memory: the teacher.
    Helps when crops do not show what the image's label says. `born_again(first, 3, "label-refinery")` refines in a chain.

    alpha: weight of the teacher's label. 1 is the paper's: the image's own label counts for nothing. T = 1.
    """

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__(model, teacher=teacher, alpha=alpha, temperature=temperature)


class ATS(KD):
    """Asymmetric temperature scaling (Li et al. 2022): the teacher's right class is softened more than the wrong ones.

    L = (1 - α) CE(p, y) + α T^2 KL(softmax(v / τ) || softmax(z / T)), v the teacher's logits, τ_y = T, τ_k = τ2 for k ≠ y

    Costs a forward pass of the teacher. Memory: the teacher.
    Helps when the teacher is so sure of itself that its wrong classes all look alike.

    wrong: temperature of the teacher's wrong classes; below `temperature`, it spreads them. Where both are equal this is
    `KD`. Our reading: the student is softened by `temperature`; 4 and 3, from the range that the paper searches.
    """

    reads_labels = True
    knobs = KD.knobs | {"wrong": temperature("τ2")}

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 0.9, temperature: float = 4.0, wrong: float = 3.0) -> None:
        super().__init__(model, teacher=teacher, alpha=alpha, temperature=temperature)
        self.wrong = wrong

    def terms(self, model, out, batch, progress):
        soft, t = self.teacher.forward_features(batch.x).logits, self.temperature
        scaled = (soft / self.wrong).scatter(1, batch.y[:, None], soft.gather(1, batch.y[:, None]) / t)
        return {
            "task": (1 - self.alpha) * supervised(out.logits, batch),
            "kd": self.alpha * t**2 * kl(out.logits / t, scaled, 1.0),
        }


class CTKD(KD):
    """Curriculum temperature (Li et al. 2023): a learned temperature makes the teacher's lesson harder and harder.

    L = (1 - α) CE(p, y) + α T^2 KL(t || p), both at T = 1 + 20 s(r); the student descends L, r climbs it

    Costs a forward pass of the teacher. Memory: the teacher, and one number.
    Helps when nobody wants to search for a temperature.

    The temperature is 1 + 20 sigmoid(r), and r climbs the loss that the student descends: its gradient is turned round
    and weighed by (1 - cos(pi e / curriculum)) / 2, which grows from 0 to 1 over the first epochs.
    alpha: weight of the teacher. 0 is vanilla training; 1 never looks at a label.
    curriculum: the paper's 10 epochs.
    """

    knobs = {"alpha": KD.knobs["alpha"]}

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 0.9, curriculum: float = 10.0) -> None:
        super().__init__(model, teacher=teacher, alpha=alpha)
        if not curriculum > 0:
            raise ValueError(f"the curriculum takes a positive number of epochs, got {curriculum!r}")
        self.curriculum, self.r = curriculum, nn.Parameter(torch.ones(()))

    def learned(self, progress: Progress) -> Tensor:
        """The temperature, []; its gradient comes turned round and weighed by the curriculum."""
        weight = (1 - math.cos(math.pi * min(progress.epoch / self.curriculum, 1.0))) / 2
        r = (1 + weight) * self.r.detach() - weight * self.r
        return 1 + 20 * r.sigmoid()

    def terms(self, model, out, batch, progress):
        t = self.learned(progress)
        return {
            "task": (1 - self.alpha) * supervised(out.logits, batch),
            "kd": self.alpha * t**2 * kl(out.logits / t, self.teacher.forward_features(batch.x).logits / t, 1.0, detach=False),
        }


class SnapshotKD(Watching):
    """Snapshot distillation (Yang et al. 2019, Sec. 3): training falls into parts, and the end of each teaches the next.

    L = CE(p, y) + λ KL(softmax(z' / T) || p), z' the logits of the last part's end; the first part: L = CE

    Costs a forward pass from the second part on. Memory: one copy of the network.
    Helps when a second training is too dear: the teacher is a by-product of the first half.

    lam: weight of the snapshot. 0 is vanilla training; ours is 1.
    temperature: of the snapshot alone, as in the paper, which keeps the student at 1; 2. parts: into how many training falls.
    The paper restarts the learning rate at every part; here that is the recipe's business, and its schedule goes on.
    """

    knobs = {"lam": Knob("λ", 0, 3, "labels alone", "the snapshot counts for more than labels"), "temperature": temperature()}

    def __init__(self, model, *, lam: float = 1.0, temperature: float = 2.0, parts: int = 2) -> None:
        super().__init__(model)
        self.lam, self.temperature, self.parts = lam, temperature, check_int("parts", parts, 2)
        self.snapshot = EMACopy(model)

    def part(self, progress: Progress, steps: int = 0) -> int:
        """In which part training stands, or will after so many steps. From 0."""
        return (progress.step + steps) * self.parts // (progress.epochs * progress.steps_per_epoch)

    def terms(self, model, out, batch, progress):
        task = supervised(out.logits, batch)
        if self.part(progress) == 0:
            return {"task": task, "snapshot": out.logits.new_zeros(())}
        soft = self.snapshot.forward_features(batch.x).logits / self.temperature
        return {"task": task, "snapshot": self.lam * kl(out.logits, soft, 1.0)}

    def teachers(self):
        return {"snapshot": self.snapshot}

    def remember(self, out, batch, progress):
        if self.part(progress) < self.part(progress, 1) < self.parts:
            self.snapshot.follow(self.model)


class MeanTeacher(Watching):
    """Mean teacher (Tarvainen and Valpola 2017, Sec. 2), with labels: the mean of the past weights teaches on another view.

    L = CE(p, y) + λ w mean Σ_k (p_k(x) - p'_k(x'))^2, w the ramp, x' another view; θ' = d θ' + (1 - d) θ after each step

    Costs a second forward pass, without gradients. Memory: one copy of the network.
    Helps when single steps are noisy: the mean is a steadier network, and the exit "teacher" is often the better one.

    lam: weight of the squared distance of the probabilities, summed over classes. 0 is vanilla training. Ours is 10, the
    paper's 100 with its mean over 10 classes. ramp_up: epochs over which it gains weight, see `ramp`; 5.
    decay: of the mean, in [0, 1). At step s it is at most 1 - 1 / (s + 1), so that the first weights are soon forgotten.
    Our readings: the mean takes batch norms' statistics in, and the teacher answers with them; 0.99 suits short trainings,
    where the paper goes on to 0.999.
    """

    pair = "same image"
    knobs = {"lam": Knob("λ", 0, 100, "labels alone", "the teacher counts for more than labels")}

    def __init__(self, model, *, lam: float = 10.0, decay: float = 0.99, ramp_up: float = 5.0) -> None:
        super().__init__(model)
        if not 0 <= decay < 1:
            raise ValueError(f"decay is a number in [0, 1), got {decay!r}: 0 is the last weights, near 1 a long mean")
        if not ramp_up >= 0:
            raise ValueError(f"ramp_up is a number of epochs from 0, got {ramp_up!r}")
        self.lam, self.decay, self.ramp_up = lam, decay, ramp_up
        self.mean = EMACopy(model)

    def terms(self, model, out, batch, progress):
        taught = self.mean.forward_features(batch.pair).logits.softmax(1)
        apart = (out.logits.softmax(1) - taught).square().sum(1).mean()
        return {"task": supervised(out.logits, batch), "consistency": self.lam * ramp(progress, self.ramp_up) * apart}

    def teachers(self):
        return {"teacher": self.mean}

    def remember(self, out, batch, progress):
        self.mean.follow(self.model, min(1 - 1 / (progress.step + 1), self.decay))

    def exits(self, out, x):
        return {"final": out.logits, "teacher": self.mean.forward_features(x).logits}


class Codistillation(Watching):
    """Codistillation (Anil et al. 2018, Alg. 1): two networks learn from copies of each other that are an epoch old.

    L = CE(p_1, y) + CE(p_2, y) + λ T^2 [KL(p'_2 || p_1) + KL(p'_1 || p_2)], p' the old copies' outputs

    Costs a training of the second network beside the first, and a forward pass of each copy. Memory: three networks.
    Helps when the two train on machines apart: old copies need no exchange within a step. Here both see one batch.

    lam: weight of the agreement. 0 is two networks trained side by side; ours is 1. temperature: of the agreement, times T^2;
    the paper has none: 1. every: how many epochs old a copy may get; before the first copy nobody is taught.
    """

    reads_labels = True
    knobs = {
        "lam": Knob("λ", 0, 3, "each network by itself", "agreement counts for more than labels"),
        "temperature": temperature(),
    }

    def __init__(self, model, *, lam: float = 1.0, temperature: float = 1.0, every: int = 1) -> None:
        super().__init__(model)
        self.lam, self.temperature, self.every = lam, temperature, check_int("every", every, 1)
        self.peer = redrawn(model)
        self.copies = nn.ModuleList([EMACopy(model), EMACopy(self.peer)])

    def terms(self, model, out, batch, progress):
        peer, t = self.peer.forward_features(batch.x).logits, self.temperature
        terms = {"task": supervised(out.logits, batch), "peer ce": supervised(peer, batch)}
        if progress.epoch < self.every:
            return terms | {"agree": peer.new_zeros(())}
        mine, its = (shadow.forward_features(batch.x).logits for shadow in self.copies)
        return terms | {"agree": self.lam * t**2 * (kl(out.logits, its, t) + kl(peer, mine, t))}

    def teachers(self):
        return dict(zip(("own copy", "peer's copy"), self.copies, strict=True))

    def peer_networks(self):
        return {"peer 1": self.peer}

    def remember(self, out, batch, progress):
        if (progress.step + 1) % (self.every * progress.steps_per_epoch) == 0:
            for shadow, net in zip(self.copies, (self.model, self.peer), strict=True):
                shadow.follow(net)

    def exits(self, out, x):
        return {"final": out.logits, "peer 1": self.peer(x)}


class Defensive(KD):
    """Defensive distillation (Papernot et al. 2016, Sec. IV): a hot teacher's soft labels alone teach a hot student.

    L = (1 - α) CE(p, y) + α T KL(t || p), both at T in the KL; α = 1: the labels are not looked at

    Costs a forward pass of the teacher, after the teacher's whole training. Memory: the teacher.
    Helps to see how gradients vanish from an input: the student is asked at T = 1, and its logits are T times too large.

    The teacher is trained at the same temperature: `Experiment(method="hot", ...)`.
    alpha: weight of the teacher. 1 is the paper's. temperature: of both; 20, from the range that the paper tries.
    Our reading: times T, as for `HighTemperature`: a hot teacher is as sure as a label, and T^2 would make the gradient T times
    as large.
    """

    knobs = {"alpha": KD.knobs["alpha"], "temperature": temperature("T", 100)}

    def __init__(self, model, *, teacher: nn.Module, alpha: float = 1.0, temperature: float = 20.0) -> None:
        super().__init__(model, teacher=teacher, alpha=alpha, temperature=temperature)

    def terms(self, model, out, batch, progress):
        terms = super().terms(model, out, batch, progress)
        return terms | {"kd": terms["kd"] / self.temperature}


class HighTemperature(Method):
    """Cross entropy of outputs softened by T (Papernot et al. 2016, Sec. IV): the teacher of `Defensive`.

    L = T CE(softmax(z / T), y)

    Costs nothing. Memory: none.
    Helps to make logits large: at T = 1 the trained network is surer than any label.

    temperature: 1 is vanilla training; 20 from the range that the paper tries. Our reading: times T, so that the gradient
    keeps its size.
    """

    replaces_task_loss = True
    knobs = {"temperature": temperature("T", 100)}

    def __init__(self, model, *, temperature: float = 20.0) -> None:
        super().__init__()
        self.temperature = temperature

    def terms(self, model, out, batch, progress):
        return {"task": self.temperature * supervised(out.logits / self.temperature, batch)}
