"""sdkit: see self-distillation work.

```python
import sdkit

plain = sdkit.Experiment("vanilla").run()
taught = sdkit.Experiment("byot").run()
```

What is named here is imported when it is first used: `import sdkit` costs nothing beyond PyTorch.
"""

# ruff: noqa: F401
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .vision import ensure

ensure()  # `import torchvision` works beside any torch, whoever imports it

__version__ = "0.2.0"

_NAMES = {
    "core": ["Knob"],
    "data": ["DATASETS", "Data"],
    "experiment": [
        "Experiment", "Trained", "base_experiment", "by_knob", "paper_experiment", "register", "run_all", "small_experiment",
        "sweep",
    ],
    "methods": ["METHODS", "Combined", "Method"],
    "models": ["MODELS", "Backbone"],
    "train": ["RECIPES", "Recipe", "fit"],
}  # fmt: skip
_ROOMS = (
    "analysis", "data", "exercises", "figures", "losses", "methods", "models", "papers", "runs", "studies", "train", "widgets",
)  # fmt: skip
_WHERE = {name: room for room, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_ROOMS, *_WHERE]

if TYPE_CHECKING:  # what a type checker sees of the names above
    from . import analysis, data, exercises, figures, losses, methods, models, papers, runs, studies, train, widgets
    from .core import Knob
    from .data import DATASETS, Data
    from .experiment import (
        Experiment,
        Trained,
        base_experiment,
        by_knob,
        paper_experiment,
        register,
        run_all,
        small_experiment,
        sweep,
    )
    from .methods import METHODS, Combined, Method
    from .models import MODELS, Backbone
    from .train import RECIPES, Recipe, fit


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    if name in _ROOMS:
        return importlib.import_module(f".{name}", __name__)
    from .core import pick

    try:
        pick(name, __all__, "part of sdkit")
    except KeyError as error:
        raise AttributeError(error.args[0]) from None
    raise AttributeError(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
