"""sdkit: see self-distillation work."""

from __future__ import annotations

import os

from .vision import ensure

# Two busy processes on the same cores slow each other sixfold while OpenMP's idle threads spin; read before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ensure()  # `import torchvision` works beside any torch, whoever imports it

__version__ = "0.1.0"
