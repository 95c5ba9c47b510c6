"""Docstrings are plain text that people read in an editor; here they become Markdown or reStructuredText."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

SECTIONS = ("Args", "Returns", "Raises", "References", "Yields", "Attributes", "Example", "Examples", "Note")


class Block(NamedTuple):
    """A part of a docstring."""

    kind: str  # "text", "formula", "option", "item", "code" or "section"
    lines: list[str]
    name: str = ""  # of an option, as it is written: "lam" or "lam, mu"


def blocks(lines: Iterable[str], names: Iterable[str] = ()) -> list[Block]:
    """A docstring's parts. names: the arguments that lines such as "lam: weight of the KL" may be about."""
    names, found, paragraph, fence = {*names}, [], [], False
    text = list(lines)
    while text:
        line = text.pop(0)
        if line.lstrip().startswith("```"):
            if fence:
                found.append(Block("code", paragraph))
            else:
                found += _paragraph(paragraph, names)
            paragraph, fence = [], not fence
        elif fence:
            paragraph.append(line)
        elif re.fullmatch(rf"({'|'.join(SECTIONS)}):", line):
            found += _paragraph(paragraph, names)
            body = [line]
            while text and (not text[0].strip() or text[0].startswith(" ")):
                body.append(text.pop(0))
            found.append(Block("section", body))
            paragraph = []
        elif line.strip():
            paragraph.append(line)
        else:
            found += _paragraph(paragraph, names)
            paragraph = []
    return found + _paragraph(paragraph, names)


def _paragraph(lines: Sequence[str], names: set[str]) -> list[Block]:
    if not lines:
        return []
    if re.match(r"\s+\S|L = ", lines[0]):
        return [Block("formula", [line.rstrip() for line in lines])]
    found: list[Block] = []
    for line in lines:
        option = re.match(r"(\w+(?:(?:, | and )\w+)*): +(.*)", line)
        if option and {*re.split(", | and ", option[1])} & names:
            found.append(Block("option", [option[2]], option[1]))
        elif re.match(r"[-*] ", line):
            found.append(Block("item", [line[2:]]))
        elif found:
            found[-1].lines.append(line.strip())
        else:
            found.append(Block("text", [line.strip()]))
    return found


def _each(text: str, code: Callable[[str, bool, bool], str], prose: Callable[[str], str]) -> str:
    """Prose and `code` of a text, each by a rule of its own; that of code is told whether letters touch it on either side."""
    parts = re.split(r"(`+[^`]+`+)", text)
    out = []
    for n, part in enumerate(parts):
        touched = (parts[n - 1][-1:].isalnum(), parts[n + 1][:1].isalnum()) if n % 2 else (False, False)
        out.append(code(part.strip("`"), *touched) if n % 2 else prose(part))
    return "".join(out)


def markdown(text: str) -> str:
    """Plain text with `code` as Markdown: nothing else in it is markup, and it may stand in a table."""
    return _each(
        " ".join(text.split()),
        lambda part, *_: f"`{part}`".replace("|", r"\|"),
        lambda part: re.sub(r"([\\*_\[\]<>|$#~{}`])", r"\\\1", part),
    )


def rst(text: str) -> str:
    """Plain text with `code` as reStructuredText: nothing else in it is markup."""
    return _each(
        text,
        lambda part, before, after: "\\ " * before + f"``{part.strip()}``" + "\\ " * after,
        lambda part: re.sub(r"([\\*|`]|_(?=\W|$))", r"\\\1", part),
    )


def arguments(thing: Any) -> list[str]:
    """The names of what a function or a class takes."""
    try:
        return [*inspect.signature(thing).parameters]
    except (TypeError, ValueError):
        return []


def described(lines: list[str], what: str, name: str, thing: Any) -> list[str]:
    """A docstring as reStructuredText, its sections left to napoleon."""
    if len(lines) and re.match(r"Alias for field number", lines[0]):
        return []
    out: list[str] = []
    for block in blocks(lines, arguments(thing)):
        if block.kind == "section":
            out += [block.lines[0], *(rst(line) for line in block.lines[1:]), ""]
        elif block.kind in ("formula", "code"):
            head = [".. code-block:: python"] if block.kind == "code" else [".. code-block:: none"]
            out += [*head, "", *(f"    {line}" for line in block.lines), ""]
        elif block.kind in ("option", "item"):
            said = rst(" ".join(block.lines))
            out += [f"- **{rst(block.name)}**: {said}" if block.name else f"- {said}", ""]
        else:
            out += [rst(" ".join(block.lines)), ""]
    return out
