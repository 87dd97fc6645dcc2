"""Certified accuracy of the views of a subject, as rows in a file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from virolbi.data import Images
from virolbi.evaluation.consistency import check_same_source
from virolbi.evaluation.subjects import Subject, View, to_tensors
from virolbi.results import Row, read_rows, rewrite_rows
from virolbi.robustness import Certificate, certified_accuracy, certify, check_radii


def certify_views(
    subject: Subject,
    images: Images,
    path: Path,
    *,
    sigma: float,
    radii: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
    samples: int = 1000,
    progress: Callable[[str, int], None] | None = None,
) -> list[Row]:
    """Add the certified accuracy of each view of a subject to a file, and return its rows.

    A view that smooths does so after the noise is added, as the denoiser of randomised smoothing.
    Views that the file holds at all of these radii are not certified again.

    Parameters
    ----------
    subject : Subject
        Classifier to certify.
    images : Images
        Test images.
    path : Path
        File of rows (JSON lines), which is made if it does not exist.
    sigma : float
        Standard deviation of the noise, as in `virolbi.robustness.certify`. A larger sigma
        certifies larger radii at less accuracy.
    radii : sequence of float, optional
        L2 radii to count at, in intensity, finite, >= 0 and rising.
    samples : int, optional
        Noisy samples of each image, as in `virolbi.robustness.certify`. More give tighter bounds.
    progress : callable, optional
        Called with the name of the view and the number of images that are done.

    Returns
    -------
    list of dict
        One row for each view and radius.

    Raises
    ------
    ValueError
        If the radii are not as above, if the images do not fit the subject, or if the file holds
        rows of other images, or of other weights under the same name and seed.
    """
    check_radii(radii)
    subject = subject.aligned_with(images)
    shared_fields, existing = subject.row(images), read_rows(path)
    check_same_source(path, existing, subject, shared_fields["images"])
    result: list[Row] = []
    for view in subject.views:
        name = f"{view.name}, sigma {sigma:g}"
        identity = {
            "arm": subject.name,
            "seed": subject.seed,
            "view": name,
            "samples": samples,
            "count": len(images),
        }
        by_radius = _rows_by_radius(existing, identity)
        if not set(radii) <= set(by_radius):
            report = None if progress is None else partial(progress, name)
            add_radii = partial(
                _add_radii,
                identity=identity,
                fields=shared_fields | {"view": name},
                certificate=_certify_view(view, images, sigma, samples, report),
                labels=images.labels,
                radii=radii,
            )
            rewrite_rows(path, add_radii)
            by_radius = _rows_by_radius(read_rows(path), identity)
        result += [by_radius[radius] for radius in radii]
    return result


def _certify_view(
    view: View,
    images: Images,
    sigma: float,
    samples: int,
    progress: Callable[[int], None] | None,
) -> Certificate:
    """Certify the network of a view, with its smoother as the denoiser."""
    intensities, _ = to_tensors(images, view.device)
    return certify(
        view.network,
        intensities,
        sigma=sigma,
        samples=samples,
        denoiser=view.smoother,
        progress=progress,
    )


def _rows_by_radius(rows: Sequence[Row], identity: Row) -> dict[float, Row]:
    """Return the rows of one view, by their radius."""
    return {
        row["level"]: row
        for row in rows
        if all(row.get(key) == value for key, value in identity.items())
    }


def _add_radii(
    rows: list[Row],
    identity: Row,
    fields: Row,
    certificate: Certificate,
    labels: np.ndarray,
    radii: Sequence[float],
) -> list[Row]:
    """Return the rows of a file with those of one view at more radii."""
    old = _rows_by_radius(rows, identity)
    # rows of other radii are counted again: the votes are the same every time
    counted = certified_accuracy(certificate, labels, sorted({*old, *radii}))
    return [row for row in rows if row not in old.values()] + [fields | row for row in counted]
