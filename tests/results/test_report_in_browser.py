"""The report in Chromium: its tables sort, with the mouse and the keyboard, and it can be read."""

import numpy as np
import pytest

from virolbi.results import add_detail, write_lines, write_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of three models under all kinds of noise, with confidences."""
    folder, rng = tmp_path_factory.mktemp("report"), np.random.default_rng(0)
    rows = [
        {
            **{"arm": arm, "view": "raw", "condition": name, "severity": severity, "seed": 0},
            **{"level": float(severity), "count": 200, "data": "made up", "images": "1a"},
            **{"weights": "3c", "accuracy": accuracy - 0.03 * severity - 0.1 * (name > "h")},
        }
        for arm, accuracy in (("first", 0.7), ("second", 0.9), ("third", 0.8))
        for name in ("clean", "gaussian_noise", "shot_noise", "impulse_noise", "fog")
        for severity in ([0] if name == "clean" else range(1, 6))
    ]
    write_lines(folder / "rows.jsonl", rows)
    for row in rows:
        correct = rng.random(200) < row["accuracy"]
        add_detail(folder, row, correct, 0.1, correct * 1, rng.random(200))
    return write_report(folder)


def column(page, number):
    cells = page.locator("table").first.locator(f"tbody td:nth-child({number})")
    return cells.all_inner_texts()


def test_a_table_sorts_by_a_click_and_by_a_key(chromium, report):
    page = chromium.new_page()
    page.goto(report.as_uri())
    assert column(page, 1) == ["second", "third", "first"]
    page.locator("table").first.locator("th", has_text="trained on").click()
    assert column(page, 1) == ["first", "second", "third"]
    heading = page.locator("table").first.locator("th", has_text="clean")
    heading.focus()
    page.keyboard.press("Enter")
    assert column(page, 3) == [".900", ".800", ".700"]
    assert heading.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert column(page, 3) == [".700", ".800", ".900"]
    assert page.locator("[aria-sort]").count() == 1
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_can_be_read_on_wide_and_narrow_screens(
    chromium, report, weak_contrasts, scheme
):
    page = chromium.new_page(color_scheme=scheme)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri() + "#reliability")
    assert page.locator("#reliability").bounding_box()["y"] < 100
    for width in (375, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert weak_contrasts(page) == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()
