"""The papers' claims beside what came of each here: a notebook's last table, kept beside its figures, and one page of all."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import papers
from ..core import home
from ..papers.checks import Verdict, all_of
from ..runs import Damaged, read_json, write_json
from .report import ORDER, WORDS, badge, escaped, folder

NAME = "claims.json"
"""What a paper's claims came to, in the folder of its figures."""

NOT_JUDGED = "not judged"

HELD = {"held": True, "did not hold": False}
"""A verdict's word -> whether the claim held; none of both where it cannot be told."""

ALL_WORDS = (*WORDS, NOT_JUDGED)

CLAIMS_LOOK = """
.sdkit-claims { border-collapse: collapse; font-size: .9rem; color: #222; background: #fff }
.sdkit-claims th, .sdkit-claims td { text-align: left; vertical-align: top; padding: .4rem; border-bottom: 1px solid #d9d9d9 }
.sdkit-claims ul { margin: .3rem 0; padding-left: 1.1rem }
.sdkit-claims .badge { color: #fff; border-radius: 4px; padding: .1rem .4rem; font-weight: 600; white-space: nowrap }
"""


@dataclass(frozen=True)
class Account:
    """Every claim of some papers, and what was found of it. Shown as a table, printed as text."""

    found: Mapping[str, tuple[str, list[Verdict]]]  # a claim's id -> where it was judged, and the verdicts
    of: tuple[str, ...] = ()  # papers
    device: str = ""  # on which it was judged

    def __str__(self) -> str:
        return "\n\n".join(papers.account(paper, self._of(paper)) for paper in self.of)

    def _of(self, paper: str) -> dict[str, tuple[str, list[Verdict]]]:
        return {c.id: self.found[c.id] for c in papers.claims(paper) if c.id in self.found}

    def word(self, claim: papers.Claim) -> str:
        """What came of a claim, of its verdicts together.

        Args:
            claim: One of a paper's.

        Returns:
            "held", "did not hold", "cannot be told at this scale", or "not judged".
        """
        _, verdicts = self.found.get(claim.id, ("", []))
        return Verdict("", "", all_of([v.held for v in verdicts])).word if verdicts else NOT_JUDGED

    def rows(self) -> list[tuple[papers.Claim, str, str, list[Verdict]]]:
        """Every claim with the word for what came of it, where it was judged, and its verdicts."""
        listed = [claim for paper in self.of for claim in papers.claims(paper)]
        return [(claim, self.word(claim), *self.found.get(claim.id, ("", []))) for claim in listed]

    def tally(self) -> dict[str, Counter[str]]:
        """Paper -> word -> how many of its claims came out so."""
        counts: dict[str, Counter[str]] = {paper: Counter() for paper in self.of}
        for claim, word, _, _ in self.rows():
            counts[claim.paper][word] += 1
        return counts

    def _repr_html_(self) -> str:
        rows = []
        for claim, word, where, verdicts in self.rows():
            said = "".join(f"<li>{badge(v.word)} {escaped(v.claim)}<br>{escaped(v.measured)}</li>" for v in verdicts)
            check = "" if claim.check in ("", "-") else f"not run; the check would be: {claim.check}"
            here = f"<ul>{said}</ul><small>{escaped(where)}</small>" if verdicts else f"<small>{escaped(check)}</small>"
            rows.append(
                f'<tr id="{escaped(claim.id)}">'
                + "".join(f"<td>{escaped(text)}</td>" for text in (claim.where, claim.claim, own_numbers(claim)))
                + f"<td>{badge(word)}{here}</td></tr>"
            )
        head = "".join(f'<th scope="col">{w}</th>' for w in ("where", "the paper claims", "its own numbers", "here"))
        return (
            f'<style>{CLAIMS_LOOK}</style><table class="sdkit-claims"><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table>"
        )


def account(paper: str, here: Mapping[str, tuple[str, Iterable[Verdict]]]) -> Account:
    """Every claim of a paper beside what was found of it, which is kept as a file beside the paper's figures.

    Args:
        paper: its name, "byot" for example.
        here: a claim's id -> where it was judged (network, data, seeds), and the verdicts. What another notebook found of
            other claims of the paper stays.

    Returns:
        The account: print it, or let a cell show it.

    Raises:
        KeyError: the paper has no such claim; the nearest is suggested.
    """
    found = {id: (where, [*verdicts]) for id, (where, verdicts) in here.items()}
    papers.account(paper, found)  # whether it has these claims
    path = folder() / paper / NAME
    with contextlib.suppress(Damaged, FileNotFoundError):
        found = dict(_read(read_json(path), path).found) | found
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"paper": paper, "claims": _written(found)})
    return Account(found, (paper,))


def accounts(where: Path | None = None) -> Account:
    """What the notebooks found of every claim of the five papers.

    Args:
        where: a folder of figures, or a file of recorded verdicts; None: the folder here, where a notebook has judged a
            claim in it, else what is recorded.

    Returns:
        The account of all papers; a claim that was not judged has no verdict.

    Raises:
        Damaged: a file is not what was written.
    """
    if where is None:
        places = [folder(), home() / RECORDED, Path(__file__).parents[2] / RECORDED]
        return next((found for found in map(accounts, places) if found.found), Account({}, ORDER))
    if where.is_file():
        return _read(read_json(where), where)
    files = [p for paper in ORDER if (p := where / paper / NAME).exists()]
    return Account({id: said for p in files for id, said in _read(read_json(p), p).found.items()}, ORDER)


RECORDED = Path("data") / "records" / NAME
"""The verdicts that ship with the workbook."""


def record_claims(found: Account, device: str) -> Path:
    """Records the verdicts for those who have none of their own, beside those of other claims from such a device.

    Args:
        found: what `accounts` read.
        device: where the runs were trained, as a record says it.

    Returns:
        The file.
    """
    path = home() / RECORDED
    path.parent.mkdir(parents=True, exist_ok=True)
    before = accounts(path) if path.exists() else Account({})
    others = before.found if before.device == device else {}
    write_json(path, {"device": device, "claims": _written({**others, **found.found})})
    return path


def own_numbers(claim: papers.Claim) -> str:
    """What a paper's own numbers say of a claim of its.

    Args:
        claim: One of a paper's.

    Returns:
        "yes", "NO" or other words, with the numbers.
    """
    numbers = claim.numbers.translate(str.maketrans("", "", "[]'\""))
    return claim.supported if numbers in ("", "-") else f"{claim.supported}: {numbers}"


def _written(found: Mapping[str, tuple[str, list[Verdict]]]) -> dict[str, Any]:
    def plain(v: Verdict) -> dict[str, str]:
        return {"claim": v.claim, "measured": str(v.measured), "word": v.word}

    return {id: {"where": where, "verdicts": [plain(v) for v in said]} for id, (where, said) in found.items()}


def _claims(plain: Any, path: Path) -> dict[str, Any]:
    if not isinstance(plain, dict) or not isinstance(plain.get("claims"), dict):
        raise Damaged(f"{path} is not what was found of a paper's claims: delete it, and run the paper's notebook again")
    return plain["claims"]


def _read(plain: Any, path: Path) -> Account:
    known = {c.id for paper in papers.PAPERS for c in papers.claims(paper)}
    try:
        found = {
            id: (
                str(said["where"]),
                [Verdict(str(v["claim"]), str(v["measured"]), HELD.get(v["word"])) for v in said["verdicts"]],
            )
            for id, said in _claims(plain, path).items()
            if id in known
        }
    except (TypeError, KeyError) as error:
        raise Damaged(f"{path} is not what was found of a paper's claims ({error!r}): delete it") from error
    return Account(found, ORDER, str(plain.get("device", "")))
