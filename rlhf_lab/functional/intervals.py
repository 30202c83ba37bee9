"""Means with their standard errors and intervals, over questions and replicates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

FEWEST_REPLICATES = 5  # to resample them


class Interval(NamedTuple):
    """A confidence interval."""

    lo: float
    hi: float


def conditional(replicates: int) -> bool:
    """Whether intervals are conditional on the replicates at hand, as there are fewer than five."""
    return replicates < FEWEST_REPLICATES


class Estimate(NamedTuple):
    """A mean over replicates with its standard error over questions, and over replicates if there are five."""

    value: float
    se: float
    df: float  # degrees of freedom of the SE: inf where it is of questions alone
    replicates: int

    @staticmethod
    def of(draws: ArrayLike) -> Estimate:
        """Of a number of each replicate (B, R): first as it is, then in B - 1 draws of questions.

        The replicates share the draws of questions, so the two parts of the variance are apart. Draws in which one has
        no number are left out (what two questions have, a seventh of all draws is without); NaN where most are.
        """
        table = np.asarray(draws, dtype=float)
        without = np.isnan(table).sum(axis=1)
        if without[0] == 0 and np.mean(without > 0) < 0.5:
            table = table[without == 0]
        replicates = table.shape[1]
        variance, df = table[1:].mean(axis=1).var(ddof=1), float("inf")
        if not conditional(replicates):
            variance, df = variance + table[0].var(ddof=1) / replicates, replicates - 1.0
        return Estimate(float(table[0].mean()), float(np.sqrt(variance)), df, replicates)

    @property
    def is_conditional(self) -> bool:
        """Whether the interval is conditional on the replicates at hand."""
        return conditional(self.replicates)

    def interval(self, level: float = 0.95) -> Interval:
        """The central `level` by Student's t."""
        half = float(stdtrit(self.df, (1 + level) / 2)) * self.se
        return Interval(self.value - half, self.value + half)

    def row(self, name: str = "estimate") -> dict[str, float]:
        """The mean under `name`, its 95 % interval and its SE, as they stand in tables."""
        lo, hi = self.interval()
        return {name: self.value, "lo": lo, "hi": hi, "se": self.se}

    @property
    def signed(self) -> str:
        """The mean with its sign and its 95 % interval, as sentences show a difference."""
        lo, hi = self.interval()
        return f"{self.value:+.2f} [{lo:+.2f}, {hi:+.2f}]"

    @property
    def note(self) -> str:
        """What kind of interval stands in a table."""
        return "95 % interval" + (", conditional on the replicates" if self.is_conditional else "")


def floored(found: Estimate, clusters: int) -> Estimate:
    """A rate or a difference of rates whose SE is at least 1 / clusters: where all say the same, as if one did not."""
    return found._replace(se=max(found.se, 1 / max(clusters, 1)))


def cluster_means(values: ArrayLike, cluster: ArrayLike) -> Floats:
    """(C, ...): the mean of `values` (Q, ...) over the rows of each cluster, clusters in ascending order."""
    table = np.asarray(values, dtype=float)
    names, member = np.unique(np.asarray(cluster), return_inverse=True)
    sums = np.zeros((len(names), *table.shape[1:]))
    np.add.at(sums, member, table)
    counts = np.bincount(member).reshape(-1, *[1] * (table.ndim - 1))
    return sums / counts


def mean_and_se(values: ArrayLike) -> tuple[Floats, Floats]:
    """Mean over the first axis, one row a question, and its standard error; NaN for a single question."""
    table = np.asarray(values, dtype=float)
    if len(table) < 2:
        return table.mean(axis=0), np.full(table.shape[1:], np.nan)
    return table.mean(axis=0), table.std(axis=0, ddof=1) / np.sqrt(len(table))


def clustered_mean(values: ArrayLike, cluster: ArrayLike) -> Estimate:
    """Mean of `values` (P,), each counted once, and its SE over the questions in `cluster` (P,) with C - 1 degrees of
    freedom; NaN of nothing, an SE of NaN for one question.
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
    """Mean of first - second over questions (C,) and its standard error, each question its own pair."""
    mean, se = mean_and_se(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))
    return float(mean), float(se)


def wilson(successes: float, trials: int, z: float = 1.959964) -> Interval:
    """Wilson's 95 % interval of a rate; `successes` need not be whole, where a trial is a mean."""
    if trials == 0:
        return Interval(float("nan"), float("nan"))
    rate = successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return Interval(float(max(centre - half, 0.0)), float(min(centre + half, 1.0)))
