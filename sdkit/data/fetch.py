"""Archives from where their makers publish them: fetched with resume, checked by md5, unpacked without leaving their folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

PIECE = 1 << 20  # bytes read at once
WAIT = 30  # seconds without a byte before a connection counts as lost


class Archive(NamedTuple):
    """A file that a data set comes in."""

    name: str
    url: str
    md5: str


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive's file in `folder`, downloaded unless a whole one is there; an interrupted download goes on where it stopped.

    ConnectionError where the network does not give it, ValueError where what came has another md5, each with the mend.
    """
    path = folder / archive.name
    if path.is_file():
        return checked(archive, path)
    part = path.with_name(path.name + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(archive, part)
    except OSError as error:  # a URLError is one, too
        raise ConnectionError(
            f"{archive.name} could not be downloaded from {archive.url} ({error}): try again, it goes on where it stopped, or "
            f"put the file (md5 {archive.md5}) into {folder} by hand and run the same command"
        ) from error
    checked(archive, part)
    os.replace(part, path)
    return path


def _download(archive: Archive, part: Path) -> None:
    """Appends to `part` what it lacks."""
    from tqdm.auto import tqdm

    there = part.stat().st_size if part.exists() else 0
    config = Request(archive.url, headers={"User-Agent": "sdkit"} | ({"Range": f"bytes={there}-"} if there else {}))
    try:
        answer = urlopen(config, timeout=WAIT)
    except HTTPError as error:
        if error.code == 416 and there:  # nothing after what is there: it is whole, as its md5 will tell
            return
        raise
    with answer:
        if there and getattr(answer, "status", None) != 206:  # a server that does not resume sends everything
            there = 0
        length = answer.headers.get("Content-Length")
        whole = there + int(length) if length else None
        bar = tqdm(total=whole, initial=there, unit="B", unit_scale=True, desc=archive.name, disable=None)
        with part.open("ab" if there else "wb") as file, bar:
            while piece := answer.read(PIECE):
                file.write(piece)
                bar.update(len(piece))
    if whole is not None and part.stat().st_size < whole:
        raise ConnectionError(f"the connection ended after {part.stat().st_size:,} of {whole:,} bytes")


def checked(archive: Archive, path: Path) -> Path:
    """`path` if it has the archive's md5, else a ValueError that says both."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != archive.md5:
        raise ValueError(
            f"{path} is damaged: its md5 should be {archive.md5} and is {found} ({path.stat().st_size:,} bytes); "
            "delete it and fetch it again"
        )
    return path


def unpack(archive: Path, folder: Path, take: str) -> Path:
    """What the zip or tar has under `take`, a path inside it, as `folder`/<the last part of `take`>: all of it or nothing.

    ValueError for a file that would land outside the folder and for a link, before anything is written.
    """
    target = folder / PurePosixPath(take).name
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder))
    try:
        with _opened(archive) as file:
            _write(file, archive, aside)
        found = aside.joinpath(*PurePosixPath(take).parts)
        if not found.exists():
            raise ValueError(f"{archive} holds no {take}: it is another archive than the published one")
        os.replace(found, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _opened(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    try:
        return zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{archive} is no zip and no tar archive ({error}): delete it and fetch it again") from error


def _write(file: zipfile.ZipFile | tarfile.TarFile, archive: Path, folder: Path) -> None:
    """Every member into the folder, after every member's name was looked at."""
    from tqdm.auto import tqdm

    members = list(_members(file))
    for name, kind, _ in members:
        place = PurePosixPath(name.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or ":" in name:  # a Windows drive, too
            raise ValueError(f"{archive} would write {name} outside its folder: nothing was unpacked; fetch the published one")
        if kind == "other":
            raise ValueError(f"{archive} holds {name}, a link or a device: nothing was unpacked; fetch the published archive")
    for name, kind, read in tqdm(members, desc=f"unpacking {archive.name}", unit=" files", disable=None):
        path = folder.joinpath(*PurePosixPath(name.replace("\\", "/")).parts)
        if kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with read() as source, path.open("wb") as out:
            shutil.copyfileobj(source, out, PIECE)


def _members(file: zipfile.ZipFile | tarfile.TarFile) -> Iterator[tuple[str, str, object]]:
    """name, "file" | "folder" | "other", and how to open it."""
    if isinstance(file, zipfile.ZipFile):
        for info in file.infolist():
            link = stat.S_ISLNK(info.external_attr >> 16)
            kind = "other" if link else "folder" if info.is_dir() else "file"
            yield info.filename, kind, lambda info=info: file.open(info)
    else:
        for member in file:
            kind = "file" if member.isreg() else "folder" if member.isdir() else "other"

            def read(member: tarfile.TarInfo = member) -> IO[bytes]:
                return file.extractfile(member)

            yield member.name, kind, read
