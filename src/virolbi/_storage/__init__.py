"""Files that appear complete or not at all, caches of large arrays, and locks."""

from virolbi._storage.caches import acquire_part, cached_array, publish_part
from virolbi._storage.files import (
    check_empty_folder,
    file_status,
    is_temporary,
    write_atomic,
    write_json,
)
from virolbi._storage.locks import claimed, locked, locked_folder

__all__ = [
    "acquire_part",
    "cached_array",
    "check_empty_folder",
    "claimed",
    "file_status",
    "is_temporary",
    "locked",
    "locked_folder",
    "publish_part",
    "write_atomic",
    "write_json",
]
