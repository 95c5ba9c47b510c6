"""Any network with an embedding head: what metric learning deploys is a vector of a chosen size."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from ..core import pick
from .backbone import Backbone


def embedded(
    num_classes: int, backbone: str = "four-stage", dim: int = 512, backbone_options: dict[str, Any] | None = None
) -> Backbone:
    """A network of MODELS whose embedding is `dim` numbers of a linear layer instead of what its own classifier reads.

    Two networks of one `dim` can then be compared number by number, whatever their widths, as paper 000's L2 does in its
    Table 3. The paper names no size: 512 is common. backbone: a name of MODELS. backbone_options: its own options, such as
    {"stem": "imagenet", "pretrained": True}; only this layer and the classifier are then new.
    """
    from . import MODELS

    if pick(backbone, MODELS, "network") == "embedded":
        raise ValueError("an embedding head is put on a network of another name: backbone='resnet18', for example")
    if isinstance(dim, bool) or not isinstance(dim, int | float) or dim < 1 or dim != int(dim):
        raise ValueError(f"dim is how many numbers an embedding has, a whole number from 1, got {dim!r}")
    given = backbone_options or {}
    for name in given:
        pick(name, [p for p in inspect.signature(MODELS[backbone]).parameters if p != "num_classes"], f"option of {backbone}")
    net = MODELS[backbone](num_classes=num_classes, **given)
    head = nn.Linear(net.classifier.in_features, int(dim))
    return Backbone(
        net.stem, net.stages, nn.Sequential(net.neck, head), nn.Linear(int(dim), num_classes), net.channels, net.strides
    )
