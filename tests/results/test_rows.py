import json
import multiprocessing
import subprocess
import sys

import pytest

from virolbi._storage import locked
from virolbi.results import (
    add_rows,
    read_lines,
    read_results,
    read_rows,
    rewrite_lines,
    row_key,
    write_lines,
)
from virolbi.results.rows import IDENTITY, REQUIRED


def test_rows_are_read_as_they_were_written(rows, tmp_path):
    path = tmp_path / "folder" / "rows.jsonl"
    assert read_rows(path) == []
    write_lines(path, rows)
    assert read_rows(path) == rows
    assert read_results(path.parent) == rows
    write_lines(path, rows[:2])
    assert read_rows(path) == rows[:2]


def test_a_row_of_a_known_measurement_is_not_added_again(rows, tmp_path):
    path = tmp_path / "rows.jsonl"
    add_rows(path, rows[:3])
    add_rows(path, [row | {"accuracy": 0.0} for row in rows[:3]] + rows[3:5])
    assert read_rows(path) == rows[:5]


def test_every_key_of_the_identity_tells_rows_apart(rows):
    assert len({row_key(row) for row in rows}) == len(rows)
    assert row_key(rows[0] | {"accuracy": 0.0}) == row_key(rows[0])
    for key in IDENTITY:
        assert row_key(rows[0] | {key: "another"}) != row_key(rows[0])


@pytest.mark.parametrize("key", REQUIRED)
def test_a_row_without_a_required_key_is_refused(rows, tmp_path, key):
    path = tmp_path / "rows.jsonl"
    write_lines(path, [rows[0], {name: rows[1][name] for name in rows[1] if name != key}])
    with pytest.raises(ValueError, match=rf"rows\.jsonl:2 .*'{key}'"):
        read_rows(path)


@pytest.mark.parametrize("accuracy", ["NaN", "null", "50", "-0.1", '"0.5"'])
def test_an_accuracy_that_is_none_is_refused(rows, tmp_path, accuracy):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(rows[0]), json.dumps(rows[1] | {"accuracy": "?"}).replace('"?"', accuracy)]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:2 must have an accuracy in \[0, 1\], got"):
        read_rows(path)


def test_a_broken_row_is_an_error_that_names_its_line(rows, tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, rows[:1])
    with path.open("a") as file:
        file.write(json.dumps(rows[0])[:20] + "\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:2 must"):
        read_rows(path)


@pytest.mark.slow
def test_adding_a_row_waits_until_another_process_has_written_its_own(tmp_path):
    path = tmp_path / "rows.jsonl"
    code = (
        "from pathlib import Path; from virolbi.results import add_rows; print(); "
        f"add_rows(Path({str(path)!r}), [{{'arm': 'b'}}])"
    )
    with locked(path) as file:
        file.write(b'{"arm": "')
        file.flush()  # half a line
        other = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE)
        assert other.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        file.write(b'a"}\n')
    assert other.wait(60) == 0
    other.stdout.close()
    assert read_lines(path) == [{"arm": "a"}, {"arm": "b"}]


def rewrite_and_append(path, writer):
    for index in range(20):
        name = f"{writer}-{index}"
        rewrite_lines(path, lambda rows, name=name: [*rows, {"arm": name}])
        add_rows(path, [{"arm": f"{name} added"}])


def test_no_row_is_lost_when_several_processes_replace_and_append_at_once(tmp_path):
    path = tmp_path / "folder" / "certified.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=rewrite_and_append, args=(path, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    expected = [f"{n}-{i}{added}" for n in range(4) for i in range(20) for added in ("", " added")]
    assert sorted(row["arm"] for row in read_lines(path)) == sorted(expected)
    assert [file.name for file in path.parent.iterdir()] == ["certified.jsonl"]


def test_a_link_to_a_file_shares_the_lock_of_the_file(tmp_path):
    (tmp_path / "links").mkdir()
    link, path = tmp_path / "links" / "rows.jsonl", tmp_path / "rows.jsonl"
    link.symlink_to(path)
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=rewrite_and_append, args=(p, p.parent.name)) for p in (link, path)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert len(read_lines(path)) == 80
    assert link.is_symlink()
