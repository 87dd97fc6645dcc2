"""Calibration: for each level of noise, the smoothing that suits a network best.

Smoothing removes noise and, with it, detail that a network trained on clean images relies on.
How much of each a network can stand is measured on clean images, with noise made for the purpose.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from virolbi._checks import check_count, check_number
from virolbi._storage import write_json
from virolbi.data import Images
from virolbi.evaluation.batching import choose_batch_size
from virolbi.evaluation.independence import check_batch_independence
from virolbi.evaluation.subjects import View
from virolbi.nn import Smooth, outside_of_graphs
from virolbi.robustness import check_logits, warn_of_probabilities
from virolbi.scale_space import Form, check_delta, check_nu, estimate_noise
from virolbi.training import output_for_zeros

CALIBRATION = "calibration.json"
# Noise below which images are left as they are. Photographs of fine texture are seen at up to .02.
LEAST_NOISE = 0.02
LEVELS = 4  # of noise, for each kind, with as many calibration images each
FEWEST = 8  # noisy images that a level needs
# Noise has the standard deviation s x^p at intensity x. The exponent p is 0 for the noise of a
# sensor, 1/2 for that of photons, and 1 for that of a random factor. It and s are drawn for each
# image, s up to the limit of the exponent.
EXPONENTS, STRONGEST, WEAKEST = np.array([0, 0.5, 1]), np.array([0.35, 0.5, 0.7]), 0.05
REPLACED = (0.01, 0.3)  # share of pixels that get a random colour
COPIES = 3  # noisy copies of each calibration image, of each kind


@dataclass(frozen=True)
class Treatment:
    """Change of an image in front of a network.

    Parameters
    ----------
    share : float
        Share of the smoothed image in its mean with the image itself, in [0, 1]; 0 is the image.
    factor : float or "auto"
        Factor of the noise seen, which decides how far the image is smoothed; a larger factor is
        smoother. "auto" smooths as far as `virolbi.smooth` with this sparsity.
    nu, delta : float
        Form of the smoother, see `virolbi.scale_space.Form`.

    Raises
    ------
    TypeError, ValueError
        If a number has the wrong type or is out of its range.
    """

    share: float = 0.0
    factor: float | Literal["auto"] = "auto"
    nu: float = Form.nu
    delta: float = Form.delta

    def __post_init__(self) -> None:
        check_number("share", self.share, 0, 1)
        if self.factor != "auto":
            check_number("factor", self.factor, 0)
        check_nu(self.nu)
        check_delta(self.delta)


TREATMENTS = (
    Treatment(),
    *(Treatment(share) for share in (0.25, 0.5, 0.75, 1.0)),
    *(Treatment(share, factor=1.5, nu=0.3) for share in (0.5, 0.75)),
    *(Treatment(share, factor=1.0, delta=0.05) for share in (0.75, 1.0)),
)
AUTO = Treatment(1.0)


@dataclass(frozen=True)
class Level:
    """Treatment of the images in which noise of one kind and of some strength is seen.

    Gains are differences of the mean probability of the class that is wanted, on the images on
    which the treatment was chosen.

    Parameters
    ----------
    outliers : bool
        Whether most of the noise is outliers, few large changes, or many small ones.
    least : float
        Smallest noise of the level, in intensity; it ends where the next one begins.
    treatment : Treatment
        Treatment of these images.
    gain, error : float, optional
        Gain over the images as they are, with its standard error.
    auto_gain, auto_error : float, optional
        Gain over "auto" in front of the network, with its standard error.
    """

    outliers: bool
    least: float
    treatment: Treatment
    gain: float = 0.0
    error: float = 0.0
    auto_gain: float = 0.0
    auto_error: float = 0.0

    @property
    def beats_auto(self) -> bool:
        """Whether the treatment is better than "auto", by more than the standard error.

        Returns
        -------
        bool
            True if it is.
        """
        return self.auto_gain > self.auto_error


class Front(nn.Module):
    """Module in front of a network that treats each image as its own noise asks for.

    Images in which little or no noise is seen are returned bit for bit. The derivative is exact
    for the treatment that an image gets; which one it gets is taken as a constant.

    Parameters
    ----------
    levels : sequence of Level
        Treatments, in any order. Noise below all levels of its kind is left as it is.

    Examples
    --------
    >>> front = Front([Level(False, 0.03, Treatment(0.5)), Level(True, 0.03, Treatment(1.0))])
    >>> front(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(self, levels: Sequence[Level]) -> None:
        super().__init__()
        self.levels = tuple(sorted(levels, key=lambda level: level.least))
        self._smoothers = nn.ModuleList(_smoother(level.treatment) for level in self.levels)

    @property
    def digest(self) -> str:
        """Digest of the treatments and their levels, which tells calibrations apart.

        Returns
        -------
        str
            Six hexadecimal digits.
        """
        acting = [(level.outliers, level.least, asdict(level.treatment)) for level in self.levels]
        return hashlib.sha256(json.dumps(acting).encode()).hexdigest()[:6]

    @outside_of_graphs
    def forward(self, images: Tensor) -> Tensor:
        """Treat images.

        Parameters
        ----------
        images : Tensor of float, shape (N, C, H, W)
            Intensities in [0, 1].

        Returns
        -------
        Tensor
            Images of the same shape and dtype.

        Raises
        ------
        ValueError
            If `images` has another number of axes.
        RuntimeError
            If a graph is being recorded, see `virolbi.nn.outside_of_graphs`.
        """
        if images.ndim != 4:
            raise ValueError(f"images must have shape (N, C, H, W), got {tuple(images.shape)}")
        noise, outliers = _estimate_noise(images)
        chosen = np.full(len(noise), -1)
        for index, level in enumerate(self.levels):  # the last one that fits
            chosen[(outliers == level.outliers) & (noise >= level.least)] = index
        result = images
        for index, level in enumerate(self.levels):
            rows = torch.from_numpy(np.flatnonzero(chosen == index)).to(images.device)
            if level.treatment.share and len(rows):
                noisy = images[rows]
                smoothed = self._smoothers[index](noisy)
                treated = torch.lerp(noisy, smoothed, level.treatment.share)
                result = result.index_copy(0, rows, treated)
        return result


def _estimate_noise(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the noise that is seen in images, and whether most of its variance is outliers."""
    estimate = estimate_noise(images.detach().to("cpu", torch.float32).numpy(), channel_axis=1)
    return estimate.strength, estimate.outliers > estimate.grain


def _smoother(treatment: Treatment) -> Smooth:
    """Return the smoother of a treatment."""
    factor = treatment.factor
    rule = factor if factor == "auto" else partial(mul, factor)
    return Smooth(rule, nu=treatment.nu, delta=treatment.delta)


def calibrate(
    view: View,
    images: Images,
    *,
    labelled: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    stepped: Callable[[int, int], None] | None = None,
) -> list[Level]:
    """Return the treatment that suits a network best at each level of noise of each kind.

    Two kinds of noise of random strength are added to clean images: normal noise, constant or
    growing with the intensity, which is many small changes, and single pixels of random colours,
    which are outliers. All treatments are tried on each noisy image. A treatment is good if the
    network is sure of its own answer to the clean image, or of the correct one.

    Parameters
    ----------
    view : View
        Network without a smoother.
    images : Images
        Clean images, on which the network will not be judged.
    labelled : bool, optional
        Whether the labels of the images count, in place of the network's answers to the clean ones.
    seed : int, optional
        Seed of the noise, which depends on it and on the place of the image.
    batch_size : int, optional
        Images that the network sees at once, >= 1. Default: by the size of the images.
    stepped : callable, optional
        Called after each batch with the number of images that the network has seen, and the number
        it will see.

    Returns
    -------
    list of Level
        Levels for `Front`. A level has a treatment other than none only where its gain is larger
        than its standard error over the images.

    Raises
    ------
    ValueError
        If the view has a smoother, if the seed is below 0, if there are fewer than 8 images, if the
        network does not return numbers for two classes or more, or for all labels that count, or if
        its logits for an image depend on the others of the batch.

    Warns
    -----
    UserWarning
        If its outputs look like probabilities, see `virolbi.robustness.look_like_probabilities`.
    """
    _check_calibration(view, images, seed)
    size = choose_batch_size(batch_size, images.pixels.shape[1:], view.device)
    classes = len(images.classes) if labelled else 2
    with view.isolated(), torch.inference_mode():
        first_images = torch.from_numpy(images.intensities(slice(size))).to(view.device)
        warn_of_probabilities(_checked_logits(view.model, first_images, classes))  # shapes first
    check_batch_independence("to calibrate", [view], images)
    total = 2 * COPIES * len(images)
    noises, kinds, confidences = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    numbers: list[np.ndarray] = []  # of the images that the copies are of
    for first in range(0, len(images), size):
        rows = slice(first, first + size)
        clean = images.intensities(rows)
        targets = torch.from_numpy(images.labels[rows]).to(view.device)
        with torch.inference_mode():
            if not labelled:
                shown = torch.from_numpy(clean).to(view.device)
                targets = _checked_logits(view.model, shown, classes).argmax(dim=1)
            for made in _noisy_copies(clean, seed, first):
                noisy = torch.from_numpy(made).to(view.device)
                noise, outliers = _estimate_noise(noisy)
                noises.append(noise)
                kinds.append(outliers)
                numbers.append(np.arange(len(images))[rows])
                treated = _all_treatments(noisy)
                logits = [_checked_logits(view.model, shown, classes) for shown in treated]
                confidences.append(np.stack([_confidence(answer, targets) for answer in logits]))
                if stepped is not None:
                    stepped(sum(map(len, noises)), total)
    return _choose_levels(
        np.concatenate(noises),
        np.concatenate(kinds),
        np.concatenate(numbers),
        np.concatenate(confidences, 1),
    )


def _check_calibration(view: View, images: Images, seed: object) -> None:
    """Check what a calibration is asked to do, before any pass."""
    check_count("seed", seed, least=0)
    if view.smoother is not None:
        raise ValueError(f"view must be a network without a smoother, got {view.name!r} with one")
    if len(images) < FEWEST:
        raise ValueError(f"images must be {FEWEST} or more to calibrate on, got {len(images)}")
    with view.isolated():
        output_for_zeros(view.network, images.pixels.shape[1:], view.device)


def _noisy_copies(clean: np.ndarray, seed: int, first: int) -> Iterator[np.ndarray]:
    """Yield clean images with noise of each kind; every image has random numbers of its own."""
    for copy, change in enumerate(COPIES * (_add_noise, _replace_pixels)):
        rngs = [np.random.default_rng([seed, copy, first + index]) for index in range(len(clean))]
        yield np.stack([change(image, rng) for image, rng in zip(clean, rngs, strict=True)])


def _all_treatments(noisy: Tensor) -> Iterator[Tensor]:
    """Yield noisy images after each treatment; those that differ in their share smooth once."""
    smoothed: dict[Treatment, Tensor] = {}
    for treatment in TREATMENTS:
        whole = replace(treatment, share=1.0)
        if treatment.share and whole not in smoothed:
            smoothed[whole] = _smoother(whole)(noisy)
        yield torch.lerp(noisy, smoothed[whole], treatment.share) if treatment.share else noisy


def _checked_logits(network: nn.Module, images: Tensor, classes: int) -> Tensor:
    """Return the logits of images, for so many classes or more, none of them NaN."""
    logits: Tensor = network(images)
    check_logits("view", logits, len(images), classes)
    return logits


def _confidence(logits: Tensor, targets: Tensor) -> np.ndarray:
    """Return the probability of the target of each image."""
    probabilities = logits.float().softmax(dim=1)
    confidence: np.ndarray = probabilities.gather(1, targets[:, None])[:, 0].cpu().numpy()
    return confidence


def _choose_levels(
    noise: np.ndarray, outliers: np.ndarray, numbers: np.ndarray, confidence: np.ndarray
) -> list[Level]:
    """Return the best treatment for each level of noise, from confidences (treatments, N).

    numbers: of the images, several of which are copies of one with different noise.
    """
    levels = []
    for kind in (False, True):
        rows = np.flatnonzero((outliers == kind) & (noise >= LEAST_NOISE))
        rows = rows[np.argsort(noise[rows], kind="stable")]
        parts = min(LEVELS, len(rows) // FEWEST)
        for index, part in enumerate(np.array_split(rows, parts) if parts else ()):
            best = int(confidence[:, part].mean(axis=1).argmax())
            if not np.greater(*_gain(confidence[:, part], numbers[part], best, TREATMENTS[0])):
                best = 0
            gains = [
                _gain(confidence[:, part], numbers[part], best, than)
                for than in (TREATMENTS[0], AUTO)
            ]
            least = LEAST_NOISE if index == 0 else round(float(noise[part[0]]), 4)
            levels.append(Level(kind, least, TREATMENTS[best], *gains[0], *gains[1]))
    return levels


def _gain(
    confidence: np.ndarray, numbers: np.ndarray, treatment: int, than: Treatment
) -> tuple[float, float]:
    """Return the mean gain of one treatment over another, and its standard error.

    Copies of one image have like gains, so the error is that of sums over images.
    """
    gains = confidence[treatment] - confidence[TREATMENTS.index(than)]
    mean = gains.mean()
    error = np.sqrt((np.bincount(numbers, gains - mean) ** 2).sum()) / len(gains)
    return round(float(mean), 4), round(float(error), 4)


def _add_noise(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image, (C, H, W), with normal noise of a random strength and exponent."""
    kind = rng.integers(len(EXPONENTS))
    strength = rng.uniform(WEAKEST, STRONGEST[kind])
    noise = strength * clean ** EXPONENTS[kind] * rng.standard_normal(clean.shape)
    noisy: np.ndarray = (clean + noise).clip(0, 1).astype(np.float32)
    return noisy


def _replace_pixels(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image, (C, H, W), in which a random share of the pixels has random colours."""
    replaced = rng.random(clean.shape[1:]) < rng.uniform(*REPLACED)
    return np.where(replaced, rng.random(clean.shape), clean).astype(np.float32)


def write_calibration(
    folder: Path, source: str, fingerprint: str, levels: Sequence[Level], size: int | None = None
) -> None:
    """Write a calibration, which `load_subject` reads.

    Parameters
    ----------
    folder : Path
        Folder for it, which is made if it does not exist.
    source : str
        Source of the network, as in `load_subject`.
    fingerprint : str
        Digest of its weights.
    levels : sequence of Level
        Result of `calibrate`.
    size : int, optional
        Size of the images that it was made on, in pixels, to which those to come are resized. None
        for that of the network, or any.
    """
    content = {
        "model": source,
        "weights": fingerprint,
        "size": size,
        "levels": [asdict(level) for level in levels],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CALIBRATION, content, indent=1)


def is_calibration(folder: Path) -> bool:
    """Return whether a folder holds a calibration.

    Parameters
    ----------
    folder : Path
        Folder, which need not exist.

    Returns
    -------
    bool
        True if `write_calibration` wrote to it.
    """
    return (folder / CALIBRATION).exists()


class Calibration(NamedTuple):
    """Calibration of one network, as `read_calibration` reads it.

    Attributes
    ----------
    source : str
        Source of the network, as in `load_subject`.
    fingerprint : str
        Digest of its weights.
    front : Front
        Module for its front.
    size : int or None
        Size to resize images to, in pixels, or None for that of the network.
    """

    source: str
    fingerprint: str
    front: Front
    size: int | None


def read_calibration(folder: Path) -> Calibration:
    """Read what `write_calibration` wrote.

    Parameters
    ----------
    folder : Path
        Folder with a calibration.

    Returns
    -------
    Calibration
        The network and the module for its front.

    Raises
    ------
    ValueError
        If the file is not a calibration.
    """
    path = folder / CALIBRATION
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        levels = [
            Level(**(level | {"treatment": Treatment(**level["treatment"])}))
            for level in content["levels"]
        ]
        return Calibration(
            source=content["model"],
            fingerprint=content["weights"],
            front=Front(levels),
            size=content.get("size"),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a calibration: {error!r}") from error
