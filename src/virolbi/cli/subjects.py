"""The classifier and the images that the options of a command name."""

from pathlib import Path
from typing import TYPE_CHECKING

from virolbi.cli.app import printed_log
from virolbi.cli.moments import parse_sparsities

if TYPE_CHECKING:
    from virolbi.data import Images
    from virolbi.evaluation import Subject


def load_subject(model: str, name: str | None, smooth: str | None, cpu: bool) -> "Subject":
    """Return the subject that the options name.

    Parameters
    ----------
    model, name, smooth, cpu
        Arguments and options of a command, see `virolbi.cli.options`.

    Returns
    -------
    Subject
        The subject.

    Raises
    ------
    ValueError
        If it cannot be loaded.
    """
    from virolbi import evaluation
    from virolbi.training import choose_device

    return evaluation.load_subject(
        model,
        name=name,
        sparsities=parse_sparsities(smooth, "--smooth"),
        device=choose_device(cpu),
    )


def load_images(
    subject: "Subject",
    data: str | None,
    split: str,
    *,
    size: int | None,
    limit: int | None,
    data_range: float | None = None,
    skip: int = 0,
    cache: Path | None = None,
    labelled: bool = True,
) -> "Images":
    """Return images of a split for a subject, without the first ones.

    Parameters
    ----------
    subject : Subject
        Subject that is to be judged on them.
    data, split, size, limit, data_range, skip, cache
        Options of a command, see `virolbi.cli.options`.
    labelled : bool, optional
        Whether the images need labels, see `virolbi.data.load`.

    Returns
    -------
    Images
        Images in the size and with the channels of the subject.

    Raises
    ------
    ValueError
        If they cannot be loaded, or if none are left.
    """
    from virolbi.data import load

    source = data or subject.data
    if source is None:
        raise ValueError(f"--data must name the images to judge {subject.name} on")
    if skip < 0:
        raise ValueError(f"--skip must be >= 0, got {skip}")
    with printed_log():
        images = load(
            source,
            split,
            limit=None if limit is None else skip + limit,
            cache=cache,
            labelled=labelled,
            **subject.load_options(size, data_range),
        )
    if skip >= len(images):
        raise ValueError(
            f"--skip must be less than the number of images, {len(images)}, got {skip}"
        )
    return images.subset(slice(skip, None)) if skip else images
