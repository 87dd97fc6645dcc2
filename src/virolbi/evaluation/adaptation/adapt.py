"""Accuracy of classifiers that adapt to the unlabelled images of a stream, as rows in a file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from virolbi._checks import check_choices, check_count
from virolbi.corruptions import COMMON, HELD_OUT, check_severity, corrupt, nearest_resolution
from virolbi.data import Images
from virolbi.evaluation.adaptation.methods import METHODS, Adapter, Setting
from virolbi.evaluation.adaptation.streams import STREAMS, Stream, StreamName, streams
from virolbi.evaluation.consistency import check_same_source
from virolbi.evaluation.result_file import ResultFile
from virolbi.evaluation.subjects import Subject, View, to_tensors
from virolbi.results import Row, accuracy_interval, read_rows
from virolbi.robustness import BATCH_SIZE, check_independent, check_logits

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
    as it was trained. Rows that the file holds are not computed again, and processes that do the
    same in the same folder share the streams. The corrupted images are kept in memory, and those
    that a view has smoothed: 12 KB each for every type and image of 32 pixels in colour.

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
        Images that arrive together, >= 1; one in the order "single".
    noise_seed : int, optional
        Seed of corruptions and orders.
    source_images : Images, optional
        Unlabelled training images of the shape of `images`, of which "eata" uses the first 2,000.
    progress : callable, optional
        Called with every row.

    Returns
    -------
    list of dict
        One row for each view, method, order and type, in this order. Their view is "view, method",
        and their budget names the order, and all types if they are not the common ones.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, if the images do not fit the subject, if a view
        remembers images, if a method does not fit the network or its batches, if logits are not
        finite, or if the file holds rows of other images or of other weights under the same name
        and seed.
    """
    check_adaptation(methods, orders, corruptions)
    batch_size = _check_numbers(severity, batch_size, noise_seed)
    subject = subject.aligned_with(images)
    _check_fit(subject, images, source_images)
    shared, existing = subject.row(images), read_rows(path)
    check_same_source(path, existing, subject, shared["images"])
    resolution = nearest_resolution(*images.pixels.shape[-2:])
    results = ResultFile(path, existing, progress)
    shared_fields = shared | {
        "severity": severity,
        "level": float(severity),
        "count": len(images),
        "noise_seed": noise_seed,
        "resolution": resolution,
    }

    @cache
    def corrupted(index: int) -> Tensor:
        """Return all images under a type of corruption, float32 in [0, 1], (N, C, H, W)."""
        intensities, name = images.intensities(), corruptions[index]
        changed = corrupt(intensities, name, severity, resolution=resolution, seed=noise_seed)
        return torch.from_numpy(changed)

    parts = [
        part
        for view in subject.views
        for method in methods
        for order in orders
        for part in _parts(view, method, order, images, corruptions, shared_fields, batch_size)
    ]
    view = None
    for part in results.missing(parts, _rows_of):
        if part.view is not view:
            view = part.view
            shown, source = _shown(view, corrupted), _source_images(view, source_images)
        adapter = _start(part, source, len(images.classes))
        correct = _follow(part, shown, adapter, images.labels)
        results.write(
            [
                part.rows[index] | accuracy_interval(int(hits.sum()), len(hits))
                for index, hits in correct.items()
            ]
        )
    return results.measured(row for part in parts for row in _rows_of(part))


class _Part(NamedTuple):
    """One stream that one view meets with one method."""

    view: View
    method: str
    stream: Stream
    rows: dict[int, Row]  # without results, by the index of their type


def _rows_of(part: _Part) -> Iterable[Row]:
    """Return the rows of a part, without results."""
    return part.rows.values()


def _parts(
    view: View,
    method: str,
    order: StreamName,
    images: Images,
    corruptions: Sequence[str],
    shared_fields: Row,
    batch_size: int,
) -> Iterator[_Part]:
    """Yield the streams of an order that a view meets with a method."""
    seed = shared_fields["noise_seed"]
    # the other types decide the order of the images, and are in the stream if it is mixed
    types = "" if tuple(corruptions) == COMMON else f", of {' '.join(corruptions)}"
    for stream in streams(order, images.labels, len(corruptions), batch_size, seed):
        fields = shared_fields | {
            "view": f"{view.name}, {method}",
            "budget": f"{order}, batches of {stream.batch_size}{types}",
        }
        rows = {index: fields | {"condition": corruptions[index]} for index in stream.types}
        yield _Part(view, method, stream, rows)


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
        If there is another name among them, one twice, or none.
    """
    check_choices("methods", methods, METHODS, least=1)
    check_choices("orders", orders, STREAMS, least=1)
    check_choices("corruptions", corruptions, COMMON + HELD_OUT, least=1)


def _check_numbers(severity: object, batch_size: object, noise_seed: object) -> int:
    """Check the settings of an adaptation that are numbers, and return the batch size."""
    check_severity(severity)
    check_count("noise_seed", noise_seed, least=0)
    return check_count("batch_size", batch_size)


def _check_fit(subject: Subject, images: Images, source_images: Images | None) -> None:
    """Check that no view looks at other images by itself, and that source images are like these."""
    for view in subject.views:
        check_independent(f"{view.name!r} of model {subject.name}", view.model)
    if source_images is None:
        return
    shape, source_shape = images.pixels.shape[1:], source_images.pixels.shape[1:]
    if source_shape != shape or not len(source_images):
        raise ValueError(
            f"source_images must be one or more of the shape of the images, {shape}, got "
            f"{len(source_images)} of {source_shape}; give both a size"
        )


def _start(part: _Part, source: Tensor | None, classes: int) -> Adapter:
    """Return the method of a part, about to adapt a copy of the network of its view."""
    network = deepcopy(replace(part.view, smoother=None).model).eval()
    try:
        return METHODS[part.method](Setting(network, source, classes, part.stream.batch_size))
    except ValueError as error:
        raise ValueError(f"method {part.method!r}: {error}") from error


def _shown(view: View, corrupted: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
    """Return a function of a type of corruption, for its images as a view shows them."""
    return cache(lambda index: _show(view, corrupted(index)))


def _show(view: View, images: Tensor) -> Tensor:
    """Return images, (N, C, H, W) on the CPU, after the smoother of a view if it has one."""
    if view.smoother is None:
        return images
    with torch.no_grad():
        parts = [
            view.smoother(part.to(view.device)).cpu() for part in torch.split(images, BATCH_SIZE)
        ]
    return torch.cat(parts)


def _source_images(view: View, source_images: Images | None) -> Tensor | None:
    """Return the first training images as a view shows them, on the device of its network."""
    if source_images is None:
        return None
    images, _ = to_tensors(source_images.subset(np.s_[:FISHER_IMAGES]), torch.device("cpu"))
    return _show(view, images).to(view.device)


def _follow(
    part: _Part, shown: Callable[[int], Tensor], adapter: Adapter, labels: np.ndarray
) -> dict[int, np.ndarray]:
    """Return which images a network classifies correctly while it follows a stream, by type."""
    correct: dict[int, list[np.ndarray]] = {index: [] for index in part.stream.types}
    for types, rows in part.stream.batches:
        pairs = zip(types.tolist(), rows.tolist(), strict=True)
        images = torch.stack([shown(index)[row] for index, row in pairs])
        hits = _answers(part, adapter, images.to(part.view.device)) == labels[rows]
        for index in np.unique(types):
            correct[int(index)].append(hits[types == index])
    return {index: np.concatenate(parts) for index, parts in correct.items()}


def _answers(part: _Part, adapter: Adapter, images: Tensor) -> np.ndarray:
    """Return the classes that a method gives the images of a batch."""
    try:
        logits = adapter(images)
    except ValueError as error:  # a batch norm refuses one value
        raise ValueError(
            f"method {part.method!r} must be able to take the batches of these orders and this "
            f"batch_size, got an error for a batch of {len(images)}: {error}"
        ) from error
    check_logits(f"view {part.view.name!r} with method {part.method!r}", logits, len(images), 1)
    answers: np.ndarray = logits.argmax(dim=1).cpu().numpy()
    return answers
