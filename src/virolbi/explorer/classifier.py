"""Answers of a classifier to a picture: raw, smoothed, and under attack."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from virolbi.evaluation import Answers, Subject, best_answers, load_subject
from virolbi.explorer.settings import Settings
from virolbi.nn import Smooth
from virolbi.robustness import pgd
from virolbi.scale_space import ScaleSpace
from virolbi.training import choose_device

BEST = 5  # classes that are shown
STEPS = 10  # of an attack


class Classifier:
    """Classifier that looks at pictures with and without the smoother in front of it.

    Parameters
    ----------
    subject : Subject
        Classifier, of which the network is used.

    Raises
    ------
    ValueError
        If it takes other images than grey or colour.
    """

    def __init__(self, subject: Subject) -> None:
        if subject.channels not in (None, 1, 3):
            raise ValueError(
                f"subject must take images of 1 or 3 channels, {subject.name} takes "
                f"{subject.channels}"
            )
        self.name = subject.name
        self._view, self._classes = subject.views[0], subject.classes
        self._channels = subject.channels or 3
        self._size = (subject.size, subject.size) if subject.size else None  # height, width
        if subject.shape is not None:
            self._size = (subject.shape[1], subject.shape[2])

    @classmethod
    def load(cls, source: str, *, cpu: bool = False) -> "Classifier":
        """Return a classifier by the name of its source.

        Parameters
        ----------
        source : str
            Folder of a training run, "timm:NAME" or "module:function", see
            `virolbi.evaluation.load_subject`.
        cpu : bool, optional
            Whether to use the CPU, even where there is an accelerator.

        Returns
        -------
        Classifier
            The classifier.

        Raises
        ------
        ValueError
            If it cannot be loaded.
        """
        return cls(load_subject(source, device=choose_device(cpu)))

    def answers(
        self, image: np.ndarray, settings: Settings, *, epsilon: float = 0.0
    ) -> list[Answers]:
        """Return the best answers to a picture, raw and smoothed.

        The picture is resized and cropped for the network first, and smoothed at that size. An
        attack is projected gradient descent of 10 steps away from the answer before the attack,
        through the exact derivative of the smoother.

        Parameters
        ----------
        image : ndarray of uint8, shape (H, W) or (H, W, 3)
            Picture.
        settings : Settings
            Settings of the smoother.
        epsilon : float, optional
            Largest change of a pixel under attack, in intensity; 0 for no attack.

        Returns
        -------
        list of Answers
            Raw and smoothed; with an attack, two more.

        Raises
        ------
        ValueError
            If `epsilon` is out of range.
        """
        pixels = self._fit(image)
        smoother, title = _smoother(pixels, settings)
        planes = np.atleast_3d(pixels).transpose(2, 0, 1)[None] / np.float32(255)
        images = torch.from_numpy(np.ascontiguousarray(planes)).to(self._view.device)
        smoothers = {"raw": None, title: smoother}
        models = {name: replace(self._view, smoother=s).model for name, s in smoothers.items()}
        result = []
        for name, model in models.items():
            result.append(self._best(name, model, images))
        for name, model in models.items() if epsilon else ():
            with torch.no_grad():
                labels = model(images).argmax(dim=1)
            attacked = pgd(model, images, labels, epsilon=epsilon, steps=STEPS)
            result.append(self._best(f"{name}, attacked", model, attacked))
        return result

    def _fit(self, image: np.ndarray) -> np.ndarray:
        """Return a picture with the size and the channels of the network."""
        picture = Image.fromarray(image).convert("L" if self._channels == 1 else "RGB")
        if self._size is not None:
            height, width = self._size
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
        return np.asarray(picture)

    def _best(self, title: str, model: nn.Module, images: torch.Tensor) -> Answers:
        """Return the best answers of a model to one image."""
        with torch.no_grad():
            return best_answers(title, model(images)[0], self._classes, BEST)


def _smoother(pixels: np.ndarray, settings: Settings) -> tuple[Smooth, str]:
    """Return the smoother at the moment that the settings state for a picture, and its title."""
    form = settings.form
    channels = 1 if pixels.ndim == 2 else 3
    if settings.choice == "auto" and form.allows_auto:
        return Smooth("auto", **form.keywords()), "smoothed, auto"
    axis = None if channels == 1 else -1
    space = ScaleSpace(pixels, channel_axis=axis, **form.path_keywords())
    sparsity = float(space.at(**settings.moment(channels)).sparsity.mean())
    keywords = form.keywords()
    if form.output == "beta":
        keywords["min_area"] = 1
    return Smooth(sparsity, **keywords), f"smoothed, sparsity {sparsity:.3g}"
