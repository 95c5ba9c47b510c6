#!/usr/bin/env python3
"""Says where this checkout lies on GitHub: `python3 docs/badges.py OWNER/NAME`, in README's badges and anywhere.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "blob/HEAD/notebooks/00_start_here.ipynb"
BADGES = {
    "Open in Colab": (
        "https://colab.research.google.com/assets/colab-badge.svg",
        f"https://colab.research.google.com/github/OWNER/NAME/{NOTEBOOK}",
    ),
    "Open in Kaggle": (
        "https://kaggle.com/static/images/open-in-kaggle.svg",
        f"https://www.kaggle.com/kernels/welcome?src=https://github.com/OWNER/NAME/{NOTEBOOK}",
    ),
    "Open in Binder": (
        "https://mybinder.org/badge_logo.svg",
        "https://mybinder.org/v2/gh/OWNER/NAME/HEAD?urlpath=lab/tree/notebooks",
    ),
}


def main(place: str, root: Path = ROOT) -> None:
    """Writes both files, again where the place has changed. SystemExit where it is none."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        raise SystemExit(f"say OWNER/NAME, as in github.com/OWNER/NAME, got {place!r}")
    readme, anywhere = root / "README.md", root / "docs" / "anywhere.md"
    badges = " ".join(f"[![{name}]({picture})]({address})" for name, (picture, address) in BADGES.items())
    title, _, rest = readme.read_text(encoding="utf-8").partition("\n")
    rest = re.sub(r"\A\n\[!\[.*\n", "", rest)
    readme.write_text(f"{title}\n\n{badges.replace('OWNER/NAME', place)}\n{rest}", encoding="utf-8")
    text = anywhere.read_text(encoding="utf-8")
    known = re.search(r"mybinder\.org/v2/gh/([^/]+/[^/]+)/HEAD", text)
    head, told, tail = text.partition("docs/badges.py OWNER/NAME")  # that line stays as it is
    swap = known[1] if known else "OWNER/NAME"
    anywhere.write_text(head.replace(swap, place) + told + tail.replace(swap, place), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
