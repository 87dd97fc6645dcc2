import json
import re

import numpy as np
import pytest
from PIL import Image

from virolbi.results import (
    add_detail,
    masking_warnings,
    mean_by_order,
    write_labels,
    write_lines,
    write_report,
)
from virolbi.results.diagrams import certified_svg


@pytest.mark.slow
def test_the_page_is_whole_and_needs_nothing_else(rows, tmp_path):
    write_lines(tmp_path / "rows.jsonl", rows)
    recipes = {"fixed": {"epochs": 3, "sparsity": 0.8}, "plain <b>": {"epochs": 3, "sparsity": 0}}
    (tmp_path / "comparison.json").write_text(json.dumps({"recipes": recipes}))
    page = write_report(tmp_path).read_text()
    assert "<td class=best" in page
    assert "plain &lt;b&gt;" in page
    assert 'title="95 % interval 0.76' in page
    assert "plain <b>" not in page
    assert (
        "<dt>fixed</dt><dd>epochs 3, sparsity 0.8</dd>"
        "<dt>plain &lt;b&gt;</dt><dd>changes sparsity 0</dd>"
    ) in page
    assert page.count("<svg") == 1
    assert not re.search(
        r"(src|href)=(?![\"']?(data:|#))", re.sub(r"<svg.*</svg>", "", page, flags=re.DOTALL)
    )
    assert write_report(tmp_path, tmp_path / "other.html").read_text() == page


def test_no_rows_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"must hold a rows\.jsonl, certified\.jsonl or adapted"):
        write_report(tmp_path)


def adapted(rows):
    """Rows of two arms under two corruptions, with the mean .5 for "first" and .6 for "second"."""
    return [
        rows[0]
        | {"arm": arm, "view": "raw, bn", "budget": f"{order}, batches of 8", "severity": 5}
        | fields
        for arm, mean in (("first", 0.5), ("second", 0.6))
        for order in ("iid", "mixed")
        if (arm, order) != ("second", "mixed")
        for fields in (
            {"condition": "fog", "accuracy": mean - 0.25},
            {"condition": "snow", "accuracy": mean + 0.25},
        )
    ]


def test_the_means_of_adaptation_keep_arms_apart(rows):
    assert mean_by_order(adapted(rows)) == [
        {"arm": "first", "view, method": "raw, bn", "iid": 0.5, "mixed": 0.5},
        {"arm": "second", "view, method": "raw, bn", "iid": 0.6},
    ]


def test_only_what_was_measured_alike_is_averaged(rows):
    known = adapted(rows)
    other = [
        row | {"budget": "iid, batches of 4", "severity": 3, "accuracy": 0.1}
        for row in known
        if row["arm"] == "first" and row["budget"].startswith("iid")
    ]
    *whole, lacking = mean_by_order([*known[:-1], *other])
    assert whole == [
        {
            "arm": "first",
            "view, method": "raw, bn",
            "iid, batches of 8, severity 5": 0.5,
            "mixed": 0.5,
            "iid, batches of 4, severity 3": 0.1,
        }
    ]
    assert lacking == {"arm": "second", "view, method": "raw, bn"}  # one of two types is missing


@pytest.mark.slow
def test_merged_rows_of_several_images_networks_or_measurements_are_refused(rows):
    known = adapted(rows)
    certified = [rows[0] | {"view": "raw, sigma 0.1", "sigma": 0.1, "level": 0.0}]
    for show, shown in ((mean_by_order, known), (certified_svg, certified)):
        for name, value in (("images", "3c4d"), ("weights", "5e6f"), ("accuracy", 0.0)):
            with pytest.raises(ValueError, match="^rows must"):
                show([*shown, shown[0] | {name: value}])


def test_a_folder_of_adaptation_or_certificates_has_a_page(rows, tmp_path):
    write_lines(tmp_path / "adapted.jsonl", adapted(rows))
    page = write_report(tmp_path).read_text()
    assert "2 types of corruption at severity 5" in page
    table = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert table == ["first", "raw, bn", ".500", ".500", "second", "raw, bn", ".600", ""]
    assert "Headline" not in page
    radii = [rows[0] | {"condition": "certified", "level": r, "accuracy": 0.5} for r in (0.0, 0.1)]
    write_lines(tmp_path / "certified.jsonl", radii)
    page = write_report(tmp_path).read_text()
    assert page.count("<svg") == 1
    assert "Adaptation" in page


def test_the_page_shows_answers_and_costs_from_the_details(rows, tmp_path):
    write_lines(tmp_path / "rows.jsonl", rows)
    Image.new("L", (20 * 8, 8)).save(tmp_path / "tiles.png")
    Image.new("L", (20 * 8, 8), 99).save(tmp_path / "tiles-impulse_noise-5.png")
    labels = np.arange(400) % 2
    write_labels(tmp_path, labels, ("cat <s>", "dog"), "0")
    for row in rows:
        correct = np.arange(row["count"]) != 3
        predicted = np.where(correct, labels, 1 - labels)
        add_detail(tmp_path, row, correct, 0.8, predicted)
    page = write_report(tmp_path).read_text()
    # two arms, of which one is shown without its smoother too, clean and under their worst noise
    assert page.count("<div class=tiles>") == 6
    assert page.count(" right'") == 6 * 19
    assert page.count(" wrong'") == 6
    assert page.count("<figcaption>dog → cat &lt;s&gt;</figcaption>") == 6
    assert "fixed (smoothed), impulse noise 5</p><figure style='width:14px'><i class='t1 " in page
    assert "fixed, gaussian noise 5, shown without it</p>" in page
    assert len(re.findall(r"\.t\d{", page)) == 2
    heat = '<td class=heat style="--share:{}">{}</td>'
    counts = heat.format("0.005", 1) + heat.format("0.995", 199)
    assert page.count(f"<td>dog</td><td>200</td><td>.995</td>{counts}") == 3
    assert "<td>fixed (smoothed)</td><td>2.00</td>" in page
    assert "Reliability" not in page  # no confidences


def test_the_page_shows_answers_and_classes_of_networks_of_different_seeds(rows_of, tmp_path):
    rows = [
        *rows_of("first", "raw", {"clean": 0.9}, seeds=(0, 1)),
        *rows_of("other", "raw", {"clean": 0.9}, seeds=(5, 7)),
        *rows_of("other", "smoothed", {"clean": 0.9}, seeds=(7,)),
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    Image.new("L", (20 * 8, 8)).save(tmp_path / "tiles.png")
    labels = np.arange(400) % 2
    write_labels(tmp_path, labels, ("cat", "dog"), "0")
    for row in rows:
        correct = np.arange(row["count"]) >= row["seed"]  # as many wrong answers as the seed
        add_detail(tmp_path, row, correct, 0.8, np.where(correct, labels, 1 - labels))
    page = write_report(tmp_path).read_text()
    answers = re.findall(r"<div class=tiles><p>(.*?)</p>(.*?)</div>", page)
    assert {name.strip(): tiles.count(" wrong'") for name, tiles in answers} == {
        "first, clean": 0,
        "other, clean": 5,
        "other (smoothed), clean": 7,
    }
    _, _, classes = page.partition(">Classes</a>")
    assert all(f"<h3>{name}</h3>" in classes for name in ("first", "other", "other (smoothed)"))


@pytest.mark.slow
def test_the_page_names_a_collapsed_network(rows, tmp_path):
    write_lines(tmp_path / "rows.jsonl", [row | {"classes": 2, "balanced": 0.52} for row in rows])
    page = write_report(tmp_path).read_text()
    assert page.count("hardly tells the classes apart") == 6  # clean rows
    assert "<li>plain &lt;b&gt; (raw, seed 0) hardly" in page


@pytest.mark.slow
@pytest.mark.parametrize("suspicious", [True, False])
def test_the_page_warns_of_suspicious_checks(rows, tmp_path, suspicious):
    write_lines(tmp_path / "rows.jsonl", rows)
    finding = {"arm": "fixed", "view": "raw", "name": "gradients", "suspicious": suspicious}
    write_lines(tmp_path / "checks.jsonl", [finding | {"sentence": "5 of 5 images have none."}])
    page = write_report(tmp_path).read_text()
    assert "Checks of every view: gradients." in page
    assert ("5 of 5 images have none." in page) == suspicious
    assert len(masking_warnings(tmp_path)) == suspicious
    assert len(masking_warnings(tmp_path, "fixed")) == suspicious
    assert masking_warnings(tmp_path, "plain <b>") == []


def test_names_with_characters_that_no_file_holds_are_escaped(rows_of, tmp_path):
    name, accuracies = "_$5 \udcff$", {"clean": 0.8, "gaussian_noise": 0.7}
    rows = [row | {"data": "data \udcfe"} for row in rows_of(name, "raw", accuracies)]
    write_lines(tmp_path / "rows.jsonl", rows)
    recipes = {"recipes": {name: {"data": "\udcfd"}}}
    (tmp_path / "comparison.json").write_text(json.dumps(recipes))
    finding = {"arm": name, "view": "raw", "name": "gradients", "suspicious": True}
    write_lines(tmp_path / "checks.jsonl", [finding | {"sentence": "5 of 5 images have none."}])
    page = write_report(tmp_path).read_text()
    (figure,) = re.findall(r"<svg.*</svg>", page, flags=re.DOTALL)
    for text, part in (
        ("_$5 \\udcff$", figure),
        ('">_$5 \\udcff$</td>', page),
        ("data \\udcfe", page),
    ):
        assert text in part
    assert "<dt>_$5 \\udcff$</dt><dd>data \\udcfd</dd>" in page
    assert "Accuracy of _$5 \\udcff$ (raw) under attack" in page
