"""One exit of a trained network as a network of its own."""

from __future__ import annotations

from torch import Tensor, nn

from ..models import Head
from .base import Method


class Exit(nn.Module):
    """One exit of a trained network as a network of its own: images in, logits out. What analyses and Grad-CAM take."""

    def __init__(self, model: nn.Module, method: Method, name: str = "final") -> None:
        super().__init__()
        self.model, self.method, self.name = model, method, name

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, K] of this exit."""
        exits = self.method.exits(self.model.forward_features(x), x)
        if self.name not in exits:
            raise KeyError(f"this run has no exit {self.name!r}: it has {', '.join(exits)}")
        return exits[self.name]


class EarlyExit(nn.Module):
    """A network that ends at one of its exits: what is behind it is not computed. For deployment at a given cost."""

    def __init__(self, model: nn.Module, head: Head) -> None:
        super().__init__()
        self.front, self.head = nn.Sequential(model.stem, *model.stages[: head.stage + 1]), head

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, K]."""
        return self.head(self.front(x))[0]
