import re

import pytest

from virolbi.results import read_rows

MODULE = """
def brightness():
    def logits(images):
        mean = images.mean((1, 2, 3))
        return __import__("torch").stack([mean, 0.5 - mean], dim=1)

    return logits
"""


@pytest.mark.slow
def test_evaluate_prints_a_line_for_each_row_and_takes_a_part_of_a_split(
    run, folder_of_images, tmp_path, monkeypatch
):
    (tmp_path / "shades.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    arguments = ["evaluate", "shades:brightness", "out", "--data", folder_of_images]
    more = ["--split", "train", "--skip", "40", "--batch-size", "3", "--attacked", "0"]
    output = run(*arguments, *more, "--corruptions", "fog")
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert {row["count"] for row in rows} == {8}  # of 48 training images
    lines = re.findall(r"^raw, (\w+) (\d): [\d.]+$", output, flags=re.MULTILINE)
    assert lines == [(row["condition"], str(row["severity"])) for row in rows]
    for option, value in (("--skip", "48"), ("--skip", "-1"), ("--split", "dev")):
        assert option.strip("-") in run(*arguments, option, value, code=1)


@pytest.mark.slow
def test_a_calibrated_model_is_judged(run, folder_of_images, tmp_path, monkeypatch):
    (tmp_path / "shades_too.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    output = run("calibrate", "shades_too:brightness", "best", "--data", folder_of_images)
    assert "calibrated on 48 images" in output
    more = ["--attacked", "0", "--corruptions", "fog"]
    run("evaluate", "best", "out", "--data", folder_of_images, *more)
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert {row["view"] for row in rows} == {"raw", "calibrated"}
