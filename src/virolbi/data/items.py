"""Items of data sets in Python: pairs of an image and a label."""

import io
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from virolbi.data.images import check_classes
from virolbi.scale_space import round_to


class MapStyle(Protocol):
    """A data set with a length and an item for each index: a pair of an image and a label."""

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return the image and the label at an index."""
        ...


def read_items(
    dataset: MapStyle, name: str, data_range: float | None
) -> tuple[list[bytes], list[int | str]]:
    """Return the images of a data set, encoded without loss, and the labels.

    Parameters
    ----------
    dataset : MapStyle
        The data set.
    name : str
        Its name, for the errors.
    data_range : float or None
        Largest possible value of the pixels; None is 1 for floats.

    Returns
    -------
    images : list of bytes
        PNG files of 8-bit and PIL images, and .npy files of other arrays.
    labels : list of int or str
        The labels, all of one type.

    Raises
    ------
    TypeError
        If the data set has no length or no items by index, if an item is not a pair of an image and
        a label, or if labels have several types.
    ValueError
        If an image has other channels, or numbers in another format.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"data {name!r} must have a length and an item for each index, such as list(dataset) "
            "of pairs that can be read only in their order"
        )
    images: list[bytes] = []
    labels: list[int | str] = []
    for row in range(len(dataset)):
        item = dataset[row]
        if not isinstance(item, Sequence) or len(item) != 2:
            raise TypeError(
                f"items of data {name!r} must be pairs of an image and a label, got "
                f"{type(item).__name__} for item {row}"
            )
        try:
            images.append(_encode(item[0], data_range))
            labels.append(item[1] if isinstance(item[1], str) else int(item[1].__index__()))
        except (AttributeError, TypeError) as error:
            raise TypeError(
                f"item {row} of data {name!r} must be a PIL image, tensor or array and a whole "
                f"number or text: {error}"
            ) from error
        except (ValueError, OSError) as error:
            raise ValueError(f"image {row} of data {name!r} {error}") from error
    if len({type(label) for label in labels}) > 1:
        raise TypeError(f"labels of data {name!r} must all be numbers or all be texts, got both")
    return images, labels


def number_labels(
    labels: Sequence[int | str], classes: Sequence[str] | None, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels as numbers of classes, and the names of the classes.

    Parameters
    ----------
    labels : sequence of int or str
        Labels of one type.
    classes : sequence of str or None
        Names of the classes; labels that are numbers are indices into it. None takes the sorted
        labels.
    name : str
        Name of the data set, for the error.

    Returns
    -------
    labels : ndarray of int64, shape (N,)
        Indices into the classes.
    classes : tuple of str
        Names of the classes.

    Raises
    ------
    ValueError
        If a label is not one of the classes, or if two classes have the same name.
    """
    known = sorted(set(labels), key=lambda label: (str(type(label)), label))
    names = tuple(map(str, known)) if classes is None else tuple(map(str, classes))
    check_classes(names)
    by_number = classes is not None and known and not isinstance(known[0], str)
    values: Sequence[int | str] = range(len(names)) if by_number else names
    numbers = {value: number for number, value in enumerate(known if classes is None else values)}
    for row, label in enumerate(labels):
        if label not in numbers:
            raise ValueError(
                f"labels of data {name!r} must be among its {len(names)} classes, got {label!r} "
                f"for item {row}"
            )
    return np.array([numbers[label] for label in labels], np.int64), names


def _encode(image: Any, data_range: float | None) -> bytes:
    """Return an image as a PNG file, or as a .npy file if it is an array without 8 bits."""
    buffer = io.BytesIO()
    if not isinstance(image, Image.Image):
        pixels = _to_pixels(image, data_range)
        if pixels.dtype != np.uint8:
            np.save(buffer, pixels)
            return buffer.getvalue()
        image = Image.fromarray(pixels)
    elif image.mode in ("I", "F"):
        raise ValueError(f"must have 8 or 16 bits per channel, got mode {image.mode}")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):  # which PNG does not have
        image = image.convert("RGB")
    image.save(buffer, "PNG", compress_level=1, exif=image.getexif())
    return buffer.getvalue()


def _to_pixels(image: Any, data_range: float | None) -> np.ndarray:
    """Return a tensor, (C, H, W), or an array, (H, W) or (H, W, C), as grey or RGB.

    Floats without a data range get 8 bits, as they had before `ToTensor`.
    """
    is_tensor = hasattr(image, "permute")
    pixels: np.ndarray = np.asarray(
        image.permute(1, 2, 0) if is_tensor and image.ndim == 3 else image
    )
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] != 3):
        raise ValueError(f"must have one or three channels, got shape {tuple(image.shape)}")
    is_float = pixels.dtype.kind == "f"
    if pixels.dtype in (np.uint8, np.uint16) or (is_float and data_range is not None):
        return pixels
    if not is_float or not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"must be uint8, uint16, or float in [0, 1] before any normalisation, got "
            f"{pixels.dtype} from {pixels.min():g} to {pixels.max():g}"
        )
    return round_to(255 * pixels, np.dtype(np.uint8))
