"""Training of classifiers: batches made from recipes, one loop, and the folders of runs."""

from virolbi.training.batches import Batches, TrainingBatch
from virolbi.training.building import build_classifier
from virolbi.training.checkpoints import Checkpoint, read_checkpoint, saveable
from virolbi.training.devices import choose_device, use_one_thread
from virolbi.training.equaliser import equalise
from virolbi.training.filters import HOST_FILTERS, build_filter
from virolbi.training.loop import Progress, train
from virolbi.training.losses import batch_loss
from virolbi.training.models import (
    Classifier,
    Normalisation,
    build_network,
    channel_statistics,
    output_for_zeros,
    pretrained_normalisation,
)
from virolbi.training.plan import plan_training
from virolbi.training.resnet import ResNet
from virolbi.training.runs import Run, load_run
from virolbi.training.schedule import learning_rate
from virolbi.training.showing import show_images
from virolbi.training.validation import validation_mask

__all__ = [
    "HOST_FILTERS",
    "Batches",
    "Checkpoint",
    "Classifier",
    "Normalisation",
    "Progress",
    "ResNet",
    "Run",
    "TrainingBatch",
    "batch_loss",
    "build_classifier",
    "build_filter",
    "build_network",
    "channel_statistics",
    "choose_device",
    "equalise",
    "learning_rate",
    "load_run",
    "output_for_zeros",
    "plan_training",
    "pretrained_normalisation",
    "read_checkpoint",
    "saveable",
    "show_images",
    "train",
    "use_one_thread",
    "validation_mask",
]
