"""Comparison of two models on the same images, over images and over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from rich import box
from rich.table import Table

from virolbi.corruptions import COMMON, HELD_OUT, SEVERITIES
from virolbi.results.details import Detail, read_details
from virolbi.results.rows import Row, RowKey, read_results, row_key
from virolbi.results.statistics import holm_correction, paired_test, seed_test
from virolbi.results.summary import Condition, summarise
from virolbi.results.tables import format_accuracy

SIGNIFICANCE = 0.05  # level that p must be below

# Answers of a model under each condition, by its seeds: which images are correct, (images,), or
# the share of conditions in which they are.
Answers = dict[Condition, dict[int, np.ndarray]]

# Means over conditions that are compared too, by their names in the table.
MEANS: Mapping[str, Sequence[Condition]] = {
    title: [(name, severity) for name in names for severity in SEVERITIES]
    for title, names in (("mean of the 15 common", COMMON), ("mean of the held out", HELD_OUT))
}
OVER_IMAGES = (
    "Over images: would these networks differ on further images? Exact sign test, averaged over "
    "seeds (McNemar's test for one seed)."
)
OVER_SEEDS = (
    "Over seeds: would the two ways to train differ in further training runs, on these images? "
    "Student's t-test."
)
ONE_SEED = (
    "Not tested over seeds, for which both need two or more: the differences are those of these "
    "networks, and two networks of one way to train differ significantly as well."
)


def versus(folder: Path, first: str, second: str) -> Table:
    """Compare two models on the same images, condition by condition.

    Parameters
    ----------
    folder : Path
        Folder with a rows.jsonl and a details.jsonl, which `evaluate` writes.
    first, second : str
        Names of the models in the rows, each followed by a slash and its view if it has several.

    Returns
    -------
    rich.table.Table
        For each condition, and for the means over the common and the held-out corruptions, the
        accuracies of both and the gain of the first. Its 95 % interval and the p-value of a test
        follow: over images, and over seeds if both have two or more. The p-values are corrected for
        the number of conditions.

    Raises
    ------
    ValueError
        If there are no rows with details, if a name is not that of one model, or if the two models
        have no condition and seed in common.
    """
    details = read_details(folder)
    rows = [row for row in read_results(folder) if row_key(row) in details]
    if not rows:
        raise ValueError(
            f"{folder} must hold a details.jsonl, which an evaluation writes beside its rows"
        )
    summarise(rows)  # checks that the rows can be compared
    one, other = (_with_means(_correct(rows, details, name)) for name in (first, second))
    shared = [key for key in one if one[key].keys() & other.get(key, {}).keys()]
    if not shared:
        raise ValueError(
            f"{folder} must hold {first} and {second} under a common condition, of a common seed"
        )
    several = all(len(answers[key]) > 1 for answers in (one, other) for key in shared)
    columns = [_image_texts(one, other, shared)]
    if several:
        columns.append(_seed_texts(one, other, shared))
    table = _empty_table(
        f"First: {first}. Second: {second}. {OVER_IMAGES} {OVER_SEEDS if several else ONE_SEED} "
        f"p is corrected for {len(shared)} tests (Holm), the intervals are not; n.s.: not "
        f"significant, p not below {SIGNIFICANCE}.",
        several,
    )
    for key, *texts in zip(shared, *columns, strict=True):
        accuracies = [_accuracy(answers[key]) for answers in (one, other)]
        name, severity = key
        table.add_row(
            f"{name.replace('_', ' ')} {severity or ''}",
            *map(format_accuracy, accuracies),
            f"{accuracies[0] - accuracies[1]:+.3f}",
            *(text for pair in texts for text in pair),
        )
    return table


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
            seeds[row["seed"]] = details[row_key(row)].correct
    return correct


def _with_means(answers: Answers) -> Answers:
    """Return answers, after the means over conditions for the seeds that have all of them."""
    means: Answers = {}
    for title, conditions in MEANS.items():
        seeds = set.intersection(*(set(answers.get(key, {})) for key in conditions))
        if seeds:
            means[title, 0] = {
                seed: np.mean([answers[key][seed] for key in conditions], axis=0)
                for seed in sorted(seeds)
            }
    return means | answers


def _accuracy(answers: Mapping[int, np.ndarray]) -> float:
    """Return the accuracy, the mean over seeds."""
    return float(np.mean([correct.mean() for correct in answers.values()]))


def _image_texts(one: Answers, other: Answers, shared: Sequence[Condition]) -> list[list[str]]:
    """Return the interval and the p-value of each condition over images, as text."""
    tests = []
    for key in shared:
        seeds = sorted(one[key].keys() & other[key].keys())
        pair = (np.stack([answers[key][seed] for seed in seeds]) for answers in (one, other))
        tests.append(paired_test(*pair))
    corrected = holm_correction([test.p for test in tests])
    return [_texts(test.low, test.high, p) for test, p in zip(tests, corrected, strict=True)]


def _seed_texts(one: Answers, other: Answers, shared: Sequence[Condition]) -> list[list[str]]:
    """Return the interval and the p-value of each condition over seeds, as text."""
    tests = [
        seed_test(*([correct.mean() for correct in side[key].values()] for side in (one, other)))
        for key in shared
    ]
    corrected = holm_correction([test.p for test in tests])
    return [_texts(test.low, test.high, p) for test, p in zip(tests, corrected, strict=True)]


def _texts(low: float, high: float, p: float) -> list[str]:
    """Return an interval and a corrected p-value as text."""
    return [
        f"{low:+.3f} {high:+.3f}",
        f"{p:.2g}" if p < SIGNIFICANCE else f"{p:.2g} n.s.",
    ]


def _empty_table(caption: str, several: bool) -> Table:
    """Return the table with its headings and caption, without rows."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        caption=caption,
        caption_justify="left",
    )
    for heading in ("condition", "first", "second", "gain"):
        justify: Literal["left", "right"] = "left" if heading == "condition" else "right"
        table.add_column(heading, justify=justify, no_wrap=True)
    for sample in ("images", "seeds")[: 1 + several]:
        table.add_column(f"95 %\nover\n{sample}", justify="right", overflow="fold")
        table.add_column("p", justify="left", no_wrap=True)
    return table
