"""Random numbers of a training's own: nothing here seeds or reads the global generators."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class LocalRNG(TorchDispatchMode):
    """Within, this thread draws its random numbers from generators of its own, begun at `seed`; the global ones stand still.

    So nothing that trains in another thread is disturbed. On the CPU the numbers are those after `torch.manual_seed(seed)`.
    `drawn` tells whether there were any. What takes no generator, such as fused attention, is left as it is.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed, self.own = seed, {}

    @property
    def drawn(self) -> bool:
        return bool(self.own)

    def state_dict(self) -> dict[str, Tensor]:
        """The states of its generators, by the device; none where nothing was drawn."""
        return {str(device): generator.get_state() for device, generator in self.own.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Puts its generators back where `state_dict` found them."""
        self.own = {torch.device(on): torch.Generator(on).set_state(found.cpu()) for on, found in state.items()}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled within; True would import the compiler, which takes seconds

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        form = seeded(func) if torch.Tag.nondeterministic_seeded in func.tags else None
        if form is None or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        given = next((t for t in (*args, kwargs.get("out")) if isinstance(t, Tensor)), None)
        device = torch.device(kwargs.get("device") or (given.device if given is not None else "cpu"))
        if device not in self.own:
            self.own[device] = torch.Generator(device).manual_seed(self.seed)
        return form(*args, **{**kwargs, "generator": self.own[device]})


@functools.cache
def seeded(func: torch._ops.OpOverload) -> Callable | None:
    """The form of a random operation that takes a generator, None where there is none."""
    if func is torch.ops.aten.native_dropout.default:
        return dropout
    wanted = {a.name for a in func._schema.arguments} | {"generator"}
    forms = (func, *(getattr(func.overloadpacket, name) for name in func.overloadpacket.overloads()))
    return next((form for form in forms if {a.name for a in form._schema.arguments} == wanted), None)


def dropout(x: Tensor, p: float, train: bool | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What a GPU's dropout gives, from a generator: the numbers that stay, scaled, and where they stay."""
    if train is False or p == 0:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    kept = torch.empty_like(x).bernoulli_(1 - p, generator=generator)
    return x * kept * (1 / (1 - p) if p < 1 else 0.0), kept.bool()
