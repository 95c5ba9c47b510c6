"""The assembly room: names, numbers and parts of your own become trained networks that are found again."""

from .bases import base_experiment, small_experiment
from .of_papers import in_words, of_setting, paper_experiment
from .own import find, register, short
from .spec import Experiment, live_folder, repeated
from .sweep import by_knob, in_form, run_all, sweep
from .trained import Trained

__all__ = [
    "Experiment", "Trained", "base_experiment", "by_knob", "find", "in_words", "live_folder", "of_setting",
    "in_form", "paper_experiment", "register", "repeated", "run_all", "short", "small_experiment", "sweep",
]  # fmt: skip
