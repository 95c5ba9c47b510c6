"""What an epoch leaves in the record, and the end of a training whose loss is no number."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class Epoch:
    """What one epoch left in the record."""

    epoch: int  # 0-based
    lr: float  # at its last step
    seconds: float  # of training, without evaluation
    terms: dict[str, float] = field(default_factory=dict)  # means over the epoch; their sum is the loss
    train_accuracy: float = math.nan  # of the final exit on the batches as they came, in [0, 1]; of a mixture, its larger part
    accuracy: dict[str, float] = field(default_factory=dict)  # of every exit, on the watched test images, in [0, 1]
    validation: dict[str, float] = field(
        default_factory=dict
    )  # on validation images, where some were set aside; all at the end
    loss: float = math.nan  # cross entropy of the final exit on the watched test images
    test: dict[str, float] = field(default_factory=dict)  # accuracy on the whole test set, at the end alone: the headline
    test_loss: float = field(default=math.nan, compare=False)  # cross entropy on the whole test set; nan before the end
    changes: list[dict[str, Any]] = field(default_factory=list)  # knobs moved while it ran: step, knob, before, after
    outputs: Tensor | None = field(default=None, repr=False, compare=False)  # [W, K] float16 logits of the watched test images
    test_outputs: Tensor | None = field(default=None, repr=False, compare=False)  # [N, K] of the whole test set, at the end

    def record(self) -> dict[str, Any]:
        """Itself without the tensors, for JSON. A number that is not finite becomes None."""
        plain = asdict(Epoch(**{**self.__dict__, "outputs": None, "test_outputs": None}))
        del plain["outputs"], plain["test_outputs"]
        return tidy(plain)


def tidy(value: Any) -> Any:
    """JSON has no NaN: numbers that are not finite become None, at any depth."""
    if isinstance(value, dict):
        return {k: tidy(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Diverged(ArithmeticError):
    """The loss stopped being a number. `epoch` is the record of the epoch in which it did."""

    def __init__(self, epoch: Epoch) -> None:
        bad = ", ".join(f"{k} = {v:g}" for k, v in epoch.terms.items() if not math.isfinite(v))
        super().__init__(
            f"the loss is no longer a number in epoch {epoch.epoch + 1} ({bad}): "
            "lower the learning rate or the weight of that term"
        )
        self.epoch = epoch

    def __reduce__(self) -> tuple[type[Diverged], tuple[Epoch]]:
        """So that it comes back whole from another process."""
        return Diverged, (self.epoch,)
