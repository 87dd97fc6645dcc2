import pytest

from virolbi.results import write_lines

ROW = {
    "arm": "net",
    "view": "raw",
    "seed": 0,
    "condition": "clean",
    "severity": 0,
    "level": 0.0,
    "count": 32,
    "accuracy": 0.9,
    "balanced": 0.25,
    "present": 4,
    "classes": 6,
    "data": "birds",
    "images": "1a2b",
    "weights": "3c",
}
FINDING = {"arm": "net", "view": "raw", "name": "gradients", "sentence": "5 of 5 have none."}


@pytest.mark.parametrize("file", ["rows.jsonl", "certified.jsonl"])
def test_report_prints_the_warnings_of_its_page(run, tmp_path, file):
    condition = {"condition": "clean" if file == "rows.jsonl" else "certified"}
    write_lines(tmp_path / file, [ROW | condition])
    write_lines(tmp_path / "checks.jsonl", [FINDING | {"suspicious": True}])
    printed = " ".join(run("report", tmp_path).split())
    assert "net (raw, seed 0) hardly tells the classes apart" in printed
    assert "Accuracy of net (raw) under attack may be unreliable" in printed
    assert "hardly tells the classes apart" in (tmp_path / "report.html").read_text()
