"""Many runs: what a plan lists, what is kept of each, what they say beside each other."""

from ..experiment.own import source_digest
from .by_factor import by_factor
from .cluster import on
from .compare import Band, Comparison, Row, compared, one_length, recorded_on
from .execute import Cost, ExecutionReport, PlanStatus, cost_left, execute_plan, plan_status
from .gains import Gain
from .gather import RecordedRun, gather, recorded, to_train, with_records
from .headline import Headline, headline
from .lengths import ByLength, Level, Said, by_length
from .plan import Plan, plans, read_plan
from .rerun import SCALES, table
from .result import CURVES, Result, load_results, read_result, result_label, result_of, results_folder, write_result
from .search import Search, Setting, search, searched
from .tables import Line, PaperTable, Place
from .tune import EqualTuning, Try, Tuned, tune

__all__ = [
    "Band", "ByLength", "CURVES", "Comparison", "Cost", "EqualTuning", "ExecutionReport", "Gain", "Headline", "Level", "Line",
    "PaperTable", "Place", "Plan", "PlanStatus", "RecordedRun", "Result", "Row", "SCALES", "Said", "Search", "Setting", "Try",
    "Tuned", "by_factor", "by_length", "compared", "cost_left", "execute_plan", "gather", "headline", "load_results", "on",
    "one_length", "plan_status", "plans", "read_plan", "read_result", "recorded", "recorded_on", "result_label", "result_of",
    "results_folder", "search", "searched", "source_digest", "table", "to_train", "tune", "with_records", "write_result",
]  # fmt: skip
