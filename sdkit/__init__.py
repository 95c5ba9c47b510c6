"""sdkit: see self-distillation work."""

from __future__ import annotations

from .vision import ensure

ensure()  # `import torchvision` works beside any torch, whoever imports it

__version__ = "0.2.0"
