"""
A stream whose noise drifts
===========================

A camera whose noise rises, falls and jumps. ``"auto"`` looks at each frame by itself; ``Online``
uses the median over the last frames, which is steadier where frames are small, or rich in
texture.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage.data import coffee
from skimage.transform import rescale

from virolbi import noise_strength, smooth
from virolbi.scale_space import Online

rng = np.random.default_rng(0)
scene = rescale(coffee() / 255, 0.5, channel_axis=-1)
levels = np.concatenate([np.linspace(0, 0.12, 30), np.linspace(0.12, 0.03, 30), np.full(20, 0.1)])
corners = rng.integers(0, (scene.shape[0] - 64, scene.shape[1] - 64), (len(levels), 2))
clean = np.stack([scene[row : row + 64, column : column + 64] for row, column in corners])
noise = levels[:, None, None, None] * rng.normal(size=clean.shape)
frames = (clean + noise).clip(0, 1).astype(np.float32)

# %%
# A fixed sparsity is right for one level of noise, and wrong for all others. ``Online`` follows a
# jump only after half of its frames; here the frames show enough of their noise by themselves.

online = Online(memory=9)
results = {
    "auto": smooth(frames, "auto", channel_axis=-1),
    "Online": smooth(frames, online, channel_axis=-1),
    "sparsity 0.95": smooth(frames, 0.95, channel_axis=-1),
    "sparsity 0.6": smooth(frames, 0.6, channel_axis=-1),
}
figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 5.5), sharex=True, layout="constrained")
upper.plot(levels, "k", label="true noise")
upper.plot(noise_strength(frames, channel_axis=-1), ".", label="estimate for each frame")
upper.set_ylabel("noise")
upper.legend()
for name, result in results.items():
    error = np.sqrt(np.mean((result - clean) ** 2, axis=(1, 2, 3)))
    lower.plot(error, label=f"{name}, mean {error.mean():.4f}")
lower.set_xlabel("frame")
lower.set_ylabel("root mean square error")
lower.legend(fontsize=8)
