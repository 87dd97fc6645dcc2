"""Fixtures of the tests of the explorer: an uploaded photograph, and an explorer."""

import numpy as np
import pytest
from PIL import Image

from virolbi.explorer import Explorer, Source


@pytest.fixture
def explorer():
    return Explorer()


@pytest.fixture
def photograph(tmp_path, photographs):
    """A file of 64x48 pixels in colour, as it was uploaded."""
    mosaic = np.vstack([np.hstack(photographs[:2]), np.hstack(photographs[4:6])])[:48]
    Image.fromarray(mosaic).save(tmp_path / "photo.png")
    return Source("photo.png", tmp_path / "photo.png")
