"""The certified accuracy of a set of images, as rows of results."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from virolbi._checks import check_number
from virolbi.results import Row, accuracy_fields
from virolbi.robustness.certificates import ABSTAINED, Certificate


def certified_accuracy(
    certificate: Certificate, labels: ArrayLike | Tensor, radii: Sequence[float]
) -> list[Row]:
    """Return the share of images that are certified to be classified correctly, by radius.

    An image counts if its class is right and no change of L2 norm below the radius moves it.

    Parameters
    ----------
    certificate : Certificate
        Result of `certify` for N images.
    labels : array_like of int, shape (N,)
        Correct classes.
    radii : sequence of float
        L2 radii in intensity, each >= 0, in rising order. Radius 0 asks for the right class and
        no abstention only.

    Returns
    -------
    list of dict
        A row for each radius: condition "certified", severity its position from 1 on, level the
        radius, the share with its 95 % interval (Wilson) for the sample of images, the mean of
        this share over the classes ("balanced"), and the settings. The caller adds whose rows they
        are, in a view that names sigma and the denoiser.

    Raises
    ------
    ValueError
        If `labels` or `radii` break their rules.

    Notes
    -----
    Each certificate is wrong with probability alpha at most; the interval does not include that.
    """
    classes, count = np.asarray(labels), len(certificate.predicted)
    if classes.shape != (count,) or not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(
            f"labels must be integers of shape ({count},), got {classes.dtype} of {classes.shape}"
        )
    if (classes < 0).any():  # ABSTAINED is no class
        raise ValueError(f"labels must be >= 0, got {classes.min()}")
    check_radii(radii)
    abstained = float((certificate.predicted == ABSTAINED).mean())
    rows = []
    for severity, radius in enumerate(radii, start=1):
        certified = (certificate.predicted == classes) & (certificate.radius >= radius)
        rows.append(
            {
                "condition": "certified",
                "severity": severity,
                "level": float(radius),
                "count": count,
                **accuracy_fields(certified, classes),
                "abstained": abstained,
                "sigma": certificate.sigma,
                "selection": certificate.selection,
                "samples": certificate.samples,
                "alpha": certificate.alpha,
                "clip": certificate.clip and list(certificate.clip),
                "noise_seed": certificate.seed,
            }
        )
    return rows


def check_radii(radii: Sequence[float]) -> None:
    """Check that there is at least one radius, and that all are finite, >= 0 and rising.

    Parameters
    ----------
    radii : sequence of float
        L2 radii, in intensity.

    Raises
    ------
    TypeError, ValueError
        If they are not.
    """
    if (
        not len(radii)
        or not all(0 <= check_number("radii", radius) < math.inf for radius in radii)
        or list(radii) != sorted(set(radii))
    ):
        raise ValueError(f"radii must be finite, >= 0 and rising, got {list(radii)}")
