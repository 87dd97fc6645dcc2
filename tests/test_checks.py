"""Checks of arguments that all packages share."""

import math

import numpy as np
import pytest

from virolbi._checks import check_choice, check_choices, check_number, range_text


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.25), np.int64(1), True + 0])
def test_a_number_in_range_is_returned_as_a_float(value):
    number = check_number("share", value, 0, 1)
    assert (number, type(number)) == (value, float)


@pytest.mark.parametrize(
    ("value", "bounds", "rule"),
    [
        (1.5, (0, 1), r"in \[0, 1\], got 1.5"),
        (-1, (0,), ">= 0, got -1"),
        (math.nan, (0, 1), r"in \[0, 1\], got nan"),
        (math.nan, (), "a number, got nan"),
    ],
)
def test_a_number_outside_its_range_is_refused_with_its_rule(value, bounds, rule):
    with pytest.raises(ValueError, match=f"^share must be {rule}$"):
        check_number("share", value, *bounds)


@pytest.mark.parametrize("value", ["1", None, True, 1j, np.ones(1)])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="^share must be a number"):
        check_number("share", value)


def test_a_range_is_one_number_where_its_ends_look_alike():
    assert range_text(np.array([0.5, 0.123456])) == "0.123 to 0.5"
    assert range_text(np.array([0.5, 0.50001])) == "0.5"
    assert range_text(np.array([1200, 7]), ",") == "7 to 1,200"


def test_names_are_those_that_exist_each_once():
    check_choice("size", 3, (3, 5))
    check_choices("kinds", ("a", "b"), {"a": 1, "b": 2, "c": 3})
    check_choices("kinds", (), "abc")
    with pytest.raises(ValueError, match=r"^size must be one of 3, 5, got '3'$"):
        check_choice("size", "3", (3, 5))
    for wrong, least in ((("a", "d"), 0), (("a", "a"), 0), ((), 1)):
        with pytest.raises(ValueError, match=r"^kinds must be some of a, b, each once, got \["):
            check_choices("kinds", wrong, ("a", "b"), least)
