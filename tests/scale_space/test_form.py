import inspect
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from virolbi import PAPER, ScaleSpace, smooth
from virolbi.nn import Smooth
from virolbi.scale_space import (
    PRESETS,
    Form,
    check_delta,
    check_nu,
    check_sparsity_choice,
    depends_on_noise,
    from_pairs,
)

INF = float("inf")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("nu", 0.0009, ValueError),
        ("nu", 1001, ValueError),
        ("nu", -1.0, ValueError),
        ("nu", INF, ValueError),
        ("nu", float("nan"), ValueError),
        ("nu", "1", TypeError),
        ("nu", True, TypeError),
        ("nu", None, TypeError),
        ("nu", np.ones(2), TypeError),
        ("delta", 0.0009, ValueError),
        ("delta", -INF, ValueError),
        ("delta", float("nan"), ValueError),
        ("delta", "0.1", TypeError),
        ("delta", False, TypeError),
        ("delta", None, TypeError),
        ("joint", 1, TypeError),
        ("joint", "yes", TypeError),
        ("joint", None, TypeError),
        ("output", "gamma", ValueError),
        ("output", None, ValueError),
        ("min_area", 0, ValueError),
        ("min_area", -3, ValueError),
        ("min_area", 2.0, TypeError),
        ("min_area", True, TypeError),
        ("min_area", "2", TypeError),
        ("step", 0, ValueError),
        ("step", 0.6, ValueError),
        ("step", float("nan"), ValueError),
        ("step", "fine", TypeError),
        ("step", True, TypeError),
    ],
)
def test_a_bad_setting_is_an_error_that_names_it(name, value, error):
    with pytest.raises(error, match=f"^{name} must"):
        Form(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"nu": 0.001},
        {"nu": 1000},
        {"nu": np.float32(0.5)},
        {"delta": 0.001},
        {"delta": INF},
        {"joint": np.bool_(False)},
        {"output": "regions"},
        {"min_area": np.int64(9)},
        {"step": 0.001},
        {"step": 0.5},
    ],
)
def test_settings_at_the_ends_of_their_ranges_and_numpy_scalars_are_allowed(settings):
    form = Form(**settings)
    assert form.keywords() == Form().keywords() | settings
    assert form.changes() == settings


def test_a_form_cannot_be_changed():
    form = Form()
    for field in fields(Form):
        with pytest.raises(FrozenInstanceError):
            setattr(form, field.name, getattr(form, field.name))
    for changes in (form.changes(), PAPER):
        with pytest.raises(TypeError):
            changes["nu"] = 2.0
    assert form == Form()
    assert hash(form) == hash(Form())


@pytest.mark.parametrize(
    ("function", "without"),
    [
        (smooth, set()),
        (Smooth, set()),
        (ScaleSpace, {"output"}),
        (from_pairs, {"min_area"}),
    ],
)
def test_every_function_with_settings_has_the_defaults_of_a_form(function, without):
    expected = {name: value for name, value in Form().keywords().items() if name not in without}
    parameters = inspect.signature(function).parameters
    defaults = {name: parameters[name].default for name in Form().keywords() if name in parameters}
    assert defaults == expected
    assert {parameters[name].kind for name in defaults} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_robust_preset_is_the_default_form_and_paper_the_published_one():
    assert PRESETS["robust"] == Form()
    assert PRESETS["robust"].changes() == {}
    assert PRESETS["paper"] == Form(delta=INF, joint=False, output="regions")
    assert PRESETS["paper"].changes() == PAPER
    assert Form(**PAPER) == PRESETS["paper"]


@pytest.mark.parametrize(
    ("form", "sparsity", "argument"),
    [
        (Form(min_area=2), 0.5, "min_area"),
        (Form(output="regions"), "auto", "sparsity"),
        (Form(output="regions"), np.zeros_like, "sparsity"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(form, sparsity, argument):
    with pytest.raises(ValueError, match=f"^{argument} must"):
        form.check_combination(sparsity)


@pytest.mark.parametrize("preset", PRESETS)
def test_only_a_form_that_allows_auto_can_be_combined_with_it(preset):
    smooth_form = replace(PRESETS[preset], output="beta")
    assert smooth_form.allows_auto
    smooth_form.check_combination("auto")
    regions = replace(PRESETS[preset], output="regions")
    assert not regions.allows_auto
    with pytest.raises(ValueError, match="got 'auto'"):
        regions.check_combination("auto")


@pytest.mark.parametrize("sparsity", [0.5, 1, np.array([0.1, 0.9])])
def test_all_forms_can_be_combined_with_numbers(sparsity):
    assert not depends_on_noise(sparsity)
    for form in (Form(), Form(output="regions"), Form(output="regions", min_area=9)):
        form.check_combination(sparsity)


def test_a_coupling_in_range_is_accepted_without_a_form():
    check_nu(1)
    check_delta(INF)
    with pytest.raises(ValueError, match="^delta must be >= 0.001, got 0"):
        check_delta(0)
    with pytest.raises(ValueError, match=r"^nu must be in \[0.001, 1000\], got nan"):
        check_nu(np.nan)


@pytest.mark.parametrize(
    "sparsity", [-0.1, 1.1, np.nan, True, "most", None, [0.5], np.complex64(0.5)]
)
def test_a_sparsity_that_is_no_number_from_0_to_1_and_not_auto_is_refused(sparsity):
    for accepted in (0, 0.5, np.float32(1), "auto"):
        check_sparsity_choice(accepted)
    with pytest.raises(ValueError, match="^sparsity must"):
        check_sparsity_choice(sparsity)
