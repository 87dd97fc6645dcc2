"""Data sets and image files."""

from virolbi.data.datasets import Images, class_files, held_out, labels, load, split_folders
from virolbi.data.pictures import (
    KEEP_16_BITS,
    KEEP_ALPHA,
    UNDECODABLE,
    Picture,
    contact_sheet,
    decode,
    picture_format,
    read_picture,
    write_picture,
)

__all__ = ['Images', 'KEEP_16_BITS', 'KEEP_ALPHA', 'Picture', 'UNDECODABLE', 'class_files', 'contact_sheet', 'decode', 'held_out', 'labels', 'load', 'picture_format', 'read_picture', 'split_folders', 'write_picture']
