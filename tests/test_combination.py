"""Rules that make one reward of several, and what puts members on one scale, worked by hand."""

import numpy as np
import pytest

from rlhf_lab.config.combination import (
    LowerBound,
    Mean,
    Median,
    Minimum,
    Offset,
    Seeds,
    Single,
    UncertaintyWeighted,
    WeightAverage,
)
from rlhf_lab.functional.combination import combined, scale

REWARDS = np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]])  # three members, two answers
OF = {"members": 3, "seeds": Seeds.finetune, "offset": Offset.all}
VARIANCE = np.array([14 / 3, 2.0])  # ddof 0


@pytest.mark.parametrize(
    "rule, expected",
    [
        (Mean(**OF), [3, 1]),
        (Minimum(**OF), [1, 0]),
        (Median(**OF), [2, 0]),
        (UncertaintyWeighted(**OF, weight=0.5), np.array([3, 1]) - 0.5 * VARIANCE),
        (LowerBound(**OF, sds=2.0), np.array([3, 1]) - 2 * np.sqrt(VARIANCE)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_rules(rule, expected):
    np.testing.assert_allclose(combined(rule, REWARDS), expected)


def test_what_combines_nothing_is_named():
    with pytest.raises(TypeError, match=r"Single combines no rewards.*combined\.register"):
        combined(Single(), REWARDS)


def test_members_that_differ_in_zero_and_unit_alone_are_one_on_one_scale():
    rng = np.random.default_rng(0)
    rewards = rng.normal(size=(40, 8))
    for offset in Offset:
        level, sd = scale(rewards, offset)
        other_level, other_sd = scale(5 * rewards - 3, offset)
        mine, other = (rewards - level[:, None]) / sd, (5 * rewards - 3 - other_level[:, None]) / other_sd
        np.testing.assert_allclose(mine, other)
        assert mine.mean() == pytest.approx(0, abs=1e-12)


def test_a_level_of_each_prompt_is_taken_away_where_asked():
    rng = np.random.default_rng(1)
    rewards = rng.normal(size=(4000, 8))
    moved = rewards + 10 * rng.normal(size=(4000, 1))
    level, sd = scale(moved, Offset.prompt)
    np.testing.assert_allclose(level, moved.mean(axis=1))
    assert sd == pytest.approx(1, abs=0.02)  # unbiased: one of eight answers' freedom is the level's
    assert scale(moved, Offset.all)[1] == pytest.approx(np.sqrt(101), rel=0.05)


def test_a_member_that_rewards_everything_alike_is_refused():
    with pytest.raises(FloatingPointError, match="nothing to optimise"):
        scale(np.ones((3, 4)), Offset.all)


def test_weights_are_averaged_of_one_initialisation_only():
    with pytest.raises(ValueError, match=r"seeds must be finetune"):
        WeightAverage(members=3, seeds=Seeds.pretrain)
    with pytest.raises(ValueError, match=r"members must be >= 2"):
        Mean(members=1, seeds=Seeds.finetune, offset=Offset.all)
