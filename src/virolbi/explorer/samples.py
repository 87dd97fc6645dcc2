"""Pictures to explore: a drawn one, photographs of scikit-image, and uploaded files."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from virolbi._checks import check_choice
from virolbi.data import DECODING_ERRORS, decode_image

DRAWN = "drawn"
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket")  # in its wheel
SAMPLES = (DRAWN, *PHOTOGRAPHS)


@dataclass(frozen=True)
class Source:
    """Picture that the explorer shows: a sample, or a file.

    Parameters
    ----------
    name : str
        One of `SAMPLES`, or the name of the file that its user knows.
    path : Path, optional
        File to read, or None for a sample.
    """

    name: str
    path: Path | None = None

    def pixels(self, megapixels: float = math.inf) -> np.ndarray:
        """Return the picture, upright, on white, with 8 bits.

        Parameters
        ----------
        megapixels : float, optional
            Largest size that is decoded.

        Returns
        -------
        ndarray of uint8, shape (H, W) or (H, W, 3)
            Pixels, as the lines of `code` compute them.

        Raises
        ------
        ValueError
            If there is no such sample, or if the file is no picture or too large.
        """
        if self.path is not None:
            return _decode(self.path, megapixels)
        check_choice("name", self.name, SAMPLES)
        if self.name == DRAWN:
            return draw_sample()
        from skimage import data

        picture: np.ndarray = getattr(data, self.name)()
        return picture

    def code(self) -> tuple[str, str]:
        """Return the Python lines that read the picture.

        Returns
        -------
        imported, read : str
            An import, and an assignment to `image`.
        """
        if self.path is not None:
            read = f"image = decode_image({self.name!r}, size=None)"
            return "from virolbi.data import decode_image", read
        if self.name == DRAWN:
            return "from virolbi.explorer import draw_sample", "image = draw_sample()"
        return f"from skimage.data import {self.name}", f"image = {self.name}()"


def reduce(image: np.ndarray, factor: int) -> np.ndarray:
    """Return a picture of a fraction of the size, by means over squares.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W) or (H, W, 3)
        Picture.
    factor : int
        Pixels of the side of a square, >= 1. A larger factor gives a smaller picture.

    Returns
    -------
    ndarray of uint8
        The smaller picture.
    """
    return image if factor == 1 else np.asarray(Image.fromarray(image).reduce(factor))


def _decode(path: Path, megapixels: float) -> np.ndarray:
    """Return the picture of a file that somebody sent; errors do not name its path."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except DECODING_ERRORS:
        raise ValueError(f"{path.name} must be a picture, such as a PNG or JPEG file") from None
    if width * height > megapixels * 1e6:
        raise ValueError(
            f"{path.name} must have at most {megapixels:g} megapixels, "
            f"got {width * height / 1e6:.1f}"
        )
    with path.open("rb") as file:
        try:
            return decode_image(file, None)
        except DECODING_ERRORS as error:
            raise ValueError(f"{path.name} cannot be shown: {error}") from None


def draw_sample() -> np.ndarray:
    """Draw a picture of contours, shading, fine lines and texture.

    Returns
    -------
    ndarray of uint8, shape (256, 256, 3)
        The same picture each time.

    Examples
    --------
    >>> draw_sample().shape
    (256, 256, 3)
    """
    y, x = np.mgrid[:256, :256] / 256
    sky = np.stack([0.45 + 0.3 * y, 0.62 + 0.2 * y, 0.85 - 0.05 * y], axis=-1)
    hill = y > 0.62 + 0.08 * np.sin(7 * x)
    grain = 0.06 * np.sin(90 * x + 40 * y) * np.sin(70 * y - 20 * x)
    sky[hill] = np.stack([0.25 + grain, 0.5 + 0.3 * (1 - y) + grain, 0.2 + grain], axis=-1)[hill]
    sun = np.hypot(x - 0.76, y - 0.2)
    sky[sun < 0.11] = (0.98, 0.85, 0.35)
    house = (abs(x - 0.34) < 0.17) & (y > 0.44) & (y < 0.78)
    sky[house] = np.stack([0.85 - 0.4 * x, 0.7 - 0.3 * x, 0.6 - 0.2 * x], axis=-1)[house]
    roof = (y < 0.44) & (y > 0.26 + 0.95 * abs(x - 0.34))
    sky[roof] = (0.6, 0.16, 0.14)
    window = (abs(x - 0.27) < 0.04) & (abs(y - 0.56) < 0.045)
    sky[window] = (0.12, 0.16, 0.25)
    sky[(abs(x - 0.41) < 0.035) & (y > 0.6) & (y < 0.78)] = (0.3, 0.2, 0.12)
    fence = (y > 0.72) & (y < 0.85) & (x > 0.56) & ((256 * x).astype(int) % 12 < 4)
    sky[fence] = (0.95, 0.93, 0.9)
    drawn: np.ndarray = np.rint(255 * sky.clip(0, 1)).astype(np.uint8)
    return drawn
