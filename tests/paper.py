"""The papers' equations in slow plain NumPy, float64, written from the page: what the fast code is held against."""

from __future__ import annotations

import math

import numpy as np


def softmax(z, tau=1.0):
    """DRG Eq. 1; BYOT's first equation."""
    out = np.zeros_like(z)
    for i in range(z.shape[0]):
        total = sum(math.exp(z[i, k] / tau) for k in range(z.shape[1]))
        for k in range(z.shape[1]):
            out[i, k] = math.exp(z[i, k] / tau) / total
    return out


def cross_entropy(z, y):
    """DRG Eq. 2 with the minus sign that the page lost, and without its 1/K; mean over the batch."""
    p, total = softmax(z), 0.0
    for i in range(len(y)):
        for k in range(z.shape[1]):
            total -= (1.0 if y[i] == k else 0.0) * math.log(p[i, k])
    return total / len(y)


def kl(target, student, tau):
    """DRG Eq. 4, KL(q, p) = sum q log(q / p), q the target; mean over the batch, without 1/K."""
    q, p, total = softmax(target, tau), softmax(student, tau), 0.0
    for i in range(len(q)):
        for k in range(q.shape[1]):
            total += q[i, k] * math.log(q[i, k] / p[i, k])
    return total / len(q)


def smoothed_cross_entropy(z, y, epsilon):
    """Szegedy et al. 2016, Sec. 7: (1 - eps) on the label, and eps / K on every class."""
    p, total, classes = softmax(z), 0.0, z.shape[1]
    for i in range(len(y)):
        for k in range(classes):
            label = (1 - epsilon) * (1.0 if y[i] == k else 0.0) + epsilon / classes
            total -= label * math.log(p[i, k])
    return total / len(y)


def kd(z, teacher, y, alpha, tau):
    """Hinton et al. 2015, Sec. 2: alpha T^2 KL + (1 - alpha) CE."""
    return {"task": (1 - alpha) * cross_entropy(z, y), "kd": alpha * tau**2 * kl(teacher, z, tau)}


def byot(exits, features, y, alpha, lam, tau, t_squared=False, deepest_alpha=False):
    """The loss slide. exits: logits of every classifier, shallow to deep; features likewise."""
    deepest, last = exits[-1], features[-1]
    terms = {"task": cross_entropy(deepest, y) * ((1 - alpha) if deepest_alpha else 1), "head ce": 0.0, "kd": 0.0, "hint": 0.0}
    for z, f in zip(exits[:-1], features[:-1], strict=True):
        terms["head ce"] += (1 - alpha) * cross_entropy(z, y)
        terms["kd"] += alpha * kl(deepest, z, tau) * (tau**2 if t_squared else 1)
        squares = sum((f[i, d] - last[i, d]) ** 2 for i in range(f.shape[0]) for d in range(f.shape[1]))
        terms["hint"] += lam * squares / f.shape[0]
    return terms


def drg(z, shallow, y, alpha, tau):
    """Eq. 8 to 10. shallow: the auxiliary classifiers' logits."""
    return {
        "task": cross_entropy(z, y),
        "shallow ce": sum(cross_entropy(s, y) for s in shallow),
        "rg": alpha * sum(tau**2 * kl(s, z, tau) for s in shallow),
    }


def dsr(z, previous, y, beta, tau):
    """Eq. 11 and 12: rows sorted ascending, paired by position with the batch before."""
    n = min(len(z), len(previous))
    ours = np.array([sorted(row) for row in z])[:n]
    before = np.array([sorted(row) for row in previous])[:n]
    return {"task": cross_entropy(z, y), "sr": beta * tau**2 * kl(before, ours, tau)}


def dlb(z, y, again, said, before, alpha, tau):
    """Shen et al. 2022, Eq. 4: CE over this batch and the last one's second view, KL from what was said of it then."""
    n = len(y) + len(before)
    task = (len(y) * cross_entropy(z, y) + len(before) * cross_entropy(again, before)) / n
    return {"task": task, "lb": alpha * tau**2 * kl(said, again, tau)}


def numeric_gradient(f, z, step=1e-6):
    """Central differences of f at z, one entry at a time."""
    out = np.zeros_like(z)
    for place in np.ndindex(*z.shape):
        up, down = z.copy(), z.copy()
        up[place] += step
        down[place] -= step
        out[place] = (f(up) - f(down)) / (2 * step)
    return out


def ps_kd(z, y, past, alpha, epoch, epochs):
    """Kim et al. 2021, Eq. 5 and 6: the label and last epoch's answer, mixed by alpha_t = alpha_T t / T. epoch from 0."""
    share, p, total = alpha * (epoch + 1) / epochs, softmax(z), 0.0
    for i in range(len(y)):
        for k in range(z.shape[1]):
            label = (1 - share) * (1.0 if y[i] == k else 0.0) + share * past[i, k]
            total -= label * math.log(p[i, k])
    return {"task": total / len(y)}


def mmd(a, b):
    """DDGSD Eq. 1: squared norm of the difference of the batch means."""
    total = 0.0
    for d in range(a.shape[1]):
        total += (sum(a[i, d] for i in range(len(a))) / len(a) - sum(b[i, d] for i in range(len(b))) / len(b)) ** 2
    return total


def ddgsd(za, zb, ha, hb, y, lam, mu, tau):
    """DDGSD Eq. 5. Inside a gradient check, hand the targets in apart: they are constant."""
    return {
        "task": cross_entropy(za, y) + cross_entropy(zb, y),
        "kl": lam * (kl(zb, za, tau) + kl(za, zb, tau)),
        "mmd": mu * mmd(ha, hb),
    }


def self_guidance(student, teacher, y, lam, tau):
    """Self-Guidance Eq. 5."""
    return {
        "task": cross_entropy(teacher, y),
        "student ce": cross_entropy(student, y),
        "kd": lam * tau**2 * kl(teacher, student, tau),
    }


def survival(blocks, last):
    """Linear decay, Huang et al. 2016 Eq. 4, for l = 1 ... L."""
    return [1 - place / blocks * (1 - last) for place in range(1, blocks + 1)]


def exact_emd(cost, a, b):
    """The transport problem as a linear program (SFR Sec. 3.2): least sum of cost x plan with marginals a and b."""
    from scipy.optimize import linprog

    m, n = cost.shape
    rows = []
    for i in range(m):
        rows.append([1.0 if k // n == i else 0.0 for k in range(m * n)])
    for j in range(n):
        rows.append([1.0 if k % n == j else 0.0 for k in range(m * n)])
    marginals = np.concatenate([a / a.sum(), b / b.sum()])  # the last row follows from the others: rounding must not contradict
    return linprog(cost.ravel(), A_eq=np.array(rows[:-1]), b_eq=marginals[:-1], method="highs").fun


def unit_cost(u, v):
    """Squared L2 between unit vectors, one pair at a time. u [M, C], v [N, C]."""
    out = np.zeros((len(u), len(v)))
    for i in range(len(u)):
        for j in range(len(v)):
            a, b = u[i] / math.sqrt(sum(u[i] ** 2)), v[j] / math.sqrt(sum(v[j] ** 2))
            out[i, j] = sum((a - b) ** 2)
    return out


def node_weights(u, v, floor=1e-3):
    """Cross-reference weights of u against v's mean (DeepEMD Eq. 5)."""
    mean = sum(v) / len(v)
    raw = [max(float(np.dot(row, mean)), 0.0) + floor for row in u]
    return np.array([w / sum(raw) for w in raw])


def attention(feature):
    """AT (2017), Eq. 2: squares averaged over channels, as a vector of unit length. [B, C, H, W] -> [B, H*W]."""
    b, c, h, w = feature.shape
    out = np.zeros((b, h * w))
    for i, y, x in np.ndindex(b, h, w):
        out[i, y * w + x] = sum(feature[i, k, y, x] ** 2 for k in range(c)) / c
    return np.array([row / math.sqrt(sum(v**2 for v in row)) for row in out])


def frskd(z, maps, taught, refined, y, alpha, beta, tau):
    """Ji et al. 2021, Sec. 3; the maps' distance as the released code has it. taught, refined: the self-teacher's."""
    apart = 0.0
    for mine, its in zip(maps, refined, strict=True):
        a, b = attention(mine), attention(its)
        apart += sum((a[i] - b[i]) ** 2 for i in np.ndindex(a.shape)) / a.size
    return {
        "task": cross_entropy(z, y),
        "self-teacher ce": cross_entropy(taught, y),
        "kd": alpha * tau**2 * kl(taught, z, tau),
        "maps": beta * apart,
    }


def resized(feature, h, w):
    """Each cell is the largest of the cells that it covers, or lies in. [B, C, H, W] -> [B, C, h, w], sizes multiples."""
    b, c, rows, columns = feature.shape
    out = np.full((b, c, h, w), -np.inf)
    for i, k, y, x in np.ndindex(b, c, max(h, rows), max(w, columns)):
        at = (i, k, y * h // max(h, rows), x * w // max(w, columns))
        out[at] = max(out[at], feature[i, k, y * rows // max(h, rows), x * columns // max(w, columns)])
    return out


def two_paths(lateral, down, up):
    """Ji et al. 2021, Sec. 3, without its convolutions: weighted means of maps. down, up: the weights of each sum."""
    top = [None] * len(lateral)
    top[-1] = lateral[-1]
    for s in reversed(range(len(lateral) - 1)):
        a, b = down[s]
        top[s] = (a * lateral[s] + b * resized(top[s + 1], *lateral[s].shape[2:])) / (a + b)
    refined = [top[0]]
    for s in range(1, len(lateral)):
        maps = [lateral[s], top[s]] if s < len(lateral) - 1 else [lateral[s]]
        maps.append(resized(refined[-1], *lateral[s].shape[2:]))
        refined.append(sum(w * m for w, m in zip(up[s - 1], maps, strict=True)) / sum(up[s - 1]))
    return refined


def pool(f, size):
    """Average pooling of [B, C, H, W] to [B, C, size, size] where size divides H."""
    b, c, h, _ = f.shape
    k, out = h // size, np.zeros((b, c, size, size))
    for i in range(size):
        for j in range(size):
            out[:, :, i, j] = f[:, :, i * k : (i + 1) * k, j * k : (j + 1) * k].mean((2, 3))
    return out


EPS = 1e-6  # of sdkit's variance, and 1e-5 of PyTorch's batch normalisation


def gaussian(s, t, log_variance=None):
    """Sec. 3.5: the mean over entries of (t - s)^2, or of (t - s)^2 / (eps + e^l) + l."""
    total = 0.0
    for k in np.ndindex(s.shape):
        if log_variance is None:
            total += (t[k] - s[k]) ** 2
        else:
            total += (t[k] - s[k]) ** 2 / (EPS + math.exp(log_variance[k])) + log_variance[k]
    return total / s.size
