"""Adaptation of classifiers to unlabelled test images: methods, orders of images, judgement."""

from virolbi.evaluation.adaptation.adapt import FISHER_IMAGES, adapt, check_adaptation
from virolbi.evaluation.adaptation.methods import METHODS, Adapter, Setting
from virolbi.evaluation.adaptation.streams import STREAMS, StreamName, streams

__all__ = [
    "FISHER_IMAGES",
    "METHODS",
    "STREAMS",
    "Adapter",
    "Setting",
    "StreamName",
    "adapt",
    "check_adaptation",
    "streams",
]
