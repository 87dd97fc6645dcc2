"""Answers of the explorer: solved paths that are kept, and asked for moments."""

import io
import math
import time as clock
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image

from virolbi._checks import range_text
from virolbi.explorer.code import python_code, shell_code
from virolbi.explorer.samples import Source, reduce
from virolbi.explorer.settings import Settings
from virolbi.scale_space import Scale, ScaleSpace

MEGAPIXELS = 50.0  # of a file
SHOWN_MEGAPIXELS = 1.0  # larger pictures are reduced
KEPT_MEGAPIXELS = 12.0  # of all pictures whose paths are kept, counting channels
SOLVED: tuple[dict[str, Any], ...] = (
    {"sparsity": 0.05},
    {"time": 60.0},
)  # a path is solved to both before it is asked
STRIP = (1.0, 0.98, 0.95, 0.9, 0.8, 0.6, 0.4, 0.2)  # sparsities of the film strip
STRIP_SIDE = 160  # pixels of its pictures
MOST_LABELS = 2**16 - 2  # that a PNG file holds, numbered from 1

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Answer:
    """One moment of one picture, with everything that is shown of it.

    Attributes
    ----------
    image : ndarray of uint8
        Picture before smoothing, with its corruption.
    scale : Scale
        Moment on the path.
    denoised : ndarray of uint8 or None
        Picture without its noise, if the settings ask for it.
    noise : ndarray of float
        Noise that is seen, one number for each support.
    settings : Settings
        Settings that were asked for.
    source : Source
        Picture that was asked for.
    factor : int
        How many times smaller than its file the picture is.
    seconds : float
        Time that the answer took.
    """

    image: np.ndarray
    scale: Scale
    denoised: np.ndarray | None
    noise: np.ndarray
    settings: Settings
    source: Source
    factor: int
    seconds: float

    @property
    def channels(self) -> int:
        """Return the number of channels of the picture.

        Returns
        -------
        int
            1 or 3.
        """
        return 1 if self.image.ndim == 2 else 3

    @property
    def result(self) -> np.ndarray:
        """Return the smoothed or denoised picture.

        Returns
        -------
        ndarray of uint8
            The output that the settings name.
        """
        if self.denoised is not None:
            return self.denoised
        return self.scale.output(self.settings.form.output)

    @property
    def difference(self) -> np.ndarray:
        """Return what smoothing took away, doubled, on grey.

        Returns
        -------
        ndarray of uint8
            Input less result.
        """
        change = 2 * (self.image.astype(np.int16) - self.result) + 128
        visible: np.ndarray = np.clip(change, 0, 255).astype(np.uint8)
        return visible

    @property
    def facts(self) -> dict[str, str]:
        """Return the noise, the moment and the regions in words.

        Returns
        -------
        dict
            Texts by their titles; without the moment if the result is none of the path.
        """
        scale = self.scale
        height, width = self.image.shape[:2]
        reduced = f", reduced by {self.factor}" if self.factor > 1 else ""
        facts = {"size": f"{width} x {height}{reduced}", "noise seen": range_text(self.noise)}
        if self.denoised is None:
            facts |= {
                "sparsity": range_text(scale.sparsity),
                "time": range_text(scale.time),
                "regions": range_text(scale.labels.max(axis=(-2, -1)) + 1, ","),
            }
        return facts | {"answered in": f"{1000 * self.seconds:.0f} ms"}

    @property
    def python(self) -> str:
        """Return the Python lines that compute the result and the labels.

        Returns
        -------
        str
            A program.
        """
        return python_code(self.source, self.settings, self.channels, self.factor)

    @property
    def shell(self) -> str:
        """Return the shell lines that make the result and the labels.

        Returns
        -------
        str
            One line for each.
        """
        return shell_code(self.settings, self.scale.time, self.channels)

    def files(self) -> dict[str, bytes]:
        """Return the files to download.

        Returns
        -------
        dict
            Their contents by their names. Labels, of a moment on the path, are a PNG file that is
            numbered from 1, or an array of NumPy, from 0, where a PNG file cannot hold them.
        """
        files = {"input.png": _png(self.image), "result.png": _png(self.result)}
        if self.denoised is None:
            files |= _labels_file(self.scale.labels)
        return files | {
            "result.py": f"{self.python}\n".encode(),
            "result.sh": f"{self.shell}\n".encode(),
        }


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of the film strip.

    Attributes
    ----------
    picture : ndarray of uint8
        Small picture.
    sparsity : float
        Its sparsity, as it was reached.
    time : float
        Its time, the first one if channels have their own.
    """

    picture: np.ndarray
    sparsity: float
    time: float


@dataclass(frozen=True, eq=False)
class Solved:
    """One picture with its path.

    Attributes
    ----------
    image : ndarray of uint8
        Picture, with its corruption.
    space : ScaleSpace
        Its path, as far as it was asked for.
    factor : int
        How many times smaller than its file the picture is.
    """

    image: np.ndarray
    space: ScaleSpace
    factor: int


class Kept(Generic[Value]):
    """Values that are kept until they weigh too much together; the last used ones stay.

    Parameters
    ----------
    most : float
        Largest weight of all values together. One value is kept whatever it weighs.

    Examples
    --------
    >>> kept = Kept(most=2)
    >>> [kept.get(key, lambda: (key.upper(), 1)) for key in "abca"]
    ['A', 'B', 'C', 'A']
    >>> list(kept.keys)
    ['c', 'a']
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, tuple[Value, float]] = OrderedDict()

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """Return the keys of the values, the last used one at the end.

        Returns
        -------
        tuple
            The keys.
        """
        return tuple(self._values)

    def get(self, key: Hashable, make: Callable[[], tuple[Value, float]]) -> Value:
        """Return the value of a key.

        Parameters
        ----------
        key : hashable
            Key.
        make : callable
            Returns the value and its weight; called if the value is not kept.

        Returns
        -------
        object
            The value.
        """
        if key not in self._values:
            self._values[key] = make()
        self._values.move_to_end(key)
        while len(self._values) > 1 and self._weight() > self._most:
            self._values.popitem(last=False)
        return self._values[key][0]

    def _weight(self) -> float:
        """Return the weight of all values together."""
        return sum(weight for _, weight in self._values.values())


class Explorer:
    """Pictures and their paths, which are solved once and asked many times.

    Parameters
    ----------
    megapixels : float, optional
        Largest file. Pictures of more than one megapixel are reduced by a whole factor.
    kept : float, optional
        Megapixels of the pictures whose paths are kept, counting channels. A path takes about
        30 MB for each of them.

    Examples
    --------
    >>> explorer = Explorer()
    >>> answer = explorer.answer(Source("drawn"), Settings(corruption="none"))
    >>> bool((answer.result == answer.image).all())        # no noise is seen
    True
    """

    def __init__(self, *, megapixels: float = MEGAPIXELS, kept: float = KEPT_MEGAPIXELS) -> None:
        if not megapixels > 0:
            raise ValueError(f"megapixels must be > 0, got {megapixels}")
        self._megapixels = megapixels
        self._images: Kept[tuple[np.ndarray, int]] = Kept(kept)
        self._paths: Kept[Solved] = Kept(kept)
        self._lock = Lock()

    def image(self, source: Source, settings: Settings) -> np.ndarray:
        """Return a picture with its corruption.

        Parameters
        ----------
        source : Source
            Picture.
        settings : Settings
            Settings, of which the corruption counts.

        Returns
        -------
        ndarray of uint8, shape (H, W) or (H, W, 3)
            Picture.

        Raises
        ------
        ValueError
            If the picture cannot be read, is too large, or is too small for the corruption.
        """
        with self._lock:
            return self._image(source, settings)[0]

    def answer(self, source: Source, settings: Settings) -> Answer:
        """Return one moment of a picture.

        Parameters
        ----------
        source : Source
            Picture.
        settings : Settings
            Settings.

        Returns
        -------
        Answer
            The moment with what is shown of it.

        Raises
        ------
        ValueError
            If the picture cannot be read, is too large, or is too small for the corruption.
        """
        start = clock.perf_counter()
        with self._lock:
            solved = self._solve(source, settings)
        channels = 1 if solved.image.ndim == 2 else 3
        scale = solved.space.at(**settings.moment(channels)).with_min_area(settings.min_area)
        noise = np.atleast_1d(solved.space.noise.strength)
        denoised = None
        if settings.output == "denoised":
            stated = "auto" if settings.choice == "auto" else settings.noise
            denoised = solved.space.denoise(stated)
        answer = Answer(
            solved.image, scale, denoised, noise, settings, source, solved.factor, seconds=0.0
        )
        _ = answer.result, scale.regions  # computed when they are first asked for
        return replace(answer, seconds=clock.perf_counter() - start)

    def strip(self, source: Source, settings: Settings) -> list[Frame]:
        """Return the path of a picture as a film strip.

        Parameters
        ----------
        source : Source
            Picture.
        settings : Settings
            Settings; the moment and `min_area` do not count.

        Returns
        -------
        list of Frame
            Small pictures, from smooth to detailed.

        Raises
        ------
        ValueError
            If the picture cannot be read, is too large, or is too small for the corruption.
        """
        with self._lock:
            solved = self._solve(source, settings)
        frames = []
        for sparsity in STRIP:
            scale = solved.space.at(sparsity)
            picture = Image.fromarray(np.ascontiguousarray(scale.output(settings.form.output)))
            picture.thumbnail((STRIP_SIDE, STRIP_SIDE))
            frames.append(
                Frame(np.asarray(picture), float(scale.sparsity.mean()), float(scale.time.min()))
            )
        return frames

    def _image(self, source: Source, settings: Settings) -> tuple[np.ndarray, int]:
        """Return a picture with its corruption, and how many times it was reduced, kept."""

        def make() -> tuple[tuple[np.ndarray, int], float]:
            pixels = source.pixels(self._megapixels)
            height, width = pixels.shape[:2]
            factor = math.ceil(math.sqrt(width * height / (1e6 * SHOWN_MEGAPIXELS)))
            image = settings.corrupted(reduce(pixels, factor))
            return (image, factor), image.size / 1e6

        return self._images.get((source, settings.corruption, settings.severity), make)

    def _solve(self, source: Source, settings: Settings) -> Solved:
        """Return a picture with its path, kept by the form of the path."""
        form = settings.form
        keywords: dict[str, Any] = {"nu": form.nu, "delta": form.delta, "joint": form.joint}

        def make() -> tuple[Solved, float]:
            image, factor = self._image(source, settings)
            axis = None if image.ndim == 2 else -1
            space = ScaleSpace(image, channel_axis=axis, copy=False, **keywords)
            for moment in SOLVED:
                space.at(**moment)
            return Solved(image, space, factor), image.size / 1e6

        picture = (source, settings.corruption, settings.severity)
        return self._paths.get((picture, *keywords.values()), make)


def _labels_file(labels: np.ndarray) -> dict[str, bytes]:
    """Return labels as a file, by its name."""
    if labels.ndim == 2 and labels.max() < MOST_LABELS:
        return {"labels.png": _png((labels + 1).astype(np.uint16))}
    buffer = io.BytesIO()
    np.save(buffer, labels)
    return {"labels.npy": buffer.getvalue()}


def _png(pixels: np.ndarray) -> bytes:
    """Return pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG")
    return buffer.getvalue()
