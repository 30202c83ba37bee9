import numpy as np
import pytest
from scipy.stats import norm

from analysis.statistics.resampling import Resample, expanded, original, percentile_interval, resamples
from rlhf_lab.functional.intervals import Estimate, Rate, cluster_means, mean_and_se, paired_difference


def test_a_draw_of_questions_is_the_same_for_every_replicate() -> None:
    draw = resamples(2, np.random.default_rng(0), 1)[0]
    assert (draw.questions(50) == draw.questions(50)).all()
    assert draw.questions(50).sum() == 50 and draw.questions(50).max() > 1


def test_five_replicates_are_drawn_with_repetition_and_four_are_kept() -> None:
    drawn = [draw.replicates for draw in resamples(5, np.random.default_rng(0), 400)]
    counts = np.bincount(np.concatenate(drawn), minlength=5)
    assert any(len(np.unique(draw)) < 5 for draw in drawn) and abs(counts / 400 - 1).max() < 0.15
    assert all(
        draw.replicates.tolist() == [0, 1, 2, 3] for draw in resamples(4, np.random.default_rng(0), 20)
    )


def test_percentiles_of_resampled_replicates_make_up_for_their_number() -> None:
    """With 5 replicates the interval is that of Student's t, 2.776 SEs, where draws spread sqrt(4 / 5) of an SE."""
    assert expanded(0.95, 4) == 0.95
    assert norm.ppf((1 + expanded(0.95, 5)) / 2) == pytest.approx(2.776 * np.sqrt(5 / 4), rel=1e-3)


def test_the_original_takes_everything_once() -> None:
    assert (original(3).questions(4) == 1).all() and list(original(3).replicates) == [0, 1, 2]


def test_bootstrap_of_a_mean_has_the_clustered_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=200)
    draws = resamples(1, np.random.default_rng(1), 2000)
    means = [draw.questions(200) @ values / 200 for draw in draws]
    _, se = mean_and_se(values)
    assert np.std(means) == pytest.approx(float(se), rel=0.06)
    lo, hi = percentile_interval(means)
    assert (hi - lo) / 2 == pytest.approx(1.96 * se, rel=0.08)


def test_percentiles_of_infinite_draws() -> None:
    assert percentile_interval([1.0] * 90 + [float("inf")] * 10) == (1.0, float("inf"))


def test_pairs_cancel_what_questions_share() -> None:
    rng = np.random.default_rng(0)
    level = 10 * rng.normal(size=300)
    first, second = level + 0.5 + 0.1 * rng.normal(size=300), level + 0.1 * rng.normal(size=300)
    mean, se = paired_difference(first, second)
    assert mean == pytest.approx(0.5, abs=0.03) and se == pytest.approx(0.1 * np.sqrt(2 / 300), rel=0.15)


def test_one_question_has_no_standard_error() -> None:
    assert np.isnan(mean_and_se([[1.0, 2.0]])[1]).all()


def test_cluster_means_in_ascending_order() -> None:
    assert cluster_means([[1.0], [5.0], [3.0]], [7, 2, 7]) == pytest.approx(np.array([[5.0], [2.0]]))


def test_wilson_by_hand() -> None:
    assert Rate(0, 200).interval() == pytest.approx((0.0, 0.01885), abs=1e-4)
    assert Rate(10, 20).interval() == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert np.isnan(Rate(0, 0).interval()).all()


def test_seed_none_and_a_seed_differ() -> None:
    assert (Resample(np.arange(1), 3).questions(30) != Resample(np.arange(1), None).questions(30)).any()


def test_draws_in_which_a_replicate_has_no_number_are_left_out_while_they_are_few() -> None:
    draws = np.random.default_rng(0).normal(0.2, 0.05, (301, 5))
    draws[1:40, 0] = np.nan
    found = Estimate.of(draws)
    assert found.value == draws[0].mean() and found.replicates == 5
    assert found.se == pytest.approx(Estimate.of(np.delete(draws, slice(1, 40), axis=0)).se)
    draws[1:200, 0] = np.nan
    assert np.isnan(Estimate.of(draws).se)
    draws[0, 0] = np.nan
    assert np.isnan(Estimate.of(draws).value)
