"""The heat maps of the settings, and the ranges that cost little."""

import math
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
sys.path.append(str(Path(__file__).parent.parent / "tools"))

from heat_maps import heat_maps

from sensitivity import _profiles, _range

DEFAULTS = {"nu": 1.0, "delta": 0.1}


def rows():
    """PSNR that is best at nu 2, delta 0.1 and sparsity 0.9, and falls with the distance."""
    for nu in (0.5, 1.0, 2.0, 4.0):
        for delta in (0.05, 0.1, math.inf):
            loss = abs(math.log2(nu / 2)) + (delta != 0.1)
            yield {
                "noise": "some",
                "nu": nu,
                "delta": None if delta == math.inf else delta,
                "step": 0.05,
                "sparsity": (0.95, 0.9, 0.8),
                "psnr": [30 - loss - 0.25, 30 - loss, 30 - loss - 0.75],
            }


def test_a_heat_map_shows_what_every_pair_loses_to_the_best():
    text = heat_maps(
        list(rows()), score="psnr", panels=["noise"], defaults=DEFAULTS, worst=3, factor=10
    )
    cells = re.findall(r'<rect x="[\d.]+" y="[\d.]+" width="26".*?middle">([\d.]+)</text>', text)
    # sparsity and nu at the default delta, sparsity and delta at the default nu, nu and delta
    first, second, third = cells[:12], cells[12:21], cells[21:]
    assert len(third) == 12
    assert first[:3] == ["27.5", "20.0", "22.5"]  # nu 0.5, sparsities rising
    assert first[7] == "0.0"  # nu 2, sparsity 0.9
    assert second[3:6] == ["17.5", "10.0", "12.5"]  # delta 0.1 at nu 1
    assert third[4:8] == ["20.0", "10.0", "0.0", "10.0"]  # delta 0.1
    assert third[8:] == ["30.0", "20.0", "10.0", "20.0"]  # infinite delta


def test_a_range_is_around_the_best_value_and_without_gaps():
    profiles = dict(_profiles(list(rows()), "psnr"))
    assert profiles["nu"] == {0.5: 28.0, 1.0: 29.0, 2.0: 30.0, 4.0: 29.0}
    assert profiles["delta"] == {0.05: 28.0, 0.1: 29.0, math.inf: 28.0}
    assert profiles["sparsity"] == {0.95: 28.75, 0.9: 29.0, 0.8: 28.25}
    text = " ".join(str(value) for value in _range("nu", profiles["nu"], 1.0).values())
    assert "0.5 to 4 2 30.0 1 to 4 1.0" in text
    gap = {1.0: 5.0, 2.0: 0.0, 3.0: 5.1}
    assert "3 to 3" in _range("nu", gap, 0.3).values()
