import io
import re

from rich.console import Console

from virolbi.corruptions import COMMON, HELD_OUT
from virolbi.results import caption, markdown, plain_table, summarise, terminal_table
from virolbi.results.tables import tabulate


def test_the_markdown_table_has_the_headline_and_marks_the_best(rows):
    table = markdown(summarise(rows))
    header, _, first, *_ = table.splitlines()
    assert header == "| trained on | tested | clean | worst noise | 1/2 size | 1/4 size |"
    assert first == "| fixed | smoothed | .805 | **.605** | **.705** | **.685** |"
    assert "mean over 2 seeds on 400 test images" in table
    assert re.search(
        r"95 % interval up to ±0\.04\d for one condition; "
        r"standard deviation over seeds up to 0\.007",
        caption(summarise(rows)),
    )
    assert "15 common" not in table


def test_the_headline_has_its_order_and_explains_its_figures(rows_of):
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON + HELD_OUT, 0.8) | {"low_resolution": 0.7}
    rows = [*rows_of("plain", "raw", accuracies | {"snow": 0.7})]
    rows += [
        row | {"condition": "attacks", "severity": 1, "level": 0.0078, "budget": "linf, 10 steps"}
        for row in rows
        if row["condition"] == "clean"
    ]
    (line,) = lines = summarise(rows)
    grid = tabulate(lines)
    assert grid.headings[2:] == [
        *("clean", "worst of 15", "mean of 15", "worst noise", "1/2 size", "1/4 size"),
        *("attacks 2/255", "held out"),
    ]
    assert grid.notes[0][3] == "snow"
    assert grid.notes[0][5].startswith("gaussian noise: 95 % interval")
    text = caption([line])
    for part in ("15 common corruptions", "Worst noise", "four further", "with linf, 10 steps"):
        assert part in text


def test_several_budgets_in_one_table_are_shown_and_said(rows):
    passes = {"fixed": 30, "plain <b>": 10}
    counted = [row | {"passes": passes[row["arm"]]} for row in rows]
    lines = summarise(counted)
    grid = tabulate(lines)
    assert grid.headings[2] == "passes"
    assert [texts[2] for texts in grid.body] == ["30", "10", "30"]
    assert "not trained on one budget" in caption(lines)
    alike = summarise([row | {"passes": 30} for row in rows])
    assert "passes" not in tabulate(alike).headings
    assert "budget" not in caption(alike)
    mixed = [row | ({"passes": 30} if row["arm"] == "fixed" else {}) for row in rows]
    assert [texts[2] for texts in tabulate(summarise(mixed)).body] == ["30", "-", "30"]


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
    assert words[4:] == [".805", ".605", ".705", ".685"]


def test_a_narrow_terminal_folds_names_and_keeps_all_figures(rows_of):
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON + HELD_OUT, 0.8) | {"low_resolution": 0.7}
    rows = [*rows_of("rival-augmix-jsd-gaussian-long", "smoothed", accuracies)]
    rows = [row | {"passes": 30} for row in rows] + [*rows_of("plain", "raw", accuracies)]
    rows += [
        row | {"condition": "attacks", "level": 0.0078, "budget": "linf", "severity": 1}
        for row in rows
        if row["condition"] == "clean"
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(terminal_table(summarise(rows)))
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert {"passes", "attacks", "2/255", "held", "out", "noise", "size"} <= set(text.split())


def test_names_of_views_stay_apart_in_80_columns(rows):
    name = "efficientnet_lite0_of_a_long_name"
    longest = [
        row | {"arm": name, "view": f"smoothed 0.123{4 if row['view'] == 'raw' else 5}"}
        for row in rows
        if row["arm"] == "fixed"
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(terminal_table(summarise(longest)))
    text = out.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    folded = "".join(text.split())
    assert all(f".{digits}" in text for digits in ("805", "605", "705"))
    assert "0.1234" in folded or "1234" in text
    assert "0.1235" in folded or "1235" in text


def test_a_plain_table_has_the_columns_of_all_rows():
    table = plain_table([{"name": "a", "accuracy": 0.25}, {"name": "b", "images": 3}])
    assert [column.header for column in table.columns] == ["name", "accuracy", "images"]
    assert [list(column.cells) for column in table.columns] == [["a", "b"], [".250", ""], ["", "3"]]


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


def cells_of(line):
    """Texts of the cells of one line of a Markdown table, by the rules of GitHub."""
    parts = re.findall(r"\|((?:\\.|[^|\\])*)", line)
    return [re.sub(r"\\([|\\])", r"\1", part).strip() for part in parts][:-1]


def test_names_stay_in_their_cells_of_a_markdown_table(rows_of):
    names = ["a|b", r"a\|b", r"a\\|", "two\nlines", "||", "\\udcff"]
    rows = [row for name in names for row in rows_of(name, "raw|x", {"clean": 0.5})]
    header, rule, *lines = markdown(summarise(rows)).partition("\n\n")[0].splitlines()
    assert len(cells_of(header)) == rule.count("---") == 3
    expected = sorted([name.replace("\n", " "), "raw|x", "**.505**"] for name in names)
    assert sorted(map(cells_of, lines)) == expected
