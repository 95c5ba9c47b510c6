"""What the papers' exercises share: fresh arguments, a KL's mistakes, readings of a gap, and methods as answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core import Batch, Features, Progress
from ..methods import Method
from ..models import MODELS
from .exercise import Exercise

Wrong = dict[str, Callable[..., Any]]


def size(g: torch.Generator, low: int, high: int) -> int:
    """A whole number from low to high."""
    return int(torch.randint(low, high + 1, (), generator=g))


def number(g: torch.Generator, low: float, high: float) -> float:
    """A number between low and high."""
    return low + (high - low) * float(torch.rand((), generator=g))


def normal(g: torch.Generator, *shape: int) -> Tensor:
    """Gaussian numbers in float64, spread as logits are."""
    return 2 * torch.randn(shape, generator=g, dtype=torch.float64)


def labels(g: torch.Generator, n: int, classes: int) -> Tensor:
    """Labels, int64 [n]."""
    return torch.randint(classes, (n,), generator=g)


def batch_and_classes(g: torch.Generator) -> tuple[int, int]:
    """How many images and how many classes: never as many, so that a sum over the wrong ones shows."""
    n = size(g, 3, 6)
    return n, n + size(g, 1, 4)


def two_logits(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Logits [B, K] twice and a temperature: what a KL takes."""
    n, k = batch_and_classes(g)
    return normal(g, n, k), normal(g, n, k), number(g, 1.5, 4)


def divergence(student: Tensor, teacher: Tensor, t: float, u: float | None = None, dim: int = 1) -> Tensor:
    """KL(teacher || student), the teacher constant, at temperature u if given; -> []. dim: of the softmax."""
    log_p = (student / t).log_softmax(dim)
    log_q = (teacher.detach() / (t if u is None else u)).log_softmax(dim)
    return (log_q.exp() * (log_q - log_p)).sum(1).mean()


def kl_mistakes(power: int) -> Wrong:
    """Wrong answers of (student, teacher, temperature) where T^power KL(teacher || student) is asked for."""

    def probabilities(z: Tensor, taught: Tensor, t: float) -> Tensor:  # F.kl_div without the logarithm
        return t**power * F.kl_div((z / t).softmax(1), (taught.detach() / t).softmax(1), reduction="batchmean")

    def undivided(z: Tensor, taught: Tensor, t: float) -> Tensor:
        p, q = z.softmax(1) / t, taught.detach().softmax(1) / t
        return t**power * (q * (q / p).log()).sum(1).mean()

    wrong: Wrong = {
        "The KL is the wrong way round: its first distribution, the one that weighs, is the teacher's.": lambda z, q, t: (
            t**power * divergence(q, z, t).detach() + 0 * z.sum()
        ),
        "You averaged over the classes, too: sum over them, and take the mean over the batch alone.": lambda z, q, t: (
            t**power * divergence(z, q, t) / z.shape[1]
        ),
        "You summed over the batch: take the mean over the images.": lambda z, q, t: t**power * divergence(z, q, t) * len(z),
        "You multiplied the logits by the temperature: divide them.": lambda z, q, t: t**power * divergence(z, q, 1 / t),
        "The softmax runs over the batch: the classes are dimension 1.": lambda z, q, t: t**power * divergence(z, q, t, dim=0),
        "Probabilities went in where F.kl_div wants their logarithm: use log_softmax for the student.": probabilities,
        "Only the student's logits are divided by the temperature: soften both.": lambda z, q, t: (
            t**power * divergence(z, q, t, 1)
        ),
        "Only the teacher's logits are divided by the temperature: soften both.": lambda z, q, t: (
            t**power * divergence(z, q, 1, t)
        ),
        "This is the cross entropy with the teacher: a KL takes the teacher's own entropy off.": lambda z, q, t: (
            t**power * -((q.detach() / t).softmax(1) * (z / t).log_softmax(1)).sum(1).mean()
        ),
        "You divided the probabilities by the temperature: divide the logits, before the softmax.": undivided,
        "The gap of two probabilities is squared here: a KL weighs the gap of their logarithms.": lambda z, q, t: (
            t**power * ((z / t).softmax(1) - (q.detach() / t).softmax(1)).square().sum(1).mean()
        ),
        "The teacher's most likely class is all that counts here: its whole softened distribution is the target.": (
            lambda z, q, t: t**power * F.cross_entropy(z / t, q.argmax(1))
        ),
        "The student's softmax is taken twice: log_softmax wants logits.": lambda z, q, t: (
            t**power * F.kl_div((z / t).softmax(1).log_softmax(1), (q.detach() / t).softmax(1), reduction="batchmean")
        ),
        "The teacher's softmax is taken twice: it wants logits.": lambda z, q, t: (
            t**power * F.kl_div((z / t).log_softmax(1), (q.detach() / t).softmax(1).softmax(1), reduction="batchmean")
        ),
        "Both softmaxes are taken twice: they want logits.": lambda z, q, t: (
            t**power * divergence((z / t).softmax(1), (q / t).softmax(1), 1)
        ),
        "This is symmetric, both directions added: one is asked for.": lambda z, q, t: (
            t**power * (divergence(z, q, t) + divergence(q, z, t))
        ),
        "You divided the log-probabilities by the temperature: divide the logits, before the softmax.": lambda z, q, t: (
            t**power * F.kl_div(z.log_softmax(1) / t, q.detach().softmax(1) / t, reduction="batchmean")
        ),
        "log_target=True says that the teacher's side is a logarithm: give its log_softmax, or leave it out.": lambda z, q, t: (
            t**power * F.kl_div((z / t).log_softmax(1), (q.detach() / t).softmax(1), reduction="batchmean", log_target=True)
        ),
    }
    if power == 0:
        wrong |= {
            "The temperature is missing: divide both logits by it.": lambda z, q, t: divergence(z, q, 1),
            "There is a factor τ² too much: this paper has none.": lambda z, q, t: t**2 * divergence(z, q, t),
        }
    else:
        wrong |= {
            "You forgot τ²: it gives the gradient back what the temperature took.": lambda z, q, t: divergence(z, q, t),
            "The factor in front is τ: it should be τ².": lambda z, q, t: t * divergence(z, q, t),
            "The logits are not divided by the temperature: τ² alone is there.": lambda z, q, t: t**2 * divergence(z, q, 1),
            "You divided by τ²: multiply by it.": lambda z, q, t: divergence(z, q, t) / t**2,
        }
    return wrong


def two_outputs(weight: str, term: str) -> Wrong:
    """Wrong answers of (z, q, y, weight, tau) where both cross entropies and weight * tau^2 KL(q || z) are asked for."""
    ce = F.cross_entropy

    def twice(z: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(z.softmax(1), y)

    return {
        f"{weight} weighs the cross entropies, and 1 - {weight} the {term}: {weight} is the {term}'s alone.": (
            lambda z, q, y, w, t: w * (ce(z, y) + ce(q, y)) + (1 - w) * t**2 * divergence(z, q, t)
        ),
        f"The {term} is summed over the batch: take the mean over the images.": lambda z, q, y, w, t: (
            ce(z, y) + ce(q, y) + len(z) * w * t**2 * divergence(z, q, t)
        ),
        f"Only one side of the {term} is softened, the one that learns: divide both logits by τ.": lambda z, q, y, w, t: (
            ce(z, y) + ce(q, y) + w * t**2 * divergence(z, q, t, 1)
        ),
        f"Only one side of the {term} is softened, the one that teaches: divide both logits by τ.": lambda z, q, y, w, t: (
            ce(z, y) + ce(q, y) + w * t**2 * divergence(z, q, 1, t)
        ),
        f"Probabilities went into the {term} where F.kl_div wants log_softmax.": lambda z, q, y, w, t: (
            ce(z, y) + ce(q, y) + w * t**2 * F.kl_div((z / t).softmax(1), (q.detach() / t).softmax(1), reduction="batchmean")
        ),
        "The softmax is taken twice in both cross entropies: they want logits.": lambda z, q, y, w, t: (
            twice(z, y) + twice(q, y) + w * t**2 * divergence(z, q, t)
        ),
        "The softmax is taken twice in the first cross entropy: it wants logits.": lambda z, q, y, w, t: (
            twice(z, y) + ce(q, y) + w * t**2 * divergence(z, q, t)
        ),
        "The softmax is taken twice in the second cross entropy: it wants logits.": lambda z, q, y, w, t: (
            ce(z, y) + twice(q, y) + w * t**2 * divergence(z, q, t)
        ),
        "The cross entropies are summed over the batch: take the mean over the images.": lambda z, q, y, w, t: (
            len(y) * (ce(z, y) + ce(q, y)) + w * t**2 * divergence(z, q, t)
        ),
    }


def gap(name: str, task: str, more: str, less: str, other: str, hint: str, evidence: str) -> Exercise:
    """How many percentage points `more` lies above `less`, read off accuracies {name: in [0, 1]} that hold `other`, too."""

    def solution(accuracies: Mapping[str, float]) -> float:
        """The gap in percentage points."""
        return 100 * (accuracies[more] - accuracies[less])

    def draw(g: torch.Generator) -> tuple[dict[str, float]]:
        low = number(g, 0.2, 0.3)
        return ({less: low, other: low + number(g, 0.11, 0.2), more: low + number(g, 0.31, 0.6)},)

    wrong: Wrong = {
        "That is a share of 1: give percentage points.": lambda a: a[more] - a[less],
        f"That is the accuracy of {more} itself: take {less}'s off.": lambda a: 100 * a[more],
        f"That is the accuracy of {less} itself: how far is it to {more}?": lambda a: 100 * a[less],
        f"That is how far {other} lies above {less}: read {more}.": lambda a: 100 * (a[other] - a[less]),
        f"That is how far {more} lies above {other}: read {less}.": lambda a: 100 * (a[more] - a[other]),
        f"That is relative to {less}: points are a difference, no division.": lambda a: 100 * (a[more] / a[less] - 1),
        f"That is relative to {more}: points are a difference, no division.": lambda a: 100 * (1 - a[less] / a[more]),
        "That is a ratio of two accuracies: take their difference.": lambda a: 100 * a[more] / a[less],
        "That is the error of the better one: it is the difference that is asked for.": lambda a: 100 * (1 - a[more]),
        "That is the error of the worse one: it is the difference that is asked for.": lambda a: 100 * (1 - a[less]),
        "That is half of the gap: do not average the two.": lambda a: 50 * (a[more] - a[less]),
        "That is the mean of the two: subtract.": lambda a: 50 * (a[more] + a[less]),
        "That is the sum of the two: subtract.": lambda a: 100 * (a[more] + a[less]),
    }
    return Exercise(name, task, hint, draw, solution, wrong, reads=True, evidence=evidence)


STEP = ("model", "out", "batch", "progress")
"""What a method is given in a step, by the names that a notebook uses."""


def step(name: str, **options: Any) -> Callable[[torch.Generator], tuple[Any, ...]]:
    """Draws one training step of a tiny network, in float64: (model, out of both views, batch, progress)."""

    def draw(g: torch.Generator) -> tuple[Any, ...]:
        n, k = size(g, 3, 5), size(g, 6, 8)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(size(g, 0, 2**30))
            model = MODELS[name](num_classes=k, width=4, **options).double()
            x, pair = normal(g, n, 3, 8, 8), normal(g, n, 3, 8, 8)
            out = model.forward_features(torch.cat([x, pair]))
        out = Features(normal(g, 2 * n, k), normal(g, *out.embedding.shape), out.stages)
        return model, out, Batch(x, labels(g, n, k), torch.arange(n), pair=pair), Progress(0, 0, 2, 3)

    return draw


def loss_of(answer: Any, model: Any, out: Features, batch: Batch, progress: Progress, **knobs: float) -> Tensor:
    """How a method's class is called on a drawn step: the sum of its terms, its weights the same for every class.

    Args:
        answer: the class.
        model: the tiny network.
        out: its pass over both views of the batch.
        batch: the images and their labels.
        progress: where training stands.
        knobs: values at which every term is large enough to be seen in the sum.

    Returns:
        The loss, [].

    Raises:
        TypeError: The answer is no method, or its terms are no dict with a "task".
    """
    if not (isinstance(answer, type) and issubclass(answer, Method)):
        raise TypeError("a class is asked for, a subclass of sdkit.Method: hand in its name")
    n = len(batch.y)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(n)
        method = answer.built({"model": model, "train_size": n}, **knobs).double()
        rows = 2 * n if method.both_views else n
        seen = Features(out.logits[:rows], out.embedding[:rows], tuple(s[:rows] for s in out.stages))
        terms = method.terms(model, seen, batch, progress)
    if not isinstance(terms, dict) or "task" not in terms:
        raise TypeError('terms() returns a dict of named terms, the one against the labels called "task"')
    return torch.as_tensor(sum(terms.values()))


def with_terms(kind: type[Method], terms: Callable[..., dict[str, Tensor]]) -> type[Method]:
    """A method's class that minimises something else."""
    return type(kind.__name__, (kind,), {"terms": terms})


def with_options(kind: type[Method], **options: Any) -> type[Method]:
    """A method's class whose defaults are others."""

    @functools.wraps(kind.__init__)
    def build(self: Any, *handed: Any, **given: Any) -> None:
        kind.__init__(self, *handed, **(given | options))

    return type(kind.__name__, (kind,), {"__init__": build})
