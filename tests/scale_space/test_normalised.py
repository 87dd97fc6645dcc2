"""Images that were normalised for a network are warned about; the overshoot of resizing is not."""

import warnings

import numpy as np
import pytest
import torch

from virolbi import ScaleSpace, noise_strength, smooth
from virolbi.nn import Smooth
from virolbi.scale_space import IntensityWarning


@pytest.mark.parametrize(
    "function",
    [
        lambda images: smooth(images, 0.8),
        ScaleSpace,
        noise_strength,
        lambda images: Smooth(0.8)(torch.from_numpy(images)),
    ],
)
def test_normalised_images_are_one_warning_at_the_line_of_the_caller(planes, function):
    signed = 2 * planes[:3] - 1
    imagenet = (planes[:3] - np.float32(0.485)) / np.float32(0.5)
    for images in (signed, imagenet, planes[:3] + np.float32(0.5)):
        message = r"images should be in \[0, 1\].*data_range"
        with pytest.warns(IntensityWarning, match=message) as caught:
            function(images)
        assert [warning.filename for warning in caught] == [__file__]
        assert f"from {images.min():g} to {images.max():g}" in str(caught[0].message)


def test_the_warning_is_in_the_units_of_the_caller(act_as_accelerator):
    images = np.array([[-100, 255.0]])
    message = r"images should be in \[0, 255\], got values from -100 to 255"
    for accelerator in (False, True):
        act_as_accelerator(accelerator)
        with pytest.warns(IntensityWarning, match=message):
            smooth(torch.from_numpy(images), 0.8, data_range=255)


def test_overshoot_is_silent_and_the_bound_stays():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smooth(np.array([[-0.2, 1.2]]), 0.8)
        for wrong in (np.array([[-1.1, 0.5]]), np.array([[0.5, 2.1]])):
            with pytest.raises(ValueError, match="floating images must be"):
                smooth(wrong, 0.8)
