"""Few labels: a network learns from them, labels the other images itself, and is trained again on both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Features, Knob
from .base import Frozen, Method, same_classes

LABELLED = Knob("n", 0.05, 1, "one label in twenty is known", "every label is known", most=1)


def is_labelled(batch: Batch, share: float) -> Tensor:
    """Which images keep their label: the same ones in every run, `share` of any row of neighbours.

    Args:
        batch: Its images, by their place in the training set.
        share: In [0, 1].

    Returns:
        [B] bool.

    Raises:
        ValueError: The batch is mixed, so that an image without a label would carry another's.
    """
    if batch.mix is not None:
        raise ValueError("mixed images share their labels, also with those that have none: train it with mixup=0")
    return batch.index * 40503 % 65536 < share * 65536  # multiples of the golden ratio fall evenly


def entropies(logits: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """Cross entropy of the images that count, a sum over them divided by B. logits [B, K], y [B], counts [B] -> []."""
    return (F.cross_entropy(logits, y, reduction="none") * counts).mean()


class FewLabels(Method):
    """Cross entropy where only some images have a label: the first training of `SelfTraining` (Rosenberg et al. 2005, Sec. 2).

    L = (1/B) Σ_labelled CE(p_i, y_i)

    Costs nothing. Memory: none.
    Helps to see what labels are worth; and as a teacher: `Experiment("self-training", teacher=Experiment("few-labels"))`.

    labelled: share of the training images whose labels are looked at, in [0, 1]. 1 is vanilla training. Ours is 0.5.
    """

    replaces_task_loss = hides_labels = True
    knobs = {"labelled": LABELLED}

    def __init__(self, model, *, labelled: float = 0.5) -> None:
        super().__init__()
        self.labelled = labelled

    def terms(self, model, out, batch, progress):
        return {"task": entropies(out.logits, batch.y, is_labelled(batch, self.labelled))}


class SelfTraining(FewLabels):
    """Self-training: images without a label get the one that a network trained on the others gives (Rosenberg et al. 2005).

    L = (1/B) [Σ_labelled CE(p_i, y_i) + λ Σ_sure CE(p_j, argmax t_j)], t the teacher's outputs, sure: max t_j >= threshold

    Costs a forward pass of the teacher, after the teacher's training by `FewLabels`; two with `mirror`. Memory: the teacher.
    Helps where labels are few and images many: what the teacher is sure of is mostly right.

    labelled: as in `FewLabels`, and the same images; the labels of the others are not looked at. 1 leaves nothing to guess.
    lam: weight of a guessed label. 0 is `FewLabels`; 1 counts it as a true one. threshold: how sure the teacher must be, in
    [0, 1]. 0 takes every guess (Lee 2013), which is our default; near 1 hardly any counts.
    mirror: data distillation (Radosavovic et al. 2018): the teacher answers with the mean over an image and its mirror image.

    References:
        Semi-supervised self-training of object detection models. C. Rosenberg, M. Hebert and H. Schneiderman, WACV 2005.
        Data Distillation: Towards Omni-Supervised Learning. I. Radosavovic, P. Dollár, R. Girshick, G. Gkioxari and K. He,
        CVPR 2018. https://arxiv.org/abs/1712.04440
    """

    knobs = FewLabels.knobs | {"lam": Knob("λ", 0, 3, "guesses count for nothing", "guesses count for more than labels")}

    def __init__(
        self,
        model,
        *,
        teacher: nn.Module,
        labelled: float = 0.5,
        lam: float = 1.0,
        threshold: float = 0.0,
        mirror: bool = False,
    ) -> None:
        super().__init__(model, labelled=labelled)
        same_classes(model, teacher)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is a probability, in [0, 1], got {threshold!r}")
        self.lam, self.threshold, self.mirror, self.teacher = lam, threshold, mirror, Frozen(teacher)

    def guesses(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> the teacher's probabilities [B, K]."""
        views = [x, x.flip(3)] if self.mirror else [x]
        return torch.stack([self.teacher.forward_features(view).logits.softmax(1) for view in views]).mean(0)

    def terms(self, model, out: Features, batch, progress):
        known = is_labelled(batch, self.labelled)
        sure, guess = self.guesses(batch.x).max(1)
        return {
            "task": entropies(out.logits, batch.y, known),
            "pseudo": self.lam * entropies(out.logits, guess, ~known & (sure >= self.threshold)),
        }
