import subprocess
import sys

import virolbi

HEAVY = {
    "virolbi": ("torch", "matplotlib", "datasets", "typer", "PIL"),
    "virolbi.cli": ("torch", "matplotlib", "datasets"),
}


def loaded_libraries(module):
    """Return which of the heavy libraries a new process has loaded after importing a module."""
    program = f"import sys, {module}; print(*({set(HEAVY[module])!r} & sys.modules.keys()))"
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return process.stdout.split()


def test_importing_the_package_loads_no_heavy_library():
    assert loaded_libraries("virolbi") == []


def test_importing_the_command_line_does_not_load_torch():
    assert loaded_libraries("virolbi.cli") == []


def test_the_package_has_seven_public_names():
    names = ["PAPER", "Scale", "ScaleSpace", "denoise", "lbi", "noise_strength", "smooth"]
    assert sorted(virolbi.__all__) == names
