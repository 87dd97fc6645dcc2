"""
Train on digits in a minute
===========================

Two small networks on 800 handwritten digits: one trained as usual, one with the recipe
``recommended``. Both are then shown digits under impulses and glass blur, which neither was trained
on, and under Gaussian noise, which is part of the recipe.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from virolbi.corruptions import corrupt
from virolbi.data import load
from virolbi.nn import Smooth
from virolbi.recipes import load_recipe
from virolbi.training import train

SIZE = {"limit": 800, "epochs": 5}
plain = train(load_recipe("digits-resnet8-plain").replace(**SIZE)).model.eval()
recommended = train(load_recipe("digits-resnet8-recommended").replace(**SIZE)).model.eval()

# %%
# ``recommended`` is tested with the smoother in front, which looks at the noise of each image.

models = {"plain": plain, "recommended": torch.nn.Sequential(Smooth("auto"), recommended)}
test = load("digits", "test", limit=300)
images = test.intensities()


@torch.no_grad()
def accuracy(model, images):
    """Return the share of the test images that a model classifies correctly."""
    answers = model(torch.from_numpy(images)).argmax(1).numpy()
    return float(np.mean(answers == test.labels))


severities = range(6)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
for panel, name in zip(axes, ("impulse_noise", "gaussian_noise", "glass_blur"), strict=True):
    shown = [images] + [corrupt(images, name, severity) for severity in severities[1:]]
    for trained, model in models.items():
        panel.plot(severities, [accuracy(model, batch) for batch in shown], "o-", label=trained)
    panel.set_title(name.replace("_", " "))
    panel.set_xlabel("severity")
    panel.grid(alpha=0.3)
axes[0].set_ylabel("accuracy")
axes[0].legend()

# %%
# From the shell, with all digits, and with as many networks and rivals as wanted::
#
#     virolbi train digits-resnet8-recommended runs/digits
#     virolbi compare digits-resnet8 runs/all --seeds 2
