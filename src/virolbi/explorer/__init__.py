"""The explorer: a page on which one tries the smoother on pictures, and the logic behind it."""

from virolbi.explorer.explorer import MEGAPIXELS, Answer, Explorer, Frame
from virolbi.explorer.samples import SAMPLES, Source, draw_sample
from virolbi.explorer.serving import MEGABYTES, serve
from virolbi.explorer.settings import CORRUPTIONS, Settings

__all__ = [
    "CORRUPTIONS",
    "MEGABYTES",
    "MEGAPIXELS",
    "SAMPLES",
    "Answer",
    "Explorer",
    "Frame",
    "Settings",
    "Source",
    "draw_sample",
    "serve",
]
