"""
The derivative through the smoother
===================================

``Smooth`` is a layer with its exact derivative, so networks can be trained, and attacked, through
it. The derivative by the input shows which pixels an output depends on: those of its own region,
and none across a contour.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage.data import coins

from virolbi.nn import Smooth

image = torch.from_numpy(coins()[20:120, 20:120] / 255.0)[None, None].requires_grad_()
smooth = Smooth(0.9, nu=0.05)
smoothed = smooth(image)

# %%
# The derivative of three pixels of the result. A coin's edge stops it.

pixels = ((20, 30), (52, 22), (75, 75))
figure, axes = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
axes[0].imshow(smoothed[0, 0].detach(), cmap="gray")
axes[0].set_title("smoothed", fontsize=10)
for panel, (row, column) in zip(axes[1:], pixels, strict=True):
    (gradient,) = torch.autograd.grad(smoothed[0, 0, row, column], image, retain_graph=True)
    panel.imshow(image[0, 0].detach(), cmap="gray", alpha=0.6)
    strength = gradient[0, 0].clamp(min=0).sqrt()
    panel.imshow(strength, cmap="magma", alpha=np.clip(strength / strength.max(), 0, 1))
    panel.plot(column, row, "c+")
    panel.set_title(f"sum of the weights {gradient.sum():.3f}", fontsize=10)
for panel in axes:
    panel.axis("off")

# %%
# A finite difference agrees, as long as the change is too small to let an edge in.

change = torch.zeros_like(image)
change[0, 0, 75, 75] = 1e-5
(gradient,) = torch.autograd.grad(smoothed.square().sum(), image, retain_graph=True)
with torch.no_grad():
    difference = (smooth(image + change).square().sum() - smoothed.square().sum()) / 1e-5
print(f"derivative {gradient[0, 0, 75, 75]:.5f}, finite difference {difference:.5f}")
