"""What a panel asks of the page and the core widgets have no field for: its look, names for handles, words for pictures."""

from __future__ import annotations

from typing import Any

import anywidget
import traitlets

SCRIPT = """
function render({ model, el }) {
  const set = (at, name, value) => { if (value && at.getAttribute(name) !== value) at.setAttribute(name, value); };
  let panel = null, waits = false;
  const name = () => {
    waits = false;
    for (const row of panel.querySelectorAll(".widget-hslider")) {
      const label = row.querySelector(".widget-label")?.textContent, readout = row.querySelector(".widget-readout");
      for (const handle of row.querySelectorAll(".noUi-handle")) {
        set(handle, "aria-label", label);
        set(handle, "aria-valuetext", readout?.textContent);
      }
      if (readout?.isContentEditable) {
        set(readout, "role", "textbox");
        set(readout, "aria-label", `${label}, as a number`);
      }
    }
    for (const [css, words] of Object.entries(model.get("texts")))
      for (const image of panel.querySelectorAll(`img.${css}, .${css} img`)) set(image, "alt", words);
  };
  const soon = () => { if (panel && !waits) { waits = true; requestAnimationFrame(name); } };
  const watch = new MutationObserver(soon);
  const begin = (tries) => {  // the element is in the page only after a while
    panel = el.closest(".sdkit-panel");
    if (panel) {
      watch.observe(panel, { childList: true, subtree: true, characterData: true });
      soon();
    } else if (tries) requestAnimationFrame(() => begin(tries - 1));
  };
  begin(300);
  model.on("change:texts", soon);
  return () => { watch.disconnect(); model.off("change:texts", soon); };
}
export default { render };
"""

LOOK = """
.sdkit-panel, .sdkit-panel .widget-box { overflow: visible; }
.sdkit-panel img.widget-image { width: auto; height: auto; max-height: max(260px, calc(100vh - 306px)); }
.sdkit-page { display: none; }
.sdkit-panel .jupyter-button { width: auto; min-width: 76px; }
.sdkit-knob { column-gap: 12px; }
.sdkit-ends { color: var(--jp-ui-font-color1, inherit); }
.sdkit-panel .widget-html-content { line-height: 1.4; }
.sdkit-panel .sdkit-ends .widget-html-content { font-size: 12px; line-height: 1.25; }
@media (max-height: 640px) {
  .sdkit-panel .sdkit-ends .widget-html-content { font-size: 10.5px; line-height: 1.15; }
}
.sdkit-panel abbr { text-decoration: underline dotted; cursor: help; }
.sdkit-panel .sdkit-progress { min-height: 0; }
"""


class Page(anywidget.AnyWidget):
    """Stands unseen in a panel, and gives its slider handles their names and its pictures their words.

    Args:
        texts: CSS class of a picture -> what it shows, with its numbers, for those who do not see it.
    """

    _esm = SCRIPT
    _css = LOOK
    texts = traitlets.Dict().tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_class("sdkit-page")

    def tell(self, css_class: str, words: str) -> None:
        """Says what a picture shows."""
        if self.texts.get(css_class) != words:
            self.texts = {**self.texts, css_class: words}
