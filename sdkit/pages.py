"""The notebooks without a browser: run, and kept as pages that need no connection."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from . import core


def notebook_folder() -> Path:
    """The notebooks of this checkout."""
    folder = core.home() / "notebooks"
    if not folder.is_dir():
        folder = Path(__file__).parents[1] / "notebooks"
    if not folder.is_dir():
        raise FileNotFoundError("no notebooks here: run this in a clone of sdkit, or set SDKIT_HOME to one")
    return folder


def fingerprint(notebook: Path, settings: dict[str, str]) -> str:
    """Of all that a notebook's figures depend on: its cells, sdkit's code, the settings, and the records if it reads them."""
    import json

    cells = ["".join(c["source"]) for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]
    files = sorted(Path(__file__).parent.rglob("*.py"))
    if any(re.search(r"\bstudies\.", cell) for cell in cells):
        places = dict.fromkeys((core.home(), Path(__file__).parents[1]))  # both are looked into
        files += [p for at in places for name in ("plans", "data/records") for p in sorted((at / name).rglob("*.json"))]
    return hashlib.sha256(repr((cells, settings)).encode() + b"".join(p.read_bytes() for p in files)).hexdigest()


def drawn(folder: Path, notebook: str) -> list[Path]:
    """The executed copies of a notebook and the figures that it left."""
    copy = folder / "notebooks" / f"{notebook}.ipynb"
    return [copy, copy.with_suffix(".html"), folder / "index.html"]


def execute(source: Path, target: Path) -> None:
    """Runs a notebook in a kernel of its own, its progress bars shown here, and keeps the executed copy as .ipynb and .html."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class Watched(NotebookClient):
        def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] == "stream":
                print(msg["content"]["text"], end="", file=sys.stderr, flush=True)
            return super().process_message(msg, cell, cell_index)

    notebook = nbformat.read(source, as_version=4)
    client = Watched(
        notebook,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(core.home())}},
        store_widget_state=True,
        coalesce_streams=True,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        client.execute()
    except CellExecutionError as error:
        raise RuntimeError(
            f"a cell of {source.name} failed: {str(error).strip().splitlines()[-1]} (the run so far is in {target})"
        ) from error
    finally:
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                if output.output_type == "stream":  # of a progress bar, its last state
                    output.text = re.sub(r"[^\n]*\r(?=[^\n])", "", output.text)
        nbformat.write(notebook, target)
    target.with_suffix(".html").write_text(page(notebook), encoding="utf-8")
    relink(target.parent, source.parent)


LINK = re.compile(r'<a(?: data-from="(?P<kept>[^"]*)")?(?: href="(?P<to>[^"#][^"]*)")?(?P<rest>[^>]*)>')


def relink(folder: Path, notebooks: Path) -> None:
    """Makes the links of a notebook lead somewhere from its page: to another page, or to a file of the checkout.

    A link that leads nowhere becomes plain text, until what it names is there. Each keeps what the notebook says in
    `data-from`, so that the pages can be linked again when another is added.

    Args:
        folder: of the pages.
        notebooks: the folder that the links of the notebooks start from.
    """

    def linked(found: re.Match[str]) -> str:
        said = found["kept"] or found["to"]
        if said is None or re.match(r"[\w+.-]+:|/", said):
            return found[0]
        name, hash_, part = said.partition("#")
        there = notebooks / unquote(name)
        page = folder / f"{there.stem}.html"
        if there.suffix == ".ipynb":
            to = quote(page.name) if page.exists() else ""
        else:
            to = quote(os.path.relpath(there, folder).replace(os.sep, "/")) if there.exists() else ""
        return f'<a data-from="{said}"' + (f' href="{to}{hash_}{part}"' if to else "") + f"{found['rest']}>"

    for path in sorted(folder.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        new = LINK.sub(linked, text)
        if new != text:
            path.write_text(new, encoding="utf-8")


def page(notebook: Any) -> str:
    """A notebook as HTML, its formulas in MathML: browsers draw it themselves, MathJax would be fetched from the net."""
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Drawn(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body, "inline") or super().inline_math(body)

        def block_math(self, body: str) -> str:
            return mathml(body, "block") or super().block_math(body)

    class Page(HTMLExporter):
        def default_filters(self):
            yield from super().default_filters()
            yield "markdown2html", lambda source: MarkdownWithMath(renderer=Drawn(escape=False)).render(source)

    return Page().from_notebook_node(stilled(notebook))[0].replace("</head>", f"<style>{LINES}</style></head>", 1)


LINES = ".jp-OutputArea-output pre { word-break: normal !important }"
"""Printed lines break between words."""

STILL = "<p><em>A live panel. This page keeps it still: open the notebook to move it.</em></p>"
VIEW, STATE = (f"application/vnd.jupyter.widget-{what}+json" for what in ("view", "state"))


def stilled(notebook: Any) -> Any:
    """A copy whose panels are their pictures and a sentence: live ones would want a kernel, and scripts from the net."""
    import copy

    notebook = copy.deepcopy(notebook)
    models = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if VIEW in output.get("data", {}):
                kept = pictures(models, output.data[VIEW]["model_id"])
                images = "".join(f'<img alt="a picture of the panel" src="data:image/png;base64,{png}">' for png in kept)
                output.data = {"text/html": STILL + images}
    return notebook


def pictures(models: dict[str, Any], name: str) -> list[str]:
    """Every picture in a widget, as base64. models: the state of all widgets; name: the widget's."""
    state = models.get(name, {}).get("state", {})
    buffers = models.get(name, {}).get("buffers", []) if state.get("_model_name") == "ImageModel" else []
    own = [b["data"] for b in buffers if b["path"] == ["value"] and len(b["data"]) > SMALLEST]
    return own + [png for child in state.get("children", []) for png in pictures(models, child.removeprefix("IPY_MODEL_"))]


SMALLEST = 1000
"""Characters below which a picture is empty."""


def mathml(tex: str, display: str) -> str | None:
    """A formula as MathML, or None where it cannot be read or latex2mathml is not installed. display: inline or block."""
    try:
        from latex2mathml.converter import convert

        return convert(tex.replace(r"\|", r"\Vert "), display=display)
    except Exception:  # it raises a kind of its own for every slip in TeX: then the formula stays as it is written
        return None
