"""Certified accuracy of the views of a subject, as rows in a file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from virolbi._checks import check_choice, check_number
from virolbi.data import Images
from virolbi.evaluation.consistency import check_same_source
from virolbi.evaluation.independence import check_batch_independence
from virolbi.evaluation.sharing import share
from virolbi.evaluation.subjects import Subject, View, to_tensors
from virolbi.results import Row, add_lines, read_lines, read_rows, rewrite_lines
from virolbi.robustness import Certificate, certified_accuracy, certify, check_radii

CERTIFICATES = "certificates.jsonl"  # certificates of single images, beside the file of rows


class Protocol(NamedTuple):
    """Images and settings of a certification.

    Attributes
    ----------
    every : int
        Step between the images that are certified: 1 for all of them.
    limit : int or None
        Number of images, from the front, or None for all.
    samples : int
        Noisy samples of each image.
    radii : tuple of float
        L2 radii to count at, in intensity.
    """

    every: int
    limit: int | None
    samples: int
    radii: tuple[float, ...]

    def changed(self, **changes: Any) -> "Protocol":
        """Return the protocol with some fields changed.

        Parameters
        ----------
        **changes : Any
            New values of fields; None keeps the old one.

        Returns
        -------
        Protocol
            The new protocol.
        """
        return self._replace(**{key: new for key, new in changes.items() if new is not None})


# "cohen": Cohen et al. (2019) take every twentieth of the 10,000 test images of CIFAR-10, and 100
# samples to select a class. Of the samples that bound its probability they have 100,000; Salman
# et al. (2020), whose denoisers ours is compared with, have 10,000.
PROTOCOLS = {
    "quick": Protocol(1, 500, 1000, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
    "cohen": Protocol(20, None, 10_000, (0.0, 0.25, 0.5, 0.75, 1.0)),
}
PART = 10  # images that are certified in one go; those of a killed process are lost


def certification_protocol(name: str) -> Protocol:
    """Return the images and settings of a certification.

    Parameters
    ----------
    name : {"quick", "cohen"}
        "quick" for a first look, or "cohen" for the protocol of published figures.

    Returns
    -------
    Protocol
        The images and settings.

    Raises
    ------
    ValueError
        If there is no protocol of this name.
    """
    check_choice("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def certify_views(
    subject: Subject,
    images: Images,
    path: Path,
    *,
    sigma: float,
    radii: Sequence[float] = PROTOCOLS["quick"].radii,
    samples: int = PROTOCOLS["quick"].samples,
    progress: Callable[[str, int], None] | None = None,
) -> list[Row]:
    """Add the certified accuracy of each view of a subject to a file, and return its rows.

    A view that smooths does so after the noise is added, as the denoiser of randomised smoothing.
    Certificates of single images are kept in certificates.jsonl beside the file: none is computed
    twice, also not for other radii, and processes that do the same in the same folder share the
    images.

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
    TypeError, ValueError
        If the radii or sigma are not as above, if the images do not fit the subject, if its answer
        for an image depends on the rest of the batch, or if the file holds rows of other images, or
        of other weights under the same name and seed.
    """
    check_radii(radii)
    check_number("sigma", sigma)
    subject = subject.aligned_with(images)
    check_batch_independence(subject.name, subject.views, images)
    shared_fields, existing = subject.row(images), read_rows(path)
    check_same_source(path, existing, subject, shared_fields["images"])
    result: list[Row] = []
    for view in subject.views:
        name = f"{view.name}, sigma {sigma:g}"
        identity = {
            "arm": subject.name,
            "seed": subject.seed,
            "view": name,
            "sigma": sigma,
            "samples": samples,
            "count": len(images),
        }
        if not set(radii) <= set(_rows_by_radius(existing, identity)):
            kept = _Kept(path.with_name(CERTIFICATES), shared_fields | identity)
            report = None if progress is None else partial(progress, name)
            _certify_view(view, images, kept, sigma, samples, report)
            add_radii = partial(
                _add_radii,
                identity=identity,
                fields=shared_fields | {"view": name},
                certificate=kept.whole(),
                labels=images.labels,
                radii=radii,
            )
            rewrite_lines(path, add_radii)
        by_radius = _rows_by_radius(read_rows(path), identity)
        result += [by_radius[radius] for radius in radii]
    return result


class _Kept:
    """Certificates of the images of one view, as lines of a file, one for each part.

    Parameters
    ----------
    path : Path
        The file.
    identity : dict
        What the lines of this view, these images and these settings have in common.
    """

    def __init__(self, path: Path, identity: Row) -> None:
        self.path, self._identity = path, identity
        self._parts: dict[int, Row] = {}  # by their first image

    def name(self, first: int) -> tuple[object, ...]:
        """Return the name of the part that begins at an image."""
        return (*self._identity.items(), first)

    def lacks(self, first: int) -> bool:
        """Return whether the part that begins at an image is not in the file."""
        if first not in self._parts:
            self._parts = {
                line["first"]: line["certificate"]
                for line in read_lines(self.path)
                if self._identity.items() <= line.items()
            }
        return first not in self._parts

    def add(self, first: int, certificate: Certificate) -> None:
        """Write the certificates of a part."""
        values = {field.name: getattr(certificate, field.name) for field in fields(certificate)}
        lists = {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in values.items()
        }
        add_lines(self.path, [self._identity | {"first": first, "certificate": lists}])

    def count(self) -> int:
        """Return the number of images that are known to be certified."""
        return sum(len(part["predicted"]) for part in self._parts.values())

    def whole(self) -> Certificate:
        """Return the certificates of all images."""
        return _join([part for _, part in sorted(self._parts.items())])


def _join(parts: Sequence[Mapping[str, Any]]) -> Certificate:
    """Return the certificate of the images of several parts, in their order."""
    settings = dict(parts[0]) | {"clip": parts[0]["clip"] and tuple(parts[0]["clip"])}
    arrays = {
        key: np.concatenate([part[key] for part in parts])
        for key, value in settings.items()
        if isinstance(value, list)
    }
    return Certificate(**settings | arrays)


def _certify_view(
    view: View,
    images: Images,
    kept: _Kept,
    sigma: float,
    samples: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Certify the network of a view, with its smoother as the denoiser, part by part."""
    parts = range(0, len(images), PART)
    for first in share(kept.path.parent, parts, name=kept.name, is_missing=kept.lacks):
        intensities, _ = to_tensors(images.subset(np.s_[first : first + PART]), view.device)
        certificate = certify(
            view.network,
            intensities,
            sigma=sigma,
            samples=samples,
            denoiser=view.smoother,
            progress=None if progress is None else partial(_add_up, progress, kept.count()),
        )
        kept.add(first, certificate)


def _add_up(progress: Callable[[int], None], before: int, more: int) -> None:
    """Report the number of images that are done."""
    progress(before + more)


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
