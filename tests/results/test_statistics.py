import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virolbi.results import accuracy_interval, paired_test, sign_test_tail, wilson_interval
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
