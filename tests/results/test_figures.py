import html
import re

import pytest

from virolbi.results import curves_svg, summarise


@pytest.mark.slow
def test_the_curves_show_each_arm_once_as_it_is_meant_to_be_tested(rows):
    svg = curves_svg(summarise(rows))
    assert "fixed (smoothed)" in svg
    assert ">fixed<" not in svg


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
