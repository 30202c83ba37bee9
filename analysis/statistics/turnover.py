"""Whether a curve turns: it rises from its start to a peak and falls from there to its end.

The rise and the fall are measured on the curve and not on a fit. A peak that is chosen and measured on the same noise
is too high, so each replicate is measured where the other replicates have their peak on the other half of the
questions: what one run gains by accident at one checkpoint, no other run gains there. With one replicate only the
questions are others. `python -m analysis.worlds.nulls` shows how often this errs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_lab.functional.intervals import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Turnover(NamedTuple):
    """How far a curve rises to its peak and falls from it, of R replicates and C questions."""

    rise: Estimate  # gold at the peak minus gold at the first point
    fall: Estimate  # gold at the peak minus gold at the last point
    height: float  # gold at the peak, on the questions that did not choose it
    at: Ints  # (R, 2): where the other replicates' peak is on each half of the questions: the index of a point
    falls: Floats  # (R, C) of each replicate and question; their balanced mean is `fall`

    def place(self, half: NDArray[np.bool_]) -> Ints:
        """Return the point at which each question is measured, (R, C): the peak by the half that it is not in."""
        return np.where(half, self.at[:, 1:], self.at[:, :1])


def halves(questions: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random half of the questions as True, (questions,)."""
    return rng.permutation(questions) % 2 == 0


def turnover(curves: ArrayLike, half: NDArray[np.bool_], end_too: bool = False) -> Turnover:
    """Return the cross-fitted rise and fall of `curves` (R, C, K) or (C, K): R replicates, C questions, K points with
    the end last.

    The peak is sought among the points before the last, so a curve that still rises has a negative fall. With
    `end_too` it is sought among all points, and such a curve has none. Raises ValueError where there are fewer than
    two points, or fewer than two questions in a half.
    """
    table = np.asarray(curves, dtype=float)
    table = table[None] if table.ndim == 2 else table
    if table.shape[2] < 2 or min(half.sum(), (~half).sum()) < 2:
        raise ValueError(f"a turn needs two points and two questions in each half, got curves {table.shape}")
    chosen_by = np.stack([_others(table[:, side].mean(axis=1)) for side in (half, ~half)])  # (2, R, K)
    at = (chosen_by if end_too else chosen_by[:, :, :-1]).argmax(axis=2).T  # (R, 2)
    place = np.where(half, at[:, 1:], at[:, :1])
    peak = np.take_along_axis(table, place[:, :, None], axis=2)[:, :, 0]
    falls = peak - table[:, :, -1]
    return Turnover(
        rise=Estimate.of_questions(peak - table[:, :, 0], half),
        fall=Estimate.of_questions(falls, half),
        height=Estimate.of_questions(peak, half).value,
        at=at,
        falls=falls,
    )


def peak_heights(curves: ArrayLike, half: NDArray[np.bool_], weights: ArrayLike) -> Floats:
    """Return how high each replicate rises from its start to its peak, (B, R), in B draws of questions.

    The arguments and the way to choose the peak are those of `peak_values`.
    """
    table = np.asarray(curves, dtype=float)
    return peak_values(table, table - table[:, :, :1], half, weights)


def peak_values(curves: ArrayLike, values: ArrayLike, half: NDArray[np.bool_], weights: ArrayLike) -> Floats:
    """Return the `values` (R, C, K) of each replicate where `curves` (R, C, K) have their peak, (B, R).

    The end comes last and may be the peak, and `weights` (B, C) say how often each question was drawn. In every draw a
    replicate is measured where the other replicates have their peak on the other half of the questions.
    """
    drawn = np.asarray(weights, dtype=float)

    def means(table: ArrayLike) -> list[Floats]:
        """Return the mean of each half of the questions in every draw, (B, R, K) each."""
        return [
            np.tensordot(drawn[:, side], np.asarray(table, dtype=float)[:, side], axes=(1, 1))
            / drawn[:, side].sum(axis=1)[:, None, None]
            for side in (half, ~half)
        ]

    measured = [
        np.take_along_axis(value, _others(chooser).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
        for value, chooser in zip(means(values), reversed(means(curves)), strict=True)
    ]
    return np.mean(measured, axis=0)


def _others(values: Floats) -> Floats:
    """Return the mean of the other rows for each row of `values` (..., R, K); one row alone for itself."""
    rows = values.shape[-2]
    return values if rows == 1 else (values.sum(axis=-2, keepdims=True) - values) / (rows - 1)
