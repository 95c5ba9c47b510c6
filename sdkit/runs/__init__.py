"""Runs on disk: one folder each, and all of them as a table."""

from .collect import Collected, collect
from .export import read_curve, to_csv, to_tensorboard, to_wandb
from .files import Damaged, digest, load_tensors, read_json, replacing, write, write_json
from .folder import CHECKPOINT_EVERY, HELD, Busy, Run, all_runs, by_part, find, find_checkpoint, key_of, root, scheduled
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
    training_seconds,
    varied,
)
from .travel import packed, store

__all__ = [
    "Busy",
    "CHECKPOINT_EVERY",
    "Collected",
    "Damaged",
    "HELD",
    "Points",
    "READ",
    "ROOM",
    "Run",
    "RunRow",
    "SWEPT",
    "all_runs",
    "by_part",
    "collect",
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
    "read_curve",
    "read_json",
    "records",
    "replacing",
    "root",
    "scheduled",
    "select",
    "settings_of",
    "store",
    "swept",
    "to_csv",
    "to_tensorboard",
    "to_wandb",
    "training_seconds",
    "varied",
    "write",
    "write_json",
]
