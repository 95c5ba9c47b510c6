"""A picture that says where it was clicked and where the mouse is. The core widgets have none."""

from __future__ import annotations

import anywidget
import traitlets

SCRIPT = """
function render({ model, el }) {
  const image = document.createElement("img");
  image.tabIndex = 0;
  image.draggable = false;
  el.append(image);

  // JupyterLab's shortcuts take the arrow keys from lists and pictures, unless the focused element says otherwise
  const keep = (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  const alone = (tries) => {
    const output = el.closest(".jp-OutputArea-output");
    if (output) output.addEventListener("focusin", keep);
    else if (tries) requestAnimationFrame(() => alone(tries - 1));
  };
  alone(120);

  let url = "";
  const show = () => {
    const old = url;
    url = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    image.src = url;
    if (old) URL.revokeObjectURL(old);
  };
  const say = () => { image.alt = model.get("about"); };
  const send = (name, value) => { model.set(name, value); model.save_changes(); };
  const place = (event) => {
    const box = image.getBoundingClientRect();
    const within = (value) => Math.min(Math.max(value, 0), 1);
    return [within((event.clientX - box.left) / box.width), within((event.clientY - box.top) / box.height)];
  };

  let waiting = null, last = null;
  const soon = (where) => {
    last = where;
    waiting ??= setTimeout(() => { waiting = null; send("hover", last); }, 60);
  };
  image.addEventListener("click", (event) => {
    image.focus();
    model.set("at", place(event));
    send("clicks", model.get("clicks") + 1);
  });
  image.addEventListener("mousemove", (event) => soon(place(event)));
  image.addEventListener("mouseleave", () => soon(null));
  let presses = 0;
  image.addEventListener("keydown", (event) => {
    if (!model.get("listens").includes(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    send("pressed", [event.key, ++presses]);
  });

  model.on("change:value", show);
  model.on("change:about", say);
  show();
  say();
  return () => {
    clearTimeout(waiting);
    URL.revokeObjectURL(url);
    model.off("change:value", show);
    model.off("change:about", say);
  };
}
export default { render };
"""

LOOK = """
.sdkit-pointer img { max-width: 100%; cursor: crosshair; display: block; }
.sdkit-pointer img:focus-visible { outline: 2px solid #0072B2; outline-offset: 1px; }
"""

ARROWS = {"ArrowLeft": -1, "ArrowRight": 1}
"""Which way a key walks."""


class Pointer(anywidget.AnyWidget):
    """A PNG that reports the mouse. Places are (x, y) in fractions of the image, from its top left corner.

    Observe `at` for clicks, `clicks` (their count) where two at one place are two events, and `hover` for moves: one per 60 ms,
    None when the mouse leaves. The image takes the keyboard's focus: `pressed` is the last of the keys named in `listens`, with
    a count, so that the same key twice is two events. The notebook's shortcuts stay out of the panel that it stands in.
    """

    _esm = SCRIPT
    _css = LOOK
    value = traitlets.Bytes(b"").tag(sync=True)
    about = traitlets.Unicode("a figure").tag(sync=True)  # what a screen reader says
    listens = traitlets.List(traitlets.Unicode(), [*ARROWS]).tag(sync=True)
    clicks = traitlets.Int(0).tag(sync=True)
    at = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=None, allow_none=True).tag(sync=True)
    hover = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=None, allow_none=True).tag(sync=True)
    pressed = traitlets.Tuple(traitlets.Unicode(), traitlets.Int(), default_value=None, allow_none=True).tag(sync=True)

    def __init__(self, css_class: str = "", **options) -> None:
        super().__init__(**options)
        for name in ("sdkit-pointer", *css_class.split()):
            self.add_class(name)
