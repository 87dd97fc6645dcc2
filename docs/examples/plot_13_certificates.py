"""
Certificates
============

Randomised smoothing asks a network about many noisy copies of an image; the vote is a guarantee
that no change below a radius moves the label. With the smoother as the denoiser, networks that
never saw noise can be certified.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from virolbi.data import load
from virolbi.nn import Smooth
from virolbi.recipes import load_recipe
from virolbi.robustness import certified_accuracy, certify
from virolbi.training import train

model = train(load_recipe("digits-resnet8-plain").replace(limit=1500, epochs=5)).model.eval()
test = load("digits", "test", limit=40)
images = torch.from_numpy(test.intensities())

# %%
# 40 images and 200 samples are enough for a picture, and not for a claim: see the settings of the
# published protocol in the guide.

radii = np.linspace(0, 0.3, 13)
plt.figure(figsize=(6, 3.6), layout="constrained")
for name, denoiser in {"none": None, "smoothed 0.9": Smooth(0.9), "auto": Smooth("auto")}.items():
    certificate = certify(model, images, sigma=0.12, selection=30, samples=200, denoiser=denoiser)
    rows = certified_accuracy(certificate, test.labels, radii)
    plt.step(radii, [row["accuracy"] for row in rows], where="post", label=f"denoiser: {name}")
plt.xlabel("radius (L2)")
plt.ylabel("certified accuracy")
plt.ylim(0, 1)
plt.grid(alpha=0.3)
plt.legend()
