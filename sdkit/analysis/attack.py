"""Adversarial examples: how far must every pixel move until a network errs (Goodfellow et al. 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import ProgressBar, check_classes, check_images, check_labels, checked, device_of, preserve_state, scores


class AttackCurve(NamedTuple):
    """What is left of a network's accuracy under attack."""

    epsilon: Tensor  # [S] how far each number of an image moves
    accuracy: Tensor  # [S] in [0, 1]
    loss: Tensor  # [S] mean cross entropy, nats
    silent: float  # share of the images whose gradient is 0 throughout, so that the attack cannot move them


@checked
def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    epsilons: Sequence[float],
    std: Sequence[float] | None = None,
    temperature: float = 1.0,
    batch_size: int = 256,
    progress: ProgressBar = iter,
) -> AttackCurve:
    """Accuracy under the fast gradient sign method, x + ε sign(∇_x CE(f(x), y)), for each ε: Goodfellow et al. 2015, Sec. 4.

    A network that was trained hot, as by defensive distillation, is so sure that the gradient vanishes in float32: the attack
    is then blind, not beaten. At the training's temperature it sees again (Carlini and Wagner 2016).

    Args:
        model: Images -> logits. Attacked in eval mode.
        x: [N, 3, H, W] normalised.
        y: [N].
        epsilons: 0 is the images as they are.
        std: What the images were divided by, a number a colour, `data.std`: ε is then in the unit of pixels in [0, 1], where
            8 / 255 is common. None: ε is in the unit of x.
        temperature: By which the attacker divides the logits.
        batch_size: Images a pass.
        progress: Wraps the sequence of epsilons.

    Returns:
        The curve, on the CPU. Attacked images are not cut to the range of pixels.

    Raises:
        ValueError: No epsilons, or one that is negative; a temperature that is not positive; no images, or other labels.

    References:
        Explaining and Harnessing Adversarial Examples. I. Goodfellow, J. Shlens and C. Szegedy, ICLR 2015.
        https://arxiv.org/abs/1412.6572
        Defensive Distillation is Not Robust to Adversarial Examples. N. Carlini and D. Wagner, 2016.
        https://arxiv.org/abs/1607.04311
    """
    check_images(x)
    check_labels(y, len(x))
    if not len(epsilons) or not all(0 <= e < math.inf for e in epsilons) or not temperature > 0:
        raise ValueError(f"an attack has finite epsilons >= 0 and a temperature > 0, got {list(epsilons)}, {temperature=}")
    unit = 1.0 if std is None else 1 / torch.tensor(std, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
    with preserve_state(model):
        parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
        sign = torch.cat([_slope(model, part, label, temperature).sign().to(x.device) for part, label in parts])
        with torch.no_grad():
            found = [scores(model, x + float(e) * unit * sign, y, batch_size) for e in progress(list(epsilons))]
    accuracy, loss = torch.tensor(found, dtype=torch.float64).T
    silent = 1 - float(sign.flatten(1).any(1).double().mean())
    return AttackCurve(torch.tensor([float(e) for e in epsilons], dtype=torch.float64), accuracy, loss, silent)


def _slope(model: nn.Module, x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """The gradient of the cross entropy at the images, as float32 has it where the network computes in float32."""
    with torch.enable_grad():
        x = x.detach().to(device_of(model)).requires_grad_()
        logits = model(x) / temperature
        check_classes(y, logits.shape[1])
        loss = F.cross_entropy(logits, y.to(x.device), reduction="sum")
        return torch.autograd.grad(loss, x)[0]
