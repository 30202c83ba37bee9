"""World W2, the exact toy of HedgeTune: gold is a function of the proxy's quantile (2506.19248)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.worlds.scores import World

Floats = NDArray[np.float64]

HEDGING_POWER = 12  # p of W2


def w2_gold(quantile: Floats, power: int = HEDGING_POWER) -> Floats:
    """W2: gold u^p (1 - u) / C at the proxy's quantile u, 1 at its highest (2506.19248, the exact toy)."""
    highest = (power / (power + 1)) ** power / (power + 1)
    return quantile**power * (1 - quantile) / highest


def w2_best_of_n(n: Floats, power: int = HEDGING_POWER) -> Floats:
    """Expected gold of best-of-n in W2, n / (C (n + p) (n + p + 1)): highest at n = sqrt(p (p + 1))."""
    highest = (power / (power + 1)) ** power / (power + 1)
    return n / (highest * (n + power) * (n + power + 1))


def w2(answers: int) -> World:
    """One prompt of W2 with its proxies at evenly spaced quantiles."""
    quantile = (np.arange(answers) + 0.5) / answers
    return World(quantile[None], w2_gold(quantile)[None], np.zeros(1, dtype=np.int64))
