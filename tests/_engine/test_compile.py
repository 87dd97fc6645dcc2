import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from numba.core import caching

import virolbi
from virolbi._engine import compile as compile_module


@pytest.fixture
def compile_one(caplog, monkeypatch):
    """Function that compiles another function, and returns what is logged."""
    for name, value in (("announced", False), ("is_ahead", False), ("kinds", set())):
        monkeypatch.setattr(compile_module.ANNOUNCER, name, value)

    def compile_function(module, name="double", argument=2):
        def double(x):
            return 2 * x

        double.__module__, double.__name__ = module, name
        caplog.clear()
        assert numba.njit(double)(argument) == 2 * argument
        return caplog.text

    return compile_function


def test_each_kind_of_image_is_announced(compile_one):
    announced = [
        bool(compile_one("virolbi.anything", name, argument))
        for name, argument in (
            ("begin", 2),
            ("march", 2),
            ("begin", 2.0),
            ("march", 2.0),
            ("begin", 2),
            ("other", 2),
        )
    ]
    assert announced == [True, False, True, False, False, False]


def test_what_is_compiled_ahead_is_announced_with_the_first_kind(compile_one):
    names = ("noise", "begin", "march")
    announced = [bool(compile_one("virolbi.anything", name)) for name in names]
    assert announced == [True, False, False]
    assert compile_one("virolbi.anything", "begin", 2.0) != ""


def test_compiling_is_announced_once(compile_one):

    assert compile_one("another_package") == ""
    assert "compiling for this processor" in compile_one("virolbi.anything")
    assert compile_one("virolbi.anything") == ""


def test_functions_are_compiled_even_if_no_cache_folder_can_be_written(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def triple(x):
        return 3 * x

    assert compile_module.compiled(triple)(2) == 6


@pytest.mark.slow
def test_a_change_in_one_file_recompiles_callers_in_other_files(tmp_path):
    """`copy_array` of events.py is compiled into its callers, whose caches are then outdated.

    So are the constants of files beside them.
    """
    shutil.copytree(Path(virolbi.__file__).parent, tmp_path / "virolbi")
    code = (
        "import numpy as np; from virolbi._engine.events import copy_array; "
        "from virolbi._engine.compile import compiled\n"
        "from caller import outer; print(outer(np.zeros(2), np.ones(2)).sum())"
    )
    (tmp_path / "caller.py").write_text(
        "from virolbi._engine.compile import compiled\n"
        "from virolbi._engine.events import copy_array\n"
        "from constants import FACTOR\n\n\n"
        "@compiled\ndef outer(target, source):\n"
        "    copy_array(target, source)\n    return FACTOR * target\n"
    )
    (tmp_path / "constants.py").write_text("FACTOR = 1\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)}

    def run():
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout

    assert run() == "2.0\n"
    events = tmp_path / "virolbi" / "_engine" / "events.py"
    source = events.read_text()
    assert "target[i] = source[i]" in source
    events.write_text(source.replace("target[i] = source[i]", "target[i] = 2 * source[i]"))
    assert run() == "4.0\n"
    (tmp_path / "constants.py").write_text("FACTOR = 10\n")
    assert run() == "40.0\n"
