import io

import numpy as np
import pytest
from rich.console import Console

from virolbi.corruptions import COMMON
from virolbi.results import (
    add_detail,
    compare_models,
    paired_test,
    seed_test,
    versus,
    write_lines,
)


def test_one_small_p_among_many_tests_is_not_significant(tmp_path, rows_of):
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
    write_lines(tmp_path / "rows.jsonl", [*first, *second])
    for row in (*first, *second):
        worse = row["arm"] == "other" and (row["condition"], row["severity"]) == ("shot_noise", 5)
        correct = np.arange(40) >= 6 * worse  # 6 against 0: p is .03
        add_detail(tmp_path, row, correct, 0.1)
    out = io.StringIO()
    Console(file=out, width=120).print(versus(tmp_path, "one", "other"))
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("shot noise 5")]
    assert "+0.150" in line
    assert "0.34 n.s." in line
    write_lines(tmp_path / "rows.jsonl", [*first, *(row | {"seed": 1} for row in second)])
    for row in second:
        add_detail(tmp_path, row | {"seed": 1}, np.ones(40, bool), 0.1)
    with pytest.raises(ValueError, match="must hold one and other under a common condition"):
        versus(tmp_path, "one", "other")


def add(folder, rows, accuracy_of):
    """Write rows with answers whose accuracy depends on the arm and the seed."""
    write_lines(folder / "rows.jsonl", rows)
    for row in rows:
        correct = np.arange(row["count"]) < row["count"] * accuracy_of[row["arm"]][row["seed"]]
        add_detail(folder, row, correct, 0.1)


def lines_of(table):
    out = io.StringIO()
    Console(file=out, width=160).print(table)
    return out.getvalue().splitlines()


def test_images_and_seeds_answer_different_questions(tmp_path, rows_of):
    arms = [[*rows_of(arm, "raw", {"clean": 0.9}, count=1000)] for arm in ("one", "other")]
    noisy = {"one": (0.70, 0.80), "other": (0.65, 0.78)}  # seeds differ more than arms
    add(tmp_path / "noisy", arms[0] + arms[1], noisy)
    (line,) = [x for x in lines_of(versus(tmp_path / "noisy", "one", "other")) if "clean" in x]
    assert "+0.035" in line
    assert line.count("n.s.") == 1  # over seeds; over images it is
    steady = {"one": (0.80, 0.801), "other": (0.75, 0.751)}
    add(tmp_path / "steady", arms[0] + arms[1], steady)
    text = lines_of(versus(tmp_path / "steady", "one", "other"))
    assert not any("n.s." in x for x in text if "clean" in x)
    assert "seeds" in " ".join(text).partition("First:")[0]


def test_one_seed_says_that_it_is_about_two_networks(tmp_path, rows_of):
    rows = [row for arm in ("one", "other") for row in rows_of(arm, "raw", {"clean": 0.9}, (0,))]
    add(tmp_path, rows, {"one": (0.9,), "other": (0.5,)})
    text = " ".join(" ".join(lines_of(versus(tmp_path, "one", "other"))).split())
    assert "Not tested over seeds" in text
    assert "those of these networks" in text
    assert "seeds" not in text.partition("First:")[0]


def test_the_mean_of_the_common_corruptions_is_compared(tmp_path, rows_of):
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON, 0.8)
    rows = [row for arm in ("one", "other") for row in rows_of(arm, "raw", accuracies)]
    add(tmp_path, rows, {"one": (0.8, 0.8), "other": (0.6, 0.6)})
    text = lines_of(versus(tmp_path, "one", "other"))
    (line,) = [x for x in text if x.startswith("mean of the 15 common")]
    assert line.split()[5:8] == [".800", ".600", "+0.200"]
    assert not any(x.startswith("mean of the held out") for x in text)


def test_a_narrow_terminal_loses_nothing(tmp_path, rows_of):
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON, 0.8)
    rows = [row for arm in ("one", "other") for row in rows_of(arm, "raw", accuracies)]
    add(tmp_path, rows, {"one": (0.8, 0.81), "other": (0.6, 0.61)})
    out = io.StringIO()
    Console(file=out, width=80).print(versus(tmp_path, "one", "other"))
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def one_line(table):
    return " ".join(" ".join(lines_of(table)).split())


def test_the_gain_and_its_intervals_are_of_the_seeds_that_both_have(tmp_path, rows_of):
    """Over seed 0 alone both are equal; the further seeds of the first are better."""
    rows = [*rows_of("one", "raw", {"clean": 0.9}, (0, 1, 2))]
    rows += rows_of("other", "raw", {"clean": 0.9}, (0, 7))
    add(tmp_path, rows, {"one": (0.7, 0.9, 0.9), "other": {0: 0.7, 7: 0.1}})
    for pair, alone in ((("one", "other"), "1, 2"), (("other", "one"), "7")):
        table = versus(tmp_path, *pair)
        (line,) = [x for x in lines_of(table) if x.startswith("clean")]
        assert line.split()[1:4] == [".700", ".700", "+0.000"]
        assert "n.s." in line
        text = one_line(table)
        assert "Both over 1 seed (0)." in text
        assert f"({alone}) of the first, which the second lacks." in text
    rows = [row for row in rows if row["seed"] in (0, 1)]
    rows += rows_of("other", "raw", {"clean": 0.9}, (1,))
    add(tmp_path, rows, {"one": (0.7, 0.9), "other": (0.7, 0.8)})
    text = one_line(versus(tmp_path, "one", "other"))
    assert "+0.050" in text
    assert "Both over 2 seeds (0, 1)." in text
    assert "Left out" not in text


def test_the_seeds_of_each_condition_are_shown_if_they_differ(tmp_path, rows_of):
    """As after a comparison that was interrupted in the second seed."""
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON, 0.8)
    rows = [row for arm in ("one", "other") for row in rows_of(arm, "raw", accuracies)]
    rows = [
        row
        for row in rows
        if (row["arm"], row["seed"]) != ("other", 1) or row["condition"] in ("clean", "fog")
    ]
    add(tmp_path, rows, {"one": (0.8, 0.2), "other": (0.6, 0.6)})
    seeds = {line[:22].strip(): line.split() for line in lines_of(versus(tmp_path, "one", "other"))}
    assert seeds["clean"][1:6] == ["0", "1", ".500", ".600", "-0.100"]
    assert seeds["fog 3"][2:7] == ["0", "1", ".500", ".600", "-0.100"]
    assert seeds["snow 3"][2:6] == ["0", ".800", ".600", "+0.200"]
    assert seeds["mean of the 15 common"][5:9] == ["0", ".800", ".600", "+0.200"]
    out = io.StringIO()
    Console(file=out, width=80).print(versus(tmp_path, "one", "other"))
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_the_mean_over_conditions_is_tested_as_a_mean(tmp_path, rows_of):
    """Few images gain in many conditions and many lose in few: together they are equal."""
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON, 0.8)
    rows = [row for arm in ("one", "other") for row in rows_of(arm, "raw", accuracies, (0,), 400)]
    write_lines(tmp_path / "rows.jsonl", rows)
    for row in rows:
        few, many = np.arange(400) < 100, np.arange(400) >= 100
        in_many = row["condition"] not in COMMON[:8]
        correct = (few & in_many) if row["arm"] == "one" else (many & (row["severity"] == 5))
        add_detail(tmp_path, row, correct & (row["condition"] != "clean"), 0.1)
    table = versus(tmp_path, "one", "other")
    (line,) = [x for x in lines_of(table) if x.startswith("mean of the 15 common")]
    assert line.split()[5:8] == [".117", ".150", "-0.033"]
    low, high, p = map(float, line.split()[8:11])
    assert low < -0.033 < high
    assert (p < 0.05) == ("n.s." not in line)
    assert "McNemar's exact test" in one_line(table)
    assert "permutation test" in one_line(table)


def test_differences_are_what_the_table_shows(tmp_path, rows_of):
    accuracies = {"clean": 0.9} | dict.fromkeys(COMMON, 0.8)
    rows = [row for arm in ("one", "other") for row in rows_of(arm, "raw", accuracies)]
    add(tmp_path, rows, {"one": (0.8, 0.81), "other": (0.6, 0.62)})
    differences = compare_models(tmp_path, "one", "other")
    assert len(differences) == 2 + 5 * len(COMMON)  # one mean and the clean images
    shown = [line for line in lines_of(versus(tmp_path, "one", "other")) if "+0.195" in line]
    assert len(shown) == len(differences)
    for difference, line in zip(differences, shown, strict=True):
        name = f"{difference.condition.replace('_', ' ')} {difference.severity or ''}"
        assert line.startswith(name)
        assert f"{difference.over_images.low:+.3f} {difference.over_images.high:+.3f}" in line
        assert f"{difference.corrected_over_seeds:.2g}" in line
        assert (difference.first, difference.second) == pytest.approx((0.805, 0.61))
        assert difference.gain == difference.first - difference.second
        assert difference.seeds == (0, 1)


def test_differences_hold_the_tests_and_their_corrected_p(tmp_path, rows_of):
    rows = [row for arm in ("one", "other") for row in rows_of(arm, "raw", {"clean": 0.9})]
    add(tmp_path, rows, {"one": (0.8, 0.82), "other": (0.6, 0.61)})
    (difference,) = compare_models(tmp_path, "one", "other")
    count = rows[0]["count"]
    one, other = (
        np.stack([np.arange(count) < count * accuracy for accuracy in accuracies])
        for accuracies in ((0.8, 0.82), (0.6, 0.61))
    )
    assert (difference.condition, difference.severity) == ("clean", 0)
    assert difference.over_images == paired_test(one, other)
    assert difference.over_seeds == seed_test(one.mean(axis=1), other.mean(axis=1))
    assert difference.corrected_over_images == difference.over_images.p  # a single test
    add(tmp_path, rows[::2], {"one": (0.8,), "other": (0.6,)})
    (difference,) = compare_models(tmp_path, "one", "other")
    assert difference.over_seeds is difference.corrected_over_seeds is None
