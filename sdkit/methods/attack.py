"""An adversarial example as the second view of an image, which paper 001 suggests for future work."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core import Batch, Knob
from ..models import Backbone, still_statistics
from .base import supervised
from .ddgsd import DDGSD
from .online import check_int


def attacked(model: Backbone, batch: Batch, epsilon: float, steps: int = 1) -> Tensor:
    """x + ε sign(∇_x CE(f(x), y)): images that the network gets wrong more often (Goodfellow et al. 2015, Sec. 4).

    The network is asked in the mode it is in; its batch norms' running statistics and its gradients stay as they are.

    Args:
        model: The network.
        batch: Its images and labels.
        epsilon: How far each number may move, in the unit of the normalised images.
        steps: More than one: ε / steps each time, from where the last one led (Kurakin et al. 2017).

    Returns:
        Images [B, 3, H, W] without gradient. They are not cut to the range of pixels.
    """
    x, forward_features = batch.x, type(model).forward_features  # the network's own pass, not one that is held still
    with torch.enable_grad(), still_statistics(model):
        for _ in range(steps):
            x = x.detach().requires_grad_()
            supervised(forward_features(model, x).logits, batch).backward(inputs=[x])
            x = x + epsilon / steps * x.grad.sign()  # type: ignore[union-attr]
    return x.detach()


class AdversarialDDGSD(DDGSD):
    """DDGSD whose second distortion is an attack: an image and its adversarial example teach each other (paper 001, Sec. 5).

    L = CE_a + CE_b + λ [KL(p_b || p_a) + KL(p_a || p_b)] + μ |mean h(x_a) - mean h(x_b)|^2
    x_b = x_a + ε sign(∇_x CE(f(x_a), y))   (Goodfellow et al. 2015, Sec. 4)

    Costs two passes, and a third with its way back to the image for every step of the attack. Memory: none beyond the step's.
    Helps against small changes made on purpose, and costs some accuracy on images as they are.

    lam, mu, temperature: as in DDGSD. epsilon: how far the attack moves each number of the normalised image. 0 is the image
    twice; 0.5 is some 30 grey levels. Ours is 0.1. steps: of the attack, ε / steps each; 1 is the fast gradient sign method.
    Our readings: the attack is on the labels' cross entropy alone; the two views go one by one, for the second needs the first.

    References:
        Explaining and Harnessing Adversarial Examples. I. Goodfellow, J. Shlens and C. Szegedy, ICLR 2015.
        https://arxiv.org/abs/1412.6572
    """

    reads_labels = True
    pair = None  # type: ignore[assignment]  # DDGSD asks the loader for a second view; this one makes it
    knobs = DDGSD.knobs | {"epsilon": Knob("ε", 0, 0.5, "the image twice", "the example is another picture")}

    def __init__(
        self,
        model,
        *,
        lam: float = 1.0,
        mu: float = 5e-4,
        temperature: float | None = None,
        epsilon: float = 0.1,
        steps: int = 1,
    ) -> None:
        super().__init__(model, lam=lam, mu=mu, temperature=temperature, one_pass=False)
        self.epsilon, self.steps = epsilon, check_int("steps", steps, 1)

    def terms(self, model, out, batch, progress):
        return super().terms(model, out, batch._replace(pair=attacked(model, batch, self.epsilon, self.steps)), progress)
