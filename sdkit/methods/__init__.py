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
    "dlb": DLB,
    "ps-kd": PSKD,
}
"""A "+" between names trains them together: "drg+dsr"."""

__all__ = [
    "BYOT",
    "DLB",
    "DRG",
    "DSN",
    "DSR",
    "KD",
    "LSR",
    "METHODS",
    "PSKD",
    "SFR",
    "DDGSD",
    "Cut",
    "Exit",
    "Frozen",
    "Method",
    "SelfGuidance",
    "Together",
    "Vanilla",
]
