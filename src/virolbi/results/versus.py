"""Comparison of two models on the same images, over images and over seeds."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

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
from virolbi.results.tables import format_accuracy

SIGNIFICANCE = 0.05  # level that p must be below

# Answers of a model by its seeds: which images are correct, (conditions, images). One condition has
# one line of answers, a mean has those of all its conditions.
Answers = dict[Condition, dict[int, np.ndarray]]

# Means over conditions that are compared too, by their names in the table.
MEANS: Mapping[str, Sequence[Condition]] = {
    title: [(name, severity) for name in names for severity in SEVERITIES]
    for title, names in (("mean of the 15 common", COMMON), ("mean of the held out", HELD_OUT))
}
OVER_IMAGES = (
    "Over images: would these networks differ on further images? Sign-flip permutation test of the "
    "gain, whose p is 0.0001 or more; for one seed and one condition McNemar's exact test."
)
OVER_SEEDS = (
    "Over seeds: would the two ways to train differ in further training runs, on these images? "
    "Student's t-test."
)
ONE_SEED = (
    "Not tested over seeds, for which both need two or more in common: the differences are those "
    "of these networks, and two networks of one way to train differ significantly as well."
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
        follow: over images (`paired_test`), and over seeds if there are two or more (`seed_test`):
        would these networks differ on further images, and would the two ways to train differ in
        further training runs? All of these are over the
        seeds that both models have; the caption names them, and those that only one model has. If
        some conditions lack a seed, a column has the seeds of each. The p-values are corrected for
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
    shared = {key: sorted(one[key].keys() & other.get(key, {}).keys()) for key in one}
    shared = {key: seeds for key, seeds in shared.items() if seeds}
    if not shared:
        raise ValueError(
            f"{folder} must hold {first} and {second} under a common condition, of a common seed"
        )
    pairs = [
        [np.stack([answers[key][seed] for seed in seeds]) for answers in (one, other)]
        for key, seeds in shared.items()
    ]
    several = all(len(seeds) > 1 for seeds in shared.values())
    columns = [_texts([paired_test(*map(np.concatenate, pair)) for pair in pairs])]
    if several:
        columns.append(_texts([seed_test(*map(_accuracies, pair)) for pair in pairs]))
    differing = len(set(map(tuple, shared.values()))) > 1
    table = _empty_table(
        f"First: {first}. Second: {second}. {_seeds_caption(one, other, shared)} {OVER_IMAGES} "
        f"{OVER_SEEDS if several else ONE_SEED} p is corrected for {len(shared)} "
        f"test{'s' * (len(shared) > 1)} (Holm), the intervals are not; n.s.: not significant, p "
        f"not below {SIGNIFICANCE}.",
        several,
        differing,
    )
    for (key, seeds), pair, *texts in zip(shared.items(), pairs, *columns, strict=True):
        accuracies = [float(np.mean(_accuracies(side))) for side in pair]
        name, severity = key
        table.add_row(
            f"{name.replace('_', ' ')} {severity or ''}",
            *[" ".join(map(str, seeds))] * differing,
            *map(format_accuracy, accuracies),
            f"{accuracies[0] - accuracies[1]:+.3f}",
            *(text for pair_of_texts in texts for text in pair_of_texts),
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


def _seeds_caption(one: Answers, other: Answers, shared: Mapping[Condition, Sequence[int]]) -> str:
    """Return which seeds are compared, and which only one of the models has."""
    compared = {seed for seeds in shared.values() for seed in seeds}
    sentences = [f"Both over {_listed(compared)}."]
    for answers, names in ((one, "first, which the second"), (other, "second, which the first")):
        alone = {seed for seeds in answers.values() for seed in seeds} - compared
        if alone:
            sentences.append(f"Left out: {_listed(alone)} of the {names} lacks.")
    return " ".join(sentences)


def _listed(seeds: Collection[int]) -> str:
    """Return the number of seeds and the seeds."""
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, sorted(seeds)))})"


def _texts(tests: Sequence[PairedTest | SeedTest]) -> list[list[str]]:
    """Return the interval and the corrected p-value of each test, as text."""
    corrected = holm_correction([test.p for test in tests])
    return [
        [
            f"{test.low:+.3f} {test.high:+.3f}",
            f"{p:.2g}" if p < SIGNIFICANCE else f"{p:.2g} n.s.",
        ]
        for test, p in zip(tests, corrected, strict=True)
    ]


def _empty_table(caption: str, several: bool, differing: bool) -> Table:
    """Return the table with its headings and caption, without rows.

    `several` and `differing` say whether there are tests over seeds, and a column of the seeds.
    """
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        caption=caption,
        caption_justify="left",
    )
    table.add_column("condition", no_wrap=True)
    if differing:
        table.add_column("seeds", overflow="fold")
    for heading in ("first", "second", "gain"):
        table.add_column(heading, justify="right", no_wrap=True)
    for sample in ("images", "seeds")[: 1 + several]:
        table.add_column(f"95 %\nover\n{sample}", justify="right", overflow="fold")
        table.add_column("p", justify="left", no_wrap=True)
    return table
