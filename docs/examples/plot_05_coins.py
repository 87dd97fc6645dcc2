"""
Regions of coins
================

Regions by three lines, beside two segmentations of scikit-image. The image has 24 coins and a
background, so 25 regions are right.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import coins
from skimage.segmentation import felzenszwalb, mark_boundaries, slic

from virolbi import ScaleSpace

image = coins()
space = ScaleSpace(image, nu=0.1, min_area=200)
labels = space.at(sparsity=0.94).labels
print("regions:", labels.max() + 1)

# %%
# The others have settings too; these were tried by hand until they looked best.

segmentations = {
    "virolbi": labels,
    "felzenszwalb": felzenszwalb(image, scale=800, sigma=1.0, min_size=200),
    "SLIC": slic(image, n_segments=60, compactness=0.1, channel_axis=None),
}
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for panel, (name, segmentation) in zip(axes, segmentations.items(), strict=True):
    panel.imshow(mark_boundaries(image, segmentation, color=(1, 0.2, 0.1), mode="thick"))
    panel.set_title(f"{name}: {len(np.unique(segmentation))} regions", fontsize=10)
    panel.axis("off")

# %%
# A contour with a gap merges the two sides. The number of regions over the path shows where this
# happens, and how wide the range is in which the answer is right.

sparsities = np.linspace(0.985, 0.88, 36)
counts = [space.at(sparsity).diagnostics.regions for sparsity in sparsities]
plt.figure(figsize=(6, 3), layout="constrained")
plt.plot(sparsities, counts)
plt.axhline(25, color="grey", linestyle=":")
plt.gca().invert_xaxis()
plt.xlabel("sparsity, from smooth to detailed")
plt.ylabel("regions")
