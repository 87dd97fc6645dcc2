"""Train in a loop of one's own with `Recommended` as its transform, and judge it like the recipe.

Usage: python benchmarks/own_loop.py CIFAR10 [--seeds N]

The loop is `train` below: torch and torchvision alone, but for the transform and the network. The
recipe is `recommended` of the stage `choose` of one_recipe.py: 12 passes of the first 10,000
training images of CIFAR-10 by a ResNet-8, judged on the last 1,000 under the four held-out
corruptions. Rows go to results/own_loop; those that are there are kept. The table of means beside
the recipe's is written at the end.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from virolbi.corruptions import HELD_OUT
from virolbi.data import Images, load
from virolbi.evaluation import Attacks, Conditions, evaluate, subject_from_network
from virolbi.results import Row, read_rows, write_lines
from virolbi.training import build_network
from virolbi.transforms import Recommended

RESULTS = Path(__file__).parent.parent / "results"
ROWS = RESULTS / "own_loop" / "rows.jsonl"
EPOCHS, TRAINED, JUDGED = 12, 10_000, 1_000


def train(images: Images, seed: int) -> nn.Module:
    """Train a ResNet-8 from intensities in [0, 1] to logits."""
    torch.manual_seed(seed)
    steps = [
        v2.RandomCrop(32, padding=4, padding_mode="reflect"),
        v2.RandomHorizontalFlip(),
        Recommended(),
        v2.ToDtype(torch.float32, scale=True),
    ]
    transform = v2.Compose(steps)
    pixels = torch.from_numpy(images.pixels)
    pairs = [(image, int(label)) for image, label in zip(pixels, images.labels, strict=True)]
    loader = DataLoader(
        pairs,  # type: ignore[arg-type]  # a list is a data set
        batch_size=64,
        shuffle=True,
        drop_last=True,
        collate_fn=lambda batch: (
            torch.stack([transform(image) for image, _ in batch]),
            torch.tensor([label for _, label in batch]),
        ),
    )
    mean = (pixels / 255).mean((0, 2, 3)).tolist()
    spread = (pixels / 255).std((0, 2, 3)).tolist()
    network = nn.Sequential(
        v2.Normalize(mean, spread), build_network("resnet8", channels=3, classes=10, size=32)
    )
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.2, EPOCHS * len(loader), div_factor=2, cycle_momentum=False
    )
    for _ in range(EPOCHS):
        for batch, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(batch), labels).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def mean_accuracies(rows: list[Row], trained: str) -> dict[str, Any]:
    """Return mean accuracies of one seed by the kind of images."""
    groups = {
        "clean": [r for r in rows if r["condition"] == "clean"],
        "held out": [r for r in rows if r["condition"] in HELD_OUT],
        "low resolution": [r for r in rows if r["condition"] == "low_resolution"],
    }
    means = {
        name: round(float(np.mean([r["accuracy"] for r in group])), 3)
        for name, group in groups.items()
    }
    return {"trained by": trained, "seed": rows[0]["seed"], "view": rows[0]["view"]} | means


def main(data: str, seeds: int) -> None:
    """Train and judge what has no rows yet, and write the table."""
    torch.set_num_threads(1)
    images = load(data, "train")
    judged = images.subset(np.s_[-JUDGED:])
    for seed in range(seeds):
        rows = [row for row in read_rows(ROWS) if row["seed"] == seed]
        if len(rows) < 2 * (1 + 5 * len(HELD_OUT) + 2):  # of two views
            network = train(images.subset(np.s_[:TRAINED]), seed)
            subject = subject_from_network(
                network, "own loop", ("auto",), seed=seed, classes=images.classes
            )
            conditions, attacks = Conditions(HELD_OUT), Attacks(attacked=0)
            evaluate(subject, judged, ROWS, conditions=conditions, attacks=attacks)
    table = []
    for arm, file in (
        ("recommended", RESULTS / "one_recipe" / "choose" / "rows.jsonl"),
        ("own loop", ROWS),
    ):
        for view in ("raw", "auto"):
            for seed in range(seeds):
                rows = [
                    row
                    for row in read_rows(file)
                    if (row["arm"], row["view"], row["seed"]) == (arm, view, seed)
                ]
                table.append(mean_accuracies(rows, arm.replace("recommended", "recipe")))
    write_lines(ROWS.with_name("means.jsonl"), table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    main(given.data, given.seeds)
