import html
import re

import pytest

from virolbi.results import curves_svg, summarise
from virolbi.results.summary import intended_lines


@pytest.mark.slow
def test_the_curves_show_each_arm_as_it_is_meant_to_be_tested_and_raw(rows):
    svg = curves_svg(summarise(rows))
    assert svg.count(">fixed (smoothed)<") == svg.count(">fixed<") == 1


VIEWS = ("raw", "auto", "smoothed 0.9", "smoothed 0.5", "calibrated", "smoothed")


@pytest.mark.parametrize(
    ("views", "intended"),
    [
        (VIEWS, "smoothed"),
        (VIEWS[:5], "calibrated"),
        (VIEWS[:4], "auto"),
        (("raw", "smoothed 0.5", "smoothed 0.9"), "smoothed 0.9"),
        (("raw", "auto, nu 0.1", "smoothed 0.9, nu 0.1"), "auto, nu 0.1"),
        (
            ("raw", "smoothed 0.9", "smoothed 1e-05", "smoothed 0.95, nu 0.1"),
            "smoothed 0.95, nu 0.1",
        ),
        (("raw", "smoothed edges"), "smoothed edges"),  # names of views are free
        (("a view", "smoothed - twice"), "smoothed - twice"),
        (("raw",), "raw"),
    ],
)
def test_the_view_to_be_tested_in_is_not_chosen_by_its_results(rows_of, views, intended):
    for best in views:
        rows = [
            row
            for view in views
            for row in rows_of("ours", view, {"gaussian_noise": 0.9 if view == best else 0.5})
        ]
        assert [line.view for line in intended_lines(summarise(rows))] == [intended]


NAMES = ("cost $5 to $9", "$\\frac{1}$", "_hidden", "file \udcff", "<b> & more")
ACCURACIES = {"clean": 0.8, "gaussian_noise": 0.7}


@pytest.mark.slow
def test_every_name_is_in_the_legend_as_it_is(rows_of):
    rows = [row for name in NAMES for row in rows_of(name, "raw", ACCURACIES)]
    svg = curves_svg(summarise(rows))
    svg.encode()
    texts = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    for name in (*NAMES[:3], "file \\udcff", NAMES[4]):
        assert texts.count(name) == 1
    assert not {str(number) for number in range(6, 10)} & set(texts)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_figure_of_one_name_has_it(rows_of, name):
    svg = curves_svg(summarise([*rows_of(name, "raw", ACCURACIES)]))
    assert html.escape(name.encode(errors="backslashreplace").decode(), quote=False) in svg
