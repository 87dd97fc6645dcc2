"""Fixtures of the tests of commands: a runner, and an image file."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from virolbi.cli import app


@pytest.fixture
def run():
    """Function that runs a command, checks its exit code and returns its output."""

    def run_command(*arguments, code=0, **settings):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], **settings)
        assert result.exit_code == code, result.output
        return result.output

    return run_command


@pytest.fixture
def picture(tmp_path, photographs):
    """Image file of 32x32 pixels, in colour."""
    Image.fromarray(photographs[3]).save(tmp_path / "in.png")
    return tmp_path / "in.png"
