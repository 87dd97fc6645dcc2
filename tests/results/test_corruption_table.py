import pytest

from virolbi.corruptions import ALEXNET_ERRORS, COMMON
from virolbi.results import by_corruption, by_severity, summarise


def test_other_corruptions_are_shown_by_their_mean_over_severities(rows, rows_of):
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


def test_one_corruption_is_shown_over_its_severities_the_best_line_first(rows_of):
    rows = [
        *rows_of("plain", "raw", {"clean": 0.9, "fog": 0.6}),
        *rows_of("fixed", "smoothed", {"clean": 0.8, "fog": 0.7}),
        *rows_of("other", "raw", {"clean": 0.8}),
    ]
    best, worst = by_severity(summarise(rows), "fog")
    assert list(best) == ["fog", "clean", "1", "2", "3", "4", "5", "mean"]
    assert (best["fog"], worst["fog"]) == ("fixed (smoothed)", "plain")
    assert worst["clean"] == pytest.approx(0.905)
    severities = [worst[str(severity)] for severity in range(1, 6)]
    assert severities == pytest.approx([0.585, 0.565, 0.545, 0.525, 0.505])
    assert worst["mean"] == pytest.approx(0.545)
    assert by_severity(summarise(rows), "snow") == []


def test_the_mean_of_the_common_and_mce_are_as_published(rows_of):
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

    def table(resolution, classes):
        rows = evaluated(resolution, classes)
        return by_corruption(rows, summarise(rows))

    small, large = table(32, 1000), table(224, 1000)
    assert [row["corruption"] for row in small[-3:]] == [
        "jpeg compression",
        "worst of the 15 common",
        "mean of the 15 common",
    ]
    assert small[-2]["alexnet"] == pytest.approx(1 - max(ALEXNET_ERRORS))
    assert small[-1]["alexnet"] == pytest.approx(1 - sum(ALEXNET_ERRORS) / 15)
    assert table(224, 100) == small  # the classes are not those of ImageNet
    assert large == [*small, {"corruption": "mCE, less is better", "alexnet": pytest.approx(1)}]


def test_the_line_of_one_corruption_is_of_the_seeds_that_have_all_of_it(rows_of):
    rows = [*rows_of("plain", "raw", {"clean": 0.9, "fog": 0.6})]
    whole = [row for row in rows if row["seed"] == 0]
    cut = [row for row in rows if (row["seed"], row["condition"], row["severity"]) != (1, "fog", 3)]
    assert by_severity(summarise(cut), "fog") == by_severity(summarise(whole), "fog")


def test_mce_is_of_the_seeds_that_have_all_common_corruptions(rows_of):
    rows = [
        row | {"resolution": 224, "classes": 1000}
        for row in rows_of("net", "raw", {"clean": 0.5} | dict.fromkeys(COMMON, 0.5))
    ]
    whole = [row for row in rows if row["seed"] == 0]
    cut = [row for row in rows if row["seed"] == 0 or row["condition"] != "fog"]
    for table, expected in zip(
        by_corruption(cut, summarise(cut))[-3:],
        by_corruption(whole, summarise(whole))[-3:],
        strict=True,
    ):
        assert table == expected
