import multiprocessing

import numpy as np
import pytest
import torch

from virolbi.evaluation import certify_views, subject_from_network
from virolbi.results import read_rows


def test_a_function_without_parameters_is_certified(trained, tmp_path):
    _, images = trained
    brightness = subject_from_network(
        lambda x: torch.stack([x.mean((1, 2, 3)) - 1, -x.mean((1, 2, 3))], dim=1), "brightness"
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
    with pytest.raises(TypeError, match="radii must be a number, got 'a'"):
        certify_views(subject, images, tmp_path / "d.jsonl", radii=("a",), **settings)
    with pytest.raises(TypeError, match="sigma must be a number, got '0.1'"):
        certify_views(subject, images, tmp_path / "d.jsonl", **(settings | {"sigma": "0.1"}))


def certify_in_a_view(images, path, name, start):
    def brightness(x):
        return torch.stack([x.mean((1, 2, 3)) - 1, -x.mean((1, 2, 3))], dim=1)

    torch.set_num_threads(1)
    start.wait(60)
    subject = subject_from_network(brightness, name)
    for samples in range(20, 28):
        certify_views(subject, images, path, sigma=0.1, radii=(0.0, 0.01), samples=samples)


@pytest.mark.slow
def test_no_row_is_lost_when_several_processes_certify_at_once(trained, tmp_path):
    _, images = trained
    images, path = images.subset(np.s_[:2]), tmp_path / "certified.jsonl"
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    writers = [
        context.Process(target=certify_in_a_view, args=(images, path, name, start))
        for name in "abcd"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    rows = read_rows(path)
    found = sorted((row["arm"], row["samples"], row["level"]) for row in rows)
    assert found == [
        (name, samples, level)
        for name in "abcd"
        for samples in range(20, 28)
        for level in (0, 0.01)
    ]


@pytest.mark.slow
def test_radii_that_another_process_adds_meanwhile_are_kept(trained, tmp_path):
    subject, images = trained
    images, path = images.subset(np.s_[:2]), tmp_path / "certified.jsonl"
    settings, views = {"sigma": 0.1, "samples": 20}, []

    def meanwhile(view, done):
        if not views:
            views.append(view)
            certify_views(subject, images, path, radii=(0.0, 0.05), **settings)

    rows = certify_views(subject, images, path, radii=(0.02,), progress=meanwhile, **settings)
    assert [row["level"] for row in rows] == [0.02] * len(subject.views)
    levels = [(row["view"], row["level"], row["severity"]) for row in read_rows(path)]
    assert sorted(levels) == [
        (view.name + ", sigma 0.1", level, severity)
        for view in subject.views
        for severity, level in enumerate((0.0, 0.02, 0.05), start=1)
    ]


def test_answers_that_depend_on_the_batch_are_not_certified(trained, tmp_path):
    _, images = trained
    centred = subject_from_network(
        lambda shown: (shown - shown.mean()).mean((2, 3)).repeat(1, 2), "own"
    )
    with pytest.raises(ValueError, match="model own must answer for each image by itself"):
        certify_views(centred, images, tmp_path / "c.jsonl", sigma=0.1, samples=20)
