import numba
from numba.core import caching

from virolbi._engine import compile as compile_module


def test_compiling_is_announced_once(caplog, monkeypatch):
    monkeypatch.setattr(compile_module.ANNOUNCER, "said", False)

    def compile_one(module):
        def double(x):
            return 2 * x

        double.__module__ = module
        caplog.clear()
        assert numba.njit(double)(2) == 4
        return caplog.text

    assert compile_one("another_package") == ""
    assert "compiling for this processor" in compile_one("virolbi.anything")
    assert compile_one("virolbi.anything") == ""


def test_without_a_place_for_a_cache_it_compiles_all_the_same(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])

    def triple(x):
        return 3 * x

    assert compile_module.compiled(triple)(2) == 6
