"""The terms of a loss in words, where they stand on a screen: symbol, equation, the paper's name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import Markup

from ..experiment import find, short
from ..methods import Method


class Term(NamedTuple):
    """One term as its paper writes it."""

    formula: str
    where: str  # paper and equation; in SEED the equation alone
    words: str  # the paper's name for it


TASK = Term("CE(p, y)", "", "cross entropy of the final exit against the labels")
"""What "task" is where a method says nothing else."""

PAPERS = {
    "drg": "Wang, Han & Guo 2023 (paper 004)",
    "dsr": "Wang, Han & Guo 2023 (paper 004)",
    "byot": "BYOT, Zhang et al. 2019 (paper 003)",
    "ddgsd": "DDGSD, Xu & Liu 2019 (paper 001)",
    "self-guidance": "Self-Guidance, Zheng & Peng 2022 (paper 002)",
    "sfr": "SFR, Hou & Fan (paper 000)",
}
"""The five papers' methods."""

SEED: dict[str, dict[str, Term]] = {
    "drg": {
        "shallow ce": Term("CE(q, y)", "Eq. 8", "cross entropy of the shallow classifier against the labels"),
        "rg": Term("α τ² KL(q ‖ p)", "Eq. 9", "reverse guidance: the whole network learns from the shallow one"),
    },
    "dsr": {
        "sr": Term("β τ² KL(p̃ₜ₋₁ ‖ p̃ₜ)", "Eq. 11", "shape-wise regularisation: sorted outputs keep their shape"),
    },
    "byot": {
        "head ce": Term("(1 − α) Σ CE(qᵢ, y)", "loss source 1", "cross entropy of every shallower classifier"),
        "kd": Term("α Σ KL(q_C ‖ qᵢ)", "loss source 2", "each shallower classifier learns from the deepest"),
        "hint": Term("λ Σ ‖Fᵢ − F_C‖²", "loss source 3", "hint: shallow features copy the deepest ones"),
    },
    "ddgsd": {
        "task": Term("CE(p_a, y) + CE(p_b, y)", "Eq. 4", "cross entropy of both views against the labels"),
        "kl": Term("λ [KL(p_b ‖ p_a) + KL(p_a ‖ p_b)]", "Eq. 3", "both views of an image must answer alike"),
        "mmd": Term("μ MMD(f_a, f_b)", "Eq. 1", "maximum mean discrepancy: the views' mean features must meet"),
    },
    "self-guidance": {
        "student ce": Term("CE(p_s, y)", "Eq. 5", "cross entropy of the sampled sub-network against the labels"),
        "kd": Term("λ τ² KL(p ‖ p_s)", "Eq. 5", "the sampled sub-network learns from the whole network"),
    },
    "sfr": {
        "task": Term("CE(p, y′)", "Sec. 3, our reading", "cross entropy against labels whose wrong classes share ε"),
        "emd": Term("λ_f Σ w_s EMD(F_s, F_S)", "Sec. 3, our reading", "earth mover's distance: shallower maps to the last"),
    },
}  # fmt: skip
"""The five papers' own. Of any other method a term is said by the formula of its docstring."""


def term(name: str, method: str) -> Term:
    """What a term of a method, or of several joined by "+", is. One of nobody's says its name."""
    parts = {short(p): find(p, "method") for p in method.split("+")}
    for part in parts:
        own = SEED.get(part, {})
        if (found := own.get(name) or own.get(name.removeprefix(f"{part} "))) and (name != "task" or len(parts) == 1):
            return found._replace(where=f"{PAPERS[part]}, {found.where}")
    if name == "task" and not any(kind.replaces_task_loss is True for kind in parts.values()):
        return TASK
    told = [n for n in parts if name.startswith(f"{n} ")] or [n for n in parts if n not in SEED] or [*parts]
    return _from_docstring(name, parts[told[0]])


def _from_docstring(name: str, kind: type[Method]) -> Term:
    lines = (inspect.getdoc(kind) or name).splitlines()
    formula = next((line.strip().rstrip(",;") for line in lines if line.strip().startswith("L = ")), "")
    return Term(formula, "", lines[0])


def explained(names: Iterable[str], method: str) -> Markup:
    """One line: every term's name, its formula, and on hover the paper, the equation and what the paper calls it."""
    said, formulas = [], set()
    for name in names:
        about = term(name, method)
        title = ": ".join(filter(None, (about.where, about.words)))
        formula = "" if about.formula in formulas else f" {about.formula}"
        formulas.add(about.formula)
        said.append(Markup('<abbr title="{}" tabindex="0"><b>{}</b></abbr>{}').format(title, name, formula))
    line = '<div style="line-height: 1.4; font-size: 12px">{}</div>'
    return Markup(line).format(Markup(" &nbsp;·&nbsp; ").join(said)) if said else Markup()
