import numpy as np
import pytest

from virolbi.results import add_detail, read_details, row_key


@pytest.mark.parametrize("count", [1, 8, 13])
def test_details_are_read_as_they_were_added(rows, tmp_path, count):
    assert read_details(tmp_path) == {}
    correct = np.random.default_rng(count).random((2, count)) < 0.5
    pair = [row | {"count": count} for row in rows[:2]]
    predicted, confidence = np.arange(count) * 5000, np.linspace(0, 1, count)
    for row, right in zip(pair, correct, strict=True):
        kept = (predicted, confidence) if row is pair[0] else ()
        add_detail(tmp_path, row, right, 0.1234, *kept)
    details = read_details(tmp_path)
    assert list(details) == [row_key(row) for row in pair]
    for row, right in zip(pair, correct, strict=True):
        np.testing.assert_array_equal(details[row_key(row)].correct, right)
        assert details[row_key(row)].seconds == 0.123
    np.testing.assert_array_equal(details[row_key(pair[0])].predicted, predicted)
    np.testing.assert_allclose(
        details[row_key(pair[0])].confidence, confidence, atol=0.5 / 255 + 1e-9
    )
    assert details[row_key(pair[1])].predicted is None
    assert details[row_key(pair[1])].confidence is None


def test_details_that_were_added_again_are_the_last_ones(rows, tmp_path):
    """As when a process ended before it could write the row."""
    path, rows = tmp_path / "details.jsonl", [row | {"count": 3} for row in rows[:3]]
    correct = np.array([True, False, True])
    for row in rows:
        add_detail(tmp_path, row, correct, 1.0)
    with path.open("a") as file:
        file.write('{"arm": "cut sh')
    add_detail(tmp_path, rows[1], ~correct, 1.0)
    details = read_details(tmp_path)
    assert set(details) == set(map(row_key, rows))
    for row in rows:
        expected = ~correct if row is rows[1] else correct
        np.testing.assert_array_equal(details[row_key(row)].correct, expected)


def test_details_of_another_process_are_kept_when_a_row_is_measured_twice(rows, tmp_path):
    """Two evaluations of one model with different views have the view without a smoother both."""
    shared = rows[0] | {"count": 3}
    views = [shared | {"view": view} for view in ("raw", "smoothed 0.8", "raw", "smoothed 0.5")]
    correct = np.array([True, False, True])
    for number, row in enumerate(views):
        add_detail(tmp_path, row, correct, 1.0)
        assert set(read_details(tmp_path)) == set(map(row_key, views[: number + 1]))
    lines = (tmp_path / "details.jsonl").read_bytes()
    add_detail(tmp_path, shared, correct, 1.0)
    assert (tmp_path / "details.jsonl").read_bytes().startswith(lines)


def test_confidences_that_do_not_exist_are_not_kept(rows, tmp_path):
    row, correct = rows[0] | {"count": 2}, np.array([True, False])
    add_detail(tmp_path, row, correct, 1.0, correct * 1, np.array([0.5, np.nan]))
    assert read_details(tmp_path)[row_key(row)].confidence is None
