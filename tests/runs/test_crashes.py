"""A run that is killed at any moment of its life ends as if it had not been, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def killed(kills: int, *names: str) -> dict[str, int]:
    """What became of so many kills, see crashes.py."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "crashes.py"), str(kills), *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["survived"] == found["made"] and not found["strays"], done.stdout
    return found


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_few_kills_are_survived():
    found = killed(6, "dsr")
    assert found["made"] >= 4 and 2 * found["with a checkpoint"] >= found["made"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_kills_before_file_operations_all_over_a_life_and_at_other_moments_are_survived_by_every_method():
    found = killed(280)
    assert found["made"] >= 200 and 2 * found["with a checkpoint"] >= found["made"]
