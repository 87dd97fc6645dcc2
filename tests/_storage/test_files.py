import errno
import os
import stat
from pathlib import Path

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


def test_names_may_be_as_long_as_the_system_allows_and_errors_name_the_file(tmp_path, monkeypatch):
    write_atomic(tmp_path / ("n" * 255), b"content")
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == b"content"

    def refuse(self, *args):
        raise PermissionError(errno.EACCES, "Permission denied", str(self), None, str(path))

    for name in ("open", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, refuse)
            with pytest.raises(PermissionError) as error:
                write_atomic(path, b"other")
        assert str(error.value) == f"[Errno 13] Permission denied: '{path}'"
    with pytest.raises(OSError, match=f"File name too long: '{tmp_path}/n*'$"):
        write_atomic(tmp_path / ("n" * 256), b"content")
    assert list(tmp_path.iterdir()) == [path]


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


@pytest.mark.parametrize("existing", [True, False])
def test_the_file_behind_a_chain_of_links_is_replaced_and_the_links_are_kept(tmp_path, existing):
    real, names = tmp_path / "disk" / "file", [tmp_path / "a" / "one", tmp_path / "b" / "two"]
    for folder in ("disk", "a", "b"):
        (tmp_path / folder).mkdir()
    if existing:
        real.write_bytes(b"first")
        real.chmod(0o640)
    names[0].symlink_to("../disk/file")
    names[1].symlink_to(names[0])
    for name, content in zip(names, (b"second", b"third"), strict=True):
        write_atomic(name, content)
        assert all(link.is_symlink() for link in names)
        assert not real.is_symlink()
        assert real.read_bytes() == name.read_bytes() == content
    if existing:
        assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.rglob("*") if not path.is_dir()) == [
        "file",
        "one",
        "two",
    ]


def test_the_scratch_file_is_beside_the_real_file(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "file")
    moved, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda *paths: moved.append(paths) or replace(*paths))
    write_atomic(tmp_path / "link", b"")
    ((temporary, target),) = moved
    assert temporary.parent == target.parent == tmp_path / "disk"


@pytest.mark.skipif(
    os.name != "posix", reason="only POSIX syncs folders; runs on Linux, in .ci/run"
)
def test_the_file_is_synced_before_it_is_renamed_and_its_folder_afterwards(tmp_path, monkeypatch):
    calls, sync = [], os.fsync

    def record(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        size = None if is_folder else os.fstat(descriptor).st_size
        calls.append((is_folder, size, (tmp_path / "file").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_atomic(tmp_path / "file", b"content")
    assert calls == [(False, 7, False), (True, None, True)]


@pytest.mark.skipif(
    os.name != "posix", reason="only POSIX syncs folders; runs on Linux, in .ci/run"
)
def test_a_folder_that_cannot_be_synced_is_no_error_and_a_file_is(tmp_path, monkeypatch):
    def fail_on(folder):
        def sync(descriptor):
            if stat.S_ISDIR(os.fstat(descriptor).st_mode) == folder:
                raise OSError("cannot sync")

        return sync

    monkeypatch.setattr(os, "fsync", fail_on(folder=True))
    write_atomic(tmp_path / "file", b"first")
    monkeypatch.setattr(os, "fsync", fail_on(folder=False))
    with pytest.raises(OSError, match="cannot sync"):
        write_atomic(tmp_path / "file", b"second")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"first"]
