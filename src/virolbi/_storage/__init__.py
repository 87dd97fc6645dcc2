"""Files that appear whole or not at all, and caches of large arrays."""

from virolbi._storage.caches import own_part, publish, stored
from virolbi._storage.files import check_empty, is_scratch, write_whole

__all__ = ['check_empty', 'is_scratch', 'own_part', 'publish', 'stored', 'write_whole']
