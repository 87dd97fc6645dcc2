"""Write the table of docs/guide/adapt.md from the rows of `virolbi adapt`.

The rows are made by

    virolbi adapt RUN results/adaptation --smooth auto --limit 500 \
        --method source,bn,bn-alpha,tent,eata,note,lame --stream iid,correlated,mixed
    virolbi adapt RUN results/adaptation --smooth auto --limit 500 \
        --method source,bn,bn-alpha,tent --stream single

where RUN is that of `recommended` with 10 passes and the seed 0 of benchmarks/one_recipe.py.
"""

from pathlib import Path

from virolbi.results import ADAPTED, mean_by_order, read_lines, write_lines

FOLDER = Path(__file__).parent.parent / "results" / "adaptation"
ORDERS = ("iid", "single", "correlated", "mixed")


def main() -> None:
    """Write the means over the types of corruption, for each view, method and order."""
    lines = []
    for means in mean_by_order(read_lines(FOLDER / ADAPTED, must_exist=True)):
        view, _, method = means["view, method"].partition(", ")
        accuracies = {order: round(means[order], 3) if order in means else "" for order in ORDERS}
        lines.append({"images": view, "method": method} | accuracies)
    write_lines(FOLDER / "means.jsonl", lines)


if __name__ == "__main__":
    main()
