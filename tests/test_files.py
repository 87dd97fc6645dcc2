import pytest

from virolbi._files import write_whole


def test_a_file_is_replaced_whole_and_a_failure_leaves_nothing(tmp_path):
    write_whole(tmp_path / "a" / "file", b"first")
    write_whole(tmp_path / "a" / "file", b"second")
    assert (tmp_path / "a" / "file").read_bytes() == b"second"
    with pytest.raises(TypeError):
        write_whole(tmp_path / "a" / "file", "text")
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "a", b"over a folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]
    assert (tmp_path / "a" / "file").read_bytes() == b"second"
