"""The explorer: a page on which one tries the smoother on pictures, and the logic behind it."""

from virolbi.explorer.explorer import Answer, Explorer, Frame
from virolbi.explorer.samples import SAMPLES, Source, draw_sample
from virolbi.explorer.serving import serve
from virolbi.explorer.settings import CHOICES, CORRUPTIONS, Settings

__all__ = [
    "CHOICES",
    "CORRUPTIONS",
    "SAMPLES",
    "Answer",
    "Explorer",
    "Frame",
    "Settings",
    "Source",
    "draw_sample",
    "serve",
]
