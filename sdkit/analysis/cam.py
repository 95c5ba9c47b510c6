"""Grad-CAM of any exit: where it looks, whether two exits look at the same place, and whether that is the object."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import ProgressBar, check_images, check_labels, checked, device_of, preserve_state


class HeatMaps(NamedTuple):
    """What each image's logit rests on."""

    map: Tensor  # [B, H, W] float32 in [0, 1], each image's own maximum is 1 (all 0 where nothing speaks for the class)
    target: Tensor  # [B] int64, the class explained


class OnObject(NamedTuple):
    """How much of a heat map lies on the object."""

    share: Tensor  # [B] of the map's mass
    chance: Tensor  # [B] what a uniform map would get: the object's share of the pixels


@checked
def grad_cam(
    network: nn.Module,
    x: Tensor,
    layer: nn.Module,
    targets: Tensor | None = None,
    batch_size: int = 64,
    progress: ProgressBar = iter,
) -> HeatMaps:
    """Heat maps of any exit by Grad-CAM (Selvaraju et al. 2017), upsampled to the image. Paper 004, Fig. 8.

    network: images -> logits. x [B, 3, H, W] normalised. layer: the part of the network whose maps are weighted, such as
    `last_convolution(head)` or a model's last stage. targets: [B] classes to explain; None explains the network's answer.
    """
    from ..vision import ensure

    ensure()  # grad-cam imports torchvision
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    check_images(x)
    if targets is not None:
        check_labels(targets, len(x))
    if all(m is not layer for m in network.modules()):
        raise ValueError(f"the {type(layer).__name__} to explain is no part of the network: hand in one of its own modules")
    maps, answers = [], []
    with preserve_state(network), torch.enable_grad():
        # Gradients are wanted at the layer's output and above, nowhere else: nothing below it is differentiated.
        network.requires_grad_(False)
        layer.requires_grad_(True)
        below = not any(True for _ in layer.parameters())
        cam = GradCAM(network, [layer])
        try:
            for i in progress(range(0, len(x), batch_size)):
                part = x[i : i + batch_size].detach().to(device_of(network)).requires_grad_(below)
                wanted = None if targets is None else targets[i : i + batch_size].tolist()
                maps.append(torch.from_numpy(_maps(cam, part, wanted and [ClassifierOutputTarget(t) for t in wanted])))
                answers += cam.outputs.argmax(1).tolist() if wanted is None else wanted
        finally:  # not the package's own `with`, which prints and swallows an IndexError
            cam.activations_and_grads.release()
    return HeatMaps(torch.cat(maps).float(), torch.tensor(answers))


def _maps(cam, x: Tensor, targets):
    """One batch through the package, its two obscure failures put in words."""
    cam.outputs = None
    try:
        return cam(x, targets)
    except (IndexError, RuntimeError) as error:
        if cam.outputs is None:  # the network itself failed
            raise
        if not cam.outputs.requires_grad:
            raise ValueError("these logits do not depend on the layer to explain: take one on the way to this exit") from error
        if isinstance(error, IndexError):
            classes = cam.outputs.shape[1]
            raise ValueError(f"targets are classes 0..{classes - 1}, got {max(t.category for t in targets)}") from error
        raise


@checked
def overlap(a: Tensor, b: Tensor, top: float = 0.2) -> Tensor:
    """Intersection over union of the `top` share of pixels of two maps. [B, H, W] x2 -> [B]. Paper 004, Fig. 8.

    Of equally hot pixels the first ones count. Two unrelated maps get about top / (2 - top): 0.11 at 0.2.

    Examples:
        >>> left = torch.tensor([[[9.0, 8.0, 0.0, 0.0]]])
        >>> overlap(left, left.flip(2), top=0.5).item()
        0.0
    """
    if a.shape != b.shape or a.ndim != 3:
        raise ValueError(f"overlap compares two sets of maps [B, H, W], got {list(a.shape)} and {list(b.shape)}")
    if not 0 < top <= 1:
        raise ValueError(f"top is a share of the pixels in (0, 1], got {top:g}")
    hot_a, hot_b = _hottest(a, top), _hottest(b, top)
    return (hot_a & hot_b).sum(1) / (hot_a | hot_b).sum(1)


@checked
def on_object(maps: Tensor, mask: Tensor) -> OnObject:
    """The share of each map's mass on the object, and what a uniform map gets. maps [B, H, W], mask [B, H, W] bool.

    A map that is 0 everywhere counts as uniform.
    """
    check_mask(maps, mask)
    maps, mask = maps.double().flatten(1), mask.double().flatten(1)
    chance, mass = mask.mean(1), maps.sum(1)
    share = torch.where(mass > 0, (maps * mask).sum(1) / mass.clamp_min(1e-300), chance)
    return OnObject(share.float(), chance.float())


def check_mask(maps: Tensor, mask: Tensor) -> None:
    """ValueError unless maps are [B, H, W] and the mask is bool and of their shape."""
    if maps.shape != mask.shape or maps.ndim != 3 or mask.dtype != torch.bool:
        raise ValueError(
            f"maps [B, H, W] go with a bool mask of their shape, got {list(maps.shape)} and {list(mask.shape)} of {mask.dtype}"
        )


def last_convolution(module: nn.Module) -> nn.Conv2d:
    """The deepest convolution of a head, a stage or a network, on the main path: a shortcut's projection does not count."""
    beside = {"skip", "downsample", "shortcut"}
    found = [m for name, m in module.named_modules() if isinstance(m, nn.Conv2d) and not beside & {*name.split(".")}]
    if not found:
        raise ValueError(f"{type(module).__name__} has no convolution to explain (a linear head has none): explain its stage")
    return found[-1]


def _hottest(maps: Tensor, top: float) -> Tensor:
    """[B, H, W] -> [B, H W] bool, exactly the same number of pixels in every map."""
    flat = maps.flatten(1)
    k = max(round(top * flat.shape[1]), 1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order[:, :k], True)
