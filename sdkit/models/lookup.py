"""From what a reader writes, a name, a module, a class or a function, to a `Backbone`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ..core import check_arguments, pick
from .backbone import Backbone
from .borrowed import LIBRARIES, library_network
from .zoo import MODELS

Network = str | nn.Module | Callable[..., nn.Module]
"""A name of MODELS, "timm:NAME" or "torchvision:NAME"; a network; a class of networks or a function that makes one."""

OF_ADAPT = ("stages", "classifier")
"""Options of `Backbone.adapt`, which every network takes that is none yet."""


def as_backbone(network: Network, num_classes: int, side: int = 32, **options: Any) -> Backbone:
    """Whatever names, is or makes a network, as a new Backbone for `num_classes`.

    A network that is handed in is copied with its weights, so that two runs share none; its last layer is new where it knows
    another number of classes. What makes one is called with `num_classes`, and with `side`, `img_size` or `image_size`, where
    its signature has them. What comes of it and is no Backbone is adapted: see `Backbone.adapt`.

    Args:
        network: A name of MODELS, "timm:NAME" or "torchvision:NAME"; an `nn.Module`; a class or a function.
        num_classes: K.
        side: Height and width of the images, in pixels.
        **options: The network's own, see `options_of`. pretrained=True fetches weights, which nothing else does.

    Returns:
        The network, its new weights drawn from the global generator.

    Raises:
        KeyError: No network or option has this name.
        TypeError: `network` is nothing of the above, or makes nothing of it.
        ValueError: The network cannot be adapted, or cannot be built so.
        ModuleNotFoundError: timm is not installed.
    """
    takes = options_of(network)
    if None not in takes:  # a function may take any name
        for name in options:
            pick(name, takes, f"option of the network {_called(network)}")
    made = network
    if not isinstance(network, nn.Module):
        make, parameters = _maker(network)
        given = {"num_classes": num_classes, "side": side, "img_size": side, "image_size": side}
        mine = {k: v for k, v in options.items() if k not in OF_ADAPT or k in parameters}
        made = make(**{k: v for k, v in given.items() if k in parameters} | check_arguments(make, mine, _called(network)))
        options = {k: v for k, v in options.items() if k not in mine}
    if not isinstance(made, nn.Module):
        raise TypeError(
            f"a network is an nn.Module, or a function that returns one: got a {type(made).__name__} of {network!r}"
        )
    if not isinstance(made, Backbone):
        return Backbone.adapt(made, num_classes=num_classes, side=side, **options)
    if options:
        raise ValueError(f"a {type(made).__name__} says itself what its stages are: leave out {', '.join(options)}")
    made = copy.deepcopy(made) if made is network else made
    if made.num_classes != num_classes:
        made.reset_classifier(num_classes)
    return made


def _called(network: Network) -> str:
    return network if isinstance(network, str) else getattr(network, "__name__", type(network).__name__)


def options_of(network: Network) -> dict[str | None, Any]:
    """The options that a network takes by name, with their defaults: what `as_backbone` hands in itself is left out.

    The default is `inspect.Parameter.empty` where there is none, or where a library chooses it by the network's name. A key
    None says that any other name is handed on too.
    """
    if isinstance(network, Backbone):
        return {}
    more: dict[str | None, Any] = {} if isinstance(network, str) and network in MODELS else dict.fromkeys(OF_ADAPT)
    if isinstance(network, nn.Module):
        return more
    parameters = _maker(network)[1]
    own = {p.name: p.default for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    own |= {None: None} if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else {}
    return {k: v for k, v in (more | own).items() if k not in ("num_classes", "side", "img_size", "image_size")}


def _maker(network: str | Callable[..., nn.Module]) -> tuple[Callable[..., nn.Module], dict[str, inspect.Parameter]]:
    """What makes the network, and the parameters by which it can be called."""
    if isinstance(network, str):
        library, colon, name = network.partition(":")
        if colon and library in LIBRARIES:
            return library_network(library, name)
        network = MODELS[pick(network, MODELS, "network")]
    if not callable(network):
        raise TypeError(
            "a network is a name, an nn.Module, or a class or a function that makes one from num_classes: "
            f"got a {type(network).__name__}, {network!r}"
        )
    return network, dict(inspect.signature(network).parameters)
