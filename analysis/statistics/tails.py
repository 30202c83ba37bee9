"""How heavy the tail of a proxy's error is: light tails can be optimised against for long, heavy ones cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.resampling import Resample, percentile_interval
from rlhf_lab.functional.intervals import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARE = 0.01  # of the answers, the largest errors: the tail
FEWEST = 10  # answers in it
REACH = 10  # times the tail: what is kept, as a draw may leave out the questions of the largest errors


class Tail(NamedTuple):
    """P(error > x) falls as x^-index."""

    index: float  # inf where all of the tail are equal
    interval: Interval  # 95 %, of draws of questions
    k: int  # answers in the tail


def linear_error(proxy: Floats, gold: Floats) -> Floats:
    """(A,): what least squares of the proxy (A,) on gold (A,) leaves over."""
    spread = gold - gold.mean()
    square = spread @ spread
    slope = spread @ proxy / square if square > 0 else 0.0
    return proxy - proxy.mean() - slope * spread


def hill(values: ArrayLike, k: int, times: ArrayLike | None = None) -> float:
    """The tail index of positive values (A,) by their k largest (Hill 1975): 1 / mean log(x_i / x_(k+1)).

    `times` (A,): how often each counts. NaN where fewer than k + 1 are positive.
    """
    numbers = np.asarray(values, dtype=float)
    counts = np.ones(len(numbers)) if times is None else np.asarray(times, dtype=float)
    order = np.argsort(-numbers, kind="stable")
    return _hill(numbers[order], counts[order], k)


def _hill(falling: Floats, counts: Floats, k: int) -> float:
    reached = np.cumsum(counts)
    last = int(np.searchsorted(reached, k + 1))
    if last == len(falling) or falling[last] <= 0:
        return float("nan")
    mean = (
        float(counts[:last] @ np.log(falling[:last] / falling[last])) / k
    )  # the rest of the k equal the (k+1)-th
    return 1 / mean if mean > 0 else float("inf")


def tail(error: Floats, cluster: Ints, draws: Sequence[Resample]) -> Tail:
    """The tail of errors (A,) of answers to questions `cluster` (A,)."""
    k = max(round(SHARE * len(error)), FEWEST)
    names, member = np.unique(cluster, return_inverse=True)
    order = np.argsort(-error, kind="stable")[: REACH * (k + 1)]
    falling, member = error[order], member[order]
    drawn = [_hill(falling, draw.questions(len(names))[member], k) for draw in draws]
    return Tail(_hill(falling, np.ones(len(falling)), k), percentile_interval(drawn), k)
