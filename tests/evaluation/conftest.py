"""A trained subject with test images."""

import pytest

from virolbi.data import load
from virolbi.evaluation import subject_from_run
from virolbi.recipes import Recipe
from virolbi.training import train


@pytest.fixture
def trained(folder_of_images):
    run = train(
        Recipe(procedure="fixed", epochs=1, batch_size=16, crop=2),
        load(str(folder_of_images), "train"),
    )
    return subject_from_run(run, "ours"), load(str(folder_of_images), "test")
