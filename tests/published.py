"""Sets in the layout in which they are published, tiny and made up."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest


def fake(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny set in the published layout, its md5s in place of torchvision's. Returns its folder."""
    torchvision = pytest.importorskip("torchvision")
    kind = getattr(torchvision.datasets, name.upper())
    k, labels = (100, "fine_labels") if name == "cifar100" else (10, "labels")
    rng = np.random.default_rng(0)
    folder = root / kind.base_folder
    folder.mkdir(parents=True)

    def write(file: str, content: dict) -> list[str]:
        data = pickle.dumps(content)
        (folder / file).write_bytes(data)
        return [file, hashlib.md5(data).hexdigest()]

    def batch(file: str, n: int) -> list[str]:  # its name and md5
        return write(file, {"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), labels: [i % k for i in range(n)]})

    monkeypatch.setattr(kind, "train_list", [batch(file, 2 * k) for file, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [batch(file, k) for file, _ in kind.test_list])
    meta = write(kind.meta["filename"], {kind.meta["key"]: [f"class {i}" for i in range(k)]})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta[1]})
    return folder
