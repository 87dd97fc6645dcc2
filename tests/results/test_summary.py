import math

import pytest

from virolbi.corruptions import COMMON, HELD_OUT
from virolbi.results import markdown, summarise


def test_lines_are_means_over_seeds_sorted_by_the_worst_noise(rows):
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
    assert lines[0].noise_worst == pytest.approx(0.605)
    assert lines[0].worst_noise == ("impulse_noise", 5)
    assert lines[1].noise_worst == pytest.approx(0.405)
    assert math.isnan(lines[0].common_mean)
    assert lines[0].worst_common is None


def test_the_headline_is_over_all_common_corruptions(rows_of):
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON, 0.8) | dict.fromkeys(HELD_OUT, 0.7)
    weak, strong = accuracies | {"glass_blur": 0.5}, accuracies | {"gaussian_noise": 0.6}
    rows = [*rows_of("weak", "raw", weak), *rows_of("strong", "raw", strong)]
    best, other = summarise(rows)
    assert (best.arm, other.arm) == ("strong", "weak")
    shift = -0.06 + 0.005  # the mean over severities and seeds
    assert best.common_worst == pytest.approx(0.6 + shift)
    assert (best.worst_common, other.worst_common) == ("gaussian_noise", "glass_blur")
    assert other.common_mean == pytest.approx(0.78 + shift)
    assert other.held_out_mean == pytest.approx(0.7 + shift)
    assert other.noise_worst == pytest.approx(0.8 - 0.1 + 0.005)
    incomplete = [row for row in rows if (row["condition"], row["severity"]) != ("fog", 2)]
    for line in summarise(incomplete):
        assert math.isnan(line.common_mean)
        assert math.isnan(line.common_worst)
        assert math.isnan(line.corruption_mean("fog"))
        assert not math.isnan(line.held_out_mean)


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


def test_an_arm_without_all_noises_has_no_worst_and_comes_last(rows):
    without = [row for row in rows if row["arm"] == "fixed" or row["condition"] != "shot_noise"]
    assert math.isnan(summarise(without)[-1].noise_worst)
    lines = summarise([row for row in rows if row["arm"] == "fixed" or row["condition"] == "clean"])
    assert lines[-1].arm == "plain <b>"
    assert "| plain <b> | raw | **.905** | - | - |" in markdown(lines)


def test_choices_are_sorted_by_the_held_out_corruptions(rows_of):
    arms = {"worse": 0.5, "better": 0.7, "middle": 0.6}
    rows = [
        row
        for arm, accuracy in arms.items()
        for row in rows_of(arm, "raw", {"clean": 0.9} | dict.fromkeys(HELD_OUT, accuracy))
    ]
    assert [line.arm for line in summarise(rows)] == ["better", "middle", "worse"]


def test_passes_of_a_line_are_those_of_its_seeds(rows):
    counted = [row | {"passes": 10 + 5 * row["seed"]} for row in rows if row["view"] == "raw"]
    assert [line.passes for line in summarise([*rows[:0], *counted])] == [(10, 15)] * 2
    assert summarise(rows)[0].passes == ()
