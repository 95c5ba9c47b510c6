"""The commands that write results into the repository take nothing away where nothing is trained."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_a_table_of_seeds_stays_where_none_of_its_runs_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("SDKIT_HOME", str(tmp_path))
    monkeypatch.setenv("SDKIT_PRECISION", "float32")
    spec = importlib.util.spec_from_file_location("laboratory", ROOT / "benchmarks" / "laboratory.py")
    laboratory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(laboratory)
    monkeypatch.setattr(laboratory, "SEEDS", tmp_path / "seeds.json")
    laboratory.SEEDS.write_text("[1]")
    with pytest.raises(SystemExit, match="nothing of it is trained here"):
        laboratory.measure(1)
    assert laboratory.SEEDS.read_text() == "[1]"
