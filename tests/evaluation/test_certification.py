import numpy as np
import pytest
import torch

from virolbi.evaluation import certify_views, subject_from_network
from virolbi.results import read_rows


def test_a_function_without_parameters_is_certified(trained, tmp_path):
    _, images = trained
    brightness = subject_from_network(
        lambda x: torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], dim=1), "brightness"
    )
    rows = certify_views(
        brightness,
        images.subset(np.s_[:3]),
        tmp_path / "c.jsonl",
        sigma=0.1,
        radii=(0.0, 0.05),
        samples=20,  # which certify a radius of .055 at most
    )
    assert [row["accuracy"] for row in rows] == [1.0, 1.0]


def test_other_radii_are_added_to_those_that_are_certified(trained, tmp_path, monkeypatch):
    subject, images = trained
    images, path = images.subset(np.s_[:3]), tmp_path / "c.jsonl"
    settings = {"sigma": 0.1, "samples": 20}
    first = certify_views(subject, images, path, radii=(0.0, 0.05), **settings)
    second = certify_views(subject, images, path, radii=(0.05, 0.06), **settings)
    assert {(row["view"], row["level"]) for row in second} == {
        (row["view"], r) for row in first for r in (0.05, 0.06)
    }
    rows = {(row["view"], row["level"]): row for row in read_rows(path)}
    assert [rows[row["view"], row["level"]]["accuracy"] for row in first] == [
        row["accuracy"] for row in first
    ]
    assert {level: row["severity"] for (_, level), row in rows.items()} == {
        0.0: 1,
        0.05: 2,
        0.06: 3,
    }
    assert len(rows) == len(read_rows(path)) == 3 * len(subject.views)
    # nothing is certified again
    monkeypatch.setattr("virolbi.evaluation.certification.certify", None)
    assert certify_views(subject, images, path, radii=(0.0, 0.06), **settings)
    with pytest.raises(ValueError, match=r"radii must .*\[0.1, 0\]"):
        certify_views(subject, images, tmp_path / "d.jsonl", radii=(0.1, 0), **settings)
