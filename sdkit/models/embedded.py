"""Any network with an embedding head: what metric learning deploys is a vector of a chosen size."""

from __future__ import annotations

from typing import Any

from .backbone import Backbone
from .lookup import as_backbone
from .options import network


@network
def embedded(
    num_classes: int,
    backbone: str = "four-stage",
    dim: int = 512,
    backbone_options: dict[str, Any] | None = None,
    side: int = 32,
) -> Backbone:
    """A network whose embedding is `dim` numbers of a linear layer instead of what its own classifier reads.

    Two networks of one `dim` can then be compared number by number, whatever their widths, as paper 000's L2 does in its
    Table 3. The paper names no size: 512 is common. Only this layer and the classifier are new.

    Args:
        num_classes: K.
        backbone: A name of MODELS, "timm:NAME" or "torchvision:NAME".
        dim: D, from 1.
        backbone_options: The backbone's own options, such as {"stem": "imagenet", "pretrained": True}.
        side: Height and width of the images, in pixels: see `as_backbone`.

    Raises:
        ValueError: `dim` is no whole number from 1, or the backbone has such a head already.
    """
    if backbone == "embedded":
        raise ValueError("an embedding head is put on a network of another name: backbone='resnet18', for example")
    if isinstance(dim, bool) or not isinstance(dim, int | float) or dim < 1 or dim != int(dim):
        raise ValueError(f"dim is how many numbers an embedding has, a whole number from 1, got {dim!r}")
    net = as_backbone(backbone, num_classes, side, **(backbone_options or {}))
    net.reset_classifier(num_classes, int(dim))
    return net
