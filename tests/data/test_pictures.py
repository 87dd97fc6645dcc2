import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from virolbi.data import (
    KEEP_16_BITS,
    KEEP_ALPHA,
    Picture,
    decode_image,
    picture_format,
    read_picture,
    write_picture,
)


@pytest.fixture
def pixels(photographs):
    return photographs[3][:20]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_the_metadata_of_a_camera_is_kept_and_its_orientation_is_applied(pixels, tmp_path, suffix):
    exif, profile = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif[0x010F], exif[0x0112] = "Maker", 6  # stored lying on its side
    Image.fromarray(pixels).save(tmp_path / f"in{suffix}", exif=exif, icc_profile=profile)
    picture = read_picture(tmp_path / f"in{suffix}")
    assert picture.pixels.shape == (32, 20, 3)
    write_picture(tmp_path / f"out{suffix}", picture)
    with Image.open(tmp_path / f"out{suffix}") as written:
        assert written.size == (20, 32)
        assert dict(written.getexif()) == {0x010F: "Maker"}
        assert written.info["icc_profile"] == profile


def test_a_colour_profile_of_another_mode_is_not_kept(pixels, tmp_path):
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "in.jpg", icc_profile=b"of an ink")
    assert read_picture(tmp_path / "in.jpg").metadata == {}


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colour_with_16_bits_is_refused_by_read_picture_and_reduced_for_a_network(
    pixels, tmp_path, suffix
):
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), pixels[..., ::-1].astype(np.uint16) * 257)
    with pytest.raises(ValueError, match="deep.* must have 8 bits per channel, .* mode RGB"):
        read_picture(path)
    np.testing.assert_array_equal(np.asarray(decode_image(path, None)), pixels)


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
    read = read_picture(path, size)
    np.testing.assert_array_equal(read.pixels, np.asarray(decode_image(path, size)))
    assert (read.pixels.ndim == 2) == (mode in ("1", "L", "LA"))
    assert (read.alpha is not None) == (mode == "LA")


def test_a_palette_is_resized_as_the_colours_it_stands_for(pixels, tmp_path):
    quantized = Image.fromarray(pixels).quantize(16)
    quantized.save(tmp_path / "palette.png")
    quantized.convert("RGB").save(tmp_path / "colours.png")
    resized = [read_picture(tmp_path / name, 12).pixels for name in ("palette.png", "colours.png")]
    np.testing.assert_array_equal(*resized)


def test_integers_of_32_bits_are_refused_by_both_readers(tmp_path):
    path = tmp_path / "in.tiff"
    Image.fromarray(np.zeros((4, 4), np.int32)).save(path)
    for read in (read_picture, decode_image):
        with pytest.raises(ValueError, match="must have 8 or 16 bits per channel, .* mode I"):
            read(path, None)
