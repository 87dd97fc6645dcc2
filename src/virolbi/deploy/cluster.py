"""Smooth a data set that is too large for one machine: shards of Parquet, each made whole by a worker of Ray Data."""

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from virolbi._checks import check_count
from virolbi._storage import check_empty_folder, write_atomic
from virolbi.data import DECODING_ERRORS, decode_image, list_class_files, split_folders
from virolbi.scale_space import PRESETS, Form, check_coupling, check_sparsity_choice
from virolbi.smooth import smooth

MANIFEST = ".smoothing.json"  # hidden from readers of the data set
Shard = dict[str, Any]


def smooth_dataset(
    source: Path,
    out: Path,
    sparsity: float | str,
    *,
    nu: float = Form.nu,
    preset: str = "robust",
    size: int | None = None,
    corrupt: str = "stop",
    rows_per_shard: int = 1000,
    workers: int | None = None,
) -> int:
    """Smooth every image of a folder into shards of Parquet, which `virolbi.data.load` reads; returns how many it has made.

    source: a folder that all machines of the cluster see, with Parquet files that have a column "image" or "img" of encoded
        images, or with images in one folder for each class, with or without folders for splits around those.
    out: a folder for the shards, of up to `rows_per_shard` images of a folder, or one for each row group of a Parquet file.
        Shards that are there already are not made again: a second call completes what a first one has left.
    sparsity, nu, preset: of the smoother. size: resize the shorter side and crop the centre before. corrupt: "stop" at an image
        that cannot be decoded, or leave it out ("skip"). workers: at most so many at once; None for all the cluster has.

    Starts Ray on this machine unless it is connected to a cluster (`RAY_ADDRESS`). Raises ValueError for a folder without
    images, for an `out` inside it or that holds anything else, and for images that cannot be decoded: with "skip" too, where
    they are all that a shard would hold.
    """
    check_sparsity_choice(sparsity)
    check_coupling(nu, math.inf)
    for name, value, allowed in (
        ("preset", preset, tuple(PRESETS)),
        ("corrupt", corrupt, ("stop", "skip")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
    optional = {
        name: number
        for name, number in (("size", size), ("workers", workers))
        if number is not None
    }
    for name, number in ({"rows_per_shard": rows_per_shard} | optional).items():
        check_count(name, number)
    if not source.is_dir():
        raise ValueError(f"source must be a folder, there is none at {source}")
    if out.resolve().is_relative_to(
        source.resolve()
    ):  # a second call would smooth the first one's shards
        raise ValueError(f"out must not lie inside source, got {out} in {source}")
    choice = sparsity if isinstance(sparsity, str) else float(sparsity)
    settings = {
        "sparsity": choice,
        "nu": float(nu),
        "preset": preset,
        "size": size,
        "corrupt": corrupt,
    }
    shards = list(_shards(source.resolve(), out.resolve(), rows_per_shard, settings))
    if not shards:
        raise ValueError(
            f"source must hold Parquet files or images in folders named by their classes, {source} does not"
        )
    _claim(out, {"source": str(source.resolve()), "rows_per_shard": rows_per_shard} | settings)
    missing = [shard for shard in shards if not Path(shard["out"]).exists()]
    if missing:
        import ray

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        items = ray.data.from_items(
            [{"shard": json.dumps(shard)} for shard in missing], override_num_blocks=len(missing)
        )
        for row in items.map(_work, concurrency=workers).iter_rows():
            if row["error"]:
                raise ValueError(row["error"])
    return len(missing)


def _claim(out: Path, settings: dict[str, Any]) -> None:
    path = out / MANIFEST
    if not path.exists():
        check_empty_folder(out)
        write_atomic(path, json.dumps(settings).encode())
    elif json.loads(path.read_text()) != settings:
        raise ValueError(
            f"out must be new or hold the same data set, smoothed alike; {out} holds {path.read_text()}"
        )


def _shards(source: Path, out: Path, rows: int, settings: dict[str, Any]) -> Iterator[Shard]:
    """What each shard is made of: a row group of a Parquet file, or some image files with their labels."""
    tables = sorted(source.rglob("*.parquet"))
    for table in tables:
        for group in range(pq.ParquetFile(table).num_row_groups):
            place = out / table.relative_to(source).with_suffix("")
            yield settings | {
                "table": str(table),
                "group": group,
                "out": f"{place}-{group:05}.parquet",
            }
    if tables:
        return
    splits = split_folders(source, str(source))
    for split, root in splits.items():
        files, labels, classes = list_class_files(root, str(source), splits.get("train"))
        members, count = (
            [(str(path), label) for path, label in zip(files, labels, strict=True)],
            -(-len(files) // rows),
        )
        for index in range(count):
            some = members[index::count]  # every class in each
            place = out / "data" / f"{split}-{index:05}-of-{count:05}.parquet"
            yield settings | {"files": some, "classes": classes, "out": str(place)}


def _work(row: dict[str, Any]) -> dict[str, Any]:
    """Make one shard, in a worker."""
    shard: Shard = json.loads(row["shard"])
    try:
        table, column = _read(shard)
        images, whole, broken = [], [], ""
        for index, entry in enumerate(table[column].to_pylist()):
            try:
                pixels = np.asarray(decode_image(io.BytesIO(entry["bytes"]), shard["size"]))
            except DECODING_ERRORS as error:
                name = f"image {index} of {shard.get('table', 'the folder')}, {entry and entry['path']}"
                broken = broken or f"{name}, could not be decoded: {error}"
                if shard["corrupt"] == "stop":
                    raise ValueError(f"{broken}; corrupt='skip' goes on without it") from error
            else:
                images.append({"bytes": _smoothed(pixels, shard), "path": entry["path"]})
                whole.append(index)
        if broken and not whole:
            raise ValueError(
                f"shard {shard['out']} would hold no images: {broken}; nor could the others"
            )
        place, field = table.column_names.index(column), table.schema.field(column)
        buffer = io.BytesIO()
        smoothed = pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        pq.write_table(
            table.take(pa.array(whole, pa.int64())).set_column(place, field.name, smoothed), buffer
        )
        write_atomic(Path(shard["out"]), buffer.getvalue())
    except ValueError as error:
        return {"error": str(error)}
    return {"error": ""}


def _read(shard: Shard) -> tuple[pa.Table, str]:
    if "table" in shard:
        table = pq.ParquetFile(shard["table"]).read_row_group(shard["group"])
        column = next((name for name in ("image", "img") if name in table.column_names), None)
        if column is None:
            raise ValueError(
                f"{shard['table']} must have a column 'image' or 'img', it has {table.column_names}"
            )
        return table, column
    features = {
        "image": {"_type": "Image"},
        "label": {"names": shard["classes"], "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [
            ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("label", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [
        {
            "image": {"bytes": Path(path).read_bytes(), "path": "/".join(Path(path).parts[-2:])},
            "label": label,
        }
        for path, label in shard["files"]
    ]
    return pa.Table.from_pylist(rows, schema), "image"


def _smoothed(pixels: np.ndarray, shard: Shard) -> bytes:
    form = {
        "nu": shard["nu"],
        "channel_axis": None if pixels.ndim == 2 else -1,
        **PRESETS[shard["preset"]].changes(),
    }
    buffer = io.BytesIO()
    Image.fromarray(smooth(pixels, shard["sparsity"], **form)).save(buffer, "PNG")
    return buffer.getvalue()
