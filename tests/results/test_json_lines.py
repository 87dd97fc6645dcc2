import math

import numpy as np
import pytest

from virolbi._storage import locked
from virolbi.results import add_lines, add_rows, read_lines, rewrite_lines, write_lines
from virolbi.results.json_lines import complete_lines


def test_a_file_that_does_not_exist_has_no_lines_unless_it_must_exist(tmp_path):
    assert read_lines(tmp_path / "lines.jsonl") == []
    with pytest.raises(FileNotFoundError, match=r"lines\.jsonl"):
        read_lines(tmp_path / "lines.jsonl", must_exist=True)


def test_a_line_that_is_no_object_is_named(tmp_path):
    path = tmp_path / "lines.jsonl"
    for line in ("{broken", "3"):
        path.write_text(f'{{"a": 1}}\n{line}\n')
        with pytest.raises(ValueError, match=r"lines\.jsonl:2"):
            read_lines(path)


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ('{"a": 1}\n{"b": 2}\n', '{"a": 1}\n{"b": 2}\n'),
        ('{"a": 1}\n{"b": 2}', '{"a": 1}\n{"b": 2}\n'),
        ('{"a": 1}\n{"b": ', '{"a": 1}\n'),
        ('{"a": ', ""),
        ("", ""),
    ],
)
def test_an_incomplete_last_line_is_left_out_and_removed(tmp_path, content, kept):
    path = tmp_path / "lines.jsonl"
    path.write_text(content)
    before = read_lines(path)
    with locked(path) as file:
        lines = complete_lines(file)
    assert path.read_text() == kept
    assert read_lines(path) == before
    assert len(lines) == len(before)


def test_a_line_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "\xff"}\n{"c": 3}\n')
    with pytest.raises(ValueError, match=r"rows.jsonl:2 must be a row of results"):
        read_lines(path)


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize(
    "write",
    [
        add_lines,
        add_rows,
        write_lines,
        lambda path, entries: rewrite_lines(path, lambda old: [*old, *entries]),
    ],
)
def test_numbers_that_json_does_not_have_are_refused(tmp_path, write, number):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"arm": 1}\n')
    with pytest.raises(ValueError, match=rf"lines\.jsonl must have finite .*'auc': {number}"):
        write(path, [{"arm": 2}, {"arm": 3, "auc": number}])
    assert path.read_text() == '{"arm": 1}\n'


def test_numbers_of_numpy_are_written_as_those_of_python(tmp_path):
    path = tmp_path / "lines.jsonl"
    add_lines(path, [{"seed": np.int64(3), "epsilon": np.float32(0.5), "is": np.bool_(True)}])
    assert read_lines(path) == [{"seed": 3, "epsilon": 0.5, "is": True}]
    with pytest.raises(TypeError, match="values must be what JSON can hold"):
        add_lines(path, [{"seeds": {1, 2}}])
    with pytest.raises(ValueError, match="finite"):
        add_lines(path, [{"epsilon": np.float32("inf")}])


def test_a_line_that_another_program_wrote_with_nan_is_read(tmp_path):
    (tmp_path / "lines.jsonl").write_text('{"auc": NaN}\n')
    assert math.isnan(read_lines(tmp_path / "lines.jsonl")[0]["auc"])
