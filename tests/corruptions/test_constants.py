import hashlib

import numpy as np
import pytest

from virolbi.corruptions import (
    COMMON,
    HELD_OUT,
    LEVELS,
    NOISES,
    RESOLUTIONS,
    nearest_resolution,
    noise_level,
)
from virolbi.corruptions._corrupt import FIXED, RANDOM

ALL = COMMON + HELD_OUT


def test_there_are_fifteen_common_types_and_four_held_out_each_with_all_constants():
    assert (len(COMMON), len(HELD_OUT), len(set(ALL))) == (15, 4, 19)
    assert set(ALL) == set(LEVELS) == {*FIXED, *RANDOM}
    assert COMMON[:3] == NOISES
    for levels in LEVELS.values():
        assert tuple(levels) == RESOLUTIONS
        assert {len(severities) for severities in levels.values()} == {5}


def test_the_nearest_resolution_is_that_of_the_shorter_side_by_ratio():
    sides = (8, 45, 46, 119, 120, 500)
    nearest = [nearest_resolution(side, 2 * side) for side in sides]
    assert nearest == [32, 32, 64, 64, 224, 224]


def test_the_level_of_noise_is_its_only_constant():
    for name in ALL:
        constants = LEVELS[name][32][4]
        if isinstance(constants, tuple):
            with pytest.raises(ValueError, match=f"^name must be .* one constant, got '{name}'"):
                noise_level(name, 5, 32)
        else:
            assert noise_level(name, 5, 32) == constants


def test_the_constants_are_as_they_were_read():
    """No peer has those for 32 and 64 pixels: before changing one, read the generators again."""
    table = repr(
        {
            name: {
                key: [np.round(level, 9).tolist() for level in LEVELS[name][key]]
                for key in RESOLUTIONS
            }
            for name in ALL
        }
    )
    assert hashlib.sha256(table.encode()).hexdigest()[:16] == "bc2c70a846509cd8"
