"""Notebook 02's exercises, solved as a student would."""

import torch.nn.functional as F


def both_labels(logits, y):
    z_a, z_b = logits.split(len(y))
    return F.cross_entropy(z_a, y) + F.cross_entropy(z_b, y)


def agreement(z_a, z_b, temperature):
    log_a, log_b = (z_a / temperature).log_softmax(1), (z_b / temperature).log_softmax(1)
    b_teaches = F.kl_div(log_a, log_b.detach(), reduction="batchmean", log_target=True)
    a_teaches = F.kl_div(log_b, log_a.detach(), reduction="batchmean", log_target=True)
    return b_teaches + a_teaches


def mean_discrepancy(h_a, h_b):
    return (h_a.mean(0) - h_b.mean(0)).square().sum()


def printed_gradient(z_a, z_b, temperature):
    p_a, p_b = (z_a / temperature).softmax(1), (z_b / temperature).softmax(1)
    return (p_a - p_b) / (len(z_a) * temperature)


def ddgsd_loss(logits, features, y, lam, mu, temperature):
    (z_a, z_b), (h_a, h_b) = logits.split(len(y)), features.split(len(y))
    return both_labels(logits, y) + lam * agreement(z_a, z_b, temperature) + mu * mean_discrepancy(h_a, h_b)


CHANGES = {"MyDDGSD": ('{"task": task,', '{"task": task / 2,')}
