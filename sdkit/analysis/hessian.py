"""Curvature at a trained network: the Hessian's largest eigenvalues and its trace (beside BYOT's noise test)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import ProgressBar, check_images, check_labels, device_of, preserve_state, weights_of

TOLERANCE = 1e-3  # of an eigenvector's residual, relative; the eigenvalue itself is then far closer
STEPS = 10  # Lanczos vectors at least: SciPy's own 20 cost twice the products, and the top of a trained spectrum stands out


class Curvature(NamedTuple):
    """How steeply the loss bends away from the weights, in nats per squared unit of weight."""

    top: Tensor  # [T] float64, the largest eigenvalues, descending: the worst directions
    trace: float  # sum of all eigenvalues, Hutchinson's estimate: all directions together
    trace_error: float  # standard error of the estimate; nan for a single probe
    parameters: int  # n, the weights that the logits rest on; trace / n is the mean eigenvalue


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
    """Hessian of the mean cross entropy over (x, y) by the weights of every convolution and linear layer, in eval mode.

    model: images -> logits, of twice differentiable parts (ReLU counts). x [N, 3, H, W] normalised, y [N]. Products with
    the exact Hessian come from curvlinops; the eigenvalues by Lanczos (ARPACK) to a residual of 0.1 %; the trace is
    the mean of v^T H v over `probes` random signs v (Hutchinson). A product costs about ten forward passes; the trace takes
    one a probe, the largest eigenvalue ten to twenty: some hundred images do. progress sees one step a probe and one for
    the eigenvalues.

    BatchNorm makes the loss blind to the scale of the weights before it, while the Hessian falls with that scale squared:
    between networks whose weight norms differ, a smaller eigenvalue alone is no proof of a flatter minimum.
    """
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import eigsh
    from torch.nn.attention import SDPBackend, sdpa_kernel

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
    start = torch.randn(n, generator=g)  # drawn first: the eigenvalues do not depend on the number of probes
    # Fused attention has no second derivative, the plain one has.
    with preserve_state(model), torch.enable_grad(), warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.simplefilter("ignore", UserWarning)  # torch.func has no batching rule for some layers: slower, not wrong
        for w in weights:
            w.requires_grad_(True)
        hessian = HessianLinearOperator(model, nn.CrossEntropyLoss(), weights, data, check_deterministic=False, num_data=len(x))
        bends = []
        for step in progress([*range(probes), "eigenvalues"]):
            if step == "eigenvalues":
                v0 = start.to(hessian.dtype).numpy()
                steps = min(max(2 * top + 2, STEPS), n)
                found = eigsh(hessian.to_scipy(v0.dtype), top, v0=v0, ncv=steps, which="LA", tol=TOLERANCE)[0]
            else:
                v = (torch.randint(2, (n,), generator=g) * 2 - 1).to(weights[0])
                bends.append((v @ (hessian @ v)).double())
    bend = torch.stack(bends).cpu()
    largest = torch.from_numpy(found.astype("float64")).sort(descending=True).values
    return Curvature(largest, float(bend.mean()), float(bend.std() / probes**0.5) if probes > 1 else float("nan"), n)


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
