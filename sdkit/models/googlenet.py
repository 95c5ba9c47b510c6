"""GoogLeNet (Szegedy et al. 2015) as torchvision has it, with batch norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .backbone import Backbone
from .borrowed import from_torchvision
from .options import network


class Recentre(nn.Module):
    """ImageNet's mean and deviation -> a mean and a deviation of 0.5, which torchvision's weights were trained on."""

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.register_buffer("scale", (std / 0.5).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((mean - 0.5) / 0.5).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


@network
def googlenet(num_classes: int, dropout: float = 0.2, pretrained: bool = False) -> Backbone:
    """torchvision's GoogLeNet for 224 px, in four stages: the convolutions, then inceptions 3, 4 and 5.

    Its two auxiliary classifiers are left out: `Head` gives a stage one. dropout: probability, before the classifier.
    pretrained: ImageNet weights, see `from_torchvision`; they expect images normalised with ImageNet's mean and deviation.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a probability in [0, 1), got {dropout}")
    options = {} if pretrained else {"aux_logits": False, "init_weights": True}
    net = from_torchvision("googlenet", num_classes, pretrained, **options)
    stem = nn.Sequential(*([Recentre()] if net.transform_input else []), net.conv1, net.maxpool1)
    stages = [
        nn.Sequential(net.conv2, net.conv3),
        nn.Sequential(net.maxpool2, net.inception3a, net.inception3b),
        nn.Sequential(net.maxpool3, net.inception4a, net.inception4b, net.inception4c, net.inception4d, net.inception4e),
        nn.Sequential(net.maxpool4, net.inception5a, net.inception5b),
    ]
    neck = nn.Sequential(net.avgpool, nn.Flatten(), nn.Dropout(dropout))
    return Backbone(stem, stages, neck, net.fc, (192, 480, 832, 1024), (4, 8, 16, 32))
