"""What a training method is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core import Batch, Features, Knob, Progress, check_arguments
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


HANDED_IN = ("model", "teacher", "train_size")
"""What a method's constructor may ask for: the network to train, a trained one to learn from, the number of training images."""


class Method(nn.Module):
    """A way to train a network: the scaffolding that goes up around it and comes down afterwards.

    A method is an `nn.Module` that holds all that training needs beyond the network and deployment does not:
    its auxiliary heads and peers are submodules (so the optimiser finds them), its teacher is `Frozen` (so the
    optimiser does not), and what it carries from step to step is in `memory` (so a checkpoint saves it).

    Its constructor is its declaration: of `model`, `teacher` and `train_size` it is handed those that it names; its other
    arguments have defaults, and are what an experiment's `knobs` may say.

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

    reads_labels: bool = False
    """Whether it looks at the labels elsewhere than in its "task": in another term, or in what it remembers."""

    hides_labels: bool = False
    """Whether its "task" knows the labels of some images alone, and nothing beside it may look at the others'."""

    samples_per_class: int | None = None
    """How many images of a class a batch holds, of as many classes as fit into it; None: the images as they come."""

    sections: ClassVar[int] = 0
    """Into how many sections a network of three stages is cut for it, where it can be; 0: into its stages."""

    both_views: bool = False
    """Whether the step's one pass goes over `batch.x` and `batch.pair` together: `out` then has 2B rows."""

    captures_blocks: bool = False
    """Whether it reads every residual block's map in `out.blocks`; see `capture_blocks`."""

    knobs: ClassVar[dict[str, Knob]] = {}
    """The hyperparameters worth a slider, by constructor argument. Each is read at every step, so it may be turned live. The
    first is the main weight: how much of the method there is, which equal tuning turns."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Whoever builds one, its arguments are checked against their declared types."""
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _checked(vars(cls)["__init__"])

    def __init__(self) -> None:
        super().__init__()
        self.memory: dict[str, Tensor] = {}

    @classmethod
    def handed_in(cls) -> list[str]:
        """Those of HANDED_IN that its constructor takes."""
        return [name for name in inspect.signature(cls).parameters if name in HANDED_IN]

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """What can be said of it, with the defaults: the constructor's arguments that are not handed in."""
        own = (p for p in inspect.signature(cls).parameters.values() if p.name not in HANDED_IN)
        return {p.name: p.default for p in own if p.default is not p.empty}

    @classmethod
    def built(cls, offer: Mapping[str, Any], **arguments: Any) -> Self:
        """One of it, handed what it takes of an offer."""
        return cls(**{name: offer[name] for name in cls.handed_in() if name in offer}, **arguments)

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


def _checked(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that looks at its arguments first; those that are knobs are looked at when they are set."""

    @functools.wraps(init)
    def call(self: Method, *parts: Any, **said: Any) -> None:
        plain = {name: value for name, value in said.items() if name not in self.knobs}
        init(self, *parts, **said | check_arguments(init, plain, type(self).__name__))

    call.unchecked = init  # type: ignore[attr-defined]  # what digests of source are made of
    return call


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


class Exit(nn.Module):
    """One exit of a trained network as a network of its own: images in, logits out. What analyses and Grad-CAM take."""

    def __init__(self, model: nn.Module, method: Method, name: str = "final") -> None:
        super().__init__()
        self.model, self.method, self.name = model, method, name

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, K] of this exit."""
        exits = self.method.exits(self.model.forward_features(x), x)
        if self.name not in exits:
            raise KeyError(f"this run has no exit {self.name!r}: it has {', '.join(exits)}")
        return exits[self.name]


class EarlyExit(nn.Module):
    """A network that ends at one of its exits: what is behind it is not computed. For deployment at a given cost."""

    def __init__(self, model: nn.Module, head: Head) -> None:
        super().__init__()
        self.front, self.head = nn.Sequential(model.stem, *model.stages[: head.stage + 1]), head

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, K]."""
        return self.head(self.front(x))[0]


def first_rows(out: Features, n: int) -> Features:
    """The first n images of a pass."""
    return Features(*(t[:n] if isinstance(t, Tensor) else tuple(f[:n] for f in t) for t in out))


class Vanilla(Method):
    """Cross entropy against the hard label: the baseline of every table.

    L = CE(p, y) = -(1/B) Σ_i ln p(y_i | x_i)   (paper 001, Eq. 4)
    """

    def terms(self, model, out, batch, progress):
        return {"task": supervised(out.logits, batch)}
