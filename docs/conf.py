"""How the documentation's pages are made, `python3 start.py docs`, from what `build.py` lays out in build/docs/source."""

from __future__ import annotations

import os
import sys
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LOG = logging.getLogger(__name__)
sys.path[:0] = [str(HERE), str(ROOT)]

from docstrings import described  # noqa: E402
from pages import documented  # noqa: E402

import sdkit  # noqa: E402
from sdkit.pages import mathml  # noqa: E402

project, author, release = "sdkit", "The sdkit authors", sdkit.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "myst_nb"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
default_role = "literal"  # a `word` in a docstring is code, as in Markdown

myst_enable_extensions = ["attrs_inline", "dollarmath", "colon_fence", "html_image"]
myst_heading_anchors = 3  # the anchors that GitHub gives headings
nb_execution_mode = "off"  # a page shows what a reader's own run left, or nothing
nb_ipywidgets_js: dict[str, Any] = {}  # live widgets would be fetched from elsewhere

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what every Method can be asked is told once
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "pydata_sphinx_theme"
html_title = "sdkit"
html_static_path = [str(HERE / "style.css")]
html_css_files = ["style.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "show_nav_level": 1,
    "footer_start": ["copyright"],
    "footer_end": [],
    "use_edit_page_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": []}
copyright = "the sdkit authors, MIT licence"
suppress_warnings = [
    "myst.header",  # a notebook's headings may leave out a level
    "ref.python",  # `bytes` is a field of two classes, too
]


def setup(app: Any) -> None:
    """Formulas as MathML, docstrings in plain words, and links to source files."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (block_formula, None))
    app.connect("autodoc-process-docstring", docstring, priority=100)  # before napoleon
    app.add_post_transform(SourceFiles)


def inline_formula(page: Any, node: nodes.Node) -> None:
    """A formula within a line; browsers draw MathML themselves."""
    page.body.append(_formula(node.astext(), "inline"))
    raise nodes.SkipNode


def block_formula(page: Any, node: nodes.Node) -> None:
    """A formula of its own."""
    page.body.append(f'<div class="formula">{_formula(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def _formula(tex: str, display: str) -> str:
    found = mathml(tex, display)
    if found is None:
        LOG.warning("this formula cannot be written as MathML: %s", tex)
    return found or f"<code>{escape(tex)}</code>"


def docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """A docstring, which is plain text with `code`, as reStructuredText."""
    lines[:] = described(lines, what, name, thing)


class SourceFiles(SphinxPostTransform):
    """A link to a file of sdkit, which GitHub shows, leads to the page of its source here, or of its room."""

    default_priority = 8  # before MyST says that it knows no such page

    def run(self, **_: Any) -> None:
        """Replaces each such link of a page."""
        for node in [*self.document.findall(addnodes.pending_xref)]:
            place = os.path.normpath(os.path.join(os.path.dirname(self.env.docname), node["reftarget"]))
            if node["reftype"] == "myst" and place.startswith("sdkit/") and (ROOT / place).is_file():
                file = place.removesuffix(".py").removesuffix("/__init__")
                page = f"_modules/{file}" if file.replace("/", ".") in documented() else f"api/{file.split('/')[1]}"
                address = self.app.builder.get_relative_uri(self.env.docname, page)
                node.replace_self(nodes.reference("", "", node[0].deepcopy(), internal=True, refuri=address))
