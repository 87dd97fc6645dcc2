import numpy as np
import pytest

from virolbi.corruptions import corrupt, sheet


def test_a_sheet_shows_every_type_at_the_severities(photographs, small):
    pixels, labels = sheet(photographs[0], severities=(1, 5), seed=3)
    assert (pixels.shape, pixels.dtype, len(labels)) == ((38, 32, 32, 3), np.uint8, 38)
    assert labels[:3] == ["gaussian noise 1", "gaussian noise 5", "shot noise 1"]
    fog = np.rint(255 * corrupt(small[:1], "fog", 5, seed=3)[0].transpose(1, 2, 0))
    np.testing.assert_array_equal(pixels[labels.index("fog 5")], fog)
    pixels, labels = sheet(photographs[0, ..., 0])
    assert (pixels.shape, len(labels)) == ((57, 32, 32), 57)
    with pytest.raises(ValueError, match=r"^image .*\(32, 32, 2\)"):
        sheet(photographs[0, ..., :2])
