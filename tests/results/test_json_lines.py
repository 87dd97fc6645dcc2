import pytest

from virolbi.results import locked, read_lines
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
