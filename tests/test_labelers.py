"""Labelers: whom they prefer, and how often they are wrong."""

import numpy as np
import pytest

from rlhf_lab.config import Boltzmann, Flip, GoldArgmax, Labeler
from rlhf_lab.labelers import prefers_first

CLEAR = np.tile([[2.0, 0.0], [0.0, 2.0]], (5000, 1))  # (N, 2) gold of both answers
RIGHT = CLEAR[:, 0] > CLEAR[:, 1]


def labels(labeler, gold=CLEAR, seed=0):
    return prefers_first(labeler, gold, np.random.default_rng(seed))


def test_argmax_is_always_right_and_tosses_a_coin_on_ties():
    assert (labels(GoldArgmax()) == RIGHT).all()
    assert labels(GoldArgmax(), np.zeros((10_000, 2))).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
def test_flip_is_wrong_at_its_rate(rate):
    assert (labels(Flip(rate=rate)) != RIGHT).mean() == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_boltzmann_is_right_with_bradley_terry_probability(temperature):
    expected = 1 / (1 + np.exp(-2.0 / temperature))
    assert (labels(Boltzmann(temperature=temperature)) == RIGHT).mean() == pytest.approx(expected, abs=0.02)


def test_labels_depend_on_the_generator_only():
    assert (labels(Flip(rate=0.25)) == labels(Flip(rate=0.25))).all()
    assert (labels(Flip(rate=0.25)) != labels(Flip(rate=0.25), seed=1)).any()


def test_an_unknown_labeler_is_named():
    with pytest.raises(TypeError, match=r"prefers_first\.register"):
        labels(Labeler())
