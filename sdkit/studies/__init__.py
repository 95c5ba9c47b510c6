"""Many runs: what a plan lists, what is kept of each, what they say beside each other."""

from .compare import Band, Comparison, Row, compared, one_length
from .execute import ExecutionReport, PlanStatus, execute_plan, plan_status
from .lengths import ByLength, Gain, Level, Said, by_length
from .plan import Plan, plans, read_plan
from .result import (
    CURVES,
    Result,
    load_results,
    read_result,
    result_label,
    result_of,
    results_folder,
    source_digest,
    write_result,
)
from .tune import EqualTuning, Try, Tuned, tune

__all__ = [
    "EqualTuning", "Try", "Tuned", "tune",
    "CURVES", "Band", "ByLength", "Comparison", "ExecutionReport", "Gain", "Level", "Plan", "PlanStatus", "Result", "Row",
    "Said", "by_length", "compared", "execute_plan", "load_results", "one_length", "plan_status", "plans", "read_plan",
    "read_result", "result_label", "result_of", "results_folder", "source_digest", "write_result",
]  # fmt: skip
