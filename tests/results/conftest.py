"""Made-up rows of results."""

import pytest

LEVELS = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),
    "shot_noise": (500, 250, 100, 75, 50),
    "impulse_noise": (1, 2, 3, 4, 5),
}
SEVERITIES = {"clean": [0], "low_resolution": [1, 2]}


@pytest.fixture
def rows_of():
    """A function that makes the rows of one model; accuracies fall with severity."""

    def make(arm, view, accuracies, seeds=(0, 1), count=400):
        for seed in seeds:
            for condition, accuracy in accuracies.items():
                for s in SEVERITIES.get(condition, range(1, 6)):
                    yield {
                        "arm": arm,
                        "view": view,
                        "condition": condition,
                        "severity": s,
                        "level": LEVELS[condition][s - 1] if condition in LEVELS else float(2 * s),
                        "seed": seed,
                        "count": count,
                        "accuracy": accuracy - 0.02 * s + 0.01 * seed,
                        "data": "made up",
                        "images": "1a2b",
                        "weights": "3c",
                    }

    return make


@pytest.fixture
def rows(rows_of):
    """Rows of two models: one in one view, one in two."""
    strong = {
        "clean": 0.8,
        "gaussian_noise": 0.8,
        "shot_noise": 0.75,
        "impulse_noise": 0.7,
        "low_resolution": 0.72,
    }
    weak = {
        "clean": 0.9,
        "gaussian_noise": 0.5,
        "shot_noise": 0.5,
        "impulse_noise": 0.6,
        "low_resolution": 0.7,
    }
    return [
        *rows_of("plain <b>", "raw", weak),
        *rows_of("fixed", "smoothed", strong),
        *rows_of("fixed", "raw", weak),
    ]
