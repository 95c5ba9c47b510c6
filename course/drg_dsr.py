"""Notebook 04's exercises, solved as a student would."""

import torch
import torch.nn.functional as F


def guidance(logits, shallow_logits, tau):
    student = (logits / tau).log_softmax(1)
    teacher = (shallow_logits.detach() / tau).softmax(1)
    return tau**2 * F.kl_div(student, teacher, reduction="batchmean")


def drg_loss(logits, shallow_logits, y, alpha, tau):
    labels = F.cross_entropy(logits, y) + F.cross_entropy(shallow_logits, y)
    return labels + alpha * guidance(logits, shallow_logits, tau)


def uniform_guidance(logits, tau):
    return guidance(logits, torch.zeros_like(logits), tau)


def ranked(logits):
    return logits.sort(1).values


def shape_kl(logits, before, tau):
    return guidance(ranked(logits), ranked(before), tau)


def dsr_loss(logits, before, y, beta, tau):
    n = min(len(logits), len(before))
    return F.cross_entropy(logits, y) + beta * shape_kl(logits[:n], before[:n], tau)


CHANGES = {"MyDRG": ("shallow.detach()", "shallow")}
