import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from virolbi.pictures import Picture, decode, read_picture, write_picture


@pytest.fixture
def pixels(photographs):
    return photographs[3][:20]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_what_a_camera_wrote_about_a_picture_is_kept_and_its_turn_is_carried_out(pixels, tmp_path, suffix):
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


def test_a_profile_of_other_colours_is_not_kept(pixels, tmp_path):
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "in.jpg", icc_profile=b"of an ink")
    assert read_picture(tmp_path / "in.jpg").carried == {}


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_colour_with_16_bits_is_refused_where_8_would_be_lost_but_good_for_a_network(pixels, tmp_path, suffix):
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), pixels[..., ::-1].astype(np.uint16) * 257)
    with pytest.raises(ValueError, match="deep.* must have 8 bits a channel, or be grey, it has 16 and mode RGB"):
        read_picture(path)
    np.testing.assert_array_equal(np.asarray(decode(path, None)), pixels)


def test_a_picture_with_several_frames_is_refused(pixels, tmp_path):
    frame = Image.fromarray(pixels)
    frame.save(tmp_path / "moving.gif", save_all=True, append_images=[frame.rotate(180)])
    with pytest.raises(ValueError, match="moving.gif must hold one picture, it holds 2 frames"):
        read_picture(tmp_path / "moving.gif")


def test_a_picture_that_a_format_cannot_hold_writes_nothing(pixels, tmp_path):
    with pytest.raises(ValueError, match="out.jpg cannot hold this picture as JPEG"):
        write_picture(tmp_path / "out.jpg", Picture(pixels, alpha=pixels[..., 0]))
    assert not list(tmp_path.iterdir())
