"""The tail of a proxy's error given gold.

Under a heavy tail best-of-n ends with answers of no more gold than the initial policy's, under a light tail it does
not (2407.14503, for errors independent of gold).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.resampling import Resample, percentile_interval
from rlhf_lab.functional.intervals import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARE = 0.01  # of the answers, the largest errors: the tail
FEWEST = 10  # answers in it
REACH = 10  # times the tail: what is kept, as a draw may leave out the questions of the largest errors


class Tail(NamedTuple):
    """A tail index: P(error > x) falls as x^-index."""

    index: float  # inf where all of the tail are equal
    interval: Interval  # 95 %, of draws of questions
    k: int  # answers in the tail


def linear_error(proxy: Floats, gold: Floats) -> Floats:
    """Return the residual of least squares of the proxy (A,) on gold (A,), (A,)."""
    spread = gold - gold.mean()
    square = spread @ spread
    slope = spread @ proxy / square if square > 0 else 0.0
    return proxy - proxy.mean() - slope * spread


def hill(falling: Floats, counts: Floats, k: int) -> float:
    """Return the tail index by the k largest of falling values (A,): 1 / mean log(x_i / x_(k+1)) (Hill 1975).

    `counts` (A,) says how often each value counts. NaN where fewer than k + 1 values are positive; infinite
    where the k largest are all equal to the next.
    """
    last = int(np.searchsorted(np.cumsum(counts), k + 1))
    if last == len(falling) or falling[last] <= 0:
        return float("nan")
    # those of the k that are not among the first `last` equal the (k + 1)-th and add log 1
    mean = float(counts[:last] @ np.log(falling[:last] / falling[last])) / k
    return 1 / mean if mean > 0 else float("inf")


def tail(error: Floats, cluster: Ints, draws: Sequence[Resample]) -> Tail:
    """Return the tail of errors (A,) of answers to the questions `cluster` (A,), with an interval over `draws`."""
    k = max(round(SHARE * len(error)), FEWEST)
    names, member = np.unique(cluster, return_inverse=True)
    order = np.argsort(-error, kind="stable")[: REACH * (k + 1)]
    falling, member = error[order], member[order]
    drawn = [hill(falling, draw.questions(len(names))[member], k) for draw in draws]
    return Tail(hill(falling, np.ones(len(falling)), k), percentile_interval(drawn), k)
