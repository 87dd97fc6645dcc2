"""Data sets and image files."""

from virolbi.data.datasets import DIGITS, from_dataset, load, load_labels
from virolbi.data.folders import list_class_files, split_folders
from virolbi.data.images import Images, held_out_mask
from virolbi.data.pictures import (
    DECODING_ERRORS,
    KEEP_16_BITS,
    KEEP_ALPHA,
    Picture,
    contact_sheet,
    decode_image,
    picture_format,
    read_picture,
    write_picture,
)

__all__ = [
    "DECODING_ERRORS",
    "DIGITS",
    "KEEP_16_BITS",
    "KEEP_ALPHA",
    "Images",
    "Picture",
    "contact_sheet",
    "decode_image",
    "from_dataset",
    "held_out_mask",
    "list_class_files",
    "load",
    "load_labels",
    "picture_format",
    "read_picture",
    "split_folders",
    "write_picture",
]
