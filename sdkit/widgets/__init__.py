"""Sliders and live panels. Only notebooks and `sdkit app` import this room."""

from .app import App
from .cam import CamViewer
from .explorer import Explorer
from .features import FeatureViewer
from .inspector import LossInspector
from .noise import NoiseViewer
from .panel import TrainingPanel
from .ranked import RankedViewer

__all__ = ["App", "CamViewer", "Explorer", "FeatureViewer", "LossInspector", "NoiseViewer", "RankedViewer", "TrainingPanel"]
