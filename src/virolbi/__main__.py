"""Run the command line with `python -m virolbi`."""

from virolbi.cli import app

app()
