"""Sliders and live panels. Only notebooks import this room."""

from .app import App
from .explorer import Explorer
from .inspector import LossInspector
from .panel import TrainingPanel
from .viewers import CamViewer, FeatureViewer, NoiseViewer, RankedViewer

__all__ = ["App", "CamViewer", "Explorer", "FeatureViewer", "LossInspector", "NoiseViewer", "RankedViewer", "TrainingPanel"]
