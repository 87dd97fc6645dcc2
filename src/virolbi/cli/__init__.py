"""The commands."""

from virolbi.cli.options import app

__all__ = [
    "app",
]
