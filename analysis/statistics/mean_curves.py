"""Peaks and turns of a curve of means, such as a published one, with or without standard errors.

The peak can only be chosen on the numbers on which it is measured, so every bound holds for all points together
(Bonferroni). Differences of two points have the SE of independent points, which is too large for points that were
measured on the same questions. Without SEs there are numbers and no intervals: a claim about them is undecided.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from rlhf_lab.functional.intervals import LEVEL, Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Chosen(NamedTuple):
    """One of several differences that was chosen by looking at all of them, with an interval that allows for that."""

    differences: Floats  # (M,) one for each point that might have been chosen
    ses: Floats  # (M,) NaN where they are not known
    at: int  # the chosen one
    replicates: int = 1
    is_conditional: bool = True  # on what was published

    @property
    def value(self) -> float:
        """The chosen difference."""
        return float(self.differences[self.at])

    def interval(self, level: float = LEVEL) -> Interval:
        """Return an interval that holds the chosen difference, and ends above the largest one there is, at `level`.

        NaN without SEs.
        """
        half = float(ndtri(1 - (1 - level) / 2 / len(self.differences))) * self.ses
        return Interval(float((self.differences - half)[self.at]), float(np.max(self.differences + half)))


class MeansTurn(NamedTuple):
    """How far a curve of means rises to a peak and falls from it."""

    rise: Chosen
    fall: Chosen
    at: int  # the point of the peak
    peaks: Ints  # the points that may be the peak of the true curve at 95 %; all of them without SEs


def turnover_of_means(values: ArrayLike, se: ArrayLike | None = None) -> MeansTurn:
    """Return the rise and the fall of `values` (K,), the end last, whose standard errors are `se` (K,).

    The peak is the point between the ends with the largest lower bound of both rise and fall; without SEs, the
    largest of both. Raises ValueError for fewer than three points, for points that are not finite, and for SEs that
    are not above 0 (the first point may have an SE of 0, where values are less it).
    """
    means = np.asarray(values, dtype=float)
    ses = np.full(means.shape, np.nan) if se is None else np.asarray(se, dtype=float)
    if means.ndim != 1 or len(means) < 3:
        raise ValueError(f"a turn needs three points or more, (K,), got {means.shape}: give the whole curve")
    if not np.isfinite(means).all():
        raise ValueError(
            f"point {int(np.argmin(np.isfinite(means)))} of the curve is not finite: leave it out"
        )
    if se is not None:
        check_ses(ses[1:], len(means) - 1)
        if not ses[0] >= 0:
            raise ValueError(f"the standard error of point 0 is {ses[0]:g}, where 0 or more is needed")
    inner = means[1:-1]
    rises, falls = inner - means[0], inner - means[-1]
    of_rises, of_falls = (np.hypot(ses[1:-1], end) for end in (ses[0], ses[-1]))
    z = 0.0 if se is None else float(ndtri(1 - (1 - LEVEL) / 2 / len(inner)))
    least = np.minimum(rises - z * np.nan_to_num(of_rises), falls - z * np.nan_to_num(of_falls))
    at = int(least.argmax())
    return MeansTurn(
        Chosen(rises, of_rises, at), Chosen(falls, of_falls, at), at + 1, possible_peaks(means, ses)
    )


def possible_peaks(values: Floats, se: Floats) -> Ints:
    """Return the points (indices, ascending) that no other point is above, at 95 % for all pairs of points together."""
    pairs = len(values) * (len(values) - 1)
    z = float(ndtri(1 - (1 - LEVEL) / pairs))
    apart = values[:, None] - values[None]  # by how much the row is above the column
    surely = apart > z * np.hypot(se[:, None], se[None])
    return np.flatnonzero(~surely.any(axis=0))


def check_ses(se: Floats, points: int) -> None:
    """Raise ValueError unless there is a finite standard error above 0 for each of the points."""
    if se.shape != (points,):
        raise ValueError(f"a standard error is needed for each of {points} points, got {se.shape}")
    wrong = ~(np.isfinite(se) & (se > 0))
    if wrong.any():
        found = se[wrong][0]
        raise ValueError(f"a standard error is {found:g}: give finite ones above 0, or none at all")
