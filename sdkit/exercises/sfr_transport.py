"""Exercises on SFR's transport: what moving one map onto another costs (paper 000)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .common import normal, size
from .exercise import Exercise


def unit(u: Tensor) -> Tensor:
    """Local vectors scaled to length 1."""
    return u / u.square().sum(2, keepdim=True).sqrt()


def ground_cost(u: Tensor, v: Tensor) -> Tensor:
    """Squared L2 of every two local vectors, each scaled to length 1. [B, M, C], [B, N, C] -> [B, M, N]."""
    return (unit(u)[:, :, None] - unit(v)[:, None]).square().sum(3)


def cell_weights(u: Tensor, v: Tensor) -> Tensor:
    """How much each cell of u counts: like v's mean, rows sum to 1, constant. [B, M, C], [B, N, C] -> [B, M]."""
    like = (u.detach() * v.detach().mean(1, keepdim=True)).sum(2)
    weight = like.clamp_min(0) + 1e-3
    return weight / weight.sum(1, keepdim=True)


def transported(plan: Tensor, cost: Tensor) -> Tensor:
    """What each image's plan costs; the plan is constant. [B, M, N] x2 -> [B]."""
    return (plan.detach() * cost).sum((1, 2))


def marginal_gap(plan: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean over the batch of half the absolute errors of both marginals. [B, M, N], [B, M], [B, N] -> []."""
    rows, columns = (plan.sum(2) - a).abs().sum(1), (plan.sum(1) - b).abs().sum(1)
    return (rows + columns).mean() / 2


def draw_maps(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Local vectors of two maps."""
    n, m, c = size(g, 2, 3), size(g, 3, 4), size(g, 5, 7)
    return normal(g, n, m, c), normal(g, n, m + size(g, 1, 2), c)


def draw_cells(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Short local vectors, beside which 0.001 is something; each image has a cell that resembles the other map's mean."""
    while True:
        u, v = (0.1 * part for part in draw_maps(g))
        if ((u * v.mean(1, keepdim=True)).sum(2) > 0).any(1).all():
            return u, v


def draw_plan(g: torch.Generator) -> tuple[Tensor, Tensor]:
    """A plan and a cost."""
    n, m, k = size(g, 2, 3), size(g, 4, 5), size(g, 6, 7)
    return normal(g, n, m, k).abs() / (m * k), normal(g, n, m, k).abs()


def draw_marginals(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A plan and what its rows and columns should sum to."""
    plan, _ = draw_plan(g)
    a, b = (normal(g, len(plan), cells).abs() for cells in plan.shape[1:])
    return plan, a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)


def normed(weight: Tensor) -> Tensor:
    """Rows that sum to 1, constant."""
    return (weight / weight.sum(1, keepdim=True)).detach()


def over_batch(weight: Tensor) -> Tensor:
    """Columns that sum to 1, constant."""
    return (weight / weight.sum(0, keepdim=True)).detach()


def by_largest(weight: Tensor) -> Tensor:
    """Rows whose largest entry is 1, constant."""
    return (weight / weight.amax(1, keepdim=True)).detach()


EXERCISES = [
    Exercise(
        "sfr.ground_cost",
        "Write $c_{ij}$, what it costs to move one cell's vector onto another's: both are scaled to length 1 first.",
        "<code>F.normalize(u, dim=2)</code>; or 2 (1 - cos).",
        draw_maps,
        ground_cost,
        {
            "The vectors are not scaled to length 1.": lambda u, v: (u[:, :, None] - v[:, None]).square().sum(3),
            "This is the distance, not its square: leave the root out.": lambda u, v: ground_cost(u, v).sqrt(),
            "You averaged over the channels: sum over them.": lambda u, v: ground_cost(u, v) / u.shape[2],
            "This is the cosine, which is largest where the cost is least: 2 (1 - cos).": lambda u, v: unit(u) @ unit(v).mT,
            "This is 1 - cos, half of the squared distance: 2 (1 - cos).": lambda u, v: 1 - unit(u) @ unit(v).mT,
            "Absolute differences: the cost is a sum of squares.": lambda u, v: (
                (unit(u)[:, :, None] - unit(v)[:, None]).abs().sum(3)
            ),
            "Each channel is scaled over the cells: scale each cell's vector, dimension 2.": lambda u, v: (
                (F.normalize(u, dim=1)[:, :, None] - F.normalize(v, dim=1)[:, None]).square().sum(3)
            ),
            "Each channel is scaled over the cells: scale each cell's vector, dimension 2, before 2 (1 - cos).": lambda u, v: (
                2 * (1 - F.normalize(u, dim=1) @ F.normalize(v, dim=1).mT)
            ),
            "Only u is scaled to length 1: v is, too.": lambda u, v: (unit(u)[:, :, None] - v[:, None]).square().sum(3),
            "Only v is scaled to length 1: u is, too.": lambda u, v: (u[:, :, None] - unit(v)[:, None]).square().sum(3),
            "The vectors are added: subtract.": lambda u, v: (unit(u)[:, :, None] + unit(v)[:, None]).square().sum(3),
            "v is constant here: SFR detaches the last map before, not in the cost.": lambda u, v: ground_cost(u, v.detach()),
            "The scaling is by the sum: by the length, the root of the sum of squares.": lambda u, v: (
                ((u / u.abs().sum(2, keepdim=True))[:, :, None] - (v / v.abs().sum(2, keepdim=True))[:, None]).square().sum(3)
            ),
        },
    ),
    Exercise(
        "sfr.cell_weights",
        "Write the marginal $a$: the inner product of each cell with the other map's mean vector, at least 0, plus $10^{-3}$, "
        "and each image's row sums to 1. It is constant.",
        "The clamp comes before the $10^{-3}$, the division last.",
        draw_cells,
        cell_weights,
        {
            "The mean is u's own: take that of the other map.": lambda u, v: cell_weights(u, u),
            "The rows do not sum to 1: divide by their sum.": lambda u, v: (
                (u * v.mean(1, keepdim=True)).sum(2).clamp_min(0).detach() + 1e-3
            ),
            "This is a softmax: clamp at 0, add 0.001, divide by the sum.": lambda u, v: (
                (u * v.mean(1, keepdim=True)).sum(2).softmax(1).detach()
            ),
            "Nothing is clamped: an inner product below 0 counts 0.": lambda u, v: normed(
                (u * v.mean(1, keepdim=True)).sum(2) + 1e-3
            ),
            "Absolute values are taken: below 0 is 0.": lambda u, v: normed((u * v.mean(1, keepdim=True)).sum(2).abs() + 1e-3),
            "You divided by the sum over the batch: each image's row sums to 1.": lambda u, v: over_batch(
                (u * v.mean(1, keepdim=True)).sum(2).clamp_min(0) + 1e-3
            ),
            "You divided by the largest: by the sum.": lambda u, v: by_largest(
                (u * v.mean(1, keepdim=True)).sum(2).clamp_min(0) + 1e-3
            ),
            "The inner products are of vectors of length 1: the paper's are of the vectors as they are.": lambda u, v: normed(
                F.cosine_similarity(u, v.mean(1, keepdim=True).expand_as(u), dim=2).clamp_min(0) + 1e-3
            ),
            "The clamp is at 0.001: clamp at 0, then add 0.001.": lambda u, v: normed(
                (u * v.mean(1, keepdim=True)).sum(2).clamp_min(1e-3)
            ),
            "The 0.001 is added before the clamp: clamp first, or a cell may count nothing.": lambda u, v: normed(
                ((u * v.mean(1, keepdim=True)).sum(2) + 1e-3).clamp_min(0)
            ),
            "The 0.001 is missing: a cell that resembles nothing counts a little.": lambda u, v: normed(
                (u * v.mean(1, keepdim=True)).sum(2).clamp_min(0)
            ),
            "This is a softmax of what was clamped: add 0.001 and divide by the sum.": lambda u, v: (
                (u * v.mean(1, keepdim=True)).sum(2).clamp_min(0).softmax(1).detach()
            ),
            "All vectors are scaled to length 1 first: the paper's are as they are.": lambda u, v: normed(
                (F.normalize(u, dim=2) * F.normalize(v, dim=2).mean(1, keepdim=True)).sum(2).clamp_min(0) + 1e-3
            ),
            "You added 1 where 0.001 is right.": lambda u, v: normed((u * v.mean(1, keepdim=True)).sum(2).clamp_min(0) + 1),
            "All cells count alike here.": lambda u, v: normed(torch.ones_like(u[:, :, 0])),
            "The cells' own length is taken: the inner product with v's mean is.": lambda u, v: normed(
                u.square().sum(2) + 1e-3
            ),
            "The cell that resembles the mean least counts most: the sign is the other one.": lambda u, v: normed(
                (-(u * v.mean(1, keepdim=True)).sum(2)).clamp_min(0) + 1e-3
            ),
            "You averaged over the batch, too: each image has its own mean vector.": lambda u, v: normed(
                (u * v.mean((0, 1), keepdim=True)).sum(2).clamp_min(0) + 1e-3
            ),
        },
    ),
    Exercise(
        "sfr.transported",
        "Write the earth mover's distance of a plan that is found: what it costs, for each image. The plan is constant, "
        "gradients pass through the cost.",
        "Entry by entry, then a sum over both kinds of cells.",
        draw_plan,
        transported,
        {
            "You averaged over the cells: sum over both kinds.": lambda x, c: (x.detach() * c).mean((1, 2)),
            "You averaged over the rows: sum over both kinds of cells.": lambda x, c: (x.detach() * c).sum(2).mean(1),
            "You averaged over the columns: sum over both kinds of cells.": lambda x, c: (x.detach() * c).sum(1).mean(1),
            "The plan is missing: this is the sum of all costs.": lambda x, c: c.sum((1, 2)),
            "The cost is missing: this is what the plan moves in all.": lambda x, c: x.sum((1, 2)) + 0 * c.sum(),
            "You took each row's cheapest cell: the plan says what goes where.": lambda x, c: c.amin(2).sum(1),
            "You took each row's largest share alone: all of the plan counts.": lambda x, c: (
                x.detach().amax(2) * c.gather(2, x.argmax(2, keepdim=True)).squeeze(2)
            ).sum(1),
            "You divided by what is moved: a distance is the plain sum.": lambda x, c: (
                (x.detach() * c).sum((1, 2)) / x.detach().sum((1, 2))
            ),
            "The root is too much.": lambda x, c: (x.detach() * c).sum((1, 2)).sqrt(),
            "The cost is squared once more: it is a square already.": lambda x, c: (x.detach() * c.square()).sum((1, 2)),
            "The plan is squared: it counts as it is.": lambda x, c: (x.detach().square() * c).sum((1, 2)),
            "The plan's entropy is in it: that shapes the plan, and is no part of the cost.": lambda x, c: (
                x.detach() * (c + x.detach().log())
            ).sum((1, 2)),
            "The plan's sum and the cost's are multiplied: entry by entry first.": lambda x, c: (
                x.detach().sum((1, 2)) * c.sum((1, 2))
            ),
        },
    ),
    Exercise(
        "sfr.marginal_gap",
        "How much is not where it belongs? Write the marginal error: for each image half of the absolute errors of the rows' "
        "sums and of the columns' sums, then the mean over the batch.",
        "Row i of the plan sums over dimension 2, and should be a_i.",
        draw_marginals,
        marginal_gap,
        {
            "Only the rows are compared: the columns are to sum to b.": lambda x, a, b: (x.sum(2) - a).abs().sum(1).mean() / 2,
            "Only the columns are compared: the rows are to sum to a.": lambda x, a, b: (x.sum(1) - b).abs().sum(1).mean() / 2,
            "The half is missing: what is missing in one row is too much in another.": lambda x, a, b: (
                2 * marginal_gap(x, a, b)
            ),
            "Errors of both signs cancel: take absolute values.": lambda x, a, b: (
                ((x.sum(2) - a).sum(1) + (x.sum(1) - b).sum(1)).mean() / 2
            ),
            "The errors are squared: take absolute values.": lambda x, a, b: (
                ((x.sum(2) - a).square().sum(1) + (x.sum(1) - b).square().sum(1)).mean() / 2
            ),
            "You averaged over the cells: sum over them.": lambda x, a, b: (
                ((x.sum(2) - a).abs().mean(1) + (x.sum(1) - b).abs().mean(1)).mean() / 2
            ),
            "You summed over the batch: take the mean.": lambda x, a, b: marginal_gap(x, a, b) * len(x),
            "The largest error is taken: sum over the cells.": lambda x, a, b: (
                ((x.sum(2) - a).abs().amax(1) + (x.sum(1) - b).abs().amax(1)).mean() / 2
            ),
            "Only the total is compared with 1: every row and column is.": lambda x, a, b: (
                (x.sum((1, 2)) - 1).abs().mean() + 0 * (a.sum() + b.sum())
            ),
            "The rows' error is taken off the columns': add them.": lambda x, a, b: (
                ((x.sum(2) - a).abs().sum(1) - (x.sum(1) - b).abs().sum(1)).mean() / 2
            ),
            "The plan's means are compared: its sums are.": lambda x, a, b: (
                ((x.mean(2) - a).abs().sum(1) + (x.mean(1) - b).abs().sum(1)).mean() / 2
            ),
            "The errors are relative: take them as they are.": lambda x, a, b: (
                ((x.sum(2) / a - 1).abs().sum(1) + (x.sum(1) / b - 1).abs().sum(1)).mean() / 2
            ),
        },
    ),
]
