import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from virolbi.corruptions import ALEXNET_ERRORS, COMMON
from virolbi.results import (
    add_detail,
    by_corruption,
    caption,
    curves_svg,
    markdown,
    summarise,
    terminal_table,
    versus,
    write_report,
    write_rows,
)


def rows_of(arm, view, accuracies, seeds=(0, 1), count=400):
    levels = {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),
        "shot_noise": (500, 250, 100, 75, 50),
        "impulse_noise": (1, 2, 3, 4, 5),
    }
    for seed in seeds:
        for condition, accuracy in accuracies.items():
            severities = (
                [0]
                if condition == "clean"
                else [1, 2]
                if condition == "low_resolution"
                else range(1, 6)
            )
            for s in severities:
                level = levels[condition][s - 1] if condition in levels else float(2 * s)
                row = {
                    "arm": arm,
                    "view": view,
                    "condition": condition,
                    "severity": s,
                    "level": level,
                    "seed": seed,
                }
                yield row | {
                    "count": count,
                    "accuracy": accuracy - 0.02 * s + 0.01 * seed,
                    "data": "made up",
                    "images": "1a2b",
                    "weights": "3c",
                }


@pytest.fixture
def rows():
    strong = {
        "clean": 0.8,
        "gaussian_noise": 0.8,
        "shot_noise": 0.75,
        "impulse_noise": 0.7,
        "low_resolution": 0.72,
    }
    weak = {
        "clean": 0.9,
        "gaussian_noise": 0.5,
        "shot_noise": 0.5,
        "impulse_noise": 0.6,
        "low_resolution": 0.7,
    }
    return [
        *rows_of("plain <b>", "raw", weak),
        *rows_of("fixed", "smoothed", strong),
        *rows_of("fixed", "raw", weak),
    ]


def test_lines_are_means_over_seeds_sorted_by_the_worst_type(rows):
    lines = summarise(rows)
    assert [(line.arm, line.view) for line in lines] == [
        ("fixed", "smoothed"),
        ("plain <b>", "raw"),
        ("fixed", "raw"),
    ]
    cell = lines[0].cells["impulse_noise", 5]
    assert cell.mean == pytest.approx(0.605)
    assert cell.spread == pytest.approx(0.01 / 2**0.5)
    assert cell.low < 0.605 < cell.high
    assert lines[0].worst == pytest.approx(0.605)
    assert lines[1].worst == pytest.approx(0.405)
    assert lines[0].mean == pytest.approx((0.705 + 0.655 + 0.605 + 0.705) / 4)


def test_rows_of_different_images_or_levels_are_not_put_in_one_table(rows):
    with pytest.raises(
        ValueError, match="rows must have one images for clean 0, got 1a2b and 3c4d"
    ):
        summarise([*rows, rows[0] | {"seed": 7, "images": "3c4d"}])
    with pytest.raises(
        ValueError, match="rows must have one level for gaussian_noise 1, got 0.04 and 0.08"
    ):
        summarise([*rows, rows[1] | {"seed": 7, "level": 0.08}])


def test_what_was_measured_twice_or_otherwise_is_refused(rows):
    for name, value in (("count", 30), ("noise_seed", 1), ("resolution", 224)):
        with pytest.raises(
            ValueError, match=f"rows must have one {name} for clean 0, got .* and {value}"
        ):
            summarise([*rows, rows[0] | {"seed": 7, name: value}])
    with pytest.raises(
        ValueError,
        match="rows must be one for each model, condition and seed, got two of .'plain <b>', 0",
    ):
        summarise([*rows, rows[0] | {"weights": "5e6f"}])


def test_an_arm_without_all_types_has_no_worst_and_comes_last(rows):
    without = summarise(
        [row for row in rows if row["arm"] == "fixed" or row["condition"] != "low_resolution"]
    )
    assert without[-1].worst != without[-1].worst
    lines = summarise([row for row in rows if row["arm"] == "fixed" or row["condition"] == "clean"])
    assert lines[-1].arm == "plain <b>"
    assert lines[-1].worst != lines[-1].worst
    assert "| plain <b> | raw | **.905** | - | - |" in markdown(lines)


def test_the_markdown_table_has_the_figures_and_marks_the_best(rows):
    table = markdown(summarise(rows))
    header, _, first, *_ = table.splitlines()
    assert header.startswith(
        "| trained on | tested | clean | Gauss 0.04 | Gauss 0.08 | Gauss 0.1 | shot 50 | impulse 4 |"
    )
    figures = [
        ".805",
        *(
            f"**{value}**"
            for value in [
                ".785",
                ".745",
                ".705",
                ".655",
                ".625",
                ".605",
                ".705",
                ".685",
                ".605",
                ".667",
            ]
        ),
    ]
    assert first == " | ".join(["| fixed", "smoothed", *figures]) + " |"
    assert "mean over 2 seeds on 400 test images" in table
    assert re.search(
        r"95 % interval up to ±0\.04\d; standard deviation over seeds up to 0\.007",
        caption(summarise(rows)),
    )


def test_other_corruptions_are_shown_by_their_mean_over_severities(rows):
    assert by_corruption(rows, summarise(rows)) == []
    few = [
        *rows_of("plain", "raw", {"clean": 0.9, "fog": 0.8}),
        *rows_of("plain", "smoothed", {"clean": 0.9, "fog": 0.6}),
    ]
    (fog,) = by_corruption(few, summarise(few))
    assert fog == {
        "corruption": "fog",
        "plain": pytest.approx(0.745),
        "plain (smoothed)": pytest.approx(0.545),
    }


def test_the_mean_of_the_common_and_mce_are_as_published():
    def evaluated(resolution, classes):
        common = rows_of("alexnet", "raw", {"clean": 0.5} | dict.fromkeys(COMMON, 0.0), seeds=(0,))
        errors = dict(zip(COMMON, ALEXNET_ERRORS, strict=True)) | {"clean": 0.5}
        return [
            row
            | {
                "accuracy": 1 - errors[row["condition"]],
                "resolution": resolution,
                "classes": classes,
            }
            for row in common
        ]

    small, large = (
        by_corruption(rows, summarise(rows)) for rows in (evaluated(32, 1000), evaluated(224, 1000))
    )
    assert [row["corruption"] for row in small[-2:]] == [
        "jpeg compression",
        "mean of the 15 common",
    ]
    assert small[-1]["alexnet"] == pytest.approx(1 - sum(ALEXNET_ERRORS) / 15)
    assert (lambda rows: by_corruption(rows, summarise(rows)))(
        evaluated(224, 100)
    ) == small  # of classes not ImageNet's
    assert large == [*small, {"corruption": "mCE, less is better", "alexnet": pytest.approx(1)}]


def test_the_terminal_table_fits_80_columns(rows):
    longest = [
        row | {"arm": "rival: Gaussian noise"} if row["arm"] == "fixed" else row for row in rows
    ]
    out = io.StringIO()
    Console(file=out, width=80).print(terminal_table(summarise(longest)))
    (words,) = [
        line.split()
        for line in out.getvalue().splitlines()
        if "Gaussian noise" in line and "smoothed" in line
    ]
    assert "…" not in out.getvalue()
    assert words[4:] == [".805", ".705", ".655", ".605", ".705", ".685", ".605"]


def test_the_page_is_whole_and_needs_nothing_else(rows, tmp_path):
    write_rows(tmp_path / "rows.jsonl", rows)
    recipes = {"fixed": {"epochs": 3, "sparsity": 0.8}, "plain <b>": {"epochs": 3, "sparsity": 0}}
    (tmp_path / "comparison.json").write_text(json.dumps({"recipes": recipes}))
    page = write_report(tmp_path).read_text()
    assert "<td class=best" in page
    assert "plain &lt;b&gt;" in page
    assert 'title="95 % interval 0.76' in page
    assert "plain <b>" not in page
    assert (
        "<dt>fixed</dt><dd>epochs 3, sparsity 0.8</dd><dt>plain &lt;b&gt;</dt><dd>changes sparsity 0</dd>"
        in page
    )
    assert page.count("<svg") == 1
    assert not re.search(
        r"(src|href)=[\"']?(?!data:|#)", re.sub(r"<svg.*</svg>", "", page, flags=re.DOTALL)
    )
    assert write_report(tmp_path, tmp_path / "other.html").read_text() == page


def test_the_curves_show_each_arm_once_as_it_is_meant_to_be_tested(rows):
    svg = curves_svg(summarise(rows))
    assert "fixed (smoothed)" in svg
    assert ">fixed<" not in svg


def test_no_rows_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"must hold a rows.jsonl with at least one row"):
        write_report(tmp_path)


def test_one_small_p_among_many_tests_is_not_significant(tmp_path):
    first, second = (
        list(
            rows_of(
                arm,
                "raw",
                {"clean": 0.9, "gaussian_noise": 0.9, "shot_noise": 0.9},
                seeds=(0,),
                count=40,
            )
        )
        for arm in ("one", "other")
    )
    write_rows(tmp_path / "rows.jsonl", [*first, *second])
    for row in (*first, *second):
        worse = row["arm"] == "other" and (row["condition"], row["severity"]) == ("shot_noise", 5)
        add_detail(
            tmp_path / "details.jsonl", row, np.arange(40) >= 6 * worse, 0.1
        )  # 6 against 0: p is .03
    out = io.StringIO()
    Console(file=out, width=120).print(versus(tmp_path, "one", "other"))
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("shot noise 5")]
    assert "+0.150" in line
    assert "0.3, not significant" in line
    write_rows(tmp_path / "rows.jsonl", [*first, *(row | {"seed": 1} for row in second)])
    for row in second:
        add_detail(tmp_path / "details.jsonl", row | {"seed": 1}, np.ones(40, bool), 0.1)
    with pytest.raises(
        ValueError, match="must hold one and other under one condition, of one seed; it does not"
    ):
        versus(tmp_path, "one", "other")
