"""Results as rows, and the tables, figures and pages made from them."""

from virolbi.results.figures import curves_svg
from virolbi.results.page import check_warnings, write_report
from virolbi.results.rows import (
    MEASURE,
    Row,
    add_detail,
    add_rows,
    locked,
    read_details,
    read_lines,
    read_rows,
    row_key,
    write_rows,
)
from virolbi.results.statistics import (
    accuracy_interval,
    paired_test,
    sign_test_tail,
    wilson_interval,
)
from virolbi.results.summary import caption, read_results, summarise
from virolbi.results.tables import by_corruption, markdown, plain_table, terminal_table, versus

__all__ = [
    "MEASURE",
    "Row",
    "accuracy_interval",
    "add_detail",
    "add_rows",
    "by_corruption",
    "caption",
    "check_warnings",
    "curves_svg",
    "locked",
    "markdown",
    "paired_test",
    "plain_table",
    "read_details",
    "read_lines",
    "read_results",
    "read_rows",
    "row_key",
    "sign_test_tail",
    "summarise",
    "terminal_table",
    "versus",
    "wilson_interval",
    "write_report",
    "write_rows",
]
