"""Is a term of the loss felt? Its gradient on the network's weights beside that of the labels alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Features, Moment, Progress
from ..rng import LocalRNG
from .base import ProgressBar, checked, preserve_state
from .gradients import stage_of

INERT, SWAMPS = 0.01, 10.0
"""Below, a term is hardly felt beside the labels; above, the labels are hardly felt beside it."""

SOFT = "task beyond CE"
"""What of "task" is no multiple of the plain cross entropy, as a term of its own: softened labels, a second view."""

ROUNDING = 1e-5
"""Of float32: a task is a multiple of the cross entropy where it misses that by less."""


class TermShares(NamedTuple):
    """The size of every term's gradient on the network's weights; 1 is that of plain cross entropy with the labels.

    A share is 0 where the term says nothing at that moment (no target yet, a knob at 0), and nan where it teaches other weights
    alone: a peer's, an auxiliary head's. The last term may be `SOFT`, which no method names: the part of "task" that is no
    multiple of the cross entropy.
    """

    terms: tuple[str, ...]  # [T] as the method names them, then perhaps SOFT
    moments: tuple[str, ...]  # [M] "early" and "late"
    parts: tuple[str, ...]  # [P] of the network, shallow to deep: "stem", "stage 1", ..., "classifier"
    share: Tensor  # [M, T] float64, of the whole network
    by_part: Tensor  # [M, T, P] float64, the same of each part by itself
    cosine: Tensor  # [M] float64, of the whole loss's gradient with the cross entropy's: 1 is plain training in disguise
    weightless: tuple[str, ...] = ()  # terms that are off because a knob is at 0: it is their weight

    def of(self, moment: str) -> dict[str, float]:
        """Term -> its share at a moment, "task" left out: what the method adds to the labels."""
        row = self.share[self.moments.index(moment)].tolist()
        return {term: share for term, share in zip(self.terms, row, strict=True) if term != "task"}

    def mark(self, moment: str, term: str) -> str:
        """What a term is called at a moment: see `mark`."""
        return mark(float(self.share[self.moments.index(moment), self.terms.index(term)]))

    def inert(self, moment: str | None = None) -> bool:
        """Whether nothing that the method adds to the labels is felt: at a moment; for None neither early nor late."""
        if moment is None:
            return len(self.moments) > 1 and all(map(self.inert, self.moments))
        return not any(share >= INERT for share in self.of(moment).values())

    def said(self, moment: str) -> str:
        """What a panel says of them: "kd 0.4 % of the task's pull (inert)"."""
        felt = {term: share for term, share in self.of(moment).items() if not math.isnan(share) and share > 0}
        if not felt:
            return "the labels alone pull"
        words = [f"{term} {percent(share)}{f' ({m})' if (m := mark(share)) else ''}" for term, share in felt.items()]
        return f"{', '.join(words)} of the task's pull"


def mark(share: float) -> str:
    """A share in a word: "inert" below `INERT`, "swamps" above `SWAMPS`, "off" at 0, "elsewhere" where it is nan, else none."""
    if math.isnan(share):
        return "elsewhere"
    return "off" if share == 0 else "inert" if share < INERT else "swamps" if share > SWAMPS else ""


def percent(share: float) -> str:
    """A share in two digits: "0.042 %", "4.2 %", "140 %", "42 times"."""
    return f"{share:.2g} times" if share >= 10 else f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


class Terms(Protocol):
    """What is read of a method; `methods.Method` says what each is."""

    def view(self, batch: Batch) -> Tensor: ...  # noqa: D102

    def terms(self, model: nn.Module, out: Features, batch: Batch, progress: Progress) -> dict[str, Tensor]: ...  # noqa: D102

    def remember(self, out: Features, batch: Batch, progress: Progress) -> None: ...  # noqa: D102

    def members(self) -> list[Any]: ...  # noqa: D102

    def buffers(self) -> Iterator[Tensor]: ...  # noqa: D102


class Held(Protocol):
    """What has moments to look at: an `Experiment` has its first steps and, once it ran, its end; a `Trained` has both."""

    def moments(self, batches: int) -> Mapping[str, Moment]: ...  # noqa: D102


@checked
def term_shares(of: Held, batches: int = 4, seed: int = 0, progress: ProgressBar = iter) -> TermShares:
    """How strongly each term of a method's loss pulls at the network, beside plain cross entropy with the labels.

    A share is the root mean square over the batches of the term's gradient, weighted as it is in the loss, over that of the
    cross entropy with weight one; both reach the weights of the deployed network through the same passes. "early" is at the
    first weights, behind a first step that fills the method's memory; "late" at the trained ones, in the last epoch, where
    what the method keeps from epoch to epoch is filled with what the network says today. Nothing is trained or changed.

    Args:
        of: a `Trained`, or an `Experiment`, which has "late" only where its run is done.
        batches: of how many the gradients are taken.
        seed: of what the terms draw, such as a sub-network.
        progress: wraps what is iterated over, such as `tqdm`.

    Returns:
        Every term's share at every moment, in whole and by part of the network.

    Raises:
        TypeError: `of` is neither.
        ValueError: fewer than one batch is asked for, or the network's logits do not depend on its weights.
    """
    if not hasattr(of, "moments"):
        raise TypeError(f"term shares are of a Trained or an Experiment, got {of!r}: say term_shares(Experiment('dsr'))")
    if batches < 1:
        raise ValueError(f"shares are taken on at least one batch, got {batches}")
    found = {name: _measured(moment, seed, progress, warm=True) for name, moment in of.moments(batches).items()}
    return _together(found)


def shares_now(model: nn.Module, method: Terms, batch: Batch, at: Progress, seed: int = 0) -> TermShares:
    """The same of one batch, with the memory as it is: what a panel says between two epochs. Its one moment is "now"."""
    return _together({"now": _measured(Moment(model, method, [batch], at), seed, iter, warm=False)})


class _Sums(NamedTuple):
    """Squared lengths of gradients, summed over batches."""

    parts: tuple[str, ...]
    plain: Tensor  # [P]
    terms: dict[str, Tensor | None]  # [P] each, None where it reaches no weight of the network
    total: float
    along: float  # the whole loss's gradient times the plain one's
    weightless: set[str]  # terms that a knob at 0 keeps off


def _together(found: Mapping[str, _Sums]) -> TermShares:
    for sums in found.values():
        if _whole(sums.terms.get(SOFT)) <= ROUNDING**2 * _whole(sums.plain):
            sums.terms[SOFT] = torch.zeros_like(sums.plain)
    names = list(dict.fromkeys(name for sums in found.values() for name in sums.terms))
    if not any(_whole(sums.terms[SOFT]) for sums in found.values()):
        names.remove(SOFT)
    parts = next(iter(found.values())).parts
    share, by_part = (torch.full((len(found), len(names), *rest), math.nan).double() for rest in ((), (len(parts),)))
    for m, sums in enumerate(found.values()):
        for t, name in enumerate(names):
            squares = sums.terms.get(name)
            if squares is not None:
                share[m, t] = (squares.sum() / sums.plain.sum()).sqrt()
                by_part[m, t] = (squares / sums.plain).sqrt().nan_to_num(0.0)
    cosine = [s.along / math.sqrt(s.total * _whole(s.plain)) if s.total else math.nan for s in found.values()]
    weightless = tuple(name for name in names if any(name in s.weightless for s in found.values()))
    return TermShares(tuple(names), tuple(found), parts, share, by_part, torch.tensor(cosine).double(), weightless)


def _whole(squares: Tensor | None) -> float:
    return 0.0 if squares is None else float(squares.sum())


def _measured(moment: Moment, seed: int, progress: ProgressBar, warm: bool) -> _Sums:
    model, method, batches, at, _ = moment
    of: dict[str, list[Tensor]] = {}
    for name, w in sorted(model.named_parameters(), key=lambda named: _depth(_part(named[0]))):
        of.setdefault(_part(name), []).append(w)
    weights = [w for part in of.values() for w in part]
    sizes = [sum(w.numel() for w in part) for part in of.values()]
    terms: dict[str, Tensor | None] = {}
    plain, total, along, chance = torch.zeros(len(sizes)).double(), 0.0, 0.0, LocalRNG(seed)

    def squares(gradient: Tensor) -> Tensor:
        return torch.stack([part.square().sum(dtype=torch.float64) for part in gradient.split(sizes)]).cpu()

    with preserve_state(model, method, train=True), _same_memory(method), torch.enable_grad():
        for w in weights:
            w.requires_grad_(True)
        if warm:
            with chance:
                _fill(moment)
        for i, batch in enumerate(progress(batches[1:] if warm else batches), int(warm)):
            now = _later(at, i)
            with chance:  # the way back draws nothing
                out = model.forward_features(method.view(batch))
                said = method.terms(model, out, batch, now)
            label = _gradient(_cross_entropy(out.logits, batch), weights)
            if label is None:
                raise ValueError(
                    f"the logits of this {type(model).__name__} do not depend on its weights: nothing pulls at them"
                )
            pulls = {name: _gradient(term, weights) for name, term in said.items()}
            whole = sum((pull for pull in pulls.values() if pull is not None), torch.zeros_like(label))
            if (task := pulls.get("task")) is not None:
                pulls[SOFT] = task - _product(task, label) / _product(label, label) * label
            plain += squares(label)
            for name, pull in pulls.items():
                before = terms.get(name)
                terms[name] = before if pull is None else squares(pull) + (0 if before is None else before)
            total += _product(whole, whole)
            along += _product(whole, label)
            if warm:
                with chance:
                    _remember(method, out, batch, now)
        off = {name for name, found in terms.items() if found is not None and not found.any()}
        weightless = _weightless(method, off, lambda: method.terms(model, out, batch, now), weights) if warm else set()
    return _Sums(tuple(of), plain, terms, total, along, weightless)


def _weightless(method: Terms, off: set[str], terms: Callable[[], dict[str, Tensor]], weights: Sequence[Tensor]) -> set[str]:
    """Which of the terms that are off pull once a knob that is at 0 is turned up."""
    found: set[str] = set()
    knobs = [(part, name, knob) for part in method.members() for name, knob in part.knobs.items()] if off else []
    for part, name, knob in knobs:
        if getattr(part, name, None) != 0:  # of a combination the parts have the knobs
            continue
        try:
            setattr(part, name, knob.high)
            pulls = {term: _gradient(value, weights) for term, value in terms().items() if term in off}
            found |= {term for term, pull in pulls.items() if pull is not None and pull.any()}
        except (RuntimeError, ValueError):  # it has no such term, whatever the knob: BYOT's hint on linear heads
            continue
        finally:
            setattr(part, name, 0)
    return found


def _gradient(value: Tensor, weights: Sequence[Tensor]) -> Tensor | None:
    """Of all weights in a row, zeros of a constant; None where it teaches, but none of these weights."""
    found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True) if value.requires_grad else ()
    if found and all(g is None for g in found):
        return None
    both = zip(found or [None] * len(weights), weights, strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in both])


def _product(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(dtype=torch.float64))


def _cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """Of the pass over the images themselves with their labels, of mixtures by their shares. []."""
    first = logits[: len(batch.y)]
    own = F.cross_entropy(first, batch.y)
    if batch.mix is None:
        return own
    partner, share = batch.mix
    return share * own + (1 - share) * F.cross_entropy(first, partner)


def _fill(moment: Moment) -> None:
    """The method remembers what the last epoch saw, where there was one, and then the first batch as of the last step."""
    model, method, at, earlier = moment.model, moment.method, moment.progress, moment.earlier or moment.batches
    if at.epoch:
        for left, batch in enumerate(earlier, at.step - len(earlier)):
            _remember(method, _pass(model, method, batch), batch, at._replace(epoch=at.epoch - 1, step=max(left, 0)))
    _remember(method, _pass(model, method, moment.batches[0]), moment.batches[0], at)


@torch.no_grad()
def _pass(model: Any, method: Terms, batch: Batch) -> Features:
    return model.forward_features(method.view(batch))


@torch.no_grad()
def _remember(method: Terms, out: Features, batch: Batch, at: Progress) -> None:
    """As after a step, but copies of the network stay what training made of them."""
    buffers = [(b, b.clone()) for b in method.buffers()]
    method.remember(out, batch, at)
    for b, before in buffers:
        b.copy_(before)


@contextmanager
def _same_memory(method: Terms) -> Iterator[None]:
    """Afterwards the method remembers what it did before."""
    before = [(m, m.memory) for m in method.members()]
    for m, memory in before:
        m.memory = copy.deepcopy(memory)
    try:
        yield
    finally:
        for m, memory in before:
            m.memory = memory


def _later(at: Progress, steps: int) -> Progress:
    step = at.step + steps
    return at._replace(step=step, epoch=step // at.steps_per_epoch)


def _part(name: str) -> str:
    stage = stage_of(name)
    return f"stage {stage + 1}" if stage >= 0 else "stem" if name.startswith("stem") else "classifier"


def _depth(part: str) -> tuple[int, int]:
    """Shallow to deep."""
    return (0, 0) if part == "stem" else (1, int(part.split()[1])) if part.startswith("stage") else (2, 0)
