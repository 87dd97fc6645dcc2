"""Pictures of the numbers of regions, which keep where and how large the picture is."""

from typing import Any

import numpy as np
from PIL import Image

from virolbi.data.pictures import Picture
from virolbi.data.tiff import BAND_STATISTICS, DESCRIPTION, NODATA, encode_text

KEPT = ("exif", "xmp", "comment", "dpi", "text", "turned")
IMAGEJ = "ImageJ="  # begins its descriptions, whose lines are "name=value"
OF_INTENSITIES, OF_CHANNELS = ("mode", "min", "max"), ("images", "channels")


def label_picture(picture: Picture, labels: np.ndarray) -> Picture:
    """Return the numbers of the regions of a picture as a picture at the same place.

    Parameters
    ----------
    picture : Picture
        Picture that was divided into regions.
    labels : ndarray of int, shape (..., H, W)
        Number of the region of each pixel, in each slice; 0 where nothing is visible.

    Returns
    -------
    Picture
        The numbers, with the resolution, the map projection and the texts of the picture, and
        without what it says about intensities and channels: its colour profile, the value of
        pixels without data, statistics of bands, and descriptions by OME.
    """
    metadata: dict[str, Any] = {
        key: picture.metadata[key] for key in KEPT if key in picture.metadata
    }
    if "TIFF" in picture.metadata:
        metadata["TIFF"] = picture.metadata["TIFF"] | {"planar": False}
    if "exif" in metadata:
        exif = Image.Exif()
        exif.load(metadata["exif"])
        for tag in (NODATA, BAND_STATISTICS):
            exif.pop(tag, None)
        for tag, value in dict(exif).items():
            exif[tag] = encode_text(value)
        if DESCRIPTION in exif:
            exif[DESCRIPTION] = _describe_labels(exif[DESCRIPTION], picture)
        metadata["exif"] = exif.tobytes()
    return Picture(labels, metadata=metadata, slice_axes=picture.slice_axes)


def _describe_labels(text: str | bytes, picture: Picture) -> str | bytes:
    """Return the description of a file of labels, or "" for none."""
    decoded = text.decode("latin-1") if isinstance(text, bytes) else text
    if decoded.lstrip().startswith("<"):
        return ""  # of OME
    if not decoded.startswith(IMAGEJ):
        return text
    wrong, counts = list(OF_INTENSITIES), list[str]()
    if picture.channel_axis is not None:
        wrong += OF_CHANNELS
        counts = [f"images={np.prod(picture.pixels.shape[: picture.slice_axes], dtype=int)}"]
    first, *lines = decoded.splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in wrong]
    return "\n".join([first, *counts, *kept, ""]).encode("latin-1")
