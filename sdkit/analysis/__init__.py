"""Looking at trained networks: a network and tensors in, a named result out. Never trains, plots or prints.

Every analysis is seeded and leaves weights, buffers, modes, gradients and the global random generators as it found them,
also where it fails. Long ones take `progress`, a wrapper of an iterable such as `tqdm`.
"""

from __future__ import annotations

from collections.abc import Callable

from .ablation import AblationCurve, reliance, single_directions
from .base import Progress, untouched
from .calibration import Calibration, calibration
from .cam import HeatMaps, OnObject, grad_cam, last_convolution, on_object, overlap
from .cost import (
    ExitCost,
    Size,
    Timing,
    compare_times,
    count,
    exit_costs,
    forward_flops,
    host_syncs,
    operations,
    relative_time,
    time_per_iteration,
)
from .features import Projection, Separation, collect_features, project_pca, project_tsne, separation
from .gradients import GradientStatistics, gradient_statistics
from .hessian import Curvature, curvature
from .landscape import LossSlice, barrier, loss_between, loss_slice, sharpness
from .noise import NoiseCurve, noise_tolerance, tolerance
from .policy import FixedPolicy, PolicyCurve, dominates, fixed_policy, threshold_policy
from .ranked import SPACES, RankedAlong, RankedTop, pearson, ranked_along, ranked_output_variance, ranked_top
from .similarity import cka, procrustes

ANALYSES: dict[str, Callable] = {
    "ranked variance": ranked_output_variance,
    "ranked along training": ranked_along,
    "ranked top": ranked_top,
    "calibration": calibration,
    "weight noise": noise_tolerance,
    "loss slice": loss_slice,
    "loss between": loss_between,
    "curvature": curvature,
    "single directions": single_directions,
    "gradients": gradient_statistics,
    "features": collect_features,
    "pca": project_pca,
    "t-sne": project_tsne,
    "separation": separation,
    "cka": cka,
    "procrustes": procrustes,
    "grad-cam": grad_cam,
    "flops": forward_flops,
    "exit costs": exit_costs,
    "threshold policy": threshold_policy,
    "fixed policy": fixed_policy,
    "time": time_per_iteration,
}

ABOUT: dict[str, str] = {
    "ranked variance": "how much the sorted outputs differ between images (paper 004, Fig. 3)",
    "ranked along training": "ranked-output variance beside accuracy over the epochs, with Pearson's r (paper 004, Fig. 3)",
    "ranked top": "the largest probabilities of every image, the label's rank, entropy (paper 004, Fig. 5)",
    "calibration": "expected calibration error and reliability diagram",
    "weight noise": "accuracy and loss under Gaussian noise on the weights: how flat the minimum is (BYOT)",
    "loss slice": "the loss around a network along filter-normalised random directions (beside BYOT's noise test)",
    "loss between": "the loss on the straight line from one trained network to another",
    "curvature": "the Hessian's largest eigenvalues and its trace (beside BYOT's noise test)",
    "single directions": "accuracy while more and more feature maps are switched off (DDGSD, discussion)",
    "gradients": "mean size of the gradient in every convolution (BYOT)",
    "features": "the pooled features of every exit",
    "pca": "features on their first principal components (BYOT)",
    "t-sne": "features on a plane by t-SNE: openTSNE (FIt-SNE kept alive) or scikit-learn (paper 004, Fig. 9)",
    "separation": "SSE/SSB, silhouette and neighbour purity of the classes (BYOT)",
    "cka": "how alike two networks' features are, up to rotation and scale (beside Self-Guidance's Fig. 5)",
    "procrustes": "what no rotation takes away between two networks' features (beside Self-Guidance's Fig. 5)",
    "grad-cam": "heat maps of any exit, their overlap, their share on the object (paper 004, Fig. 8)",
    "flops": "FLOPs of a forward pass",
    "exit costs": "FLOPs, parameters, bytes and time of every exit (BYOT)",
    "threshold policy": "every image leaves at the first exit that is sure enough: accuracy and cost (BYOT)",
    "fixed policy": "accuracy and cost of every exit, taken for all images (BYOT)",
    "time": "seconds per iteration (paper 004, Fig. 4)",
}

__all__ = [
    "ABOUT",
    "ANALYSES",
    "SPACES",
    "AblationCurve",
    "Calibration",
    "Curvature",
    "ExitCost",
    "FixedPolicy",
    "GradientStatistics",
    "HeatMaps",
    "LossSlice",
    "NoiseCurve",
    "OnObject",
    "PolicyCurve",
    "Progress",
    "Projection",
    "RankedAlong",
    "RankedTop",
    "Separation",
    "Size",
    "Timing",
    "barrier",
    "calibration",
    "cka",
    "collect_features",
    "compare_times",
    "count",
    "curvature",
    "dominates",
    "exit_costs",
    "fixed_policy",
    "forward_flops",
    "grad_cam",
    "gradient_statistics",
    "host_syncs",
    "last_convolution",
    "loss_between",
    "loss_slice",
    "noise_tolerance",
    "on_object",
    "operations",
    "overlap",
    "pearson",
    "procrustes",
    "project_pca",
    "project_tsne",
    "ranked_along",
    "ranked_output_variance",
    "ranked_top",
    "relative_time",
    "reliance",
    "separation",
    "sharpness",
    "single_directions",
    "threshold_policy",
    "time_per_iteration",
    "tolerance",
    "untouched",
]
