"""Learning an embedding in which images of one class lie near: for finding the same object again, not for naming it.

What is deployed is the network without its classifier: its embedding of two images tells how near they are. A batch should
hold several images of every class in it, so these methods ask the loader for that (`samples_per_class`). All is computed in
float32 or better.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Knob, pick
from ..losses import distances
from ..models.backbone import full_precision
from .base import Method, VectorNorm, mixed, supervised


def pair_masks(y: Tensor) -> tuple[Tensor, Tensor]:
    """Labels [B] -> which pairs are two images of one class, and which are of two classes. [B, B] bool each."""
    same = y[:, None] == y
    return same & ~torch.eye(len(y), dtype=torch.bool, device=y.device), ~same


def triplet_hard(apart: Tensor, y: Tensor) -> Tensor:
    """How much farther each image's farthest positive is than its nearest negative. distances [B, B], labels [B] -> [B].

    Hermans et al. 2017, Eq. 5, inside the brackets. -inf for an image without positives or without negatives.
    """
    positive, negative = pair_masks(y)
    return apart.masked_fill(~positive, -torch.inf).amax(1) - apart.masked_fill(~negative, torch.inf).amin(1)


def triplet_weighted(apart: Tensor, y: Tensor) -> Tensor:
    """The same of a mean positive and a mean negative, in which far positives and near negatives weigh more. -> [B].

    Ristani and Tomasi 2018, adaptive weights: the softmax of d over the positives, and of -d over the negatives. No gradient
    reaches the weights.
    """
    seen, gap = apart.detach(), 0
    for kept, sign in zip(pair_masks(y), (1, -1), strict=True):
        weight = (sign * seen).masked_fill(~kept, -torch.inf).softmax(1)
        gap = gap + torch.where(kept.any(1), sign * (weight.nan_to_num() * apart).sum(1), -torch.inf)
    return gap


def triplet_loss(gap: Tensor, margin: float, soft: bool) -> Tensor:
    """max(0, m + gap), mean over the images that have a gap; 0 where none has. soft: ln(1 + exp(m + gap)). gaps [B] -> []."""
    loss = F.softplus(margin + gap) if soft else (margin + gap).clamp_min(0)
    return loss.sum() / gap.isfinite().sum().clamp_min(1)


def multi_similarity(cosine: Tensor, y: Tensor, alpha: float, beta: float, lam: float, epsilon: float) -> Tensor:
    """Multi-similarity loss of the pairs that its mining keeps. cosines [B, B], labels [B] -> []. Wang et al. 2019, Eq. 10-15.

    A negative is kept where it is nearer than the farthest positive, less epsilon; a positive where it is farther than the
    nearest negative, plus epsilon. Mean over all B images. No gradient passes through the mining.
    """
    positive, negative = pair_masks(y)
    seen = cosine.detach()
    farthest = seen.masked_fill(~positive, torch.inf).amin(1, keepdim=True)
    nearest = seen.masked_fill(~negative, -torch.inf).amax(1, keepdim=True)
    negative, positive = negative & (seen > farthest - epsilon), positive & (seen < nearest + epsilon)

    def soft_sum(x: Tensor, kept: Tensor) -> Tensor:
        """ln(1 + sum of exp(x) over those kept), [B, B] -> [B]."""
        return F.pad(x.masked_fill(~kept, -torch.inf), (1, 0)).logsumexp(1)  # the column of zeros is the 1

    pulled = soft_sum(-alpha * (cosine - lam), positive) / alpha
    pushed = soft_sum(beta * (cosine - lam), negative) / beta
    return (pulled + pushed).mean()


def contrastive(apart: Tensor, y: Tensor, margin: float) -> Tensor:
    """Positives come together, negatives part until they are `margin` away. distances [B, B], labels [B] -> [].

    Hadsell et al. 2006, Eq. 4: half of d^2, and half of max(0, m - d)^2, each the mean over its kind of pairs (our reading:
    the paper draws pairs; of a batch's pairs nearly all are negatives).
    """
    positive, negative = pair_masks(y)
    pull = (apart.square() * positive).sum() / positive.sum().clamp_min(1)
    push = ((margin - apart).clamp_min(0).square() * negative).sum() / negative.sum().clamp_min(1)
    return (pull + push) / 2


class Metric(Method):
    """An embedding learned from which images are of one class; the classifier only reads it, and reaches it with no gradient.

    So the term "task" is the metric loss, and accuracy stays readable.
    """

    reads_labels = True
    replaces_task_loss = True

    def __init__(self, model: nn.Module, neck: bool, samples_per_class: int | None) -> None:
        super().__init__()
        if samples_per_class is not None and samples_per_class < 2:
            raise ValueError(
                "samples_per_class is at least 2 images, an image and a positive, or None for any batch; "
                f"got {samples_per_class!r}"
            )
        self.samples_per_class = samples_per_class
        self.neck = VectorNorm(model.classifier.in_features, affine=False) if neck else nn.Identity()

    def of_labels(self, embedding: Tensor, y: Tensor) -> Tensor:
        """The loss of the batch's embeddings [B, D] with labels [B] -> []."""
        raise NotImplementedError(f"{type(self).__name__} must say what it makes of embeddings: write of_labels()")

    def metric(self, out, batch) -> Tensor:
        """The loss of the batch; under mixup that of both labellings, by the shares."""
        with torch.autocast(out.embedding.device.type, enabled=False):
            embedding = self.neck(full_precision(out.embedding))
            return mixed(batch, lambda y: self.of_labels(embedding, y)).mean()

    def terms(self, model, out, batch, progress):
        reading = full_precision(model.classifier(out.embedding.detach()))
        return {"task": self.metric(out, batch), "readout ce": supervised(reading, batch)}


class Triplet(Metric):
    """Every image is nearer to its positives than to negatives, by a margin (Hermans et al. 2017; Ristani and Tomasi 2018).

    L = mean_i ln (1 + exp(m + d(i, positive) - d(i, negative)))   (soft=False: max(0, ·) for ln (1 + exp ·))

    margin: what the distance to a negative is to exceed that to a positive by. 0 only orders them; the common value is 0.3.
    mining: "hard" takes the farthest positive and the nearest negative; "weighted" all of both, those more. From its first,
    random weights a network may shrink under "hard" until all images are one point (loss = margin), so it is not the default:
    our reading, where the common practice is to start from a network trained on other images.
    soft: ln(1 + exp(·)) for max(0, ·): the pull fades and never ends. unit: distances between embeddings of unit length.
    neck: the loss sees the embedding standardised over the batch (BatchNorm without scale and shift), which keeps it from
    shrinking. It belongs to training: images are found by the network's own embedding.
    samples_per_class: images of each class in a batch; None takes batches as they come, in which many images have no positive.

    No softmax loss: the classifier reads the embedding and does not shape it. Costs B^2 D multiplications. Memory B^2 D.
    Helps when the classes to be found are others than those in training. "rkd+triplet" learns a teacher's relations, too.
    """

    knobs = {"margin": Knob("m", 0, 2, "nearer is enough", "negatives are pushed far away")}

    def __init__(
        self,
        model,
        *,
        margin: float = 0.3,
        mining: str = "weighted",
        soft: bool = True,
        unit: bool = False,
        neck: bool = True,
        samples_per_class: int | None = 4,
    ) -> None:
        super().__init__(model, neck, samples_per_class)
        self.margin, self.soft, self.unit = margin, soft, unit
        self.mining = pick(mining, ("weighted", "hard"), "mining")

    def of_labels(self, embedding, y):
        apart = distances(F.normalize(embedding) if self.unit else embedding)
        gap = triplet_hard(apart, y) if self.mining == "hard" else triplet_weighted(apart, y)
        return triplet_loss(gap, self.margin, self.soft)


class SoftmaxTriplet(Triplet):
    """Cross entropy and the triplet loss on one embedding: the usual strong start in re-identification (paper 000, Table 3).

    L = CE + λ T, T the loss of `Triplet`

    lam: weight of the triplets. 0 is vanilla training in batches of few classes; common practice, and ours, is 1.
    margin, mining, soft, unit, neck, samples_per_class: as of `Triplet`; the labels keep the embedding from shrinking, so no
    neck. Only 2 images of each class: a softmax over many classes learns slowly from batches of few.

    Costs B^2 D multiplications. Memory B^2 D numbers.
    Helps when there are enough images of a class to name it, and others are to be found.
    """

    replaces_task_loss = False
    knobs = {"lam": Knob("λ", 0, 5, "the labels alone", "triplets weigh more than labels")} | Triplet.knobs

    def __init__(
        self,
        model,
        *,
        lam: float = 1.0,
        margin: float = 0.3,
        mining: str = "weighted",
        soft: bool = True,
        unit: bool = False,
        neck: bool = False,
        samples_per_class: int | None = 2,
    ) -> None:
        super().__init__(
            model, margin=margin, mining=mining, soft=soft, unit=unit, neck=neck, samples_per_class=samples_per_class
        )
        self.lam = lam

    def terms(self, model, out, batch, progress):
        return {"task": supervised(out.logits, batch), "triplet": self.lam * self.metric(out, batch)}


class MultiSimilarity(Metric):
    """Pairs weigh by how they compare with the others of their image (Wang et al. 2019, Eq. 10-15).

    L = mean_i [1/α ln (1 + Σ_P exp(-α (c_ij - λ))) + 1/β ln (1 + Σ_N exp(β (c_ij - λ)))], c the cosine, P, N what is mined

    alpha: how sharply positives below the threshold stand out. Near 0 all are pulled alike; the paper uses 2.
    beta: the same of negatives above it. 1 pushes all; at 100 the nearest alone; the paper uses 50.
    lam: the threshold, a cosine. Positives are pulled above it, negatives pushed below. Default 0.5, as in the released code.
    epsilon: of the mining: by how much a pair may already be in order and still count. 0 keeps only what is out of order; the
    paper uses 0.1.
    neck, samples_per_class: as of `Triplet`.

    No softmax loss: the classifier reads the embedding and does not shape it. Costs B^2 D multiplications. Memory B^2.
    Helps when classes are many and fine, as birds are.
    """

    knobs = {
        "alpha": Knob("α", 0.5, 10, "all positives are pulled alike", "only far positives are pulled", least=0.01),
        "beta": Knob("β", 1, 100, "all negatives are pushed", "only the nearest negative is pushed", least=0.01),
        "lam": Knob("λ", 0, 1, "only negatives are to be dealt with", "positives are to be one point", most=1),
    }

    def __init__(
        self,
        model,
        *,
        alpha: float = 2.0,
        beta: float = 50.0,
        lam: float = 0.5,
        epsilon: float = 0.1,
        neck: bool = True,
        samples_per_class: int | None = 4,
    ) -> None:
        super().__init__(model, neck, samples_per_class)
        if not 0 <= epsilon <= 2:
            raise ValueError(f"epsilon is a difference of cosines, in [0, 2], got {epsilon}: 0.1 is the paper's")
        self.alpha, self.beta, self.lam, self.epsilon = alpha, beta, lam, epsilon

    def of_labels(self, embedding, y):
        unit = F.normalize(embedding)
        return multi_similarity(unit @ unit.mT, y, self.alpha, self.beta, self.lam, self.epsilon)


class Contrastive(Metric):
    """Images of one class come together, others part until they are a margin away (Hadsell et al. 2006, Eq. 4).

    L = mean over pairs of one class of d^2 / 2 + mean over the others of max(0, m - d)^2 / 2

    margin: how far apart negatives are to be. 0 pushes nobody, and all images may become one point; ours is 1.
    unit: distances between embeddings of unit length, in [0, 2]; our reading, so that a margin means the same for any network.
    neck, samples_per_class: as of `Triplet`.

    No softmax loss: the classifier reads the embedding and does not shape it. Costs B^2 D multiplications. Memory B^2 D.
    Helps when all that is known of two images is whether they show the same.
    """

    knobs = {"margin": Knob("m", 0, 2, "negatives are not pushed", "negatives are pushed as far as can be")}

    def __init__(
        self, model, *, margin: float = 1.0, unit: bool = True, neck: bool = False, samples_per_class: int | None = 4
    ) -> None:
        super().__init__(model, neck, samples_per_class)
        self.margin, self.unit = margin, unit

    def of_labels(self, embedding, y):
        return contrastive(distances(F.normalize(embedding) if self.unit else embedding), y, self.margin)


class Center(Method):
    """Cross entropy, and every embedding comes near its class's centre (Wen et al. 2016, Eq. 2-5).

    L = CE + λ/2 mean |e - c_y|^2

    lam: weight of half the squared distance to the centre, mean over the batch as in the released code (the paper prints the
    sum). 0 is vanilla training; the paper uses 0.003.
    rate: of the centres, in [0, 1]. They are no parameters: after every step each goes this share of the way that Eq. 4 gives,
    sum of (x - c) over its images / (1 + their number). 0 leaves them where they are; the paper uses 0.5. Our reading: they
    start at the origin, and no gradient reaches them.

    Costs no pass. Memory K D numbers.
    Helps when classes are to be tight as well as apart, such as faces.
    """

    reads_labels = True
    knobs = {"lam": Knob("λ", 0, 0.1, "labels alone", "classes are tight, and may be one")}

    def __init__(self, *, lam: float = 0.003, rate: float = 0.5) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ValueError(f"the centres' rate lies in [0, 1], got {rate}: 0.5 is the paper's")
        self.lam, self.rate = lam, rate

    def centres(self, out) -> Tensor:
        """Where the classes' centres are, [K, D]."""
        if "centres" in self.memory:
            return self.memory["centres"]
        return full_precision(out.embedding).new_zeros(out.logits.shape[1], out.embedding.shape[1])

    def terms(self, model, out, batch, progress):
        embedding, centres = full_precision(out.embedding), self.centres(out)
        away = mixed(batch, lambda y: (embedding - centres[y]).square().sum(1))
        return {"task": supervised(out.logits, batch), "center": self.lam / 2 * away.mean()}

    def remember(self, out, batch, progress):
        """The step of Eq. 4. Of a mixture, the label of the larger part counts."""
        centres, embedding = self.centres(out), full_precision(out.embedding)
        number = centres.new_zeros(len(centres), 1).index_add_(0, batch.y, embedding.new_ones(len(embedding), 1))
        to = torch.zeros_like(centres).index_add_(0, batch.y, embedding) - number * centres
        self.memory["centres"] = centres + self.rate * to / (1 + number)
