"""Notebook 03's exercises, solved as a student would."""

import torch.nn.functional as F


def survivals(blocks, last):
    return [1 - block / blocks * (1 - last) for block in range(1, blocks + 1)]


def student_block(h, branch, keep):
    return F.relu(branch + h) if keep else F.relu(h)


def teacher_block(h, branch, p):
    return F.relu(p * branch + h)


def expected_cost(whole, without, survival):
    return whole - ((1 - survival) * (whole - without)).sum()


def distillation(student_logits, teacher_logits, tau):
    student = (student_logits / tau).log_softmax(1)
    teacher = (teacher_logits.detach() / tau).softmax(1)
    return tau**2 * F.kl_div(student, teacher, reduction="batchmean")


def sg_loss(student_logits, teacher_logits, y, lam, tau):
    both = F.cross_entropy(student_logits, y) + F.cross_entropy(teacher_logits, y)
    return both + lam * distillation(student_logits, teacher_logits, tau)


CHANGES = {
    "MySelfGuidance": ("(log_teacher.exp() * (log_teacher - log_student))", "(log_student.exp() * (log_student - log_teacher))")
}
