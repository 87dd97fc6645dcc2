"""A small trained denoiser, as a rival: a network like FFDNet that is not told the noise.

Pixels are folded 2x2 into channels, as in FFDNet (Zhang et al., IEEE TIP 2018); eight convolutions
of 48 channels estimate the noise, which is subtracted. It is trained on photographs without
labels, with the noise by which `virolbi calibrate` chooses: normal noise of random strength that is
constant or grows with the intensity, and single pixels of random colours. So it knows the kinds of
noise that the front of a calibrated network knows, and none that is judged.

    python benchmarks/trained_denoiser.py imagenette112 runs/denoiser.pt
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from virolbi.data import load

# the same kinds and strengths of noise as in the calibration
from virolbi.evaluation.calibration import _add_noise, _replace_pixels

CHANNELS, LAYERS = 48, 8
PATCH, BATCH, RATE = 64, 16, 2e-3


class TrainedDenoiser(nn.Module):
    """Network that estimates noise of unknown kind and strength, and subtracts it."""

    def __init__(self):
        super().__init__()
        sizes = [12, *(CHANNELS,) * (LAYERS - 1), 12]
        layers = [nn.PixelUnshuffle(2)]
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.noise = nn.Sequential(*layers[:-1], nn.PixelShuffle(2))

    def forward(self, images):
        """Denoise colour images, (N, 3, H, W), with H and W even."""
        return (images - self.noise(images)).clamp(0, 1)


def read_denoiser(path):
    """Return the denoiser that a file holds."""
    denoiser = TrainedDenoiser()
    denoiser.load_state_dict(torch.load(path, weights_only=True))
    return denoiser.eval().to(memory_format=torch.channels_last)


def batch_of_patches(photographs, rng):
    """Return noisy and clean patches, one of four with single wrong pixels."""
    clean, noisy = [], []
    for photograph in photographs:
        top, left = (rng.integers(size - PATCH + 1) for size in photograph.shape[1:])
        patch = photograph[:, top : top + PATCH, left : left + PATCH]
        patch = np.rot90(patch, rng.integers(4), (1, 2))[:, :, :: rng.choice([-1, 1])]
        change = _replace_pixels if rng.random() < 0.25 else _add_noise
        clean.append(patch)
        noisy.append(change(patch, rng))
    return [
        torch.from_numpy(np.stack(x)).contiguous(memory_format=torch.channels_last)
        for x in (noisy, clean)
    ]


def train(images, steps, seed=0):
    """Return a denoiser trained on images."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pixels = images.intensities()
    denoiser = TrainedDenoiser().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(denoiser.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    losses, start = [], time.perf_counter()
    for step in range(steps):
        chosen = rng.choice(len(pixels), BATCH, replace=False)
        noisy, clean = batch_of_patches(pixels[chosen], rng)
        squared = (noisy - denoiser.noise(noisy) - clean).square().mean((1, 2, 3))
        loss = 10 * squared.log10().mean()  # less the mean PSNR: weak noise counts as strong does
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 500 == 499:
            mean, seconds = np.mean(losses[-500:]), time.perf_counter() - start
            print(f"step {step + 1} of {steps}: PSNR {-mean:.2f} dB, {seconds:.0f} s", flush=True)
    return denoiser


def main():
    """Train a denoiser and write its weights."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="folder of a data set with a training split")
    parser.add_argument("out", type=Path, help="file for the weights")
    parser.add_argument("--steps", type=int, default=12000)
    arguments = parser.parse_args()
    denoiser = train(load(arguments.data, "train"), arguments.steps)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(denoiser.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
