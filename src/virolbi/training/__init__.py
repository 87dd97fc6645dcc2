"""Training a classifier: recipes to batches, one loop, and the folder of a run."""

from virolbi.training.batches import Batches
from virolbi.training.filters import build_filter
from virolbi.training.loop import Progress, learning_rate, plan_training, train, use_one_thread
from virolbi.training.models import (
    Classifier,
    ResNet,
    build_network,
    channel_statistics,
    output_shape,
    pretrained_normalisation,
)
from virolbi.training.runs import (
    Run,
    build_classifier,
    choose_device,
    load_run,
    read_checkpoint,
    saveable,
)

__all__ = [
    "Batches",
    "Classifier",
    "Progress",
    "ResNet",
    "Run",
    "build_classifier",
    "build_filter",
    "build_network",
    "channel_statistics",
    "choose_device",
    "learning_rate",
    "load_run",
    "output_shape",
    "plan_training",
    "pretrained_normalisation",
    "read_checkpoint",
    "saveable",
    "train",
    "use_one_thread",
]
