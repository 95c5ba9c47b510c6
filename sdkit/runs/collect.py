"""A class's runs in one place: each student's folder is read with care, and what is not whole becomes a row that says so.

Nothing of a student's folder is executed or followed: regular files that a run has are copied, no link, no device, no
checkpoint (which is a pickle), and the copy is held against the digests that the run kept. They tell damage, not deceit.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from .files import Damaged, read_json, remove, write_json
from .folder import Run
from .recorder import read_history, whole
from .table import BETWEEN, row_of

LARGEST = 2**30
"""Bytes of a run: the largest network of the papers takes a fifth of it."""

OWN = re.compile(r"experiment\.json|history\.json|weights\.safetensors|logits\.npy|outputs/\d{1,6}\.npy")
"""What of a run is taken."""

KEY = re.compile(r"[0-9a-f]{12}(-live-\d{1,6})?")
GENERAL = ("runs", "sdkit")
"""Names of folders that say nothing of whose they are."""

NAMES = "students.json"
"""Where a collection keeps which folder it called what."""


class Collected(NamedTuple):
    """What came of one student's folder."""

    student: str
    new: int  # runs that were not there, or went on
    same: int  # runs that were there already
    refused: list[str]  # a sentence for each run that is damaged or not sdkit's
    wrong: str = ""  # why nothing could be read at all


def collect(folders: Iterable[Path], into: Path) -> list[Collected]:
    """Copies the runs of a class into one folder, in which a run is called KEY@STUDENT.

    Called again, it takes what is new, under the names that it gave before. What a student deleted stays.

    Args:
        folders: of each student: what was her SDKIT_HOME, or its `runs` folder.
        into: an SDKIT_HOME for all; runs go into its `runs` folder.

    Returns:
        What came of each folder, in order.

    Raises:
        ValueError: No folder, two of one name, or one that lies in the other.
    """
    there = Path(into).resolve()
    known = read_json(there / NAMES) if (there / NAMES).exists() else {}
    named = students([Path(f) for f in folders], known)
    for folder in named.values():
        if there == folder or there in folder.parents or folder in there.parents:
            raise ValueError(f"{folder} and {into} lie in each other: collect into a folder of its own")
    (there / "runs").mkdir(parents=True, exist_ok=True)
    write_json(there / NAMES, known | {str(_home(folder)): student for student, folder in named.items()})
    return [_of(student, folder, there / "runs") for student, folder in named.items()]


def students(folders: list[Path], known: Mapping[str, str] = MappingProxyType({})) -> dict[str, Path]:
    """Folders by the student's name: the last part of the path in which they and those known before differ.

    Args:
        folders: such as /home/ann/sdkit and /home/ben/sdkit.
        known: what an earlier call named, and how.

    Returns:
        Such as "ann" and "ben", and the folders resolved.

    Raises:
        ValueError: No folder, or two of one name.
    """
    if not folders:
        raise ValueError("say whose runs: a folder for each student, such as `sdkit collect /home/*/sdkit --into class`")
    places = [folder.resolve() for folder in folders]
    parts = [[*_home(place).parts] for place in (*places, *map(Path, known))]
    while len(parts) > 1 and all(len(each) > 2 and each[-1] == parts[0][-1] for each in parts):
        for each in parts:
            each.pop()
    found: dict[str, Path] = {}
    for each, place in zip(parts, places, strict=False):
        name = known.get(str(_home(place))) or re.sub(r"[^\w.-]+", "_", each[-1]).strip("._-")[:40] or "student"
        if name in found:
            raise ValueError(f"{found[name]} and {place} would both be {name!r}: give each student's folder a name of its own")
        found[name] = place
    return found


def _home(folder: Path) -> Path:
    """Whose folder it is: without the parts at the end that say nothing of it."""
    while len(folder.parts) > 2 and folder.name in GENERAL:
        folder = folder.parent
    return folder


def _of(student: str, folder: Path, into: Path) -> Collected:
    """The runs of one student."""
    try:
        place = folder / "runs" if (folder / "runs").is_dir() else folder
        sources = sorted(p for p in place.iterdir() if os.path.lexists(p / "experiment.json"))
    except OSError as error:
        return Collected(student, 0, 0, [], f"{folder} cannot be read ({error.strerror})")
    new, same = 0, 0
    refused: list[str] = []
    with tempfile.TemporaryDirectory(dir=into.parent, prefix=".collecting-") as work:
        for number, source in enumerate(sources):
            copy, final = Path(work) / str(number), into / f"{_key(source)}{BETWEEN}{student}"
            try:
                if not _take(source, copy, final):
                    same += 1
                    continue
                new += 1
            except (Damaged, OSError) as error:
                refused.append(str(error).replace(str(copy), str(source)))
                if (final / "history.json").is_file():  # what was whole when it was collected is kept
                    continue
                remove(copy)
                write_json(copy / "experiment.json", {"refused": refused[-1]})
            remove(final)
            copy.rename(final)
    return Collected(student, new, same, refused, "" if sources else f"no run in {folder}")


def _key(source: Path) -> str:
    """A run's name; of a folder that has none, what of its name can be one."""
    return source.name if KEY.fullmatch(source.name) else re.sub(r"\W", "_", source.name)[:40]


def _take(source: Path, copy: Path, final: Path) -> bool:
    """Copies a run, and looks at the copy. False where it is in the collection already. Damaged where it is not whole."""
    if not KEY.fullmatch(source.name):
        raise Damaged(f"{str(source)!r} is not called as a run is")
    if source.is_symlink():
        raise Damaged(f"{source} is a link: nothing behind it is read")
    copy.mkdir()
    left = LARGEST
    if os.path.lexists(source / "history.json"):
        left -= _copied(source, "history.json", copy, left)
    files = read_history(copy)["files"]
    kept = final / "history.json"
    if files and kept.is_file() and filecmp.cmp(copy / "history.json", kept, shallow=False):
        return False
    names = [name for name in files if OWN.fullmatch(name)]
    for name in dict.fromkeys(["experiment.json", *names]):
        left -= _copied(source, name, copy, left)
    for name in names:
        whole(copy, name, files)
    row = row_of(Run(copy))
    if row.wrong:
        raise Damaged(row.wrong)
    if any(not str(value).isprintable() for pair in row.settings.items() for value in pair):
        raise Damaged(f"{source} has a setting that cannot be printed: delete the folder and run the experiment again")
    return True


def _copied(source: Path, name: str, to: Path, most: int) -> int:
    """Copies a regular file -> its bytes. Damaged where it is lost, a link, a device, or larger than `most`."""
    path, target = source / name, to / name
    if path.is_symlink() or path.parent.is_symlink():
        raise Damaged(f"{path} is a link: nothing behind it is read")
    flags = [getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")]  # a pipe does not make us wait
    try:
        with open(os.open(path, os.O_RDONLY | sum(flags)), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise Damaged(f"{path} is no file")
            if about.st_size > most:
                raise Damaged(f"{path} is larger than a run may be ({LARGEST / 1e6:,.0f} MB)")
            target.parent.mkdir(exist_ok=True)
            with open(target, "wb") as out:
                shutil.copyfileobj(file, out)
    except OSError as error:
        raise Damaged(f"{path} is lost or cannot be read ({error.strerror})") from error
    return about.st_size
