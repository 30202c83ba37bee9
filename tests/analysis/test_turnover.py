import numpy as np
import pytest

from analysis.statistics.turnover import halves, peak_heights, peak_values, turnover
from analysis.worlds.nulls import NULLS, REPLICATES, TRAININGS, TURNING, states, trained_states
from analysis.worlds.training_curves import NO_TURN, TURN
from analysis.worlds.world import Size


def test_drop_by_hand() -> None:
    """Both halves put the peak at point 1; the drops are 1 and 3 in one half, 2 and 2 in the other."""
    curves = np.array([[0, 5, 4], [0, 7, 4], [0, 6, 4], [0, 6, 4]], dtype=float)
    half = np.array([True, True, False, False])
    found = turnover(curves, half)
    assert found.fall.value == pytest.approx(2.0) and found.height == pytest.approx(6.0)
    assert found.rise.value == pytest.approx(6.0)
    assert found.fall.se == pytest.approx(np.sqrt((2 / 2 + 0) / 4))
    assert found.at.tolist() == [[1, 1]]


def test_the_peak_is_measured_on_the_questions_that_did_not_choose_it() -> None:
    """One half peaks at point 1 by luck alone; measured on the other half the luck is gone."""
    lucky, plain = [0.0, 9.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]
    half = np.array([True, True, False, False])
    found = turnover(np.array([lucky, lucky, plain, plain]), half)
    assert found.falls.tolist() == [[0, 0, 0, 0]] and found.at.tolist() == [[1, 2]]


def test_a_replicate_is_measured_where_the_others_have_their_peak() -> None:
    """Each of two runs jumps at a checkpoint of its own on all questions; the other run says where to measure it."""
    first, second = [0.0, 9.0, 1.0, 0.0], [0.0, 2.0, 7.0, 0.0]
    found = turnover(np.repeat([[first], [second]], 4, axis=1), np.array([True, True, False, False]))
    assert found.at.tolist() == [[2, 2], [1, 1]]
    assert found.fall.value == pytest.approx((1.0 + 2.0) / 2) and found.rise.value == pytest.approx(1.5)


def test_heights_of_peaks_by_hand() -> None:
    """The second draw has the first question twice and not the second, whose half then peaks at point 2."""
    curves = np.array([[[0, 4, 2], [0, 0, 6], [1, 2, 4], [1, 4, 2]]], dtype=float)
    half = np.array([True, True, False, False])
    # first draw: halves rise by (2, 4) and (2, 2): peaks at 2 and at 1; measured on the other: 2 and 2
    # second draw: (4, 2) and (2, 2): peaks at 1 and at 1; measured on the other: 2 and 4
    heights = peak_heights(curves, half, [[1, 1, 1, 1], [2, 0, 1, 1]])
    assert heights.tolist() == [[2.0], [3.0]]


def test_noise_has_peaks_of_no_height() -> None:
    """The maximum of 20 checkpoints of noise is above 0 in every run; the height of a peak is not."""
    noise = np.random.default_rng(0).normal(size=(200, 40, 20))
    half = halves(40, np.random.default_rng(1))
    heights = [peak_heights(noise[at : at + 2], half, np.ones((1, 40)))[0] for at in range(0, 200, 2)]
    assert abs(np.mean(heights)) < 3 * np.std(heights) / np.sqrt(np.size(heights))
    assert (noise.mean(axis=1) - noise[:, :, 0].mean(axis=1)[:, None]).max(axis=1).mean() > 0.2


def test_a_rising_curve_has_a_negative_drop() -> None:
    curves = np.arange(5.0) + np.random.default_rng(0).normal(size=(20, 1))
    assert turnover(curves, halves(20, np.random.default_rng(0))).fall.value == pytest.approx(-1.0)


def test_replicates_add_their_spread() -> None:
    rng = np.random.default_rng(0)
    curves = np.zeros((5, 40, 3))
    curves[:, :, 1] = np.array([0.0, 1, 2, 3, 4])[:, None] + 5 + 0.01 * rng.normal(size=(5, 40))
    half = halves(40, rng)
    assert turnover(curves, half).fall.se == pytest.approx(np.sqrt(2.5 / 5), rel=0.01)
    assert turnover(curves[:1], half).fall.se < 0.01


@pytest.mark.parametrize("null", NULLS)
def test_nulls_of_claim_1_are_seldom_met(null: str) -> None:
    found = states(NULLS[null], 30, np.random.default_rng(5), Size(prompts=128, questions=65, answers=128))
    assert found.count(True) <= 1
    assert found.count(False) >= 15  # and the test has the power to say no


def test_world_w1_turns() -> None:
    found = states(TURNING["world W1, c = 0.2"], 15, np.random.default_rng(6), Size())
    assert found.count(True) >= 14


def test_a_flat_policy_with_many_noisy_checkpoints_is_seldom_met() -> None:
    """Choosing the best of 24 noisy checkpoints on the questions it is measured on would often be met."""
    rng = np.random.default_rng(7)
    cheated = honest = 0
    for _ in range(200):
        curves = rng.normal(size=(130, 1)) + 0.7 * rng.normal(size=(130, 24))
        found = turnover(curves, halves(130, rng))
        honest += found.fall.interval().lo > 0.0
        drops = curves[:, curves.mean(axis=0).argmax()] - curves[:, -1]
        cheated += drops.mean() > 2 * drops.std() / np.sqrt(130)
    assert honest <= 12 and cheated > 40


@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("kind", NO_TURN)
def test_training_runs_without_a_turn_are_seldom_said_to_turn(kind: str, replicates: int) -> None:
    found = trained_states(NO_TURN[kind], replicates, 100, np.random.default_rng(8))
    assert found.count(True) <= 4  # 1 in 200 of the luckiest draws at a rate of 1 %


@pytest.mark.slow
@pytest.mark.parametrize("replicates", REPLICATES)
@pytest.mark.parametrize("kind", NO_TURN)
def test_at_most_one_in_a_hundred_training_runs_without_a_turn_is_said_to_turn(
    kind: str, replicates: int
) -> None:
    found = trained_states(NO_TURN[kind], replicates, TRAININGS, np.random.default_rng(9))
    assert found.count(True) <= 0.01 * TRAININGS


def test_five_training_runs_that_turn_are_said_to() -> None:
    """A turn by .2 SD is twice the threshold and is seldom seen; one by .5 SD is always."""
    met = [trained_states(kind, 5, 50, np.random.default_rng(10)).count(True) for kind in TURN.values()]
    assert met[0] < met[1] < met[2] and met[1] >= 25 and met[2] >= 49


def test_values_at_the_peak_by_hand() -> None:
    half = np.array([True, True, False, False])
    curves = np.zeros((1, 4, 3))
    curves[0, half, 1] = 1.0  # the first half peaks at point 1, the other at point 2
    curves[0, ~half, 2] = 1.0
    values = np.arange(12.0).reshape(1, 4, 3)
    # the first half is measured at 2 (2 and 5), the other at 1 (7 and 10)
    assert peak_values(curves, values, half, np.ones((1, 4))) == pytest.approx(np.array([[6.0]]))
    assert peak_values(curves, values, half, [[1, 0, 1, 1]]) == pytest.approx(np.array([[5.25]]))
