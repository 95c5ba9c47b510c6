"""Tables in pages of the documentation, each between two lines of its own."""

from __future__ import annotations

from pathlib import Path


def put(page: Path, marks: tuple[str, str], text: str) -> None:
    """Writes text between a page's two marks, in place of what stands there."""
    before, start, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not start or not end:
        raise SystemExit(f"{page} needs the two lines {marks[0]!r} and {marks[1]!r}: the table is written between them")
    page.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
