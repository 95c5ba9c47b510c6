"""With how many launches a step runs.

$SDKIT_FAST says it: "eager" runs every operation as it is written, "graphs" replays the launches of a whole step that were
recorded once (CUDA graphs), "compile" hands the pass to torch.compile, "graphs+compile" replays the compiled pass.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Batch, Progress, pick

MODES = ("eager", "compile", "graphs", "graphs+compile")


WARM = 3
"""Steps that run as they are written before one is recorded: memories fill, and what a method reads of the progress is seen."""


EACH_STEP = {"step", "fraction", "steps_per_epoch"}
"""Of a `Progress`: what differs from step to step, and is more than whether the step ends its epoch."""


ASKED = {*Progress._fields, *(name for name, value in vars(Progress).items() if isinstance(value, property))}
"""What a `Progress` can be asked for by name; the rest, such as `_replace` and `_asdict`, reads all of it."""


Step = Callable[[Batch, Any], tuple[dict[str, Tensor], Tensor]]


def mode() -> str:
    """How steps run: $SDKIT_FAST, else "eager"."""
    return pick(os.environ.get("SDKIT_FAST") or "eager", MODES, "way to run a step ($SDKIT_FAST)")


class Watched:
    """A progress that remembers what was asked of it."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.read = progress, set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name if name in ASKED else "step")
        return getattr(self.progress, name)

    def __iter__(self):
        self.read.add("step")
        return iter(self.progress)

    def __getitem__(self, place: int) -> int:
        self.read.add("step")
        return self.progress[place]


class Replayed:
    """A training step that is recorded once and replayed: the same operations on the same tensors, launched at once.

    `step(batch, progress) -> (terms, logits)` does all that a step does, the learning rate in a tensor. A step is replayed only
    where that is the step: not for a batch of another size, nor the last of an epoch, nor for a method that reads the step's
    number (`progress.ends_epoch` it may read) or draws from the host's generator. Such steps run as they are written.
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
        parts = self.method.members()
        return {(i, name): t for i, m in enumerate(parts) for name, t in m.memory.items()}

    def _place(self, memories: dict[tuple[int, str], Tensor]) -> None:
        parts = self.method.members()
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
