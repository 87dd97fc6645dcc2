from dataclasses import replace

import pytest

from virolbi.data import load
from virolbi.evaluation.comparison import _record_settings


def test_a_comparison_goes_on_when_its_images_were_moved(folder_of_images, tmp_path):
    def record(images, epochs=1):
        settings = {"training images": images.metadata, "attacked": 3}
        recipe = {"epochs": epochs, "data": images.name}
        _record_settings(tmp_path / "out", settings, {"plain": recipe})

    images = load(str(folder_of_images), "train")
    record(images)
    moved = folder_of_images.rename(tmp_path / "elsewhere")
    record(load(str(moved), "train"))
    assert '"elsewhere"' in (tmp_path / "out" / "comparison.json").read_text()
    with pytest.raises(ValueError, match="differs in training images"):
        record(replace(images, pixels=255 - images.pixels))
    with pytest.raises(ValueError, match="differs in epochs of plain"):
        record(images, epochs=2)
