"""Where the time of a training step goes, and what the machine's own rates would allow: what is left on the table."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdkit.analysis import cost

Row = dict[str, Any]

KINDS = {
    "convolution, forward": ("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"),
    "convolution, backward": ("convolution_backward",),
    "batch norm": ("native_batch_norm", "native_batch_norm_backward", "cudnn_batch_norm", "cudnn_batch_norm_backward",
                   "_batch_norm_with_update", "batch_norm_backward"),
    "ReLU": ("relu", "clamp_min", "threshold_backward"),
    "sums": ("add", "add_"),
    "matrix products": ("mm", "addmm"),
    "optimiser": ("_fused_sgd_",),
}  # fmt: skip
"""ATen's operations by kind; what is none of these is "the rest"."""
KIND = {name: kind for kind, names in KINDS.items() for name in names}
REST = "the rest"
PICKS = ("index_select", "index", "gather")
"""They read as much as they write, of however large a tensor."""


class Traffic(TorchDispatchMode):
    """Counts, by kind, operations and the bytes that each reads and writes: its tensors, once each."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket).rpartition(".")[2]
        kind = kind_of(name)
        if not func.is_view:
            of = (out, out) if name in PICKS else (args, kwargs, out)
            self.bytes[kind] += sum(t.numel() * t.element_size() for t in tree_leaves(of) if isinstance(t, Tensor))
            self.operations[kind] += 1
        return out


def kind_of(operation: str) -> str:
    """The kind of an operation by its name, such as "relu" or "aten::relu"."""
    return KIND.get(operation.removeprefix("aten::"), REST)


def flops_by_kind(step: Callable[[], Any]) -> Counter[str]:
    """FLOPs of convolutions and matrix products. The step runs once."""
    with cost.flop_counter() as counter:
        step()
    found: Counter[str] = Counter()
    for operation, flops in counter.get_flop_counts()["Global"].items():
        found[kind_of(str(operation).rpartition(".")[2])] += flops
    return found


def seconds_by_kind(step: Callable[[], Any], device: torch.device, steps: int) -> dict[str, float]:
    """A step's time by kind. The profiler's own time falls on all alike: only shares are taken from it.

    On a card it is the kernels' time, and "the host" is what is left: the card had nothing to do.
    """
    card = device.type == "cuda"
    whole = statistics.median(timed(step, device) for _ in range(steps))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if card else [])]
    with profile(activities=activities) as seen:
        for _ in range(steps):
            step()
        if card:
            torch.cuda.synchronize()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # a kernel, whose time its operation has already
        spent[kind_of(event.key)] += (event.self_device_time_total if card else event.self_cpu_time_total) / 1e6 / steps
    if card:
        return dict(spent) | {"the host": max(whole - sum(spent.values()), 0.0)}
    return {kind: whole * seconds / sum(spent.values()) for kind, seconds in spent.items()}


def timed(step: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def rows(step: Callable[[], Any], device: torch.device, machine: Row, plain: float | None, steps: int = 8) -> Iterator[Row]:
    """A row for each kind of operation, and one for all. plain: seconds of the plain loop's step, where it was measured.

    At the machine's rates: each operation's FLOPs at the rate of its fastest product, or its bytes at that of a copy of what
    no cache holds, whichever takes longer. What lies in a cache may go faster.
    """
    flops, traffic = flops_by_kind(step), Traffic()
    with traffic:
        step()
    seconds = seconds_by_kind(step, device, steps)
    rate, copy = max(machine["GFLOP/s"].values()) * 1e9, machine["copy GB/s"] * 1e9
    bound = {kind: max(flops[kind] / rate, traffic.bytes[kind] / copy) for kind in seconds}
    whole = sum(seconds.values())
    for kind in [*(k for k in (*KINDS, REST, "the host") if k in seconds), "all"]:
        of = seconds if kind == "all" else [kind]
        took = sum(seconds[k] for k in of)
        row = {
            "kind": kind,
            "operations": sum(traffic.operations[k] for k in of),
            "ms": took * 1e3,
            "share": f"{took / whole:.0%}",
            "GFLOP": sum(flops[k] for k in of) / 1e9,
            "MB": sum(traffic.bytes[k] for k in of) / 1e6,
            "ms at the machine's rates": sum(bound[k] for k in of) * 1e3,
        }
        yield row | ({"of the plain loop's step": f"{took / plain:.0%}"} if plain else {})
