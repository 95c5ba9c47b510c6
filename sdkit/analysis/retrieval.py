"""Finding images of the same identity or class by their embeddings: recall at k, mean average precision, CMC (SFR, Table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import check_labels, checked

DISTANCES = ("cosine", "euclid")


class Retrieval(NamedTuple):
    """How well the images of a gallery are ranked for every query. Shares and precisions in [0, 1]."""

    recall: dict[int, float]  # k -> share of the queries with a right image among the first k
    map: float  # mean over the queries of the average precision
    cmc: Tensor  # [R] recall at 1, 2, ..., R: the cumulative match characteristic
    precision: Tensor  # [Q] average precision of each query, NaN where the gallery holds nothing right
    first: Tensor  # [Q, n] places in the gallery of what was ranked first, -1 behind the end
    right: Tensor  # [Q, n] bool, whether those are right
    config: int  # queries that count: the gallery holds something right for them


@checked
def retrieve(
    query: Tensor,
    gallery: Tensor | None,
    query_y: Tensor,
    gallery_y: Tensor | None = None,
    query_camera: Tensor | None = None,
    gallery_camera: Tensor | None = None,
    *,
    distance: str = "cosine",
    ks: Sequence[int] = (1, 5, 10),
    ranks: int = 50,
    first: int = 10,
    chunk: int = 256,
) -> Retrieval:
    """Recall at k, mean average precision and CMC of embeddings. queries [Q, D], gallery [G, D], labels [Q], [G]. SFR, Table 3.

    Each query's gallery is ranked by its distance to it.
    gallery=None: each image of `query` is looked for among all the others (leave-one-out, as for CUB). Where cameras [Q], [G]
    are given, images of the query's identity by the query's camera are taken out of its gallery, as in re-identification. A
    query without a right image left counts nowhere. Of equally near images the wrong ones come first, so that an embedding
    that is one point finds nothing by luck. Average precision is the mean of the precision at every right image's rank.

    Computed in float64, `chunk` queries at a time: memory is 3 chunk G numbers. ks: of `recall`; of a gallery with fewer than
    k images, all are looked through. ranks: length of `cmc` at most. first: how much of each ranking is kept.
    """
    alone = gallery is None
    if alone:
        gallery, gallery_y, gallery_camera = query, query_y, query_camera
    _check(query, gallery, query_y, gallery_y, query_camera, gallery_camera, alone)
    if distance not in DISTANCES:
        raise ValueError(f"a distance is {' or '.join(map(repr, DISTANCES))}, got {distance!r}")
    if not ks or min(*ks, ranks, first, chunk) < 1:
        raise ValueError(f"ks, ranks, first and chunk are whole numbers from 1, got {list(ks)}, {ranks}, {first}, {chunk}")
    where, size = gallery.device, len(gallery)
    ours, theirs = (_ready(t, distance, where) for t in (query, gallery))
    squares = theirs.square().sum(1) if distance == "euclid" else 0
    y, other_y = query_y.to(where), gallery_y.to(where)
    camera = None if query_camera is None else (query_camera.to(where), gallery_camera.to(where))
    place = torch.arange(1, size + 1, device=where)
    parts: list[tuple[Tensor, ...]] = []
    for rows in torch.arange(len(query), device=where).split(chunk):
        far = squares - 2 * ours[rows] @ theirs.T  # [q, G], up to a number that is the same in a row
        right, out = y[rows, None] == other_y, torch.zeros_like(far, dtype=torch.bool)
        if camera is not None:
            out |= right & (camera[0][rows, None] == camera[1])
        if alone:
            out[torch.arange(len(rows), device=where), rows] = True
        far, right = far.masked_fill(out, torch.inf), right & ~out
        order = right.byte().argsort(dim=1, stable=True)  # wrong ones first ...
        order = order.gather(1, far.gather(1, order).argsort(dim=1, stable=True))  # ... and they stay so where equally near
        hits = right.gather(1, order)
        found, total = hits.cumsum(1), hits.sum(1)
        average = (hits * found / place).sum(1) / total  # NaN where there is nothing right
        at = torch.where(total > 0, hits.byte().argmax(1), size)  # of the first right image
        left = place[:first] <= size - out.sum(1, keepdim=True)
        parts.append((average, at, torch.where(left, order[:, :first], -1), hits[:, :first]))
    precision, at, head, right = (torch.cat(p).cpu() for p in zip(*parts, strict=True))
    counts = ~precision.isnan()
    config = int(counts.sum())
    if not config:
        raise ValueError("no query has a right image in the gallery: its labels, or the cameras, leave nothing to be found")
    met = torch.bincount(at[counts], minlength=size)[:size].cumsum(0).double() / config  # [G]
    recall = {int(k): float(met[min(k, size) - 1]) for k in ks}
    return Retrieval(recall, float(precision[counts].mean()), met[:ranks], precision, head, right, config)


def _ready(features: Tensor, distance: str, where: torch.device) -> Tensor:
    """Features [N, D] in float64, of unit length where the distance is cosine."""
    features = features.to(where, torch.float64)
    return F.normalize(features) if distance == "cosine" else features


def _check(query, gallery, query_y, gallery_y, query_camera, gallery_camera, alone: bool) -> None:
    for what, features in (("query", query), ("gallery", gallery)):
        if features.ndim != 2 or not len(features):
            raise ValueError(f"the {what}'s features are [N, D] with N >= 1, got {list(features.shape)}")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query and gallery have features of one size, got {query.shape[1]} and {gallery.shape[1]}")
    if alone and len(query) < 2:
        raise ValueError("leave-one-out looks for an image among others: take at least 2 images")
    if gallery_y is None:
        raise ValueError("a gallery has labels: pass gallery_y, or gallery=None to look among the query's own images")
    check_labels(query_y, len(query))
    check_labels(gallery_y, len(gallery))
    if (query_camera is None) != (gallery_camera is None):
        raise ValueError("cameras are known of both query and gallery or of neither: pass query_camera and gallery_camera")
    if query_camera is not None and (query_camera.shape != (len(query),) or gallery_camera.shape != (len(gallery),)):
        raise ValueError(
            f"cameras are [{len(query)}] and [{len(gallery)}], one for each image, "
            f"got {list(query_camera.shape)} and {list(gallery_camera.shape)}"
        )
