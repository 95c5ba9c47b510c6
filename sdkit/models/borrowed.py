"""Networks that torchvision and timm have: built by their own code, with their weights on request."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import typing
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from ..core import Sentence
from ..vision import ensure

LIBRARIES = ("timm", "torchvision")

Stem = Literal["cifar", "imagenet"]


def library_network(library: str, name: str) -> tuple[Callable[..., nn.Module], dict[str, inspect.Parameter]]:
    """What makes the library's network `name`, and the options that its class has defaults for.

    KeyError where the library has none of this name, ModuleNotFoundError where timm is not installed.
    """
    if importlib.util.find_spec(library) is None:
        raise ModuleNotFoundError(
            f"{library}:{name} is one of {library}'s networks, and {library} is not installed: "
            f"pip install {library} (it is the extra {library!r} of pyproject.toml)"
        )
    ensure()
    if library == "timm":
        import timm

        known, arch, find, make = timm.list_models(), name.partition(".")[0], timm.models.model_entrypoint, from_timm
    else:
        from torchvision import models

        known, arch, find, make = models.list_models(module=models), name, models.get_model_builder, from_torchvision
    if arch not in known:
        near = " or ".join(f"'{library}:{n}'" for n in difflib.get_close_matches(arch, known, n=2, cutoff=0.4))
        hint = f"did you mean {near}? " if near else ""
        raise KeyError(Sentence(f"{library} has no network {name!r}: {hint}`{library}.list_models()` names all"))
    # Builders take any keyword: what the network's class takes is what they hand on.
    kind = typing.get_type_hints(find(arch)).get("return", nn.Module)
    parameters = {p.name: p.replace(default=p.empty) for p in inspect.signature(kind).parameters.values()}
    parameters |= {k: p for k, p in inspect.signature(make).parameters.items() if k not in ("name", "options")}
    return partial(make, name), {k: p for k, p in parameters.items() if k != "in_chans"}


def from_timm(name: str, num_classes: int, pretrained: bool = False, **options: Any) -> nn.Module:
    """timm's network `name`: random weights or, with pretrained, those that timm has for it, downloaded once.

    ConnectionError where these are neither on disk nor to be fetched.
    """
    import timm

    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
    except (OSError, RuntimeError) as failure:
        if not pretrained:
            raise
        raise ConnectionError(
            f"pretrained=True needs timm's weights of {name}, and fetching them failed ({failure}): go online once, with "
            "huggingface_hub installed"
        ) from failure


def from_torchvision(name: str, num_classes: int, pretrained: bool = False, **options: Any) -> nn.Module:
    """torchvision's network `name` with `options`: random weights or, with pretrained, its first ImageNet weights.

    These are IMAGENET1K_V1, downloaded once. For other than ImageNet's 1000 classes the last layer is new.
    ConnectionError where the weights are neither on disk nor to be fetched.
    """
    from torchvision import models

    build = getattr(models, name)
    if not pretrained:
        net = build(num_classes=num_classes, **options)
    else:
        weights = models.get_model_weights(name).IMAGENET1K_V1
        try:
            net = build(weights=weights, progress=False, **options)
        except OSError as failure:
            raise ConnectionError(
                f"pretrained=True needs torchvision's weights of {name}, and fetching them failed ({failure}): "
                f"go online once, or put {weights.url} into {torch.hub.get_dir()}/checkpoints"
            ) from failure
        place, last = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
        if last.out_features != num_classes:
            net.set_submodule(place, nn.Linear(last.in_features, num_classes))
    for module in net.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # a map that was read, or what a hook looks at, must stay as it is
    return net


def stem_size(stem: str, pretrained: bool = False) -> int:
    """How many pixels a cell of the first stage stands for, per side: 1 with CIFAR's stem, 4 with ImageNet's."""
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"the stem is 'cifar' (32 px) or 'imagenet' (224 px), got {stem!r}")
    if pretrained and stem == "cifar":
        raise ValueError("pretrained weights belong to ImageNet's stem: say stem='imagenet', or pretrained=False")
    return 1 if stem == "cifar" else 4
