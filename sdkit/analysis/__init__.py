"""Looking at trained networks: a network and tensors in, a named result out. Never trains, plots or prints.

Every analysis is seeded and leaves weights, buffers, modes, gradients and the global random generators as it found them,
also where it fails. Long ones take `progress`, a wrapper of an iterable such as `tqdm`.
"""

from __future__ import annotations

from collections.abc import Callable

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
from .noise import NoiseCurve, noise_tolerance, tolerance
from .ranked import SPACES, RankedAlong, RankedTop, pearson, ranked_along, ranked_output_variance, ranked_top

ANALYSES: dict[str, Callable] = {
    "ranked variance": ranked_output_variance,
    "ranked along training": ranked_along,
    "ranked top": ranked_top,
    "calibration": calibration,
    "weight noise": noise_tolerance,
    "gradients": gradient_statistics,
    "features": collect_features,
    "pca": project_pca,
    "t-sne": project_tsne,
    "separation": separation,
    "grad-cam": grad_cam,
    "flops": forward_flops,
    "exit costs": exit_costs,
    "time": time_per_iteration,
}

ABOUT: dict[str, str] = {
    "ranked variance": "how much the sorted outputs differ between images (paper 004, Fig. 3)",
    "ranked along training": "ranked-output variance beside accuracy over the epochs, with Pearson's r (paper 004, Fig. 3)",
    "ranked top": "the largest probabilities of every image, the label's rank, entropy (paper 004, Fig. 5)",
    "calibration": "expected calibration error and reliability diagram",
    "weight noise": "accuracy and loss under Gaussian noise on the weights: how flat the minimum is (BYOT)",
    "gradients": "mean size of the gradient in every convolution (BYOT)",
    "features": "the pooled features of every exit",
    "pca": "features on their first principal components (BYOT)",
    "t-sne": "features on a plane by t-SNE: openTSNE (FIt-SNE kept alive) or scikit-learn (paper 004, Fig. 9)",
    "separation": "SSE/SSB, silhouette and neighbour purity of the classes (BYOT)",
    "grad-cam": "heat maps of any exit, their overlap, their share on the object (paper 004, Fig. 8)",
    "flops": "FLOPs of a forward pass",
    "exit costs": "FLOPs, parameters, bytes and time of every exit (BYOT)",
    "time": "seconds per iteration (paper 004, Fig. 4)",
}

__all__ = [
    "ABOUT",
    "ANALYSES",
    "SPACES",
    "Calibration",
    "ExitCost",
    "GradientStatistics",
    "HeatMaps",
    "NoiseCurve",
    "OnObject",
    "Progress",
    "Projection",
    "RankedAlong",
    "RankedTop",
    "Separation",
    "Size",
    "Timing",
    "calibration",
    "collect_features",
    "compare_times",
    "count",
    "exit_costs",
    "forward_flops",
    "grad_cam",
    "gradient_statistics",
    "host_syncs",
    "last_convolution",
    "noise_tolerance",
    "on_object",
    "operations",
    "overlap",
    "pearson",
    "project_pca",
    "project_tsne",
    "ranked_along",
    "ranked_output_variance",
    "ranked_top",
    "relative_time",
    "separation",
    "time_per_iteration",
    "tolerance",
    "untouched",
]
