"""Means with their standard errors and intervals, over questions and over replicates.

Questions are the units that are resampled within a replicate; a replicate is one repetition of an experiment with other
seeds. An interval that covers only questions is called conditional on the replicates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

FEWEST_REPLICATES = 5  # with fewer, the variance between replicates is not estimated


class Interval(NamedTuple):
    """A confidence interval, from `lo` to `hi`."""

    lo: float
    hi: float


def conditional(replicates: int) -> bool:
    """Return whether intervals are conditional on the replicates, because there are fewer than five."""
    return replicates < FEWEST_REPLICATES


class Estimate(NamedTuple):
    """A mean over replicates with its standard error over questions and, from five replicates on, over replicates."""

    value: float
    se: float
    df: float  # degrees of freedom of the SE; inf if the SE is over questions alone
    replicates: int

    @staticmethod
    def of(draws: ArrayLike) -> Estimate:
        """Return the estimate from a statistic of R replicates in B draws of questions, (B, R).

        Row 0 holds the statistic itself, the other rows hold bootstrap draws of questions that all replicates share, so
        that the variance over questions and the variance over replicates add up. Draws with a NaN are left out (of a
        statistic that two questions determine, one draw in seven has none); the result is NaN if half or more have one.
        """
        table = np.asarray(draws, dtype=float)
        undefined = np.isnan(table).sum(axis=1) > 0
        if not undefined[0] and np.mean(undefined) < 0.5:
            table = table[~undefined]
        replicates = table.shape[1]
        variance, df = table[1:].mean(axis=1).var(ddof=1), float("inf")
        if not conditional(replicates):
            variance, df = variance + table[0].var(ddof=1) / replicates, replicates - 1.0
        return Estimate(float(table[0].mean()), float(np.sqrt(variance)), df, replicates)

    @property
    def is_conditional(self) -> bool:
        """Return whether the interval is conditional on the replicates."""
        return conditional(self.replicates)

    def interval(self, level: float = 0.95) -> Interval:
        """Return the central interval at `level` by Student's t."""
        half = float(stdtrit(self.df, (1 + level) / 2)) * self.se
        return Interval(self.value - half, self.value + half)

    def row(self, name: str = "estimate") -> dict[str, float]:
        """Return the mean under `name`, its 95 % interval and its SE, as columns of a table."""
        lo, hi = self.interval()
        return {name: self.value, "lo": lo, "hi": hi, "se": self.se}

    @property
    def signed(self) -> str:
        """The mean with its sign and its 95 % interval, as sentences show a difference."""
        lo, hi = self.interval()
        return f"{self.value:+.2f} [{lo:+.2f}, {hi:+.2f}]"

    @property
    def note(self) -> str:
        """Return what kind of interval `row` gives, in words."""
        return "95 % interval" + (", conditional on the replicates" if self.is_conditional else "")


def floored(estimate: Estimate, clusters: int) -> Estimate:
    """Return the estimate of a rate with an SE of at least 1 / clusters.

    A sample whose members all agree has an SE of 0; the floor counts it as if one cluster disagreed.
    """
    return estimate._replace(se=max(estimate.se, 1 / max(clusters, 1)))


def cluster_means(values: ArrayLike, cluster: ArrayLike) -> Floats:
    """Return the means (C, ...) of `values` (Q, ...) over the rows of each of the clusters (Q,), in ascending order."""
    table = np.asarray(values, dtype=float)
    names, member = np.unique(np.asarray(cluster), return_inverse=True)
    sums = np.zeros((len(names), *table.shape[1:]))
    np.add.at(sums, member, table)
    counts = np.bincount(member).reshape(-1, *[1] * (table.ndim - 1))
    return sums / counts


def mean_and_se(values: ArrayLike) -> tuple[Floats, Floats]:
    """Return the mean of `values` (Q, ...) over the first axis and its standard error, which is NaN for one row."""
    table = np.asarray(values, dtype=float)
    if len(table) < 2:
        return table.mean(axis=0), np.full(table.shape[1:], np.nan)
    return table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))


def clustered_mean(values: ArrayLike, cluster: ArrayLike) -> Estimate:
    """Return the mean of `values` (P,) and its cluster-robust SE over the C questions in `cluster` (P,).

    Every value counts once; the SE has C - 1 degrees of freedom. The mean of no values is NaN, and so is the SE for one
    question.
    """
    numbers = np.asarray(values, dtype=float)
    if not len(numbers):
        return Estimate(float("nan"), float("nan"), float("inf"), 1)
    names, member = np.unique(np.asarray(cluster), return_inverse=True)
    clusters, mean = len(names), float(numbers.mean())
    if clusters == 1:
        return Estimate(mean, float("nan"), float("inf"), 1)
    residual = np.bincount(member, numbers - mean)
    variance = (residual**2).sum() * clusters / (clusters - 1)
    return Estimate(mean, float(np.sqrt(variance)) / len(numbers), clusters - 1.0, 1)


def paired_difference(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Return the mean of `first` - `second`, both (C,), over questions and its standard error."""
    mean, se = mean_and_se(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))
    return float(mean), float(se)


def wilson(successes: float, trials: int, z: float = 1.959964) -> Interval:
    """Return Wilson's interval of a rate, 95 % by default; it is NaN without trials.

    `successes` need not be whole, as a trial may itself be a mean; `scipy.stats.binomtest` takes whole numbers only.
    """
    if trials == 0:
        return Interval(float("nan"), float("nan"))
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return Interval(float(max(centre - half, 0.0)), float(min(centre + half, 1.0)))
