"""Numbers about reward models, worked by hand."""

import json

import numpy as np
import pyarrow as pa
import pytest

from analysis.reward_models.calibration import agreement, log_loss, reliability
from analysis.reward_models.diagnostics import difficulty, overrated, pair_diagnostics, spread
from analysis.reward_models.error_tail import hill, linear_error, tail
from analysis.reward_models.proxy_gold_gap import gamma
from analysis.reward_models.surface_guesses import correlation, first_token_values
from analysis.statistics import fits
from analysis.statistics.resampling import resamples
from rlhf_lab.functional.intervals import clustered_mean


def logit(p):
    return float(np.log(p / (1 - p)))


def test_the_calibration_error_of_four_pairs():
    reward = np.array([logit(0.6), logit(0.3), logit(0.8), logit(0.9)])  # sure to .6, .7, .8, .9
    curve = reliability(reward, np.ones(4), bins=2)
    assert curve.count.tolist() == [2, 2] and curve.accuracy.tolist() == [0.5, 1.0]
    assert curve.confidence.tolist() == pytest.approx([0.65, 0.85]) and curve.ece == pytest.approx(0.15)
    other_way_round = reliability(-reward, np.zeros(4), bins=2)
    assert other_way_round.ece == pytest.approx(curve.ece)


def test_a_calibrated_model_has_the_error_of_chance():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(50):
        reward = rng.normal(size=1000)
        right = rng.random(1000) < 1 / (1 + np.exp(-reward))
        found.append(reliability(reward, right.astype(float)))
    assert np.mean([one.ece for one in found]) == pytest.approx(found[0].ece_of_calibrated, rel=0.1)


def test_equal_rewards_are_a_coin_and_soft_labels_count_as_they_are():
    reward, preferred = np.array([2.0, -2.0, 0.0]), np.array([0.8, 0.8, 1.0])
    assert agreement(reward, preferred).tolist() == pytest.approx([0.8, 0.2, 0.5])
    sure = -np.log(1 / (1 + np.exp(-2.0)))
    assert log_loss(reward, preferred)[:2].tolist() == pytest.approx([sure + 0.4, sure + 1.6])
    assert log_loss(reward, preferred)[2] == pytest.approx(np.log(2))


def test_a_clustered_mean_counts_rows_and_has_the_error_of_questions():
    mean = clustered_mean([1, 1, 0, 0], [7, 7, 8, 8])
    assert mean.value == 0.5 and mean.parts[0].df == 1
    assert mean.se == pytest.approx(np.sqrt(2 * 2) / 4)  # residuals 1 and -1, times C/(C-1)
    assert np.isnan(clustered_mean([], []).value)


def by_hill(values, k, times=None):
    """The tail index of values in any order."""
    numbers = np.asarray(values, dtype=float)
    order = np.argsort(-numbers, kind="stable")
    return hill(numbers[order], np.ones(len(numbers)) if times is None else np.array(times)[order], k)


def test_hill_finds_the_index_of_a_pareto_sample():
    values = (1 - np.random.default_rng(1).random(200_000)) ** (-1 / 3)
    assert by_hill(values, 2000) == pytest.approx(3, rel=3 / np.sqrt(2000))
    assert by_hill([8.0, 4.0, 2.0, 1.0], 2) == pytest.approx(1 / np.mean(np.log([4, 2])))
    assert by_hill([8.0, 4.0, 2.0], 3, [2, 1, 1]) == pytest.approx(1 / np.mean(np.log([4, 4, 2])))
    assert by_hill([2.0, 2.0, 2.0], 2) == np.inf and np.isnan(by_hill([1.0, -1.0], 1))


def test_a_tail_has_an_interval_of_questions():
    error = (1 - np.random.default_rng(2).random(20_000)) ** -0.5
    draws = resamples(1, np.random.default_rng(0), 50)
    error_tail = tail(error, np.repeat(np.arange(200), 100), draws)
    assert (
        error_tail.k == 200
        and error_tail.interval.lo < 2 < error_tail.interval.hi
        and error_tail.index == by_hill(error, 200)
    )


def test_the_error_is_what_a_line_leaves():
    gold = np.array([0.0, 1.0, 2.0, 3.0])
    assert linear_error(2 * gold + 5, gold).tolist() == pytest.approx([0] * 4)
    assert linear_error(np.array([1.0, -1.0, -1.0, 1.0]), gold).tolist() == pytest.approx([1, -1, -1, 1])


def fit(alpha, beta):
    return fits.Fit(alpha, beta, 0.0, 0.0, 0.0)


def test_gamma_is_the_area_between_the_curves_over_gold_s():
    assert gamma(fit(1, 0), fit(1, 0), 2.0) == 0
    assert gamma(fit(1, 0), fit(3, 0), 2.0) == pytest.approx(2)  # |d - 3d| over d
    # d (1 - d) against 0 on [0, 2]: up to 1 and beyond, 1/6 and 5/6; gold's own area is -2/3, none
    assert gamma(fit(1, 1), fit(0, 0), 2.0) == np.inf
    d = np.linspace(0, 2, 200_001)
    f, g = d * (2 - 0.5 * d), d * (1 + 0.5 * d)  # they cross at d = 1
    assert gamma(fit(2, 0.5), fit(1, -0.5), 2.0) == pytest.approx(np.abs(f - g).sum() / f.sum(), rel=1e-4)


def test_a_correlation_does_not_depend_on_which_side_comes_first():
    rng = np.random.default_rng(3)
    x, turned = rng.normal(size=400), rng.choice([-1.0, 1.0], size=400)
    y = 0.6 * x + 0.8 * rng.normal(size=400)
    plain, swapped = (correlation(s * x, s * y, np.arange(400)) for s in (1, turned))
    assert plain.value == pytest.approx(swapped.value) and plain.se == pytest.approx(swapped.se)
    assert abs(plain.value - 0.6) < 3 * plain.se and 0.02 < plain.se < 0.05
    assert np.isnan(correlation(np.zeros(4), y[:4], np.arange(4)).value)


def test_a_first_token_is_worth_what_it_won():
    chosen, rejected = np.array([1, 1, 2, 3, 1]), np.array([2, 2, 1, 3, 3])
    learned = np.array([True, True, True, True, False])
    # 1 against 2: won, won, lost; 3 met only itself
    values = first_token_values((chosen, rejected), np.ones(5), learned)
    assert values.tolist() == pytest.approx([2 / 3, 2 / 3, -2 / 3, 0, 1 / 3])


def test_a_spread_is_of_answers_to_one_prompt():
    rewards = spread(np.array([[0.0, 2.0], [10.0, 10.0]]), np.array([0, 1]))
    assert rewards.variance.value == 1 and rewards.share == pytest.approx(0.5 / 20.75)


def test_the_overrated_come_first():
    _, _, falling = overrated(np.array([10.0, 30.0, 20.0]), np.array([3.0, 1.0, 2.0]))
    assert falling.tolist() == [1, 2, 0]


def test_the_difficulty_of_a_prompt():
    def difficulty_of(text):
        return difficulty(json.dumps([{"role": "user", "content": text}]))

    assert difficulty_of("what is the home of the fox ?") == "no sum"
    assert difficulty_of("i am sure it is 7 . do you know 3 plus 4 ?") == "sum of 1 operation"
    assert difficulty_of("tell me 3 plus 4 minus 2 .") == "sum of 2 operations"


def test_pairs_are_judged_by_labels_as_given_and_by_gold():
    sum_, fact = (json.dumps([{"role": "user", "content": text}]) for text in ("1 plus 2", "fact"))
    nan = float("nan")
    pairs = pa.table(
        {
            "question_id": [0, 1, 2, 3],
            "family": ["arithmetic", "fact", "fact", "fact"],
            "split": ["train", "heldout", "heldout", "heldout"],
            "messages": [sum_, sum_, fact, fact],
            "chosen_ids": [[5, 5], [5, 5, 5], [5], [6]],
            "rejected_ids": [[6], [6], [6, 6], [5]],
            "margin": [1.0, -1.0, 2.0, 0.0],
            "first": [True, True, False, True],
            "label": [1.0, 1.0, 1.0, 1.0],
            "chosen_reward": [nan, 1.0, 3.0, 2.0],
            "rejected_reward": [nan, 0.0, 2.0, 3.0],
        }
    )
    diagnostics = pair_diagnostics(pairs)
    assert (diagnostics.pairs, diagnostics.questions, diagnostics.training_pairs) == (3, 3, 1)
    right = {key: judged.accuracy.value for key, judged in diagnostics.judged.items()}
    assert right["labeler", "all"] == pytest.approx(2 / 3) and right["labeler", "untied"] == 1
    assert right["gold", "all"] == pytest.approx(0.5) and right["gold", "untied"] == 0.5
    assert diagnostics.groups["difficulty"].keys() == {"no sum", "sum of 1 operation"}
    assert diagnostics.groups["family"]["fact"][0] == 2 and "arithmetic" not in diagnostics.groups["family"]
    blind = {name: guess.accuracy.value for name, guess in diagnostics.blind.items()}
    assert blind == {"length": 0.5, "position": 0.5, "first token": 1.0}
