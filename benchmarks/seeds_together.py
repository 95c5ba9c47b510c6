"""Several seeds of one network as one: does a step of all cost less than one step after another?

    python3 benchmarks/seeds_together.py

Compares, in seconds of one thread and in turns, five steps of five networks; the same five stacked, by `torch.func.vmap` over
their weights; and, for the sizes of convolution that the four-stage network has, five convolutions against one in five groups.
Batch norms of the stacked ones take the batch's statistics and keep none, which spares them work.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from sdkit.models import MODELS

SEEDS, BATCH, CLASSES, ROUNDS = 5, 32, 12, 15
SIZES = ((8, 8, 32, 1), (8, 16, 32, 2), (16, 16, 16, 1), (32, 32, 8, 1), (64, 64, 4, 1))  # in, out, side, stride
LR, DECAY, MOMENTUM = 0.1, 5e-4, 0.9


def seconds(*calls: Callable[[], object]) -> list[float]:
    """The median CPU time of each, in turns."""
    found: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(ROUNDS):
        for own, call in zip(found, calls, strict=True):
            began = time.process_time()
            call()
            own.append(time.process_time() - began)
    return [statistics.median(own) for own in found]


def one_by_one(networks: list[nn.Module], x: list[Tensor], y: list[Tensor]) -> list[Callable[[], None]]:
    """A whole training step of each network."""

    def step(i: int) -> None:
        optimisers[i].zero_grad()
        F.cross_entropy(networks[i](x[i]), y[i]).backward()
        optimisers[i].step()

    options = {"lr": LR, "momentum": MOMENTUM, "nesterov": True, "weight_decay": DECAY, "fused": True}
    optimisers = [torch.optim.SGD(n.parameters(), **options) for n in networks]
    return [lambda i=i: step(i) for i in range(len(networks))]


def stacked(networks: list[nn.Module], x: Tensor, y: Tensor) -> Callable[[], None]:
    """A step of all networks as one."""
    for network in networks:
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    weights, buffers = stack_module_state(networks)
    weights = {k: v.detach() for k, v in weights.items()}
    velocity = {k: torch.zeros_like(v) for k, v in weights.items()}
    base = copy.deepcopy(networks[0]).to("meta")

    def loss(w, b, x, y):
        return F.cross_entropy(functional_call(base, (w, b), (x,)), y)

    gradient = vmap(grad(loss), randomness="different")

    def step() -> None:
        for k, g in gradient(weights, buffers, x, y).items():
            g = g + DECAY * weights[k]
            velocity[k].mul_(MOMENTUM).add_(g)
            weights[k].sub_(LR * (g + MOMENTUM * velocity[k]))

    return step


def convolutions(width: int, out: int, side: int, stride: int) -> tuple[float, float]:
    """CPU seconds of five convolutions, forward and backward, and of one in five groups."""
    kernels = [torch.randn(out, width, 3, 3, requires_grad=True) for _ in range(SEEDS)]
    maps = [torch.randn(BATCH, width, side, side).to(memory_format=torch.channels_last).requires_grad_() for _ in range(SEEDS)]
    kernel = torch.cat(kernels).detach().requires_grad_()
    together = torch.cat(maps, 1).detach().to(memory_format=torch.channels_last).requires_grad_()

    def separate() -> None:
        for x, w in zip(maps, kernels, strict=True):
            F.conv2d(x, w, stride=stride, padding=1).sum().backward()

    def grouped() -> None:
        F.conv2d(together, kernel, stride=stride, padding=1, groups=SEEDS).sum().backward()

    return tuple(seconds(separate, grouped))


def main() -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = [MODELS["four-stage"](CLASSES).to(memory_format=torch.channels_last).train() for _ in range(SEEDS)]
    x = [torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last) for _ in range(SEEDS)]
    y = [torch.randint(0, CLASSES, (BATCH,)) for _ in range(SEEDS)]
    steps = one_by_one(networks, x, y)
    all_at_once = stacked(copy.deepcopy(networks), torch.stack(x), torch.stack(y))
    one, five, together = seconds(steps[0], lambda: [step() for step in steps], all_at_once)
    print(f"a step of one seed {1e3 * one:.0f} ms")
    print(f"of {SEEDS} in turn {five / one:.2f} times that, stacked {together / one:.2f} times")
    for size in SIZES:
        separate, grouped = convolutions(*size)
        said = f"convolution {size[0]} -> {size[1]}, {size[2]} pixels"
        print(f"{said}: in {SEEDS} groups {grouped / separate:.2f} of {SEEDS} in turn")


if __name__ == "__main__":
    main()
