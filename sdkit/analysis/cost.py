"""What an exit or a training step costs: time, FLOPs, ops, parameters, bytes (paper 004, Fig. 4; BYOT's acceleration)."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .base import ProgressBar, check_images, checked, device_of, preserve_state

Step = Callable[[], object]


class Timing(NamedTuple):
    """Seconds of one step."""

    median: float
    low: float  # 10 % of the measurements are below
    high: float  # 10 % are above
    seconds: Tensor  # [R] float64, every measurement


class Size(NamedTuple):
    """How large a module is."""

    parameters: int  # numbers in its parameters; a shared one counts once
    bytes: int  # of parameters and buffers: what must be stored to use it


class StepCost(NamedTuple):
    """A step beside a reference's: the three ratios that say together what it costs, and its own seconds."""

    time: float  # its seconds over the reference's, the median of the rounds
    flops: float  # of a whole step, forward and backward, over the reference's: what a compute-bound machine pays for
    operations: float  # the same of aten operations: what a launch-bound machine pays for
    seconds: Timing

    def __str__(self) -> str:
        ratios = f"time x{self.time:.2f}, FLOPs x{self.flops:.2f}, operations x{self.operations:.2f}"
        return f"{ratios}; {1e3 * self.seconds.median:.1f} ms a step"


class ExitCost(NamedTuple):
    """What it takes to answer at one exit."""

    flops: int  # of a forward pass over the images given; a multiply-add is two
    parameters: int
    bytes: int
    seconds: float  # median time of that pass


@checked
def time_per_iteration(
    step: Step, warmup: int = 3, repeats: int = 20, device: torch.device | str = "cpu", progress: ProgressBar = iter
) -> Timing:
    """Wall-clock seconds of `step()`, each repeat measured by itself, after `warmup` calls that are not. Paper 004, Fig. 4.

    The step runs warmup + repeats times and does whatever it does: hand in one that may. On a GPU every repeat ends with
    a wait for the device.
    """
    if repeats < 1:
        raise ValueError(f"a timing needs at least one repeat, got {repeats}")
    if warmup < 0:
        raise ValueError(f"warmup is how many calls are not timed, 0 or more, got {warmup}: say warmup=3, for example")
    for _ in range(warmup):
        step()
    return _timing([_seconds(step, 1, device) for _ in progress(range(repeats))])


@checked
def compare_times(
    steps: Mapping[str, Step],
    rounds: int = 7,
    block: float = 0.15,
    warmup: int = 3,
    device: torch.device | str = "cpu",
    progress: ProgressBar = iter,
) -> dict[str, Timing]:
    """Seconds of each step, measured in turns (A B B A) so that a slow spell of the machine falls on all alike.

    A measurement is a round's mean over two blocks of at least `block` seconds. Measurements of one round belong together:
    `relative_time` compares them round by round.
    """
    if rounds < 1 or not steps:
        raise ValueError(f"a comparison needs at least one step and one round, got {len(steps)} steps and {rounds} rounds")
    counts = {}
    for name, step in steps.items():
        for _ in range(warmup):
            step()
        counts[name] = max(math.ceil(block / max(_seconds(step, 1, device), 1e-9)), 1)
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in progress(range(rounds)):
        halves = {name: 0.0 for name in steps}
        for name in [*steps, *reversed([*steps])]:
            halves[name] += _seconds(steps[name], counts[name], device) / 2
        for name, seconds in halves.items():
            found[name].append(seconds)
    return {name: _timing(seconds) for name, seconds in found.items()}


def relative_time(a: Timing, b: Timing) -> Timing:
    """a's time over b's, round by round, of one `compare_times`: ratios, not seconds."""
    if a.seconds.shape != b.seconds.shape:
        raise ValueError(f"ratios need two timings of one comparison, got {len(a.seconds)} and {len(b.seconds)} rounds")
    return _timing((a.seconds / b.seconds).tolist())


def step_costs(
    steps: Mapping[str, Step],
    reference: str,
    rounds: int = 3,
    block: float = 0.15,
    draws: Mapping[str, int] | None = None,
    device: torch.device | str | None = None,
    progress: ProgressBar = iter,
) -> dict[str, StepCost]:
    """Time, FLOPs and operations of each step, as multiples of the step `reference`. FLOPs are counted as in `forward_flops`.

    draws: name -> steps to count and average, for steps that sample their network; of all others one is counted. Each step
    first runs once: memories fill. Counted are the steps that follow it, before any can be recorded and replayed; a compiled
    step hides its operations. rounds, block, device: of `compare_times`; None waits for a GPU where this process uses one.
    """
    if reference not in steps:
        raise ValueError(f"costs are multiples of one of the steps {list(steps)}, got {reference!r}")
    counted = {name: step_counts(step, (draws or {}).get(name, 1)) for name, step in steps.items()}
    if not all(counted[reference]):
        raise ValueError(f"the reference needs FLOPs and operations to divide by, got {counted[reference]} of {reference!r}")
    device = device or ("cuda" if torch.cuda.is_initialized() else "cpu")
    times = compare_times(steps, rounds, block, warmup=2, device=device, progress=progress)
    flops, ops = counted[reference]
    return {
        name: StepCost(relative_time(times[name], times[reference]).median, f / flops, o / ops, times[name])
        for name, (f, o) in counted.items()
    }


def step_counts(step: Step, draws: int = 1) -> tuple[float, float]:
    """FLOPs and operations of a step, forward and backward: means over `draws` steps that follow a first one."""
    if draws < 1:
        raise ValueError(f"a count needs at least one step, got {draws}")
    step()
    with flop_counter() as flops, _Counting() as ops:
        for _ in range(draws):
            step()
    return flops.get_total_flops() / draws, ops.seen.total() / draws


def flop_counter() -> Any:
    """A context that counts the FLOPs of what runs within: `.get_total_flops()`. Convolutions and matrix products, each
    multiply-add two; the rest is left out.

    It is torch's, with the backward pass of convolutions counted here: torch's takes one with groups for one without, so that a
    depthwise convolution's weight gradient counts as many times too much as it has channels.
    """
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})


def _convolution_backward(grad, x, w, bias, stride, padding, dilation, transposed, output_padding, groups, wanted, **_) -> int:
    """Of shapes: each gradient that is wanted, of the images and of the weight, takes as many products as the pass forward."""
    places = (x if transposed else grad)[2:]
    return 2 * math.prod(places) * grad[0] * math.prod(w) * (bool(wanted[0]) + bool(wanted[1]))


@checked
def forward_flops(network: nn.Module, x: Tensor) -> int:
    """FLOPs of network(x) in eval mode, all B images together. x [B, 3, H, W] -> a number.

    Convolutions and matrix products, a multiply-add is two; the rest is left out, as is the custom.

    Examples:
        >>> forward_flops(nn.Conv2d(3, 8, 1), torch.zeros(1, 3, 4, 4))  # 16 pixels, 3 x 8 products, each two
        768
    """
    check_images(x)
    with preserve_state(network), torch.no_grad(), flop_counter() as counter:
        network(x.to(device_of(network)))
    return int(counter.get_total_flops())


def operations(step: Step) -> int:
    """Number of aten operations that `step()` runs: what a launch-bound machine pays for. The step runs once."""
    return _operations(step).total()


def host_syncs(step: Step) -> int:
    """How many operations of `step()` make the CPU wait for a GPU's number: .item(), a boolean index. The step runs once."""
    ops = _operations(step)
    return sum(ops[name] for name in ("_local_scalar_dense", "nonzero", "equal"))


def count(module: nn.Module) -> Size:
    """Parameters and bytes of a module.

    Examples:
        >>> count(nn.Linear(3, 2)).parameters
        8
    """
    parameters = list(module.parameters())
    size = sum(t.numel() * t.element_size() for t in [*parameters, *module.buffers()])
    return Size(sum(p.numel() for p in parameters), size)


@checked
def exit_costs(
    networks: Mapping[str, nn.Module], x: Tensor, rounds: int = 7, block: float = 0.05, progress: ProgressBar = iter
) -> dict[str, ExitCost]:
    """FLOPs, parameters, bytes and time of every exit for the images x [B, 3, H, W]. BYOT, depth-scalable nets.

    Hand in one image for the latency of one.
    networks: name -> images to logits, each cut behind its exit: what a network holds and computes is counted, needed or not.
    """
    check_images(x)
    device = device_of(next(iter(networks.values()), nn.Identity()))
    flops = {name: forward_flops(network, x) for name, network in networks.items()}
    x = x.to(device)
    with preserve_state(*networks.values()), torch.inference_mode():
        steps = {name: (lambda network=network: network(x)) for name, network in networks.items()}
        times = compare_times(steps, rounds, block, device=device, progress=progress)
    return {name: ExitCost(flops[name], *count(network), times[name].median) for name, network in networks.items()}


class _Counting(TorchDispatchMode):
    """Counts operations by name as they run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "aten":
            self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def _operations(step: Step) -> Counter[str]:
    with _Counting() as mode:
        step()
    return mode.seen


def _seconds(step: Step, times: int, device: torch.device | str) -> float:
    """Mean wall-clock seconds of `times` calls; one wait for a GPU before, one after."""
    wait = torch.cuda.synchronize if torch.device(device).type == "cuda" else (lambda device: None)
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        step()
    wait(device)
    return (time.perf_counter() - start) / times


def _timing(values: list[float]) -> Timing:
    seconds = torch.tensor(values, dtype=torch.float64)
    low, median, high = seconds.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
    return Timing(median, low, high, seconds)
