"""Data sets and image files."""

from virolbi.data.datasets import DIGITS, Corrupt, from_dataset, load, load_labels
from virolbi.data.folders import (
    ClassFiles,
    iter_files,
    list_class_files,
    prefix_errors,
    split_folders,
)
from virolbi.data.hidden import fill_hidden, hidden_pixels
from virolbi.data.images import Images, held_out_mask
from virolbi.data.labels import label_picture
from virolbi.data.pictures import Picture, contact_sheet, resize_picture
from virolbi.data.reading import (
    DECODING_ERRORS,
    Decoded,
    decode_image,
    decode_picture,
    is_picture_name,
    is_unread_photograph,
    read_picture,
    read_plain_picture,
)
from virolbi.data.tables import README, find_image_column, splits_of_files
from virolbi.data.writing import KEEP_16_BITS, KEEP_ALPHA, picture_format, write_picture

__all__ = [
    "DECODING_ERRORS",
    "DIGITS",
    "KEEP_16_BITS",
    "KEEP_ALPHA",
    "README",
    "ClassFiles",
    "Corrupt",
    "Decoded",
    "Images",
    "Picture",
    "contact_sheet",
    "decode_image",
    "decode_picture",
    "fill_hidden",
    "find_image_column",
    "from_dataset",
    "held_out_mask",
    "hidden_pixels",
    "is_picture_name",
    "is_unread_photograph",
    "iter_files",
    "label_picture",
    "list_class_files",
    "load",
    "load_labels",
    "picture_format",
    "prefix_errors",
    "read_picture",
    "read_plain_picture",
    "resize_picture",
    "split_folders",
    "splits_of_files",
    "write_picture",
]
