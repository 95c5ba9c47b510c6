"""Where and in which numbers a training computes, and with how many threads.

$SDKIT_PRECISION and $SDKIT_THREADS are read when a run begins; what they said then stays the run's own. What a run is does not
depend on either, and so nor does its key; its record says both.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from ..core import pick
from .convolutions import watch


def default_device() -> torch.device:
    """Where to compute: $SDKIT_DEVICE, else a CUDA card, else the CPU. ValueError where there is no such device."""
    said, cards = os.environ.get("SDKIT_DEVICE"), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not said:
        return torch.device("cuda" if cards else "cpu")
    try:
        chosen = torch.device(said)
    except RuntimeError:  # torch lists two dozen kinds of devices
        raise ValueError(f"SDKIT_DEVICE is cpu, cuda, cuda:1 for the second card, or mps, got {said!r}") from None
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"SDKIT_DEVICE={said} is the GPU of a Mac with Apple silicon, and there is none here: unset it")
    if chosen.type == "cuda" and (chosen.index or 0) >= cards:
        there = f"cards from cuda:0 to cuda:{cards - 1}" if cards else "no CUDA card"
        raise ValueError(
            f"SDKIT_DEVICE={said}, but PyTorch {torch.__version__} finds {there}: unset it, or say SDKIT_DEVICE=cpu"
        )
    return chosen


def device_name(on: torch.device, number: int | None = None, kind: str | None = None) -> str:
    """What computes, as a record says it: "CPU, 2 threads" or a card's name; and the precision, where it is not the usual one.

    Where sdkit was never tried, the record says "unproven".

    number: of threads. kind: the precision.

    Usual is float32 on a CPU, on a card what "auto" chooses. What is not said is as a run that takes all threads would have it.
    """
    number = number or threads_said() or torch.get_num_threads()
    kind = kind or precision(on)
    if on.type == "cuda":
        name, usual = torch.cuda.get_device_name(on), "bfloat16" if has_bfloat16(on) else "float32"
    elif on.type != "cpu":
        name, usual = f"{'Apple GPU' if on.type == 'mps' else on.type}, unproven", "float32"
    else:
        name, usual = f"CPU, {number} thread{'s' * (number != 1)}", "float32"
    return name if kind == usual else f"{name}, {kind}"


def autocast(on: torch.device | str) -> contextlib.AbstractContextManager:
    """Convolutions and products in the device's 16 bits, where `half` names any."""
    on = torch.device(on)
    kind = half(on)
    if kind and on.type == "cpu":
        watch()
    return torch.autocast(on.type, kind) if kind else contextlib.nullcontext()


def keep_freed_memory() -> None:
    """Asks glibc to keep freed tensors in the heap: each step would otherwise give them back and fault them in again."""
    if sys.platform != "linux" or os.environ.get("SDKIT_MALLOC") == "system":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to gain
        libc = ctypes.CDLL("libc.so.6")
        if not libc.mallopt(-3, 1 << 30):  # M_MMAP_THRESHOLD; an older glibc refuses so much
            libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


PRECISIONS = ("auto", "float32", "bfloat16")


_own_precision: ContextVar[str | None] = ContextVar("_own_precision", default=None)
"""Of the run whose step or evaluation it is."""


def precision(device: torch.device, pixels: int | None = None) -> str:
    """ "bfloat16" or "float32": in what a network's convolutions and products run; losses are always in float32.

    Within a run's steps its own, else $SDKIT_PRECISION, else "auto": bfloat16 on a card or a CPU that multiplies it by itself,
    float32 elsewhere. A CPU without the instructions emulates them, at many times the time of float32.

    pixels: of an image, where images are known. Of fewer than SMALL a CPU gains nothing by 16 bits, and "auto" is float32.
    """
    said = _own_precision.get()
    said = said or pick(os.environ.get("SDKIT_PRECISION") or "auto", PRECISIONS, "precision ($SDKIT_PRECISION)")
    if said != "auto":
        return said
    small = device.type == "cpu" and pixels is not None and pixels < SMALL
    return "bfloat16" if has_bfloat16(device) and not small else "float32"


SMALL = 16 * 16
"""Pixels. On the digits, 8 x 8, bfloat16 takes the four-stage network 1.12 times as long as float32, ResNet-20 as long."""


def half(device: torch.device) -> torch.dtype | None:
    """The 16 bits of `precision`, or None for float32."""
    return torch.bfloat16 if precision(device) == "bfloat16" else None


@functools.cache
def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 by itself: AVX512-BF16 or AMX of a CPU, the units of a CUDA card.

    PyTorch counts older cards as able to: they emulate it, more slowly than float32.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    config = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return device.type == "cpu" and any(has() for has in config if has)


def threads_said() -> int | None:
    """$SDKIT_THREADS: the threads of a run, said by hand."""
    said = os.environ.get("SDKIT_THREADS")
    if said and not (said.isdecimal() and int(said)):
        raise ValueError(f"SDKIT_THREADS is the number of threads of a run, 1 or more, got {said!r}")
    return int(said) if said else None


def threads() -> int:
    """With how many threads a run begins at this moment: as many as there are idle cores, at most PyTorch's own number.

    One thread too many beside a busy process makes all the others wait for it at every operation. $SDKIT_THREADS says it by
    hand, and $OMP_NUM_THREADS, which is PyTorch's own number then.
    """
    if said := threads_said():
        return said
    most, least = own_number(), 1
    if most == 1 or os.environ.get("OMP_NUM_THREADS"):
        return most
    for _ in range(LOOKS):
        idle = idle_cores()
        if idle is None or idle >= most:
            return most
        least = max(least, idle)
    return least


LOOKS = 3
"""How often cores that seem busy are looked at: what works for a moment is no busy process."""


def idle_cores(seconds: float = 0.1) -> int | None:
    """How many of the cores that this process may use have had nothing else to do for so long; None where no one counts it.

    Work of a lower priority than this process's (`nice`) makes room, and so is none.
    """
    try:
        import psutil
    except ImportError:
        return None
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    free = ("idle", "iowait", "nice") if hasattr(os, "nice") and os.nice(0) <= 0 else ("idle", "iowait")

    def checkpoint_every() -> float:
        cores = (times for core, times in enumerate(psutil.cpu_times(percpu=True)) if core in mine)
        return sum(getattr(times, kind, 0.0) for times in cores for kind in free) + time.process_time()

    before, began = checkpoint_every(), time.monotonic()
    time.sleep(seconds)
    return round((checkpoint_every() - before) / (time.monotonic() - began))


_own_number, _inside, _counting = 1, 0, threading.Lock()


def own_number() -> int:
    """PyTorch's number of threads; where a run has one of its own at this moment, that before it."""
    return _own_number if _inside else torch.get_num_threads()  # a thread that is new to PyTorch would read the run's


@contextlib.contextmanager
def working(threads: int, precision: str) -> Iterator[None]:
    """Within, a run's own number of threads and precision; behind it PyTorch has the number back that it had before."""
    global _own_number, _inside
    with _counting:
        _own_number = before = own_number()
        _inside += 1
    token = _own_precision.set(precision)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
        _own_precision.reset(token)
        with _counting:
            _inside -= 1


def tune(device: torch.device) -> None:
    """Lets a card's convolutions be chosen by trying them: each once for every shape of its input, in the first steps.

    $SDKIT_CUDNN=heuristic leaves the choice to cuDNN's rules, which repeat; what is tried may choose otherwise next time.
    """
    if device.type == "cuda":
        said = pick(
            os.environ.get("SDKIT_CUDNN") or "tried", ("tried", "heuristic"), "way to choose convolutions ($SDKIT_CUDNN)"
        )
        torch.backends.cudnn.benchmark = said == "tried"
