"""The command line, `virolbi`: one file for each group of commands."""

from virolbi.cli.app import app

# Each file registers its commands when it is imported, in the order of `virolbi --help`.
from virolbi.cli import (  # noqa: F401  # isort: skip
    images,
    training,
    judging,
    reporting,
    deployment,
    comparing,
)

__all__ = [
    "app",
]
