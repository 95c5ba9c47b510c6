"""Files that are whole or absent, whatever dies: atomic writes, JSON, tensors without code."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    OSError where it cannot be written, on a full disk for example.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error.strerror or error}): make room on its disk, or let SDKIT_HOME name a folder "
            "on another; what was written whole before is kept"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON that a person can read, written atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """A safetensors file of contiguous tensors. OSError where it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path)
    except SafetensorError as error:  # no OSError although the disk is full
        raise OSError(str(error)) from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What a safetensors file holds, on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)


class Damaged(RuntimeError):
    """A file of a run that cannot be what sdkit wrote."""
