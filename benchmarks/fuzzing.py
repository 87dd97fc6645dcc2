"""Broken input for every reader and for the functions of arrays, and what they do with it.

A reader may read the input or refuse it by an error that names it. Anything else is a fault: an
error of another type, a process that dies, more than `SECONDS` without the time to compile, or more
than `MEMORY` beyond what the process had before.
"""

import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import tarfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numba.core import event
from PIL import Image

import virolbi
from virolbi.data import (
    DECODING_ERRORS,
    Picture,
    decode_image,
    load,
    read_picture,
    write_picture,
)
from virolbi.recipes import Recipe, load_recipe
from virolbi.results import read_rows
from virolbi.training import load_run

SECONDS = 5
MEMORY = 2 * 2**30  # bytes
PIXELS = 2**20  # half of those at which Pillow refuses an image here; by default it is 179 million
BATCH = 200  # inputs that one fork is shown


class _Compiling(event.Listener):
    """Stop the clock of an input while code is compiled for its kind."""

    def __init__(self) -> None:
        self.seconds, self._depth, self._start = 0.0, 0, 0.0

    def on_start(self, event: Any) -> None:
        if self._depth == 0:
            signal.alarm(0)
            self._start = time.process_time()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            signal.alarm(SECONDS)
            self.seconds += time.process_time() - self._start


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few changes: of bits, of lengths, of order, and of the end.

    Parameters
    ----------
    content : bytes
        A valid file.
    rng : random.Random
        Source of the changes.

    Returns
    -------
    bytes
        The changed file.
    """
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(data) or 1)
        if rng.random() < 0.5:
            place = min(place, rng.randrange(64))  # headers are at the front
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            number = rng.choice((0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF))
            data[place : place + 4] = struct.pack(rng.choice(("<I", ">I")), number)
        elif kind == 2:
            del data[place : place + rng.randrange(1, 40)]
        elif kind == 3:
            data[place:place] = rng.randbytes(rng.randrange(1, 40))
        elif kind == 4:
            data[place:place] = data[place : place + rng.randrange(1, 200)]
        else:
            del data[place:]
    return bytes(data)


def mutate_png(content: bytes, rng: random.Random) -> bytes:
    """Return a PNG with changes inside its chunks, whose check sums are right again.

    Parameters
    ----------
    content : bytes
        A valid PNG.
    rng : random.Random
        Source of the changes.

    Returns
    -------
    bytes
        The changed file.
    """
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append([content[place + 4 : place + 8], content[place + 8 : place + 8 + length]])
        place += length + 12
    chosen = rng.choice(chunks)
    chosen[1] = mutate(chosen[1], rng)
    if rng.random() < 0.2:
        rng.shuffle(chunks)
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    return content[:8] + b"".join(parts)


def mutate_parts(content: bytes, parts: list[tuple[int, int]], rng: random.Random) -> bytes:
    """Return a file with other bytes inside one of its parts, so that its structure stays valid.

    Parameters
    ----------
    content : bytes
        A valid file.
    parts : list of tuple of int
        First byte of each part, and the byte behind it.
    rng : random.Random
        Source of the changes.

    Returns
    -------
    bytes
        The changed file, which is as long as before.
    """
    data = bytearray(content)
    first, stop = rng.choice([part for part in parts if part[1] > part[0]])
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(first, stop)
        number = rng.choice((0, 1, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, None))
        if number is None:
            data[place] ^= 1 << rng.randrange(8)
            continue
        size = rng.choice([size for size in (1, 2, 4) if place + size <= stop])
        order = rng.choice(("little", "big"))
        data[place : place + size] = (number % 256**size).to_bytes(size, order)
    return bytes(data)


def jpeg_parts(content: bytes) -> list[tuple[int, int]]:
    """Return the contents of the segments in front of the pixels.

    Parameters
    ----------
    content : bytes
        A valid JPEG file.

    Returns
    -------
    list of tuple of int
        Parts for `mutate_parts`.
    """
    parts, place = [], 2
    while content[place + 1] != 0xDA:  # start of scan
        (length,) = struct.unpack(">H", content[place + 2 : place + 4])
        parts.append((place + 4, place + 2 + length))
        place += 2 + length
    return [*parts, (place, len(content))]


def tiff_parts(content: bytes) -> list[tuple[int, int]]:
    """Return the entries of the tags of a TIFF file, and what they point to.

    Parameters
    ----------
    content : bytes
        A valid TIFF file with the byte order "II".

    Returns
    -------
    list of tuple of int
        Parts for `mutate_parts`.
    """
    parts, place = [(8, len(content))], struct.unpack("<I", content[4:8])[0]
    while place:
        (count,) = struct.unpack("<H", content[place : place + 2])
        parts += [(place + 2 + 12 * index, place + 14 + 12 * index) for index in range(count)]
        end = place + 2 + 12 * count
        (place,) = struct.unpack("<I", content[end : end + 4])
    return parts


def webp_parts(content: bytes) -> list[tuple[int, int]]:
    """Return the contents of the chunks of a WebP file.

    Parameters
    ----------
    content : bytes
        A valid WebP file.

    Returns
    -------
    list of tuple of int
        Parts for `mutate_parts`.
    """
    parts, place = [], 12
    while place + 8 <= len(content):
        (length,) = struct.unpack("<I", content[place + 4 : place + 8])
        parts.append((place + 8, place + 8 + length))
        place += 8 + length + length % 2
    return parts


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """Return a text with words replaced by others and by values of other types.

    Parameters
    ----------
    content : bytes
        A valid text.
    rng : random.Random
        Source of the changes.

    Returns
    -------
    bytes
        The changed text.
    """
    words = content.split(b" ")
    values = b'null|-1|1e999|NaN|[]|{}|"x"|true|0|99999999999999999999|\xff|"\\ud800"'.split(b"|")
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(words))
        words[place] = rng.choice((*values, rng.choice(words)))
    text = b" ".join(words)
    return mutate(text, rng) if rng.random() < 0.3 else text


PARTS = {"jpg": jpeg_parts, "tif": tiff_parts, "webp": webp_parts}
MODES = {
    "png": ("L", "RGB", "RGBA", "P", "I;16", "deep"),
    "tif": ("L", "RGB", "RGBA", "P", "I;16", "deep", "signed", "float", "stack"),
    "jpg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA"),
    "npy": ("deep", "signed", "float", "stack"),
}


def _pictures(suffix: str) -> Callable[[random.Random, Path], Callable[[], None]]:
    """Return a maker of broken image files of a format, which both readers are shown."""

    def make(rng: random.Random, folder: Path) -> Callable[[], None]:
        path = folder / f"broken.{suffix}"
        _write_picture(path, rng.choice(MODES[suffix]), rng)
        content, structured = path.read_bytes(), rng.random() < 0.7
        if suffix == "png" and structured:
            content = mutate_png(content, rng)
        elif suffix in PARTS and structured:
            content = mutate_parts(content, PARTS[suffix](content), rng)
        else:
            content = mutate(content, rng)
        path.write_bytes(content)

        def show() -> None:
            try:
                picture = read_picture(path)
                assert picture.pixels.size
            except ValueError as error:
                _check_refusal(error, str(path))
            with suppress(*DECODING_ERRORS):
                decode_image(path, 8)

        return show

    return make


def _write_picture(path: Path, mode: str, rng: random.Random) -> None:
    """Write a small valid picture."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    pixels = numbers.integers(0, 256, (13, 17, 3), np.uint8)
    dtype = {"deep": np.uint16, "stack": np.uint16, "signed": np.int16, "float": np.float32}
    if mode in dtype:
        many = pixels.astype(dtype[mode]) * dtype[mode](rng.choice((1, 16, 99)))
        alpha = many[..., 0].copy() if mode == "deep" and path.suffix != ".npy" else None
        is_stack = mode == "stack"
        many = many.transpose(2, 0, 1) if is_stack else many
        write_picture(path, Picture(many, alpha, slice_axes=int(is_stack)))
        return
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = rng.randrange(1, 9)
    compression = {"compression": rng.choice((None, "tiff_lzw", "tiff_adobe_deflate"))}
    options = compression if path.suffix == ".tif" else {}
    image.save(path, exif=exif, **options)


def _check_refusal(error: BaseException, *names: str) -> None:
    """Raise an AssertionError unless an error names one of some texts, and memory was enough."""
    assert any(name in str(error) for name in names), f"unnamed: {error!r}"
    cause: BaseException | None = error
    while cause is not None:
        assert not isinstance(cause, MemoryError), f"memory: {error!r}"
        cause = cause.__cause__ or cause.__context__


def _refused(read: Callable[[], Any], *names: str) -> Callable[[], None]:
    """Return a function that reads, and wants an error to name one of some texts."""

    def show() -> None:
        try:
            read()
        except (ValueError, TypeError) as error:
            _check_refusal(error, *names)

    return show


def _parquet(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Write a broken Parquet file of images and labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    Image.new("L", (8, 8), 9).save(buffer, "PNG")
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"dtype": "int64", "_type": "Value"}}
    schema = pa.schema(
        [("image", image), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [{"image": {"bytes": buffer.getvalue(), "path": None}, "label": i % 2} for i in range(9)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink)
    content = sink.getvalue()
    (length,) = struct.unpack("<I", content[-8:-4])  # of the footer, which describes the columns
    footer = (len(content) - 8 - length, len(content) - 8)
    structured = rng.random() < 0.5
    changed = mutate_parts(content, [footer], rng) if structured else mutate(content, rng)
    (folder / "train.parquet").write_bytes(changed)
    return _refused(lambda: load(str(folder), "train"), str(folder))


def _shard(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Write a broken shard of WebDataset."""
    sink = io.BytesIO()
    buffer = io.BytesIO()
    Image.new("L", (8, 8), 9).save(buffer, "PNG")
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for row in range(4):
            for suffix, content in (("png", buffer.getvalue()), ("cls", b"%d" % (row % 2))):
                member = tarfile.TarInfo(f"{row:04}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    (folder / "train-000.tar").write_bytes(mutate(sink.getvalue(), rng))
    return _refused(lambda: load(str(folder), "train"), str(folder))


def _csv(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Write a broken CSV file."""
    path = folder / "set.csv"
    lines = "path , label , split\n" + "".join(f"a{i}.png , {i % 2} , train\n" for i in range(9))
    path.write_bytes(mutate_text(lines.encode(), rng))
    return _refused(lambda: load(str(path), "train"), str(path))


def _toml(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Write a broken recipe."""
    path = folder / "recipe.toml"
    lines = 'data = "digits"\nmodel = "resnet8"\nepochs = 3\nmix = [ 0.2 , 0.8 ]\nsparsity = 0.8\n'
    path.write_bytes(mutate_text(lines.encode(), rng))
    return _refused(lambda: load_recipe(str(path)), str(path), *Recipe.model_fields)


def _json_lines(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Write broken rows of results."""
    path = folder / "rows.jsonl"
    row = dict.fromkeys(("arm", "view", "condition", "data", "images", "weights"), "a")
    row |= dict.fromkeys(("seed", "severity", "level", "count", "accuracy"), 1)
    path.write_bytes(mutate_text(b"".join(json.dumps(row).encode() + b"\n" for _ in "abc"), rng))
    return _refused(lambda: read_rows(path), str(path))


def _weights(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Break the weights or the description of a trained network."""
    run = folder.parent / "run"
    if not run.exists():
        from virolbi.training import train

        recipe = load_recipe("digits-resnet8-plain").replace(epochs=1, batch_size=16, limit=32)
        train(recipe, folder=run, cpu=True)
    copy = folder / "run"
    shutil.copytree(run, copy)
    name = rng.choice(("weights.safetensors", "weights.safetensors", "recipe.json", "history.json"))
    content = (copy / name).read_bytes()
    if not name.startswith("weights"):
        content = mutate_text(content, rng)
    elif rng.random() < 0.5:
        (length,) = struct.unpack("<Q", content[:8])  # of the header, which describes the tensors
        content = mutate_parts(content, [(8, 8 + length)], rng)
    else:
        content = mutate(content, rng)
    (copy / name).write_bytes(content)
    return _refused(lambda: load_run(copy), str(copy))


def _array(rng: random.Random) -> Any:
    """Return an image, or something that is nearly one."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    dtypes = ("uint8", "uint16", "float32", "float64", "int16", "bool", "complex64", "object")
    shape = tuple(
        rng.choice((0, 1, 2, 3, 5, 16, 33)) for _ in range(rng.choice((1, 2, 2, 3, 3, 4)))
    )
    array = (numbers.random(shape) * rng.choice((1, 1, 255, 1e30))).astype(rng.choice(dtypes[:6]))
    if rng.random() < 0.1:
        array = array.astype(rng.choice(dtypes))
    if array.dtype.kind == "f" and array.size and rng.random() < 0.2:
        array.flat[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, -np.inf, -1))
    if rng.random() < 0.1:
        return array.tolist()
    return array[..., ::-1] if array.ndim and rng.random() < 0.2 else array


def _smooth(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Smooth something like an image with something like a setting."""
    values = (0, 1, 0.8, 0.5, 0.01, "auto", -1, 2, np.nan, np.inf, None, True, "x", 3, 1000)
    image, settings = _array(rng), {}
    for name in ("nu", "delta", "output", "min_area", "channel_axis", "joint", "data_range"):
        if rng.random() < 0.2:
            settings[name] = rng.choice((*values, "regions", -1, 0))
    sparsity = rng.choice((0.8, "auto", rng.choice(values)))
    names = ("image", "sparsity", "nu", "delta", "output", "min_area", "channel_axis", "joint")

    def read() -> None:
        result = virolbi.smooth(image, sparsity, **settings)
        array = np.asarray(image)
        assert result.shape == array.shape, "another shape"
        assert np.isfinite(result).all(), "not finite"

    return _refused(read, *names, "data_range")


def _corrupt(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Corrupt something like images with something like a setting."""
    from virolbi.corruptions import COMMON, HELD_OUT, corrupt

    numbers = np.random.default_rng(rng.randrange(2**32))
    shape = (rng.choice((0, 1, 2)), rng.choice((1, 3, 3, 2)), *(rng.choice((7, 8, 9, 33)),) * 2)
    images = numbers.random(shape, np.float32) if rng.random() < 0.8 else _array(rng)
    name = rng.choice((*COMMON, *HELD_OUT, "rain", None))
    severity = rng.choice((1, 2, 3, 4, 5, 0, 6, 1.0, None, True, "3"))
    settings = {
        "seed": rng.choice((0, 1, -1, 2**70, 0.5, None)),
        "resolution": rng.choice((None, 32, 5)),
    }

    def read() -> None:
        result = corrupt(images, name, severity, **settings)
        assert result.shape == images.shape, "another shape"
        assert np.isfinite(result).all(), "not finite"

    return _refused(read, "images", "name", "severity", "seed", "resolution")


def _noise(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Estimate the noise of something like an image."""
    image = _array(rng)
    axis = rng.choice((None, None, 0, -1, 5, "x"))
    names = ("image", "channel_axis", "data_range")
    return _refused(lambda: virolbi.scale_space.noise_strength(image, channel_axis=axis), *names)


Maker = Callable[[random.Random, Path], Callable[[], None]]
READERS: dict[str, Maker] = {
    **{suffix: _pictures(suffix) for suffix in MODES},
    "parquet": _parquet,
    "webdataset": _shard,
    "csv": _csv,
    "toml": _toml,
    "json lines": _json_lines,
    "safetensors": _weights,
}
ARRAYS: dict[str, Maker] = {"smooth": _smooth, "corrupt": _corrupt, "noise_strength": _noise}


def fuzz(kind: str, make: Maker, numbers: range, folder: Path) -> dict[str, object]:
    """Show broken inputs of one kind, and return the row of what happened.

    Parameters
    ----------
    kind : str
        Name of the kind; with the number of an input, it is the seed of that input.
    make : callable
        Function of a generator and an empty folder that makes an input, and returns the function
        that reads it.
    numbers : range
        Numbers of the inputs.
    folder : Path
        Folder for everything.

    Returns
    -------
    dict
        The row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start, faults, slowest, first = time.perf_counter(), Counter[str](), 0.0, numbers.start
    examples: dict[str, str] = {}
    memory = 0
    while first < numbers.stop:
        last = min(first + BATCH, numbers.stop)
        report = folder / "report.jsonl"
        report.write_bytes(b"")
        child = os.fork()
        if child == 0:
            _show_all(kind, make, range(first, last), folder, report)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        slowest = max([slowest, *(line["seconds"] for line in lines)])
        memory = max([memory, *(line["memory"] for line in lines)])
        for line in lines:
            if line["fault"]:
                fault = line["fault"].partition(":")[0]
                faults[fault] += 1
                examples.setdefault(fault, f"input {line['input']}: {line['fault'][:400]}")
        first += len(lines)
        if first < last:  # the next input ended the process
            fault = "hang" if status == -signal.SIGALRM else "crash"
            faults[fault] += 1
            examples.setdefault(fault, f"input {first}: exit code {status}")
            first += 1
    return {
        "part": "fuzz",
        "input": kind,
        "first": numbers.start,
        "count": len(numbers),
        "faults": sum(faults.values()),
        "kinds of faults": dict(faults),
        "first faults": list(examples.values())[:3],
        "slowest": round(slowest, 2),
        "most memory": f"{memory / 2**20:.0f} MiB",
        "seconds": round(time.perf_counter() - start, 1),
    }


def _show_all(kind: str, make: Maker, numbers: range, folder: Path, report: Path) -> None:
    """Show inputs in this process, which ends then; write a line about each.

    An input that takes more than `SECONDS` ends the process, whatever code it is in.
    """
    code = 1
    try:
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = PIXELS
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        compiling = _Compiling()
        event.register("numba:compile", compiling)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with report.open("a") as file:
            for number in numbers:
                place = folder / "input"
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                show, fault = make(random.Random(f"{kind} {number}"), place), ""
                start = time.process_time() - compiling.seconds
                try:
                    signal.alarm(SECONDS)
                    show()
                except BaseException as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    fault = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
                finally:
                    signal.alarm(0)
                seconds = time.process_time() - compiling.seconds - start
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                memory = 1024 * max(0, peak - before)
                line = {"input": number, "fault": fault, "seconds": seconds, "memory": memory}
                file.write(json.dumps(line) + "\n")
                file.flush()
        code = 0
    finally:
        os._exit(code)
