from virolbi.results import curves_svg, summarise


def test_the_curves_show_each_arm_once_as_it_is_meant_to_be_tested(rows):
    svg = curves_svg(summarise(rows))
    assert "fixed (smoothed)" in svg
    assert ">fixed<" not in svg
