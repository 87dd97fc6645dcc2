"""Certificates by randomised smoothing: L2 balls in which no change moves the prediction.

They hold against every attack. The base classifier f is any function of the noisy image: here the
clip, a denoiser and a network, one after the other. Smoothing it with Gaussian noise gives g(x),
the class that f(x + N(0, sigma^2 I)) takes most often. If that class has probability p or more,
and p > 1/2, g is constant on the open ball of L2 radius sigma Phi^-1(p) around x [1]_ (theorem 1,
with both bounds from one). With a denoiser in f this is denoised smoothing [2]_.

References
----------
.. [1] Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing",
   ICML 2019.
.. [2] Salman et al., "Denoised smoothing: a provable defense for pretrained classifiers",
   NeurIPS 2020.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import beta
from torch import Tensor, nn

from virolbi._checks import check_count, check_number
from virolbi.robustness.attacks import BATCH_SIZE
from virolbi.robustness.independence import check_independent
from virolbi.robustness.logits import check_logits

ABSTAINED = -1  # in place of a class
TensorFunction = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Certificate:
    """Certificates of N images, with the settings of `certify` that they were computed with.

    Parameters
    ----------
    predicted : ndarray of int64, shape (N,)
        Class of the smoothed classifier, or `ABSTAINED`.
    radius : ndarray of float64, shape (N,)
        No change of a smaller L2 norm, in intensity, moves the prediction; 0 after abstaining.
    lower : ndarray of float64, shape (N,)
        Lower confidence bound of the probability of the selected class, also after abstaining.
    votes : ndarray of int64, shape (N,)
        Number of samples that were classified as the selected class.
    sigma : float
        Standard deviation of the noise, in intensity.
    selection : int
        Noisy samples that selected the class.
    samples : int
        Noisy samples that bounded its probability.
    alpha : float
        Largest probability that the certificate of an image is wrong.
    clip : tuple of two float or None
        Intensities to which noisy images were clipped.
    seed : int
        Seed of the noise.
    """

    predicted: np.ndarray
    radius: np.ndarray
    lower: np.ndarray
    votes: np.ndarray
    sigma: float
    selection: int
    samples: int
    alpha: float
    clip: tuple[float, float] | None
    seed: int


def certify(
    model: TensorFunction,
    images: Tensor,
    *,
    sigma: float,
    selection: int = 100,
    samples: int = 1000,
    alpha: float = 0.001,
    batch_size: int = BATCH_SIZE,
    denoiser: TensorFunction | None = None,
    clip: tuple[float, float] | None = (0.0, 1.0),
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Certificate:
    """Predict with the smoothed classifier and certify the L2 radius of each prediction.

    Parameters
    ----------
    model : callable
        Function from images, shape (n, C, H, W), to logits, shape (n, classes), that treats each
        image independently.
    images : Tensor of float32 or float64, shape (N, C, H, W)
        Images in [0, 1], on the device of the model.
    sigma : float
        Standard deviation of the noise, in intensity, > 0. A larger `sigma` allows larger radii
        and costs accuracy.
    selection : int, optional
        Noisy samples that select the class, >= 1.
    samples : int, optional
        Other noisy samples that bound the probability of the class, >= 1. More samples give
        a tighter bound, and so larger radii: at most sigma Phi^-1(alpha^(1/samples)), 2.46 sigma
        at the defaults.
    alpha : float, optional
        Largest probability, in (0, 1), that the certificate of an image is wrong, for each image
        separately. A smaller `alpha` gives smaller radii.
    batch_size : int, optional
        Noisy samples classified at once, >= 1. A larger batch takes more memory; the noise does
        not depend on it.
    denoiser : callable, optional
        Function in front of the model, such as `virolbi.nn.Smooth`.
    clip : tuple of two float, optional
        Intensities to which noisy images are clipped before the denoiser, or None. See Notes.
    seed : int, optional
        Seed of the noise, >= 0. The noise depends on it and on the pixels of the image, and not on
        the other images or their order, so that images may be certified in parts.
    progress : callable, optional
        Function called after each image with the number of images done.

    Returns
    -------
    Certificate
        Predictions and radii. The classifier abstains if the probability of the selected class
        may be 1/2 or less.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of its range, or if the model or the denoiser contains batch norm in
        training mode or a smoother that remembers, such as `Smooth(Online())`, with which samples
        are not independent.

    Notes
    -----
    The certificate applies to the smoothed classifier, not to the model alone. As is usual in
    practice, floating-point noise is taken for real Gaussian noise; a base classifier built to
    read the rounding could break the certificate [1]_.

    The noise itself is never clipped. Clipping is the first step of the base classifier, which may
    be any function, so that the certificate holds with it and without it. (0, 1) is the range for
    which our models and denoisers are made; the smoother refuses intensities outside [-1, 2],
    which sigma = 0.5 does reach.

    References
    ----------
    .. [1] Voráček and Hein, "Sound randomized smoothing in floating-point arithmetic", ICLR 2023.

    Examples
    --------
    >>> def brightness(images):
    ...     score = images.mean(dim=(1, 2, 3)) - 0.5
    ...     return torch.stack([-score, score], dim=1)
    >>> image = torch.full((1, 1, 2, 2), 0.7)                # the boundary is at a distance of 0.4
    >>> certificate = certify(brightness, image, sigma=0.25, clip=None)
    >>> bool(certificate.predicted[0] == 1), bool(0.3 < certificate.radius[0] < 0.4)
    (True, True)
    """
    _check_settings(sigma, alpha, clip)
    _check_counts(selection, batch_size, seed)
    _check_enough_samples(samples, alpha)
    _check_images(images)
    classify = _base_classifier(model, denoiser, clip)
    predicted, votes = np.full(len(images), ABSTAINED), np.zeros(len(images), np.int64)
    lower, radius = np.zeros(len(images)), np.zeros(len(images))
    for index, image in enumerate(images.detach()):
        rng = _noise_generator(image, seed)
        selected = int(_vote(classify, image, sigma, selection, batch_size, rng).argmax())
        # new noise for the bound, since the selection must not bias it
        votes[index] = _vote(classify, image, sigma, samples, batch_size, rng)[selected]
        lower[index] = clopper_pearson(int(votes[index]), samples, alpha)
        if lower[index] > 0.5:
            predicted[index], radius[index] = selected, sigma * ndtri(lower[index])
        if progress is not None:
            progress(index + 1)
    return Certificate(
        predicted=predicted,
        radius=radius,
        lower=lower,
        votes=votes,
        sigma=sigma,
        selection=selection,
        samples=samples,
        alpha=alpha,
        clip=clip,
        seed=seed,
    )


def clopper_pearson(hits: int, count: int, alpha: float) -> float:
    """Return the one-sided lower confidence bound of a probability.

    It is the probability under which `hits` or more would be seen with probability `alpha`.

    Parameters
    ----------
    hits : int
        Successful trials.
    count : int
        All trials.
    alpha : float
        One minus the confidence, in (0, 1). A smaller `alpha` gives a lower bound.

    Returns
    -------
    float
        Lower bound; 0 without any hit.

    References
    ----------
    .. [1] Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case
       of the binomial", 1934, in the form with the beta distribution.

    Examples
    --------
    >>> round(clopper_pearson(1000, 1000, 0.001), 4)        # .001 ** (1 / 1000)
    0.9931
    """
    return float(beta.ppf(alpha, hits, count - hits + 1)) if hits else 0.0


def _base_classifier(
    model: TensorFunction, denoiser: TensorFunction | None, clip: tuple[float, float] | None
) -> TensorFunction:
    """Return the clip, the denoiser and the model, one after the other, as one checked function."""
    for name, function in (("model", model), ("denoiser", denoiser)):
        if isinstance(function, nn.Module):
            check_independent(name, function)

    def classify(noisy: Tensor) -> Tensor:
        clipped = noisy if clip is None else noisy.clamp(*clip)
        return model(clipped if denoiser is None else denoiser(clipped))

    return classify


def _noise_generator(image: Tensor, seed: int) -> np.random.Generator:
    """Return a generator that depends on the pixels of the image and the seed only."""
    digest = hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])


def _vote(
    classify: TensorFunction,
    image: Tensor,
    sigma: float,
    number: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Tensor:
    """Return the predictions of each class in `number` noisy samples: (classes,), on the CPU."""
    counts = []
    for first in range(0, number, batch_size):
        # drawn by NumPy, because torch draws other numbers in other portions or on other devices
        noise = rng.standard_normal((min(batch_size, number - first), *image.shape), np.float32)
        with torch.inference_mode():
            logits = classify(image + sigma * torch.from_numpy(noise).to(image))
        check_logits("model", logits, len(noise))
        counts.append(torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1]))
    return torch.stack(counts).sum(dim=0).cpu()


def _check_settings(sigma: float, alpha: float, clip: tuple[float, float] | None) -> None:
    """Check the ranges of `sigma`, `alpha` and `clip`."""
    for name, value, rule in (("sigma", sigma, "finite and > 0"), ("alpha", alpha, "in (0, 1)")):
        check_number(name, value)
        if not 0 < value < (math.inf if name == "sigma" else 1):
            raise ValueError(f"{name} must be {rule}, got {value}")
    if clip is not None and not (isinstance(clip, tuple) and len(clip) == 2 and clip[0] < clip[1]):
        raise ValueError(f"clip must be None or two intensities, the lower one first, got {clip}")


def _check_counts(selection: int, batch_size: int, seed: int) -> None:
    """Check the whole numbers but `samples`."""
    check_count("selection", selection)
    check_count("batch_size", batch_size)
    check_count("seed", seed, least=0)


def _check_enough_samples(samples: int, alpha: float) -> None:
    """Check that a unanimous vote would be enough for a certificate."""
    check_count("samples", samples)
    if clopper_pearson(samples, samples, alpha) <= 0.5:
        least = math.floor(math.log(alpha) / math.log(0.5)) + 1
        raise ValueError(
            f"samples must be >= {least} at alpha={alpha}, because fewer cannot certify any "
            f"image, got {samples}"
        )


def _check_images(images: Tensor) -> None:
    """Check the type, shape and range of the images."""
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch tensor, got {type(images).__name__}")
    # in half precision the rounded noise would not be Gaussian
    if images.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"images must be float32 or float64, got {images.dtype}")
    if images.ndim != 4 or not images.numel():
        raise ValueError(
            f"images must have shape (N, C, H, W), none of them 0, got {tuple(images.shape)}"
        )
    low, high = (bound.item() for bound in images.aminmax())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"images must be in [0, 1], got values from {low:g} to {high:g}")
