"""Curves of means, such as published ones: a peak that was chosen on the numbers on which it is measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri

from analysis.statistics.claims import ClaimTable
from analysis.statistics.mean_curves import possible_peaks, turnover_of_means

DIGITISED = json.loads((Path(__file__).parents[1] / "data" / "gao2022_fig1_digitised.json").read_text())
LIMITS = {"turns": {"threshold": 0.1}}


def state(values: np.ndarray, se: np.ndarray | float | None) -> bool | None:
    turn = turnover_of_means(values, None if se is None else np.broadcast_to(se, np.shape(values)))
    return (
        ClaimTable("any", "SDs", LIMITS).all_above("turns", "a curve", "it turns", turn[:2], 1, "turns").met
    )


def test_rise_and_fall_by_hand() -> None:
    """Two points between the ends: z is that of 1 - .05 / 2 / 2, and independent SEs of .03 and .04 make .05."""
    turn = turnover_of_means([0.0, 0.5, 0.3, 0.1], [0.03, 0.04, 0.04, 0.03])
    assert turn.at == 1 and turn.peaks.tolist() == [1]
    half = float(ndtri(1 - 0.05 / 4)) * 0.05
    assert turn.rise.value == pytest.approx(0.5) and turn.fall.value == pytest.approx(0.4)
    assert turn.rise.interval() == pytest.approx((0.5 - half, 0.5 + half))
    assert turn.fall.interval() == pytest.approx((0.4 - half, 0.4 + half))


def test_the_peak_is_the_point_that_is_sure_to_be_high_and_not_the_luckiest() -> None:
    turn = turnover_of_means([0.0, 0.5, 0.6, 0.0], [0.01, 0.01, 0.5, 0.01])
    assert turn.at == 1 and turn.peaks.tolist() == [1, 2]


def test_states_with_and_without_standard_errors() -> None:
    turning = np.array([0.0, 0.5, 0.2])
    assert state(turning, 0.02) is True and state(turning, 0.2) is None
    assert state(np.array([0.0, 0.2, 0.5]), 0.02) is False and state(-turning, 0.02) is False
    assert state(turning, None) is None and state(-turning, None) is None
    assert np.isnan(turnover_of_means(turning).rise.interval()).all()


@pytest.mark.parametrize(
    ("values", "se", "message"),
    [
        ([0.0, 1.0], None, "three points"),
        ([0.0, np.nan, 1.0], None, "point 1 of the curve is not finite"),
        ([0.0, 1.0, 0.5], [0.1, 0.0, 0.1], "a standard error is 0"),
        ([0.0, 1.0, 0.5], [0.1, 0.1], "each of 2 points"),
        ([0.0, 1.0, 0.5], [np.nan, 0.1, 0.1], "point 0"),
    ],
)
def test_what_is_no_curve(values: list[float], se: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        turnover_of_means(values, se)


@pytest.mark.parametrize("slope", [0.0, 0.5, -0.5])
@pytest.mark.parametrize("points", [3, 13, 49])
def test_noise_seldom_turns(slope: float, points: int) -> None:
    """A threshold of 0 asks most: 400 curves that are flat, rise on or fall."""
    rng = np.random.default_rng(points)
    shape, met = slope * np.linspace(0, 1, points), 0
    for _ in range(400):
        turn = turnover_of_means(shape + 0.1 * rng.normal(size=points), np.full(points, 0.1))
        met += min(turn.rise.interval().lo, turn.fall.interval().lo) > 0
    assert met <= 10  # 2.5 %


def test_the_true_peak_is_among_the_possible_ones() -> None:
    rng, truth = np.random.default_rng(0), np.array([0.0, 0.3, 0.4, 0.35, 0.1])
    se = np.full(5, 0.05)
    held = [2 in possible_peaks(truth + se * rng.normal(size=5), se) for _ in range(400)]
    assert np.mean(held) >= 0.97


def test_published_curves() -> None:
    """With an error of .01 of what was read off, best-of-n turns for one size, and RL for the five smaller ones.

    Without errors nothing is decided.
    """
    turning = {
        method: [size for size, points in curves.items() if state(np.array(points)[:, 1], 0.01)]
        for method, curves in DIGITISED.items()
        if method in ("bon", "rl")
    }
    assert turning == {"bon": ["3M"], "rl": ["3M", "12M", "25M", "42M", "85M"]}
    assert all(state(np.array(points)[:, 1], None) is None for points in DIGITISED["bon"].values())
