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


def test_details_whose_rows_were_not_written_are_replaced(rows, tmp_path):
    path, rows = tmp_path / "details.jsonl", [row | {"count": 3} for row in rows[:3]]
    rows[1] = rows[0] | {"view": "another"}
    assert row_key(rows[2] | {"view": rows[0]["view"]}) != row_key(rows[0])
    correct = np.array([True, False, True])
    add_detail(tmp_path, rows[2], correct, 1.0)
    for row in rows[:2]:
        add_detail(tmp_path, row, correct, 1.0)
    complete = path.read_bytes()
    for row in rows[:2]:  # measured again, as after a full disk
        add_detail(tmp_path, row, correct, 1.0)
    assert path.read_bytes() == complete
    add_detail(tmp_path, rows[1], ~correct, 1.0)
    np.testing.assert_array_equal(read_details(tmp_path)[row_key(rows[1])].correct, ~correct)
    assert len(read_details(tmp_path)) == 3
    assert len(path.read_bytes().splitlines()) == 3
