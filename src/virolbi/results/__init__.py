"""Results as rows, and the tables, figures and pages that are made from them."""

from virolbi.results.adapted import mean_by_order
from virolbi.results.checks import masking_warnings, write_checks
from virolbi.results.classes import (
    Labels,
    accuracy_fields,
    balance_lines,
    check_labels,
    collapse_warnings,
    confusion_matrix,
    read_labels,
    write_labels,
)
from virolbi.results.corruption_table import by_corruption, by_severity
from virolbi.results.details import add_detail, read_details
from virolbi.results.differences import Difference, compare_models
from virolbi.results.figures import curves_svg
from virolbi.results.files import (
    ADAPTED,
    CERTIFIED,
    COMPARISON,
    EXAMPLES,
    HISTORY,
    ROWS,
    RUNS,
    tiles_name,
)
from virolbi.results.json_lines import add_lines, read_lines, rewrite_lines, write_lines
from virolbi.results.page import report_warnings, write_report
from virolbi.results.path_figure import path_svg
from virolbi.results.rows import (
    MEASURE,
    Row,
    RowKey,
    add_rows,
    read_results,
    read_rows,
    row_key,
)
from virolbi.results.statistics import (
    PairedTest,
    SeedTest,
    accuracy_interval,
    paired_test,
    seed_test,
    sign_test_tail,
    wilson_interval,
)
from virolbi.results.summary import STRONGEST_NOISES, summarise
from virolbi.results.tables import caption, markdown, plain_table, terminal_table
from virolbi.results.versus import versus

__all__ = [
    "ADAPTED",
    "CERTIFIED",
    "COMPARISON",
    "EXAMPLES",
    "HISTORY",
    "MEASURE",
    "ROWS",
    "RUNS",
    "STRONGEST_NOISES",
    "Difference",
    "Labels",
    "PairedTest",
    "Row",
    "RowKey",
    "SeedTest",
    "accuracy_fields",
    "accuracy_interval",
    "add_detail",
    "add_lines",
    "add_rows",
    "balance_lines",
    "by_corruption",
    "by_severity",
    "caption",
    "check_labels",
    "collapse_warnings",
    "compare_models",
    "confusion_matrix",
    "curves_svg",
    "markdown",
    "masking_warnings",
    "mean_by_order",
    "paired_test",
    "path_svg",
    "plain_table",
    "read_details",
    "read_labels",
    "read_lines",
    "read_results",
    "read_rows",
    "report_warnings",
    "rewrite_lines",
    "row_key",
    "seed_test",
    "sign_test_tail",
    "summarise",
    "terminal_table",
    "tiles_name",
    "versus",
    "wilson_interval",
    "write_checks",
    "write_labels",
    "write_lines",
    "write_report",
]
