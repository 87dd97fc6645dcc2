import math

import pytest

from virolbi.corruptions import COMMON, HELD_OUT
from virolbi.results import markdown, summarise
from virolbi.results.tables import tabulate


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
    low, high = cell.interval
    assert low < 0.605 < high
    assert lines[0].worst_noise_accuracy == pytest.approx(0.605)
    assert lines[0].worst_noise_condition == ("impulse_noise", 5)
    assert lines[1].worst_noise_accuracy == pytest.approx(0.405)
    assert math.isnan(lines[0].common_mean)
    assert lines[0].worst_common_name is None


def test_the_headline_is_over_all_common_corruptions(rows_of):
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON, 0.8) | dict.fromkeys(HELD_OUT, 0.7)
    weak, strong = accuracies | {"glass_blur": 0.5}, accuracies | {"gaussian_noise": 0.6}
    rows = [*rows_of("weak", "raw", weak), *rows_of("strong", "raw", strong)]
    best, other = summarise(rows)
    assert (best.arm, other.arm) == ("strong", "weak")
    shift = -0.06 + 0.005  # the mean over severities and seeds
    assert best.worst_common_accuracy == pytest.approx(0.6 + shift)
    assert (best.worst_common_name, other.worst_common_name) == ("gaussian_noise", "glass_blur")
    assert other.common_mean == pytest.approx(0.78 + shift)
    assert other.held_out_mean == pytest.approx(0.7 + shift)
    assert other.worst_noise_accuracy == pytest.approx(0.8 - 0.1 + 0.005)
    incomplete = [row for row in rows if (row["condition"], row["severity"]) != ("fog", 2)]
    for line in summarise(incomplete):
        assert math.isnan(line.common_mean)
        assert math.isnan(line.worst_common_accuracy)
        assert math.isnan(line.corruption_mean("fog"))
        assert not math.isnan(line.held_out_mean)


def test_rows_of_different_images_or_levels_are_not_put_in_one_table(rows):
    with pytest.raises(ValueError, match="rows must have one set of images, got 1a2b and 3c4d"):
        summarise([*rows, rows[0] | {"seed": 7, "images": "3c4d"}])
    with pytest.raises(ValueError, match="rows must have one level .* got 0.04 and 0.08"):
        summarise([*rows, rows[1] | {"seed": 7, "level": 0.08}])


def test_what_was_measured_twice_or_otherwise_is_refused(rows):
    for name, value in (("count", 30), ("noise_seed", 1), ("resolution", 224)):
        with pytest.raises(ValueError, match=f"rows must have one {name} .* and {value}"):
            summarise([*rows, rows[0] | {"seed": 7, name: value}])
    with pytest.raises(ValueError, match="rows must be one .* got two of .'plain <b>', 0"):
        summarise([*rows, rows[0] | {"accuracy": 0.1}])


def test_conditions_of_two_networks_are_not_one_line(rows_of):
    clean, noisy = (next(iter(rows_of("net", "raw", {name: 0.5}))) for name in ("clean", "fog"))
    assert len(summarise([clean, noisy, noisy | {"seed": 1, "weights": "5e6f"}])) == 1
    with pytest.raises(ValueError, match="^rows must .* one network for 'net', seed 0, .* 5e6f"):
        summarise([clean, noisy | {"weights": "5e6f"}])


def test_two_models_of_one_label_are_refused(rows_of):
    rows = [*rows_of("ours", "auto", {"clean": 0.9}), *rows_of("ours (auto)", "raw", {"fog": 0.1})]
    with pytest.raises(ValueError, match=r"rows must be of models with different labels, .*ours"):
        summarise(rows)
    assert len(summarise([row for row in rows if row["view"] == "auto"])) == 1


def test_an_arm_without_all_noises_has_no_worst_and_comes_last(rows):
    without = [row for row in rows if row["arm"] == "fixed" or row["condition"] != "shot_noise"]
    assert math.isnan(summarise(without)[-1].worst_noise_accuracy)
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


def interrupted(rows_of, kept, accuracies=None):
    """Rows of two seeds of one network, the second of which has the conditions that `kept` takes.

    Its accuracies are higher by 0.3.
    """
    accuracies = accuracies or {"clean": 0.6} | dict.fromkeys(COMMON + HELD_OUT, 0.5)
    return [
        row | {"accuracy": row["accuracy"] + 0.29 * row["seed"]}
        for row in rows_of("net", "raw", accuracies)
        if row["seed"] == 0 or kept(row["condition"], row["severity"])
    ]


def test_figures_over_several_conditions_are_of_the_seeds_that_have_all_of_them(rows_of):
    half = interrupted(
        rows_of, lambda name, severity: name in ("clean", *COMMON[:7], *HELD_OUT[:2])
    )
    alone = [row for row in half if row["seed"] == 0]
    (line,), (first,) = summarise(half), summarise(alone)
    for figure in ("worst_common_accuracy", "common_mean", "held_out_mean", "worst_common_name"):
        assert getattr(line, figure) == getattr(first, figure), figure
    assert line.cells["clean", 0].mean == pytest.approx(first.cells["clean", 0].mean + 0.15)
    # this corruption is complete in both seeds, and so are the noises
    assert line.corruption_mean(COMMON[0]) == pytest.approx(first.corruption_mean(COMMON[0]) + 0.15)
    assert line.worst_noise_accuracy == pytest.approx(first.worst_noise_accuracy + 0.15)
    text = markdown([line])
    assert "seed 1 of net from worst of 15 and mean of 15 (35 of 75 conditions)" in text
    assert "seed 1 of net from held out (10 of 20 conditions)" in text
    assert "from worst noise" not in text
    assert "Left out" not in markdown([first])


def test_the_worst_noise_and_the_mean_of_a_corruption_are_of_complete_seeds(rows_of):
    half = interrupted(rows_of, lambda name, severity: (name, severity) != ("shot_noise", 5))
    (line,), (first,) = summarise(half), summarise([row for row in half if row["seed"] == 0])
    assert line.worst_noise_accuracy == first.worst_noise_accuracy
    assert line.corruption_mean("shot_noise") == first.corruption_mean("shot_noise")
    assert line.corruption_mean("fog") == pytest.approx(first.corruption_mean("fog") + 0.15)
    note = tabulate([line]).notes[0][tabulate([line]).headings.index("worst noise")]
    assert note.endswith("one seed")
    assert "seed 1 of net from worst noise (2 of 3 conditions)" in markdown([line])


def test_figures_that_no_seed_has_whole_are_absent(rows_of):
    """Together the seeds have all conditions."""
    rows = [
        row
        for row in rows_of("net", "raw", dict.fromkeys(COMMON + HELD_OUT, 0.5) | {"clean": 0.5})
        if row["condition"] == "clean" or (row["condition"] in COMMON[:7]) == (row["seed"] == 0)
    ]
    other = [*rows_of("other", "raw", dict.fromkeys(COMMON, 0.4) | {"clean": 0.5}, (0,))]
    best, line = summarise(rows + other)
    assert (best.arm, line.arm) == ("other", "net")
    assert math.isnan(line.worst_common_accuracy)
    assert math.isnan(line.common_mean)
    assert line.worst_common_name is None
    text = markdown([best, line])
    assert "| net | raw | **.505** | - | - |" in text
    assert "seed 0 of net from worst of 15 and mean of 15 (35 of 75 conditions)" in text
    assert "seed 1 of net from worst of 15 and mean of 15 (40 of 75 conditions)" in text


def test_a_seed_that_has_only_other_conditions_is_named(rows_of):
    rows = interrupted(rows_of, lambda name, severity: name == "clean")
    text = markdown(summarise(rows))
    assert "mean over 1-2 seeds" in text
    assert "seed 1 of net from worst of 15 and mean of 15 (0 of 75 conditions)" in text
