"""The README's strip: the training panel as a hand turns it, photographed in a headless Chromium while it trains.

python benchmarks/strip.py        writes docs/panel.png
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import browser  # noqa: E402

CELL = """
from sdkit import Experiment, Recipe
from sdkit.widgets import TrainingPanel
TrainingPanel(Experiment("drg+dsr", model="four-stage", network={"width": 4}, data="digits", dataset={"train_size": 200},
                         recipe=Recipe(epochs=12, batch_size=20, lr=0.05)))
"""
EPOCH = "n => +(/epoch (\\d+) of/.exec(document.querySelector('.sdkit-says').innerText)?.[1] ?? 0) >= n"
SAYS = "w => document.querySelector('.sdkit-says').innerText.includes(w)"
PAPER, GAP, WIDTH = "white", 14, 1860


def turn(page: Any, knob: str, key: str) -> None:
    """A key on a knob's handle, and the picture that answers."""
    old = page.locator("img.sdkit-curves").get_attribute("src")
    page.locator(f".sdkit-{knob} .noUi-handle").focus()
    page.keyboard.press(key)
    browser.wait_for_new_image(page, "img.sdkit-curves", old)


def photographs() -> list[tuple[str, bytes]]:
    """What the hand did, and the panel from its sliders to its curves."""
    shots = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SDKIT_HOME"] = f"{folder}/home"
        with browser.serve(Path(folder) / "lab") as lab, browser.chromium(Path(folder) / "profile") as address:
            size = {"viewport": {"width": 900, "height": 1400}, "device_scale_factor": 1.5}
            with browser.shared_page(lab, address, "strip.ipynb", CELL, **size) as page:
                browser.wait_until_done(page)
                page.set_default_timeout(300_000)
                page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")

                def shoot(said: str) -> None:
                    page.wait_for_timeout(400)
                    panel = page.locator(".sdkit-panel").first.bounding_box()
                    picture = page.locator("img.sdkit-curves").bounding_box()
                    high = picture["y"] + picture["height"] - panel["y"]
                    clip = {"x": panel["x"], "y": panel["y"], "width": panel["width"], "height": high}
                    shots.append((said, page.screenshot(clip=clip)))

                page.locator(".sdkit-start").click()
                page.wait_for_function(EPOCH, arg=5)
                page.locator(".sdkit-pause").click()
                shoot("1  It trains, α at the paper's 0.2")
                turn(page, "drg-alpha", "End")
                page.locator(".sdkit-pause").click()
                page.wait_for_function(EPOCH, arg=9)
                page.locator(".sdkit-pause").click()
                shoot("2  α turned to its end: marked on the curves")
                page.locator(".sdkit-pause").click()
                page.wait_for_function(SAYS, arg="done")
                page.locator(".sdkit-fork-at .noUi-handle").focus()
                for _ in range(2):
                    page.keyboard.press("ArrowRight")
                page.locator(".sdkit-dsr-beta .noUi-handle").focus()
                page.keyboard.press("End")
                page.locator("button.sdkit-fork").click()
                page.wait_for_function("() => document.querySelector('.sdkit-target select').value.startsWith('fork 1')")
                page.wait_for_function(SAYS, arg="done")
                shoot("3  Forked after epoch 3 with another β")
    return shots


def strip(shots: list[tuple[str, bytes]]) -> Image.Image:
    """The photographs beside each other, each under what it shows."""
    pictures = [Image.open(io.BytesIO(shot)).convert("RGB") for _, shot in shots]
    wide = (WIDTH - GAP * (len(shots) - 1)) // len(shots)
    pictures = [p.resize((wide, round(p.height * wide / p.width)), Image.Resampling.LANCZOS) for p in pictures]
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans:bold"), 23)
    whole = Image.new("RGB", (WIDTH, max(p.height for p in pictures) + 44), PAPER)
    draw = ImageDraw.Draw(whole)
    for i, ((said, _), picture) in enumerate(zip(shots, pictures, strict=True)):
        draw.text((i * (wide + GAP), 4), said, "#222222", font)
        whole.paste(picture, (i * (wide + GAP), 44))
    return whole.quantize(128)


def main() -> None:
    """Photographs, joins and writes."""
    if reason := browser.what_is_missing():
        sys.exit(reason)
    path = ROOT / "docs" / "panel.png"
    strip(photographs()).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
