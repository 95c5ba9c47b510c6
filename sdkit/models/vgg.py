"""VGG with batch norms (Simonyan and Zisserman 2015). A stage ends with its pooling: BYOT's exits stand after pools 2 to 5."""

from __future__ import annotations

from torch import nn

from .backbone import AtLeast, Backbone, initialise, pooled, small_stem, unit
from .borrowed import Stem, from_torchvision, stem_size
from .options import network


@network
def vgg19_bn(num_classes: int, stem: Stem = "cifar", pretrained: bool = False) -> Backbone:
    """VGG-19 with batch norms: five rows of convolutions, the first of them the stem.

    stem: "imagenet" is torchvision's with its three linear layers and dropout (224 px); "cifar" pools and has one linear layer
    (32 px). For the rest they are the same.
    pretrained: ImageNet weights, see `from_torchvision`.
    """
    stem_size(stem, pretrained)
    if stem == "cifar":
        rows, c_in = [], 3
        for c, n in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
            rows.append(row_of_convolutions(c_in, c, n))
            c_in = c
        neck, classifier = pooled(), nn.Linear(512, num_classes)
    else:
        net, rows = from_torchvision("vgg19_bn", num_classes, pretrained), [[]]
        for layer in net.features:
            rows[-1].append(layer)
            if isinstance(layer, nn.MaxPool2d):
                rows.append([])
        rows.pop()
        rows[0].insert(0, AtLeast(32, "VGG-19"))
        neck, classifier = nn.Sequential(net.avgpool, nn.Flatten(), *net.classifier[:-1]), net.classifier[-1]
    first, *stages = (nn.Sequential(*row) for row in rows)
    model = Backbone(first, stages, neck, classifier, (128, 256, 512, 512), (4, 8, 16, 32))
    if stem == "cifar":
        initialise(model)
    return model


@network
def vgg_tiny(num_classes: int, width: int = 16) -> Backbone:
    """VGG's outline for a laptop: a convolution, and four stages of one or two with pooling, `width` to 8 times that."""
    if width < 4:
        raise ValueError(f"the tiny VGG needs width >= 4, got {width}")
    widths = [width * 2**s for s in range(4)]
    stages = [nn.Sequential(*row_of_convolutions(max(c // 2, width), c, 1 + (s > 1))) for s, c in enumerate(widths)]
    model = Backbone(small_stem(width), stages, pooled(), nn.Linear(widths[-1], num_classes), widths, (2, 4, 8, 16))
    initialise(model)
    return model


def row_of_convolutions(c_in: int, c: int, n: int) -> list[nn.Module]:
    """n 3x3 convolutions, each with a batch norm and a ReLU, and max pooling to half the size, rounded up for small images."""
    return [*unit(c_in, c, 3), *(layer for _ in range(n - 1) for layer in unit(c, c, 3)), nn.MaxPool2d(2, ceil_mode=True)]
