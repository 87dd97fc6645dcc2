import io
import re

from rich.console import Console

from virolbi.results import caption, markdown, plain_table, summarise, terminal_table


def test_the_markdown_table_has_the_figures_and_marks_the_best(rows):
    table = markdown(summarise(rows))
    header, _, first, *_ = table.splitlines()
    assert header.startswith(
        "| trained on | tested | clean | Gauss 0.04 | Gauss 0.08 | Gauss 0.1 "
        "| shot 50 | impulse 4 |"
    )
    best = [".785", ".745", ".705", ".655", ".625", ".605", ".705", ".685", ".605", ".667"]
    figures = [".805", *(f"**{value}**" for value in best)]
    assert first == " | ".join(["| fixed", "smoothed", *figures]) + " |"
    assert "mean over 2 seeds on 400 test images" in table
    assert re.search(
        r"95 % interval up to ±0\.04\d; standard deviation over seeds up to 0\.007",
        caption(summarise(rows)),
    )


def test_the_terminal_table_fits_80_columns(rows):
    longest = [
        row | {"arm": "rival: Gaussian noise"} if row["arm"] == "fixed" else row for row in rows
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(terminal_table(summarise(longest)))
    text = out.getvalue()
    (words,) = [
        line.split()
        for line in text.splitlines()
        if "Gaussian noise" in line and "smoothed" in line
    ]
    assert "…" not in text
    assert words[4:] == [".805", ".705", ".655", ".605", ".705", ".685", ".605"]


def test_a_plain_table_has_the_columns_of_the_first_row():
    table = plain_table([{"name": "a", "accuracy": 0.25}, {"name": "b", "images": 3}])
    assert [column.header for column in table.columns] == ["name", "accuracy"]
    assert [list(column.cells) for column in table.columns] == [["a", "b"], [".250", ""]]


def test_rows_under_attack_alone_have_a_caption(rows_of):
    attacked = {"condition": "attacks", "severity": 1, "budget": "linf, 2 steps"}
    (row,) = (row | attacked for row in rows_of("ours", "raw", {"clean": 0.5}, seeds=(0,)))
    text = markdown(summarise([row]))
    assert "on 400 images, with linf, 2 steps" in text
    assert caption(summarise([row | {"condition": "pgd"}])) == "Accuracy."


def test_tables_have_no_characters_that_nothing_can_print(rows_of):
    lines = summarise([*rows_of("file \udcff", "view \udcfe", {"clean": 0.5})])
    out = io.StringIO()
    Console(file=out, width=80).print(terminal_table(lines))
    for text in (out.getvalue(), markdown(lines)):
        text.encode()
        assert "file \\udcff" in text
        assert "view \\udcfe" in text
