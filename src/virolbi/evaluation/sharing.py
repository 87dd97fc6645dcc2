"""One evaluation, shared by all processes that do it in the same folder."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from virolbi._storage import claimed

Part = TypeVar("Part")
CLAIMS = ".claims"  # file in the folder of results


def share(
    folder: Path,
    parts: Sequence[Part],
    *,
    name: Callable[[Part], object],
    is_missing: Callable[[Part], bool],
) -> Iterator[Part]:
    """Yield the missing parts of a job that no other process of the same job does.

    First each process gets the parts that no other one has at work. Then it waits for these, and
    gets those that a process left because it was killed. So all parts are done when the iterator
    ends in any of the processes, and it does not matter when they start.

    Parameters
    ----------
    folder : Path
        Folder of the results, which the processes share.
    parts : sequence
        Parts of the job.
    name : callable
        Function of a part that returns its name, of strings, numbers and tuples of these.
    is_missing : callable
        Function of a part that returns whether its results are missing; it reads them from the
        folder.

    Yields
    ------
    object
        A part. No other process gets it until the next one is asked for, and its results must be
        in the folder then.
    """
    for wait in (False, True):
        for part in parts:
            if is_missing(part):
                with claimed(folder / CLAIMS, name(part), wait=wait) as mine:
                    if mine and is_missing(part):
                        yield part
