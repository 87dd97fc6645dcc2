"""Training a classifier: recipes to batches, one loop, and the folder of a run."""

from virolbi.training.batches import Batches
from virolbi.training.filters import build_filter
from virolbi.training.loop import Progress, learning_rate, outline, smooth_alone, train
from virolbi.training.models import Classifier, ResNet, build, channel_statistics, own_normalisation, trial
from virolbi.training.runs import Run, device, load_run, new_model, plain, read_checkpoint

__all__ = ['Batches', 'Classifier', 'Progress', 'ResNet', 'Run', 'build', 'build_filter', 'channel_statistics', 'device', 'learning_rate', 'load_run', 'new_model', 'outline', 'own_normalisation', 'plain', 'read_checkpoint', 'smooth_alone', 'train', 'trial']
