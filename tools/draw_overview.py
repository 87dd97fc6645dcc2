"""Draw the picture of the README: a noisy photograph, its smoothing, its regions, its path.

The photograph is the coffee cup of scikit-image (Rachel Michetti, CC0 by the photographer).
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import coffee

from virolbi import ScaleSpace, smooth

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "overview.jpg"
NOISE = 0.12  # standard deviation of the Gaussian noise that is added
PATH = (0.95, 0.9, 0.85, 0.7, 0.5, 0.3)  # sparsities of the strip
REGIONS = 0.8  # sparsity of the large picture of regions


def draw(path: Path) -> None:
    """Draw the picture into a file.

    Parameters
    ----------
    path : Path
        JPEG file to write.
    """
    clean = coffee()[20:380, 120:560] / 255
    noisy = (clean + np.random.default_rng(0).normal(0, NOISE, clean.shape)).clip(0, 1)
    space = ScaleSpace(noisy, nu=0.1, min_area=40, channel_axis=-1)
    large = {
        "noisy": noisy,
        'smoothed by "auto"': smooth(noisy, "auto", channel_axis=-1),
        f"regions, sparsity {REGIONS}": space.at(REGIONS).regions,
    }
    strip = {f"sparsity {sparsity}": space.at(sparsity).regions for sparsity in PATH}

    figure = plt.figure(figsize=(12, 5.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    upper, lower = figure.subfigures(2, height_ratios=(2.05, 1))
    for part, images in ((upper, large), (lower, strip)):
        for axes, (title, image) in zip(part.subplots(1, len(images)), images.items(), strict=True):
            axes.imshow(image.clip(0, 1), interpolation="antialiased")
            axes.set_title(title, fontsize=11)
            axes.axis("off")
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 85, "optimize": True})


if __name__ == "__main__":
    draw(PICTURE)
