"""Many runs: what a plan lists, what is kept of each, what they say beside each other."""

from .compare import Band, Comparison, Row, compared, one_length
from .execute import ExecutionReport, PlanStatus, execute_plan, plan_status
from .gains import Gain
from .headline import Headline, headline
from .lengths import ByLength, Level, Said, by_length
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
    "Band", "ByLength", "CURVES", "Comparison", "EqualTuning", "ExecutionReport", "Gain", "Headline", "Level", "Plan",
    "PlanStatus", "Result", "Row", "Said", "Try", "Tuned", "by_length", "compared", "execute_plan", "headline",
    "load_results", "one_length", "plan_status", "plans", "read_plan", "read_result", "result_label", "result_of",
    "results_folder", "source_digest", "tune", "write_result",
]  # fmt: skip
