"""Certificates by randomised smoothing: around each image a ball in which no change moves the prediction, whatever the attack.

The base classifier f is any function of the noisy image: here the clip, a denoiser and a network, one after the other. Smoothed
with Gaussian noise it becomes g(x), the class that f(x + N(0, sigma^2 I)) takes most often. Where that class has probability p
or more, and p > 1/2, g is constant on the open ball of L2 radius sigma Phi^-1(p) around x (Cohen, Rosenfeld and Kolter, ICML
2019, theorem 1 with both bounds from one). With a denoiser in f this is denoised smoothing (Salman et al., NeurIPS 2020).
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import beta
from torch import Tensor, nn

from virolbi._checks import check_count, check_number
from virolbi.nn import uses_batch_statistics
from virolbi.results import Row, accuracy_interval
from virolbi.scale_space import Online

ABSTAINED = -1
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Certificate:
    """What `certify` found for N images, and with which settings; arrays have shape (N,)."""

    predicted: np.ndarray  # int64: the class of the smoothed classifier, or ABSTAINED
    radius: np.ndarray  # float64: no change of a smaller L2 norm, in intensity, moves the prediction; 0 where abstained
    lower: np.ndarray  # float64: lower confidence bound of the probability of the selected class, also where abstained
    votes: np.ndarray  # int64: how many of the samples fell into it
    sigma: float
    selection: int
    samples: int
    alpha: float
    clip: tuple[float, float] | None
    seed: int


def certify(
    model: Function,
    images: Tensor,
    *,
    sigma: float,
    selection: int = 100,
    samples: int = 1000,
    alpha: float = 0.001,
    batch_size: int = 250,
    denoiser: Function | None = None,
    clip: tuple[float, float] | None = (0.0, 1.0),
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Certificate:
    """Predict with the smoothed classifier, and certify the L2 radius in which its prediction cannot change.

    model: images, (n, C, H, W), to logits, (n, classes), each image on its own. images: float32 or float64 in [0, 1], shape
        (N, C, H, W), on the device of the model.
    sigma: standard deviation of the noise, in intensity. A larger sigma allows larger radii and costs accuracy.
    selection: noisy samples that choose the class. samples: others, that bound its probability. More samples give a tighter
        bound, and so larger radii: at most sigma Phi^-1(alpha^(1/samples)), 2.46 sigma at the defaults.
    alpha: largest probability that the certificate of an image is wrong, each image for itself. A smaller alpha, smaller radii.
    batch_size: samples shown to the model at once. A larger batch takes more memory; the noise does not depend on it.
    denoiser: what stands in front of the model, such as `virolbi.nn.Smooth`; None for nothing.
    clip: intensities to which noisy images are cut, before the denoiser, or None. The noise itself is never cut: cutting is
        the first step of the base classifier, which may be any function, so that the certificate holds either way. (0, 1) is
        what our models and denoisers know; the smoother refuses what is outside [-1, 2], where sigma = .5 does reach.
    seed: the noise is decided by it and by the pixels of the image, not by the other images or their order: images may be
        certified in parts. progress: called after each image with the number of those done.

    Abstains where the probability of the selected class may be 1/2 or less. Raises TypeError or ValueError, naming the
    argument, its rule and the value, and refuses batch norm in training mode and smoothers that remember, such as
    `Smooth(Online())`, under which samples are not independent.

    The certificate is of the smoothed classifier, not of the model alone. As everywhere in practice, it takes floating-point
    noise for real Gaussian noise; a base classifier made to read the rounding could break it (Voráček and Hein, ICLR 2023).

    >>> def brightness(images):
    ...     score = images.mean(dim=(1, 2, 3)) - 0.5
    ...     return torch.stack([-score, score], dim=1)
    >>> found = certify(brightness, torch.full((1, 1, 2, 2), 0.7), sigma=0.25, clip=None)
    >>> bool(found.predicted[0] == 1), bool(0.3 < found.radius[0] < 0.4)       # the boundary is at a distance of 0.4
    (True, True)
    """
    _check_settings(sigma, alpha, clip)
    for name, count in (("selection", selection), ("samples", samples), ("batch_size", batch_size)):
        check_count(name, count)
    check_count("seed", seed, least=0)
    if clopper_pearson(samples, samples, alpha) <= 0.5:
        least = math.floor(math.log(alpha) / math.log(0.5)) + 1
        raise ValueError(
            f"samples must be >= {least} at alpha={alpha}, else no image can be certified, got {samples}"
        )
    _check_images(images)
    for name, function in (("model", model), ("denoiser", denoiser)):
        _check_independent(name, function)

    def base(noisy: Tensor) -> Tensor:
        shown = noisy if clip is None else noisy.clamp(*clip)
        return model(shown if denoiser is None else denoiser(shown))

    predicted, votes = np.full(len(images), ABSTAINED), np.zeros(len(images), np.int64)
    lower, radius = np.zeros(len(images)), np.zeros(len(images))
    for index, image in enumerate(images.detach()):
        rng = _generator(image, seed)
        chosen = int(_vote(base, image, sigma, selection, batch_size, rng).argmax())
        votes[index] = _vote(base, image, sigma, samples, batch_size, rng)[
            chosen
        ]  # fresh noise: the choice must not bias it
        lower[index] = clopper_pearson(int(votes[index]), samples, alpha)
        if lower[index] > 0.5:
            predicted[index], radius[index] = chosen, sigma * ndtri(lower[index])
        if progress is not None:
            progress(index + 1)
    return Certificate(
        predicted, radius, lower, votes, sigma, selection, samples, alpha, clip, seed
    )


def certified_accuracy(certificate: Certificate, labels: Any, radii: Sequence[float]) -> list[Row]:
    """The share of images that are classified right, and certified to be so under every change of L2 norm below a radius.

    labels: integers, shape (N,). radii: in intensity, each >= 0, in rising order; 0 asks for the right class, not abstained.

    Returns a row for each radius: condition "certified", severity its place from 1 on, level the radius, the share with its
    95 % interval (Wilson) for the sample of images, and the settings. Each certificate is wrong with probability alpha at most;
    the interval does not include that. The caller adds whose rows they are, in a view that names sigma and the denoiser.
    """
    labels, count = np.asarray(labels), len(certificate.predicted)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers of shape ({count},), got {labels.dtype} of {labels.shape}"
        )
    check_radii(radii)
    abstained = float((certificate.predicted == ABSTAINED).mean())
    rows = []
    for severity, radius in enumerate(radii, start=1):
        right = int(((certificate.predicted == labels) & (certificate.radius >= radius)).sum())
        rows.append(
            {
                "condition": "certified",
                "severity": severity,
                "level": float(radius),
                "count": count,
                **accuracy_interval(right, count),
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
    """Refuse none, and what is not finite, >= 0 and rising."""
    if (
        not len(radii)
        or not all(0 <= radius < math.inf for radius in radii)
        or list(radii) != sorted(set(radii))
    ):
        raise ValueError(f"radii must be finite, >= 0 and rising, got {list(radii)}")


def clopper_pearson(hits: int, count: int, alpha: float) -> float:
    """The one-sided lower bound of a probability at confidence 1 - alpha, from `hits` in `count` trials.

    It is the probability under which so many hits or more would be seen with probability alpha. A smaller alpha, a lower bound.
    Source: Clopper and Pearson 1934, in the form with the beta distribution.

    >>> round(clopper_pearson(1000, 1000, 0.001), 4)        # .001 ** (1 / 1000)
    0.9931
    """
    return float(beta.ppf(alpha, hits, count - hits + 1)) if hits else 0.0


def _generator(image: Tensor, seed: int) -> np.random.Generator:
    """The source of an image's noise: its pixels and the seed decide it, and nothing else."""
    digest = hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])


def _vote(
    base: Function,
    image: Tensor,
    sigma: float,
    number: int,
    batch_size: int,
    rng: np.random.Generator,
) -> Tensor:
    """How often each class wins under `number` draws of noise, (classes,), on the CPU."""
    counts = []
    for first in range(0, number, batch_size):
        # drawn by NumPy: torch draws other numbers when asked for them in other portions, or on another device
        waves = rng.standard_normal((min(batch_size, number - first), *image.shape), np.float32)
        with torch.inference_mode():
            logits = base(image + sigma * torch.from_numpy(waves).to(image))
        if logits.ndim != 2 or len(logits) != len(waves) or logits.shape[1] < 2:
            raise ValueError(
                f"model must give logits of shape ({len(waves)}, classes), got {tuple(logits.shape)}"
            )
        if logits.isnan().any():
            raise ValueError("model must give numbers for logits, got NaN")
        counts.append(torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1]))
    return torch.stack(counts).sum(dim=0).cpu()


def _check_settings(sigma: float, alpha: float, clip: tuple[float, float] | None) -> None:
    for name, value, rule in (("sigma", sigma, "finite and > 0"), ("alpha", alpha, "in (0, 1)")):
        check_number(name, value)
        if not 0 < value < (math.inf if name == "sigma" else 1):
            raise ValueError(f"{name} must be {rule}, got {value}")
    if clip is not None and not (isinstance(clip, tuple) and len(clip) == 2 and clip[0] < clip[1]):
        raise ValueError(f"clip must be None or two intensities, the lower one first, got {clip}")


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch tensor, got {type(images).__name__}")
    if images.dtype not in (
        torch.float32,
        torch.float64,
    ):  # rounded to half precision, the noise would not be Gaussian
        raise TypeError(f"images must be float32 or float64, got {images.dtype}")
    if images.ndim != 4 or not images.numel():
        raise ValueError(
            f"images must have shape (N, C, H, W), none of them 0, got {tuple(images.shape)}"
        )
    low, high = (bound.item() for bound in images.aminmax())
    if not 0 <= low <= high <= 1:
        raise ValueError(f"images must be in [0, 1], got values from {low:g} to {high:g}")


def _check_independent(name: str, function: Function | None) -> None:
    if not isinstance(function, nn.Module):
        return
    if uses_batch_statistics(function):
        raise ValueError(
            f"{name} must judge each image on its own, got batch norm that takes its statistics from the batch"
        )
    if any(isinstance(getattr(module, "sparsity", None), Online) for module in function.modules()):
        raise ValueError(
            f"{name} must judge each image on its own, got a smoother whose Online() remembers the others"
        )
