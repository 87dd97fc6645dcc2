"""The file of rows of an evaluation, and its progress."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from virolbi.evaluation.judging import Judged
from virolbi.evaluation.sharing import Part, share
from virolbi.results import Row, RowKey, accuracy_fields, add_detail, add_rows, read_rows, row_key

Stepped = Callable[[int, int], None]  # called with the images seen so far, and those expected


class ResultFile:
    """File of rows that an evaluation completes, alone or with other processes.

    Parameters
    ----------
    path : Path
        File of rows (JSON lines).
    existing : sequence of dict
        Rows that it holds.
    progress : callable or None
        Called with every row of this evaluation.
    """

    def __init__(
        self, path: Path, existing: Sequence[Row], progress: Callable[[Row], None] | None
    ) -> None:
        self.path = path
        self._known = {row_key(row): row for row in existing}
        self._reported: dict[RowKey, Row] = {}
        self._progress = progress

    def lacks(self, planned: Iterable[Row]) -> bool:
        """Return whether one of some rows is not known to be measured.

        Parameters
        ----------
        planned : iterable of dict
            The rows, without their results.

        Returns
        -------
        bool
            True if this process has not read or added all of them.
        """
        return not {row_key(row) for row in planned} <= self._known.keys()

    def missing(
        self, parts: Sequence[Part], rows_of: Callable[[Part], Iterable[Row]]
    ) -> Iterator[Part]:
        """Yield the parts whose rows no process has measured or is measuring, see `share`.

        All rows are reported: first those that the file holds, then those of each part, and in the
        end those of other processes.

        Parameters
        ----------
        parts : sequence
            Parts of the evaluation.
        rows_of : callable
            Function of a part that returns its rows, without their results.

        Yields
        ------
        object
            A part, whose rows must be added before the next one is asked for.
        """
        planned = [row for part in parts for row in rows_of(part)]
        self.report(planned)
        for part in share(
            self.path.parent,
            parts,
            name=lambda part: tuple(map(row_key, rows_of(part))),
            is_missing=lambda part: self.lacks(rows_of(part)) and self._read_lacks(rows_of(part)),
        ):
            yield part
            self.report(rows_of(part))
        self.report(planned)

    def _read_lacks(self, planned: Iterable[Row]) -> bool:
        """Return whether a row has not been measured, also after reading the file again."""
        self._known |= {row_key(row): row for row in read_rows(self.path)}
        return self.lacks(planned)

    def add(self, planned: Mapping[str, Row], judged: Mapping[str, Judged]) -> None:
        """Write rows with their results and details.

        Parameters
        ----------
        planned : mapping of str to dict
            Rows without results, by name.
        judged : mapping of str to Judged
            Results of these rows, by the same names.
        """
        new = []
        for name, result in judged.items():
            row = planned[name] | accuracy_fields(result.correct, result.labels, result.scores)
            add_detail(
                self.path.parent,
                row,
                result.correct,
                result.seconds,
                result.predicted,
                result.confidence,
            )
            new.append(row)
        self.write(new)

    def write(self, new: Sequence[Row]) -> None:
        """Write rows.

        Parameters
        ----------
        new : sequence of dict
            The rows, with their results.
        """
        self._known |= {row_key(row): row for row in new}
        add_rows(self.path, new)

    def report(self, planned: Iterable[Row]) -> None:
        """Call `progress` with each row that has been measured and not been reported yet.

        Parameters
        ----------
        planned : iterable of dict
            Rows without results.
        """
        for key in map(row_key, planned):
            if key in self._known and key not in self._reported:
                self._reported[key] = self._known[key]
                if self._progress is not None:
                    self._progress(self._known[key])

    def measured(self, planned: Iterable[Row]) -> list[Row]:
        """Return measured rows.

        Parameters
        ----------
        planned : iterable of dict
            The rows, without their results.

        Returns
        -------
        list of dict
            The same rows with them, in the same order.
        """
        return [self._known[row_key(row)] for row in planned]


class Counter:
    """Counter of the images that networks have seen.

    Parameters
    ----------
    stepped : callable or None
        Called with the number so far and with the number expected, once that is known.
    """

    def __init__(self, stepped: Stepped | None) -> None:
        self._done, self._total, self._stepped = 0, 0, stepped

    def expect(self, total: int) -> None:
        """Count from 0 again.

        Parameters
        ----------
        total : int
            Number of images that networks are expected to see.
        """
        self._done, self._total = 0, total

    def __call__(self, count: int) -> None:
        """Count images.

        Parameters
        ----------
        count : int
            Number of images that a network has seen since the last call.
        """
        self._done += count
        if self._stepped is not None and self._total:
            self._stepped(min(self._done, self._total), self._total)
