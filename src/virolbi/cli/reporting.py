"""Commands that show results: versus and report."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from virolbi.cli.app import command, console


@command("versus")
def _versus(
    folder: Annotated[Path, typer.Argument(help="Folder with rows.jsonl and details.jsonl.")],
    first: Annotated[
        str,
        typer.Argument(help="A model in the rows; one with several views is written arm/view."),
    ],
    second: Annotated[str, typer.Argument(help="Another model.")],
) -> None:
    """Compare two models on the same images.

    The comparison goes condition by condition, and says which differences are significant.
    """
    from virolbi import results

    console.print(results.versus(folder, first, second))


@command("report")
def _report(
    folder: Annotated[Path, typer.Argument(help="Folder of evaluate, compare, certify or adapt.")],
    html: Annotated[
        Path | None,
        typer.Option(help="File for the page. Default: report.html in the folder."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option(help="Print the table as Markdown instead, and write no page.")
    ] = False,
) -> None:
    """Show results as a table and as an HTML page.

    The page is one self-contained file.
    """
    from virolbi import results

    if markdown:
        sys.stdout.write(results.markdown(results.summarise(results.read_results(folder))))
        return
    page = results.write_report(folder, html)
    rows = results.read_rows(folder / results.ROWS)
    if rows:
        console.print(results.terminal_table(results.summarise(rows)))
    for warning in results.report_warnings(folder):
        console.print(warning)
    console.print(f"written to {page}")
