"""Accuracy of classifiers that adapt to the unlabelled images of a stream, as rows in a file."""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from virolbi._checks import check_count
from virolbi.corruptions import COMMON, HELD_OUT, corrupt, nearest_resolution
from virolbi.data import Images
from virolbi.evaluation.adaptation.methods import METHODS, Adapter, Setting
from virolbi.evaluation.adaptation.streams import STREAMS, Batch, Stream, StreamName, streams
from virolbi.evaluation.consistency import check_same_source
from virolbi.evaluation.subjects import Subject, View, to_tensors
from virolbi.results import Row, accuracy_interval, add_rows, read_rows, row_key

FISHER_IMAGES = 2000  # training images for the Fisher information of EATA


def adapt(
    subject: Subject,
    images: Images,
    path: Path,
    *,
    methods: Sequence[str] = ("source", "bn", "bn-alpha", "tent"),
    orders: Sequence[StreamName] = STREAMS,
    corruptions: Sequence[str] = COMMON,
    severity: int = 5,
    batch_size: int = 200,
    noise_seed: int = 0,
    source_images: Images | None = None,
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Judge every view of a subject with methods of adaptation, on streams of corrupted images.

    A view that smooths does so before the method sees the images. Every stream meets the network
    as it was trained. Rows that the file holds are not computed again. The corrupted images are
    kept in memory: 12 KB for each type and image of 32 pixels in colour.

    Parameters
    ----------
    subject : Subject
        Classifier to adapt.
    images : Images
        Clean test images.
    path : Path
        File of rows (JSON lines), which is made if it does not exist.
    methods : sequence of str, optional
        Names in `METHODS`: "source" (none), "bn", "bn-alpha", "tent", "eata", "note", "memo" and
        "lame".
    orders : sequence of {"iid", "single", "correlated", "mixed"}, optional
        Orders of the images, see `streams`.
    corruptions : sequence of str, optional
        Names of `virolbi.corruptions`.
    severity : int, optional
        Severity of the corruptions, 1 to 5; 5 is the strongest.
    batch_size : int, optional
        Images that arrive together, >= 1.
    noise_seed : int, optional
        Seed of corruptions and orders.
    source_images : Images, optional
        Unlabelled training images, of which "eata" uses the first 2,000.
    progress : callable, optional
        Called with every row.

    Returns
    -------
    list of dict
        One row for each view, method, order and type, in this order. Their view is "view, method",
        and their budget names the order.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, if the images do not fit the subject, if a method does
        not fit the network, or if the file holds rows of other images or of other weights under
        the same name and seed.
    """
    check_adaptation(methods, orders, corruptions)
    check_count("batch_size", batch_size)
    if not 1 <= check_count("severity", severity) <= 5:
        raise ValueError(f"severity must be 1 to 5, got {severity}")
    subject = subject.aligned_with(images)
    shared, existing = subject.row(images), read_rows(path)
    check_same_source(path, existing, subject, shared["images"])
    corrupted = _Corrupted(images, corruptions, severity, noise_seed)
    results = _Results(path, existing, progress)
    for view in subject.views:
        for method in methods:
            for order in orders:
                size = 1 if order == "single" else batch_size
                fields = shared | {
                    "view": f"{view.name}, {method}",
                    "severity": severity,
                    "level": float(severity),
                    "count": len(images),
                    "noise_seed": noise_seed,
                    "resolution": corrupted.resolution,
                    "budget": f"{order}, batches of {size}",
                }
                rows = [fields | {"condition": name} for name in corruptions]
                for stream in streams(order, images.labels, len(rows), size, noise_seed):
                    planned = {index: rows[index] for index in stream.types}
                    if results.lack(planned.values()):
                        setting = _setting(view, images, source_images, size)
                        correct = _follow(stream, view, METHODS[method](setting), corrupted)
                        results.add(
                            planned[index] | accuracy_interval(int(hits.sum()), len(hits))
                            for index, hits in correct.items()
                        )
                    results.report(planned.values())
    return results.rows


def check_adaptation(
    methods: Sequence[str], orders: Sequence[str], corruptions: Sequence[str]
) -> None:
    """Check the names that an adaptation is asked for, before any work is done.

    Parameters
    ----------
    methods, orders, corruptions : sequence of str
        Names, see `adapt`; at least one of each.

    Raises
    ------
    ValueError
        If there is another name among them, or none.
    """
    for name, values, known in (
        ("methods", methods, tuple(METHODS)),
        ("orders", orders, STREAMS),
        ("corruptions", corruptions, COMMON + HELD_OUT),
    ):
        unknown = [value for value in values if value not in known]
        if unknown or not values:
            raise ValueError(f"{name} must be some of {', '.join(known)}, got {unknown}")


class _Results:
    """File of rows that is completed; `rows` are those of this evaluation."""

    def __init__(
        self, path: Path, existing: Sequence[Row], progress: Callable[[Row], None] | None
    ) -> None:
        self.rows: list[Row] = []
        self._path, self._progress = path, progress
        self._known = {row_key(row): row for row in existing}

    def lack(self, planned: Iterable[Row]) -> bool:
        return any(row_key(row) not in self._known for row in planned)

    def add(self, rows: Iterable[Row]) -> None:
        new = list(rows)
        add_rows(self._path, new)
        self._known |= {row_key(row): row for row in new}

    def report(self, planned: Iterable[Row]) -> None:
        for row in planned:
            self.rows.append(self._known[row_key(row)])
            if self._progress is not None:
                self._progress(self.rows[-1])


class _Corrupted:
    """Corrupted images, made when they are first asked for and kept."""

    def __init__(
        self, images: Images, names: Sequence[str], severity: int, noise_seed: int
    ) -> None:
        self.resolution = nearest_resolution(*images.pixels.shape[-2:])
        self.labels = images.labels
        self._pixels, self._names = images.pixels, names
        self._severity, self._seed = severity, noise_seed
        self._made: dict[int, np.ndarray] = {}

    def batch(self, batch: Batch) -> np.ndarray:
        """Return the images of a batch, float32 in [0, 1], (n, C, H, W)."""
        result = np.empty((len(batch.rows), *self._pixels.shape[1:]), np.float32)
        for index in np.unique(batch.types):
            chosen = batch.types == index
            result[chosen] = self._of_type(int(index))[batch.rows[chosen]]
        return result

    def _of_type(self, index: int) -> np.ndarray:
        if index not in self._made:
            self._made[index] = corrupt(
                self._pixels.astype(np.float32) / 255,
                self._names[index],
                self._severity,
                resolution=self.resolution,
                seed=self._seed,
            )
        return self._made[index]


def _setting(view: View, images: Images, source_images: Images | None, batch_size: int) -> Setting:
    """Return a fresh copy of the network of a view, with what a method may need."""
    source = None
    if source_images is not None:
        source, _ = to_tensors(source_images.subset(np.s_[:FISHER_IMAGES]), view.device)
        source = source if view.smoother is None else view.smoother(source)
    network = deepcopy(view.network).eval()
    return Setting(network, source, len(images.classes), batch_size)


def _follow(
    stream: Stream, view: View, adapter: Adapter, corrupted: _Corrupted
) -> dict[int, np.ndarray]:
    """Return which images a network classifies correctly while it follows a stream, by type."""
    correct: dict[int, list[np.ndarray]] = {index: [] for index in stream.types}
    for batch in stream.batches:
        inputs = torch.from_numpy(corrupted.batch(batch)).to(view.device)
        if view.smoother is not None:
            inputs = view.smoother(inputs)
        answers = adapter(inputs).argmax(dim=1).cpu().numpy()
        hits = answers == corrupted.labels[batch.rows]
        for index in np.unique(batch.types):
            correct[int(index)].append(hits[batch.types == index])
    return {index: np.concatenate(parts) for index, parts in correct.items()}
