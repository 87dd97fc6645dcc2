import multiprocessing

import pytest

from virolbi.results import read_lines, write_checks


def write_findings(folder, arm):
    for seed in range(25):
        row = {"arm": arm, "seed": seed, "view": "raw", "level": 0.1, "count": 5, "budget": "b"}
        write_checks(folder, row, [{"name": "gradients", "suspicious": False}])


@pytest.mark.slow
def test_no_finding_is_lost_when_several_evaluations_write_them_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_findings, args=(tmp_path, arm)) for arm in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    found = sorted((entry["arm"], entry["seed"]) for entry in read_lines(tmp_path / "checks.jsonl"))
    assert found == [(arm, seed) for arm in "abcd" for seed in range(25)]
