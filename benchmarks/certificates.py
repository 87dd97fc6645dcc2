"""Certified accuracy behind our smoother and behind a small denoiser that is trained for the noise.

    python benchmarks/certificates.py DATA RUN [RUN ...]

DATA is the folder of CIFAR-10, RUN that of a training run, such as
`virolbi train cifar10-resnet8-plain RUN`. Denoised smoothing (Salman et al., NeurIPS 2020) at sigma
.25, on every twentieth test image, with 1,000 samples of each. The denoiser is a DnCNN (Zhang et
al., 2017) of 6 layers and 32 channels, without batch normalisation: it is trained here on clean
training images and their noisy copies with the mean squared error, in about half an hour on one
core, and kept in runs/certificates. Rows go to results/certificates; certificates of single images
stay beside the denoiser, so that the same command resumes.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from virolbi.data import load
from virolbi.evaluation import View, certify_views, load_subject
from virolbi.nn import Smooth
from virolbi.results import write_lines

ROOT = Path(__file__).parent.parent
RUNS, RESULTS = ROOT / "runs" / "certificates", ROOT / "results" / "certificates"
SIGMA, SAMPLES, EVERY = 0.25, 1000, 20
RADII = (0.0, 0.1, 0.25, 0.4, 0.5)
LAYERS, WIDTH = 6, 32
EPOCHS, BATCH, RATE = 4, 64, 2e-3


class DnCNN(nn.Module):
    """Network that returns the images less the noise that it finds in them."""

    def __init__(self):
        super().__init__()
        inner = [(WIDTH, WIDTH)] * (LAYERS - 2)
        layers = [
            layer
            for channels in [(3, WIDTH), *inner]
            for layer in (nn.Conv2d(*channels, 3, padding=1), nn.ReLU())
        ]
        self.noise = nn.Sequential(*layers, nn.Conv2d(WIDTH, 3, 3, padding=1))

    def forward(self, images):
        """Denoise images, (N, 3, H, W)."""
        return images - self.noise(images)


def known(seen):
    """Return the noise that is there, in place of the noise that is seen."""
    return np.full_like(seen, SIGMA)


def trained_denoiser(images):
    """Return the denoiser, trained on images unless that has been done."""
    torch.manual_seed(0)
    denoiser = DnCNN().to(memory_format=torch.channels_last)
    path = RUNS / "denoiser.pt"
    if path.exists():
        denoiser.load_state_dict(torch.load(path, weights_only=True))
        return denoiser.eval()
    steps = EPOCHS * len(images) // BATCH
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(images), (BATCH,)).numpy()
        clean = torch.from_numpy(images.intensities(rows))
        if step % 2:
            clean = clean.flip(-1)
        noisy = (clean + SIGMA * torch.randn_like(clean)).clamp(0, 1)
        loss = (denoiser(noisy) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            print(f"denoiser: step {step} of {steps}, squared error {loss.item():.5f}", flush=True)
    torch.save(denoiser.state_dict(), path)
    return denoiser.eval()


def main():
    """Train the denoiser, certify every run behind everything, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="folder of CIFAR-10")
    parser.add_argument("runs", nargs="+", help="folders of training runs")
    arguments = parser.parse_args()
    for folder in (RUNS, RESULTS):
        folder.mkdir(parents=True, exist_ok=True)
    fronts = {
        "nothing": None,
        "auto": Smooth("auto"),
        "auto, told the noise": Smooth(known),
        "trained denoiser": trained_denoiser(load(arguments.data, "train")),
    }
    images = load(arguments.data, "test").subset(np.s_[::EVERY])
    rows = []
    for run in arguments.runs:
        subject = load_subject(run)
        network = subject.views[0].network
        for name, front in fronts.items():
            behind = replace(subject, views=(View(name, network, front),))
            rows += certify_views(
                behind,
                images,
                RUNS / "certified.jsonl",
                sigma=SIGMA,
                radii=RADII,
                samples=SAMPLES,
            )
            print(run, name, *(row["accuracy"] for row in rows[-len(RADII) :]), flush=True)
    write_lines(RESULTS / "rows.jsonl", rows)


if __name__ == "__main__":
    main()
