"""Differences between two models on the same images, over images and over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from virolbi.corruptions import COMMON, HELD_OUT, SEVERITIES
from virolbi.results.details import Detail, read_details
from virolbi.results.rows import Row, RowKey, read_results, row_key
from virolbi.results.statistics import (
    PairedTest,
    SeedTest,
    holm_correction,
    paired_test,
    seed_test,
)
from virolbi.results.summary import Condition, summarise

# Answers of a model by its seeds: which images are correct, (conditions, images). One condition has
# one line of answers, a mean has those of all its conditions.
Answers = dict[Condition, dict[int, np.ndarray]]

# Means over conditions that are compared too, by their names.
MEANS: Mapping[str, Sequence[Condition]] = {
    title: [(name, severity) for name in names for severity in SEVERITIES]
    for title, names in (("mean of the 15 common", COMMON), ("mean of the held out", HELD_OUT))
}


@dataclass(frozen=True)
class Difference:
    """Difference between two models under one condition, over the seeds that both have.

    Parameters
    ----------
    condition : str
        Name of the condition, "mean of the 15 common" or "mean of the held out".
    severity : int
        Severity of the condition, or 0 if it has none.
    seeds : tuple of int
        Seeds that both models have.
    first, second : float
        Mean accuracy of each model.
    over_images : PairedTest
        Test of whether these networks would differ on further images.
    over_seeds : SeedTest or None
        Test of whether the two ways to train would differ in further training runs. None unless
        there are two seeds or more under every condition.
    corrected_over_images : float
        The p-value of `over_images`, corrected for the number of conditions (Holm).
    corrected_over_seeds : float or None
        The p-value of `over_seeds`, corrected in the same way.
    """

    condition: str
    severity: int
    seeds: tuple[int, ...]
    first: float
    second: float
    over_images: PairedTest
    over_seeds: SeedTest | None
    corrected_over_images: float
    corrected_over_seeds: float | None

    @property
    def gain(self) -> float:
        """Accuracy of the first model less that of the second."""
        return self.first - self.second


class AnswersOfTwo(NamedTuple):
    """Answers of two models to the same images.

    Attributes
    ----------
    first, second : dict
        Answers of each model, with those to the means over conditions.
    shared : dict
        Seeds that both have, for each condition under which there are any.
    """

    first: Answers
    second: Answers
    shared: Mapping[Condition, Sequence[int]]


def compare_models(folder: Path, first: str, second: str) -> list[Difference]:
    """Compare two models on the same images, condition by condition.

    `versus` shows the result as a table.

    Parameters
    ----------
    folder : Path
        Folder with a rows.jsonl and a details.jsonl, which `evaluate` writes.
    first, second : str
        Names of the models in the rows, each followed by a slash and its view if it has several.

    Returns
    -------
    list of Difference
        One for each of the means over the common and the held-out corruptions, and one for each
        condition.

    Raises
    ------
    ValueError
        If there are no rows with details, if a name is not that of one model, or if the two models
        have no condition and seed in common.
    """
    return list_differences(read_answers(folder, first, second))


def read_answers(folder: Path, first: str, second: str) -> AnswersOfTwo:
    """Read the answers of two models.

    Parameters
    ----------
    folder : Path
        Folder, as in `compare_models`.
    first, second : str
        Names of the models.

    Returns
    -------
    AnswersOfTwo
        Their answers, and the seeds that both have.

    Raises
    ------
    ValueError
        Under the conditions of `compare_models`.
    """
    details = read_details(folder)
    rows = [row for row in read_results(folder) if row_key(row) in details]
    if not rows:
        raise ValueError(
            f"{folder} must hold a details.jsonl, which an evaluation writes beside its rows"
        )
    summarise(rows)  # checks that the rows can be compared
    one, other = (_with_means(_correct(rows, details, name)) for name in (first, second))
    shared = {key: sorted(one[key].keys() & other.get(key, {}).keys()) for key in one}
    shared = {key: seeds for key, seeds in shared.items() if seeds}
    if not shared:
        raise ValueError(
            f"{folder} must hold {first} and {second} under a common condition, of a common seed"
        )
    return AnswersOfTwo(one, other, shared)


def list_differences(answers: AnswersOfTwo) -> list[Difference]:
    """Return the difference between two models under each condition that both have.

    Parameters
    ----------
    answers : AnswersOfTwo
        Answers of both.

    Returns
    -------
    list of Difference
        One for each mean and each condition.
    """
    pairs = [
        [np.stack([side[key][seed] for seed in seeds]) for side in (answers.first, answers.second)]
        for key, seeds in answers.shared.items()
    ]
    several = all(len(seeds) > 1 for seeds in answers.shared.values())
    over_images = [paired_test(*map(np.concatenate, pair)) for pair in pairs]
    over_seeds = [seed_test(*map(_accuracies, pair)) if several else None for pair in pairs]
    corrected_images = holm_correction([test.p for test in over_images])
    corrected_seeds: Sequence[float | None] = holm_correction(
        [test.p for test in over_seeds if test is not None]
    ) or [None] * len(pairs)
    return [
        Difference(
            condition=name,
            severity=severity,
            seeds=tuple(seeds),
            first=float(np.mean(_accuracies(pairs[index][0]))),
            second=float(np.mean(_accuracies(pairs[index][1]))),
            over_images=over_images[index],
            over_seeds=over_seeds[index],
            corrected_over_images=corrected_images[index],
            corrected_over_seeds=corrected_seeds[index],
        )
        for index, ((name, severity), seeds) in enumerate(answers.shared.items())
    ]


def _correct(rows: Sequence[Row], details: Mapping[RowKey, Detail], name: str) -> Answers:
    """Return which images a model classifies correctly under each condition, by seed."""
    models = sorted({f"{row['arm']}/{row['view']}" for row in rows})
    matches = [model for model in models if name in (model, model.rpartition("/")[0])]
    if len(matches) != 1:
        raise ValueError(f"a model must be named as one of {models}, got {name!r}")
    correct: Answers = {}
    for row in rows:
        if f"{row['arm']}/{row['view']}" == matches[0]:
            seeds = correct.setdefault((row["condition"], row["severity"]), {})
            seeds[row["seed"]] = details[row_key(row)].correct[None]
    return correct


def _with_means(answers: Answers) -> Answers:
    """Return answers, after the means over conditions for the seeds that have all of them."""
    means: Answers = {}
    for title, conditions in MEANS.items():
        seeds = set.intersection(*(set(answers.get(key, {})) for key in conditions))
        if seeds:
            means[title, 0] = {
                seed: np.concatenate([answers[key][seed] for key in conditions])
                for seed in sorted(seeds)
            }
    return means | answers


def _accuracies(correct: np.ndarray) -> list[float]:
    """Return the accuracy of each seed."""
    return [float(answers.mean()) for answers in correct]
