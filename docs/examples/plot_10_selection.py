"""
Choose a sparsity for a classifier
==================================

Which smoothing keeps the labels of a trained network, clean and under noise? ``virolbi select
RUN`` answers from images that the network was not trained on; these are its lines in Python.
"""

import matplotlib.pyplot as plt

from virolbi.data import load
from virolbi.evaluation import select_sparsity
from virolbi.recipes import load_recipe
from virolbi.training import train

recipe = load_recipe("digits-resnet8-recommended").replace(limit=800, epochs=5)
run = train(recipe)
unseen = load("digits", "train").subset(slice(1000, 1150))
selection = select_sparsity(
    run.model, unseen, form=recipe.form, sparsities=(0.95, 0.9, 0.8, 0.6, 0.3, 0.0)
)

# %%
# Each column is a choice. ``auto`` chooses for each image.

accuracy = selection.right.mean(axis=2)
figure, axes = plt.subplots(figsize=(7, 5.5), layout="constrained")
axes.imshow(accuracy, cmap="viridis", aspect="auto")
axes.set_xticks(range(len(selection.choices)), map(str, selection.choices))
axes.set_yticks(range(len(selection.conditions)), selection.conditions)
axes.set_xlabel("sparsity")
for row, line in enumerate(accuracy):
    for column, value in enumerate(line):
        color = "white" if value < (accuracy.min() + accuracy.max()) / 2 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=color)
