import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from virolbi.results import (
    accuracy_interval,
    paired_test,
    seed_test,
    sign_test_tail,
    wilson_interval,
)
from virolbi.results.statistics import Z_95, holm_correction

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_tail_of_the_sign_test_is_a_sum_of_binomials(wins, losses):
    games = wins + losses
    tail = sum(math.comb(games, k) for k in range(wins, games + 1)) / 2**games
    assert sign_test_tail(wins, losses) == pytest.approx(tail)


@given(P_VALUES)
def test_holm_s_correction_keeps_the_order_and_lies_below_bonferroni_s(p_values):
    corrected = holm_correction(p_values)
    assert all(
        p <= raised <= min(1, len(p_values) * p)
        for p, raised in zip(p_values, corrected, strict=True)
    )
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [corrected[i] for i in order] == sorted(corrected)


@given(P_VALUES, st.floats(0.001, 0.2))
def test_holm_s_correction_rejects_what_his_procedure_rejects(p_values, level):
    rejected = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] * (len(p_values) - rank) > level:
            break
        rejected.add(index)
    corrected = holm_correction(p_values)
    assert {index for index, p in enumerate(corrected) if p <= level} == rejected


@pytest.mark.slow
@given(st.integers(1, 1000), st.data())
def test_bounds_of_the_wilson_interval_are_where_the_score_test_is_at_its_level(count, data):
    correct = data.draw(st.integers(1, count))
    low, high = wilson_interval(correct, count)
    assert 0 < low < correct / count < high + 1e-12 <= 1 + 1e-12
    score = (correct / count - low) / math.sqrt(low * (1 - low) / count)
    assert score == pytest.approx(Z_95, rel=1e-6)


def test_the_interval_of_an_accuracy_has_four_digits():
    assert accuracy_interval(90, 100) == {"accuracy": 0.9, "low": 0.8256, "high": 0.9448}


def test_the_other_order_of_two_models_has_the_opposite_gain():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 3, 50)) < 0.7
    forward, backward = paired_test(first, second), paired_test(second, first)
    assert backward == pytest.approx((-forward.gain, -forward.high, -forward.low, forward.p))


def test_wilson_intervals_cover_the_true_accuracy_in_95_percent_of_samples():
    rng = np.random.default_rng(0)
    for accuracy in (0.1, 0.5, 0.97):
        hits = rng.binomial(200, accuracy, 4000)
        covered = np.mean(
            [low <= accuracy <= high for low, high in (wilson_interval(int(h), 200) for h in hits)]
        )
        assert 0.93 < covered < 0.97
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == pytest.approx(1)


def test_a_paired_test_counts_the_images_where_two_models_differ():
    rng = np.random.default_rng(0)
    first = rng.random((1, 500)) < 0.8
    second = first.copy()
    second[0, np.flatnonzero(first)[:12]] = False
    second[0, np.flatnonzero(~first)[:4]] = True
    pair = paired_test(first, second)
    assert pair.gain == pytest.approx(8 / 500)
    # 12 of 16 or more, either way
    assert pair.p == pytest.approx(2 * (1820 + 560 + 120 + 16 + 1) / 2**16)
    assert -0.001 < pair.low < 0 < pair.high
    few = np.arange(200) < 4
    assert paired_test(~few[None] | True, ~few[None]).p == 0.125  # 4 against 0 is not significant
    everything = paired_test(np.ones((1, 30), bool), np.zeros((1, 30), bool))
    assert everything.low < 0.97 < everything.high


@pytest.mark.slow
@pytest.mark.parametrize("answers", [1, 3, 40])
def test_a_paired_test_of_equally_good_models_is_wrong_once_in_twenty(answers, monkeypatch):
    """The interval of the gain holds the true one, 0, as often as it claims."""
    monkeypatch.setattr("virolbi.results.statistics.DRAWS", 1999)
    rng = np.random.default_rng(0)
    significant, covered = [], []
    for _ in range(1000):
        difficulty = rng.random(300)
        one, other = (rng.random((answers, 300)) < difficulty for _ in range(2))
        pair = paired_test(one, other)
        assert pair.gain == pytest.approx(one.mean() - other.mean())
        significant.append(pair.p < 0.05)
        covered.append(pair.low <= 0 <= pair.high)
    # an exact test of few cases stays below its level
    assert 0.02 < np.mean(significant) < 0.065
    assert 0.935 < np.mean(covered) < 0.98


def graded(counts, most):
    """Answers, of which the first `counts` to each image are correct."""
    return np.arange(most)[:, None] < np.asarray(counts)


def test_many_small_losses_do_not_outvote_fewer_gains_that_weigh_more():
    """100 images gain 40 of 75 answers and 300 lose 12: the mean is better, the majority worse."""
    first = graded([40] * 100 + [0] * 300, 75)
    pair = paired_test(first, graded([0] * 100 + [12] * 300, 75))
    assert pair.gain == pytest.approx(400 / 400 / 75)
    assert pair.low < 0 < pair.high
    assert pair.p > 0.05


def test_images_with_as_many_correct_answers_are_ties():
    """Correct in other answers, but as many: shares of 75 would differ by rounding."""
    rng = np.random.default_rng(0)
    first = graded(rng.integers(0, 75, 2000), 75)
    second = rng.permuted(first, axis=0)
    pair = paired_test(first, second)
    assert pair.gain == 0
    assert pair.p == 1
    second[:, :4] = False
    assert paired_test(first, second).p > 0.1  # four images that are worse of 2000


@given(st.integers(0, 2**32 - 1), st.floats(-0.08, 0.08))
def test_the_interval_of_graded_answers_has_zero_between_its_bounds_unless_p_is_small(seed, gain):
    rng = np.random.default_rng(seed)
    difficulty = rng.random(60)
    first, second = rng.random((3, 60)) < difficulty + gain, rng.random((3, 60)) < difficulty
    pair = paired_test(first, second)
    assert (pair.p < 0.05) == (pair.low > 0 or pair.high < 0)
    assert pair.low <= pair.gain <= pair.high


def test_the_sign_flip_test_counts_all_changes_of_signs():
    first, second = graded([3, 2, 3, 2, 1, 3, 2, 0, 2], 3), graded([0, 0, 1, 2, 0, 0, 1, 1, 0], 3)
    difference = first.sum(axis=0) - second.sum(axis=0)
    signs = np.array(list(itertools.product((-1, 1), repeat=9)))
    expected = 2 * np.mean(signs @ difference >= difference.sum())
    assert paired_test(first, second).p == pytest.approx(expected, abs=0.003)
    assert expected < 0.05


def test_a_paired_test_refuses_shares():
    right = np.ones((2, 5), bool)
    with pytest.raises(ValueError, match="second must be answers of type bool, got float64"):
        paired_test(right, right * 0.5)
    # else two models that are always right would differ by the number of their seeds
    for count in (2, 0):
        with pytest.raises(ValueError, match="first and second must have one shape"):
            paired_test(right, np.repeat(right, count, axis=0))
    with pytest.raises(ValueError, match="first and second must have one shape.* one or more"):
        paired_test(right[:, :0], right[:, :0])


@pytest.mark.parametrize(("ours", "theirs"), [(2, 2), (3, 2), (2, 5)])
def test_the_test_over_seeds_is_student_s(ours, theirs):
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.7, 0.01, ours), rng.normal(0.69, 0.01, theirs)
    expected = ttest_ind(first, second)
    interval = expected.confidence_interval()
    assert seed_test(first, second) == pytest.approx((*interval, expected.pvalue))
    assert seed_test(second, first) == pytest.approx((-interval[1], -interval[0], expected.pvalue))
    for value in (0.5, 0.25, 0.1):
        assert seed_test([value] * 3, [0.5] * 2) == (-1, 1, 1)
    with pytest.raises(ValueError, match="second must have two runs or more, got 1"):
        seed_test(first, second[:1])
    with pytest.raises(ValueError, match=r"second must be in \[0, 1\], got nan"):
        seed_test(first, [0.5, math.nan])
