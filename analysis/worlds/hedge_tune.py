"""World W2, the exact example of HedgeTune (2506.19248), in which gold is a function of the proxy's quantile.

`toy` computes the curves of three rules and HedgeTune's choice for each with the estimators of `analysis.best_of_n`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.best_of_n import estimator, soft_best_of_n
from analysis.best_of_n.hedge_tune import (
    HARDEST,
    SMALLEST_MEAN,
    SOFTEST,
    Response,
    best,
    best_of_n_response,
    poisson_response,
)
from analysis.runs.arms import BEST_OF_N
from analysis.worlds.world import World

Floats = NDArray[np.float64]

CURVE, ROOT = "toy", "toy, HedgeTune"  # the `curve` of its rows
ANSWERS, LARGEST = 2048, 128
POINTS = 40
POWER = 12  # p of W2


def w2_gold(quantile: Floats, power: int = POWER) -> Floats:
    """Return gold u^p (1 - u) / C at the proxy's quantile u, whose highest value is 1."""
    highest = (power / (power + 1)) ** power / (power + 1)
    return quantile**power * (1 - quantile) / highest


def w2_best_of_n(n: Floats, power: int = POWER) -> Floats:
    """Return the expected gold of best-of-n, n / (C (n + p) (n + p + 1)), which is highest at n = sqrt(p (p + 1))."""
    highest = (power / (power + 1)) ** power / (power + 1)
    return n / (highest * (n + power) * (n + power + 1))


def w2(answers: int) -> World:
    """Return one prompt with `answers` proxies at evenly spaced quantiles."""
    quantile = (np.arange(answers) + 0.5) / answers
    return World(quantile[None], w2_gold(quantile)[None], np.zeros(1, dtype=np.int64))


def toy() -> pd.DataFrame:
    """Return rows of method, curve, strength (n; for soft best-of-n the inverse temperature per SD), KL and gold."""
    world = w2(ANSWERS)
    profile, ranking = world.gold[0], estimator.rank(world.proxy)
    share = np.arange(ANSWERS + 1) / ANSWERS
    score = world.proxy / world.proxy.std()
    n = ANSWERS // 4

    def mean_of_poisson(mean: float) -> float:
        """Return the KL of best-of-Poisson at a mean, nats."""
        return float(estimator.level_kl(ranking, estimator.poisson_reach(share, [1 + mean]))[0, 0])

    def answers(size: float) -> float:
        """Return the KL of best-of-n at a number of answers, nats."""
        return float(estimator.level_kl(ranking, estimator.best_of_n_reach(share, [size]))[0, 0])

    def soft_response(strength: float) -> tuple[float, float]:
        """Return gold under soft best-of-n and its derivative in the strength."""
        expected, slope = soft_best_of_n.response(score, world.gold, n, strength)
        return float(expected[0]), float(slope[0])

    def temperature(strength: float) -> float:
        """Return the KL of soft best-of-n at an inverse temperature, nats."""
        return float(soft_best_of_n.kl(score, [n], strength)[0, 0])

    return pd.concat(
        [
            _rows(BEST_OF_N, best_of_n_response(profile), answers, 1, LARGEST),
            _rows("best_of_poisson", poisson_response(profile), mean_of_poisson, SMALLEST_MEAN, LARGEST - 1),
            _rows("soft_bon", soft_response, temperature, SOFTEST, HARDEST),
        ]
    )


def _rows(
    method: str, response: Response, kl: Callable[[float], float], least: float, most: float
) -> pd.DataFrame:
    strengths = [*np.geomspace(least, most, POINTS), best(response, least, most).strength]
    return pd.DataFrame(
        {
            "method": method,
            "curve": [CURVE] * POINTS + [ROOT],
            "strength": strengths,
            "kl": [kl(strength) for strength in strengths],
            "gold": [response(strength)[0] for strength in strengths],
        }
    )
