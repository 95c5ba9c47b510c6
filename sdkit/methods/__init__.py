"""Every method by name. Yours need not be here: pass an instance to `fit`."""

from __future__ import annotations

from .base import Exit, Frozen, Method, Together, Vanilla
from .byot import BYOT, DSN
from .drg_dsr import DRG, DSR
from .kd import KD, LSR
from .selfkd import DLB

METHODS: dict[str, type[Method]] = {
    "vanilla": Vanilla,
    "lsr": LSR,
    "kd": KD,
    "byot": BYOT,
    "dsn": DSN,
    "drg": DRG,
    "dsr": DSR,
    "dlb": DLB,
}
"""A "+" between names trains them together: "drg+dsr"."""

__all__ = ["BYOT", "DLB", "DRG", "DSN", "DSR", "KD", "LSR", "METHODS", "Exit", "Frozen", "Method", "Together", "Vanilla"]
