"""Every method by name. Yours need not be here: pass an instance to `fit`."""

from __future__ import annotations

from .base import Cut, Exit, Frozen, Method, Together, Vanilla
from .byot import BYOT, DSN
from .ddgsd import DDGSD
from .drg_dsr import DRG, DSR
from .kd import KD, LSR
from .self_guidance import SelfGuidance
from .selfkd import DLB, PSKD
from .sfr import SFR
from .sfr_teacher import AT, L2, SFRAT, SFRL2, FitNet, SFRFitNet

METHODS: dict[str, type[Method]] = {
    "vanilla": Vanilla,
    "lsr": LSR,
    "kd": KD,
    "byot": BYOT,
    "dsn": DSN,
    "ddgsd": DDGSD,
    "self-guidance": SelfGuidance,
    "drg": DRG,
    "dsr": DSR,
    "sfr": SFR,
    "l2": L2,
    "at": AT,
    "fitnet": FitNet,
    "sfr-l2": SFRL2,
    "sfr-at": SFRAT,
    "sfr-fitnet": SFRFitNet,
    "dlb": DLB,
    "ps-kd": PSKD,
}
"""A "+" between names trains them together: "drg+dsr"."""

__all__ = [
    "AT",
    "BYOT",
    "DLB",
    "DRG",
    "DSN",
    "DSR",
    "KD",
    "L2",
    "LSR",
    "METHODS",
    "PSKD",
    "SFR",
    "SFRAT",
    "SFRL2",
    "FitNet",
    "SFRFitNet",
    "DDGSD",
    "Cut",
    "Exit",
    "Frozen",
    "Method",
    "SelfGuidance",
    "Together",
    "Vanilla",
]
