"""Any classifier as a `Backbone`: yours, torchvision's or timm's. Its stages are read while it runs as it always did."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Size, Tensor, nn

from ..core import Features, pick
from .backbone import Backbone, full_precision

MOST = 4
"""Stages that are looked for: as many as the exits of the papers' networks."""

_SEEN: ContextVar[dict[nn.Module, tuple[Any, Any]] | None] = ContextVar("seen", default=None)
"""What the pass under way has left, by module: of this thread, and gone with the pass."""


class Adapted(Backbone):
    """A classifier that runs by its own `forward`; what its stages and its last linear layer say is read on the way.

    Its weights are under "net.". It is no chain of parts: `stem` and `neck` raise a TypeError.
    """

    def __init__(
        self,
        module: nn.Module,
        stages: Sequence[str | nn.Module] | None = None,
        classifier: str | nn.Module | None = None,
        num_classes: int | None = None,
        side: int = 32,
    ) -> None:
        nn.Module.__init__(self)
        wanted = None if stages is None else [_path(module, part) for part in stages]
        last = None if classifier is None else _path(module, classifier)
        self.net = copy.deepcopy(module)
        for part in self.net.modules():
            if hasattr(part, "inplace"):
                part.inplace = False  # a map that was read must stay as it is
        calls, logits = _dry_run(self.net, side)
        self._last = f"net.{_classifier(calls, logits, last)}"
        found = sorted(_found(self.net, calls) if wanted is None else [_wanted(calls, path) for path in wanted])
        self._stages = tuple(f"net.{call.path}" for call in found)
        self._readers = tuple(_reader(self.net, call) for call in found)
        maps = [read(call.out, Size((2, 3, side, side))) for read, call in zip(self._readers, found, strict=True)]
        self.channels = tuple(m.shape[1] for m in maps)
        self.strides = tuple(max(round(side / m.shape[2]), 1) for m in maps)
        self.num_classes = self.classifier.out_features
        for call in found:
            call.module.register_forward_hook(_copy if call.out._version != call.version else _keep)
        self.classifier.register_forward_hook(_keep)
        if num_classes not in (None, self.num_classes):
            self.reset_classifier(num_classes)

    @property
    def stages(self) -> list[nn.Module]:
        """The modules whose outputs are the maps, shallow to deep."""
        return [self.get_submodule(path) for path in self._stages]

    @property
    def classifier(self) -> nn.Linear:
        """The last layer."""
        return self.get_submodule(self._last)

    @property
    def stem(self) -> nn.Module:
        raise self._whole("stem")

    @property
    def neck(self) -> nn.Module:
        raise self._whole("neck")

    def _whole(self, part: str) -> TypeError:
        return TypeError(
            f"this asks for the {part} of a network that can be run part by part, and an adapted {type(self.net).__name__} "
            "runs only as a whole: take a network of sdkit's, 'resnet18' for example, or write yours as a Backbone"
        )

    def forward_features(self, x: Tensor) -> Features:
        """[B, 3, H, W] -> logits, embedding and every stage's map; tokens [B, N, C] as their grid [B, C, h, w]."""
        seen: dict[nn.Module, tuple[Any, Any]] = {}
        before = _SEEN.set(seen)
        try:
            self.net(x)
        finally:
            _SEEN.reset(before)
        (embedding, *_), logits = seen[self.classifier]
        maps = tuple(read(seen[m][1], x.shape) for read, m in zip(self._readers, self.stages, strict=True))
        return Features(full_precision(logits), full_precision(embedding), maps)

    def reset_classifier(self, num_classes: int, dim: int | None = None) -> None:
        embedding, last = self._new_layers(num_classes, dim)
        self.set_submodule(self._last, last if dim is None else nn.Sequential(embedding, last))
        self._last += "" if dim is None else ".1"
        last.register_forward_hook(_keep)


Backbone.adapted = Adapted


def _keep(module: nn.Module, args: Any, out: Any) -> None:
    seen = _SEEN.get()
    if seen is not None:
        seen[module] = args, out


def _copy(module: nn.Module, args: Any, out: Tensor) -> None:
    """As `_keep`, where the network itself writes into the output later."""
    if _SEEN.get() is not None:
        _keep(module, args, out.clone())


# --- outputs as maps: (output, the images' shape) -> [B, C, h, w] ---


def _as_it_is(out: Tensor, images: Size) -> Tensor:
    return out


def _channels_last(out: Tensor, images: Size) -> Tensor:
    return out.permute(0, 3, 1, 2)


def _vector(out: Tensor, images: Size) -> Tensor:
    return out[:, :, None, None]


def _tokens(out: Tensor, images: Size, prefix: int) -> Tensor:
    """Tokens [B, N, C] without the `prefix` first ones, class token and registers, in the grid of the images' proportions."""
    count, (height, width) = out.shape[1] - prefix, images[2:]
    rows = max(round(math.sqrt(max(count, 0) * height / width)), 1)
    if count < 1 or count % rows:
        raise ValueError(f"{out.shape[1]} tokens, {prefix} of them no patches, are no grid over images of {height}x{width}")
    return out[:, prefix:].transpose(1, 2).unflatten(2, (rows, count // rows))


def _reader(net: nn.Module, call: Call) -> Callable[[Tensor, Size], Tensor]:
    """How a stage's output becomes a map."""
    shape = call.out.shape
    if len(shape) == 4:
        return _channels_last if shape[1] == shape[2] != shape[3] else _as_it_is
    if len(shape) == 2:
        return _vector
    said = (m.num_prefix_tokens for m in net.modules() if isinstance(getattr(m, "num_prefix_tokens", None), int))  # timm's
    return partial(_tokens, prefix=next(said, shape[1] - math.isqrt(shape[1]) ** 2))


# --- what a network is made of ---


class Call(NamedTuple):
    """What a module gave in a pass."""

    place: int  # in the order in which the calls ended
    path: str  # dotted, within the network
    module: nn.Module
    out: Any
    version: int  # of the output at that time: a later one was written into


def _dry_run(net: nn.Module, side: int) -> tuple[list[Call], Any]:
    """Every module's call, in the order in which they ended, and the output, of a pass over two images in eval mode."""
    calls, modes = [], [(m, m.training) for m in net.modules()]

    def noting(path: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda m, args, out: calls.append(Call(len(calls), path, m, out, getattr(out, "_version", 0)))

    hooks = [m.register_forward_hook(noting(path)) for path, m in net.named_modules()]
    one = next(net.parameters(), torch.empty(0))
    images = torch.linspace(-1, 1, 2 * 3 * side * side, device=one.device, dtype=one.dtype).view(2, 3, side, side)
    try:
        with torch.no_grad():
            return calls, net.eval()(images)
    except Exception as error:
        raise ValueError(
            f"a {type(net).__name__} cannot be adapted: it must take images [B, 3, {side}, {side}], and said {error!r}. "
            "Build it for this size (img_size or image_size where it has such an option), or say another side="
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        for m, mode in modes:
            m.training = mode


def _path(net: nn.Module, part: str | nn.Module) -> str:
    """The dotted name of a module of the network."""
    named = {m: path for path, m in net.named_modules()}
    if isinstance(part, nn.Module):
        if part not in named:
            raise ValueError(f"this {type(part).__name__} is no module of the {type(net).__name__}: name one of its own")
        return named[part]
    return pick(part, [*filter(None, named.values())], f"module of {type(net).__name__}", "named_modules()")


def _once(calls: list[Call], path: str) -> Call:
    met = [call for call in calls if call.path == path]
    if len(met) != 1:
        raise ValueError(f"{path!r} must run once in a pass, and runs {len(met)} times: name another module")
    return met[0]


def _wanted(calls: list[Call], path: str) -> Call:
    call = _once(calls, path)
    if not _is_map(call) and not (isinstance(call.out, Tensor) and call.out.dim() == 2):
        gives = tuple(call.out.shape) if isinstance(call.out, Tensor) else type(call.out).__name__
        raise ValueError(f"a stage gives maps [B, C, H, W], tokens [B, N, C] or vectors [B, D], and {path!r} gives {gives}")
    return call


def _classifier(calls: list[Call], logits: Any, path: str | None) -> str:
    """The name of the linear layer that gives the logits."""
    linear = [call.path for call in calls if isinstance(call.module, nn.Linear)]
    call = _once(calls, path or linear[-1]) if path or linear else None
    is_it = call and isinstance(call.module, nn.Linear) and isinstance(logits, Tensor) and call.out.shape == logits.shape
    if not is_it or logits.dim() != 2 or not (logits.is_meta or torch.equal(call.out, logits)):
        raise ValueError(
            "a network ends with an nn.Linear that gives its logits [B, K], which losses need as they are: this one "
            + (f"does something after {call.path!r}. Leave out its softmax, if that is it, " if call else "has none. Add one, ")
            + "or name the layer, classifier='...'"
        )
    return call.path


def _is_map(call: Call) -> bool:
    """Whether a module gives maps, or tokens, of two images."""
    out = call.out
    if not isinstance(out, Tensor) or out.dim() not in (3, 4) or len(out) != 2:
        return False
    return out.dim() == 3 or out.shape[2] == out.shape[3] or out.shape[1] == out.shape[2]


def _candidates(net: nn.Module) -> Iterator[list[str]]:
    """Lists of modules that may be a network's stages, the likeliest first: as timm says, by their names, any that follow."""
    modules = {path: [f"{path}.{name}".strip(".") for name, _ in m.named_children()] for path, m in net.named_modules()}
    if isinstance(getattr(net, "feature_info", None), list):
        yield [info["module"] for info in net.feature_info]
    for children in modules.values():
        yield [c for c in children if re.fullmatch(r"(layer|stage|block)_?\d+", c.rpartition(".")[2])]
        for c in children:
            if c.rpartition(".")[2] in ("stages", "layers", "blocks", "features"):
                yield modules[c]
    yield from modules.values()


def _found(net: nn.Module, calls: list[Call]) -> list[Call]:
    """The stages of a network: of what may be one the last of each size, four of them at most, the deepest."""
    times = [call.path for call in calls]
    fit = {call.path: call for call in calls if times.count(call.path) == 1 and _is_map(call)}
    fit = {path: call for path, call in fit.items() if not isinstance(call.module, nn.AdaptiveAvgPool2d)}
    lists = [[fit[path] for path in paths if path in fit] for paths in _candidates(net)]
    stages = next((found for least in (2, 1) for found in lists if len(found) >= least), [])
    if not stages:
        raise ValueError(
            f"no stages were found in a {type(net).__name__}: name the modules that give them, stages=['layer1', 'layer2']"
        )
    kinds = {call.out.shape for call in stages}
    if len(kinds) == 1:  # transformers keep one size: four equal parts
        parts = min(MOST, len(stages))
        return [stages[len(stages) * (i + 1) // parts - 1] for i in range(parts)]
    last = {call.out.shape if len(kinds) <= MOST else call.out.shape[-2]: call for call in sorted(stages)}
    return sorted(last.values())[-MOST:]
