import numpy as np
import pytest

from virolbi.corruptions import official


@pytest.fixture
def folder(tmp_path):
    """A folder with the fog and the labels of CIFAR-10-C: black but for three pixels."""
    images = np.lib.format.open_memmap(tmp_path / "fog.npy", "w+", np.uint8, (50_000, 32, 32, 3))
    images[[20_000, 29_999, 30_000], 1, 2] = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    np.save(tmp_path / "labels.npy", np.arange(50_000, dtype=np.uint8) % 10)
    return tmp_path


def test_official_arrays_are_read_by_severity(folder):
    pixels, labels = official(folder, "fog", 3)
    assert (pixels.shape, pixels.dtype, labels.dtype) == ((10_000, 3, 32, 32), np.uint8, np.int64)
    assert pixels[[0, -1], :, 1, 2].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert pixels.sum() == 21
    np.testing.assert_array_equal(labels, np.load(folder / "labels.npy")[20_000:30_000])


def test_bad_official_arrays_are_named(folder):
    with pytest.raises(ValueError, match="severity"):
        official(folder, "fog", 0)
    with pytest.raises(ValueError, match=r"there is no file .*snow\.npy"):
        official(folder, "snow", 3)
    np.save(folder / "snow.npy", np.zeros((10, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"snow\.npy .* shape"):
        official(folder, "snow", 3)
    (folder / "frost.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(ValueError, match=r"frost\.npy "):
        official(folder, "frost", 3)
    np.save(folder / "labels.npy", np.arange(50_000) % 10.0)
    with pytest.raises(ValueError, match=r"labels\.npy .* float64"):
        official(folder, "fog", 3)
    np.lib.format.open_memmap(folder / "fog.npy", "w+", np.int8, (50_000, 32, 32, 3)).flush()
    with pytest.raises(ValueError, match=r"fog\.npy .* int8"):
        official(folder, "fog", 3)
