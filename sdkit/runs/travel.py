"""A run that ended on one machine, brought to another."""

from __future__ import annotations

import hashlib
import json
import re

from .files import Damaged, write
from .folder import Run
from .recorder import WEIGHTS, history_json, read_history, whole

NAME = re.compile(r"(outputs/)?\w+\.\w+")
"""What a file of a run is called."""


def packed(run: Run, weights: bool = True) -> dict[str, bytes]:
    """The files of a run that ended, by their names, each compared with its digest; the history last.

    Args:
        run: on this machine.
        weights: whether they go along.

    Returns:
        What `store` makes the same run of on another machine.
    """
    said = read_history(run.folder)
    kept = {n: d for n, d in said["files"].items() if not n.startswith("epochs/") and (weights or n != WEIGHTS)}
    files = {name: whole(run.folder, name, kept).read_bytes() for name in kept}
    return files | {"history.json": history_json(said | {"files": kept, "checkpoints": []})}


def store(run: Run, files: dict[str, bytes]) -> None:
    """Writes a run that ended on another machine. One that is stored here already, and is no less, stays.

    Args:
        run: on this machine.
        files: as `packed` gives them.

    Raises:
        Damaged: a file is not what its digest says: nothing is written.
    """
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "history.json"}
    if found != json.loads(files["history.json"])["files"] or not all(map(NAME.fullmatch, found)):
        raise Damaged(f"run {run.key} came back damaged: run its experiment again")
    with run.alone():
        if run.status == "done" and not run.is_light():
            return
        note = run.note
        run._empty()
        for name, content in files.items():
            write(run.folder / name, content)
        if note:
            run.write_note(note)
