import pytest

from virolbi.results import markdown, summarise


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
    with pytest.raises(ValueError, match="rows must have one images .* got 1a2b and 3c4d"):
        summarise([*rows, rows[0] | {"seed": 7, "images": "3c4d"}])
    with pytest.raises(ValueError, match="rows must have one level .* got 0.04 and 0.08"):
        summarise([*rows, rows[1] | {"seed": 7, "level": 0.08}])


def test_what_was_measured_twice_or_otherwise_is_refused(rows):
    for name, value in (("count", 30), ("noise_seed", 1), ("resolution", 224)):
        with pytest.raises(ValueError, match=f"rows must have one {name} .* and {value}"):
            summarise([*rows, rows[0] | {"seed": 7, name: value}])
    with pytest.raises(ValueError, match="rows must be one .* got two of .'plain <b>', 0"):
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
