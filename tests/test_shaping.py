"""Shaped rewards, worked by hand."""

import math

import numpy as np
import pytest

from rlhf_lab.config.shaping import (
    AgreementPenalty,
    Clip,
    LengthPenalty,
    LogSigmoid,
    MeanStd,
    MinMax,
    NoShaping,
    PreferenceAsReward,
)
from rlhf_lab.functional.shaping import Answers, shaped

REFERENCES = np.array([[0.0, 2.0], [4.0, 2.0]])  # mean 2, SD sqrt(2), two prompts
ANSWERS = Answers(
    np.array([-5.0, 1.0, 9.0]),
    np.array([4.0, 10.0, 0.0]),
    REFERENCES[[0, 0, 1]],
    np.array([True, False, True]),
)
SD = math.sqrt(2)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    "shaping, expected",
    [
        (Clip(sds=1.0), [2 - SD, 1, 2 + SD]),
        (MinMax(), [0, 0.25, 1]),
        (LogSigmoid(quantile=0.5), [math.log(sigmoid(-7)), math.log(sigmoid(-1)), math.log(sigmoid(7))]),
        (
            PreferenceAsReward(),
            [
                (sigmoid(-5) + sigmoid(-7)) / 2,
                (sigmoid(1) + sigmoid(-1)) / 2,
                (sigmoid(5) + sigmoid(7)) / 2,
            ],
        ),
        (LengthPenalty(per_token=0.1), [-5 - 0.4 * SD, 1 - SD, 9]),
        (AgreementPenalty(weight=2.0, phrases=["well done"]), [-5 - 2 * SD, 1, 9 - 2 * SD]),
        (AgreementPenalty(weight=0.0, phrases=["well done"]), [-5, 1, 9]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_shapings(shaping, expected):
    np.testing.assert_allclose(shaped(shaping, ANSWERS, REFERENCES), expected)


def test_mean_and_std_are_those_of_the_rollout():
    found = shaped(MeanStd(), ANSWERS, REFERENCES)
    assert found.mean() == pytest.approx(0) and found.std() == pytest.approx(1)
    alike = ANSWERS._replace(reward=np.ones(3))
    np.testing.assert_array_equal(shaped(MeanStd(), alike, REFERENCES), np.zeros(3))


def test_bounded_shapings_are_bounded_and_never_turn_an_order_round():
    reward = np.linspace(-50, 50, 201)
    asked = Answers(reward, np.ones(201), np.repeat(REFERENCES[:1], 201, axis=0), np.ones(201, bool))
    for shaping in (Clip(sds=1.0), MinMax(), PreferenceAsReward()):
        found = shaped(shaping, asked, REFERENCES)
        assert (np.diff(found) >= 0).all() and np.ptp(found) <= 2 * SD


def test_what_shapes_nothing_is_named():
    with pytest.raises(TypeError, match=r"NoShaping shapes no reward.*shaped\.register"):
        shaped(NoShaping(), ANSWERS, REFERENCES)
