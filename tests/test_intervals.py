"""Estimates and their intervals: by hand, and how often they cover the truth."""

import numpy as np
import pytest
from scipy.stats import t as student

from rlhf_lab.functional.intervals import Estimate, Part, Rate, clustered_mean, p_above, p_below


def test_two_parts_of_a_variance_share_one_interval_by_hand() -> None:
    """Cochran's t is the mean of 2.776 (4 degrees of freedom) and 1.984 (99), weighted by 3 and 1: 2.578."""
    estimate = Estimate(1.0, (Part(0.03, 4.0), Part(0.01, 99.0)), 5)
    assert estimate.se == pytest.approx(0.2)
    assert estimate.interval() == pytest.approx((1 - 0.2 * 2.578, 1 + 0.2 * 2.578), abs=1e-3)


def test_one_replicate_is_conditional_and_has_the_t_interval_of_its_questions() -> None:
    values = np.random.default_rng(0).normal(size=(1, 30))
    estimate = Estimate.of_questions(values)
    expected = student.interval(0.95, 29, values.mean(), values.std(ddof=1) / np.sqrt(30))
    assert estimate.is_conditional and estimate.interval() == pytest.approx(expected)


def test_replicates_that_share_nothing_but_chance_have_the_t_interval_of_their_means() -> None:
    values = np.random.default_rng(0).normal(size=(5, 2000))
    estimate, means = Estimate.of_questions(values), values.mean(axis=1)
    over_replicates = estimate.parts[1]
    assert over_replicates == (pytest.approx(means.var(ddof=1) / 5), 4.0) and not estimate.is_conditional
    assert estimate.parts[0].variance < over_replicates.variance


def test_draws_and_rows_give_the_same_estimate() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 150)) + rng.normal(size=150) + rng.normal(size=(4, 1))
    weights = np.stack(
        [np.ones(150), *(np.bincount(rng.integers(150, size=150), minlength=150) for _ in range(4000))]
    )
    drawn = Estimate.of(weights @ values.T / 150)
    rows = Estimate.of_questions(values)
    assert drawn.value == pytest.approx(rows.value)
    assert [part.variance for part in drawn.parts] == pytest.approx(
        [part.variance for part in rows.parts], rel=0.08
    )


def test_the_difference_of_arms_is_paired_by_question_and_adds_the_spread_of_both_replicates() -> None:
    rng = np.random.default_rng(0)
    level = 10 * rng.normal(size=400)
    first = level + rng.normal(size=(5, 1)) + 0.1 * rng.normal(size=(5, 400))
    second = level + rng.normal(size=(3, 1)) + 0.1 * rng.normal(size=(3, 400))
    estimate = Estimate.of_difference(first, second)
    spread = first.mean(axis=1).var(ddof=1) / 5 + second.mean(axis=1).var(ddof=1) / 3
    assert estimate.se == pytest.approx(np.sqrt(spread), rel=0.01) and estimate.replicates == 3
    assert [part.df for part in estimate.parts] == [399.0, 4.0, 2.0]


@pytest.mark.parametrize("replicates", [2, 3, 5])
@pytest.mark.parametrize("of_runs", [0.0, 0.03, 0.1, 0.3])  # SD over replicates, whose questions' SE is .06
@pytest.mark.parametrize(("shared", "alone"), [(0.8, 0.2), (0.6, 0.6), (0.2, 1.2)])
def test_intervals_cover_what_they_say(replicates: int, of_runs: float, shared: float, alone: float) -> None:
    """Printed 95 % intervals of a mean over replicates and questions cover 93 to 98 % of the time."""
    rng, worlds, questions = np.random.default_rng(0), 1500, 100
    covered = 0
    for _ in range(worlds):
        values = (
            of_runs * rng.normal(size=(replicates, 1))
            + shared * rng.normal(size=questions)
            + alone * rng.normal(size=(replicates, questions))
        )
        lo, hi = Estimate.of_questions(values).interval()
        covered += lo <= 0 <= hi
    assert 0.93 - 0.014 <= covered / worlds <= 0.98 + 0.008  # two standard errors of the count


@pytest.mark.parametrize("replicates", [2, 5])
def test_intervals_of_a_difference_cover_what_they_say(replicates: int) -> None:
    rng, worlds, questions = np.random.default_rng(1), 1500, 100
    covered = 0
    for _ in range(worlds):
        level = rng.normal(size=questions)
        first, second = (
            level + 0.1 * rng.normal(size=(replicates, 1)) + 0.6 * rng.normal(size=(replicates, questions))
            for _ in range(2)
        )
        lo, hi = Estimate.of_difference(first, second).interval()
        covered += lo <= 0 <= hi
    assert (
        covered / worlds >= 0.93 - 0.014
    )  # two replicates a side: 99 %, as each side has one degree of freedom


def test_a_p_value_is_where_the_interval_ends() -> None:
    estimate = Estimate.plain(0.3, 0.1, 4.0, 5)
    assert p_above(estimate, 0.0) == pytest.approx(student.sf(3, 4))
    assert p_above(estimate, 0.5) == pytest.approx(student.sf(-2, 4))
    assert p_below(estimate, 0.5) == pytest.approx(student.sf(2, 4))
    assert np.isnan(p_above(Estimate.plain(0.3, float("nan")), 0.0))
    assert p_above(Rate(50, 100), 0.5) == pytest.approx(0.5, abs=0.01)


def test_a_clustered_mean_by_hand() -> None:
    """Two questions with two equal answers each: residuals sum to 1 and -1, so the SE is sqrt(2 x 2 / 1) / 4."""
    found = clustered_mean([1.0, 1.0, 0.0, 0.0], [7, 7, 3, 3])
    assert (found.value, found.se) == (0.5, pytest.approx(0.5)) and found.parts[0].df == 1
    assert clustered_mean([1.0, 1.0, 0.0, 0.0], [0, 1, 2, 3]).se == pytest.approx(np.sqrt(1 / 12))


def test_numbers_of_replicates_by_hand():
    """1, 2, 3 have mean 2 and SE 1 / sqrt(3), with 2 degrees of freedom (t = 4.303)."""
    estimate = Estimate.of_replicates([1.0, 2.0, 3.0])
    assert estimate.value == 2 and estimate.interval() == pytest.approx(
        (2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3
    )
    assert not np.isfinite(Estimate.of_replicates([1.0]).interval()).any()


def test_the_interval_of_a_rate_holds_the_rate() -> None:
    for trials in range(1, 40):
        for successes in (0, trials):
            rate = Rate(successes, trials)
            assert rate.interval().lo <= rate.value <= rate.interval().hi
