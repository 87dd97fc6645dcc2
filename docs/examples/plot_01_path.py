"""
The path of a photograph
========================

The path begins with an almost blank image and ends at the image itself. Variations (differences of
neighbouring pixels) are added back along it, the strongest and largest first. It is computed once,
and can then be read at any moment, which a sparsity names: the share of variations still left out.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import coffee

from virolbi import ScaleSpace

photo = coffee()[20:380, 120:560]
# A smaller nu than the default of 1 cleans flat areas more, so that regions are easier to see.
space = ScaleSpace(photo, channel_axis=-1, nu=0.1)

# %%
# Regions are piecewise constant: each has one colour. With a smaller sparsity more edges have
# entered, and there are more regions.

sparsities = (0.97, 0.93, 0.9, 0.8, 0.6, 0.4)
figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), layout="constrained")
for panel, sparsity in zip(axes.flat, sparsities, strict=True):
    scale = space.at(sparsity)
    panel.imshow(scale.regions)
    panel.set_title(f"sparsity {sparsity}, {scale.diagnostics.regions:,} regions", fontsize=10)
    panel.axis("off")

# %%
# The other output, beta, which ``smooth`` returns, is smooth where nothing has entered, and keeps
# strong contours early.

figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), layout="constrained")
for panel, sparsity in zip(axes.flat, (1.0, *sparsities[:5]), strict=True):
    panel.imshow(space.at(sparsity).beta)
    panel.set_title(f"sparsity {sparsity}", fontsize=10)
    panel.axis("off")

# %%
# Edges enter by their variation: sparsity falls over time. Noise of one strength enters at about
# one time, whatever the image, and this is what ``"auto"`` uses.

times = np.geomspace(1, 1000, 40)
plt.figure(figsize=(6, 3.2), layout="constrained")
plt.semilogx(times, [space.at(time=time).sparsity for time in times])
plt.xlabel("time (1 / intensity)")
plt.ylabel("sparsity")
plt.grid(alpha=0.3)
