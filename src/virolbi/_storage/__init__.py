"""Files that appear complete or not at all, caches of large arrays, and shares of a job."""

from virolbi._storage.caches import acquire_part, cached_array, publish_part
from virolbi._storage.claims import claimed
from virolbi._storage.files import check_empty_folder, is_temporary, write_atomic

__all__ = [
    "acquire_part",
    "cached_array",
    "check_empty_folder",
    "claimed",
    "is_temporary",
    "publish_part",
    "write_atomic",
]
