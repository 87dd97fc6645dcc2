"""Results as rows, and the tables, figures and pages made from them."""

from virolbi.results.figures import curves_svg
from virolbi.results.page import write_report
from virolbi.results.rows import (
    MEASURE,
    Row,
    add_detail,
    add_rows,
    held,
    identity,
    read_details,
    read_lines,
    read_rows,
    write_rows,
)
from virolbi.results.statistics import paired, share, sign_tail, wilson_interval
from virolbi.results.summary import caption, read_folder, summarise
from virolbi.results.tables import by_corruption, markdown, plain_table, terminal_table, versus

__all__ = ['MEASURE', 'Row', 'add_detail', 'add_rows', 'by_corruption', 'caption', 'curves_svg', 'held', 'identity', 'markdown', 'paired', 'plain_table', 'read_details', 'read_folder', 'read_lines', 'read_rows', 'share', 'sign_tail', 'summarise', 'terminal_table', 'versus', 'wilson_interval', 'write_report', 'write_rows']
