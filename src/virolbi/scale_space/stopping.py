"""The time at which the path of a noisy image is to stop."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from virolbi._checks import check_count
from virolbi.scale_space.form import Form, check_delta, check_rule
from virolbi.scale_space.noise_estimate import NoiseEstimate

Chooser = Callable[[np.ndarray], Any]  # noise strengths of images to the strengths to use

# Rounded values of least squared error over photographs and CIFAR training images, see
# docs/denoising.md and results/choosing/denoising.jsonl.
PER_NOISE, PER_DELTA = 1.0, 0.4


def stopping_time(noise: Any, *, delta: float = Form.delta, channels: int = 1) -> np.ndarray:
    """Return the time on the path at which noise of a strength has not yet entered.

    Parameters
    ----------
    noise : float or array_like of float
        Standard deviation of the noise in intensity, >= 0. More noise means an earlier time and
        more smoothing.
    delta : float, optional
        Intensity from which pixels count as outliers on the path, see `Form`.
    channels : int, optional
        Number of channels that share a support, >= 1.

    Returns
    -------
    ndarray of float64
        Time as in `ScaleSpace.at`, in 1 / intensity, with the shape of `noise`; infinite, at the
        input, for a noise of 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Notes
    -----
    The rule is ``time = 1 / (noise * cbrt(channels)) + 0.4 / delta``.

    The dual variable of an edge grows by D beta / nu, so noise takes a time of 1 / noise to enter,
    and less where several channels act together. The Huber weight limits the force of outliers,
    and so how early they enter. The numbers have the least squared error, rounded, on photographs
    and CIFAR training images, in colour and grey, under Gaussian, shot and impulse noise. The best
    time depends so little on `nu`, from 0.1 to 1, that one rule is enough.
    """
    check_delta(delta)
    check_count("channels", channels)
    noise = np.asarray(noise, dtype=np.float64)
    if not (noise >= 0).all():
        raise ValueError(f"noise must be >= 0, got {noise[~(noise >= 0)].flat[0]:g}")
    with np.errstate(divide="ignore"):
        return np.asarray(PER_NOISE / (noise * math.cbrt(channels)) + PER_DELTA / delta)


def time_for_noise(noise: float, form: Form, channels: int) -> float:
    """Return the `stopping_time` for stated noise on the path of one image.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise in intensity, >= 0.
    form : Form
        Form of the path.
    channels : int
        Number of channels of the image, which act together if the form is joint.

    Returns
    -------
    float
        Time as in `ScaleSpace.at`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    together = channels if form.joint else 1
    return float(stopping_time(noise, delta=form.delta, channels=together))


def strengths_to_stop(choice: str | Chooser, estimate: NoiseEstimate) -> np.ndarray:
    """Return the strength of the noise at which to stop the path of each image.

    Parameters
    ----------
    choice : "auto" or callable
        Rule for the noise to use, see `ScaleSpace.at`.
    estimate : NoiseEstimate
        Estimated noise of each image.

    Returns
    -------
    ndarray of float64
        Arguments of `stopping_time`, with the shape of the noise; 0 where a callable chooses it,
        and for "auto" where the noise that is seen, or that acts, is negligible: less than 0.004 of
        the range that the image fills, or not much more than its rounding.

    Raises
    ------
    ValueError
        If `choice` is another string, or does not return a noise >= 0 for each image.
    """
    if isinstance(choice, str):
        check_rule("sparsity", choice)
        return np.where(estimate.is_significant, estimate.acting, 0)
    return chosen_strengths(choice, estimate)


def chosen_strengths(
    chooser: Chooser, estimate: NoiseEstimate, argument: str = "sparsity"
) -> np.ndarray:
    """Return the noise that a function chooses for each image.

    Parameters
    ----------
    chooser : callable
        Function from the strengths that are seen to those to use.
    estimate : NoiseEstimate
        Estimated noise of each image.
    argument : str, optional
        Name of the argument that the function was, for the error.

    Returns
    -------
    ndarray of float64
        Strengths, with the shape of those that are seen; more than 1 counts as 1.

    Raises
    ------
    ValueError
        If `chooser` does not return a noise >= 0 for each image.
    """
    strength = estimate.strength
    try:
        chosen = np.broadcast_to(np.asarray(chooser(strength), dtype=np.float64), strength.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument} must choose a number for each of {strength.shape} images, "
            f"{chooser!r}: {error}"
        ) from error
    if not (np.isfinite(chosen) & (chosen >= 0)).all():
        raise ValueError(
            f"{argument} must choose a noise >= 0 for each of {strength.shape} images, "
            f"{chooser!r} chose {chosen}"
        )
    return np.minimum(chosen, 1.0)
