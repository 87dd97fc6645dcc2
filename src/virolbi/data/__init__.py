"""Data sets and image files."""

from virolbi.data.datasets import DIGITS, from_dataset, load, load_labels
from virolbi.data.folders import list_class_files, split_folders
from virolbi.data.hidden import fill_hidden, hidden_pixels
from virolbi.data.images import Images, held_out_mask
from virolbi.data.pictures import Picture, contact_sheet, resize_picture
from virolbi.data.reading import (
    DECODING_ERRORS,
    decode_image,
    is_picture_name,
    read_picture,
    read_plain_picture,
)
from virolbi.data.writing import KEEP_16_BITS, KEEP_ALPHA, picture_format, write_picture

__all__ = [
    "DECODING_ERRORS",
    "DIGITS",
    "KEEP_16_BITS",
    "KEEP_ALPHA",
    "Images",
    "Picture",
    "contact_sheet",
    "decode_image",
    "fill_hidden",
    "from_dataset",
    "held_out_mask",
    "hidden_pixels",
    "is_picture_name",
    "list_class_files",
    "load",
    "load_labels",
    "picture_format",
    "read_picture",
    "read_plain_picture",
    "resize_picture",
    "split_folders",
    "write_picture",
]
