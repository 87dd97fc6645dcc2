import json
import re

import numpy as np
import pytest

from virolbi.results import add_detail, read_details, summarise, write_lines, write_report
from virolbi.results.diagrams import calibration_error, certified_svg, reliability_svg


def test_the_calibration_error_of_a_network_that_knows_itself_is_small():
    rng = np.random.default_rng(0)
    confidence = rng.random(20_000)
    correct = rng.random(20_000) < confidence
    assert calibration_error(correct, confidence) < 0.02
    assert calibration_error(correct, confidence**3) == pytest.approx(0.25, abs=0.02)
    assert calibration_error(np.ones(5, bool), np.ones(5)) == 0
    assert calibration_error(np.ones(0, bool), np.ones(0)) == 0


def test_the_calibration_error_is_a_mean_over_images_not_over_bins():
    correct = np.array([True] * 9 + [False])
    confidence = np.array([1.0] * 9 + [0.5])
    assert calibration_error(correct, confidence) == pytest.approx(0.05)


@pytest.fixture
def folder(rows, tmp_path):
    """Results with confidences, certificates and histories."""
    write_lines(tmp_path / "rows.jsonl", rows)
    for row in rows:
        confidence = np.full(row["count"], 0.85 if row["seed"] else 0.65)
        correct = np.arange(row["count"]) < 0.65 * row["count"]
        add_detail(tmp_path, row, correct, 0.1, np.zeros(row["count"], int), confidence)
    certified = [
        rows[0] | {"condition": "certified", "level": radius, "accuracy": 0.9 - radius}
        for radius in (0.2, 0.0, 0.1)
    ]
    write_lines(tmp_path / "certified.jsonl", certified)
    for name in ("plain-0", "fixed-0"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        history = [{"epoch": n, "loss": 1 / n, "accuracy": 1 - 0.5 / n} for n in (1, 2, 3)]
        (tmp_path / "runs" / name / "history.json").write_text(json.dumps(history))
    return tmp_path


@pytest.mark.slow
def test_reliability_pools_the_seeds_and_names_the_error(folder, rows):
    details = read_details(folder)
    figure = reliability_svg(rows, summarise(rows), details)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", figure)
    assert {"clean", "worst noise, severity 5", "confidence"} <= set(texts)
    # one seed is right as often as it says, the other one 20 points less, of equally many images
    errors = {float(found) for found in re.findall(r": (0\.\d+) (?:clean|worst noise)", figure)}
    assert errors == {0.101}  # confidences are kept in steps of 1/255
    assert reliability_svg(rows, summarise(rows), {}) == ""


@pytest.mark.slow
def test_the_report_has_every_figure_and_links_to_every_section(folder):
    page = write_report(folder).read_text()
    assert len(page) < 5e6
    assert page.count("<svg") == 4
    for text in ("certified accuracy", "loss on training images", "plain-0", "confidence"):
        assert text in page
    links = re.findall(r"<nav.*?</nav>", page, re.DOTALL)[0]
    names = re.findall(r'href="#([^"]+)"', links)
    assert {"headline", "reliability", "certified-accuracy", "training", "cost"} <= set(names)
    assert all(f'<h2 id="{name}">' in page for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_certified_accuracy_is_drawn_over_rising_radii(folder):
    rows = [json.loads(line) for line in (folder / "certified.jsonl").read_text().splitlines()]
    figure = certified_svg(rows)
    assert figure == certified_svg(rows[::-1])
    assert "plain &lt;b&gt; (raw)" in figure
    assert certified_svg([]) == ""


def test_certificates_of_different_measurements_have_curves_of_their_own(rows, monkeypatch):
    drawn = []
    monkeypatch.setattr("virolbi.results.diagrams._two_panels", lambda *given: drawn.append(given))
    settings = {"condition": "certified", "view": "raw, sigma 0.1", "sigma": 0.1, "seed": 0}
    base = rows[0] | settings | {"arm": "net", "samples": 50, "alpha": 0.001}
    others = [{}, {"seed": 1}, {"samples": 200}, {"arm": "other", "samples": 99}]
    certified_svg(
        base | {"level": radius, "accuracy": 0.9 - radius - 0.1 * number} | other
        for radius in (0.2, 0.0)
        for number, other in enumerate(others)
    )
    ((curves, *_),) = drawn
    assert {name: [y for _, y in curve] for (_, name), curve in curves.items()} == {
        "net (raw, sigma 0.1, seed 0, samples 50)": pytest.approx([0.9, 0.7]),
        "net (raw, sigma 0.1, seed 1, samples 50)": pytest.approx([0.8, 0.6]),
        "net (raw, sigma 0.1, seed 0, samples 200)": pytest.approx([0.7, 0.5]),
        "other (raw, sigma 0.1)": pytest.approx([0.6, 0.4]),
    }
