"""Sliders and live panels. Only notebooks import this room."""

from .app import App
from .bench import LossBench
from .explorer import Explorer
from .panel import TrainingPanel
from .viewers import CamViewer, FeatureViewer, NoiseViewer, RankedViewer

__all__ = ["App", "CamViewer", "Explorer", "FeatureViewer", "LossBench", "NoiseViewer", "RankedViewer", "TrainingPanel"]
