import math
import multiprocessing

import pytest

from virolbi.results import read_lines, write_checks


def write_findings(folder, arm):
    for seed in range(25):
        row = {"arm": arm, "seed": seed, "view": "raw", "level": 0.1, "count": 5, "budget": "b"}
        write_checks(folder, row, [{"name": "gradients", "suspicious": False, "measured": {}}])


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


def test_measured_numbers_that_json_does_not_have_are_null(tmp_path):
    row = {"arm": "a", "seed": 0, "view": "raw", "level": 0.1, "count": 5, "budget": "b"}
    measured = {"lowest": -math.inf, "largest_sum": math.nan, "count": 5.0}
    finding = {"name": "probabilities", "suspicious": False, "measured": measured}
    write_checks(tmp_path, row, [finding])
    (entry,) = read_lines(tmp_path / "checks.jsonl")
    assert entry["measured"] == {"lowest": None, "largest_sum": None, "count": 5.0}
