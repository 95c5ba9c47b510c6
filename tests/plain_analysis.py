"""The analyses' definitions in slow plain NumPy, float64: what the fast code is held against."""

from __future__ import annotations

import math

import numpy as np


def softmax(z):
    return np.array([[math.exp(v) / sum(math.exp(u) for u in row) for v in row] for row in z])


def outputs_in(space, z):
    """Paper 004's "outputs" in its three readings."""
    if space == "probabilities":
        return softmax(z)
    if space == "standardised":
        return np.array([(row - row.mean()) / math.sqrt(((row - row.mean()) ** 2).mean()) for row in z])
    return np.array(z)


def ranked_variance(z, space):
    """Sort every row; variance over images at every rank; mean over ranks."""
    rows = [sorted(row) for row in outputs_in(space, z)]
    n, k = len(rows), len(rows[0])
    total = 0.0
    for rank in range(k):
        column = [row[rank] for row in rows]
        mean = sum(column) / n
        total += sum((v - mean) ** 2 for v in column) / n
    return total / k


def root_mean_squared_distance(z, space):
    """The released helper's form: distance of every ranked vector to the mean ranked vector."""
    rows = np.array([sorted(row) for row in outputs_in(space, z)])
    centre = rows.mean(0)
    return math.sqrt(sum(sum((v - c) ** 2 for v, c in zip(row, centre, strict=True)) for row in rows) / len(rows))


def pearson(a, b):
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    up = sum((x - ma) * (y - mb) for x, y in zip(a, b, strict=True))
    return up / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def calibration(z, y, bins):
    """ECE, MCE, cross entropy, Brier score, loop by loop. Bin b holds confidences in (b/bins, (b+1)/bins]."""
    p, n = softmax(z), len(y)
    ece = mce = 0.0
    for b in range(bins):
        inside = [i for i in range(n) if b / bins < max(p[i]) <= (b + 1) / bins]
        if inside:
            confidence = sum(max(p[i]) for i in inside) / len(inside)
            accuracy = sum(float(np.argmax(p[i]) == y[i]) for i in inside) / len(inside)
            ece += len(inside) / n * abs(accuracy - confidence)
            mce = max(mce, abs(accuracy - confidence))
    nll = -sum(math.log(p[i][y[i]]) for i in range(n)) / n
    brier = sum(sum((p[i][k] - (1.0 if k == y[i] else 0.0)) ** 2 for k in range(len(p[i]))) for i in range(n)) / n
    return ece, mce, nll, brier


def selective_risk(z, y):
    """Geifman et al. 2019, Eq. 1: the errors among the k surest, over k; their mean over k; the same with the errors last."""
    p = softmax(z)
    wrong = [float(np.argmax(row) != label) for row, label in zip(p, y, strict=True)]
    surest = sorted(range(len(y)), key=lambda i: -max(p[i]))
    risks = [[sum(wrong[i] for i in order[:k]) / k for k in range(1, len(y) + 1)]
             for order in (surest, sorted(surest, key=lambda i: wrong[i]))]  # fmt: skip
    return risks[0], sum(risks[0]) / len(y), sum(risks[1]) / len(y)


def separation(f, y, k):
    """SSE, SSB, silhouette and neighbour purity of the rows scaled to unit length."""
    f = np.array([row / math.sqrt(sum(row**2)) for row in np.asarray(f, dtype=float)])
    n, classes, overall = len(f), sorted(set(y)), f.mean(0)
    sse = ssb = 0.0
    for c in classes:
        own = f[[i for i in range(n) if y[i] == c]]
        centre = own.mean(0)
        sse += sum(((row - centre) ** 2).sum() for row in own) / n
        ssb += len(own) * ((centre - overall) ** 2).sum() / n
    distance = [[math.sqrt(((a - b) ** 2).sum()) for b in f] for a in f]
    silhouette, same = 0.0, 0
    for i in range(n):
        mean = {}
        for c in classes:
            others = [distance[i][j] for j in range(n) if y[j] == c and j != i]
            mean[c] = sum(others) / len(others)
        inside, outside = mean[y[i]], min(v for c, v in mean.items() if c != y[i])
        silhouette += (outside - inside) / max(inside, outside) / n
        nearest = sorted((j for j in range(n) if j != i), key=lambda j: distance[i][j])[:k]
        same += sum(y[j] == y[i] for j in nearest)
    return sse, ssb, silhouette, same / (n * k)


def stretch(image):
    """To [0, 1] by the image's own ends."""
    image = image - image.min()
    return image / image.max() if image.max() > 0 else image


def grad_cam(activation, gradient, size):
    """Selvaraju et al., Eq. 1 and 2, for one image: [C, h, w] x2 -> [size, size] in [0, 1]."""
    c, h, w = activation.shape
    alpha = [gradient[k].sum() / (h * w) for k in range(c)]
    cam = stretch(np.maximum(sum(alpha[k] * activation[k] for k in range(c)), 0))
    out = np.zeros((size, size))
    for i in range(size):  # bilinear, cell centres at half pixels, the border repeated
        for j in range(size):
            a = min(max((i + 0.5) * h / size - 0.5, 0), h - 1)
            b = min(max((j + 0.5) * w / size - 0.5, 0), w - 1)
            i0, j0 = int(a), int(b)
            i1, j1, u, v = min(i0 + 1, h - 1), min(j0 + 1, w - 1), a - int(a), b - int(b)
            top = (1 - v) * cam[i0, j0] + v * cam[i0, j1]
            bottom = (1 - v) * cam[i1, j0] + v * cam[i1, j1]
            out[i, j] = (1 - u) * top + u * bottom
    return stretch(out)


def top_pixels(image, k):
    """The k hottest pixels, of equally hot ones the first."""
    flat = image.flatten()
    return set(sorted(range(len(flat)), key=lambda i: (-flat[i], i))[:k])


def ablated_accuracy(pooled, w, b, y, off, mode):
    """Accuracy of the linear layer (w, b) on pooled maps [N, C] with the maps `off` held at 0 or at their mean."""
    right = 0
    for i in range(len(pooled)):
        z = [b[k] for k in range(len(b))]
        for c in range(pooled.shape[1]):
            held = sum(pooled[:, c]) / len(pooled) if mode == "mean" else 0.0
            for k in range(len(b)):
                z[k] += w[k][c] * (held if c in off else pooled[i][c])
        right += int(np.argmax(z) == y[i])
    return right / len(pooled)


def leave_early(logits, y, costs, threshold):
    """Accuracy, mean cost and share of every exit when each image leaves at the first exit that is sure enough."""
    probabilities, n = [softmax(z) for z in logits], len(y)
    right, cost, share = 0, 0.0, [0.0] * len(logits)
    for i in range(n):
        for e, p in enumerate(probabilities):
            if max(p[i]) >= threshold or e == len(logits) - 1:
                break
        right += int(np.argmax(logits[e][i]) == y[i])
        cost += costs[e] / n
        share[e] += 1 / n
    return right / n, cost, share


def cka(a, b):
    """HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the linear kernels (Kornblith et al. 2019, Eq. 2 and 3)."""
    n = len(a)
    h = np.eye(n) - 1 / n

    def hsic(k, m):
        return np.trace(k @ h @ m @ h) / (n - 1) ** 2

    k, m = a @ a.T, b @ b.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def procrustes_in_the_plane(a, b, steps=20000):
    """The least |A - B Q| over turns and mirrored turns, tried one by one; both centred and of norm 1."""
    a, b = a - a.mean(0), b - b.mean(0)
    a, b = a / math.sqrt((a**2).sum()), b / math.sqrt((b**2).sum())
    best = math.inf
    for s in range(steps):
        c, d = math.cos(2 * math.pi * s / steps), math.sin(2 * math.pi * s / steps)
        for q in (np.array([[c, d], [-d, c]]), np.array([[c, d], [d, -c]])):
            best = min(best, ((a - b @ q) ** 2).sum())
    return math.sqrt(best)
