"""The training loop: it knows no method, no network and no data set by name."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Progress, one_thread
from ..rng import LocalRNG
from . import device, graphs
from .device import autocast, default_device, keep_freed_memory
from .epoch import Diverged, Epoch
from .recipe import Recipe

OUTPUTS_KEPT = 10_000
"""Of how many images of the test set a record keeps the logits at most."""


WATCHED, FEWEST = 4, 100
"""Along the way an epoch is tested on a part of the test set: one image for every WATCHED to learn from, FEWEST at least.

An image costs about a third in a test of what it costs in training, so this part takes a twelfth of a run's time.
"""


class Training:
    """A network being trained: all that the next step depends on, in one place.

    Iterating `iterate()` trains: it yields a `Progress` after every step and an `Epoch` after every epoch. Between two of
    them the caller may turn knobs, stop, or wait. `state_dict()` is taken between epochs; from it another process
    continues to the same bits: with the precision and the number of threads that the training began with.

    On a CPU its random numbers come from generators of its own: what else trains or draws beside it changes nothing in it, and
    it disturbs nothing. To listen for draws takes time in every operation, so that ends after the first epoch where a known
    network and method drew nothing in it, until a knob is turned. On a card, and where steps are compiled or replayed,
    PyTorch's global ones serve.

    threads: of a CPU; by default `train.device.threads` says it when the training begins.
    """

    def __init__(
        self,
        model: nn.Module,
        method: nn.Module,
        data: Any,
        recipe: Recipe,
        *,
        seed: int = 0,
        on: torch.device | str | None = None,
        threads: int | None = None,
    ) -> None:
        _check_parts(model, method, data)
        self.device = torch.device(on) if on is not None else default_device()
        low, high = int(data.train.y.min()), int(data.train.y.max())
        if low < 0 or high >= data.num_classes:
            raise ValueError(
                f"labels are 0 to {data.num_classes - 1}, got {low if low < 0 else high}: leave out images without a label, of "
                "which a network would learn nothing, in silence"
            )
        pixels = math.prod(data.train.x.shape[2:])
        self.precision = "float32" if method.full_precision else device.precision(self.device, pixels)
        if threads is not None:
            self.threads = threads
        if self.device.type == "cpu":
            keep_freed_memory()
        device.tune(self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.method = method.to(self.device, memory_format=torch.channels_last)
        self.data, self.recipe, self.epochs_done = data, recipe, 0
        self.clean: dict[tuple[str, bool], Any] = {}  # the batches of each split that was evaluated, watched or whole
        self.settings = method.settings()  # as the last step read them
        self.schedule: dict[float, dict[str, float]] = {}  # knobs to turn, by the epochs before: {2.5: {"alpha": 0.3}}
        self.pending: dict[str, float] = {}  # knobs to turn before the next step: any thread may add to it
        self.rng, self.draws = LocalRNG(seed), True  # draws: whether random numbers are, or may be, drawn in its steps
        self.sums: dict[str, Tensor] = {}  # of the terms over the `seen` images of the present epoch
        self.seen = 0
        self.environment: dict[str, Any] = {}  # what a record is to say of where this training came from
        self.changes: list[dict[str, Any]] = []  # knobs turned in the present epoch, as its record will say
        self.loader = data.batches(
            recipe.batch_size, pair=method.pair, samples_per_class=method.samples_per_class, device=self.device, seed=seed
        )
        self.params = [p for p in chain(model.parameters(), method.parameters()) if p.requires_grad]
        parts = (m for m in chain(model.modules(), method.modules()) if hasattr(m, "sampled_parameters"))  # peers, branches
        self.sampled = [*{id(p): p for m in parts for p in m.sampled_parameters()}.values()]  # stochastic depth leaves them out
        self.weights = sum(p.numel() for p in self.params)
        how = graphs.mode()
        self.own_rng = self.device.type == "cpu" and how == "eager"
        self.forward_features = (
            graphs.compiled(model.forward_features, type(model).__name__) if "compile" in how else model.forward_features
        )
        self.replayed = (
            graphs.Replayed(self._work, method, self.device) if "graphs" in how and self.device.type == "cuda" else None
        )
        own = [([*part.parameters()], replace(recipe, **fields)) for part, fields in method.own_recipes()]
        theirs = {id(p) for params, _ in own for p in params}
        parts = [([p for p in self.params if id(p) not in theirs], recipe), *own]
        self.recipes = [r for _, r in parts]  # of each group of parameters
        groups = [
            {
                "params": params,
                "lr": torch.tensor(r.lr, device=self.device) if self.replayed else r.lr,  # a recorded step reads a tensor
                "weight_decay": r.weight_decay,
            }
            | ({} if recipe.optimizer == "adamw" else {"momentum": r.momentum, "nesterov": r.nesterov})
            for params, r in parts
        ]
        if recipe.optimizer == "adamw":
            self.optimiser: torch.optim.Optimizer = torch.optim.AdamW(
                groups, betas=(recipe.momentum, 0.999), fused=True, capturable=self.replayed is not None
            )
        else:
            self.optimiser = torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)

    @cached_property
    def threads(self) -> int:
        """Of a CPU: how many work on a step. Chosen when it is first asked for."""
        return device.threads() if self.device.type == "cpu" else torch.get_num_threads()

    def iterate(self) -> Iterator[Progress | Epoch]:
        """Trains to the recipe's end. Raises `Diverged` after the epoch in which the loss stopped being a number."""
        while self.epochs_done < self.recipe.epochs:
            with contextlib.closing(self._epoch(self.epochs_done)) as epoch:
                while (event := self._own_way(next, epoch, None)) is not None:
                    yield event

    def _own_way(self, work: Callable, *given: Any) -> Any:
        """work(*given), done with this training's threads and precision."""
        with (
            device.working(self.threads, self.precision),
            self.rng if self.own_rng and self.draws else contextlib.nullcontext(),
        ):
            return work(*given)

    def _epoch(self, epoch: int) -> Iterator[Progress | Epoch]:
        self.model.train(), self.method.train()
        seconds, hits, began = 0.0, torch.zeros((), device=self.device), time.perf_counter()
        self.sums, self.seen, self.changes = {}, 0, []
        for i, batch in enumerate(self.loader):
            progress = Progress(epoch, epoch * len(self.loader) + i, self.recipe.epochs, len(self.loader))
            self._turn(progress)
            before, self.settings = self.settings, self.method.settings()
            self.changes += [
                {"step": progress.step, "knob": k, "before": before[k], "after": v}
                for k, v in self.settings.items()
                if v != before[k]
            ]
            late = bool(self.changes) and self.changes[-1]["step"] == progress.step and not self.draws
            self.draws |= late  # with another setting a method may begin to draw: listen until the epoch's end
            with self.rng if late and self.own_rng else contextlib.nullcontext():
                terms, logits = self._step(batch, progress)
            for name, term in terms.items():
                self.sums[name] = self.sums.get(name, 0) + term * len(batch.y)
            hits += (logits[: len(batch.y)].argmax(1) == batch.y).sum()
            self.seen += len(batch.y)
            seconds += time.perf_counter() - began
            yield progress
            began = time.perf_counter()
        began = time.perf_counter()
        means = {k: float(v) / self.seen for k, v in self.sums.items()}  # the epoch's one wait for the device
        seconds += time.perf_counter() - began
        record = Epoch(epoch, self.recipe.rate(progress), seconds, means, float(hits) / self.seen, changes=self.changes)
        last = epoch + 1 == self.recipe.epochs
        record.accuracy, record.loss, record.outputs = self._evaluated("test")
        if last:
            record.test, record.test_loss, record.test_outputs = self._evaluated("test", whole=True)
        if len(self.data.val.y):
            record.validation, _, _ = self._evaluated("val", whole=last)
        self.epochs_done = epoch + 1
        self.draws = self.rng.drawn or not (_ours(self.model) and _ours(self.method))
        if not all(map(math.isfinite, means.values())):
            raise Diverged(record)
        yield record

    def _evaluated(self, split: str, whole: bool = False) -> tuple[dict[str, float], float, Tensor]:
        """As `evaluate`, on the watched part of a split or all of it; the images go to the device once."""
        if (split, whole) not in self.clean:
            part = None if whole else watched(self.data, split)
            self.clean[split, whole] = self.data.evaluation(split, device=self.device, part=part)
        return evaluate(self.model, self.method, self.data, self.device, split, self.clean[split, whole])

    def _turn(self, progress: Progress) -> None:
        """Turns the knobs that are due before a step: by the plan, then by whoever asked meanwhile."""
        for when, knobs in self.schedule.items():
            if round(when * progress.steps_per_epoch) == progress.step:
                for knob, value in knobs.items():
                    setattr(self.method, knob, value)
        while self.pending:
            setattr(self.method, *self.pending.popitem())

    def _step(self, batch, progress: Progress) -> tuple[dict[str, Tensor], Tensor]:
        """One step. -> its terms and the logits of its pass, detached."""
        self.first = progress.step == 0
        for group, recipe in zip(self.optimiser.param_groups, self.recipes, strict=True):
            rate = recipe.rate(progress)
            if self.replayed:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        return (self.replayed or self._work)(batch, progress)

    def _work(self, batch, progress: Progress) -> tuple[dict[str, Tensor], Tensor]:
        """What a step does on the device, the learning rate apart."""
        forward_features = (
            self.forward_features if len(batch.y) == self.recipe.batch_size else self.model.forward_features
        )  # compiled for whole batches
        with autocast(self.device):
            out = forward_features(self.method.view(batch))
            if isinstance(out, Tensor):
                raise TypeError(_NO_BACKBONE.format(type(self.model).__name__))
            terms = self.method.terms(self.model, out, batch, progress)
            if not isinstance(terms, dict):
                kind = type(self.method).__name__
                raise TypeError(f"{kind}.terms gives a dict, {{'task': loss}} for example, got a {type(terms).__name__}")
            loss = sum(terms.values())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for p in self.params if self.first else self.sampled:  # fused SGD wants every momentum to begin at one step
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        with one_thread(self.weights, self.device):
            self.optimiser.step()
        with torch.no_grad():
            self.method.remember(out, batch, progress)
        return {name: summable(term.detach()) for name, term in terms.items()}, out.logits.detach()

    def stepper(self) -> Callable[[], None]:
        """One training step a call, over and over the epoch's batches: what a benchmark times."""
        self.model.train(), self.method.train()
        steps, done = len(self.loader), 0

        def batches():
            while True:
                yield from self.loader

        stream = batches()

        def step() -> None:
            nonlocal done
            progress = Progress(done // steps % self.recipe.epochs, done, self.recipe.epochs, steps)
            self._own_way(lambda: self._step(next(stream), progress))
            done += 1

        return step

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch depends on. Tensors, numbers and lists only, so that it loads without unpickling objects."""
        return {
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "loader": self.loader.state_dict(),
            "epochs done": self.epochs_done,
            "settings": self.settings,
            "threads": self.threads,
            "precision": self.precision,
            "draws": self.draws,
            "rng": self.rng.state_dict() if self.own_rng else {"cpu": torch.get_rng_state()},
            "cuda rng": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts everything back where `state_dict` found it."""
        self.model.load_state_dict(state["model"])
        self.method.load_state_dict(state["method"])
        self.method.memory_to(self.device)
        self.optimiser.load_state_dict(state["optimiser"])
        if self.replayed:
            record = self.replayed.record
            self.replayed = graphs.Replayed(self._work, self.method, self.device, record)  # the old one's tensors are not these
            for group in self.optimiser.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=self.device)
        self.loader.load_state_dict(state["loader"])
        self.epochs_done = state["epochs done"]
        self.threads, self.precision = state["threads"], state["precision"]
        for knob, value in state["settings"].items():
            setattr(self.method, knob, value)
        self.settings = self.method.settings()
        self.draws = state["draws"]
        if self.own_rng:
            self.rng.load_state_dict(state["rng"])
        else:
            torch.set_rng_state(state["rng"]["cpu"])
        if state["cuda rng"] and self.device.type == "cuda":
            torch.cuda.set_rng_state_all(state["cuda rng"])


_NO_BACKBONE = (
    "a network to train shows its stages, as those of MODELS do, got a {}: "
    "say Backbone.adapt(network), or Experiment(model=network), which does it"
)


def _check_parts(model: Any, method: Any, data: Any) -> None:
    """TypeError where one of the three is not what a training takes: what it is then, and how to make it so."""
    if not hasattr(model, "forward_features"):
        raise TypeError(_NO_BACKBONE.format(type(model).__name__))
    if isinstance(method, type) or not hasattr(method, "terms"):
        got = method.__name__ if isinstance(method, type) else repr(method)
        raise TypeError(f"a method is built around the network, METHODS[name](model) for example, got {got}")
    if not hasattr(data, "batches"):
        raise TypeError(
            "data to train on are what as_data((x, y), ...) or DATASETS[name]() gives, "
            f"got a {type(data).__name__}: say as_data(yours), or Experiment(data=yours), which does it"
        )


def _ours(part: nn.Module) -> bool:
    """Whether no code of a user's is in it: then its first epoch tells whether it draws random numbers."""
    known = ("sdkit", "torch", "torchvision", "timm")
    return all(type(m).__module__.partition(".")[0] in known for m in part.modules())


def fit(
    model: nn.Module, method: nn.Module, data: Any, recipe: Recipe, *, seed: int = 0, on: torch.device | str | None = None
) -> Iterator[Epoch]:
    """Trains, yielding after every epoch. No name needed: a method of your own goes in as it is.

    A network of your own goes in as `Backbone.adapt(network)`, data as `as_data(...)`, which an `Experiment` does by itself.
    Nothing is written to disk; `Experiment(...).run()` is the same with a record that survives a crash.

    Examples:
        >>> from sdkit import DATASETS, METHODS, MODELS
        >>> digits = DATASETS["digits"](train_size=32)
        >>> model = MODELS["four-stage"](num_classes=10, width=4)
        >>> [epoch.epoch for epoch in fit(model, METHODS["vanilla"](), digits, Recipe(epochs=2, batch_size=16))]
        [0, 1]
    """
    return (event for event in Training(model, method, data, recipe, seed=seed, on=on).iterate() if isinstance(event, Epoch))


@torch.no_grad()
def evaluate(
    model: nn.Module, method: nn.Module, data: Any, on: torch.device | str, split: str = "test", batches: Any = None
) -> tuple[dict[str, float], float, Tensor]:
    """Top-1 accuracy of every exit in [0, 1], the final exit's cross entropy, and its first logits [N, K] in float16.

    batches: the split's clean batches, where they are at hand.
    """
    model.eval(), method.eval()
    hits, kept, loss, n, room = {}, [], 0.0, 0, OUTPUTS_KEPT
    for batch in data.evaluation(split, device=on) if batches is None else batches:
        with autocast(on):
            exits = method.exits(model.forward_features(batch.x), batch.x)
        for name, z in exits.items():
            hits[name] = hits.get(name, 0) + (z.argmax(1) == batch.y).sum()
        final = exits["final"].float()
        loss = loss + F.cross_entropy(final, batch.y, reduction="sum")
        kept.append(final[:room].to(torch.float16))
        room -= len(kept[-1])
        n += len(batch.y)
    return {name: float(h) / n for name, h in hits.items()}, float(loss) / n, torch.cat(kept).cpu()


def watched(data: Any, split: str = "test") -> Tensor | None:
    """The places of the images of a split that every epoch is tested on, ascending; None where that is all of them."""
    return data.watched(split, max(len(data.train.y) // WATCHED, FEWEST))


def summable(term: Tensor) -> Tensor:
    """A term as an epoch's sum can take it: the 8 bits of a bfloat16 lose what is added to a large sum."""
    return term.float() if term.dtype in (torch.bfloat16, torch.float16) else term
