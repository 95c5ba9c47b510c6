"""Files that are whole or absent, whatever dies: atomic writes, JSON, tensors without code, digests that tell a flipped bit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import torch
from torch import Tensor

LONGEST_JSON = 100_000_000
"""Bytes: a history of thousands of epochs has a few of the hundred million, and a file that has more is none of sdkit's."""

NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))


class Damaged(RuntimeError):
    """A file of a run that cannot be what sdkit wrote."""


# writing


@contextlib.contextmanager
def replacing(path: Path, size: int = 0) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    size: bytes that it will take, for the sentence of a full disk. OSError, a sentence, where it cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "r+b") as f:  # Windows flushes only what may be written
            os.fsync(f.fileno())
        _replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # what it took is free again
        raise unwritten(path, error, size) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _replace(temporary: Path, path: Path) -> None:
    """os.replace, again for a second where another program reads the file at this moment: Windows refuses it so long."""
    for wait in (0.01, 0.05, 0.2, 0.7):
        try:
            return os.replace(temporary, path)
        except PermissionError:
            time.sleep(wait)
    return os.replace(temporary, path)


def unwritten(path: Path, error: OSError, size: int = 0) -> OSError:
    """The error that says why `path` could not be written, and the mend."""
    if error.errno is None:  # it is such a sentence already
        return error
    kept = "what was written whole before is kept"
    if error.errno not in NO_ROOM:
        return OSError(
            f"{path} could not be written ({error.strerror}): give this user the right to write there, or let SDKIT_HOME name "
            f"another folder; {kept}"
        )
    folder = next(p for p in (path.parent, *path.parents) if p.is_dir())
    free = shutil.disk_usage(folder).free
    return OSError(
        f"no room for {path.name} in {folder}: it takes {_in_words(max(size, 4096))}, and {_in_words(free)} are free or "
        f"allowed. Make room there, or let SDKIT_HOME name a folder on another disk; {kept}, and the same call goes on from it"
    )


def _in_words(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def write(path: Path, content: bytes) -> str:
    """A file with this content, whole or not at all -> its SHA-256."""
    with replacing(path, len(content)) as temporary, open(temporary, "wb") as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def write_json(path: Path, value: Any) -> str:
    """JSON that a person can read, written atomically -> its SHA-256."""
    return write(path, as_json(value))


def as_json(value: Any) -> bytes:
    """JSON that a person can read."""
    try:
        return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:  # the name of a folder that is no text
        return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


def write_array(path: Path, array: np.ndarray) -> str:
    """A .npy file, written atomically -> its SHA-256."""
    content = io.BytesIO()
    np.save(content, array)
    return write(path, content.getvalue())


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """A safetensors file of contiguous tensors, written atomically -> its SHA-256."""
    from safetensors.torch import save

    return write(path, save(tensors))


class _Digesting:
    """A file that is digested while it is written."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self.file, self.found = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.found.update(content)
        return self.file.write(content)

    def flush(self) -> None:
        self.file.flush()


def save_state(state: dict[str, Any], path: Path) -> str:
    """A state of tensors, numbers and lists, by torch.save -> its SHA-256. OSError where it cannot be written."""
    with open(path, "wb") as file:
        digesting = _Digesting(file)
        try:
            torch.save(state, cast(IO[bytes], digesting))
        except RuntimeError as error:  # torch's own, behind which the disk's is hidden
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
    return digesting.found.hexdigest()


def size_of(state: Any) -> int:
    """Bytes of all tensors in a state, at any depth."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    values: Iterable[Any] = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(map(size_of, values))


def remove(path: Path) -> None:
    """Removes a file, a folder with all that is in it, or a link alone. What is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# reading


def digest(path: Path) -> str:
    """The SHA-256 of a file. Damaged where it is a folder, a device or the like."""
    if os.path.lexists(path) and not path.is_file():
        raise Damaged(f"{path} is no file")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """What a JSON file says. Damaged where it is none, or no file, or far too long or deep."""
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        with open(path, "rb") as file:
            content = file.read(LONGEST_JSON + 1)
        if len(content) > LONGEST_JSON:
            raise ValueError(f"it has more than {LONGEST_JSON:,} bytes")
        return json.loads(content.decode())
    except (ValueError, RecursionError, OSError) as error:
        raise Damaged(f"{path} is not the JSON sdkit writes ({error})") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """What a safetensors file holds by name, in the names' order, on the CPU."""
    from safetensors.torch import load

    return dict(sorted(load(path.read_bytes()).items()))  # by its path it does not open one that the locale cannot spell


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU. Damaged where a part of it is cut or changed, or would run code."""
    try:
        with zipfile.ZipFile(path) as parts:  # torch packs nothing, and does not look at the sums that it writes
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                raise ValueError("its parts are compressed")
            if changed := parts.testzip():
                raise ValueError(f"the sum of {changed} is another")
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch's own words would tell how to load it without care
        raise Damaged(f"{path} cannot be read ({type(error).__name__}: it was cut or changed, or is not sdkit's)") from error
