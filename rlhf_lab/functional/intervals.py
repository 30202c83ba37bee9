"""Means with their standard errors and intervals, over questions and over replicates.

A replicate is one repetition of an experiment with other seeds; all replicates of an experiment are measured on the
same questions. With two replicates or more an interval is for the mean over all replicates and questions there could
be; with one it covers other questions only, and is called conditional on the replicate.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95  # of every interval that names no other
BISECTIONS = 40  # of a p-value, which is then known to 12 digits


class Interval(NamedTuple):
    """A confidence interval, from `lo` to `hi`."""

    lo: float
    hi: float


class Reported(Protocol):
    """A number that is reported with an interval."""

    @property
    def value(self) -> float:
        """The number."""
        ...

    @property
    def replicates(self) -> int:
        """The replicates that it was measured in."""
        ...

    @property
    def is_conditional(self) -> bool:
        """Whether the interval is conditional on the replicates."""
        ...

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the central interval at `level`."""
        ...


class Part(NamedTuple):
    """An independent part of the variance of a mean, and its degrees of freedom."""

    variance: float
    df: float  # inf for a variance that is known


class Estimate(NamedTuple):
    """A mean with the parts of its variance: over questions and, from two replicates on, over replicates."""

    value: float
    parts: tuple[Part, ...]
    replicates: int

    @staticmethod
    def plain(value: float, se: float, df: float = float("inf"), replicates: int = 1) -> Estimate:
        """Return the estimate with one standard error of `df` degrees of freedom."""
        return Estimate(float(value), (Part(float(se) ** 2, df),), replicates)

    @staticmethod
    def of(draws: ArrayLike) -> Estimate:
        """Return the estimate from a statistic of R replicates in B draws of questions, (B, R).

        Row 0 holds the statistic itself, the other rows hold bootstrap draws of questions that all replicates share.
        Draws with a NaN are left out (of a statistic that two questions determine, one draw in seven has none); the
        result is NaN if half or more have one.
        """
        table = np.asarray(draws, dtype=float)
        undefined = np.isnan(table).sum(axis=1) > 0
        if not undefined[0] and np.mean(undefined) < 0.5:
            table = table[~undefined]
        observed, drawn = table[0], table[1:]
        of_questions = drawn.mean(axis=1).var(ddof=1)
        apart = (drawn - drawn.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).sum()
        return _crossed(float(observed.mean()), of_questions, apart, observed, float("inf"))

    @staticmethod
    def of_questions(values: ArrayLike, half: NDArray[np.bool_] | None = None) -> Estimate:
        """Return the mean of `values` (R, C) of R replicates and C questions.

        With a `half` (C,) of the questions it is the mean of the means of both halves. The variance over questions is
        that within the halves.
        """
        table = np.asarray(values, dtype=float)
        sides = [table] if half is None else [table[:, half], table[:, ~half]]
        share = 1 / len(sides)
        replicate_means = np.mean([side.mean(axis=1) for side in sides], axis=0)
        of_questions = apart = 0.0
        for side in sides:
            of_questions += share**2 * side.mean(axis=0).var(ddof=1) / side.shape[1]
            apart += share**2 * ((side - side.mean(axis=0)).var(axis=1, ddof=1) / side.shape[1]).sum()
        df = float(table.shape[1] - len(sides))
        return _crossed(float(replicate_means.mean()), of_questions, apart, replicate_means, df)

    @staticmethod
    def of_replicates(values: ArrayLike) -> Estimate:
        """Return the mean of one number of each of R replicates, (R,); a single replicate has no interval."""
        numbers = np.asarray(values, dtype=float)
        count = len(numbers)
        se = numbers.std(ddof=1) / np.sqrt(count) if count > 1 else np.inf
        return Estimate.plain(float(numbers.mean()), float(se), max(count - 1, 1), count)

    @staticmethod
    def of_difference(first: ArrayLike, second: ArrayLike) -> Estimate:
        """Return the mean of `first` (R, C) minus that of `second` (R', C): other replicates, the same questions."""
        tables = [np.asarray(values, dtype=float) for values in (first, second)]
        difference = tables[0].mean(axis=0) - tables[1].mean(axis=0)
        questions = len(difference)
        of_questions, parts = difference.var(ddof=1) / questions, []
        for table in tables:
            replicates = len(table)
            if conditional(replicates):
                continue
            apart = ((table - table.mean(axis=0)).var(axis=1, ddof=1) / questions).sum()
            of_questions -= apart / (replicates * (replicates - 1))
            parts.append(Part(table.mean(axis=1).var(ddof=1) / replicates, replicates - 1.0))
        parts.insert(0, Part(max(of_questions, 0.0), questions - 1.0))
        return Estimate(float(difference.mean()), tuple(parts), min(len(table) for table in tables))

    @property
    def se(self) -> float:
        """The standard error."""
        return float(np.sqrt(sum(part.variance for part in self.parts)))

    @property
    def is_conditional(self) -> bool:
        """Whether the interval is conditional on the replicate, because there is one only."""
        return conditional(self.replicates)

    def interval(self, level: float = LEVEL) -> Interval:
        """Return the central interval at `level`.

        Its half-width is t SE with Cochran's t for several variances (Biometrics 20, 191, 1964): the mean of the parts'
        Student's t, weighted by their variances.
        """
        total = sum(part.variance for part in self.parts)
        if total == 0:
            return Interval(self.value, self.value)
        t = sum(part.variance * float(stdtrit(part.df, (1 + level) / 2)) for part in self.parts) / total
        half = t * np.sqrt(total)
        return Interval(float(self.value - half), float(self.value + half))

    def times(self, factor: float) -> Estimate:
        """Return the estimate of `factor` times the mean."""
        parts = tuple(part._replace(variance=factor**2 * part.variance) for part in self.parts)
        return self._replace(value=factor * self.value, parts=parts)

    def minus(self, other: Estimate) -> Estimate:
        """Return the difference from an estimate of other questions and other replicates."""
        replicates = min(self.replicates, other.replicates)
        return Estimate(self.value - other.value, self.parts + other.parts, replicates)

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
        return "95 % interval" + (", conditional on the replicate" if self.is_conditional else "")


def _crossed(
    value: float, of_questions: float, apart: float, replicate_means: Floats, df_questions: float
) -> Estimate:
    """Return the estimate from the variance `of_questions` of the mean over replicates, and the replicates' means.

    `apart` is the sum over replicates of the variance over questions of what sets a replicate apart from their mean.
    Chance in single answers is in both variances; it is left to the one over replicates, so that it counts once.
    """
    replicates = len(replicate_means)
    if conditional(replicates):
        return Estimate(value, (Part(float(of_questions), df_questions),), replicates)
    shared = max(float(of_questions - apart / (replicates * (replicates - 1))), 0.0)
    over_replicates = float(replicate_means.var(ddof=1)) / replicates
    return Estimate(value, (Part(shared, df_questions), Part(over_replicates, replicates - 1.0)), replicates)


def conditional(replicates: int) -> bool:
    """Return whether an interval is conditional on the replicates: one alone says nothing of their spread."""
    return replicates < 2


class Rate(NamedTuple):
    """A share of trials, with Wilson's interval; `successes` need not be whole, as a trial may itself be a mean."""

    successes: float
    trials: int
    replicates: int = 1
    is_conditional: bool = False

    @property
    def value(self) -> float:
        """The share, NaN without trials."""
        return self.successes / self.trials if self.trials else float("nan")

    def interval(self, level: float = LEVEL) -> Interval:
        """Return Wilson's interval at `level`, NaN without trials."""
        if self.trials == 0:
            return Interval(float("nan"), float("nan"))
        z, rate, trials = float(ndtri((1 + level) / 2)), self.value, self.trials
        centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
        half = z * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
        lo, hi = min(centre - half, rate), max(centre + half, rate)  # rounding may cross a rate of 0 or 1
        return Interval(float(max(lo, 0.0)), float(min(hi, 1.0)))


def p_above(estimate: Reported, threshold: float) -> float:
    """Return the one-sided p-value of "not above `threshold`": half of 1 - the level whose interval ends there.

    NaN where the estimate has no interval.
    """
    if not np.isfinite(estimate.interval()).all():
        return float("nan")
    above = estimate.value > threshold
    least, most = 0.0, 1.0  # 1 - level
    for _ in range(BISECTIONS):
        middle = (least + most) / 2
        lo, hi = estimate.interval(1 - middle)
        outside = lo > threshold if above else hi < threshold
        least, most = (least, middle) if outside else (middle, most)
    return most / 2 if above else 1 - most / 2


def p_below(estimate: Reported, threshold: float) -> float:
    """Return the one-sided p-value of "not below `threshold`"."""
    return 1 - p_above(estimate, threshold)


def floored(estimate: Estimate, clusters: int) -> Estimate:
    """Return the estimate of a rate with an SE of at least 1 / clusters.

    A sample whose members all agree has an SE of 0; the floor counts it as if one cluster disagreed.
    """
    floor = 1 / max(clusters, 1)
    if not estimate.se < floor:
        return estimate
    return estimate._replace(parts=(*estimate.parts, Part(floor**2 - estimate.se**2, float("inf"))))


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
        return Estimate.plain(float("nan"), float("nan"))
    names, member = np.unique(np.asarray(cluster), return_inverse=True)
    clusters, mean = len(names), float(numbers.mean())
    if clusters == 1:
        return Estimate.plain(mean, float("nan"))
    residual = np.bincount(member, numbers - mean)
    variance = (residual**2).sum() * clusters / (clusters - 1)
    return Estimate.plain(mean, float(np.sqrt(variance)) / len(numbers), clusters - 1.0)


def paired_difference(first: ArrayLike, second: ArrayLike) -> tuple[float, float]:
    """Return the mean of `first` - `second`, both (C,), over questions and its standard error."""
    mean, se = mean_and_se(np.asarray(first, dtype=float) - np.asarray(second, dtype=float))
    return float(mean), float(se)
