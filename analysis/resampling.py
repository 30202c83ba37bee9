"""Uncertainty over questions and replicates: clustered standard errors and the cluster bootstrap.

The question is the cluster: all its framings and answers are drawn together. Replicates are runs that differ
in their seeds only. Fewer than five of them say nothing of their spread, so the bootstrap keeps them and its
intervals are conditional on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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


@dataclass(frozen=True)
class Resample:
    """One draw of replicates and questions; the same draw of questions serves every replicate."""

    replicates: NDArray[np.int64]  # (R,) which replicates, with repetition
    seed: int | None  # of the draw of questions; None takes each once

    def questions(self, count: int) -> Floats:
        """(count,): how often each of `count` questions was drawn."""
        return np.ones(count) if self.seed is None else _times_drawn(self.seed, count)


@lru_cache(maxsize=4096)  # all arms of a figure draw the same questions
def _times_drawn(seed: int, count: int) -> Floats:
    draw = np.random.default_rng(seed).integers(count, size=count)
    times = np.bincount(draw, minlength=count).astype(float)
    times.setflags(write=False)
    return times


def original(replicates: int) -> Resample:
    """Every replicate and every question once."""
    return Resample(np.arange(replicates), None)


def conditional(replicates: int) -> bool:
    """Whether intervals are conditional on the replicates at hand, as there are fewer than five."""
    return replicates < FEWEST_REPLICATES


def resamples(replicates: int, rng: np.random.Generator, n: int) -> list[Resample]:
    """`n` draws: of replicates (kept as they are if fewer than five), then of questions."""
    seeds = rng.integers(2**63, size=n)
    if conditional(replicates):
        return [Resample(np.arange(replicates), int(seed)) for seed in seeds]
    drawn = rng.integers(replicates, size=(n, replicates))
    return [Resample(row, int(seed)) for row, seed in zip(drawn, seeds, strict=True)]


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
    def note(self) -> str:
        """What kind of interval stands in a table."""
        return "95 % interval" + (", conditional on the replicates" if self.is_conditional else "")


def floored(found: Estimate, clusters: int) -> Estimate:
    """A rate or a difference of rates whose SE is at least 1 / clusters: where all say the same, as if one did not."""
    return found._replace(se=max(found.se, 1 / max(clusters, 1)))


def percentile_interval(draws: ArrayLike, level: float = 0.95) -> Interval:
    """The central `level` of bootstrap draws; infinite draws count, a NaN makes the interval NaN."""
    tail = (1 - level) / 2
    lo, hi = np.quantile(np.asarray(draws, dtype=float), [tail, 1 - tail], method="inverted_cdf")
    return Interval(float(lo), float(hi))


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


def weights_of(draws: Sequence[Resample], count: int) -> Floats:
    """(B, count): how often each question was drawn, one row a resample."""
    return np.stack([draw.questions(count) for draw in draws])
