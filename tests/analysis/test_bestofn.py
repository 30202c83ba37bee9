import time
from itertools import combinations

import numpy as np
import pytest

from analysis.best_of_n.estimator import (
    expected_best_of_n,
    grid,
    question_curves,
    rank,
    ranking_kl,
    tie_averaged,
)
from rlhf_lab.functional.divergence import best_of_n_bound


def enumerated(select: np.ndarray, value: np.ndarray, n: int) -> float:
    """The mean over all subsets of n, a tie for the highest shared evenly."""
    won = []
    for subset in combinations(range(len(select)), n):
        chosen, gold = select[list(subset)], value[list(subset)]
        won.append(gold[chosen == chosen.max()].mean())
    return float(np.mean(won))


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_equals_enumeration_with_and_without_ties(levels: int) -> None:
    rng = np.random.default_rng(levels)
    select = rng.integers(levels, size=(3, 9)).astype(float)
    value = rng.normal(size=(3, 9))
    n = np.arange(1, 10)
    wanted = [np.mean([enumerated(s, v, k) for s, v in zip(select, value, strict=True)]) for k in n]
    assert expected_best_of_n(select, value, n).mean == pytest.approx(wanted, abs=1e-12)


def test_ties_are_averaged_over_a_random_break() -> None:
    # two answers tie at the top with values 0 and 10: any subset that holds both is worth 5
    assert expected_best_of_n([[1.0, 2.0, 2.0]], [[7.0, 0.0, 10.0]], [1, 3]).mean == pytest.approx(
        [17 / 3, 5.0]
    )


def test_order_of_n_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    select, value = rng.normal(size=(2, 500)), rng.normal(size=(2, 500))
    shuffled = rng.permutation(np.arange(1, 501))
    assert question_curves(select, value, shuffled) == pytest.approx(
        question_curves(select, value, np.arange(1, 501))[:, shuffled - 1], abs=0
    )


def test_standard_error_is_clustered_by_question() -> None:
    rng = np.random.default_rng(1)
    select, value = rng.normal(size=(40, 8)), rng.normal(size=(40, 8))
    alone = expected_best_of_n(select, value, [1, 4])
    copied = expected_best_of_n(
        np.repeat(select, 5, axis=0), np.repeat(value, 5, axis=0), [1, 4], np.repeat(np.arange(40), 5)
    )
    assert copied.mean == pytest.approx(alone.mean) and copied.se == pytest.approx(alone.se)
    by_hand = value.mean(axis=1).std(ddof=1) / np.sqrt(40)
    assert alone.se[0] == pytest.approx(by_hand)


def test_a_question_counts_once_however_many_framings_it_has() -> None:
    value = np.array([[0.0, 0.0], [0.0, 0.0], [6.0, 6.0]])
    assert expected_best_of_n(value, value, [1], [4, 4, 9]).mean == pytest.approx([3.0])


def test_every_n_of_the_released_generations_in_three_seconds() -> None:
    rng = np.random.default_rng(2)
    select, value = rng.normal(size=(100, 12_600)), rng.normal(size=(100, 12_600))
    start = time.process_time()
    result = expected_best_of_n(select, value, np.arange(1, 12_601))
    assert time.process_time() - start < 3
    best = value[np.arange(100), select.argmax(axis=1)]
    assert result.mean[[0, -1]] == pytest.approx([value.mean(), best.mean()])


def test_expected_maximum_of_a_gaussian() -> None:
    """E[max_n]/d = 1.284, 1.299, 1.319, 1.333 (papers.md 1.5)."""
    select = np.random.default_rng(3).normal(size=(400, 4000))
    n = np.array([2, 10, 100, 1000])
    assert expected_best_of_n(select, select, n).mean / np.sqrt(best_of_n_bound(n)) == pytest.approx(
        [1.284, 1.299, 1.319, 1.333], abs=0.015
    )


@pytest.mark.parametrize("n", [0, 10, 2.5])
def test_n_outside_the_answers_is_an_error(n: float) -> None:
    with pytest.raises(ValueError, match=r"whole numbers in 1\.\.9"):
        expected_best_of_n(np.ones((1, 9)), np.ones((1, 9)), [n])


def test_a_missing_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="NaN"):
        expected_best_of_n([[1.0, np.nan]], [[1.0, 2.0]], [1])


def test_kl_of_sixteen_equal_outcomes_saturates() -> None:
    select = np.repeat(np.arange(16.0), 256)
    found = ranking_kl(rank(select), [64, 1024])
    assert found == pytest.approx(np.array([[2.689, 2.773]]), abs=1e-3)
    assert (found < best_of_n_bound([64, 1024])).all()


def test_kl_by_hand_and_per_prompt() -> None:
    # levels with mass 3/4 and 1/4: best of 2 wins with 9/16 and 7/16; the second prompt has one level
    select = np.array([[0.0, 0.0, 0.0, 1.0], [5.0, 5.0, 5.0, 5.0]])
    by_hand = 9 / 16 * np.log(9 / 16 / 0.75) + 7 / 16 * np.log(7 / 16 / 0.25)
    assert ranking_kl(rank(select), [1, 2]) == pytest.approx(np.array([[0, by_hand], [0, 0]]))


def test_kl_without_ties_is_the_bound_up_to_a_quarter_of_the_answers() -> None:
    select = np.random.default_rng(4).normal(size=(2, 1024))
    n = np.array([2, 16, 64, 256])
    assert ranking_kl(rank(select), n) == pytest.approx(np.broadcast_to(best_of_n_bound(n), (2, 4)), abs=3e-3)


def test_scores_that_differ_by_rounding_are_one_level() -> None:
    select = np.array([[2.0, 1.0, 1.0 + 1e-7, 2.0 - 1e-7, 3.0]])
    assert rank(select, 1e-6).size.tolist() == [2, 2, 1]
    assert rank(select).size.tolist() == [1] * 5
    value = np.array([[10.0, 1.0, 3.0, 20.0, 7.0]])
    assert tie_averaged(rank(select, 1e-6), value) == pytest.approx(np.array([[2.0, 2.0, 15.0, 15.0, 7.0]]))


def test_the_grid_holds_a_quarter_and_a_half_of_the_answers() -> None:
    points = grid(256)
    assert {1, 64, 128} <= set(points) and points.max() == 128 and 15 < len(points) < 30
    with pytest.raises(ValueError, match="too few"):
        grid(3)
