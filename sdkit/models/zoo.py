"""The networks of the five papers and small ones for laptops, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .alexnet import alexnet
from .backbone import Backbone
from .densenet import densenet, densenet_121
from .googlenet import googlenet
from .mobilenet import mobilenet_tiny, mobilenet_v2
from .preact import preact_resnet, wide_resnet
from .pyramid import pyramidnet
from .resnet import cifar_resnet, four_stage, imagenet_resnet, imagenet_resnext
from .resnext import cifar_resnext
from .shake import shake_resnet, shakedrop_pyramidnet, shakedrop_resnet
from .vgg import vgg19_bn, vgg_tiny

MODELS: dict[str, Callable[..., Backbone]] = {
    # for laptops
    "four-stage": four_stage,
    **{f"resnet{d}": partial(cifar_resnet, d) for d in (8, 14)},
    "vgg-tiny": vgg_tiny,
    "densenet-tiny": partial(densenet, 16, growth=8),
    "mobilenet-tiny": mobilenet_tiny,
    # for 32 px
    **{f"resnet{d}": partial(cifar_resnet, d) for d in (20, 32, 56, 110)},
    "resnet50-basic": partial(cifar_resnet, 50),
    "resnet110-bottleneck": partial(cifar_resnet, 110, block="bottleneck"),
    **{f"preact-resnet{d}": partial(preact_resnet, d) for d in (18, 34)},
    **{f"wrn-{d}-{k}": partial(wide_resnet, d, widen=k) for d, k in ((40, 4), (16, 8), (28, 10), (28, 12))},
    **{f"wide-resnet{d}-8": partial(cifar_resnet, d, width=128) for d in (20, 44)},
    "resnext29-8": partial(cifar_resnext, 29),
    **{f"densenet-{d}": partial(densenet, d) for d in (40, 100)},
    "pyramidnet101-240": partial(pyramidnet, 101),
    "shake-resnet26": partial(shake_resnet, 26),
    "shakedrop-resnet20": partial(shakedrop_resnet, 20),
    "shakedrop-pyramidnet101-240": partial(shakedrop_pyramidnet, 101),
    # with either stem
    **{f"resnet{d}": partial(imagenet_resnet, d) for d in (18, 34, 50, 101, 152)},
    "resnext50-32x4d": imagenet_resnext,
    "densenet-121": densenet_121,
    "vgg19-bn": vgg19_bn,
    "mobilenet-v2": mobilenet_v2,
    # for 224 px
    "alexnet": alexnet,
    "googlenet": googlenet,
}

ABOUT: dict[str, str] = {
    "four-stage": "four stages of one basic block, 8 to 64 wide: the laptop's network",
    **{f"resnet{d}": f"CIFAR ResNet-{d}, {d // 6} block{'s' * (d > 8)} in each of three stages: for laptops" for d in (8, 14)},
    "vgg-tiny": "VGG's outline, 16 to 128 wide, for laptops",
    "densenet-tiny": "DenseNet-16 of growth 8, for laptops",
    "mobilenet-tiny": "MobileNetV2's outline, 16 to 128 wide, for laptops",
    "resnet20": "CIFAR ResNet-20, three stages of basic blocks (He et al. 2016)",
    "resnet32": "CIFAR ResNet-32, 0.47M (papers 001 and 002)",
    "resnet56": "CIFAR ResNet-56, three stages of basic blocks (He et al. 2016)",
    "resnet110": "CIFAR ResNet-110 of basic blocks, 1.73M (paper 001)",
    "resnet50-basic": "CIFAR ResNet-50 of 24 basic blocks, 0.76M (paper 002, its ResNet-50)",
    "resnet110-bottleneck": "CIFAR ResNet-110 of 36 bottleneck blocks, 1.15M (paper 002, its ResNet-110)",
    **{f"preact-resnet{d}": f"pre-activation ResNet-{d}, four stages (paper 001)" for d in (18, 34)},
    **{f"wrn-{d}-{k}": f"wide ResNet, depth {d}, {k} times as wide (paper 001)" for d, k in ((40, 4), (16, 8), (28, 10))},
    "wrn-28-12": "wide ResNet, depth 28, 12 times as wide (paper 003, its WideResNet28-12)",
    **{f"wide-resnet{d}-8": f"CIFAR ResNet-{d}, 8 times as wide (paper 003, its WideResNet{d}-8)" for d in (20, 44)},
    "resnext29-8": "ResNeXt-29, 8x64d, three stages (paper 003)",
    "densenet-40": "DenseNet-40 of growth 12, 1.0M (paper 001)",
    "densenet-100": "DenseNet-100 of growth 12, 7.0M (paper 001)",
    "pyramidnet101-240": "PyramidNet-101 of bottleneck blocks, widening by 240 (paper 003)",
    "shake-resnet26": "Shake-Shake ResNet-26 2x32d, 2.9M, two branches a block mixed at random (named by paper 002)",
    "shakedrop-resnet20": "CIFAR ResNet-20 whose branches are shaken and dropped (ShakeDrop, named by paper 002)",
    "shakedrop-pyramidnet101-240": "PyramidNet-101 of bottleneck blocks with ShakeDrop (named by paper 002)",
    "resnet18": "ResNet-18, four stages; stem='cifar' (default) or 'imagenet' (papers 000, 001, 003 and 004)",
    "resnet34": "ResNet-34, four stages; stem='cifar' (default) or 'imagenet' (paper 000, a teacher)",
    "resnet50": "ResNet-50, four stages; stem='cifar' (default) or 'imagenet' (papers 000, 003 and 004)",
    "resnet101": "ResNet-101, four stages; stem='cifar' (default) or 'imagenet' (papers 003 and 004)",
    "resnet152": "ResNet-152, four stages; stem='cifar' (default) or 'imagenet' (paper 003)",
    "resnext50-32x4d": "ResNeXt-50, 32x4d; stem='cifar' (default) or 'imagenet' (paper 004)",
    "densenet-121": "DenseNet-121; stem='cifar' (default) or 'imagenet' (paper 004)",
    "vgg19-bn": "VGG-19 with batch norms; stem='cifar' (default) or 'imagenet' (paper 003)",
    "mobilenet-v2": "MobileNetV2; stem='cifar' (default) or 'imagenet' (paper 000, a student)",
    "alexnet": "AlexNet for 224 or 227 px, 61M (paper 001)",
    "googlenet": "GoogLeNet for 224 px (paper 000, the teacher on CUB)",
}
