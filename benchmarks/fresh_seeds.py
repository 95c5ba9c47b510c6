"""Do fresh seeds fall where the intervals say? Gains of the first five recorded seeds beside those of later ones.

`python benchmarks/fresh_seeds.py` reads the records of `quick` in data/records/length. The first five seeds of every method
make its interval; the later ones were trained after the laboratory had been chosen and its intervals published.
"""

from __future__ import annotations

from sdkit import RECIPES, studies
from sdkit.figures import label
from sdkit.studies.gains import gain_of, partners, spreads

FIRST = 5


def main() -> None:
    """Prints a line a method: its gain, where the later seeds were to fall, and where they fell."""
    usual = RECIPES["quick"].epochs
    records = [r for r in studies.load_results("length") if r["recipe.epochs"] == usual and r.config["network"] == PLAIN]
    runs: dict[str, list[studies.Result]] = {}
    for r in records:
        runs.setdefault(str(r["method"]), []).append(r)
    pairs = {m: partners(listed, runs["vanilla"]) for m, listed in runs.items() if m != "vanilla"}
    early = {m: {s: both for s, both in of.items() if s < FIRST} for m, of in pairs.items()}
    late = {m: {s: both for s, both in of.items() if s >= FIRST} for m, of in pairs.items()}
    known, single, inside, count = spreads(early), 0, 0, 0
    print(f"| method | gain of seeds 0 to {FIRST - 1} | the later seeds' mean is to fall in | it is | each seed |")
    print("|---|---|---|---|---|")
    for m in [m for m in early if late[m]]:
        gain = gain_of(early[m], *known[m])
        fresh = gain_of(late[m], *known[m])
        low, high = gain.range_of_mean(len(fresh.seeds))
        within = low <= fresh.mean <= high
        inside, count = inside + within, count + 1
        one_low, one_high = gain.range_of_mean(1)
        single += sum(one_low <= value <= one_high for value in fresh.seeds.values())
        each = ", ".join(f"{100 * value:+.1f}" for value in fresh.seeds.values())
        fell = f"{100 * fresh.mean:+.1f}{'' if within else ' (outside)'}"
        print(f"| {label(m)} | {gain} | {100 * low:+.1f} to {100 * high:+.1f} | {fell} | {each} |")
    total = sum(map(len, late.values()))
    print(f"\n{inside} of {count} means and {single} of {total} single seeds lie where 19 of 20 are to lie.")


PLAIN = studies.read_plan("length").experiments[0].config["network"]

if __name__ == "__main__":
    main()
