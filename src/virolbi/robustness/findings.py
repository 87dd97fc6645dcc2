"""Findings of checks, and the statistics that decide whether one is suspicious."""

from dataclasses import dataclass

from virolbi.results import sign_test_tail, wilson_interval
from virolbi.robustness.worst_case import WorstCase

FEW = 0.01  # a share of images that is certainly larger is suspicious
SIGNIFICANCE = 0.025  # of one-sided sign tests


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Parameters
    ----------
    name : str
        Name of the check.
    suspicious : bool
        Whether the finding is evidence against the robustness that attacks report.
    measured : dict of str to float
        Measured numbers by name.
    sentence : str
        Result in words.
    """

    name: str
    suspicious: bool
    measured: dict[str, float]
    sentence: str


def share_finding(name: str, count: int, total: int, statement: str) -> Finding:
    """Return a finding that is suspicious if a share of images certainly exceeds `FEW`.

    Parameters
    ----------
    name : str
        Name of the check.
    count : int
        Images that show the symptom.
    total : int
        Images examined.
    statement : str
        Result in words, without the full stop; the 95 % interval is appended.

    Returns
    -------
    Finding
        Suspicious if the lower end of the 95 % interval is above `FEW`.
    """
    low, high = wilson_interval(count, total)
    return Finding(
        name,
        low > FEW,
        {"found": float(count), "count": float(total), "low": low, "high": high},
        f"{statement} (95 % interval of the share: {low:.3f} to {high:.3f}).",
    )


def comparison_finding(name: str, case: WorstCase, weak: str, strong: str) -> Finding:
    """Return a finding that is suspicious if the weaker of two attacks fools more images.

    Parameters
    ----------
    name : str
        Name of the check.
    case : WorstCase
        Result of both attacks.
    weak : str
        Attack that should be the weaker one.
    strong : str
        Attack that should be the stronger one.

    Returns
    -------
    Finding
        Decided by an exact sign test over the images that only one of the two attacks fools.

    Raises
    ------
    ValueError
        If the case lacks the weaker attack.
    """
    if weak not in case.correct:
        raise ValueError(f"case must have {weak!r}, got {tuple(case.correct)}")
    count = len(case.correct[weak])
    wins = int((~case.correct[weak] & case.correct[strong]).sum())
    losses = int((case.correct[weak] & ~case.correct[strong]).sum())
    chance = sign_test_tail(wins, losses)
    return Finding(
        name,
        chance < SIGNIFICANCE,
        {"wins": wins, "losses": losses, "lead": wins - losses, "chance": chance, "count": count},
        f"Of {count} images, {weak} fools {wins} that {strong} does not, and {strong} fools "
        f"{losses} that {weak} does not (one-sided sign test: p = {chance:.2g}).",
    )
