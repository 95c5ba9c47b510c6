"""Makes `import torchvision` work beside a torch that its wheel was not built for.

A CPU build of torch with a CUDA build of torchvision is a common accident: torchvision's compiled extension cannot be loaded,
which it tolerates, and then it registers shape rules for two compiled operators that are not there, which ends in
`RuntimeError: operator torchvision::nms does not exist`. Networks, transforms and data sets need neither operator.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

_SCHEMAS = {name: "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}
_libraries: list = []  # torch forgets an operator when the Library that declared it is collected


class _BeforeTorchvision(MetaPathFinder):
    """Finds no module: it is asked before every import, and looks up at two of torchvision's.

    At its `_meta_registrations` the extension has just been tried and torch is there, so what is missing is known for certain
    and nothing has been imported for our sake. On a matching pair nothing is missing and nothing happens.
    """

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            _forget_a_failed_import()
        elif fullname == "torchvision._meta_registrations":
            _declare_missing_operators()
        return None  # the usual finders find it


def ensure() -> None:
    """From here on `import torchvision`, and whatever imports it, works whether or not its build matches torch's.

    Costs nothing until then, changes nothing on a matching pair, and cures an import that has failed already. A call of `nms`
    on a mismatched pair still raises torchvision's own explanation.
    """
    if not any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


def mismatched() -> bool:
    """Whether the imported torchvision runs without its compiled extension."""
    extension = sys.modules.get("torchvision.extension")
    return extension is not None and not extension._has_ops()


def _forget_a_failed_import() -> None:
    """A failed import leaves submodules behind that the next one would take for whole."""
    if mismatched():
        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]


def _declare_missing_operators() -> None:
    if mismatched():
        import torch

        missing = [name for name in _SCHEMAS if not hasattr(torch.ops.torchvision, name)]
        if missing:
            library = torch.library.Library("torchvision", "FRAGMENT")
            _libraries.append(library)
            for name in missing:
                library.define(name + _SCHEMAS[name])
