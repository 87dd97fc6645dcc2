"""Smoothing of a data set on a Ray cluster, into shards of Parquet that appear complete."""

import io
import json
import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from virolbi._checks import check_choice, check_count, plain_number, warn_caller
from virolbi._storage import check_empty_folder, file_status, write_atomic, write_json
from virolbi.data import (
    DECODING_ERRORS,
    README,
    ClassFiles,
    Corrupt,
    decode_picture,
    find_image_column,
    held_out_mask,
    iter_files,
    list_class_files,
    prefix_errors,
    split_folders,
    splits_of_files,
)
from virolbi.scale_space import (
    PRESETS,
    SMOOTHER_DIGEST,
    Form,
    Preset,
    check_data_range,
    check_nu,
    check_sparsity_choice,
    warn_of_unused_range,
)
from virolbi.smooth import smooth

MANIFEST = ".smoothing.json"  # hidden from readers of the data set
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

Shard = dict[
    str, Any
]  # what one worker needs, as JSON: the settings, the images, the file to write


def smooth_dataset(
    source: Path,
    out: Path,
    sparsity: float | Literal["auto"],
    *,
    nu: float = Form.nu,
    preset: Preset = "robust",
    size: int | None = None,
    data_range: float | None = None,
    corrupt: Corrupt = "stop",
    rows_per_shard: int = 1000,
    workers: int | None = None,
) -> int:
    """Smooth every image of a folder into shards of Parquet, which `virolbi.data.load` reads.

    Shards that exist are not made again: a second call completes what the first one left, if no
    file of `source` changed in between, by its path, size or time of modification. Ray is started
    on this machine unless it is connected to a cluster (`RAY_ADDRESS`).

    Parameters
    ----------
    source : Path
        Folder that all machines of the cluster can read. It holds Parquet files with a column
        of encoded images, see `virolbi.data.find_image_column`, or images in one folder for each
        class, with or without folders for splits around those. Links to folders are followed, and
        hidden files are left out.
    out : Path
        Folder for the shards: one for each row group of a Parquet file, or for up to
        `rows_per_shard` images of a folder. It must not lie inside `source`. If a folder of images
        has no split for testing, the images that `virolbi.data.load` holds out of it become the
        split "test": in another order, or without those that were skipped, others would be held
        out, and a network trained on the shards would be tested on images that it has seen.
    sparsity : float or "auto"
        Fraction of edges left out, in [0, 1]. A larger sparsity is smoother.
    nu : float, optional
        Coupling of the smoother, in [0.001, 1000]. A smaller `nu` smooths more between contours.
    preset : {"robust", "paper"}, optional
        Form of the smoother.
    size : int, optional
        Length in pixels that the shorter side is resized to before the centre is cropped to a
        square. None keeps the images as they are.
    data_range : float, optional
        Value of the pixels that becomes 255, > 0: 4095 for 12 bits in uint16. None is 255 for 8
        bits, 65535 for 16 bits and 1 for floats.
    corrupt : {"stop", "skip"}, optional
        Whether an image that cannot be decoded is an error or is left out.
    rows_per_shard : int, optional
        Largest number of images in a shard that is made from a folder of images.
    workers : int, optional
        Largest number of shards made at once; None is as many as the cluster can.

    Returns
    -------
    int
        Number of shards made by this call.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a setting is out of its range; if `source` holds no images, or Parquet files whose
        shards would be read as another split; if `out` lies inside `source` or holds anything else;
        if shards of `out` are missing and others are of other sources of the smoother; if files of
        `source` were added, removed or changed since shards of them were put into `out`; or if an
        image cannot be decoded. With "skip" the last one is an error only where no image of a shard
        can be decoded.

    Warns
    -----
    UserWarning
        If the images use little of their range, so that most of their levels are lost: integers of
        16 bits without a `data_range`, floats in [0, 1] with one. If images of Parquet files
        without a test split may be skipped: `virolbi.data.load` then holds other images out of
        `out` than of `source`.
    """
    settings = _checked_settings(sparsity, nu, preset, size, data_range, corrupt)
    check_count("rows_per_shard", rows_per_shard)
    if workers is not None:
        check_count("workers", workers)
    _check_folders(source, out)
    shards = list(_plan_shards(source.resolve(), out.resolve(), rows_per_shard, settings))
    if not shards:
        raise ValueError(
            "source must hold Parquet files or images in folders named by their classes, "
            f"got {source}"
        )
    settings |= {"source": str(source.resolve()), "rows_per_shard": rows_per_shard}
    if "files" in shards[0]:
        if shards[0]["held_out"]:
            settings["held_out"] = "test"  # not in folders by versions that held no images out
    else:
        _check_splits_are_kept(source.resolve(), out.resolve(), shards, corrupt)
    missing = [shard for shard in shards if not Path(shard["out"]).exists()]
    _check_or_write_manifest(out, settings, shards, missing)
    if missing:
        used = _make_shards(missing, workers)
        warn_of_unused_range(used, f"images of {source}")
    return len(missing)


def _checked_settings(
    sparsity: float | Literal["auto"],
    nu: float,
    preset: str,
    size: int | None,
    data_range: float | None,
    corrupt: str,
) -> dict[str, Any]:
    """Check the settings that all shards share, and return them by their names."""
    check_sparsity_choice(sparsity)
    check_nu(nu)
    check_data_range(data_range)
    check_choice("preset", preset, PRESETS)
    check_choice("corrupt", corrupt, get_args(Corrupt))
    PRESETS[preset].check_combination(sparsity)
    if size is not None:
        check_count("size", size)
    return {
        "sparsity": sparsity if isinstance(sparsity, str) else float(sparsity),
        "nu": float(nu),
        "preset": preset,
        "size": size,
        "data_range": data_range,
        "corrupt": corrupt,
    }


def _check_folders(source: Path, out: Path) -> None:
    """Check that `source` is a folder and that `out` lies outside it."""
    if not source.is_dir():
        raise ValueError(f"source must be a folder, there is none at {source}")
    if out.resolve().is_relative_to(source.resolve()):
        # A second call would smooth the shards of the first one.
        raise ValueError(f"out must not lie inside source, got {out} in {source}")


def _stamp_files(source: Path, shards: list[Shard]) -> dict[str, list[int]]:
    """Return the size and the time of modification of each file that shards are made of."""
    stamps = {}
    for name in _list_files(source, shards):
        status = file_status(source / name)
        stamps[name] = [status.st_size, status.st_mtime_ns]
    return stamps


def _list_files(source: Path, shards: Iterable[Shard]) -> dict[str, None]:
    """Return the paths of the files that shards are made of, relative to `source`, as keys."""
    return dict.fromkeys(
        str(Path(path).relative_to(source))
        for shard in shards
        for path in ([shard["table"]] if "table" in shard else [file for file, _ in shard["files"]])
    )


def _check_or_write_manifest(
    out: Path, settings: dict[str, Any], shards: list[Shard], missing: list[Shard]
) -> None:
    """Check that a folder is of these files smoothed with these settings, or make it so.

    A call that stopped at an image that cannot be decoded can be repeated with corrupt="skip", or
    after the image was repaired: files of shards that are not made yet may change.
    """
    path, source = out / MANIFEST, Path(settings["source"])
    stamps = _stamp_files(source, shards)
    smoother: str | None = SMOOTHER_DIGEST
    if not path.exists():
        check_empty_folder(out)
    else:
        existing = json.loads(path.read_text())
        known, smoother = existing.pop("files", None), existing.pop("smoother", None)
        if known is None or existing not in (settings, settings | {"corrupt": "stop"}):
            raise ValueError(
                "out must be new or hold the same data set, smoothed with the same settings, "
                f"got {out}, which holds {json.dumps(existing)}"
            )
        unmade = {shard["out"] for shard in missing}
        made = _list_files(source, (shard for shard in shards if shard["out"] not in unmade))
        _check_unchanged(out, source, known, stamps, set(made))
        smoother = _resolve_smoother(out, smoother, bool(made), bool(missing))
    write_json(path, settings | {"files": stamps, "smoother": smoother})


def _resolve_smoother(out: Path, known: str | None, begun: bool, unfinished: bool) -> str | None:
    """Return the sources of the smoother that shards are of, or will be; they must be of one."""
    if begun and unfinished and known != SMOOTHER_DIGEST:
        raise ValueError(
            "out must be completed with the sources of the smoother that it was begun with, "
            f"{known or 'unknown'}, got {SMOOTHER_DIGEST} for {out}: install the version of then, "
            "or choose another out"
        )
    return SMOOTHER_DIGEST if unfinished else known


def _check_unchanged(
    out: Path,
    source: Path,
    known: dict[str, list[int]],
    stamps: dict[str, list[int]],
    made: set[str],
) -> None:
    """Check that files are those that shards were made of: others would be lost or stale."""
    changes = {
        "added": stamps.keys() - known.keys(),
        "removed": known.keys() - stamps.keys(),
        "changed": {name for name in known.keys() & made if known[name] != stamps[name]},
    }
    texts = [
        f"{len(names)} {change} (such as {min(names)})"
        for change, names in changes.items()
        if names
    ]
    if texts:
        raise ValueError(
            f"source must hold the same files as when {out} was begun, got {source} with "
            f"{', '.join(texts)} since then; choose another out, or delete {out}"
        )


def _plan_shards(
    source: Path, out: Path, rows_per_shard: int, settings: dict[str, Any]
) -> Iterator[Shard]:
    """Yield the shards of a data set: one for each row group of Parquet, or for some images."""
    with prefix_errors(f"data {str(source)!r}"):
        tables = sorted(path for path in iter_files(source) if path.suffix.lower() == ".parquet")
    for table in tables:
        stem = str(out / table.relative_to(source)).removesuffix(".parquet")
        for group in range(pq.ParquetFile(table).num_row_groups):
            target = f"{stem}-{group:05}.parquet"
            yield settings | {"table": str(table), "group": group, "out": target}
    if tables:
        return
    splits, held_out = _list_splits(source)
    for split, (files, labels, classes) in splits.items():
        labelled = [(str(path), label) for path, label in zip(files, labels, strict=True)]
        count = math.ceil(len(files) / rows_per_shard)
        for index in range(count):
            target = str(out / "data" / f"{split}-{index:05}-of-{count:05}.parquet")
            # A stride, so that every class is in each shard.
            shard = {"files": labelled[index::count], "classes": classes, "held_out": held_out}
            yield settings | shard | {"out": target}


def _list_splits(source: Path) -> tuple[dict[str, ClassFiles], bool]:
    """Return the image files of each split, and whether those for testing are held out.

    Without a split for testing they are those that `load` makes.
    """
    with prefix_errors(f"data {str(source)!r}"):
        folders = split_folders(source)
        splits = {
            name: list_class_files(root, folders.get("train")) for name, root in folders.items()
        }
    if splits.keys() != {"train"}:
        return splits, False
    files, labels, classes = splits["train"]
    held_out = held_out_mask(np.array(labels))
    if len(np.unique(np.array(labels)[held_out])) < 2:
        return splits, False  # too few images for `load` to hold any out
    parts = ("train", np.flatnonzero(~held_out)), ("test", np.flatnonzero(held_out))
    return {
        name: ClassFiles(
            [files[row] for row in rows.tolist()], [labels[row] for row in rows.tolist()], classes
        )
        for name, rows in parts
    }, True


def _check_splits_are_kept(source: Path, out: Path, shards: Iterable[Shard], corrupt: str) -> None:
    """Check that the shards of a table are read as the split of the table, if that is read.

    The names of the shards tell their split. They are made from that of the table, which README.md
    can put in another split. Those that are held out of "train" are others if an image is skipped.
    """
    tables = {Path(shard["table"]): Path(shard["out"]) for shard in shards}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        empty = {table: folder / target.relative_to(out) for table, target in tables.items()}
        for path in empty.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        try:
            stored = splits_of_files(source)
        except ValueError:
            return  # several data sets, or unknown names: `load` reads none of them
        with prefix_errors(f"shards of {str(source)!r}"):
            kept = splits_of_files(folder)
    described = (source / README).exists()
    for table, path in empty.items():
        split, copied = stored.get(table.resolve()), kept.get(path)
        if split != copied and (split is not None or described):
            raise ValueError(
                "source must have files whose names alone tell their split, such as train-0.parquet"
                f" and test-0.parquet, because those of the shards do; got {table.name}, which is "
                f"read as {split or 'no split'!r}, and its shards as {copied or 'no split'!r}"
            )
    if corrupt == "skip" and set(kept.values()) == {"train"}:
        warn_caller(
            "corrupt should be 'stop' for Parquet without a test split, got 'skip': if an image is "
            f"left out, load holds other images out of {out} for testing than of {source}"
        )


def _make_shards(shards: list[Shard], workers: int | None) -> float:
    """Make shards, at most `workers` at once; raise ValueError for the first error.

    The result is the largest value of their images, as a fraction of the range.
    """
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    items = ray.data.from_items(
        [{"shard": json.dumps(shard, default=plain_number)} for shard in shards],
        override_num_blocks=len(shards),
    )
    used = 0.0
    for row in items.map(_make_shard, concurrency=workers).iter_rows():
        if row["error"]:
            raise ValueError(row["error"])
        used = max(used, row["used"])
    return used


def _make_shard(row: dict[str, Any]) -> dict[str, Any]:
    """Make one shard in a worker; return how much of their range its images used.

    "error" is the message of an error, or "".
    """
    try:
        return {"error": "", "used": _write_shard(json.loads(row["shard"]))}
    except ValueError as error:
        return {"error": str(error), "used": 0.0}


def _write_shard(shard: Shard) -> float:
    """Read the images of a shard, smooth them and write the file of the shard.

    The result is the most that an image used of its range, see `Decoded`.
    """
    table, column = _read_table(shard)
    decoded_rows, images, used = _smooth_entries(table[column].to_pylist(), shard)
    smoothed = table.take(pa.array(decoded_rows, pa.int64())).set_column(
        table.column_names.index(column), column, pa.array(images, IMAGE_TYPE)
    )
    buffer = io.BytesIO()
    pq.write_table(smoothed, buffer)
    write_atomic(Path(shard["out"]), buffer.getvalue())
    return used


def _smooth_entries(
    entries: list[Any], shard: Shard
) -> tuple[list[int], list[dict[str, Any]], float]:
    """Return the rows whose images can be decoded, their smoothed images, and the used range.

    An entry is a dictionary with "bytes" and "path", or None for a missing image.
    """
    decoded_rows: list[int] = []
    images: list[dict[str, Any]] = []
    used = 0.0
    first_failure = ""
    for row, entry in enumerate(entries):
        try:
            if entry is None or entry["bytes"] is None:
                raise ValueError("there are no bytes of it")
            source = io.BytesIO(entry["bytes"])
            decoded = decode_picture(source, shard["size"], shard["data_range"])
        except DECODING_ERRORS as error:
            path = entry and entry["path"]
            failure = (
                f"image {row} of {shard.get('table', 'the folder')}, {path}, "
                f"could not be decoded: {error}"
            )
            if shard["corrupt"] == "stop":
                raise ValueError(
                    f"{failure}; corrupt='skip' (--corrupt skip) leaves such images out"
                ) from error
            first_failure = first_failure or failure
        else:
            encoded = _smooth_to_png(decoded.picture.pixels, shard)
            images.append({"bytes": encoded, "path": entry["path"]})
            used = max(used, decoded.used)
            decoded_rows.append(row)
    if first_failure and not decoded_rows:
        raise ValueError(
            f"shard {shard['out']} would hold no images: {first_failure}; "
            "nor could the others be decoded"
        )
    return decoded_rows, images, used


def _read_table(shard: Shard) -> tuple[pa.Table, str]:
    """Return the table of a shard before smoothing, and the name of its column of images."""
    if "files" in shard:
        return _read_files(shard["files"], shard["classes"]), "image"
    table = pq.ParquetFile(shard["table"]).read_row_group(shard["group"])
    with prefix_errors(shard["table"]):
        return table, find_image_column(
            table.column_names, lambda name: _holds_images(table.schema.field(name).type)
        )


def _holds_images(type: pa.DataType) -> bool:
    """Return whether a type of a column is that of encoded images: bytes with their path."""
    return pa.types.is_struct(type) and all(
        type.get_field_index(field.name) >= 0 for field in IMAGE_TYPE
    )


def _read_files(files: list[tuple[str, int]], classes: list[str]) -> pa.Table:
    """Return encoded images and their labels as a table with the features of Hugging Face.

    A file that does not exist, at the end of a broken link, is an image without bytes.
    """
    features = {
        "image": {"_type": "Image"},
        "label": {"names": classes, "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [("image", IMAGE_TYPE), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [
        {
            "image": {"bytes": _read_bytes(path), "path": "/".join(Path(path).parts[-2:])},
            "label": label,
        }
        for path, label in files
    ]
    return pa.Table.from_pylist(rows, schema)


def _read_bytes(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None


def _smooth_to_png(pixels: np.ndarray, shard: Shard) -> bytes:
    """Return one image, smoothed with the settings of the shard and encoded as PNG."""
    smoothed = smooth(
        pixels,
        shard["sparsity"],
        nu=shard["nu"],
        channel_axis=None if pixels.ndim == 2 else -1,
        **PRESETS[shard["preset"]].changes(),
    )
    buffer = io.BytesIO()
    Image.fromarray(smoothed).save(buffer, "PNG")
    return buffer.getvalue()
