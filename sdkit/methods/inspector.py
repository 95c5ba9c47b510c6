"""A training step held still: what every term of any method says of one image, while its knobs are turned.

The network passes over the batch once. After that only the terms are computed anew, from what the passes said, so that a
knob is answered within milliseconds. No method is known by name: what a report shows is what the method has.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Features, Progress
from ..models import residuals
from ..rng import LocalRNG
from .base import Method, first_rows

STEP = Progress(1, 3, 2, 2)
"""Where the held step stands: in the last of two epochs, behind its first step, so that every memory is in use."""

KEPT = 24
"""Passes that a held step remembers: of the networks, the auxiliary classifiers and the teachers."""


class Ranked(NamedTuple):
    """The image's sorted output beside the shape it is asked to keep (paper 004, Fig. 3)."""

    now: Tensor  # [K] probabilities at `temperature`, ascending
    target: Tensor  # [K] the same of the target
    temperature: float


class Plan(NamedTuple):
    """How the image's shallower maps are carried to its last one. N cells a map, S-1 shallower stages."""

    plan: Tensor  # [S-1, N, N] what moves from each cell of the stage to each cell of the last map
    distance: Tensor  # [S-1] earth mover's distance
    weight: Tensor  # [S-1] attention, sums to 1


class Blocks(NamedTuple):
    """The sub-network that stochastic depth drew. L residual blocks, shallow to deep."""

    on: tuple[bool, ...]  # [L]
    survival: tuple[float, ...]  # [L] each block's probability to stay


class Opinion(NamedTuple):
    """What a prediction says when it must say one thing."""

    answer: int  # its likeliest class
    probability: float  # of that class, at T = 1
    right: bool


class StepReport(NamedTuple):
    """One image of a held step. A reader is a prediction: the final exit, another exit, the other view, a second pass."""

    terms: dict[str, float]  # weighted, of the whole batch
    total: float  # their sum: the loss
    logits: dict[str, Tensor]  # reader -> [K]
    distributions: dict[str, Tensor]  # reader -> [K] softmax at `temperature`
    temperature: float
    label: Tensor  # [K] what "task" asks of the final exit: one-hot, or softened as the method softens it
    gradient: dict[str, dict[str, Tensor]]  # term -> reader -> d term / d logits [K]; what a term does not reach is left out
    summed: dict[str, Tensor]  # reader -> d total / d logits [K]
    views: Tensor  # [1 or 2, 3, H, W] in [0, 1]: the image as the network got it
    opinions: dict[str, Opinion]  # reader -> what it would answer
    ranked: Ranked | None = None
    plan: Plan | None = None
    blocks: Blocks | None = None


class FrozenStep:
    """A training step held still: copies of network and method in training mode, one batch, and what their passes said.

    batch, before: the step's batch and the one before it, with the partners that the method asks for. The method remembers
    both as training would have it by now: `batch` from the last epoch, `before` from the last step, each as this network
    sees it today. The originals are left as they are. `method` is the copy: turn its knobs. Chance is seeded by the draw.
    mean, std: of the data, [3], to show its images.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        batch: Batch,
        before: Batch,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        if len(batch.y) < 2 or len(before.y) < 2:
            raise ValueError(f"a held batch has at least 2 images (BatchNorm), got {len(batch.y)} and {len(before.y)}")
        self.model, self.method = copy.deepcopy((model, method))
        self.batch, self.progress = batch, STEP
        self.model.train()
        self.method.train()
        for m in (*self.model.modules(), *self.method.modules()):
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.momentum = 0.0  # running statistics stay those of the training
        for p in (*self.model.parameters(), *self.method.parameters()):
            p.requires_grad_(False)
        self.blocks = residuals(self.model)
        self._other = "other view" if method.pair == "same image" else "partner"
        self.passes: dict[Any, tuple[Tensor, Any]] = {}
        with torch.no_grad(), LocalRNG(0), _forced(self.blocks, self._drawn(0)):
            self.out: Features = self.model.forward_features(self.method.view(batch))
            self.method.remember(self.out, batch, STEP._replace(epoch=0, step=0))
            self.method.remember(self.model.forward_features(self.method.view(before)), before, STEP._replace(epoch=0, step=1))
        views = torch.stack([batch.x, *([batch.pair] if self.method.pair else [])], 1).float().cpu()
        scale, shift = (torch.tensor(list(v)).view(3, 1, 1) for v in (std, mean))
        self.views = (views * scale + shift).clamp(0, 1)  # [B, 1 or 2, 3, H, W]
        self.draws = False  # whether chance has a part in it: other draws give other numbers
        self.terms()

    @property
    def temperatures(self) -> dict[str, float]:
        """The method's temperatures by knob; of several methods each as "method.temperature"."""
        return {k: v for k, v in self.method.settings().items() if k.rpartition(".")[2] == "temperature"}

    def once(self, who: str, draw: int, x: Tensor, make) -> Any:
        """What a pass said of x: computed the first time, kept after that."""
        key = (who, draw, x.data_ptr(), x.shape, x.stride(), x._version)
        if key not in self.passes:
            if len(self.passes) >= KEPT:
                self.passes.pop(next(iter(self.passes)))
            with torch.no_grad():
                self.passes[key] = x, make(x)  # x is kept: no other tensor can take its place in memory
        return self.passes[key][1]

    @contextmanager
    def listening(self, draw: int) -> Iterator[list[tuple[str, Tensor, tuple[bool, ...] | None]]]:
        """Within, every pass and every auxiliary classifier answers from what is kept, with logits that gradients end at.

        Yields a list that fills with (name, logits, blocks that were on) in the order in which the terms ask.
        """
        heard: list[tuple[str, Tensor, tuple[bool, ...] | None]] = []

        def listen(name: str, logits: Tensor, on: tuple[bool, ...] | None = None) -> Tensor:
            leaf = logits.detach().clone().requires_grad_()
            heard.append((name, leaf, on))
            return leaf

        def forward_features(x: Tensor) -> Features:
            on = self._drawn(draw)
            with _forced(self.blocks, on):
                features = self.once("network", draw, x, own)
            if on is not None:
                name = "sub-network"
            else:
                name = self._other if x is self.batch.pair else "last batch" if self._remembered(x) else "second pass"
            return features._replace(logits=listen(name, features.logits, on))

        def head_of(name: str, forward):
            def ask(feature: Tensor) -> tuple[Tensor, Tensor]:
                logits, pooled = self.once(f"exit {name}", 0, feature, forward)
                return listen(name, logits), pooled.detach()

            return ask

        def peer_of(name: str, its):
            def ask(x: Tensor) -> Features:
                features = self.once(name, 0, x, its)
                return features._replace(logits=listen(name, features.logits))

            return ask

        def teacher_of(name: str, its):
            return lambda x: self.once(name, 0, x, its)

        own = self.model.forward_features
        with ExitStack() as stack:
            stack.enter_context(_instead(self.model, "forward_features", forward_features))
            for name, head in self.method.auxiliary_heads().items():
                stack.enter_context(_instead(head, "forward", head_of(name, head.forward)))
            for name, teacher in self.method.teachers().items():
                stack.enter_context(_instead(teacher, "forward_features", teacher_of(name, teacher.forward_features)))
            for name, peer in self.method.peer_networks().items():
                stack.enter_context(_instead(peer, "forward_features", peer_of(name, peer.forward_features)))
            yield heard

    def mask(self, draw: int) -> tuple[bool, ...]:
        """The blocks that the draw-th sub-network keeps, [L]. It takes nothing from the global random generator."""
        coin = torch.rand(len(self.blocks), generator=torch.Generator().manual_seed(draw))
        return tuple(bool(c < b.survival) for c, b in zip(coin.tolist(), self.blocks, strict=True))

    def _remembered(self, x: Tensor) -> bool:
        return any(x is t for m in self.method.members() for t in m.memory.values())

    def _drawn(self, draw: int) -> tuple[bool, ...] | None:
        """`mask(draw)` where a pass that starts now samples its blocks."""
        return self.mask(draw) if any(_samples(b) for b in self.blocks) else None

    def terms(self, draw: int = 0, shrink: float = 1.0) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[bool, ...] | None]:
        """The terms [], the logits [B, K] or [2B, K] that they were computed from by reader, and the blocks that were on.

        shrink: what the final exit's logits are multiplied by.
        """
        leaf = (shrink * self.out.logits).detach().requires_grad_()
        with LocalRNG(draw) as chance, self.listening(draw) as heard:
            terms = self.method.terms(self.model, self.out._replace(logits=leaf), self.batch, self.progress)
        self.draws |= chance.drawn or any(on for *_, on in heard)
        readers, on = {"final": leaf}, None
        for name, logits, blocks in heard:
            fresh = name if name not in readers else f"{name} {sum(r.startswith(name) for r in readers) + 1}"
            readers[fresh], on = logits, blocks or on
        return terms, readers, on


def step_report(held: FrozenStep, image: int, temperature: float | None = None, draw: int = 0) -> StepReport:
    """What the held step says of one image of its batch, with the knobs as they are. image: its row, 0 to B-1.

    temperature: of the softened distributions; None takes the method's first, 1 where it has none. draw: of all that is left
    to chance, such as a sub-network: the same draw is the same chance.
    """
    n = len(held.batch.y)
    if not 0 <= image < n:
        raise IndexError(f"the batch has images 0 to {n - 1}, got {image}")
    soften = temperature if temperature is not None else next(iter(held.temperatures.values()), 1.0)
    terms, readers, on = held.terms(draw)
    wanted = [*readers.values()]
    found = {name: _gradients(term, wanted) for name, term in terms.items()}

    rows = [*_rows(readers, n, image)]
    gradient = {
        name: {reader: g[row].cpu() for reader, i, row in rows if (g := every[i]) is not None} for name, every in found.items()
    }
    summed = {reader: torch.stack(pulls).sum(0) for reader, _, _ in rows if (pulls := _of(gradient, reader))}
    logits = {reader: wanted[i][row].detach().float().cpu() for reader, i, row in rows}
    logits |= _more(held, image, logits)
    values = {name: float(term.detach()) for name, term in terms.items()}
    return StepReport(
        values,
        sum(values.values()),
        logits,
        {reader: (z / soften).softmax(0) for reader, z in logits.items()},
        soften,
        _label(held, readers["final"], found["task"][0], draw)[image].detach().float().cpu(),
        gradient,
        summed,
        held.views[image],
        {reader: _opinion(z, int(held.batch.y[image])) for reader, z in logits.items() if reader != "last batch"},
        _ranked(held, image),
        _plan(held, image),
        Blocks(on, tuple(b.survival for b in held.blocks)) if on is not None else None,
    )


def _gradients(term: Tensor, wanted: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not term.requires_grad:
        return [None] * len(wanted)
    return torch.autograd.grad(term, wanted, retain_graph=True, allow_unused=True)


def _rows(readers: dict[str, Tensor], n: int, image: int) -> Iterator[tuple[str, int, int]]:
    """(reader, its place, the image's row in it); of a pass over both views the second is a reader of its own."""
    for i, (name, logits) in enumerate(readers.items()):
        if image < len(logits):
            yield name, i, image
        if len(logits) == 2 * n:
            yield "other view" if name == "final" else f"{name}, other view", i, n + image


def _of(gradient: dict[str, dict[str, Tensor]], reader: str) -> list[Tensor]:
    return [by[reader] for by in gradient.values() if reader in by]


def _opinion(logits: Tensor, y: int) -> Opinion:
    p = logits.softmax(0)
    return Opinion(int(p.argmax()), float(p.max()), int(p.argmax()) == y)


@torch.no_grad()
def _more(held: FrozenStep, image: int, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """The logits [K] of readers that no term hears: a teacher, an ensemble of the exits."""
    found = {}
    with held.listening(0):
        n = len(held.batch.y)
        out = first_rows(held.out, n)
        for name, z in held.method.exits(out, held.batch.x).items():
            if name not in known and z is not out.logits:
                found[name] = z[image].detach().float().cpu()
        for name, teacher in held.method.teachers().items():
            found[name] = teacher.forward_features(held.batch.x).logits[image].float().cpu()
    return found


def _label(held: FrozenStep, logits: Tensor, pull: Tensor | None, draw: int) -> Tensor:
    """What "task" asks of the final exit, [B, K] as distributions.

    The method may say so: `targets`. Otherwise it is read from the gradient: that of w times a cross entropy against t is
    w (softmax(z) - t) / B, and two outputs z tell w. A task that is no cross entropy is shown with its hard label.
    """
    n, k = len(held.batch.y), logits.shape[1]
    hard = F.one_hot(held.batch.y, k).to(logits.dtype)
    says = held.method.targets(held.batch, held.progress)
    if says is not None:
        return says
    if pull is None:
        return hard
    terms, readers, _ = held.terms(draw, shrink=0.5)
    again = _gradients(terms["task"], [readers["final"]])[0]
    if again is None:
        return hard
    p, q, g, h = logits.detach().softmax(1)[:n], readers["final"].detach().softmax(1)[:n], pull[:n], again[:n]
    weight = ((g - h) * (p - q)).sum() / (p - q).square().sum().clamp_min(1e-12)
    if weight * n < 1e-4 or not torch.allclose(g - h, weight * (p - q), atol=1e-5 / n, rtol=1e-3):
        return hard
    target = p - g / weight
    return target.clamp_min(0) if float(target.min()) > -1e-3 else hard


def _ranked(held: FrozenStep, image: int) -> Ranked | None:
    target = held.method.ranked_target(held.out, held.progress)
    if target is None or image >= len(target.logits):
        return None
    now, t = held.out.logits[image].float().cpu().sort().values, target.temperature
    return Ranked((now / t).softmax(0), (target.logits[image].float().cpu() / t).softmax(0), t)


def _plan(held: FrozenStep, image: int) -> Plan | None:
    plans = held.once("plan", 0, held.out.logits, lambda _: held.method.transport_plans(held.out))
    return None if plans is None else Plan(plans.plan[:, image].cpu(), plans.distance[image].cpu(), plans.weight[image].cpu())


def _samples(block: Any) -> bool:
    """Whether a pass that starts now draws this block."""
    return block.forced is None and block.survival < 1 and block.samples and block.training


@contextmanager
def _forced(blocks: Sequence[Any], on: Sequence[bool] | None) -> Iterator[None]:
    before = [b.forced for b in blocks]
    for block, stays in zip(blocks, on or before, strict=True):
        block.forced = stays
    try:
        yield
    finally:
        for block, forced in zip(blocks, before, strict=True):
            block.forced = forced


@contextmanager
def _instead(module: nn.Module, name: str, stand_in) -> Iterator[None]:
    """Within, module.name is `stand_in`."""
    object.__setattr__(module, name, stand_in)
    try:
        yield
    finally:
        object.__delattr__(module, name)
