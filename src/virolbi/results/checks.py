"""Findings of the checks for gradient masking, which an evaluation leaves in checks.jsonl."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from virolbi.results.files import CHECKS
from virolbi.results.json_lines import read_lines, rewrite_lines
from virolbi.results.rows import Row


def read_checks(folder: Path) -> list[dict[str, Any]]:
    """Return the findings in the checks.jsonl of a folder of results.

    Parameters
    ----------
    folder : Path
        Folder of results.

    Returns
    -------
    list of dict
        One finding for each check of each view; empty if there is no file.

    Raises
    ------
    ValueError
        If a line is not a JSON object.
    """
    return read_lines(folder / CHECKS)


def write_checks(folder: Path, row: Row, findings: Iterable[dict[str, Any]]) -> None:
    """Replace the findings on the view of a row in the checks.jsonl of a folder of results.

    Parameters
    ----------
    folder : Path
        Folder of results, created if it does not exist.
    row : dict
        Row of the accuracy under attack that was checked. Findings on others are kept.
    findings : iterable of dict
        The new findings. Measured numbers that are not finite, such as those of infinite logits,
        are null in the file.
    """
    identity = {key: row[key] for key in ("arm", "seed", "view", "level", "count", "budget")}

    def replace_findings(entries: list[Row]) -> list[Row]:
        others = [
            entry
            for entry in entries
            if any(entry.get(key) != value for key, value in identity.items())
        ]
        return others + [identity | _finite(finding) for finding in findings]

    rewrite_lines(folder / CHECKS, replace_findings)


def _finite(finding: dict[str, Any]) -> dict[str, Any]:
    """Return a finding with None in place of measured numbers that are not finite."""
    measured = {
        name: value if math.isfinite(value) else None for name, value in finding["measured"].items()
    }
    return finding | {"measured": measured}


def masking_warnings(folder: Path, arm: str | None = None) -> list[str]:
    """Return warnings about accuracies under attack that the checks found suspicious.

    Parameters
    ----------
    folder : Path
        Folder of results.
    arm : str, optional
        Name of the model whose warnings are wanted, or None for those of all models.

    Returns
    -------
    list of str
        One sentence or more for each suspicious finding; empty if there is no checks.jsonl.

    Raises
    ------
    ValueError
        If a line of checks.jsonl is not a JSON object.
    """
    return [
        f"Accuracy of {finding['arm']} ({finding['view']}) under attack may be unreliable, "
        f"see the check {finding['name']}: {finding['sentence']}"
        for finding in read_checks(folder)
        if finding["suspicious"] and arm in (None, finding["arm"])
    ]
