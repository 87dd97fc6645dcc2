"""The table of docs/formats.md: what is read and written, by commands and training alike."""

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from virolbi.cli import app
from virolbi.data import Picture, decode_image, read_picture, write_picture
from virolbi.data.pictures import flatten, to_8_bits

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
START, END = "<!-- formats -->\n", "<!-- /formats -->\n"
FORMATS = {"PNG": ".png", "TIFF": ".tif", "JPEG": ".jpg", "WebP": ".webp", "BMP": ".bmp"}
FORMATS |= {"GIF": ".gif", "NumPy": ".npy"}
MODES = ("grey", "colour", "palette", "CMYK", "6 bands", "5 slices")
BITS = ("1", "8", "16", "signed 16", "float")
DTYPES = {"1": np.uint8, "8": np.uint8, "16": np.uint16, "signed 16": np.int16}
TURNED = 6  # of EXIF: stored lying on its side
HELD = {  # what each format holds of the product of modes, bits and alpha
    "PNG": {("grey", "1"), ("grey", "8"), ("grey", "16"), ("colour", "8"), ("colour", "16")}
    | {("palette", "8")},
    "JPEG": {("grey", "8"), ("colour", "8"), ("CMYK", "8")},
    "WebP": {("colour", "8")},
    "BMP": {("grey", "8"), ("colour", "8"), ("palette", "8")},
    "GIF": {("grey", "8")},
    "TIFF": {*product(MODES[:2], BITS[1:]), ("grey", "1"), ("palette", "8"), ("CMYK", "8")}
    | {*product(MODES[4:], BITS[1:])},
    "NumPy": {*product(("grey", "colour", "6 bands", "5 slices"), BITS[1:])},
}
TRANSPARENT = {("PNG", "8"), ("PNG", "16"), ("TIFF", "8"), ("TIFF", "16"), ("WebP", "8")}
CASES = [
    (name, mode, bits, alpha)
    for name in FORMATS
    for mode, bits in sorted(HELD[name], key=lambda held: (MODES.index(held[0]), held[1]))
    for alpha in (False, True)
    if not alpha or ((name, bits) in TRANSPARENT and mode in ("grey", "colour"))
]


def make_file(folder, name, mode, bits, alpha, turned=False):
    """Write a file of 12x9 pixels and return its path."""
    path = folder / f"in{FORMATS[name]}"
    shape = {"grey": (9, 12), "6 bands": (9, 12, 6), "5 slices": (5, 9, 12)}.get(mode, (9, 12, 3))
    rng = np.random.default_rng(0)
    low, high = (-9000, 9000) if bits == "signed 16" else (0, 65536 if bits == "16" else 256)
    pixels = rng.integers(low, high, shape).astype(DTYPES.get(bits, np.float32))
    pixels = pixels / np.float32(255) if bits == "float" else pixels
    exif = Image.Exif()
    exif[274] = TURNED
    options = {"exif": exif.tobytes()} if turned else {}
    if bits in ("1", "8") and mode in ("grey", "colour", "palette", "CMYK") and name != "NumPy":
        image = Image.fromarray(pixels)
        if alpha:
            image.putalpha(Image.fromarray(rng.integers(0, 256, (9, 12)).astype(np.uint8)))
        image = image.convert({"palette": "P", "CMYK": "CMYK"}.get(mode, image.mode))
        image = image.convert("1") if bits == "1" else image
        image.save(path, lossless=True, **options)
        return path
    opacity = rng.integers(0, 65536, (9, 12)).astype(np.uint16) if alpha else None
    write_picture(path, Picture(pixels, opacity, slice_axes=int(mode == "5 slices")))
    if turned:
        set_orientation(path, options["exif"])
    return path


def set_orientation(path, exif):
    """Insert EXIF data into a PNG file, or the tag into a TIFF file."""
    content = path.read_bytes()
    if path.suffix == ".png":
        small = io.BytesIO()
        Image.new("L", (1, 1)).save(small, "PNG", exif=exif)
        start = small.getvalue().index(b"eXIf") - 4
        length = int.from_bytes(small.getvalue()[start : start + 4], "big") + 12
        path.write_bytes(content[:33] + small.getvalue()[start : start + length] + content[33:])
        return
    # Pillow writes tags in order; the tag "planar configuration" (284), which is the default, is
    # replaced by the orientation (274) and the entries are sorted again.
    offset = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[offset : offset + 2], "little")
    entries = [
        content[offset + 2 + 12 * index : offset + 14 + 12 * index] for index in range(count)
    ]
    wanted = [
        (274).to_bytes(2, "little") + entry[2:8] + TURNED.to_bytes(4, "little")
        if int.from_bytes(entry[:2], "little") == 284
        else entry
        for entry in entries
    ]
    wanted.sort(key=lambda entry: int.from_bytes(entry[:2], "little"))
    path.write_bytes(content[: offset + 2] + b"".join(wanted) + content[offset + 2 + 12 * count :])


def channel_axis_of(name, mode):
    """Return what has to be stated: six bands at the end of an array could be widths of slices."""
    return -1 if (name, mode) == ("NumPy", "6 bands") else "auto"


def can_turn(name, mode):
    return name not in ("BMP", "GIF", "NumPy") and mode not in ("6 bands", "5 slices")


def row_of(folder, name, mode, bits, alpha):
    """Return a row of the table, from what is seen."""
    path = make_file(folder, name, mode, bits, alpha)
    axis = channel_axis_of(name, mode)
    read = read_picture(path, channel_axis=axis)
    try:
        decode_image(path, None, 65535 if bits == "signed 16" else None)
        training = "8 bits, on white" if alpha else "8 bits"
    except ValueError:
        training = "refused: " + ("negative" if read.is_plain else "not one picture")
    out = folder / f"out{FORMATS[name]}"
    arguments = ["smooth", str(path), str(out), "--sparsity", "0.5", "--force"]
    arguments += ["--channel-axis", str(axis), "--data-range"]
    top = {"8": 255, "1": 255, "float": 1}.get(bits, 65535)
    result = CliRunner().invoke(app, [*arguments, str(top)])
    assert result.exit_code == 0, result.output
    written = read_picture(out, channel_axis=axis)
    assert (written.pixels.dtype, written.pixels.shape) == (read.pixels.dtype, read.pixels.shape)
    assert (written.alpha is None) == (read.alpha is None)
    dtype = f"{read.pixels.dtype}, {'x'.join(map(str, read.pixels.shape))}"
    dtype += "" if axis == "auto" else f" with `--channel-axis {axis}`"
    flags = ["yes" if flag else "-" for flag in (alpha, can_turn(name, mode))]
    return "| " + " | ".join([name, mode, bits, *flags, dtype, training]) + " |"


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_commands_and_training_read_the_same(tmp_path, case):
    name, mode, bits, alpha = case
    for turned in (False, True) if can_turn(name, mode) else (False,):
        path = make_file(tmp_path, name, mode, bits, alpha, turned)
        read = read_picture(path, channel_axis=channel_axis_of(name, mode))
        assert (read.alpha is not None) == alpha
        assert read.pixels.dtype == DTYPES.get(bits, np.float32)
        if turned:
            straight = read_picture(make_file(tmp_path, name, mode, bits, alpha)).pixels
            path = make_file(tmp_path, name, mode, bits, alpha, turned)
            assert read.pixels.shape[:2] == (12, 9)
            copy = tmp_path / f"copy{FORMATS[name]}"
            write_picture(copy, read)
            again = read_picture(copy)
            assert again.metadata["turned"] == read.metadata["turned"] == (name.upper(), TURNED)
            np.testing.assert_array_equal(again.alpha, read.alpha)
            if name != "JPEG":  # whose blocks differ
                np.testing.assert_array_equal(read.pixels, np.rot90(straight, -1))
                np.testing.assert_array_equal(again.pixels, read.pixels)
        if not read.is_plain:
            with pytest.raises(ValueError, match="must be one picture|with a channel axis"):
                decode_image(path, None)
        elif read.pixels.min() < 0:
            with pytest.raises(ValueError, match=r"must be in \[0, data_range\]"):
                decode_image(path, None)
        else:
            expected = to_8_bits(flatten(read, "it").pixels, None, "it")
            for source in (path, io.BytesIO(path.read_bytes())):
                np.testing.assert_array_equal(decode_image(source, None), expected)


@pytest.mark.slow
def test_the_table_in_the_documentation_is_what_is_seen(tmp_path):
    rows = [row_of(tmp_path, *case) for case in CASES]
    head = "| format | mode | bits | alpha | turned by EXIF | read and written as | in training |"
    table = "\n".join([head, "|" + "---|" * 7, *rows, ""])
    before, rest = PAGE.read_text().split(START)
    page = before + START + table + END + rest.split(END)[1]
    if page != PAGE.read_text():
        (tmp_path / "formats.md").write_text(page)
        pytest.fail(f"docs/formats.md is out of date: copy {tmp_path}/formats.md")
