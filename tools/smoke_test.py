"""Check a wheel that is installed alone in an environment: import, smooth, list recipes."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import virolbi


def run(command: Path, *arguments: str) -> str:
    """Run a command of the environment and return its output; raise if it fails."""
    return subprocess.run([command, *arguments], check=True, capture_output=True, text=True).stdout


def main(environment: Path) -> None:
    """Use the package as its first user would."""
    installed = Path(virolbi.__file__).resolve()
    assert installed.is_relative_to(environment.resolve()), installed
    noisy = np.random.default_rng(0).normal(0.5, 0.1, (64, 64)).clip(0, 1)
    assert virolbi.smooth(noisy, "auto").std() < noisy.std() / 2
    command = environment / "bin" / "virolbi"
    assert virolbi.__version__ in run(command, "--version")
    with tempfile.TemporaryDirectory() as folder:
        picture, result = Path(folder, "noisy.png"), Path(folder, "smooth.png")
        Image.fromarray((noisy * 255).astype(np.uint8)).save(picture)
        run(command, "smooth", str(picture), str(result))
        with Image.open(result) as smoothed:
            assert smoothed.size == (64, 64)
    recipes = run(command, "recipes", "digits").split()
    assert "digits-resnet8-recommended" in recipes
    sys.stdout.write(f"virolbi {virolbi.__version__} works from its wheel\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
