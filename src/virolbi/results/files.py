"""Names of the files in a folder of results."""

ROWS = "rows.jsonl"
DETAILS = "details.jsonl"  # of the rows
LABELS = "labels.json"  # of the images
CHECKS = "checks.jsonl"  # for gradient masking
CERTIFIED = "certified.jsonl"  # rows of `virolbi certify`
ADAPTED = "adapted.jsonl"  # rows of `virolbi adapt`
COMPARISON = "comparison.json"  # settings and recipes
EXAMPLES = "examples.png"
RUNS = "runs"  # folder of the training runs, each in a folder of its own
HISTORY = "history.json"  # in the folder of a run: its epochs


def tiles_name(condition: str, severity: int) -> str:
    """Return the name of the picture that shows the first images under a condition.

    Parameters
    ----------
    condition : str
        Name of the condition.
    severity : int
        Its severity.

    Returns
    -------
    str
        Name of a PNG file in the folder of the rows.
    """
    return "tiles.png" if condition == "clean" else f"tiles-{condition}-{severity}.png"
