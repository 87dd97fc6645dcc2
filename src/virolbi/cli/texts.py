"""Lines of text about results, progress and time."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virolbi.training import Progress


def row_text(row: dict[str, Any]) -> str:
    """Return one line about a row of results.

    Parameters
    ----------
    row : dict
        The row.

    Returns
    -------
    str
        Its view, condition, severity and accuracy.
    """
    return f"{row['view']}, {row['condition']} {row['severity']}: {row['accuracy']:.3f}"


def progress_text(progress: "Progress") -> str:
    """Return one line about the progress of training.

    Parameters
    ----------
    progress : Progress
        Progress after a step.

    Returns
    -------
    str
        The epoch, counted from 1, the loss and the speed.
    """
    return (
        f"epoch {progress.epoch + 1}, loss {progress.loss:.3f}, "
        f"{progress.images_per_second:,.0f} images/s"
    )


def duration_text(seconds: float) -> str:
    """Return a duration as text.

    Parameters
    ----------
    seconds : float
        The duration.

    Returns
    -------
    str
        Seconds, minutes or hours, with two digits.

    Examples
    --------
    >>> duration_text(8.04), duration_text(750), duration_text(40000)
    ('8 s', '12 min', '11 h')
    """
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"
