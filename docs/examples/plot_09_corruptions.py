"""
A sheet of corruptions, and a classifier's answers
==================================================

``virolbi.corruptions`` has the nineteen common corruptions at five severities, for images of any
size. ``virolbi corrupt photo.png sheet.png`` draws the first of these pictures.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage.data import coffee

from virolbi.corruptions import COMMON, HELD_OUT, corrupt
from virolbi.data import load
from virolbi.recipes import load_recipe
from virolbi.training import train

photo = coffee()[20:380:2, 120:560:2].astype(np.float32).transpose(2, 0, 1)[None] / 255
figure, axes = plt.subplots(4, 5, figsize=(11, 8), layout="constrained")
axes.flat[0].imshow(photo[0].transpose(1, 2, 0))
axes.flat[0].set_title("clean", fontsize=9)
for panel, name in zip(axes.flat[1:], COMMON + HELD_OUT, strict=True):
    panel.imshow(corrupt(photo, name, 3)[0].transpose(1, 2, 0))
    panel.set_title(name.replace("_", " "), fontsize=9)
for panel in axes.flat:
    panel.axis("off")

# %%
# A small network answers for one digit under each of them, in red where it is wrong.

model = train(load_recipe("digits-resnet8-plain").replace(limit=800, epochs=4)).model.eval()
test = load("digits", "test", limit=2)
digit, label = test.intensities()[1:], test.labels[1]
figure, axes = plt.subplots(4, 5, figsize=(8, 7.4), layout="constrained")
for panel, name in zip(axes.flat, ("clean", *COMMON, *HELD_OUT), strict=True):
    image = digit if name == "clean" else corrupt(digit, name, 5)
    with torch.no_grad():
        answers = model(torch.from_numpy(image)).softmax(1)[0]
    answer = int(answers.argmax())
    panel.imshow(image[0, 0], cmap="gray", vmin=0, vmax=1)
    color = "black" if answer == label else "firebrick"
    title = f"{name.replace('_', ' ')}\n{answer} ({answers[answer]:.0%})"
    panel.set_title(title, fontsize=8, color=color)
    panel.axis("off")
