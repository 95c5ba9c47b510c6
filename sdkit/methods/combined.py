"""Several methods that train one network together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Features
from .base import Method, first_rows, supervised


class Combined(Method):
    """Several methods on one pass: the sum of their terms. `Combined(DRG(model), DSR(model))` is paper 004's Eq. 13.

    The task is counted once: it is that of the method that replaces the task loss, where there is one, and plain cross entropy
    otherwise. Two that replace it, or that ask for different batches, are refused. The order does not matter: methods are
    asked in the order of their names, also for their random draws.
    Of other terms of one name each counts, as "method term"; so it is with exits, heads, teachers and peers of one name.
    A knob is "method.knob": `{"drg.alpha": 0.2, "dsr.beta": 1.0}`.

    Args:
        *methods: What trains together, built around one network.
        names: What the methods are called here, no two alike; by default their classes, in small letters.

    Raises:
        ValueError: Two have one name, two replace the task loss, their partners or their images a class differ, or one hides
            labels that another reads. From `terms`, in the first step: a method whose "task" is not plain cross entropy and
            that does not say so.
    """

    def __init__(self, *methods: Method, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.methods = nn.ModuleList(methods)
        names = [type(m).__name__.lower() for m in methods] if names is None else [*names]
        if len({*names}) < len(names):
            raise ValueError(f"methods that train together have different names, got {', '.join(names)}: say names=[...]")
        by_name = dict(zip(names, methods, strict=True))
        self._parts = {name: by_name[name] for name in sorted(names)}
        own = {name: name if m.replaces_task_loss else m.task_weight for name, m in self._parts.items()}
        own = {name: task for name, task in own.items() if task != 1}
        if len({*own.values()}) > 1:
            raise ValueError(
                f"{' and '.join(own)} each replace the task loss and cannot train together: take one of them, or options that "
                "leave plain cross entropy to the labels"
            )
        self._owner = next(iter(own), None)
        if self._owner is not None:
            owner = self._parts[self._owner]
            self.replaces_task_loss, self.task_weight = owner.replaces_task_loss, owner.task_weight
        self._keep_labels_hidden()
        self.pair = self._agreed("pair", "take one of them")  # type: ignore[misc]
        self.samples_per_class = self._agreed("samples_per_class", "say the same to all")
        self.both_views = any(m.both_views for m in methods)
        self.full_precision = any(m.full_precision for m in methods)
        self.captures_blocks = any(m.captures_blocks for m in methods)
        self.reads_labels, self.hides_labels = any(map(_looks, methods)), any(m.hides_labels for m in methods)
        self._tasks_checked = False
        self.knobs = {  # type: ignore[misc]
            f"{name}.{k}": knob for name, m in self._parts.items() for k, knob in m.knobs.items()
        }

    def __setattr__(self, name: str, value: Any) -> None:
        part, dot, knob = name.partition(".")
        if dot:
            setattr(self._parts[part], knob, value)
        else:
            super().__setattr__(name, value)

    def settings(self) -> dict[str, float]:
        return {f"{name}.{k}": v for name, m in self._parts.items() for k, v in m.settings().items()}

    def terms(self, model, out, batch, progress):
        every = {name: {**m.terms(model, self._share(m, out), batch, progress)} for name, m in self._parts.items()}
        tasks = {name: terms.pop("task") for name, terms in every.items() if "task" in terms}
        plain = supervised(out.logits[: len(batch.y)], batch)
        if not self._tasks_checked:
            self._check(tasks, plain)
        return {"task": tasks[self._owner] if self.replaces_task_loss else self.task_weight * plain} | self._named(every)

    def remember(self, out, batch, progress):
        for m in self._parts.values():
            m.remember(self._share(m, out), batch, progress)

    def auxiliary_heads(self):
        return self._named({name: m.auxiliary_heads() for name, m in self._parts.items()})

    def teachers(self):
        return self._named({name: m.teachers() for name, m in self._parts.items()})

    def peer_networks(self):
        return self._named({name: m.peer_networks() for name, m in self._parts.items()})

    def exits(self, out, x):
        return {"final": out.logits} | self._named({name: m.exits(out, x) for name, m in self._parts.items()}, but="final")

    def features(self, out):
        return {"final": out.embedding} | self._named({name: m.features(out) for name, m in self._parts.items()}, but="final")

    def own_recipes(self):
        return [own for m in self._parts.values() for own in m.own_recipes()]

    def targets(self, batch, progress):
        return self._parts[self._owner].targets(batch, progress) if self.replaces_task_loss else None

    def ranked_target(self, out, progress):
        found = (m.ranked_target(self._share(m, out), progress) for m in self._parts.values())
        return next((target for target in found if target is not None), None)

    def transport_plans(self, out):
        found = (m.transport_plans(self._share(m, out)) for m in self._parts.values())
        return next((plans for plans in found if plans is not None), None)

    def _share(self, method: Method, out: Features) -> Features:
        """What a method of one view sees of a pass over both: the first."""
        return first_rows(out, len(out.logits) // 2) if self.both_views and not method.both_views else out

    def _named(self, every: Mapping[str, Mapping[str, Any]], but: str | None = None) -> dict[str, Any]:
        """What all parts have, without `but`: by its own name, and as "part name" where several parts have one of that name."""
        met = Counter(k for found in every.values() for k in found)
        return {k if met[k] == 1 else f"{part} {k}": v for part, found in every.items() for k, v in found.items() if k != but}

    def _agreed(self, what: str, mend: str) -> Any:
        """What those parts say that ask for a `what` of batches. ValueError where two differ."""
        asked = {name: getattr(m, what) for name, m in self._parts.items() if getattr(m, what) is not None}
        if len({*asked.values()}) > 1:
            said = ", ".join(f"{value!r} for {name}" for name, value in asked.items())
            raise ValueError(f"these methods cannot share a batch, its {what} would be {said}: {mend}")
        return next(iter(asked.values()), None)

    def _keep_labels_hidden(self) -> None:
        """ValueError where a part would look at labels that another one hides."""
        hides = [name for name, m in self._parts.items() if m.hides_labels]
        reads = [name for name, m in self._parts.items() if not m.hides_labels and _looks(m)]
        if hides and reads:
            raise ValueError(
                f"{hides[0]} hides labels, and {' and '.join(reads)} would look at them beside the task, in a term or to "
                "choose the images of a batch: take a method that compares outputs alone, such as dsr"
            )

    def _check(self, tasks: Mapping[str, Tensor], plain: Tensor) -> None:
        """ValueError where a part's task is another than it says: that task would be left out in silence."""
        for name, task in tasks.items():
            part = self._parts[name]
            if not part.replaces_task_loss and not torch.allclose(task, part.task_weight * plain, rtol=1e-3, atol=1e-5):
                raise ValueError(
                    f'{name}\'s "task" is not plain cross entropy against the label, and would be left out: '
                    "set replaces_task_loss = True in it, or give that term another name"
                )
        self._tasks_checked = True


def _looks(m: Method) -> bool:
    """Whether a method learns something of the labels elsewhere than in its "task"."""
    return m.reads_labels or m.pair == "same class" or m.samples_per_class is not None
