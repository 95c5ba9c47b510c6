"""Every network by name, each a `Backbone`, and `as_backbone`, which makes one of any other network."""

from __future__ import annotations

from .adapt import Adapted
from .alexnet import alexnet
from .backbone import (
    Backbone,
    Head,
    PlainSum,
    Projection,
    Residual,
    convolutions,
    parameters,
    residuals,
    sampled,
    still_statistics,
)
from .densenet import densenet, densenet_121
from .embedded import embedded
from .googlenet import googlenet
from .lookup import Network, as_backbone, options_of
from .mobilenet import mobilenet_tiny, mobilenet_v2
from .preact import preact_resnet, wide_resnet
from .pyramid import pyramidnet
from .resnet import cifar_resnet, four_stage, imagenet_resnet, imagenet_resnext
from .resnext import cifar_resnext
from .shake import ShakeDrop, ShakeShake, shake_drop, shake_resnet, shakedrop_pyramidnet, shakedrop_resnet
from .vgg import vgg19_bn, vgg_tiny
from .zoo import ABOUT, MODELS

# for metric learning
MODELS["embedded"] = embedded
ABOUT["embedded"] = "any network of these with an embedding head of 512 numbers; backbone='resnet18', for example"

__all__ = [
    "ABOUT", "MODELS", "Adapted", "Backbone", "Head", "Network", "PlainSum", "Projection", "Residual", "ShakeDrop",
    "ShakeShake", "alexnet", "as_backbone", "cifar_resnet", "cifar_resnext", "convolutions", "densenet", "densenet_121",
    "embedded", "four_stage", "googlenet", "imagenet_resnet", "imagenet_resnext", "mobilenet_tiny", "mobilenet_v2",
    "options_of", "parameters", "preact_resnet", "pyramidnet", "residuals", "sampled", "shake_drop", "shake_resnet",
    "shakedrop_pyramidnet", "shakedrop_resnet", "still_statistics", "vgg19_bn", "vgg_tiny", "wide_resnet",
]  # fmt: skip
