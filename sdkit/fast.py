"""How a training computes: in which numbers, with how many threads, and with how many launches a step.

$SDKIT_FAST says the last: "eager" runs every operation as it is written, "graphs" replays the launches of a whole step that
were recorded once (CUDA graphs), "compile" hands the pass to torch.compile, "graphs+compile" replays the compiled pass.
$SDKIT_PRECISION and $SDKIT_THREADS say the others, which are chosen when a run begins and stay its own. What a run is does not
depend on any, and so nor does its key; its record says threads and precision.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from .core import Batch, Progress, pick

MODES = ("eager", "compile", "graphs", "graphs+compile")

WARM = 3
"""Steps that run as they are written before one is recorded: memories fill, and what a method reads of the progress is seen."""

EACH_STEP = {"step", "progress", "steps_per_epoch"}
"""Of a `Progress`: what differs from step to step, and is more than whether the step ends its epoch."""

Step = Callable[[Batch, Any], tuple[dict[str, Tensor], Tensor]]


def mode() -> str:
    """How steps run: $SDKIT_FAST, else "eager"."""
    return pick(os.environ.get("SDKIT_FAST") or "eager", MODES, "way to run a step ($SDKIT_FAST)")


PRECISIONS = ("auto", "float32", "bfloat16")


_own_precision: ContextVar[str | None] = ContextVar("_own_precision", default=None)
"""Of the run whose step or evaluation it is."""


def precision(device: torch.device) -> str:
    """ "bfloat16" or "float32": in what a network's convolutions and products run; losses are always in float32.

    Within a run's steps its own, else $SDKIT_PRECISION, else "auto": bfloat16 on a card or a CPU that multiplies it by itself,
    float32 elsewhere. A CPU without the instructions emulates them, at many times the time of float32.
    """
    said = _own_precision.get()
    said = said or pick(os.environ.get("SDKIT_PRECISION") or "auto", PRECISIONS, "precision ($SDKIT_PRECISION)")
    return said if said != "auto" else "bfloat16" if has_bfloat16(device) else "float32"


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


class Watched:
    """A clock that remembers what was asked of it."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.read = progress, set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.progress, name)

    def __iter__(self):
        self.read.add("step")
        return iter(self.progress)

    def __getitem__(self, place: int) -> int:
        self.read.add("step")
        return self.progress[place]


class Replayed:
    """A training step that is recorded once and replayed: the same operations on the same tensors, launched at once.

    `step(batch, clock) -> (terms, logits)` does all that a step does, the learning rate in a tensor. A step is replayed only
    where that is the step: not for a batch of another size, nor the last of an epoch, nor for a method that reads the step's
    number (`clock.ends_epoch` it may read) or draws from the host's generator. Such steps run as they are written.
    """

    def __init__(self, step: Step, method: nn.Module, device: torch.device, record: Callable | None = None) -> None:
        self.step, self.method, self.device = step, method, device
        self.record = record or record_graph
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.key: Any = None  # of what the recording holds for: the epoch where it matters, knobs, the batch's form
        self.warm, self.refused, self.replays, self.recordings = 0, False, 0, 0
        self.strange = 0  # steps in a row that found other memories than the recording's
        self.replay: Callable[[], None] | None = None
        self.batch: Batch | None = None  # the recording's own tensors, from here on
        self.memories: dict[tuple[int, str], Tensor] = {}
        self.found: tuple[dict[str, Tensor], Tensor] | None = None
        self.by_epoch = False

    def __call__(self, batch: Batch, progress: Progress) -> tuple[dict[str, Tensor], Tensor]:
        """One step. -> its terms and logits, detached; the next call writes over them."""
        if self.side is None:
            return self._run(batch, progress)
        now = torch.cuda.current_stream(self.device)
        self.side.wait_stream(now)
        with torch.cuda.stream(self.side):
            out = self._run(batch, progress)
        now.wait_stream(self.side)
        return out

    def _run(self, batch: Batch, progress: Progress) -> tuple[dict[str, Tensor], Tensor]:
        last = (progress.step + 1) % progress.steps_per_epoch == 0
        if self.refused or last:
            return self.step(batch, progress)
        form = [None if t is None else (t.shape, t.dtype) for t in _tensors(batch)]
        key = (form, self.method.settings(), progress.epoch if self.by_epoch else None)
        if key != self.key:
            if self.replay and self.side:
                self.side.synchronize()  # the last replay ends before its recording goes
            self.key, self.warm, self.replay, self.strange = key, 0, None, 0
        if self.warm < WARM:
            self.warm += 1
            return self._watched(batch, progress)
        if self.replay is None and not self._recorded(batch, progress):
            return self.step(batch, progress)
        if not self._remembered():  # as after a smaller batch; where it stays so, the recording no longer fits
            self.strange += 1
            if self.strange > WARM:
                self.key = None
            return self.step(batch, progress)
        self.strange = 0
        for own, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            if own is not None:
                own.copy_(new)
        self.replay()
        self.replays += 1
        return self.found

    def _watched(self, batch: Batch, progress: Progress) -> tuple[dict[str, Tensor], Tensor]:
        """A step as it is written, which may show that steps of this method cannot be replayed."""
        watched, before = Watched(progress), torch.get_rng_state()
        out = self.step(batch, watched)
        self.by_epoch |= bool(watched.read & {"epoch", "epochs"})
        if watched.read & EACH_STEP or not torch.equal(before, torch.get_rng_state()):
            self.refused = True
        elif self.by_epoch:
            self.key = (*self.key[:2], progress.epoch)
        return out

    def _recorded(self, batch: Batch, progress: Progress) -> bool:
        """Records a step. -> whether that could be done; where not, no later one is tried."""
        self.batch = Batch(*(_copy(t) for t in batch))
        self.memories = {place: t.clone() for place, t in self._memory().items()}

        def work() -> None:
            self._place(self.memories)
            terms, logits = self.step(self.batch, progress)
            self._bring(self._memory())  # what was bound to a new tensor: the recording reads the old one
            self._place(self.memories)
            self.found = terms, logits

        try:
            self.replay = self.record(work, self.side)
        except Exception as error:
            print(
                f"sdkit: steps of {type(self.method).__name__} run one by one, they cannot be recorded: {error}",
                file=sys.stderr,
            )
            self.refused, self.found = True, None
            self._place(self.memories)
            return False
        self.recordings += 1
        return True

    def _memory(self) -> dict[tuple[int, str], Tensor]:
        """What the method and its parts remember, by part and name."""
        parts = [m for m in self.method.modules() if isinstance(getattr(m, "memory", None), dict)]
        return {(i, name): t for i, m in enumerate(parts) for name, t in m.memory.items()}

    def _place(self, memories: dict[tuple[int, str], Tensor]) -> None:
        parts = [m for m in self.method.modules() if isinstance(getattr(m, "memory", None), dict)]
        for (i, name), t in memories.items():
            parts[i].memory[name] = t

    def _bring(self, now: dict[tuple[int, str], Tensor]) -> None:
        """Copies memories to where the recording reads them; one may lie in another's place."""
        moved = {place: t for place, t in now.items() if t is not self.memories[place]}
        taken = {t.untyped_storage().data_ptr() for t in self.memories.values()}
        moved = {place: t.clone() if t.untyped_storage().data_ptr() in taken else t for place, t in moved.items()}
        for place, t in moved.items():
            self.memories[place].copy_(t)

    def _remembered(self) -> bool:
        """Brings what is remembered to where the recording reads it. -> False where it has another form."""
        now = self._memory()
        if now.keys() != self.memories.keys() or any(t.shape != self.memories[k].shape for k, t in now.items()):
            return False
        self._bring(now)
        self._place(self.memories)
        return True


def record_graph(work: Callable[[], None], side: Any) -> Callable[[], None]:
    """Records what `work` launches on the card as a CUDA graph. -> what replays it. Recording computes nothing.

    Other threads may go on using the card meanwhile: one that pins memory for a loader would else end the recording.
    """
    graph, chance = torch.cuda.CUDAGraph(), torch.cuda.default_generators[side.device_index]
    before = chance.clone_state()
    try:
        with uncollected(), torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            work()
    except Exception:
        chance.graphsafe_set_state(before)  # a recording that broke off leaves it waiting for its end
        raise
    return graph.replay


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within, no garbage is collected: an older recording that goes just then would end the new one."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def compiled(forward_features: Callable, name: str) -> Callable:
    """A network's `forward_features`, compiled at its first call; as it is written from the moment that compiling fails."""
    fast, failed = torch.compile(forward_features), False

    def run(x: Tensor) -> Any:
        nonlocal failed
        if not failed:
            try:
                return fast(x)
            except Exception as error:
                first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                print(f"sdkit: {name} runs as it is written, it could not be compiled: {first}", file=sys.stderr)
                failed = True
        return forward_features(x)

    return run


def _tensors(batch: Batch) -> list[Tensor | None]:
    return [*batch[:4], *(batch.mix or (None, None))]


def _copy(part: Any) -> Any:
    return tuple(t.clone() for t in part) if isinstance(part, tuple) else None if part is None else part.clone()
