"""`sdkit claims`: what came of the papers' claims."""

from __future__ import annotations

from collections import Counter

import tyro


def claims(paper: tyro.conf.Positional[str | None] = None, keep: bool = False) -> None:
    """Print every claim of the five papers, what the paper's own numbers say of it, and what was measured here.

    Measured here means by the notebooks, in the last cell of each; where none has run yet, what is recorded is said.

    Args:
        paper: of one paper alone, byot for example.
        keep: record the verdicts in data/records/claims.json, for those who have none of their own.

    Raises:
        ValueError: there is nothing to keep.
    """
    from .. import figures, papers
    from ..core import pick
    from ..train import default_device, device

    found = figures.accounts(figures.folder() if keep else None)
    if keep and not found.found:
        raise ValueError(f"no notebook has judged a claim in {figures.folder()}: `python3 start.py figures` runs them")
    listed = figures.Account(found.found, (pick(paper, papers.PAPERS, "paper"),) if paper else found.of)
    for name in listed.of:
        print(f"== {papers.PAPERS[name].title}\n\n{figures.Account(found.found, (name,))}\n")
    counts = sum(listed.tally().values(), Counter())
    print(f"{paper or 'all papers'}: " + ", ".join(f"{n} {word}" for word, n in counts.most_common()))
    if found.device:
        print(f"recorded, on {found.device}")
    if keep:
        print(f"kept: {figures.record_claims(found, device.device_name(default_device()))}")
