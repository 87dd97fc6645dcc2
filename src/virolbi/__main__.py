"""Run the command line with `python -m virolbi`."""

from virolbi.cli import app

if __name__ == "__main__":
    app()
