"""Processes that do one evaluation together."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from torch import nn

from virolbi.corruptions import COMMON
from virolbi.evaluation import Attacks, Conditions, certify_views, evaluate, subject_from_network
from virolbi.evaluation.sharing import share
from virolbi.results import read_lines, read_rows, row_key

CONTEXT = multiprocessing.get_context("fork")


class Counted(nn.Module):
    """Network from brightness to two classes, which writes down how many images it sees."""

    def __init__(self, log, stop_after=None):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.log, self.left = log, stop_after

    def forward(self, images):
        with self.log.open("a") as file:
            file.write(f"{len(images)}\n")
        if self.left is not None:
            self.left -= len(images)
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        brightness = self.scale * images.mean((1, 2, 3))
        return torch.stack([brightness - 1, -brightness], dim=1)


def run_together(work, folder, number, stop_after=None):
    """Run `work(network)` in processes at the same time, and return how many images each sees.

    With `stop_after`, the first one begins ahead and dies after so many images.
    """

    def run(index):
        torch.set_num_threads(1)
        start.wait(60)
        while index and stop_after and seen(folder, 0) < stop_after / 2:
            time.sleep(0.01)
        work(Counted(folder / f"{index}.log", stop_after if index == 0 else None))

    folder.mkdir(exist_ok=True)
    start = CONTEXT.Barrier(number)
    processes = [CONTEXT.Process(target=run, args=(index,)) for index in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    killed = [-signal.SIGKILL] if stop_after is not None else [0]
    assert [process.exitcode for process in processes] == killed + [0] * (number - 1)
    return [seen(folder, index) for index in range(number)]


def seen(folder, index):
    """Return how many images the network of a process has seen."""
    log = folder / f"{index}.log"
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def by_key(rows):
    return {row_key(row): row for row in rows}


# images that a subject shows its network, to see how many classes it has and what identifies it
PROBED = 2 + 2 * 12 + 3 * 8  # the last: whether answers depend on the batch


@pytest.fixture
def images(trained):
    """Twelve images."""
    return trained[1]


def test_processes_share_the_conditions_and_attacked_views(images, tmp_path):
    def work(folder):
        return lambda network: evaluate(
            subject_from_network(network, "mean"),
            images,
            tmp_path / folder / "rows.jsonl",
            conditions=Conditions(("gaussian_noise", "shot_noise", "contrast")),
            attacks=Attacks(attacked=4),
        )

    (alone,) = run_together(work("alone"), tmp_path / "alone", 1)
    together = run_together(work("together"), tmp_path / "together", 3)
    rows = read_rows(tmp_path / "together" / "rows.jsonl")
    assert len(rows) == len(by_key(rows))
    assert by_key(rows) == by_key(read_rows(tmp_path / "alone" / "rows.jsonl"))
    seen_by_all = 300  # the checks before the work, which every process does
    assert sum(together) < alone + 2 * seen_by_all
    assert min(together) > 20


def test_what_a_killed_process_was_doing_is_done_by_the_others(images, tmp_path):
    def work(network):
        subject = subject_from_network(network, "mean")
        conditions, attacks = Conditions(COMMON), Attacks(attacked=0)
        evaluate(subject, images, path, conditions=conditions, attacks=attacks)

    path = tmp_path / "together" / "rows.jsonl"
    run_together(work, path.parent, 2, stop_after=200)
    rows = read_rows(path)
    assert len(rows) == len(by_key(rows)) == 15 * 5 + 3


def test_processes_share_the_images_that_they_certify(images, tmp_path):
    def work(folder):
        return lambda network: certify_views(
            subject_from_network(network, "mean"),
            images,
            tmp_path / folder / "certified.jsonl",
            sigma=0.1,
            samples=20,
            radii=(0.0, 0.05),
        )

    (alone,) = run_together(work("alone"), tmp_path / "alone", 1)
    assert alone == 12 * 120 + PROBED  # 100 samples select a class, 20 bound its probability
    together = run_together(work("together"), tmp_path / "together", 2)
    assert sum(together) == alone + PROBED
    for name in ("certified.jsonl", "certificates.jsonl"):
        lines = [read_lines(tmp_path / folder / name) for folder in ("alone", "together")]
        assert sorted(map(str, lines[0])) == sorted(map(str, lines[1]))


def test_a_killed_certification_goes_on_where_it_stopped(images, tmp_path):
    def work(network):
        subject = subject_from_network(network, "mean")
        certify_views(subject, images, path, sigma=0.1, samples=20, radii=(0.0, 0.05))

    path = tmp_path / "certified.jsonl"
    run_together(work, tmp_path, 1, stop_after=11 * 120)  # behind the first part of ten images
    assert read_rows(path) == []
    (tmp_path / "0.log").unlink()
    assert run_together(work, tmp_path, 1) == [2 * 120 + PROBED]
    assert len(read_rows(path)) == 2


def test_parts_are_given_once_and_in_order(tmp_path):
    done = {2}
    given = []
    for part in share(tmp_path, range(5), name=str, is_missing=lambda part: part not in done):
        given.append(part)
        done.add(part)
    assert given == [0, 1, 3, 4]
