"""Stem, stages, neck, classifier: the one shape that every network of the zoo has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..core import Features


class Backbone(nn.Module):
    """A classifier whose features may be tapped.

    `model(x)` is logits, as everywhere; `model.forward_features(x)` is the same pass with its features kept.

    channels: width of each stage's output; strides: how many input pixels one of its cells stands for, per side.
    """

    adapted: ClassVar[Callable[..., Backbone]]
    """What `adapt` makes: `adapt.Adapted`, which is written on this class and sets it."""

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        neck: nn.Module,
        classifier: nn.Linear,
        channels: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        super().__init__()
        self.stem, self.stages, self.neck, self.classifier = stem, nn.ModuleList(stages), neck, classifier
        self.channels, self.strides = tuple(channels), tuple(strides)
        self.num_classes = classifier.out_features
        self.captures_blocks = False  # whether `forward_features` gives every residual block's map too

    def forward_features(self, x: Tensor) -> Features:
        """[B, 3, H, W] -> logits, embedding and every stage's map."""
        x, stages = self.stem(x), []
        with captured(residuals(self.stages) if self.captures_blocks else ()) as blocks:
            for stage in self.stages:
                x = stage(x)
                stages.append(x)
        embedding = self.neck(x)
        logits = full_precision(self.classifier(embedding))
        return Features(logits, full_precision(embedding), tuple(stages), tuple(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, K]."""
        return self.forward_features(x).logits

    @classmethod
    def adapt(
        cls,
        module: nn.Module,
        stages: Sequence[str | nn.Module] | None = None,
        classifier: str | nn.Module | None = None,
        num_classes: int | None = None,
        side: int = 32,
    ) -> Backbone:
        """A copy of any classifier as a Backbone: its stages are found, their sizes measured on two images.

        `model.stem` and `model.neck` raise a TypeError: the copy runs by the module's own `forward`, as a whole.

        Args:
            module: Images [B, 3, H, W] -> logits [B, K] of an `nn.Linear`. It stays as it is.
            stages: The modules whose outputs are the maps, by dotted name ("layer1", "blocks.5") or themselves. They give maps
                [B, C, H, W] or [B, H, W, C], tokens [B, N, C] or vectors [B, D]. None finds up to four.
            classifier: The linear layer that gives the logits and whose input is the embedding. None: the last that runs.
            num_classes: K. Another number than the module's makes a new last layer. None: the module's.
            side: Height and width of the images that it is tried on, in pixels.

        Returns:
            A Backbone whose weights are the module's, under "net.".

        Raises:
            ValueError: The module takes no such images, ends otherwise, or no stages are found.
            KeyError: It has no module of such a name.

        Examples:
            >>> layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
            >>> model = Backbone.adapt(nn.Sequential(*layers), stages=["1"])
            >>> model.channels, model.forward_features(torch.zeros(2, 3, 32, 32)).logits.shape
            ((8,), torch.Size([2, 10]))
        """
        return cls.adapted(module, stages, classifier, num_classes, side)

    def sampled_parameters(self) -> list[nn.Parameter]:
        """The weights that a training pass may leave out: what an optimiser moves on by momentum and decay all the same."""
        return [p for block in residuals(self) for p in block.sampled_parameters()]

    def reset_classifier(self, num_classes: int, dim: int | None = None) -> None:
        """A new last layer, for `num_classes`. dim: size of an embedding put before it, a linear layer too; None: as it is."""
        embedding, last = self._new_layers(num_classes, dim)
        self.neck = self.neck if dim is None else nn.Sequential(self.neck, embedding)
        self.classifier = last

    def _new_layers(self, num_classes: int, dim: int | None) -> tuple[nn.Module, nn.Linear]:
        old, self.num_classes = self.classifier, num_classes
        like = {"device": old.weight.device, "dtype": old.weight.dtype}
        embedding = nn.Identity() if dim is None else nn.Linear(old.in_features, dim, **like)
        return embedding, nn.Linear(dim or old.in_features, num_classes, bias=old.bias is not None, **like)


def constant(module: nn.Module, but: str | None = None) -> nn.Module:
    """The same module, its weights now buffers, written in place by whoever means to: no optimiser finds them, checkpoints do.

    but: the part, by name, whose weights go on learning.
    """
    for name, p in list(module.named_parameters(remove_duplicate=False)):
        if name.partition(".")[0] != but:
            place, _, last = name.rpartition(".")
            owner = module.get_submodule(place)
            del owner._parameters[last]
            owner.register_buffer(last, p.detach().clone())
    return module


class Projection(nn.Conv2d):
    """A 1x1 convolution with a stride and no bias. Of few channels it is one of every stride-th pixel, which is the same.

    On a CPU, oneDNN's own weight gradient of such a convolution writes past its memory where there are fewer channels than its
    block has, 8 with AVX2 and 16 with AVX-512: github.com/uxlfoundation/oneDNN/issues/6035.
    """

    few = 16  # channels below which the pixels are taken first, whatever the processor: so all sum in the same order

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__(c_in, c_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C_out, H / stride, W / stride]."""
        if self.in_channels >= self.few:
            return super().forward(x)
        (down, across) = self.stride
        return nn.functional.conv2d(x[:, :, ::down, ::across], self.weight)


class Residual(nn.Module):
    """relu(branch(x) + skip(x)); with survival p < 1, stochastic depth (Huang et al. 2016; paper 002, Eq. 3 and 4).

    A pass that samples drops the branch with probability 1 - p, for the whole batch and without computing it, and does
    not rescale it otherwise (Eq. 3). Any other pass scales the branch by p (Eq. 4): so does evaluation. A branch that was
    dropped has the gradient 0: its weights go on by momentum and decay, as in the code of Huang et al.
    """

    def __init__(self, branch: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.branch, self.skip = branch, skip
        self.survival = 1.0
        self.samples = True  # in training; a method may take this over, see `sampled`
        self.forced: bool | None = None  # whether the branch is on, whatever the draw

    def forward(self, x: Tensor) -> Tensor:
        if self.forced is False or (
            self.forced is None and self.survival < 1 and self.samples and self.training and torch.rand(()) >= self.survival
        ):
            return self.after(self.skip(x))
        whole = self.forced is None and self.survival < 1 and not (self.samples and self.training)
        branch = self.branch(x)
        return self.after((self.survival * branch if whole else branch) + self.skip(x))

    def after(self, x: Tensor) -> Tensor:
        """What follows the sum."""
        return x.relu()

    def sampled_parameters(self) -> list[nn.Parameter]:
        """The weights of its branch, where a pass may leave it out."""
        return [p for p in self.branch.parameters() if self.survival < 1 and p.requires_grad]


class PlainSum(Residual):
    """branch(x) + skip(x), nothing after the sum: blocks with pre-activation, PyramidNet's, MobileNetV2's."""

    def after(self, x: Tensor) -> Tensor:
        return x


def residuals(model: nn.Module) -> list[Residual]:
    """Every residual block, shallow to deep."""
    return [m for m in model.modules() if isinstance(m, Residual)]


def linear_survival(model: nn.Module, last: float) -> None:
    """p_l = 1 - l / L (1 - p_L) for l = 1 ... L: the shallow blocks nearly always stay (Huang et al. 2016, Eq. 4)."""
    if not 0 < last <= 1:
        raise ValueError(f"survival is the last block's probability to stay, in (0, 1], got {last}")
    blocks = residuals(model)
    for place, block in enumerate(blocks, 1):
        block.survival = 1 - place / len(blocks) * (1 - last)


@contextlib.contextmanager
def captured(blocks: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Within, the list that it gives fills with what these blocks put out, in the order in which a pass meets them."""
    maps: list[Tensor] = []
    handles = [block.register_forward_hook(lambda _, __, out: maps.append(out)) for block in blocks]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def sampled(model: nn.Module, mask: Sequence[bool] | None = None) -> Iterator[None]:
    """Within, passes of a training network sample their blocks; with `mask` [L] they compute exactly those that it names."""
    blocks = residuals(model)
    if mask is not None and len(mask) != len(blocks):
        raise ValueError(f"this network has {len(blocks)} residual blocks and the mask {len(mask)} entries")
    before = [(b.samples, b.forced) for b in blocks]
    for place, block in enumerate(blocks):
        block.samples, block.forced = True, None if mask is None else bool(mask[place])
    try:
        yield
    finally:
        for block, (samples, forced) in zip(blocks, before, strict=True):
            block.samples, block.forced = samples, forced


@contextlib.contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """Within, batch norms use the batch's statistics and leave the running ones as they are."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    before = [n.momentum for n in norms]
    for n in norms:
        n.momentum = 0.0
    try:
        yield
    finally:
        for n, momentum in zip(norms, before, strict=True):
            n.momentum = momentum


def pooled() -> nn.Sequential:
    """[B, C, H, W] -> [B, C]: global average pooling."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def small_stem(width: int) -> nn.Sequential:
    """One 3x3 convolution at full size, for images of 32 pixels."""
    return nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def sections_of(
    rows: Sequence[Sequence[nn.Module]], widths: Sequence[Sequence[int]], sections: int, tail: Sequence[nn.Module] = ()
) -> tuple[list[nn.Sequential], list[int], list[int]]:
    """Three rows of blocks, each but the first halving the map -> stages, channels and strides of a `Backbone`.

    widths: what comes out of each block. tail: what follows the last block.
    sections: how many stages are shown. 3 are the rows; 4 shows the last row in its middle too, so that BYOT has its four
    exits (our reading of BYOT's Table 1). The network computes the same.
    """
    if sections not in (3, 4):
        raise ValueError(f"a network of 3 stages is tapped after each, or after 4 sections, got sections={sections}")
    rows, widths, strides = [*rows], [*widths], [1, 2, 4]
    if sections == 4:
        last, wide = rows.pop(), widths.pop()
        if len(last) < 2:
            raise ValueError("4 sections halve the last stage, and it has one block here: take a greater depth")
        half = (len(last) + 1) // 2
        rows += [last[:half], last[half:]]
        widths, strides = [*widths, wide[:half], wide[half:]], [*strides, 4]
    rows[-1] = [*rows[-1], *tail]
    return [nn.Sequential(*row) for row in rows], [w[-1] for w in widths], strides


class AtLeast(nn.Module):
    """Passes images on and refuses those too small for the network, which would otherwise fail deep inside it."""

    def __init__(self, size: int, network: str) -> None:
        super().__init__()
        self.size, self.network = size, network

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.size:
            h, w = x.shape[2:]
            raise ValueError(f"{self.network} needs images of at least {self.size}x{self.size}, got {h}x{w}: resize them")
        return x


def full_precision(x: Tensor) -> Tensor:
    """Logits or features for a loss: bfloat16 and float16, as autocast leaves them, become float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class Head(nn.Module):
    """An auxiliary classifier on a stage: to the embedding's width, then pool and classify.

    kind: "bottleneck" is the public port of BYOT: 1x1 conv to a quarter of the last stage's width, a k x k conv with
    stride k, 1x1 conv to the embedding's width (the last stage's, where nothing but pooling stands between). "separable"
    is the released code of BYOT's journal version and of DRG: a gate, then depthwise-separable convs, each halving the
    map. "linear" is global pooling and one linear layer.
    """

    def __init__(self, model: Backbone, stage: int, kind: str = "bottleneck") -> None:
        super().__init__()
        if not 0 <= stage < len(model.channels) - 1:
            raise ValueError(
                f"an auxiliary classifier sits on a stage before the last, 0 to {len(model.channels) - 2} here, got {stage}"
            )
        c, last, width = model.channels[stage], model.channels[-1], model.classifier.in_features
        k = max(model.strides[-1] // model.strides[stage], 1)
        if kind == "bottleneck":
            layers = [*unit(c, last // 4, 1), *unit(last // 4, last // 4, k, stride=k), *unit(last // 4, width, 1)]
        elif kind == "separable":
            layers = [Gate(c)]
            for _ in range(max(k.bit_length() - 1, 1)):
                layers += separable(c, c * 2 if c * 2 <= last else last)
                c = min(c * 2, last)
            if c != width:
                layers += unit(c, width, 1)
        elif kind == "linear":
            layers, width = [], c
        else:
            raise ValueError(f"an auxiliary classifier is 'bottleneck', 'separable' or 'linear', got {kind!r}")
        self.stage, self.kind, self.least = stage, kind, k if kind == "bottleneck" else 1
        self.features, self.pool = nn.Sequential(*layers), pooled()
        self.classifier = nn.Linear(width, model.num_classes)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C_s, H_s, W_s] -> logits [B, K], pooled features [B, D]; "linear": [B, C_s]."""
        down, right = (max(self.least - size, 0) for size in feature.shape[2:])
        if down or right:  # a map smaller than the k x k convolution
            feature = nn.functional.pad(feature, (0, right, 0, down), mode="replicate")
        f = self.pool(self.features(feature))
        return full_precision(self.classifier(f)), full_precision(f)


def unit(c_in: int, c_out: int, k: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, batch normalisation, ReLU; k > 1 with stride 1 is padded to keep the size."""
    pad = k // 2 if stride == 1 else 0
    return [nn.Conv2d(c_in, c_out, k, stride, pad, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]


def separable(c_in: int, c_out: int) -> list[nn.Module]:
    """Two depthwise-separable convolutions, the first of them halving the map (BYOT's journal code, DRG's adapter)."""

    def half(a: int, b: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(a, a, 3, stride, 1, groups=a, bias=False),
            nn.Conv2d(a, b, 1, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
        ]

    return half(c_in, c_in, 2) + half(c_in, c_out, 1)


class Gate(nn.Module):
    """Spatial attention of a separable head: the map times a mask in (0, 1) computed at half its size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mask = nn.Sequential(
            *separable(channels, channels), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask(x)
        if mask.shape[2:] != x.shape[2:]:  # odd or tiny maps
            mask = nn.functional.interpolate(mask, size=x.shape[2:], mode="nearest")
        return x * mask


def parameters(module: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Every convolution by name, shallow to deep."""
    return ((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d))


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """He normal (fan out) for convolutions, 1 and 0 for batch norms; linear layers keep PyTorch's own."""
    for m in model.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(m, nn.BatchNorm2d):
            nn.init.ones_(m.weight)
            nn.init.zeros_(m.bias)
