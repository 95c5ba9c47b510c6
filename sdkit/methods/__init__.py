"""Every method by name. Yours need not be here: pass an instance to `fit`."""

from __future__ import annotations

from .adversarial import AIKD
from .attack import AdversarialDDGSD
from .base import EarlyExit, Exit, Frozen, Method, RankedTarget, TransportPlans, Vanilla
from .byot import BYOT, DSN
from .combined import Combined
from .ddgsd import DDGSD
from .drg_dsr import DRG, DSR
from .frskd import FRSKD
from .generations import (
    ATS,
    BAN,
    CTKD,
    Codistillation,
    Defensive,
    EMACopy,
    Ensemble,
    HighTemperature,
    LabelRefinery,
    MeanTeacher,
    SnapshotKD,
    TFKDSelf,
    born_again,
)
from .guidance import DropoutGuidance, MultiExit
from .information import CRD, VID
from .kd import KD, LSR
from .labels import OLS, ZFLS, TFKDReg
from .logits import DKD, LogitRegression
from .metric import Center, Contrastive, MultiSimilarity, SoftmaxTriplet, Triplet
from .nasty import NastyTeacher
from .online import DML, ONE, OKDDip
from .relations import CC, RKD, DarkRank
from .self_guidance import SelfGuidance
from .selfkd import CSKD, DLB, PSKD
from .selftraining import FewLabels, SelfTraining
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
    "frskd": FRSKD,
    "sfr": SFR,
    "l2": L2,
    "at": AT,
    "fitnet": FitNet,
    "sfr-l2": SFRL2,
    "sfr-at": SFRAT,
    "sfr-fitnet": SFRFitNet,
    "dlb": DLB,
    "ps-kd": PSKD,
    "cs-kd": CSKD,
    "zf-ls": ZFLS,
    "tf-kd-reg": TFKDReg,
    "tf-kd-self": TFKDSelf,
    "ai-kd": AIKD,
    "ols": OLS,
    "dml": DML,
    "one": ONE,
    "okddip": OKDDip,
    "codistillation": Codistillation,
    "mean-teacher": MeanTeacher,
    "ss-kd": SnapshotKD,
    "ban": BAN,
    "label-refinery": LabelRefinery,
    "ats": ATS,
    "ctkd": CTKD,
    "multi-exit": MultiExit,
    "dropout-guidance": DropoutGuidance,
    "defensive": Defensive,
    "hot": HighTemperature,
    "adversarial-ddgsd": AdversarialDDGSD,
    "nasty": NastyTeacher,
    "few-labels": FewLabels,
    "self-training": SelfTraining,
    "rkd": RKD,
    "cc": CC,
    "darkrank": DarkRank,
    "vid": VID,
    "crd": CRD,
    "dkd": DKD,
    "logits": LogitRegression,
    "triplet": Triplet,
    "softmax-triplet": SoftmaxTriplet,
    "multi-similarity": MultiSimilarity,
    "contrastive": Contrastive,
    "center": Center,
}
"""A "+" between names trains them together: "drg+dsr"."""

__all__ = [
    "AIKD",
    "AT",
    "ATS",
    "BAN",
    "BYOT",
    "CSKD",
    "CTKD",
    "Codistillation",
    "DML",
    "Center",
    "Contrastive",
    "Defensive",
    "DropoutGuidance",
    "HighTemperature",
    "MultiExit",
    "Ensemble",
    "LabelRefinery",
    "MeanTeacher",
    "MultiSimilarity",
    "OKDDip",
    "OLS",
    "RankedTarget",
    "TransportPlans",
    "ONE",
    "EMACopy",
    "SnapshotKD",
    "TFKDReg",
    "SoftmaxTriplet",
    "TFKDSelf",
    "Triplet",
    "ZFLS",
    "born_again",
    "CC",
    "CRD",
    "DKD",
    "DLB",
    "DRG",
    "DSN",
    "DSR",
    "FRSKD",
    "KD",
    "L2",
    "LSR",
    "METHODS",
    "PSKD",
    "RKD",
    "SFR",
    "SFRAT",
    "SFRL2",
    "VID",
    "DarkRank",
    "LogitRegression",
    "FitNet",
    "SFRFitNet",
    "AdversarialDDGSD",
    "DDGSD",
    "EarlyExit",
    "Exit",
    "FewLabels",
    "Frozen",
    "Method",
    "NastyTeacher",
    "SelfGuidance",
    "SelfTraining",
    "Combined",
    "Vanilla",
]
