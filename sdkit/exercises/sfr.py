"""Exercises on SFR: the last map teaches the shallower ones, labels are shared as the network shared them (paper 000)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..methods import SFR
from . import sfr_transport
from .common import STEP, batch_and_classes, gap, labels, loss_of, normal, number, size, step, with_options, with_terms
from .exercise import Exercise


def dynamic_labels(y: Tensor, past: Tensor, epsilon: float) -> Tensor:
    """1 - epsilon on the label, epsilon on the others as the past outputs share it. [B], [B, K] -> [B, K]."""
    rows = []
    for label, said in zip(y.tolist(), past, strict=True):
        others = said.clone()
        others[label] = 0
        row = epsilon * others / others.sum()
        row[label] = 1 - epsilon
        rows.append(row)
    return torch.stack(rows)


def soft_labels_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy with labels that are distributions, mean over the batch. [B, K] x2 -> []."""
    return (target * (logits.logsumexp(1, keepdim=True) - logits)).sum(1).mean()


def stage_attention(query: Tensor, keys: Tensor) -> Tensor:
    """Softmax over the stages of q k_s / sqrt(d). [B, d], [B, S, d] -> [B, S]."""
    near = torch.stack([(query * keys[:, s]).sum(1) for s in range(keys.shape[1])], 1)
    return (near / query.shape[1] ** 0.5).softmax(1)


def draw_labels(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Labels, an epoch's outputs, and epsilon."""
    n, k = batch_and_classes(g)
    return labels(g, n, k), normal(g, n, k).softmax(1), number(g, 0.1, 0.3)


def draw_soft(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Logits and distributions."""
    n, k = batch_and_classes(g)
    return normal(g, n, k), normal(g, n, k).softmax(1)


def draw_attention(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """A query and keys."""
    n, s, d = size(g, 2, 3), size(g, 4, 5), size(g, 6, 8)
    return normal(g, n, d) / 2, normal(g, n, s, d) / 2


def near(query: Tensor, keys: Tensor) -> Tensor:
    """Inner products over the root of their length. [B, S]."""
    return (keys * query[:, None]).sum(2) / query.shape[1] ** 0.5


def one_hot(y: Tensor, like: Tensor) -> Tensor:
    """Labels as rows of 0 and 1."""
    return F.one_hot(y, like.shape[1]).to(like)


CELL = '''class MySFR(sdkit.methods.SFR):
    """SFR's loss, to be changed."""

    def terms(self, model, out, batch, progress):
        stages = self.maps(out)
        distance = self.distances(stages)  # [B, S-1] of every shallower stage to the last map
        weights = self.weights(stages).detach()  # [B, S-1]
        target = self.targets(batch, progress)  # [B, K] the dynamic labels
        task = -(target * out.logits.log_softmax(1)).sum(1).mean()
        return {"task": task, "emd": self.lam * (weights * distance).sum(1).mean()}'''


def labelled(target: Callable[..., Tensor], emd: Callable[..., Any] | None = None) -> type[SFR]:
    """SFR with other labels: of the one-hot labels and epsilon; emd: another feature loss, of weights, distances and lam."""

    def terms(self: Any, model: Any, out: Any, batch: Any, progress: Any) -> dict[str, Tensor]:
        found = SFR.terms(self, model, out, batch, progress)
        soft = target(one_hot(batch.y, out.logits), self.epsilon)
        task = -(soft * out.logits.log_softmax(1)).sum(1).mean()
        return {"task": task, "emd": emd(found["emd"]) if emd else found["emd"]}

    return with_terms(SFR, terms)  # type: ignore[return-value]


def smooth(hard: Tensor, epsilon: float) -> Tensor:
    """Label smoothing."""
    return (1 - epsilon) * hard + epsilon / hard.shape[1]


EXERCISES = [
    gap(
        "sfr.points_gained",
        "Read the runs of *Train*: how many percentage points does `sfr` lie above `vanilla` after the last epoch? A negative "
        "number is an answer, too.",
        "sfr",
        "vanilla",
        "byot",
        "The accuracies are printed there in percent: subtract.",
        "{n: t.accuracy for n, t in trained.items()}",
    ),
    *sfr_transport.EXERCISES,
    Exercise(
        "sfr.dynamic_labels",
        "Write $\\tilde y$: the label keeps $1-\\epsilon$, and the other classes share $\\epsilon$ in proportion to what the "
        "network gave them an epoch ago. `past` are those outputs, probabilities.",
        "<code>F.one_hot</code> says where the label is; set its probability to 0 and divide by what is left.",
        draw_labels,
        dynamic_labels,
        {
            "The label's own output is shared, too: only the other classes share ε.": lambda y, p, e: (
                (1 - e) * one_hot(y, p) + e * p
            ),
            "The wrong classes share ε alike here: as they did an epoch ago.": lambda y, p, e: (
                (1 - e) * one_hot(y, p) + e * (1 - one_hot(y, p)) / (p.shape[1] - 1)
            ),
            "This is plain label smoothing: the network's own outputs are not in it.": lambda y, p, e: smooth(one_hot(y, p), e),
            "ε and 1 - ε are exchanged.": lambda y, p, e: dynamic_labels(y, p, 1 - e),
            "The wrong classes' shares are not divided by their sum: a row sums to 1.": lambda y, p, e: (
                (1 - e) * one_hot(y, p) + e * p * (1 - one_hot(y, p))
            ),
            "The label has 1 still: it keeps 1 - ε.": lambda y, p, e: dynamic_labels(y, p, e) + e * one_hot(y, p),
            "The wrong classes' shares have no ε.": lambda y, p, e: (1 - e) * one_hot(y, p) + dynamic_labels(y, p, 1.0),
            "These are the hard labels: the others share ε.": lambda y, p, e: one_hot(y, p) + 0 * p,
            "These are the past outputs alone: the label keeps 1 - ε.": lambda y, p, e: 1 * p,
            "The label's share is what it was an epoch ago: it keeps 1 - ε.": lambda y, p, e: (
                e * dynamic_labels(y, p, 1.0) + (1 - e) * p * one_hot(y, p)
            ),
            "The shares are a softmax of the past probabilities: they are probabilities already.": lambda y, p, e: (
                dynamic_labels(y, p.softmax(1), e)
            ),
            "The shares are divided by the sum over the whole batch: each row sums to 1.": lambda y, p, e: (
                (1 - e) * one_hot(y, p) + e * p * (1 - one_hot(y, p)) / (p * (1 - one_hot(y, p))).sum()
            ),
            "ε and 1 - ε are exchanged, and the label's own output is shared, too.": lambda y, p, e: (
                e * one_hot(y, p) + (1 - e) * p
            ),
            "The network's most likely wrong class gets all of ε: all share it.": lambda y, p, e: (
                (1 - e) * one_hot(y, p) + e * one_hot((p * (1 - one_hot(y, p))).argmax(1), p)
            ),
        },
        gradients=False,
    ),
    Exercise(
        "sfr.soft_labels_loss",
        "Write the cross entropy with labels that are distributions.",
        "Minus the sum over the classes of target times log-probability. The target is a number here.",
        draw_soft,
        soft_labels_loss,
        {
            "The minus is missing: log-probabilities are negative.": lambda z, y: (y.detach() * z.log_softmax(1)).sum(1).mean(),
            "You averaged over the classes, too: sum over them.": lambda z, y: soft_labels_loss(z, y) / z.shape[1],
            "You summed over the batch: take the mean over the images.": lambda z, y: soft_labels_loss(z, y) * len(z),
            "Only the most likely class of the label counts here: all of the distribution does.": lambda z, y: F.cross_entropy(
                z, y.argmax(1)
            ),
            "This is a KL, the label's entropy is taken off: leave it in.": lambda z, y: (
                (y.detach() * (y.detach().log() - z.log_softmax(1))).sum(1).mean()
            ),
            "The softmax is taken twice: logits go into the log_softmax.": lambda z, y: soft_labels_loss(z.softmax(1), y),
            "The logarithm is missing.": lambda z, y: -(y.detach() * z.softmax(1)).sum(1).mean(),
            "These are logits times the label: log_softmax is missing.": lambda z, y: -(y.detach() * z).sum(1).mean(),
            "The logarithm is the label's: it is the network's.": lambda z, y: -(z.softmax(1) * y.detach().log()).sum(1).mean(),
            "The label went through a softmax: it is a distribution already.": lambda z, y: soft_labels_loss(z, y.softmax(1)),
            "The softmax runs over the batch: the classes are dimension 1.": lambda z, y: (
                -(y.detach() * z.log_softmax(0)).sum(1).mean()
            ),
            "The gap is squared: this is a cross entropy.": lambda z, y: (z.softmax(1) - y.detach()).square().sum(1).mean(),
            "This is the entropy of the output: the label is not in it.": lambda z, y: (
                -(z.softmax(1) * z.log_softmax(1)).sum(1).mean()
            ),
        },
        constants=("target",),
    ),
    Exercise(
        "sfr.stage_attention",
        "Write $w_s$: how much each stage counts for each image. `keys[:, s]` is the key of stage s.",
        "An inner product for each stage, then a softmax over the stages.",
        draw_attention,
        stage_attention,
        {
            "The factor 1/√d is missing.": lambda q, k: (k * q[:, None]).sum(2).softmax(1),
            "You divided by d: by its root.": lambda q, k: ((k * q[:, None]).sum(2) / q.shape[1]).softmax(1),
            "You multiplied by √d: divide.": lambda q, k: ((k * q[:, None]).sum(2) * q.shape[1] ** 0.5).softmax(1),
            "The root is of the number of stages: of d, a key's length.": lambda q, k: (
                (k * q[:, None]).sum(2) / k.shape[1] ** 0.5
            ).softmax(1),
            "The softmax runs over the batch: each image's stages sum to 1.": lambda q, k: near(q, k).softmax(0),
            "The softmax is missing.": lambda q, k: near(q, k),
            "This is a sigmoid: the stages share 1.": lambda q, k: near(q, k).sigmoid(),
            "These are logarithms: softmax and not log_softmax.": lambda q, k: near(q, k).log_softmax(1),
            "The sign has turned: the most alike stage counts most.": lambda q, k: (-near(q, k)).softmax(1),
            "Query and keys are scaled to length 1: the inner product is of them as they are.": lambda q, k: (
                F.cosine_similarity(k, q[:, None], dim=2) / q.shape[1] ** 0.5
            ).softmax(1),
            "The gap of query and key is squared: take their inner product.": lambda q, k: (
                (k - q[:, None]).square().sum(2) / q.shape[1] ** 0.5
            ).softmax(1),
            "The products are averaged over the d numbers: summed.": lambda q, k: (
                (k * q[:, None]).mean(2) / q.shape[1] ** 0.5
            ).softmax(1),
            "√d divides after the softmax: divide before, then each image's stages sum to 1.": lambda q, k: (
                (k * q[:, None]).sum(2).softmax(1) / q.shape[1] ** 0.5
            ),
            "The softmax is taken twice.": lambda q, k: near(q, k).softmax(1).softmax(1),
            "These are exp(...) still: divide by their sum over the stages.": lambda q, k: near(q, k).exp(),
            "The keys are scaled to length 1: take them as they are.": lambda q, k: near(q, F.normalize(k, dim=2)).softmax(1),
            "All stages count alike here.": lambda q, k: (0 * near(q, k)).softmax(1),
        },
    ),
    Exercise(
        "sfr.MySFR",
        "Change `MySFR` above: replace the dynamic labels by plain label smoothing, $(1-\\epsilon)$ of the hard label and "
        "$\\epsilon/K$ for every class. Run its cells again: are labels of the network's own making worth it?",
        "<code>F.one_hot(batch.y, model.num_classes)</code> and <code>self.epsilon</code>; the features' term stays.",
        step("four-stage"),
        with_options(SFR, labels="uniform"),
        {
            "Not changed yet: those are still its own labels (hard ones in the first epoch).": SFR,
            "ε is shared by the wrong classes alone: every class gets ε/K.": labelled(
                lambda y, e: (1 - e) * y + e * (1 - y) / (y.shape[1] - 1)
            ),
            "ε and 1 - ε are exchanged.": labelled(lambda y, e: smooth(y, 1 - e)),
            "The hard label keeps all of its 1: it has 1 - ε.": labelled(lambda y, e: y + e / y.shape[1]),
            "Every class gets ε: ε/K.": labelled(lambda y, e: (1 - e) * y + e),
            "ε/K is missing: the rows do not sum to 1.": labelled(lambda y, e: (1 - e) * y),
            "The hard label is gone: this is uniform.": labelled(lambda y, e: 0 * y + 1 / y.shape[1]),
            "0.1 is typed in for ε: it is self.epsilon.": labelled(lambda y, e: smooth(y, 0.1)),
            "ε is doubled.": labelled(lambda y, e: smooth(y, 2 * e)),
            "ε is halved.": labelled(lambda y, e: smooth(y, e / 2)),
            "You divided by K twice.": labelled(lambda y, e: (1 - e) * y + e / y.shape[1] ** 2),
            "The features' term is gone: leave it.": labelled(smooth, lambda emd: 0 * emd),
            "The features' term has changed its sign.": labelled(smooth, lambda emd: -emd),
            "The features' term is doubled: leave it.": labelled(smooth, lambda emd: 2 * emd),
        },
        call=partial(loss_of, epsilon=0.25),
        given=STEP,
        cell=CELL,
    ),
]
