import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin

from virolbi.data import (
    KEEP_16_BITS,
    KEEP_ALPHA,
    Picture,
    decode_image,
    picture_format,
    read_picture,
    read_plain_picture,
    write_picture,
)
from virolbi.data.deep import png_colours


@pytest.fixture
def pixels(photographs):
    return photographs[3][:20]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "avif", "tif", "deep.png", "deep.tif"])
def test_a_turned_file_is_written_as_it_was_stored(photographs, tmp_path, kind, orientation):
    """The blocks of JPEG files stay where they were, and so do sizes and previews in EXIF data."""
    stored, path, copy = photographs[3][:21, :27], tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    if kind.startswith("deep"):
        stored = stored.astype(np.uint16) * 257
        write_picture(path, Picture(stored, metadata={"exif": exif_of(orientation)}))
    else:
        Image.fromarray(stored).save(path, exif=exif_of(orientation), quality=80, lossless=True)
    picture = read_picture(path)
    assert picture.pixels.shape == ((21, 27, 3) if orientation < 5 else (27, 21, 3))
    write_picture(copy, picture)
    again = read_picture(copy)
    lossy = 3 if kind in ("jpg", "avif") else 0  # 9 for blocks that have moved
    difference = again.pixels.astype(float) - picture.pixels
    assert np.sqrt((difference**2).mean()) <= lossy
    assert again.metadata.get("turned") == picture.metadata.get("turned")
    with Image.open(copy) as written:
        assert written.getexif().get(0x0112, 1) == orientation
        assert written.getexif().get_ifd(0x8769)[0xA002] == 27
        assert (written.tag_v2[256] if "tif" in kind else written.width) == 27


def exif_of(orientation):
    """Return EXIF data of a file of 27x21 pixels."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Müller".encode(), orientation
    exif.get_ifd(0x8769).update({0xA002: 27, 0xA003: 21})
    return exif.tobytes()


XMP = b"<x:xmpmeta><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>"


@pytest.mark.parametrize("source", [{"exif": exif_of(6)}, {"xmp": XMP}, {"exif": b"", "xmp": XMP}])
@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_turned_file_in_another_format_is_upright(photographs, tmp_path, suffix, source):
    path = tmp_path / f"in{suffix}"
    Image.fromarray(photographs[3][:21, :27]).save(path, **source)
    picture = read_picture(path)
    for kind in (".png", ".tif", ".bmp", ".npy", suffix):
        write_picture(tmp_path / f"out{kind}", picture)
        again = read_picture(tmp_path / f"out{kind}")
        assert again.pixels.shape == picture.pixels.shape == (27, 21, 3)
        assert ("turned" in again.metadata) == (kind == suffix)
        if kind == ".png" and source == {"exif": exif_of(6)}:
            with Image.open(tmp_path / "out.png") as written:
                assert written.getexif()[0x010F].encode("latin-1").decode() == "Müller"
                camera = written.getexif().get_ifd(0x8769)
                assert (camera[0xA002], camera[0xA003]) == (21, 27)


def test_a_colour_profile_of_another_mode_is_not_kept(pixels, tmp_path):
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "in.jpg", icc_profile=b"of an ink")
    assert read_picture(tmp_path / "in.jpg").metadata == {"converted": "CMYK"}


COMPRESSIONS = {"plain": 1, "lzw": 5, "deflate": 8}  # of OpenCV


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["png", *COMPRESSIONS])
def test_16_bits_are_read_and_written_in_16_bits(tmp_path, kind, channels):
    """OpenCV writes the file and reads the copy."""
    deep = np.random.default_rng(0).integers(0, 2**16, (21, 33, channels)).astype(np.uint16)
    suffix, options = ".png", []
    if kind != "png":
        suffix, options = ".tiff", [cv2.IMWRITE_TIFF_COMPRESSION, COMPRESSIONS[kind]]
    cv2.imwrite(str(tmp_path / f"in{suffix}"), deep, options)
    picture = read_picture(tmp_path / f"in{suffix}")
    rgb = deep[..., [2, 1, 0]] if channels > 1 else deep[..., 0]
    np.testing.assert_array_equal(picture.pixels, rgb)
    if channels == 4:
        np.testing.assert_array_equal(picture.alpha, deep[..., 3])
    for written in (".png", ".tiff"):
        write_picture(tmp_path / f"out{written}", picture)
        copy = cv2.imread(str(tmp_path / f"out{written}"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(copy, deep if channels > 1 else deep[..., 0])
    with pytest.raises(ValueError, match="16 bits|transparency"):
        write_picture(tmp_path / "out.jpg", picture)


def test_grey_with_alpha_and_a_transparent_colour_keep_16_bits(tmp_path):
    deep = np.random.default_rng(0).integers(0, 2**16, (5, 7, 2)).astype(np.uint16)
    write_picture(tmp_path / "in.png", Picture(deep[..., 0], deep[..., 1]))
    with Image.open(tmp_path / "in.png") as opened:
        assert opened.tile[0].args == "LA;16B"
    picture = read_picture(tmp_path / "in.png")
    np.testing.assert_array_equal(picture.pixels, deep[..., 0])
    np.testing.assert_array_equal(picture.alpha, deep[..., 1])
    key = int(deep[2, 3, 0])
    Image.fromarray(deep[..., 0]).save(tmp_path / "key.png", transparency=key)
    picture = read_picture(tmp_path / "key.png")
    np.testing.assert_array_equal(picture.alpha == 0, deep[..., 0] == key)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_level_of_any_number_of_bits_is_transparent(tmp_path, bits):
    levels = np.arange(2**bits).reshape(2, -1)
    digits = (levels[..., None] >> np.arange(bits)[::-1]) & 1  # most significant first
    rows = np.packbits(digits.reshape(2, -1).astype(np.uint8), axis=1)
    scanlines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", levels.shape[1], 2, bits, 0, 0, 0, 0)
    for key in range(2**bits):
        chunks = {b"IHDR": header, b"tRNS": struct.pack(">H", key)}
        chunks |= {b"IDAT": zlib.compress(scanlines), b"IEND": b""}
        encoded = b"\x89PNG\r\n\x1a\n"
        for name, content in chunks.items():
            encoded += struct.pack(">I", len(content)) + name + content
            encoded += struct.pack(">I", zlib.crc32(name + content))
        (tmp_path / "in.png").write_bytes(encoded)
        picture = read_picture(tmp_path / "in.png")
        np.testing.assert_array_equal(picture.pixels, levels * (255 // (2**bits - 1)))
        np.testing.assert_array_equal(picture.alpha, np.where(levels == key, 0, 255))


TIFF_FILES = [
    (np.uint16, (3, 12, 9), {"photometric": "rgb", "planarconfig": "separate"}),
    (np.uint16, (12, 9, 6), {"photometric": "minisblack", "planarconfig": "contig"}),
    (np.uint8, (6, 12, 9), {"photometric": "minisblack", "planarconfig": "separate"}),
    (np.float32, (12, 9, 3), {"photometric": "rgb"}),
    (np.float64, (12, 9), {}),
    (np.float32, (12, 9), {}),
    (np.int16, (12, 9), {}),
    (np.uint16, (5, 12, 9), {"photometric": "minisblack"}),
    (np.uint8, (5, 12, 9, 3), {"photometric": "rgb"}),
]
IMAGEJ_FILE = (np.uint16, (2, 3, 12, 9), {"imagej": True})


@pytest.mark.parametrize(
    ("dtype", "shape", "options", "compression"),
    [
        *((*file, compression) for file in TIFF_FILES for compression in (None, "zlib")),
        (*IMAGEJ_FILE, None),  # ImageJ does not compress
    ],
)
def test_a_tiff_of_slices_bands_or_other_numbers_is_read_and_written_unchanged(
    tmp_path, dtype, shape, options, compression
):
    """tifffile writes the file and reads the copy."""
    numbers = np.random.default_rng(0).integers(-100 if dtype == np.int16 else 0, 255, shape)
    array = numbers.astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", array, compression=compression, **options)
    picture = read_picture(tmp_path / "in.tif")
    is_planar = options.get("planarconfig") == "separate"
    np.testing.assert_array_equal(picture.pixels, np.moveaxis(array, 0, -1) if is_planar else array)
    assert picture.pixels.dtype == dtype
    check_copy(tmp_path, picture)
    for channel_axis in (None, *range(array.ndim if array.ndim > 2 else 0)):
        picture = read_picture(tmp_path / "in.tif", channel_axis=channel_axis)
        assert picture.channels == (1 if channel_axis is None else shape[channel_axis])
        check_copy(tmp_path, picture)
        write_picture(tmp_path / "out.npy", picture)
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), array)


def check_copy(folder, picture):
    """Check that a copy of in.tif has its array, its axes and, if it is of ImageJ, its format."""
    path = folder / "out.tif"
    write_picture(path, picture)
    with tifffile.TiffFile(folder / "in.tif") as before, tifffile.TiffFile(path) as after:
        np.testing.assert_array_equal(after.asarray(), before.asarray())
        assert after.pages[0].axes == before.pages[0].axes
        assert after.pages[0].planarconfig == before.pages[0].planarconfig
        if before.is_imagej:
            assert after.series[0].axes == before.series[0].axes
            assert after.series[0].dataoffset is not None  # ImageJ reads the slices in one piece


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(12, 9), (2, 12, 9), (3, 12, 9), (4, 12, 9)])
def test_bytes_in_any_order_and_planes_are_read_the_same(
    tmp_path, shape, dtype, compression, byteorder
):
    """tifffile writes the file: grey, or planes of grey or colour, with opacity or without."""
    array = np.random.default_rng(0).integers(0, 30000, shape).astype(dtype)
    options = {"photometric": "rgb" if shape[0] in (3, 4) else "minisblack"}
    if len(shape) == 3:
        options |= {"planarconfig": "separate", "extrasamples": [2] * (shape[0] in (2, 4))}
    path = tmp_path / "in.tif"
    tifffile.imwrite(path, array, byteorder=byteorder, compression=compression, **options)
    picture = read_picture(path)
    assert picture.pixels.dtype == dtype
    bands = np.moveaxis(array, 0, -1) if len(shape) == 3 else array
    colours = {2: bands[..., 0], 4: bands[..., :3]}.get(shape[0], bands)
    np.testing.assert_array_equal(picture.pixels, colours)
    if shape[0] in (2, 4):
        np.testing.assert_array_equal(picture.alpha, bands[..., -1])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    ("photometric", "extra"), [("rgb", [0, 2]), ("rgb", [0, 0, 2]), ("minisblack", [0, 2])]
)
def test_bands_with_opacity_are_transparent(tmp_path, photometric, extra, dtype, planar):
    channels = len(extra) + (3 if photometric == "rgb" else 1)
    array = np.random.default_rng(0).integers(0, 200, (12, 9, channels)).astype(dtype)
    stored = np.moveaxis(array, -1, 0) if planar == "separate" else array
    options = {"photometric": photometric, "extrasamples": extra, "planarconfig": planar}
    tifffile.imwrite(tmp_path / "in.tif", stored, **options)
    picture = read_picture(tmp_path / "in.tif")
    np.testing.assert_array_equal(picture.pixels, array[..., :-1])
    np.testing.assert_array_equal(picture.alpha, array[..., -1])
    if photometric == "rgb":
        check_copy(tmp_path, picture)
        check_meaning_of_samples(tmp_path)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    ("photometric", "extra"),
    [("minisblack", [1]), ("rgb", [1]), ("rgb", [0, 1]), ("minisblack", [0, 1])],
)
def test_colours_that_were_multiplied_by_their_opacity_are_divided(
    tmp_path, photometric, extra, dtype, planar, compression
):
    largest = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    colours = 3 if photometric == "rgb" else 1
    rng = np.random.default_rng(0)
    straight = (rng.random((12, 9, colours + len(extra))) * largest).astype(dtype)
    straight[..., -1] = rng.choice([largest, largest * 3 / 5, 0], (12, 9)).astype(dtype)
    alpha = straight[..., -1:] / largest
    array = straight.copy()
    array[..., :colours] = np.round(straight[..., :colours] * alpha, 0 if largest > 1 else 9)
    stored = np.moveaxis(array, -1, 0) if planar == "separate" else array
    options = {"photometric": photometric, "extrasamples": extra, "planarconfig": planar}
    tifffile.imwrite(tmp_path / "in.tif", stored, compression=compression, **options)
    picture = read_picture(tmp_path / "in.tif")
    expected = np.where(alpha == 0, array, straight)[..., :-1]
    pixels = picture.pixels.reshape(expected.shape).astype(float)
    np.testing.assert_allclose(pixels, expected, atol=2 if largest > 1 else 1e-6)
    np.testing.assert_array_equal(pixels[..., colours:], expected[..., colours:])
    np.testing.assert_array_equal(picture.alpha, straight[..., -1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("extra", [[0], [0, 0], [2]])
def test_colours_with_more_bands_stay_colours(tmp_path, dtype, extra):
    array = np.random.default_rng(0).integers(0, 200, (12, 9, 3 + len(extra))).astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", array, photometric="rgb", extrasamples=extra)
    check_copy(tmp_path, read_picture(tmp_path / "in.tif"))
    check_meaning_of_samples(tmp_path)


def check_meaning_of_samples(folder):
    """Check that a copy of in.tif says the same about colours and other samples."""
    with (
        tifffile.TiffFile(folder / "in.tif") as before,
        tifffile.TiffFile(folder / "out.tif") as after,
    ):
        assert after.pages[0].photometric == before.pages[0].photometric
        assert after.pages[0].extrasamples == before.pages[0].extrasamples


@pytest.mark.parametrize("shape", [(12, 9), (12, 9, 3), (5, 12, 9)])
def test_signed_numbers_of_8_bits_stay_signed(tmp_path, shape):
    array = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    photometric = "rgb" if shape[-1] == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "in.tif", array, photometric=photometric)
    picture = read_picture(tmp_path / "in.tif")
    assert picture.pixels.dtype == np.int8
    np.testing.assert_array_equal(picture.pixels, array)
    check_copy(tmp_path, picture)


@pytest.mark.parametrize("largest", [300, 4095, 65535])
def test_grey_of_16_bits_in_pgm_is_read_up_to_its_white(tmp_path, largest):
    levels = np.random.default_rng(0).integers(0, largest + 1, (12, 9)).astype(np.uint16)
    levels[0, 0] = largest
    header = f"P5 9 12 {largest}\n".encode()
    (tmp_path / "in.pgm").write_bytes(header + levels.astype(">u2").tobytes())
    picture = read_picture(tmp_path / "in.pgm")
    assert picture.pixels.dtype == np.uint16
    np.testing.assert_allclose(picture.pixels, levels * (65535 / largest), atol=0.51)


def test_three_channels_of_8_bits_stay_in_planes(pixels, tmp_path):
    """Pillow reads such a file."""
    planes = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(tmp_path / "in.tif", planes, photometric="rgb", planarconfig="separate")
    check_copy(tmp_path, read_picture(tmp_path / "in.tif"))


def test_a_stack_without_tifffile_names_what_to_install(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((5, 7, 9), np.uint8), photometric="minisblack")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ValueError, match=r"in.tif must .*pip install 'virolbi\[tiff\]'"):
        read_picture(tmp_path / "in.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(5, 7), (4, 5, 7)])
def test_white_may_be_zero(tmp_path, dtype, shape):
    levels = np.random.default_rng(0).integers(0, 128, shape).astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", levels, photometric="miniswhite")
    is_unsigned = np.issubdtype(dtype, np.unsignedinteger)
    expected = np.iinfo(dtype).max - levels if is_unsigned else levels
    np.testing.assert_array_equal(read_picture(tmp_path / "in.tif").pixels, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_opacity_is_not_inverted_where_white_is_zero(tmp_path, dtype):
    array = np.random.default_rng(0).integers(0, 128, (12, 9, 2)).astype(dtype)
    options = {"photometric": "miniswhite", "planarconfig": "contig", "extrasamples": [2]}
    tifffile.imwrite(tmp_path / "in.tif", array, **options)
    picture = read_picture(tmp_path / "in.tif")
    np.testing.assert_array_equal(picture.pixels, np.iinfo(dtype).max - array[..., 0])
    np.testing.assert_array_equal(picture.alpha, array[..., 1])


def test_a_preview_of_a_tiff_is_no_second_picture(pixels, tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(pixels, photometric="rgb")
        writer.write(pixels[::4, ::4], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_picture(tmp_path / "in.tif").pixels, pixels)


@pytest.mark.parametrize("suffix", [".ppm", ".jp2"])
def test_colour_of_which_bits_would_be_lost_is_refused(pixels, tmp_path, suffix):
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), np.tile(pixels, (4, 4, 1)).astype(np.uint16) * 257)
    with pytest.raises(
        ValueError, match="deep.* must have 8 bits per channel, .*convert it to PNG"
    ):
        read_picture(path)


def deep_file(kind, deep):
    """Return a file with more than 8 bits per channel, of a kind of which Pillow reads 8."""
    height, width = deep.shape[:2]
    planes = np.moveaxis(deep, -1, 0)[:, ::-1].astype(">u2").tobytes()
    if kind == "sgi":
        header = struct.pack(">HBBHHHH", 474, 0, 2, 3, width, height, 3)
        return header.ljust(512, b"\0") + planes
    if kind == "fits":
        cards = ["SIMPLE  =                    T", "BITPIX  =                   16"]
        cards += [f"NAXIS   = {2:20}", f"NAXIS1  = {width:20}", f"NAXIS2  = {height:20}", "END"]
        return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + planes
    if kind in ("ico", "icns"):
        png = cv2.imencode(".png", deep)[1].tobytes()
        if kind == "icns":
            return (
                b"".join(
                    name + struct.pack(">I", size + len(png))
                    for name, size in ((b"icns", 16), (b"icp5", 8))
                )
                + png
            )
        entry = struct.pack("<HHHBBBBHHII", 0, 1, 1, width, height, 0, 0, 1, 48, len(png), 22)
        return entry + png
    if kind.startswith("dds"):
        is_half = kind == "dds half"
        masks = (0, 0, 0, 0) if is_half else (0x3FF, 0x3FF << 10, 0x3FF << 20, 3 << 30)
        header = b"DDS " + struct.pack("<7I", 124, 0x1007, height, width, 0, 0, 0) + bytes(44)
        code = (4, b"DX10") if is_half else (0x40, bytes(4))
        header += struct.pack("<II4sI4I", 32, *code, 32, *masks) + bytes(20)
        return header + (struct.pack("<5I", 95, 3, 0, 1, 0) if is_half else b"") + planes
    if kind == "avif":
        return cv2.imencode(".avif", deep >> 6, [cv2.IMWRITE_AVIF_DEPTH, 10])[1].tobytes()
    content = cv2.imencode(".jp2", np.tile(deep, (4, 4, 1)))[1].tobytes()
    if kind == "j2k":
        return content[content.index(b"\xff\x4f\xff\x51") :]
    place = content.index(b"jp2c") - 4  # of the picture, behind which many other data
    return content[:place] + struct.pack(">I4s", 70_008, b"free") + bytes(70_000) + content[place:]


@pytest.mark.parametrize(
    "kind", ["sgi", "fits", "ico", "icns", "dds", "dds half", "avif", "j2k", "jp2"]
)
def test_files_of_which_pillow_drops_bits_are_refused(pixels, tmp_path, kind):
    deep = np.tile(pixels, (2, 1, 1))[:32].astype(np.uint16) * 257
    path = tmp_path / f"deep.{kind.split()[0]}"
    if kind == "avif" and not cv2.haveImageWriter(str(path)):
        pytest.skip("this OpenCV writes no AVIF; that of the package index does, in .ci/run")
    path.write_bytes(deep_file(kind, deep))
    with Image.open(path) as opened:
        opened.load()  # without an error
    with pytest.raises(
        ValueError, match="deep.* must have 8 bits per channel, .*convert it to PNG"
    ):
        read_picture(path)


@pytest.mark.parametrize("shape", [(20, 20, 12), (20, 12, 20), (5, 20, 20, 12), (610, 34, 10)])
def test_an_array_whose_bands_look_like_a_side_of_images_must_state_its_axes(tmp_path, shape):
    path = tmp_path / "in.npy"
    np.save(path, np.zeros(shape, np.float32))
    axis = -2 if shape == (20, 12, 20) else -1
    with pytest.raises(ValueError, match=rf"in.npy must be .* --channel-axis {axis} or none"):
        read_picture(path)
    for read in (read_plain_picture, lambda path: decode_image(path, None)):  # take no axis
        with pytest.raises(ValueError, match="in.npy must be one picture .* got shape (?!.*axis)"):
            read(path)
    assert read_picture(path, channel_axis=axis).channels == shape[axis]
    assert read_picture(path, channel_axis=None).channels == 1


def test_arrays_state_their_channels_by_length_or_by_the_caller(tmp_path):
    for shape, channel_axis, slices, channels in (
        ((6, 7), "auto", 0, 1),
        ((5, 6, 7), "auto", 1, 1),
        ((6, 7, 3), "auto", 0, 3),
        ((6, 7, 3), None, 1, 1),
        ((12, 6, 7), 0, 0, 12),
        ((2, 12, 6, 7), 1, 1, 12),
    ):
        array = np.random.default_rng(0).random(shape)
        np.save(tmp_path / "in.npy", array)
        picture = read_picture(tmp_path / "in.npy", channel_axis=channel_axis)
        assert (picture.slice_axes, picture.channels) == (slices, channels)
        write_picture(tmp_path / "out.npy", picture)
        np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), array)
    with pytest.raises(ValueError, match="channel axis must be .*got 5"):
        read_picture(tmp_path / "in.npy", channel_axis=5)
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"allow_pickle|objects.npy"):
        read_picture(tmp_path / "objects.npy")


EXIF = {0x010F: "Maker", 0x0131: "Program", 0x8298: "Owner"}


@pytest.mark.parametrize("written", [".jpg", ".png", ".webp", ".tiff"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_what_a_file_says_is_kept_in_every_format(pixels, tmp_path, suffix, written):
    exif, profile = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for tag, text in EXIF.items():
        exif[tag] = text
    exif[0x0112] = 6  # stored lying on its side
    exif.get_ifd(0x8769)[0x829A] = 0.5  # the exposure, in the folder of the camera
    source = tmp_path / f"in{suffix}"
    Image.fromarray(pixels).save(source, exif=exif.tobytes(), icc_profile=profile, dpi=(300, 300))
    picture = read_picture(source)
    assert picture.pixels.shape == (32, 20, 3)
    write_picture(tmp_path / f"out{written}", picture)
    with Image.open(tmp_path / f"out{written}") as copy:
        copied = copy.getexif()
        assert EXIF.items() <= dict(copied).items()
        assert copied.get(0x0112) == (6 if written == suffix else None)
        assert copied.get_ifd(0x8769)[0x829A] == 0.5
        assert copy.info["icc_profile"] == profile
        assert copy.size == ((32, 20) if written == suffix != ".tiff" else (20, 32))
        if ".webp" not in (suffix, written):  # which has no resolution
            assert copy.info["dpi"] == pytest.approx((300, 300), rel=1e-4)
    np.testing.assert_array_equal(
        read_picture(tmp_path / f"out{written}").pixels.shape, picture.pixels.shape
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "deep"])
def test_what_a_png_says_about_its_colours_is_kept(pixels, tmp_path, mode):
    gamma, hdr = (100_000).to_bytes(4, "big"), bytes([9, 16, 0, 1])
    stated = {b"gAMA": gamma, b"cHRM": bytes(range(32)), b"cICP": hdr}
    if mode == "deep":
        deep = Picture(pixels.astype(np.uint16) * 257, metadata={"png_colours": stated})
        write_picture(tmp_path / "in.png", deep)
    else:
        info = PngImagePlugin.PngInfo()
        for name, content in stated.items():
            info.add(name, content)
        Image.fromarray(pixels).convert(mode).save(tmp_path / "in.png", pnginfo=info)
    write_picture(tmp_path / "out.png", read_picture(tmp_path / "in.png"))
    with (tmp_path / "out.png").open("rb") as file:
        assert png_colours(file) == stated
    with Image.open(tmp_path / "out.png") as copy:
        copy.load()
        assert copy.info["gamma"] == 1


def test_texts_and_maps_are_kept(pixels, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "Straße")
    Image.fromarray(pixels).save(tmp_path / "in.png", pnginfo=info)
    write_picture(tmp_path / "out.png", read_picture(tmp_path / "in.png"))
    with Image.open(tmp_path / "out.png") as copy:
        assert copy.text == {"Title": "Straße"}
    Image.fromarray(pixels).save(tmp_path / "in.jpg", comment=b"a comment", xmp=b"<x:xmpmeta/>")
    for suffix in (".jpg", ".png"):
        write_picture(tmp_path / f"out{suffix}", read_picture(tmp_path / "in.jpg"))
        with Image.open(tmp_path / f"out{suffix}") as copy:
            assert copy.info["xmp"] == b"<x:xmpmeta/>"
    place = [(33550, 12, 3, (30.0, 30.0, 0.0)), (42113, 2, 6, b"-9999\0")]
    dem = np.float32([[-9999, 1], [2, 3]])
    tifffile.imwrite(tmp_path / "in.tif", dem, extratags=[(*tag, True) for tag in place])
    picture = read_picture(tmp_path / "in.tif")
    assert picture.metadata["nodata"] == -9999
    write_picture(tmp_path / "out.tif", picture)
    with tifffile.TiffFile(tmp_path / "out.tif") as copy:
        assert copy.pages[0].tags[33550].value == (30.0, 30.0, 0.0)
        assert copy.pages[0].tags[42113].value == "-9999"


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [40, 90])
def test_jpeg_files_are_encoded_as_they_were(photographs, tmp_path, quality, subsampling):
    picture = Image.fromarray(photographs[3])
    picture.save(tmp_path / "in.jpg", quality=quality, subsampling=subsampling, progressive=True)
    write_picture(tmp_path / "out.jpg", read_picture(tmp_path / "in.jpg"))
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert after.quantization == before.quantization
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(before)
        assert after.info["progressive"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_without_loss_stays_without_loss(photographs, tmp_path, mode):
    picture = Image.fromarray(photographs[3]).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(photographs[0][..., 0]))
    picture.save(tmp_path / "in.webp", lossless=True, exact=True)
    read = read_picture(tmp_path / "in.webp")
    write_picture(tmp_path / "out.webp", read)
    np.testing.assert_array_equal(read_picture(tmp_path / "out.webp").pixels, photographs[3])
    picture.save(tmp_path / "lossy.webp", quality=50)
    assert "WEBP" not in read_picture(tmp_path / "lossy.webp").metadata


def test_an_icon_keeps_its_size_or_is_refused(photographs, tmp_path):
    square = Image.fromarray(photographs[3]).resize((40, 24))
    write_picture(tmp_path / "out.ico", Picture(np.asarray(square)))
    with Image.open(tmp_path / "out.ico") as written:
        assert written.size == (40, 24)
    large = np.asarray(square.resize((400, 300)))
    for suffix in (".ico", ".icns"):
        with pytest.raises(ValueError, match="does not keep 400x300 pixels|cannot hold"):
            write_picture(tmp_path / f"large{suffix}", Picture(large))


def test_a_picture_of_too_many_pixels_says_what_to_do(pixels, tmp_path, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "in.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"in.png must have at most .*MAX_IMAGE_PIXELS"):
        read_picture(tmp_path / "in.png")


def test_shapes_in_the_transparency_are_seen_by_networks_or_refused(tmp_path):
    shape = np.zeros((8, 8), np.uint8)
    shape[2:6, 2:6] = 255
    for colour, deep in ((0, False), (0, True), (90, False)):
        picture = Picture(np.full((8, 8, 3), colour, np.uint8), shape)
        if deep:
            picture = Picture(picture.pixels.astype(np.uint16) * 257, shape.astype(np.uint16) * 257)
        write_picture(tmp_path / "in.png", picture)
        decoded = decode_image(tmp_path / "in.png", None)
        np.testing.assert_array_equal(decoded[3, 3], colour)
        np.testing.assert_array_equal(decoded[0, 0], 255)
    write_picture(tmp_path / "white.png", Picture(np.full((8, 8, 3), 255, np.uint8), shape))
    with pytest.raises(ValueError, match="must be visible on white"):
        decode_image(tmp_path / "white.png", None)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("dtype", "white"), [("u1", 201), ("u2", 4095), ("i2", 999), ("f4", 255)])
def test_transparent_pixels_are_as_white_as_the_data_range(tmp_path, dtype, white, channels):
    pixels = np.full((8, 8, channels), white // 2, dtype)
    pixels[0] = white
    opaque = np.dtype(dtype).type(1 if dtype == "f4" else np.iinfo(dtype).max)
    alpha = np.full((8, 8, 1), opaque)
    alpha[4:] = 0
    photometric = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(
        tmp_path / "in.tif",
        np.concatenate([pixels, alpha], axis=-1),
        photometric=photometric,
        planarconfig="contig",
        extrasamples=[2],
    )
    picture = read_plain_picture(tmp_path / "in.tif", data_range=white)
    assert picture.pixels.dtype == dtype
    expected = np.where(alpha == 0, white, pixels)
    np.testing.assert_array_equal(picture.pixels.reshape(expected.shape), expected)
    decoded = decode_image(tmp_path / "in.tif", None, float(white))
    np.testing.assert_array_equal(decoded[4:], 255)
    np.testing.assert_array_equal(decoded[1:4], round(255 * (white // 2) / white))


def test_an_opacity_of_another_range_is_named(tmp_path):
    array = np.full((8, 8, 4), 255, np.float32)
    tifffile.imwrite(tmp_path / "in.tif", array, photometric="rgb", extrasamples=[2])
    with pytest.raises(ValueError, match=r"opacity in \[0, 1\] .* from 255 to 255"):
        decode_image(tmp_path / "in.tif", None, 255)


def test_a_band_that_is_no_opacity_does_not_hide_a_picture(tmp_path):
    bands = np.random.default_rng(0).integers(0, 4096, (8, 8, 4), np.uint16)
    bands[0, 0, 3] = 4095
    tifffile.imwrite(tmp_path / "in.tif", bands, photometric="rgb", extrasamples=[2])
    with pytest.raises(ValueError, match="opacity, the last band, is at most 4095 of 65535"):
        decode_image(tmp_path / "in.tif", None)
    bands[0, 0, 3] = 8192
    tifffile.imwrite(tmp_path / "in.tif", bands, photometric="rgb", extrasamples=[2])
    assert decode_image(tmp_path / "in.tif", None).shape == (8, 8, 3)


def test_a_picture_with_several_frames_is_refused(pixels, tmp_path):
    frame = Image.fromarray(pixels)
    frame.save(tmp_path / "moving.gif", save_all=True, append_images=[frame.rotate(180)])
    with pytest.raises(ValueError, match="moving.gif must hold one picture, .*2 frames"):
        read_picture(tmp_path / "moving.gif")


def test_a_picture_that_a_format_cannot_hold_writes_nothing(pixels, tmp_path):
    with pytest.raises(ValueError, match="out.jpg cannot hold this picture as JPEG"):
        write_picture(tmp_path / "out.jpg", Picture(pixels, alpha=pixels[..., 0]))
    assert not list(tmp_path.iterdir())


SUFFIXES = sorted(
    suffix for suffix, name in Image.registered_extensions().items() if name in Image.SAVE
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_written_picture_keeps_its_16_bits_and_its_transparency_or_is_refused(suffix, tmp_path):
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 2**16, (64, 64)).astype(np.uint16)
    alpha, colour = deep.astype(np.uint8), rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for name, picture, sufficient_formats in (
        ("deep", Picture(deep), KEEP_16_BITS),
        ("clear", Picture(colour, alpha), KEEP_ALPHA),
    ):
        path = tmp_path / f"{name}{suffix}"
        if picture_format(path) not in sufficient_formats:
            with pytest.raises(ValueError, match=f"{path} cannot hold this picture as"):
                write_picture(path, picture)
            assert not path.exists()
            continue
        write_picture(path, picture)
        if picture.alpha is None:
            again = read_picture(path).pixels
            assert again.dtype == np.uint16
            np.testing.assert_array_equal(again, deep)
        with Image.open(path) as written:
            if picture.alpha is None:
                np.testing.assert_array_equal(np.asarray(written), deep)
            else:
                np.testing.assert_allclose(
                    np.asarray(written.getchannel("A")).astype(int), alpha, atol=4
                )


def test_the_picture_of_a_phone_file_is_read_without_its_preview(pixels, tmp_path):
    path, picture = tmp_path / "phone.jpg", Image.fromarray(pixels)
    picture.save(path, "MPO", save_all=True, append_images=[picture.resize((8, 5))])
    with Image.open(path) as opened:
        assert (opened.format, opened.n_frames) == ("MPO", 2)
        np.testing.assert_array_equal(read_picture(path).pixels, np.asarray(opened))
    np.testing.assert_array_equal(read_picture(path).pixels, np.asarray(decode_image(path, None)))


@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB"])
def test_both_readers_return_the_same_pixels(pixels, tmp_path, mode, size):
    path = tmp_path / "in.png"
    Image.fromarray(pixels).convert("L" if mode == "LA" else mode).convert(mode).save(path)
    read = read_plain_picture(path, size)
    np.testing.assert_array_equal(read.pixels, decode_image(path, size))
    assert (read.pixels.ndim == 2) == (mode in ("1", "L", "LA"))
    assert (read_picture(path).alpha is not None) == (mode == "LA")


def test_a_palette_is_resized_as_the_colours_it_stands_for(pixels, tmp_path):
    quantized = Image.fromarray(pixels).quantize(16)
    quantized.save(tmp_path / "palette.png")
    quantized.convert("RGB").save(tmp_path / "colours.png")
    names = ("palette.png", "colours.png")
    resized = [read_plain_picture(tmp_path / name, 12).pixels for name in names]
    np.testing.assert_array_equal(*resized)


@pytest.mark.parametrize(
    ("dtype", "top"), [(np.float32, 1), (np.float64, 1), (np.uint16, 4095), (np.int16, 4095)]
)
@pytest.mark.parametrize("size", [17, 64])
def test_resizing_stays_in_the_range_of_the_picture(tmp_path, dtype, top, size):
    bars = (np.arange(40) // 5 % 2 * top).astype(dtype)
    np.save(tmp_path / "in.npy", np.broadcast_to(bars, (40, 40)))
    resized = read_plain_picture(tmp_path / "in.npy", size).pixels
    assert (resized.min(), resized.max(), resized.dtype) == (0, top, dtype)
    assert ((resized > 0) & (resized < top)).any()
    levels = decode_image(tmp_path / "in.npy", size, top)
    assert (levels.min(), levels.max()) == (0, 255)


def test_resizing_leaves_pixels_without_data_out_of_the_range(tmp_path):
    bars = np.tile(np.arange(40) // 5 % 2, (40, 1)).astype(np.float32)
    bars[30, 30] = np.nan
    np.save(tmp_path / "in.npy", bars)
    resized = read_plain_picture(tmp_path / "in.npy", 20).pixels
    assert 0 < np.isnan(resized).sum() < 100
    assert (np.nanmin(resized), np.nanmax(resized)) == (0, 1)
    for size in (None, 20):
        with pytest.raises(ValueError, match="a value at every pixel, got NaN"):
            decode_image(tmp_path / "in.npy", size)


def test_integers_of_32_bits_need_a_range_for_a_network(tmp_path):
    path = tmp_path / "in.tiff"
    Image.fromarray(np.arange(16, dtype=np.int32).reshape(4, 4)).save(path)
    assert read_picture(path).pixels.dtype == np.int32
    with pytest.raises(ValueError, match="must have a data_range, because it is int32"):
        decode_image(path, None)
    np.testing.assert_array_equal(decode_image(path, None, 15).ravel(), np.arange(16) * 17)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_orientation_of_a_tiff_is_applied(tmp_path, dtype, compression, orientation):
    """Pillow turns a small PNG with the same tag; grey files of TIFF were read as noise by it."""
    stored = np.arange(5 * 8).reshape(5, 8).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stored).save(tmp_path / "in.png", exif=exif)
    expected = read_picture(tmp_path / "in.png").pixels
    assert expected.shape == ((5, 8) if orientation < 5 else (8, 5))
    for array in (stored, np.stack([stored] * 3, axis=-1)):
        tags = [(274, 3, 1, orientation, True)]
        photometric = "minisblack" if array.ndim == 2 else "rgb"
        options = {"compression": compression, "extratags": tags, "photometric": photometric}
        tifffile.imwrite(tmp_path / "in.tif", array.astype(dtype), **options)
        turned = expected if array.ndim == 2 else np.stack([expected] * 3, axis=-1)
        np.testing.assert_array_equal(read_picture(tmp_path / "in.tif").pixels, turned)


def test_damaged_files_are_refused_by_name(photographs, tmp_path):
    """Whatever byte is wrong, the error is a ValueError, and an error of no other type."""
    deep = photographs[3].astype(np.uint16) * 257
    files = {}
    for name, picture in (
        ("deep.png", Picture(deep)),
        ("deep.tif", Picture(deep)),
        ("stack.tif", Picture(photographs[:3, ..., 0], slice_axes=1)),
        ("array.npy", Picture(deep)),
    ):
        write_picture(tmp_path / name, picture)
        files[name] = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(60):
        for name, content in files.items():
            damaged = bytearray(content)
            for place in rng.integers(0, 300, 3):
                damaged[place] = rng.integers(0, 256)
            (tmp_path / name).write_bytes(damaged[: rng.integers(1, 2 * len(damaged))])
            try:
                read_picture(tmp_path / name)
            except ValueError as error:
                refused.append((name, str(error)))
    assert len(refused) > 60
    assert all(name in message for name, message in refused)


def test_a_tiff_without_a_resolution_is_read(photographs, tmp_path):
    grey = photographs[3][..., 0]
    for resolution in ((0, 1), (1, 1)):
        tifffile.imwrite(tmp_path / "in.tif", grey, resolution=(resolution, resolution))
        picture = read_picture(tmp_path / "in.tif")
        assert "dpi" not in picture.metadata
        write_picture(tmp_path / "out.tif", picture)


@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), ("<", True), (">", False)])
def test_texts_of_a_tiff_keep_their_bytes(tmp_path, byteorder, bigtiff):
    """OME writes units in UTF-8; tifffile writes a second description, of the shape."""
    stack = np.zeros((5, 20, 30), np.uint8)
    texts = {315: "Jürgen", 42112: "<GDALMetadata>µ</GDALMetadata>", 33432: "me", 42113: "-9999"}
    tags = [(tag, 2, None, text.encode(), True) for tag, text in texts.items()]
    options = {"extratags": tags, "byteorder": byteorder, "bigtiff": bigtiff}
    for array in (stack, stack[0]):
        for description in ("x", "my cells, 3 µm".encode()):
            path = tmp_path / "in.tif"
            tifffile.imwrite(path, array, description=description, **options)
            write_picture(tmp_path / "out.tif", read_picture(path))
            with (
                tifffile.TiffFile(path) as before,
                tifffile.TiffFile(tmp_path / "out.tif") as after,
            ):
                assert len(before.pages[0].tags.getall(270)) == 2
                for tag in (270, *texts):
                    assert after.pages[0].tags[tag].value == before.pages[0].tags[tag].value
                    assert after.pages[0].tags[tag].dtype == 2
    unit = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "in.ome.tif", stack, metadata=unit)
    write_picture(tmp_path / "out.ome.tif", read_picture(tmp_path / "in.ome.tif"))
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as copy:
        assert 'PhysicalSizeXUnit="µm"' in copy.ome_metadata


@pytest.mark.parametrize("unit", ["NONE", "INCH", "CENTIMETER"])
@pytest.mark.parametrize("slices", [1, 3])
def test_a_tiff_keeps_its_resolution_in_its_unit(tmp_path, unit, slices):
    """In a stack of ImageJ without a unit of TIFF, the description names the unit."""
    stack = np.zeros((slices, 20, 30), np.uint16)
    options = {"resolution": (4.25, 1 / 3), "resolutionunit": unit, "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, **options)
    write_picture(tmp_path / "out.tif", read_picture(tmp_path / "in.tif"))
    with tifffile.TiffFile(tmp_path / "out.tif") as copy:
        page = copy.pages[0]
        assert page.resolution == pytest.approx((4.25, 1 / 3))
        assert page.resolutionunit.name == unit
        assert copy.imagej_metadata["unit"] == "um"


def test_slices_that_were_added_one_by_one_are_a_stack(tmp_path):
    stack = np.arange(4 * 5 * 6, dtype=np.uint16).reshape(4, 5, 6)
    for plane in stack:
        tifffile.imwrite(tmp_path / "in.tif", plane, append=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "in.tif").pixels, stack)
    tifffile.imwrite(tmp_path / "in.tif", stack[0, 1:], append=True)
    with pytest.raises(ValueError, match=r"in\.tif must .* pictures of different shapes"):
        read_picture(tmp_path / "in.tif")


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_stack_that_was_cut_short_is_refused(tmp_path, compression, contiguous):
    path, stack = tmp_path / "in.tif", np.ones((4, 30, 40), np.uint16)
    with tifffile.TiffWriter(path) as writer:
        for plane in stack:  # tags in front of pixels, as microscopes write while they measure
            writer.write(plane, compression=compression, contiguous=contiguous and not compression)
    assert read_picture(path).pixels.shape == (4, 30, 40)
    content = path.read_bytes()
    for kept in (0.6, 0.9):
        path.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(ValueError, match=r"in\.tif must be"):
            read_picture(path)


def test_a_file_that_claims_more_bytes_than_it_has_takes_no_memory_for_them(tmp_path):
    path = tmp_path / "in.tif"
    stack = np.ones((3, 30, 40), np.uint16)
    tifffile.imwrite(path, stack, compression="zlib", photometric="minisblack")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as opened:
        place = opened.pages[0].tags["StripByteCounts"].offset + 8
    content[place : place + 4] = (2**32 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its pixels go on to byte 4294967"):
        read_picture(path)


@pytest.mark.parametrize("dtype", [bool, np.complex64])
@pytest.mark.parametrize("size", [None, 4])
def test_arrays_of_other_than_real_numbers_are_no_images_for_a_network(tmp_path, dtype, size):
    np.save(tmp_path / "in.npy", np.ones((8, 8), dtype))
    with pytest.raises(ValueError, match=f"must hold real numbers, got {np.dtype(dtype)}"):
        decode_image(tmp_path / "in.npy", size)


def test_a_file_without_pixels_is_refused(tmp_path):
    path = tmp_path / "in.tif"
    Image.new("L", (7, 5)).save(path, compression="tiff_adobe_deflate")
    content = bytearray(path.read_bytes())
    width = int.from_bytes(content[4:8], "little") + 2  # the first tag
    content[width + 2 : width + 4] = bytes(2)  # no type: the tag is ignored
    path.write_bytes(content)
    with pytest.raises(ValueError, match="in.tif must be an image file: it has no pixels"):
        read_picture(path)


def test_a_file_of_another_kind_is_told_in_plain_words(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.jpg must be an image file, and its content is of"):
        read_picture(tmp_path / "page.jpg")


def test_a_description_of_the_shape_is_not_kept(tmp_path):
    bands = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)
    tifffile.imwrite(tmp_path / "in.tif", bands, photometric="minisblack", planarconfig="separate")
    picture = read_picture(tmp_path / "in.tif")
    assert picture.pixels.shape == (6, 7, 5)
    write_picture(tmp_path / "out.tif", picture)
    with tifffile.TiffFile(tmp_path / "out.tif") as written:
        assert written.pages[0].description == ""


def test_another_axis_than_that_of_the_colours_is_refused(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    for axis in (-1, 2, None):
        assert read_picture(tmp_path / "colour.png", channel_axis=axis).channels == 3
    for name, axis in (("colour", 7), ("colour", 0), ("grey", 0)):
        with pytest.raises(ValueError, match=f"{name}.png must be read without a channel axis"):
            read_picture(tmp_path / f"{name}.png", channel_axis=axis)


def test_a_palette_is_refused_where_it_would_change_colours(photographs, tmp_path):
    few = np.stack([photographs[3][..., 0] // 128 * 200] * 3, axis=-1).astype(np.uint8)
    write_picture(tmp_path / "few.gif", Picture(few))
    np.testing.assert_array_equal(read_picture(tmp_path / "few.gif").pixels.squeeze(), few)
    with pytest.raises(ValueError, match="as GIF: the format does not keep these pixels; PNG and"):
        write_picture(tmp_path / "many.gif", Picture(photographs[3]))
    assert not (tmp_path / "many.gif").exists()
