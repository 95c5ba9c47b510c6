"""What a training method is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Features, Knob, Progress
from ..models import Head


class RankedTarget(NamedTuple):
    """What sorted outputs are compared with in a step."""

    logits: Tensor  # [B, K] ascending; a batch may have more images than it has rows
    temperature: float


class TransportPlans(NamedTuple):
    """How a method carries the shallower maps of a batch to the last one. N cells a map, S-1 shallower maps."""

    plan: Tensor  # [S-1, B, N, N] what moves from each cell of the map to each cell of the last map
    distance: Tensor  # [B, S-1] earth mover's distance
    weight: Tensor  # [B, S-1] how much each map counts, rows sum to 1


class Method(nn.Module):
    """A way to train a network: the scaffolding that goes up around it and comes down afterwards.

    A method is an `nn.Module` that holds all that training needs beyond the network and deployment does not:
    its auxiliary heads and peers are submodules (so the optimiser finds them), its teacher is `Frozen` (so the
    optimiser does not), and what it carries from step to step is in `memory` (so a checkpoint saves it).

    Subclasses write `terms`, and whichever of the others they need. What a method has is said by the attributes and the
    methods of this class alone: no reader concludes anything from other names, so yours may have any.
    """

    pair: ClassVar[Literal[None, "same image", "same class"]] = None
    """The partner that each image of a batch comes with, in `batch.pair`."""

    full_precision: bool = False
    """Whether its network computes in float32 where others would in bfloat16."""

    replaces_task_loss: bool = False
    """Whether its "task" is other than plain cross entropy against the label, such as a softened label. Of an instance: its
    options may decide."""

    task_weight: float = 1.0
    """What the plain cross entropy is multiplied by, where that is all that its "task" is."""

    samples_per_class: int | None = None
    """How many images of a class a batch holds, of as many classes as fit into it; None: the images as they come."""

    sections: ClassVar[int] = 0
    """Into how many sections a network of three stages is cut for it, where it can be; 0: into its stages."""

    both_views: bool = False
    """Whether the step's one pass goes over `batch.x` and `batch.pair` together: `out` then has 2B rows."""

    captures_blocks: bool = False
    """Whether it reads every residual block's map in `out.blocks`; see `capture_blocks`."""

    knobs: ClassVar[dict[str, Knob]] = {}
    """The hyperparameters worth a slider, by constructor argument. Each is read at every step, so it may be turned live."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, Tensor] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """A knob is checked whenever it is set: in the constructor and while training. A method's own name stays free."""
        if name in self.knobs:
            value = self.knobs[name].check(name, value)
        elif callable(getattr(Method, name, None)) and not callable(value):
            raise AttributeError(f"{name}() is what every Method can be asked: give {type(self).__name__}.{name} another name")
        super().__setattr__(name, value)

    def capture_blocks(self, model: nn.Module) -> None:
        """Asks the network for every residual block's map: each of its passes then has its own, in `out.blocks`.

        Raises:
            TypeError: The network cannot show its blocks.
        """
        if not hasattr(model, "captures_blocks"):
            raise TypeError(
                f"a {type(model).__name__} shows no residual blocks: take a residual network of sdkit's, 'resnet20'"
            )
        self.captures_blocks = model.captures_blocks = True

    def view(self, batch: Batch) -> Tensor:
        """What the step's one pass goes over: the images [B, 3, H, W], or both views of them [2B, 3, H, W]."""
        return torch.cat([batch.x, batch.pair]) if self.both_views else batch.x

    def loss(self, model: nn.Module, batch: Batch, progress: Progress = Progress(0, 0, 1, 1)) -> Tensor:  # noqa: B008
        """The sum of the terms on one batch, []: what an analysis of gradients differentiates."""
        return sum(self.terms(model, model.forward_features(self.view(batch)), batch, progress).values())

    def terms(self, model: nn.Module, out: Features, batch: Batch, progress: Progress) -> dict[str, Tensor]:
        """The loss as its named terms, weighted: their sum is what is minimised.

        The term against the labels is always called "task". `out` is the pass over `batch.x`; any further
        pass is a call to `model.forward_features` in here. Reads `memory` and never writes it.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it minimises: write terms()")

    def remember(self, out: Features, batch: Batch, progress: Progress) -> None:
        """Writes to `memory` what the next steps will want. Called after the optimiser, without gradients."""

    def auxiliary_heads(self) -> dict[str, Head]:
        """The auxiliary classifiers on the network's stages, by the name of the exit that each makes."""
        return {}

    def teachers(self) -> dict[str, nn.Module]:
        """The networks that it learns from and that no gradient reaches, by name. Each has `forward_features`.

        Those that are `Frozen` need no word here.
        """
        return {name: m for name, m in self.named_modules() if isinstance(m, Frozen)}

    def peer_networks(self) -> dict[str, nn.Module]:
        """The networks that learn beside the deployed one, by name. Each has `forward_features`."""
        return {}

    def own_recipes(self) -> list[tuple[nn.Module, dict[str, Any]]]:
        """Parts of it that are optimised by a recipe of their own: each with the fields that differ."""
        return []

    def members(self) -> list[Method]:
        """The methods that it is made of, each with a `memory` of its own: itself, and those that it combines."""
        return [m for m in self.modules() if isinstance(m, Method)]

    def targets(self, batch: Batch, progress: Progress) -> Tensor | None:
        """The labels as its "task" takes them, distributions [B, K]. None: they are what the gradient of the task says."""

    def ranked_target(self, out: Features, progress: Progress) -> RankedTarget | None:
        """What this step compares the sorted outputs with; None where it compares no ranks."""

    def transport_plans(self, out: Features) -> TransportPlans | None:
        """How it carries the pass's shallower maps to the last one, without gradient; None where it carries none."""

    def exits(self, out: Features, x: Tensor) -> dict[str, Tensor]:
        """Every prediction that can be read from a pass over x, by name. Logits [B, K]. The deployed one is "final"."""
        return {"final": out.logits} | {name: head(out.stages[head.stage])[0] for name, head in self.auxiliary_heads().items()}

    def features(self, out: Features) -> dict[str, Tensor]:
        """The pooled features that each exit classifies, by the exit's name. [B, D]."""
        return {"final": out.embedding} | {
            name: head(out.stages[head.stage])[1] for name, head in self.auxiliary_heads().items()
        }

    def settings(self) -> dict[str, float]:
        """Every knob's present value."""
        return {name: getattr(self, name) for name in self.knobs}

    def memory_to(self, device: torch.device | str) -> None:
        """Moves the memory, of its parts too: a checkpoint may have been read on another device."""
        for m in self.members():
            m.memory = {k: t.to(device) for k, t in m.memory.items()}

    # memory is saved, restored and moved between devices with the rest of the module

    def get_extra_state(self) -> Any:
        return self.memory

    def set_extra_state(self, state: Any) -> None:
        self.memory = state

    def _apply(self, fn, recurse: bool = True):
        self.memory = {k: fn(t) for k, t in self.memory.items()}
        return super()._apply(fn, recurse)


def supervised(logits: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Cross entropy of the batch's images with their labels. logits [B, K] -> []. smoothing: of the labels, in [0, 1].

    Under mixup both labels of a mixture count by their shares (Zhang et al. 2018).
    """
    if batch.mix is None:
        return F.cross_entropy(logits, batch.y, label_smoothing=smoothing)
    return mixed(batch, lambda y: F.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")).mean()


def labels_of(batch: Batch, num_classes: int) -> Tensor:
    """The batch's labels as distributions, [B, K]: what a method softens. Those of mixtures are mixed."""
    return mixed(batch, lambda y: F.one_hot(y, num_classes).float())


def mixed(batch: Batch, of: Callable[[Tensor], Tensor]) -> Tensor:
    """What `of` makes of labels [B], mixed as the images are: of(y), under mixup s of(y) + (1 - s) of(partner's). [B, ...]."""
    own = of(batch.y)
    if batch.mix is None:
        return own
    partner, share = batch.mix
    share = share.view(-1, *(1,) * (own.dim() - 1))  # one for the batch, or one per image
    return share * own + (1 - share) * of(partner)


class Frozen(nn.Module):
    """A teacher: asked, never taught. No gradient, always in eval mode, in no optimiser and no checkpoint."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "net", net.eval().requires_grad_(False))  # deliberately not a submodule

    def _apply(self, fn, recurse: bool = True):  # .to(device) still reaches it
        self.net._apply(fn, recurse)
        return super()._apply(fn, recurse)

    @torch.no_grad()
    def forward_features(self, x: Tensor) -> Features:
        """[B, 3, H, W] -> the teacher's logits, embedding and stages."""
        return self.net.forward_features(x)


def same_classes(model: nn.Module, teacher: nn.Module) -> None:
    """ValueError where the two networks do not name the same number of classes."""
    if teacher.num_classes != model.num_classes:
        raise ValueError(
            f"the teacher knows {teacher.num_classes} classes and the student {model.num_classes}: train both on one set"
        )


class VectorNorm(nn.BatchNorm1d):
    """Batch normalisation of vectors [B, D], which has no meaning for one image: ValueError says so in training."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) < 2:
            raise ValueError("this method normalises over the batch: train with at least 2 images a batch, got 1")
        return super().forward(x)


def both_show_stages(model: nn.Module, teacher: nn.Module) -> None:
    """TypeError where one of the two networks cannot be tapped as those of sdkit can."""
    for name, network in (("student", model), ("teacher", teacher)):
        if not hasattr(network, "channels") or not hasattr(network, "forward_features"):
            raise TypeError(f"the {name} must show its stages, as every network of sdkit does, got {type(network).__name__}")


def first_rows(out: Features, n: int) -> Features:
    """The first n images of a pass."""
    return Features(*(t[:n] if isinstance(t, Tensor) else tuple(f[:n] for f in t) for t in out))


class Combined(Method):
    """Several methods on one pass: the sum of their terms. `Combined(DRG(model), DSR(model))` is paper 004's Eq. 13.

    The task is counted once: it is that of the method that replaces the task loss, where there is one, and plain cross entropy
    otherwise. Two that replace it, or that ask for different batches, are refused. The order does not matter: methods are
    asked in the order of their names, also for their random draws.
    Of other terms of one name each counts, as "method term"; so it is with exits, heads, teachers and peers of one name.
    A knob is "method.knob": `{"drg.alpha": 0.2, "dsr.beta": 1.0}`.

    Args:
        *methods: What trains together, built around one network.
        names: What the methods are called here, no two alike; by default their classes, in small letters.

    Raises:
        ValueError: Two have one name, two replace the task loss, or their partners or their images a class differ. From
            `terms`, in the first step: a method whose "task" is not plain cross entropy and that does not say so.
    """

    def __init__(self, *methods: Method, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.methods = nn.ModuleList(methods)
        names = [type(m).__name__.lower() for m in methods] if names is None else [*names]
        if len({*names}) < len(names):
            raise ValueError(f"methods that train together have different names, got {', '.join(names)}: say names=[...]")
        by_name = dict(zip(names, methods, strict=True))
        self._parts = {name: by_name[name] for name in sorted(names)}
        own = {name: name if m.replaces_task_loss else m.task_weight for name, m in self._parts.items()}
        own = {name: task for name, task in own.items() if task != 1}
        if len({*own.values()}) > 1:
            raise ValueError(
                f"{' and '.join(own)} each replace the task loss and cannot train together: take one of them, or options that "
                "leave plain cross entropy to the labels"
            )
        self._owner = next(iter(own), None)
        if self._owner is not None:
            owner = self._parts[self._owner]
            self.replaces_task_loss, self.task_weight = owner.replaces_task_loss, owner.task_weight
        self.pair = self._agreed("pair", "take one of them")
        self.samples_per_class = self._agreed("samples_per_class", "say the same to all")
        self.both_views = any(m.both_views for m in methods)
        self.full_precision = any(m.full_precision for m in methods)
        self.captures_blocks = any(m.captures_blocks for m in methods)
        self._tasks_checked = False
        self.knobs = {f"{name}.{k}": knob for name, m in self._parts.items() for k, knob in m.knobs.items()}

    def __setattr__(self, name: str, value: Any) -> None:
        part, dot, knob = name.partition(".")
        if dot:
            setattr(self._parts[part], knob, value)
        else:
            super().__setattr__(name, value)

    def settings(self) -> dict[str, float]:
        return {f"{name}.{k}": v for name, m in self._parts.items() for k, v in m.settings().items()}

    def terms(self, model, out, batch, progress):
        every = {name: {**m.terms(model, self._share(m, out), batch, progress)} for name, m in self._parts.items()}
        tasks = {name: terms.pop("task") for name, terms in every.items() if "task" in terms}
        plain = supervised(out.logits[: len(batch.y)], batch)
        if not self._tasks_checked:
            self._check(tasks, plain)
        return {"task": tasks[self._owner] if self.replaces_task_loss else self.task_weight * plain} | self._named(every)

    def remember(self, out, batch, progress):
        for m in self._parts.values():
            m.remember(self._share(m, out), batch, progress)

    def auxiliary_heads(self):
        return self._named({name: m.auxiliary_heads() for name, m in self._parts.items()})

    def teachers(self):
        return self._named({name: m.teachers() for name, m in self._parts.items()})

    def peer_networks(self):
        return self._named({name: m.peer_networks() for name, m in self._parts.items()})

    def exits(self, out, x):
        return {"final": out.logits} | self._named({name: m.exits(out, x) for name, m in self._parts.items()}, but="final")

    def features(self, out):
        return {"final": out.embedding} | self._named({name: m.features(out) for name, m in self._parts.items()}, but="final")

    def own_recipes(self):
        return [own for m in self._parts.values() for own in m.own_recipes()]

    def targets(self, batch, progress):
        return self._parts[self._owner].targets(batch, progress) if self.replaces_task_loss else None

    def ranked_target(self, out, progress):
        found = (m.ranked_target(self._share(m, out), progress) for m in self._parts.values())
        return next((target for target in found if target is not None), None)

    def transport_plans(self, out):
        found = (m.transport_plans(self._share(m, out)) for m in self._parts.values())
        return next((plans for plans in found if plans is not None), None)

    def _share(self, method: Method, out: Features) -> Features:
        """What a method of one view sees of a pass over both: the first."""
        return first_rows(out, len(out.logits) // 2) if self.both_views and not method.both_views else out

    def _named(self, every: Mapping[str, Mapping[str, Any]], but: str | None = None) -> dict[str, Any]:
        """What all parts have, without `but`: by its own name, and as "part name" where several parts have one of that name."""
        met = Counter(k for found in every.values() for k in found)
        return {k if met[k] == 1 else f"{part} {k}": v for part, found in every.items() for k, v in found.items() if k != but}

    def _agreed(self, what: str, mend: str) -> Any:
        """What those parts say that ask for a `what` of batches. ValueError where two differ."""
        asked = {name: getattr(m, what) for name, m in self._parts.items() if getattr(m, what) is not None}
        if len({*asked.values()}) > 1:
            said = ", ".join(f"{value!r} for {name}" for name, value in asked.items())
            raise ValueError(f"these methods cannot share a batch, its {what} would be {said}: {mend}")
        return next(iter(asked.values()), None)

    def _check(self, tasks: Mapping[str, Tensor], plain: Tensor) -> None:
        """ValueError where a part's task is another than it says: that task would be left out in silence."""
        for name, task in tasks.items():
            part = self._parts[name]
            if not part.replaces_task_loss and not torch.allclose(task, part.task_weight * plain, rtol=1e-3, atol=1e-5):
                raise ValueError(
                    f'{name}\'s "task" is not plain cross entropy against the label, and would be left out: '
                    "set replaces_task_loss = True in it, or give that term another name"
                )
        self._tasks_checked = True


class Vanilla(Method):
    """Cross entropy against the hard label: the baseline of every table.

    L = CE(p, y) = -(1/B) Σ_i ln p(y_i | x_i)   (paper 001, Eq. 4)
    """

    def terms(self, model, out, batch, progress):
        return {"task": supervised(out.logits, batch)}
