"""
What each setting does
======================

One noisy photograph, and in each row one setting at four values; the others are at their defaults.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import coffee

from virolbi import smooth

clean = coffee()[60:220, 180:400] / 255
rng = np.random.default_rng(0)
noisy = (clean + rng.normal(0, 0.08, clean.shape)).clip(0, 1).astype(np.float32)
noisy[rng.random(noisy.shape[:2]) < 0.01] = 1  # a few white pixels

# %%
# From left to right, each row smooths less or keeps more:
#
# - ``sparsity``: the fraction of variations that are left out. 0 is the image itself.
# - ``nu``: how firmly neighbours hold together where nothing was let in. Small values clean flat
#   areas thoroughly and take longer; large ones keep texture.
# - ``delta``: how large a difference one pixel may claim for itself. Infinity takes the white
#   pixels for the strongest contours of all, which is why 0.1 is the default.
# - ``min_area``: for regions, the number of pixels below which a region joins its neighbour.

rows = {
    "sparsity": [{"sparsity": value} for value in (0.98, 0.9, 0.8, 0.5)],
    "nu": [{"sparsity": 0.8, "nu": value} for value in (0.1, 0.3, 1, 3)],
    "delta": [{"sparsity": 0.9, "delta": value} for value in (0.03, 0.1, 0.3, np.inf)],
    "min_area": [
        {"sparsity": 0.6, "output": "regions", "min_area": value} for value in (300, 30, 5, 1)
    ],
}

figure, axes = plt.subplots(4, 4, figsize=(10, 8), layout="constrained")
for panels, (name, row) in zip(axes, rows.items(), strict=True):
    for panel, settings in zip(panels, row, strict=True):
        panel.imshow(smooth(noisy, channel_axis=-1, **settings))
        panel.set_title(f"{name} {settings[name]}", fontsize=10)
        panel.axis("off")

# %%
# With ``"auto"`` none of them has to be chosen:

figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
images = {"noisy": noisy, "auto": smooth(noisy, "auto", channel_axis=-1)}
for panel, (title, image) in zip(axes, images.items(), strict=True):
    panel.imshow(image)
    panel.set_title(title, fontsize=10)
    panel.axis("off")
