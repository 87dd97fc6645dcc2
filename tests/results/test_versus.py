import io

import numpy as np
import pytest
from rich.console import Console

from virolbi.results import add_detail, versus, write_rows


def test_one_small_p_among_many_tests_is_not_significant(tmp_path, rows_of):
    first, second = (
        list(
            rows_of(
                arm,
                "raw",
                {"clean": 0.9, "gaussian_noise": 0.9, "shot_noise": 0.9},
                seeds=(0,),
                count=40,
            )
        )
        for arm in ("one", "other")
    )
    write_rows(tmp_path / "rows.jsonl", [*first, *second])
    for row in (*first, *second):
        worse = row["arm"] == "other" and (row["condition"], row["severity"]) == ("shot_noise", 5)
        correct = np.arange(40) >= 6 * worse  # 6 against 0: p is .03
        add_detail(tmp_path / "details.jsonl", row, correct, 0.1)
    out = io.StringIO()
    Console(file=out, width=120).print(versus(tmp_path, "one", "other"))
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("shot noise 5")]
    assert "+0.150" in line
    assert "0.3, not significant" in line
    write_rows(tmp_path / "rows.jsonl", [*first, *(row | {"seed": 1} for row in second)])
    for row in second:
        add_detail(tmp_path / "details.jsonl", row | {"seed": 1}, np.ones(40, bool), 0.1)
    with pytest.raises(ValueError, match="must hold one and other under a common condition"):
        versus(tmp_path, "one", "other")
