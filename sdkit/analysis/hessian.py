"""Curvature at a trained network: the Hessian's largest eigenvalues and its trace (beside BYOT's noise test)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .base import ProgressBar, check_classes, check_images, check_labels, checked, device_of, preserve_state, weights_of

TOLERANCE = 1e-3  # of an eigenvector's residual, relative; the eigenvalue itself is then far closer
STEPS = 10  # Lanczos vectors at least: SciPy's own 20 cost twice the products, and the top of a trained spectrum stands out


class Curvature(NamedTuple):
    """How steeply the loss bends away from the weights, in nats per squared unit of weight."""

    top: Tensor  # [T] float64, the largest eigenvalues, descending: the worst directions
    trace: float  # sum of all eigenvalues, Hutchinson's estimate: all directions together
    trace_error: float  # standard error of the estimate; nan for a single probe
    parameters: int  # n, the weights that the logits rest on; trace / n is the mean eigenvalue


@checked
def curvature(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    top: int = 1,
    probes: int = 8,
    seed: int = 0,
    batch_size: int = 128,
    progress: ProgressBar = iter,
) -> Curvature:
    """The Hessian's largest eigenvalues and its trace: how steeply the loss bends (beside BYOT's noise test).

    The Hessian is that of the mean cross entropy over (x, y), by the weights of every convolution and linear layer, in eval
    mode. The eigenvalues come by Lanczos (ARPACK) to a residual of 0.1 %; the trace is the mean of v^T H v over random signs
    v. The trace takes one `hessian_product` a probe, the largest eigenvalue ten to twenty: some hundred images do.

    BatchNorm makes the loss blind to the scale of the weights before it, while the Hessian falls with that scale squared:
    between networks whose weight norms differ, a smaller eigenvalue alone is no proof of a flatter minimum.

    Args:
        model: images -> logits [N, K], of twice differentiable parts (ReLU counts).
        x: images [N, 3, H, W], normalised.
        y: labels [N].
        top: how many eigenvalues to find, from the largest, in [1, n).
        probes: how many random signs the trace is estimated from. More are more exact.
        seed: of the signs and of Lanczos' first vector.
        batch_size: images a pass. It changes memory and time alone.
        progress: sees one step a probe and one for the eigenvalues.

    Returns:
        The eigenvalues and the trace, in nats per squared unit of weight.

    Raises:
        ValueError: where x, y, top or probes are none of these, or the logits rest on no convolution and no linear layer.

    References:
        Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989.
        Yao, Gholami, Keutzer and Mahoney, "PyHessian", 2020, https://arxiv.org/abs/1912.07145
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    check_images(x)
    check_labels(y, len(x))
    weights = _reached(model, x[:1])
    n = sum(w.numel() for w in weights)
    if not n:
        raise ValueError(f"the logits of {type(model).__name__} rest on none of its convolutions and linear layers")
    if not 1 <= top < n:
        raise ValueError(f"top is how many of the {n} eigenvalues to find, at least 1 and fewer than all, got {top}")
    if probes < 1:
        raise ValueError(f"the trace is estimated from one or more random probes, got {probes}")
    device, g = device_of(model), torch.Generator().manual_seed(seed)
    data = list(zip(x.to(device).split(batch_size), y.to(device).split(batch_size), strict=True))
    start = torch.randn(n, generator=g).to(weights[0])  # drawn first: the eigenvalues do not depend on the number of probes

    def bend(v: np.ndarray) -> np.ndarray:
        return hessian_product(model, data, weights, torch.from_numpy(v).to(start)).cpu().numpy()

    with preserve_state(model), torch.enable_grad():
        for w in weights:
            w.requires_grad_(True)
        bends = []
        for step in progress([*range(probes), "eigenvalues"]):
            if step == "eigenvalues":
                v0 = start.cpu().numpy()
                steps = min(max(2 * top + 2, STEPS), n)
                hessian = LinearOperator((n, n), bend, dtype=v0.dtype)
                found = eigsh(hessian, top, v0=v0, ncv=steps, which="LA", tol=TOLERANCE)[0]
            else:
                v = (torch.randint(2, (n,), generator=g) * 2 - 1).to(start)
                bends.append((v @ hessian_product(model, data, weights, v)).double())
    along = torch.stack(bends).cpu()
    largest = torch.from_numpy(found.astype("float64")).sort(descending=True).values
    return Curvature(largest, float(along.mean()), float(along.std() / probes**0.5) if probes > 1 else float("nan"), n)


def hessian_product(model: nn.Module, data: Sequence[tuple[Tensor, Tensor]], weights: Sequence[Tensor], v: Tensor) -> Tensor:
    """H v, H the Hessian of the mean cross entropy over the batches of `data` by the weights. [n] -> [n].

    The gradient of (gradient . v), exact, never H itself, for about ten forward passes (Pearlmutter, "Fast exact
    multiplication by the Hessian", 1994).
    """
    parts = [part.view_as(w) for part, w in zip(v.split([w.numel() for w in weights]), weights, strict=True)]
    images, total = sum(len(y) for _, y in data), torch.zeros_like(v)
    for x, y in data:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            logits = model(x)
            check_classes(y, logits.shape[1])
            loss = F.cross_entropy(logits, y, reduction="sum") / images
        slope = torch.autograd.grad(loss, weights, create_graph=True)
        total += torch.cat([t.flatten() for t in torch.autograd.grad(slope, weights, parts)])
    return total


def _reached(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The weights that the logits depend on, a shared one once: an exit's network may hold the stages behind it."""
    weights = weights_of(model)
    with preserve_state(model), torch.enable_grad():
        for w in weights:
            w.requires_grad_(True)
        logits = model(x.to(device_of(model)))
        if not logits.requires_grad:
            return []
        gradients = torch.autograd.grad(logits.sum(), weights, allow_unused=True)
    return [w for w, g in zip(weights, gradients, strict=True) if g is not None]
