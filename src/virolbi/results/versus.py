"""Comparison of two models on the same images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from virolbi.results.details import Detail, read_details
from virolbi.results.rows import Row, RowKey, read_results, row_key
from virolbi.results.statistics import PairedTest, holm_correction, paired_test
from virolbi.results.summary import Condition, summarise
from virolbi.results.tables import format_accuracy

SIGNIFICANCE = 0.05  # level that p must be below

# Answers of two models to the same images: whether each is correct, (seeds, images).
Pair = tuple[np.ndarray, np.ndarray]


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
        For each condition the accuracies of both, the gain of the first, its 95 % interval, and the
        p-value of a sign test, corrected for the number of conditions.

    Raises
    ------
    ValueError
        If there are no rows with details, if a name is not that of one model, or if the two models
        have no condition and seed in common.
    """
    details = read_details(folder / "details.jsonl")
    rows = [row for row in read_results(folder) if row_key(row) in details]
    if not rows:
        raise ValueError(
            f"{folder} must hold a details.jsonl, which an evaluation writes beside its rows"
        )
    summarise(rows)  # checks that the rows can be compared
    pairs = _pairs(_correct(rows, details, first), _correct(rows, details, second))
    if not pairs:
        raise ValueError(
            f"{folder} must hold {first} and {second} under a common condition, of a common seed"
        )
    tests = [paired_test(*pair) for pair in pairs.values()]
    table = _empty_table(
        f"First: {first}. Second: {second}. Exact sign test over images, averaged over seeds "
        f"(McNemar's test for one seed). p is corrected for {len(tests)} tests (Holm), and "
        f"significant below {SIGNIFICANCE}."
    )
    p_values = holm_correction([test.p for test in tests])
    for (condition, pair), test, p in zip(pairs.items(), tests, p_values, strict=True):
        table.add_row(*_texts(condition, pair, test, p))
    return table


def _correct(
    rows: Sequence[Row], details: Mapping[RowKey, Detail], name: str
) -> dict[Condition, dict[int, np.ndarray]]:
    """Return which images a model classifies correctly under each condition, by seed."""
    models = sorted({f"{row['arm']}/{row['view']}" for row in rows})
    matches = [model for model in models if name in (model, model.rpartition("/")[0])]
    if len(matches) != 1:
        raise ValueError(f"a model must be named as one of {models}, got {name!r}")
    correct: dict[Condition, dict[int, np.ndarray]] = {}
    for row in rows:
        if f"{row['arm']}/{row['view']}" == matches[0]:
            seeds = correct.setdefault((row["condition"], row["severity"]), {})
            seeds[row["seed"]] = details[row_key(row)].correct
    return correct


def _pairs(
    first: Mapping[Condition, Mapping[int, np.ndarray]],
    second: Mapping[Condition, Mapping[int, np.ndarray]],
) -> dict[Condition, Pair]:
    """Return the answers of both models under each condition for which they share seeds."""
    pairs = {}
    for condition, answers in first.items():
        others = second.get(condition, {})
        if seeds := sorted(answers.keys() & others.keys()):
            pairs[condition] = (
                np.stack([answers[seed] for seed in seeds]),
                np.stack([others[seed] for seed in seeds]),
            )
    return pairs


def _empty_table(caption: str) -> Table:
    """Return the table with its headings and caption, without rows."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
        caption=caption,
        caption_justify="left",
    )
    for heading in ("condition", "first", "second", "gain", "95 % interval", "p"):
        is_text = heading in ("condition", "p")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    return table


def _texts(condition: Condition, pair: Pair, test: PairedTest, p: float) -> list[str]:
    """Return the cells of one row; `p` is the corrected p-value of the test."""
    name, severity = condition
    first, second = pair
    return [
        f"{name.replace('_', ' ')} {severity or ''}",
        format_accuracy(first.mean()),
        format_accuracy(second.mean()),
        f"{test.gain:+.3f}",
        f"{test.low:+.3f} {test.high:+.3f}",
        f"{p:.1g}" if p < SIGNIFICANCE else f"{p:.1g}, not significant",
    ]
