import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from virolbi import results


def test_figures_for_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    labels = (rng.random(200) < 0.2).astype(int)
    scores = np.round(labels + rng.normal(0, 1, 200), 1)  # with ties
    predicted = (scores > 0.5).astype(int)
    fields = results.accuracy_fields(predicted == labels, labels, scores)
    assert fields["balanced"] == round(balanced_accuracy_score(labels, predicted), 4)
    assert fields["auc"] == round(roc_auc_score(labels, scores), 4)
    assert fields["accuracy"] == (predicted == labels).mean()
    many, guessed = rng.integers(0, 7, (2, 300))
    np.testing.assert_array_equal(
        results.confusion_matrix(many, guessed, 7), confusion_matrix(many, guessed)
    )
    missing = np.where(many == 3, 4, many)  # a class without images
    fields = results.accuracy_fields(guessed == missing, missing)
    recalls = [(guessed == missing)[missing == label].mean() for label in (0, 1, 2, 4, 5, 6)]
    assert fields["balanced"] == round(np.mean(recalls), 4)
    assert fields["present"] == 6
    assert "auc" not in results.accuracy_fields(predicted == 1, np.ones(200, int), scores)


def row(**fields):
    identity = {"arm": "net", "view": "raw", "seed": 1, "condition": "clean", "level": 0.0}
    return identity | {"classes": 2, "accuracy": 0.643, "balanced": 0.524} | fields


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({}, True),
        ({"condition": "certified"}, True),
        ({"condition": "certified", "level": 0.1}, False),
        ({"condition": "shot_noise"}, False),
        ({"balanced": 0.62}, False),
        ({"classes": 1000, "accuracy": 0.2, "balanced": 0.2}, False),
        ({"classes": 1000, "accuracy": 0.002, "balanced": 0.002}, True),
        ({"classes": 6, "present": 4, "balanced": 0.25}, True),
        ({"classes": 6, "present": 4, "balanced": 0.33}, False),
        ({"classes": 2, "present": 1, "balanced": 0.0}, False),
    ],
)
def test_a_collapsed_network_is_named(fields, warned):
    warnings = results.collapse_warnings([row(**fields)])
    assert len(warnings) == warned
    assert all("net (raw, seed 1)" in warning and "balanced" in warning for warning in warnings)


def test_rows_of_before_have_no_balanced_accuracy():
    old = row()
    del old["balanced"]
    assert results.collapse_warnings([old]) == results.balance_lines([old]) == []


def test_the_balanced_accuracy_is_told_where_it_differs():
    assert results.balance_lines([row(auc=0.71), row(condition="fog"), row(balanced=0.645)]) == [
        "net (raw), clean: balanced accuracy 0.524, AUC 0.710"
    ]


def test_labels_are_read_with_the_digest_of_their_images(tmp_path):
    results.write_labels(tmp_path, np.array([1, 0]), ["a", "b"], "0123")
    labels = results.read_labels(tmp_path)
    assert (labels.numbers.tolist(), labels.classes, labels.images) == ([1, 0], ("a", "b"), "0123")
    for is_measured in (True, False):
        results.check_labels(tmp_path, "0123", is_measured)
        with pytest.raises(ValueError, match="other images .digest 0123, not 4567"):
            results.check_labels(tmp_path, "4567", is_measured)


def test_damaged_labels_are_named(tmp_path):
    assert results.read_labels(tmp_path) is None
    (tmp_path / "labels.json").write_text('{"labels": 3}')
    with pytest.raises(ValueError, match=r"labels\.json must"):
        results.read_labels(tmp_path)


def test_scores_that_are_not_known_have_no_area_under_the_curve():
    labels, scores = np.array([0, 0, 1]), np.array([-np.inf, 0.5, np.inf])
    assert results.accuracy_fields(labels == 0, labels, scores)["auc"] == 1
    scores[1] = np.nan
    assert "auc" not in results.accuracy_fields(labels == 0, labels, scores)
