"""
Stacks of images, and images of many bands
==========================================

All axes but height, width and the channels count images, and each image gets its own smoothing.
Bands of one image share their contours (``joint=True``), which helps the noisy ones.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import coffee
from skimage.transform import rescale

from virolbi import ScaleSpace, smooth

# %%
# A stack of the same photograph under more and more noise: ``"auto"`` looks at each by itself.

rng = np.random.default_rng(0)
clean = rescale(coffee()[20:380, 120:560] / 255, 0.5, channel_axis=-1)
stack = np.stack([clean + rng.normal(0, noise, clean.shape) for noise in (0, 0.05, 0.1, 0.2)])
stack = stack.clip(0, 1).astype(np.float32)  # (4, H, W, 3)
scale = ScaleSpace(stack, channel_axis=-1).at("auto")

figure, axes = plt.subplots(2, 4, figsize=(11, 4.8), layout="constrained")
for column, sparsity in enumerate(scale.sparsity):
    axes[0, column].imshow(stack[column])
    axes[1, column].imshow(scale.beta[column].clip(0, 1))
    axes[1, column].set_title(f"sparsity {sparsity:.2f}", fontsize=10)
for panel in axes.flat:
    panel.axis("off")

# %%
# Twelve bands of one scene, made here by mixing its colours; every band is noisy. Alone, a band has
# only its own variations to tell contours from noise. Together, they have those of all bands. Each
# has the better of a few sparsities here: the rule of ``"auto"`` was fitted to images of one and
# three channels, and lets too much in where many bands share their contours.

weights = rng.dirichlet(np.ones(3), 12)
bands = clean @ weights.T  # (H, W, 12)
noisy = (bands + rng.normal(0, 0.15, bands.shape)).clip(0, 1).astype(np.float32)
alone = smooth(noisy, 0.98, channel_axis=-1, joint=False)
together = smooth(noisy, 0.96, channel_axis=-1, joint=True)


def psnr(image):
    """Return the peak signal-to-noise ratio over all bands, in dB."""
    return -10 * np.log10(np.mean((image - bands) ** 2))


figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for panel, (title, image) in zip(
    axes, {"noisy": noisy, "each band alone": alone, "all together": together}.items(), strict=True
):
    panel.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    panel.set_title(f"{title}, {psnr(image):.1f} dB", fontsize=10)
    panel.axis("off")
