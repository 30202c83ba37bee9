"""Whether a curve turns over: gold at its peak minus gold at the end, from the curve and not from a fit.

The peak is chosen on one half of the questions and the drop measured on the other, both ways, because a peak that is
chosen and measured on the same noise is too high. `python -m analysis.worlds.nulls` shows how often this errs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_lab.functional.intervals import Estimate, conditional

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Turnover(NamedTuple):
    """How far gold is below its peak at the end of a curve, of R replicates and C questions."""

    drop: float  # gold at the peak minus gold at the last point
    se: float  # over questions; with five replicates or more over these too
    height: float  # gold at the peak, on the questions that did not choose it
    at: Ints  # (R, 2): where each half of the questions puts the peak of each replicate: the index of a point
    drops: Floats  # (R, C) of each replicate and question; their balanced mean is `drop`

    @property
    def estimate(self) -> Estimate:
        """The drop as it is reported."""
        return Estimate(self.drop, self.se, float("inf"), len(self.drops))

    def place(self, half: NDArray[np.bool_]) -> Ints:
        """Return the point at which each question is measured, (R, C): the peak by the half that it is not in."""
        return np.where(half, self.at[:, 1:], self.at[:, :1])


def halves(questions: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random half of the questions as True, (questions,)."""
    return rng.permutation(questions) % 2 == 0


def turnover(curves: ArrayLike, half: NDArray[np.bool_], end_too: bool = False) -> Turnover:
    """Return the cross-fitted drop of `curves` (R, C, K) or (C, K): R replicates, C questions, K points with the end
    last.

    The peak is sought among the points before the last, so a curve that still rises has a negative drop. With
    `end_too` it is sought among all points, and such a curve has none. Raises ValueError where there are fewer than
    two points, or fewer than two questions in a half.
    """
    table = np.asarray(curves, dtype=float)
    table = table[None] if table.ndim == 2 else table
    if table.shape[2] < 2 or min(half.sum(), (~half).sum()) < 2:
        raise ValueError(f"a turn needs two points and two questions in each half, got curves {table.shape}")
    chosen_by = np.stack([table[:, half].mean(axis=1), table[:, ~half].mean(axis=1)])  # (2, R, K)
    at = (chosen_by if end_too else chosen_by[:, :, :-1]).argmax(axis=2).T  # (R, 2)
    place = np.where(half, at[:, 1:], at[:, :1])
    height = np.take_along_axis(table, place[:, :, None], axis=2)[:, :, 0]
    drops = height - table[:, :, -1]
    return Turnover(_balanced(drops, half), standard_error(drops, half), _balanced(height, half), at, drops)


def _balanced(values: Floats, half: NDArray[np.bool_]) -> float:
    """Return the mean of the two halves' means of values (R, C), over replicates."""
    return float((values[:, half].mean() + values[:, ~half].mean()) / 2)


def standard_error(values: Floats, half: NDArray[np.bool_]) -> float:
    """Return the SE of the mean of `values` (R, C), over questions within each half.

    Five replicates or more add the variance over replicates.
    """
    by_question = values.mean(axis=0)
    parts = [by_question[side].var(ddof=1) / side.sum() for side in (half, ~half)]
    variance = sum(parts) / 4
    if not conditional(len(values)):
        variance += values.mean(axis=1).var(ddof=1) / len(values)
    return float(np.sqrt(variance))
