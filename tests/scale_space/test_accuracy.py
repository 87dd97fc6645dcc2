"""The path at its default steps and at fine ones, against an exact path and a much finer one."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from virolbi import ScaleSpace, smooth
from virolbi._engine import edge_count
from virolbi.scale_space import Form, label_regions, region_means

sys.path.append(str(Path(__file__).parent.parent.parent / "benchmarks"))

from exact_path import ExactPath

INF = float("inf")
SIDE, SPARSITIES = 24, (0.8, 0.6)


@pytest.fixture(scope="module")
def planes():
    """Six planes of three photographs: clean ones, and the same with noise of .08."""
    tiles = []
    for name, i, j in (("china.jpg", 40, 60), ("flower.jpg", 60, 80), ("china.jpg", 90, 150)):
        small = np.asarray(Image.fromarray(load_sample_image(name)).reduce(3))
        tiles.append(small[i : i + SIDE, j : j + SIDE, 1] / 255)
    noise = np.random.default_rng(0).normal(0, 0.08, (3, SIDE, SIDE))
    return np.concatenate([tiles, np.clip(tiles + noise, 0, 1)])


def agreement(planes, references, bound, **settings):
    """Return the share of pixels within a bound of their reference: the mean and the worst."""
    shares = []
    for sparsity, reference in zip(SPARSITIES, references, strict=True):
        error = np.abs(smooth(planes, sparsity, **settings) - reference)
        shares.append((error <= bound).mean(axis=(1, 2)))
    return np.mean(shares), np.min(shares)


def test_the_stronger_of_two_variations_enters_the_exact_path_first():
    path = ExactPath(np.array([[0.0, 0.1, 0.9]]), nu=1.0)
    np.testing.assert_array_equal(path.follow(1), [False, True])


@pytest.mark.slow
def test_regions_agree_with_those_of_an_exact_path(planes):
    """The figures are those of the documentation of `Form`, rounded down."""
    paths = [ExactPath(plane, nu=1.0) for plane in planes]
    edges, references = edge_count(SIDE, SIDE), []
    for sparsity in SPARSITIES:
        supports = np.stack([path.follow(round((1 - sparsity) * edges)) for path in paths])
        labels = label_regions(supports, SIDE, SIDE)
        references.append(region_means(planes[:, None], labels)[:, 0])
    for step, mean, worst in ((Form.step, 0.98, 0.9), (0.002, 0.998, 0.98)):
        reached = agreement(
            planes, references, 0.02, delta=INF, joint=False, output="regions", step=step
        )
        assert reached[0] >= mean
        assert reached[1] >= worst


@pytest.mark.slow
def test_beta_agrees_with_that_of_a_much_finer_path(planes):
    references = [smooth(planes, sparsity, step=0.001) for sparsity in SPARSITIES]
    for step, mean, worst in ((Form.step, 0.96, 0.9), (0.005, 0.99, 0.96)):
        reached = agreement(planes, references, 0.005, step=step)
        assert reached[0] >= mean
        assert reached[1] >= worst


def test_a_larger_step_is_less_exact(planes):
    fine = ScaleSpace(planes, step=0.005).at(0.7).support
    wrong = [(ScaleSpace(planes, step=step).at(0.7).support != fine).mean() for step in (0.4, 0.05)]
    assert wrong[0] > 2 * wrong[1] > 0


@pytest.mark.parametrize("form", [{}, {"delta": INF}], ids=["robust", "published"])
@pytest.mark.parametrize(("nu", "margin"), [(1.0, 16), (0.1, 32)])
def test_a_crop_with_margins_comes_out_as_in_the_whole_image(photographs, form, nu, margin):
    """The same time, far from the border of the crop; the whole image enters earlier elsewhere."""
    mosaic = np.concatenate(
        np.concatenate(photographs[:24].reshape(4, 6, 32, 32, 3), axis=1), axis=1
    )
    image = np.clip(mosaic / 255 * 0.6 + 0.2, 0, 1)
    image[:8, :8] = np.indices((8, 8)).sum(0)[..., None] % 2  # the strongest variations
    inside = slice(16, 120), slice(30, 170)
    settings = {"nu": nu, "channel_axis": -1, **form}
    whole = ScaleSpace(image, **settings).at(time=12.0).beta[inside]
    part = ScaleSpace(image[inside], **settings).at(time=12.0).beta
    inner = slice(margin, -margin), slice(margin, -margin)
    assert np.mean(np.abs(whole - part)[inner] > 1e-3) < 1e-3
