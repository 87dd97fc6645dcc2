import stat

import pytest

from virolbi._storage.files import check_empty_folder, write_atomic


def test_a_file_is_replaced_completely_and_a_failure_leaves_no_file_behind(tmp_path):
    write_atomic(tmp_path / "a" / "file", b"first")
    write_atomic(tmp_path / "a" / "file", b"second")
    assert (tmp_path / "a" / "file").read_bytes() == b"second"
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "a" / "file", "text")
    with pytest.raises(OSError, match="directory"):
        write_atomic(tmp_path / "a", b"over a folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]
    assert (tmp_path / "a" / "file").read_bytes() == b"second"


def test_a_replaced_file_keeps_its_permissions_and_a_new_file_has_the_usual_ones(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    write_atomic(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    (tmp_path / "ordinary").chmod(0o640)
    write_atomic(tmp_path / "ordinary", b"more")
    assert stat.S_IMODE((tmp_path / "ordinary").stat().st_mode) == 0o640


def test_a_folder_with_only_temporary_files_of_a_killed_process_counts_as_empty(tmp_path):
    (tmp_path / f".recipe.json-{'0' * 32}").write_bytes(b"{")
    check_empty_folder(tmp_path)
    (tmp_path / ".recipe.json").write_bytes(b"{")
    with pytest.raises(ValueError, match=f"^{tmp_path} must"):
        check_empty_folder(tmp_path)
