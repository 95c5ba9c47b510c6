"""Looking at trained networks: a network and tensors in, a named result out. Never trains, plots or prints.

Every analysis is seeded and leaves weights, buffers, modes, gradients and the global random generators as it found them,
also where it fails. Long ones take `progress`, a wrapper of an iterable such as `tqdm`.
"""

from __future__ import annotations

from collections.abc import Callable

from .ablation import AblationCurve, reliance, single_directions
from .attack import AttackCurve, fgsm
from .base import ProgressBar, preserve_state
from .calibration import Calibration, SelectiveRisk, calibration, selective_risk
from .cam import HeatMaps, OnObject, grad_cam, last_convolution, on_object, overlap
from .cost import (
    ExitCost,
    Size,
    StepCost,
    Timing,
    compare_times,
    count,
    exit_costs,
    flop_counter,
    forward_flops,
    host_syncs,
    operations,
    relative_time,
    step_costs,
    step_counts,
    time_per_iteration,
)
from .factors import Found, SeenByTwo, factors, seen_by_two
from .features import Projection, Separation, collect_features, project_pca, project_tsne, separation
from .gradients import GradientStatistics, gradient_statistics
from .hessian import Curvature, curvature
from .landscape import LossSlice, barrier, loss_between, loss_slice, sharpness
from .noise import NoiseCurve, NoiseLevel, noise_level, noise_step, noise_tolerance, noisy_logits, tolerance
from .policy import FixedPolicy, PolicyCurve, dominates, fixed_policy, threshold_policy
from .ranked import SPACES, RankedAlong, RankedTop, pearson, ranked_along, ranked_output_variance, ranked_top
from .retrieval import Retrieval, retrieve
from .seeds import Interval, bootstrap
from .shares import INERT, SOFT, SWAMPS, TermShares, mark, percent, shares_now, term_shares
from .similarity import cka, procrustes
from .viewers import (
    Answers,
    RankedProfile,
    answers,
    chance_overlap,
    layer_to_explain,
    mask_iou,
    nearest,
    of_classes,
    overlaps,
    project,
    project_epochs,
    ranked_profile,
    reach,
    separation_of,
)

ANALYSES: dict[str, Callable] = {
    "ranked variance": ranked_output_variance,
    "ranked along training": ranked_along,
    "ranked top": ranked_top,
    "calibration": calibration,
    "selective risk": selective_risk,
    "weight noise": noise_tolerance,
    "fgsm": fgsm,
    "loss slice": loss_slice,
    "loss between": loss_between,
    "curvature": curvature,
    "single directions": single_directions,
    "gradients": gradient_statistics,
    "term shares": term_shares,
    "features": collect_features,
    "pca": project_pca,
    "t-sne": project_tsne,
    "separation": separation,
    "factors": factors,
    "retrieval": retrieve,
    "cka": cka,
    "procrustes": procrustes,
    "grad-cam": grad_cam,
    "flops": forward_flops,
    "exit costs": exit_costs,
    "threshold policy": threshold_policy,
    "fixed policy": fixed_policy,
    "time": time_per_iteration,
}
"""`sdkit list` prints these names, each with the first line of its docstring."""

__all__ = [
    "ANALYSES", "AblationCurve", "Answers", "AttackCurve", "Calibration", "Curvature", "ExitCost", "FixedPolicy", "Found",
    "GradientStatistics", "HeatMaps", "INERT", "Interval", "LossSlice", "NoiseCurve", "NoiseLevel", "OnObject",
    "PolicyCurve", "ProgressBar", "Projection", "RankedAlong", "RankedProfile", "RankedTop", "Retrieval", "SOFT", "SPACES",
    "SWAMPS", "SeenByTwo", "SelectiveRisk", "Separation", "Size", "StepCost", "TermShares", "Timing", "answers", "barrier",
    "bootstrap", "calibration", "chance_overlap", "cka", "collect_features", "compare_times", "count", "curvature",
    "dominates", "exit_costs", "factors", "fgsm", "fixed_policy", "flop_counter", "forward_flops", "grad_cam",
    "gradient_statistics", "host_syncs", "last_convolution", "layer_to_explain", "loss_between", "loss_slice", "mark",
    "mask_iou", "nearest", "noise_level", "noise_step", "noise_tolerance", "noisy_logits", "of_classes", "on_object",
    "operations", "overlap", "overlaps", "pearson", "percent", "preserve_state", "procrustes", "project", "project_epochs",
    "project_pca", "project_tsne", "ranked_along", "ranked_output_variance", "ranked_profile", "ranked_top", "reach",
    "relative_time", "reliance", "retrieve", "seen_by_two", "selective_risk", "separation", "separation_of", "shares_now",
    "sharpness", "single_directions", "step_costs", "step_counts", "term_shares", "threshold_policy", "time_per_iteration",
    "tolerance",
]  # fmt: skip
