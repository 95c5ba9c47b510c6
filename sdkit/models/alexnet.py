"""AlexNet (Krizhevsky 2014's single column, as torchvision has it)."""

from __future__ import annotations

from torch import nn

from .backbone import AtLeast, Backbone
from .borrowed import from_torchvision
from .options import network


@network
def alexnet(num_classes: int, dropout: float = 0.5, pretrained: bool = False) -> Backbone:
    """torchvision's AlexNet for 224 or 227 px, in four stages: convolution 1, 2, 3 with 4, and 5; pools after 1, 2 and 5.

    The embedding is what the last linear layer reads, 4096 numbers. dropout: probability, before each of the first two.
    pretrained: ImageNet weights, see `from_torchvision`.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a probability in [0, 1), got {dropout}")
    net = from_torchvision("alexnet", num_classes, pretrained)
    *before, classifier = net.classifier
    for layer in before:
        if isinstance(layer, nn.Dropout):
            layer.p = dropout
    stages = [net.features[a:b] for a, b in ((0, 3), (3, 6), (6, 10), (10, 13))]
    neck = nn.Sequential(net.avgpool, nn.Flatten(), *before)
    return Backbone(AtLeast(63, "AlexNet"), stages, neck, classifier, (64, 192, 256, 256), (8, 16, 16, 32))
