"""Features of every exit: two-dimensional views, and numbers for how well the classes are separated (BYOT's PCA and SSE/SSB,
paper 004's FIt-SNE)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import ProgressBar, check_images, check_labels, checked, preserve_state

ENGINES = ("openTSNE", "openTSNE-fft", "sklearn")


class Projection(NamedTuple):
    """Features on a plane."""

    points: Tensor  # [N, dim] float32
    engine: str  # what drew it, for the caption
    explained: Tensor | None  # [dim] each axis' share of the variance, where the axes are principal components


class Separation(NamedTuple):
    """How tight the classes are and how far apart, on features of unit length."""

    sse: float  # mean squared distance to the class's centre
    ssb: float  # mean squared distance of the class's centre to the centre of all
    ratio: float  # sse / ssb: lower is better separated
    silhouette: float  # in [-1, 1], mean over the images
    knn_purity: float  # share of an image's k nearest neighbours that are of its class


@checked
def collect_features(
    features: Callable[[Tensor], dict[str, Tensor]],
    x: Tensor,
    batch_size: int = 512,
    modules: Iterable[nn.Module] = (),
    progress: ProgressBar = iter,
) -> dict[str, Tensor]:
    """Every exit's pooled features of all images, in batches. x [N, 3, H, W] -> {exit: [N, D]} on the CPU.

    features: x [B, 3, H, W] -> {exit: [B, D]}, for example `lambda x: method.features(model.forward_features(x))`.
    modules: the networks behind it (model and method): in eval mode for the pass, and left as found.
    """
    check_images(x)
    modules = [*modules, *([features] if isinstance(features, nn.Module) else [])]
    parts: dict[str, list[Tensor]] = {}
    with torch.no_grad(), preserve_state(*modules):
        for part in progress(x.split(batch_size)):
            for name, f in features(part).items():
                parts.setdefault(name, []).append(f.float().cpu())
    return {name: torch.cat(fs) for name, fs in parts.items()}


@checked
def project_pca(features: Tensor, dim: int = 2, seed: int = 0) -> Projection:
    """The first `dim` principal components. features [N, D] -> [N, dim]. BYOT's PCA figure."""
    from sklearn.decomposition import PCA

    _check(features)
    if not 1 <= dim <= min(features.shape):
        raise ValueError(f"{list(features.shape)} features have 1 to {min(features.shape)} principal components, got dim={dim}")
    pca = PCA(dim, svd_solver="full", random_state=seed)
    points = pca.fit_transform(features.double().cpu().numpy())
    explained = torch.from_numpy(pca.explained_variance_ratio_).float()
    return Projection(torch.from_numpy(points).float(), "PCA (scikit-learn)", explained)


@checked
def project_tsne(
    features: Tensor, engine: str = "openTSNE", perplexity: float = 30, seed: int = 0, progress: ProgressBar = iter
) -> Projection:
    """t-SNE onto the plane. features [N, D] -> [N, 2]. Paper 004, Fig. 9.

    Starts from the first 50 principal components where there are more.
    engine: "openTSNE" (Barnes-Hut, the fast one below 10,000 points), "openTSNE-fft" (the paper's FIt-SNE, whose maintained
    form openTSNE is) or "sklearn" (Barnes-Hut; shows no progress).
    """
    _check(features)
    if engine not in ENGINES:
        raise ValueError(f"t-SNE is drawn by {', '.join(map(repr, ENGINES))}, got {engine!r}")
    if not 1 <= perplexity <= (len(features) - 1) / 3:
        raise ValueError(
            f"a perplexity of {perplexity:g} needs at least {int(3 * perplexity) + 1} points, got {len(features)}: "
            f"take more images or a perplexity of at most {(len(features) - 1) / 3:g}"
        )
    x = project_pca(features, 50, seed).points if min(features.shape) > 50 else features
    data = x.double().cpu().numpy()
    if engine == "sklearn":
        from sklearn.manifold import TSNE

        points = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(data)
        return Projection(torch.from_numpy(points).float(), "t-SNE (scikit-learn, Barnes-Hut)", None)
    try:
        from openTSNE import TSNE
    except ImportError as error:
        raise ImportError("this t-SNE needs openTSNE: pip install openTSNE, or choose engine='sklearn'") from error
    fft = engine == "openTSNE-fft"
    ticks = iter(progress(range(30)))  # one every 25 of 250 + 500 iterations
    embedding = TSNE(
        2,
        perplexity=perplexity,
        initialization="pca",
        random_state=seed,
        negative_gradient_method="fft" if fft else "bh",
        neighbors="exact" if len(data) <= 5000 else "approx",
        early_exaggeration_iter=250,
        n_iter=500,
        callbacks=lambda *_: next(ticks, None) is None,
        callbacks_every_iters=25,
    ).fit(data)
    next(ticks, None)  # lets a progress bar close
    points = torch.tensor(embedding.tolist(), dtype=torch.float32)
    return Projection(points, f"t-SNE (openTSNE, {'FFT: FIt-SNE' if fft else 'Barnes-Hut'})", None)


@checked
def separation(features: Tensor, y: Tensor, k: int = 10) -> Separation:
    """Within- and between-class scatter, silhouette and neighbour purity of L2-normalised features. BYOT's SSE/SSB table.

    SSE = 1/n sum_k sum_{x in k} |f - c_k|^2, SSB = 1/n sum_k n_k |c_k - c|^2, with c_k the class means and c the mean of all.
    features [N, D], y [N]; k neighbours, cosine distance. In float64.
    """
    from sklearn.metrics import silhouette_score

    _check(features)
    check_labels(y, len(features))
    f = F.normalize(features.double(), dim=1).cpu()
    _, label, size = y.cpu().unique(return_inverse=True, return_counts=True)
    if not 2 <= len(size) < len(f):
        raise ValueError(f"separation needs two or more classes and more images than that, got {len(size)} in {len(f)} images")
    if not 1 <= k < len(f):
        raise ValueError(f"k neighbours of {len(f)} images: k is 1 to {len(f) - 1}, got {k}")
    centre = torch.zeros(len(size), f.shape[1], dtype=torch.float64).index_add_(0, label, f) / size[:, None]
    sse = float((f - centre[label]).square().sum(1).mean())
    ssb = float((size * (centre - f.mean(0)).square().sum(1)).sum() / len(f))
    same = 0
    for rows in torch.arange(len(f)).split(1024):
        near = f[rows] @ f.T
        near[torch.arange(len(rows)), rows] = -torch.inf  # nobody is their own neighbour
        same += int((label[near.topk(k, 1).indices] == label[rows, None]).sum())
    return Separation(
        sse, ssb, sse / ssb if ssb else float("inf"), float(silhouette_score(f.numpy(), label.numpy())), same / (k * len(f))
    )


def _check(features: Tensor) -> None:
    if features.ndim != 2 or len(features) < 3:
        raise ValueError(f"features are [N, D] with N >= 3, got {list(features.shape)}: pool maps, take more images")
