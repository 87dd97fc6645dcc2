"""The command line, `virolbi`: one file for each group of commands.

- app: the typer app, errors, progress; options: what commands share; parsing: of their texts;
  moments: the form and the moment on the path that they state; subjects: the classifier and the
  images that options name; texts: lines about results; usage: errors of arguments and options
- images: smooth, denoise, path, corrupt
- exploring: app
- training: recipes, train
- judging: classify, evaluate, certify
- choosing: select, calibrate
- adapting: adapt
- reporting: versus, report
- deployment: export, smooth-dataset
- comparing: compare, study, demo
"""

from virolbi.cli.app import app

# Each file registers its commands when it is imported, in the order of `virolbi --help`.
from virolbi.cli import (  # noqa: F401  # isort: skip
    images,
    exploring,
    training,
    judging,
    choosing,
    adapting,
    reporting,
    deployment,
    comparing,
)

__all__ = [
    "app",
]
