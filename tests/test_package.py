import subprocess
import sys

import pytest

import virolbi

HEAVY = {
    "virolbi": ("torch", "matplotlib", "datasets", "typer", "PIL"),
    "virolbi.cli": ("torch", "matplotlib", "datasets"),
    "virolbi.corruptions": ("torch", "matplotlib", "datasets"),
    "virolbi.data": ("torch", "matplotlib", "datasets"),
    "virolbi.recipes": ("torch", "matplotlib", "datasets"),
    "virolbi.results": ("torch", "matplotlib", "datasets"),
}


def loaded_libraries(module):
    """Return which of the heavy libraries a new process has loaded after importing a module."""
    program = f"import sys, {module}; print(*({set(HEAVY[module])!r} & sys.modules.keys()))"
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return process.stdout.split()


@pytest.mark.parametrize("module", HEAVY)
def test_light_modules_load_no_heavy_library(module):
    assert loaded_libraries(module) == []


def test_the_package_has_seven_public_names():
    names = ["PAPER", "Scale", "ScaleSpace", "denoise", "lbi", "noise_strength", "smooth"]
    assert sorted(virolbi.__all__) == names
