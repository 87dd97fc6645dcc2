"""Table of the differences between two models on the same images."""

from collections.abc import Collection
from pathlib import Path

from rich import box
from rich.table import Table

from virolbi.results.differences import AnswersOfTwo, list_differences, read_answers
from virolbi.results.statistics import PairedTest, SeedTest
from virolbi.results.tables import format_accuracy

SIGNIFICANCE = 0.05  # level that p must be below

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
    """Compare two models on the same images, condition by condition, in a table.

    `compare_models` returns the same comparison as data.

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
    answers = read_answers(folder, first, second)
    differences = list_differences(answers)
    several = differences[0].over_seeds is not None
    differing = len({difference.seeds for difference in differences}) > 1
    table = _empty_table(
        f"First: {first}. Second: {second}. {_seeds_caption(answers)} {OVER_IMAGES} "
        f"{OVER_SEEDS if several else ONE_SEED} p is corrected for {len(differences)} "
        f"test{'s' * (len(differences) > 1)} (Holm), the intervals are not; n.s.: not significant, "
        f"p not below {SIGNIFICANCE}.",
        several,
        differing,
    )
    for difference in differences:
        table.add_row(
            f"{difference.condition.replace('_', ' ')} {difference.severity or ''}",
            *[" ".join(map(str, difference.seeds))] * differing,
            *map(format_accuracy, (difference.first, difference.second)),
            f"{difference.gain:+.3f}",
            *_texts(difference.over_images, difference.corrected_over_images),
            *_texts(difference.over_seeds, difference.corrected_over_seeds),
        )
    return table


def _seeds_caption(answers: AnswersOfTwo) -> str:
    """Return which seeds are compared, and which only one of the models has."""
    one, other, shared = answers
    compared = {seed for seeds in shared.values() for seed in seeds}
    sentences = [f"Both over {_listed(compared)}."]
    for side, names in ((one, "first, which the second"), (other, "second, which the first")):
        alone = {seed for seeds in side.values() for seed in seeds} - compared
        if alone:
            sentences.append(f"Left out: {_listed(alone)} of the {names} lacks.")
    return " ".join(sentences)


def _listed(seeds: Collection[int]) -> str:
    """Return the number of seeds and the seeds."""
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, sorted(seeds)))})"


def _texts(test: PairedTest | SeedTest | None, p: float | None) -> list[str]:
    """Return the interval of a test and its corrected p-value as text, or nothing."""
    if test is None or p is None:
        return []
    interval = f"{test.low:+.3f} {test.high:+.3f}"
    return [interval, f"{p:.2g}" if p < SIGNIFICANCE else f"{p:.2g} n.s."]


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
