"""Runs on disk: one folder each, and all of them as a table."""

from .files import Damaged, digest, load_tensors, read_json, replacing, write, write_json
from .folder import CHECKPOINT_EVERY, HELD, Busy, Run, all_runs, find, find_checkpoint, key_of, root, scheduled
from .recorder import ROOM
from .table import (
    READ,
    SWEPT,
    Points,
    RunRow,
    columns,
    epoch_table,
    measured_in,
    points,
    records,
    select,
    settings_of,
    swept,
    varied,
)
from .travel import packed, store

__all__ = [
    "Busy",
    "CHECKPOINT_EVERY",
    "Damaged",
    "HELD",
    "Points",
    "READ",
    "ROOM",
    "Run",
    "RunRow",
    "SWEPT",
    "all_runs",
    "columns",
    "digest",
    "epoch_table",
    "find",
    "find_checkpoint",
    "key_of",
    "load_tensors",
    "measured_in",
    "packed",
    "points",
    "read_json",
    "records",
    "replacing",
    "root",
    "scheduled",
    "select",
    "settings_of",
    "store",
    "swept",
    "varied",
    "write",
    "write_json",
]
