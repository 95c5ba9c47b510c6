"""Sliders and live panels. Only notebooks import this room."""

from .panel import TrainingPanel

__all__ = ["TrainingPanel"]
