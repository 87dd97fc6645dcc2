import inspect
import subprocess
import sys

import virolbi
from virolbi.nn import Smooth
from virolbi.scale_space import Form


def test_importing_the_package_loads_no_heavy_library():
    program = "import sys, virolbi; print(sorted({'torch', 'matplotlib', 'datasets', 'typer', 'PIL'} & sys.modules.keys()))"
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_the_commands_that_need_no_torch_do_not_load_it():
    program = "import sys, virolbi.cli; print(sorted({'torch', 'matplotlib', 'datasets'} & sys.modules.keys()))"
    assert (
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_the_public_face_is_four_names():
    assert sorted(virolbi.__all__) == [
        "PAPER",
        "Scale",
        "ScaleSpace",
        "lbi",
        "noise_strength",
        "smooth",
    ]


def test_the_robust_preset_is_what_smooth_and_the_layer_do_by_default():
    for function in (virolbi.smooth, Smooth):
        parameters = inspect.signature(function).parameters
        assert {name: parameters[name].default for name in Form().keywords()} == Form().keywords()
