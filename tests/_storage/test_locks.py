"""Locks and claims, which processes hold against each other."""

import errno
import fcntl
import multiprocessing
import os
import signal
import stat

import pytest

from virolbi._storage import check_empty_folder, claimed, locked, locked_folder

CONTEXT = multiprocessing.get_context("fork")


def hold(path, part, held, wait=False):
    """Hold a claim for ever, and say so."""
    with claimed(path, part, wait=wait) as mine:
        held.send(mine)
        signal.pause()


@pytest.fixture
def holder(tmp_path):
    """Function that starts a process which holds a part, and returns it."""
    started = []

    def start(part, wait=False):
        here, there = CONTEXT.Pipe()
        process = CONTEXT.Process(target=hold, args=(tmp_path / "claims", part, there, wait))
        process.start()
        started.append(process)
        process.answers = here
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_a_part_that_another_process_holds_is_not_given_until_that_one_ends(holder, tmp_path):
    path, part = tmp_path / "claims", ("noise", 5, 0.25)
    other = holder(part)
    assert other.answers.recv()
    with claimed(path, part) as mine:
        assert not mine
    with claimed(path, ("noise", 4, 0.25)) as mine:
        assert mine
    os.kill(other.pid, signal.SIGKILL)
    with claimed(path, part, wait=True) as mine:
        assert mine


def test_a_process_can_wait_for_a_part(holder, tmp_path):
    with claimed(tmp_path / "claims", "part") as mine:
        assert mine
        other = holder("part", wait=True)
        assert not other.answers.poll(0.5)
    assert other.answers.recv()


def test_a_claim_ends_with_its_block_and_leaves_an_empty_file(tmp_path):
    with pytest.raises(KeyError), claimed(tmp_path / "folder" / "claims", 1):
        raise KeyError
    with claimed(tmp_path / "folder" / "claims", 1) as mine:
        assert mine
    assert (tmp_path / "folder" / "claims").stat().st_size == 0


def test_without_locks_every_process_has_every_part(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(45, "not supported")

    monkeypatch.setattr("virolbi._storage.locks.fcntl.lockf", refuse)
    with claimed(tmp_path / "claims", 1) as mine:
        assert mine


def test_where_folders_have_no_locks_a_file_in_them_is_locked(tmp_path, monkeypatch):
    lock = fcntl.flock

    def refuse_folders(descriptor, how):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "not open for writing")
        lock(descriptor, how)

    monkeypatch.setattr("virolbi._storage.locks.fcntl.flock", refuse_folders)
    with locked_folder(tmp_path / "rows.jsonl"):
        (file,) = tmp_path.iterdir()
        with file.open("ab") as other, pytest.raises(BlockingIOError):
            lock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    with file.open("ab") as other:
        lock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    check_empty_folder(tmp_path)


def test_a_locked_file_is_created_with_its_folder(tmp_path):
    path = tmp_path / "folder" / "lines.jsonl"
    with locked(path) as file:
        file.write(b"one line\n")
    assert path.read_bytes() == b"one line\n"
