"""Exercises that answer back: the notebooks' stubs are checked on fresh tensors, and told what is wrong with them.

```python
from sdkit import exercises

exercises.check("byot.exit_kl", exit_kl)
```
"""

from __future__ import annotations

from typing import Any

from ..core import pick
from . import byot, ddgsd, drg_dsr, self_guidance, sfr
from .exercise import Answer, Exercise
from .judging import judge

EXERCISES: dict[str, Exercise] = {e.name: e for room in (byot, ddgsd, self_guidance, drg_dsr, sfr) for e in room.EXERCISES}
"""Every exercise by its name, in the notebooks' order."""

__all__ = ["EXERCISES", "Answer", "Exercise", "check"]


def check(name: str, answer: Any, *evidence: Any) -> Answer:
    """Whether an answer to an exercise is right; if not, the one most likely mistake. Other inputs are drawn at every call.

    Args:
        name: of the exercise, such as "byot.exit_kl".
        answer: your function or class; for a reading, your number.
        evidence: for a reading, what it was read off, as the notebook's cell has it.

    Returns:
        The verdict; a notebook shows its sentence.

    Raises:
        KeyError: No such exercise; the nearest names are said.
    """
    return judge(EXERCISES[pick(name, EXERCISES, "exercise", "sdkit.exercises.EXERCISES")], answer, *evidence)
