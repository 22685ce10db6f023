"""The HTML report: `write_report` and the `Result` rows that it compares."""

from .page import write_report
from .results import Result, read_results, write_results

__all__ = ["Result", "read_results", "write_report", "write_results"]
