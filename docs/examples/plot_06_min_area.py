"""
Small regions: ``min_area``
===========================

Single noisy pixels are regions of their own. ``min_area`` merges regions of fewer pixels into the
neighbour that is most similar, at any moment of the path.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import coffee

from virolbi import ScaleSpace

clean = coffee()[40:240, 160:440] / 255
noise = np.random.default_rng(0).normal(0, 0.1, clean.shape)
noisy = (clean + noise).clip(0, 1).astype(np.float32)

figure, axes = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
for panel, area in zip(axes.flat, (1, 4, 20, 150), strict=True):
    scale = ScaleSpace(noisy, nu=0.1, min_area=area, channel_axis=-1).at(0.8)
    panel.imshow(scale.regions)
    panel.set_title(f"min_area={area}: {scale.diagnostics.regions:,} regions", fontsize=10)
    panel.axis("off")
